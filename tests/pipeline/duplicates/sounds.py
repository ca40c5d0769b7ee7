"""Music that the tests of near-duplicates make: a melody over chords and a beat, no two alike, and its copies."""

import hashlib
import io
import json
from pathlib import Path
from typing import Any

import av
import numpy as np
import soundfile
from numpy.typing import NDArray

RATE_HZ = 16_000
# What a copy may be: container, encoder, bits a second, rate and options.
FORMS = {
    "mp3_64k": ("mp3", "libmp3lame", 64_000, 44_100, {}),
    "mp3_128k": ("mp3", "libmp3lame", 128_000, 44_100, {}),
    "opus": ("ogg", "libopus", 48_000, 48_000, {}),
    "aac": ("adts", "aac", 96_000, 44_100, {}),
    "vorbis": ("ogg", "vorbis", 96_000, 44_100, {"strict": "-2"}),
}
# What `write_copies` makes: file → what it is a copy of.
FILES = {"a.flac": "a", "a.mp3": "a", "a-later.flac": "a", "b.flac": "b", "b.opus": "b", "c.flac": "c"}


def music(seed: int, seconds: float = 12.0) -> NDArray[np.int16]:
    """int16 at 16 kHz, mono."""
    rng = np.random.default_rng(seed)
    wave_T = 0.003 * rng.standard_normal(int(seconds * RATE_HZ))
    beat_s = rng.uniform(0.28, 0.55)
    for number, at_s in enumerate(np.arange(0, seconds, beat_s)):
        note_T = wave_T[int(at_s * RATE_HZ) :][: 3 * RATE_HZ // 2]
        time_T = np.arange(len(note_T)) / RATE_HZ
        shape_T = np.exp(-time_T * rng.uniform(2, 9))
        for pitch in 110 * 2 ** (rng.integers(0, 36, 2) / 12):
            partials = rng.uniform(0.1, 1, 6) / np.arange(1, 7)
            for k, level in enumerate(partials, 1):
                note_T += 0.2 * level * shape_T * np.sin(2 * np.pi * pitch * k * time_T)
        if number % 2:
            note_T += 0.1 * np.exp(-time_T * 40) * rng.standard_normal(len(time_T))
    return np.asarray(np.clip(wave_T / np.abs(wave_T).max(), -1, 1) * 30_000, np.int16)


def encoded(pcm_T: NDArray[np.int16], form: str) -> bytes:
    """A clip as a file of one of FORMS."""
    container, codec, bits_per_s, rate_hz, options = FORMS[form]
    file = io.BytesIO()
    with av.open(file, "w", format=container) as output:
        stream: Any = output.add_stream(codec, rate=rate_hz, layout="stereo", bit_rate=bits_per_s, options=options)
        context: Any = stream.codec_context
        context.open()
        resampler = av.AudioResampler(context.format.name, "stereo", rate_hz, context.frame_size)
        frame = av.AudioFrame.from_ndarray(pcm_T[np.newaxis], format="s16", layout="mono")
        frame.sample_rate = RATE_HZ
        for piece in (*resampler.resample(frame), *resampler.resample(None)):
            output.mux(stream.encode(piece))
        output.mux(stream.encode(None))
    return file.getvalue()


def decoded(media: bytes) -> NDArray[np.int16]:
    """The same at 16 kHz, mono."""
    resampler = av.AudioResampler("s16", "mono", RATE_HZ)
    with av.open(io.BytesIO(media), "r") as container:
        frames = [part for frame in container.decode(audio=0) for part in resampler.resample(frame)]
    frames += resampler.resample(None)
    return np.concatenate([frame.to_ndarray()[0] for frame in frames])


def write_copies(folder: Path) -> Path:
    """The recordings of FILES, and their catalogue."""
    sounds = {name: music(seed) for seed, name in enumerate("abc")}
    for name, of in FILES.items():
        sound_T = sounds[of][RATE_HZ:] if "later" in name else sounds[of]
        if name.endswith(".flac"):
            soundfile.write(folder / name, sound_T, RATE_HZ)
        else:
            form = "mp3_64k" if name.endswith("mp3") else "opus"
            (folder / name).write_bytes(encoded(sound_T, form))
    return write_catalogue(folder, list(FILES))


def write_catalogue(folder: Path, names: list[str]) -> Path:
    rows = (
        {"recording_id": name, "audio_uri": name, "start_s": 1, "duration_s": 9, "music_gate": "score_only"}
        for name in names
    )
    path = folder / "catalog.jsonl"
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows), encoding="utf-8")
    return path


def contents(folder: Path) -> dict[str, str]:
    """File → hash."""
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.iterdir())}
