"""The demo's corpus: short recordings that the project synthesises, and the text that people write around music.

What the text says of the sound is true (style, instruments, tempo, mood are what was drawn for it), so that a model can
learn from it; around that stands what a real catalogue has too much of: provenance in titles, advertising, spam, links,
other languages. Some recordings are speech or noise, some too short, one is broken, so that every stage has work to do.
Nothing here is random beyond the seed: the same seed writes the same bytes with the same codec libraries.
"""

import json
import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from filters.music.builtin.synthesis import KINDS, Sound, Wave, describe, synthesise
from filters.music.builtin.synthesis.styles import Piece
from schemas.eval_playlist import MAX_RECORDINGS, MIN_RECORDINGS

log = logging.getLogger(__name__)

CATALOGUE_NAME = "catalog.jsonl"
COMMENTS_NAME = "comments.jsonl"
PLAYLISTS_NAME = "playlists.jsonl"
EVAL_PLAYLISTS_NAME = "eval_playlists.jsonl"
LICENCE = "CC0-1.0"
SOURCE = "synthesised by OpenMuLan"


@dataclass(frozen=True, kw_only=True)
class AudioFormat:
    """How one recording is stored: what PyAV calls the container and the codec."""

    suffix: str
    container: str
    codec: str
    sample_rate_hz: int
    bit_rate: int | None = None


FORMATS = (
    AudioFormat(suffix="webm", container="webm", codec="libopus", sample_rate_hz=24_000, bit_rate=48_000),
    AudioFormat(suffix="mp3", container="mp3", codec="libmp3lame", sample_rate_hz=22_050, bit_rate=64_000),
    AudioFormat(suffix="ogg", container="ogg", codec="libopus", sample_rate_hz=24_000, bit_rate=48_000),
    AudioFormat(suffix="m4a", container="mp4", codec="aac", sample_rate_hz=22_050, bit_rate=64_000),
    AudioFormat(suffix="flac", container="flac", codec="flac", sample_rate_hz=22_050),
    AudioFormat(suffix="wav", container="wav", codec="pcm_s16le", sample_rate_hz=22_050),
)


@dataclass(frozen=True, kw_only=True)
class DemoRecording:
    """One recording before its audio exists."""

    recording_id: str
    kind: str
    seed: int
    duration_s: float
    format: AudioFormat
    broken: bool = False

    @property
    def sound(self) -> Sound:
        return describe(self.kind, self.seed)

    @property
    def audio_uri(self) -> str:
        return f"audio/{self.recording_id}.{self.format.suffix}"


def make_demo_corpus(folder: Path, recordings: int = 60, seed: int = 0) -> Path:
    """Write audio, catalogue, comments and playlists into `folder`; returns the catalogue's path.

    Raises ValueError for fewer than 12 recordings: one of each sort would not fit.
    """
    plan = plan_recordings(recordings, seed)
    (folder / "audio").mkdir(parents=True, exist_ok=True)
    rows, comments = [], []
    for recording in plan:
        rng = np.random.default_rng([seed, recording.seed, 2])
        encode(folder / recording.audio_uri, recording)
        writer = _write_music if recording.sound.piece else _write_other
        row, said = writer(recording, rng)
        rows.append(row)
        comments += [{"recording_id": recording.recording_id, "text": text} for text in said]
    _write_lines(folder / COMMENTS_NAME, comments)
    _write_lines(folder / PLAYLISTS_NAME, training_playlists(plan, np.random.default_rng([seed, 3])))
    _write_lines(folder / EVAL_PLAYLISTS_NAME, eval_playlists(plan))
    _write_lines(folder / CATALOGUE_NAME, rows)
    log.info("%d recordings, %d comments in %s", len(rows), len(comments), folder)
    return folder / CATALOGUE_NAME


def plan_recordings(recordings: int, seed: int) -> list[DemoRecording]:
    """Which kinds of sound the corpus has: of twelve, nine are music, one speech, one environment, one both at once."""
    if recordings < 12:
        raise ValueError(f"recordings={recordings}: the demo's corpus needs at least 12")
    rng = np.random.default_rng([seed, 1])
    by_family = {
        family: rng.permutation([kind.name for kind in KINDS.values() if kind.family == family]).tolist()
        for family in ("music", "voice", "environment", "mixture")
    }
    used = dict.fromkeys(by_family, 0)
    plan = []
    for index in range(recordings):
        family = {3: "voice", 7: "environment", 11: "mixture"}.get(index % 12, "music")
        kind = by_family[family][used[family] % len(by_family[family])]
        used[family] += 1
        too_short = index % 25 == 8
        plan.append(
            DemoRecording(
                recording_id=f"demo-{seed}-{index:04d}",
                kind=kind,
                seed=int(rng.integers(1 << 31)),
                duration_s=float(rng.integers(35, 55) if too_short else rng.integers(61, 66)),
                format=FORMATS[index % len(FORMATS)],
                broken=index == 9,
            )
        )
    return plan


def encode(path: Path, recording: DemoRecording) -> None:
    """Synthesise one recording and store it; a broken one ends in the middle of its header."""
    wave_T = synthesise(recording.kind, recording.seed, recording.duration_s, recording.format.sample_rate_hz)
    _encode_wave(path, wave_T, recording.format)
    if recording.broken:
        path.write_bytes(path.read_bytes()[:40])


def _encode_wave(path: Path, wave_T: Wave, audio_format: AudioFormat) -> None:
    import av

    # Without this flag, Ogg numbers its streams by chance and encoders sign with their version.
    with av.open(str(path), "w", format=audio_format.container, options={"fflags": "+bitexact"}) as container:
        stream: Any = container.add_stream(audio_format.codec, rate=audio_format.sample_rate_hz)
        stream.codec_context.layout = "mono"
        stream.codec_context.flags |= av.codec.context.Flags.bitexact
        if audio_format.bit_rate:
            stream.codec_context.bit_rate = audio_format.bit_rate
        pcm_T = np.round(np.clip(wave_T, -1.0, 1.0) * 32767).astype(np.int16)
        resampler = av.AudioResampler(format=stream.codec_context.format.name, layout="mono", rate=stream.rate)
        for start in range(0, len(pcm_T), 65_536):
            frame = av.AudioFrame.from_ndarray(pcm_T[None, start : start + 65_536], format="s16", layout="mono")
            frame.sample_rate = audio_format.sample_rate_hz
            frame.pts = start
            for converted in resampler.resample(frame):
                container.mux(stream.encode(converted))
        for converted in resampler.resample(None):
            container.mux(stream.encode(converted))
        container.mux(stream.encode(None))


def _write_lines(path: Path, rows: Iterable[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")


# The text.

_ARTISTS = (
    "Paper Lanterns", "Mira Solveig", "The Tin Harbour", "Okapi Sun", "Dario Venn", "Lowtide", "Ana Castelo",
    "North Mill",
    "Hollow Pine Ensemble",
    "Kite & Anchor", "Juniper Vale", "Sable Motor", "Yuki Arden", "Grey Wren", "Tomás Iri",
)  # fmt: skip
_NOUNS = (
    "River", "Window", "Morning", "Harbour", "Orchard", "Lantern", "Mountain", "Letter", "Garden", "Winter", "Mirror",
    "Station", "Island", "Shadow", "Meadow", "Signal", "Compass", "Feather",
)  # fmt: skip
_PROVENANCE = (
    "{artist} - {title} (Official Video) [HD]", "{title} (Official Audio)", "{artist} - {title} [Official Music Video]",
    "{title} | {artist} | Full HD 1080p", "{artist} — {title} (Visualizer)", "{title}", "{title}", "{artist} - {title}",
    "{title} ({style})", "{artist} - {title} (Remastered) *NEW*", "{title} 🔥🔥 (HQ)",
)  # fmt: skip
_JUNK_TAGS = ("music", "video", "new", "official", "HD", "2021", "subscribe", "viral", "youtube", "best song")
_JUNK_SENTENCES = (
    "Subscribe for more: https://example.com/channel?sub=1", "Follow us on @{handle} and turn on the bell!",
    "Booking: booking@{handle}.example.com", "℗ 2021 Example Records. All rights reserved.",
    "Stream it everywhere -> http://example.org/{handle}", "Thanks for 10,000 views ❤️❤️❤️", "#newmusic #{handle} #fyp",
    "Mixed and mastered at home.", "Call +1 555 0100 for licensing.",
)  # fmt: skip
_CHATTER = (
    "first!", "who is listening in 2024?", "LIKE IF YOU AGREE", "Check out my channel please https://example.com/me",
    "SUB 4 SUB???", "anyone else here because of the algorithm", "lol", "<br />Nice one!!<br />",
    "I can&#39;t believe this has only 300 views", "make money from home $$$ visit http://spam.example.net/win",
    "my grandma played this at dinner", "0:42 😭😭😭", "pls do a tutorial @{handle}", "song name?", "❤❤❤❤❤",
    "I love you from Brazil 🇧🇷", "who did the thumbnail",
)  # fmt: skip
_ELSEWHERE = (
    "Me encanta esta música, es muy bonita.", "Quelle belle mélodie, je l'écoute tous les soirs.",
    "Wunderschön, danke fürs Hochladen!", "とても素敵な曲ですね。毎日聴いています。", "Очень красиво, спасибо!",
    "이 노래 정말 좋아요", "这首曲子真好听。", "Che meraviglia!", "موسيقى جميلة جدا",
)  # fmt: skip
_ROLE_PHRASES = {
    "pad": "long {instrument} chords", "drone": "a low {instrument} drone", "bass": "{instrument} on the bass line",
    "walking bass": "a walking {instrument}", "arp": "{instrument} arpeggios", "chords": "{instrument} chords",
    "offbeat chords": "{instrument} chords on the offbeat", "power chords": "{instrument} power chords",
    "melody": "a {instrument} melody", "vocals": "a singing voice",
}  # fmt: skip
_DRUM_PHRASES = {
    "four on the floor": "a four on the floor kick drum", "boom bap": "boom bap drums", "brushes": "soft brushes",
    "breakbeat": "breakbeat drums", "swing ride": "a swinging ride cymbal", "latin percussion": "latin percussion",
    "timpani": "timpani", "sparse hits": "sparse drum hits", "one drop": "a one drop drum beat",
    "tribal drums": "tribal drums", "electronic kit": "electronic drums",
}  # fmt: skip
_KEYS = ("C", "C sharp", "D", "E flat", "E", "F", "F sharp", "G", "A flat", "A", "B flat", "B")


def tempo_word(tempo_bpm: int) -> str:
    return "slow" if tempo_bpm < 80 else "mid-tempo" if tempo_bpm < 115 else "fast"


def _pick(options: Sequence[str], rng: np.random.Generator) -> str:
    return options[int(rng.integers(len(options)))]


def _some(options: Sequence[str], count: int, rng: np.random.Generator) -> list[str]:
    chosen = rng.permutation(len(options))[:count]
    return [options[int(index)] for index in chosen]


def _phrases(piece: Piece) -> list[str]:
    """What is heard, a phrase a part."""
    phrases = [_ROLE_PHRASES[part.role].format(instrument=part.instrument) for part in piece.parts]
    if piece.drums:
        phrases.append(_DRUM_PHRASES.get(piece.drums, f"a {piece.drums}"))
    return list(dict.fromkeys(phrases))


def _listed(phrases: Sequence[str]) -> str:
    return phrases[0] if len(phrases) == 1 else f"{', '.join(phrases[:-1])} and {phrases[-1]}"


def _article(word: str) -> str:
    return "an" if word[0] in "aeiou" else "a"


def _instruments(piece: Piece) -> list[str]:
    names = [part.instrument for part in piece.parts if part.role != "vocals"]
    names += ["vocals"] if any(part.role == "vocals" for part in piece.parts) else []
    return list(dict.fromkeys([*names, *(["drums"] if piece.drums else [])]))


def _write_music(recording: DemoRecording, rng: np.random.Generator) -> tuple[dict[str, Any], list[str]]:
    """The catalogue's row and the comments of a piece of music."""
    piece = recording.sound.piece
    assert piece is not None
    style, mood, tempo = piece.style.name, piece.mood, tempo_word(piece.tempo_bpm)
    artist, title = _pick(_ARTISTS, rng), f"{mood.capitalize()} {_pick(_NOUNS, rng)}"
    handle = artist.lower().replace(" ", "").replace("&", "")
    phrases, instruments = _phrases(piece), _instruments(piece)
    sung = "vocals" in instruments
    about = [
        f"{_article(mood).capitalize()} {mood} {style} piece with {_listed(phrases)}.",
        f"It is {tempo}, about {piece.tempo_bpm} beats a minute, in {_KEYS[piece.root]} {piece.mode}.",
        f"The sound is {mood}, made for {piece.style.scene}.",
        "Sung without words." if sung else "There are no vocals, it is purely instrumental.",
        f"You hear {_listed(phrases[::-1])}.",
    ]
    sentences = _some(about, int(rng.integers(2, 5)), rng)
    for junk in _some(_JUNK_SENTENCES, int(rng.integers(1, 4)), rng):
        sentences.insert(int(rng.integers(len(sentences) + 1)), junk.format(handle=handle))
    tags = [style, mood, *_some(instruments, 3, rng), f"{tempo} {style}", piece.style.scene]
    tags = _some(tags, int(rng.integers(3, len(tags) + 1)), rng) + _some(_JUNK_TAGS, int(rng.integers(0, 4)), rng)
    if not sung and rng.random() < 0.3:
        title += " (Instrumental)"
    true_comments = [
        f"so {mood}, I keep coming back to it",
        f"The {_pick(instruments, rng)} on this one is beautiful.",
        f"perfect for {piece.style.scene}",
        f"I love {tempo} {style} like this",
        f"{_listed(phrases[:2])}, that is all I need today",
        f"This {style} tune feels really {mood}. More of this please!",
        f"what a {mood} sound, the {_pick(instruments, rng)} gives me goosebumps",
    ]
    row = {
        **_row(recording, _pick(_PROVENANCE, rng).format(artist=artist, title=title, style=style)),
        "artist": artist if rng.random() < 0.8 else f"{artist} - Topic",
        "album": f"{_pick(_NOUNS, rng)} Songs" if rng.random() < 0.6 else None,
        "tags": tags,
        "description": _pick(("\n", " "), rng).join(sentences),
    }
    return row, _comments(true_comments, handle, rng)


def _write_other(recording: DemoRecording, rng: np.random.Generator) -> tuple[dict[str, Any], list[str]]:
    """The same for what is no music, or no music alone."""
    heard = _pick(recording.sound.words, rng)
    handle = "fieldnotes"
    title = _pick(("{heard} (HD sound)", "{heard} | 1 hour version soon", "{heard}"), rng).format(
        heard=heard.capitalize()
    )
    sentences = [
        f"A recording of {heard}.",
        _pick(_JUNK_SENTENCES, rng).format(handle=handle),
        "No talking, no ads." if recording.sound.kind.family == "environment" else "Uploaded in one take.",
    ]
    row = {
        **_row(recording, title),
        "artist": None,
        "album": None,
        "tags": [heard, recording.kind, *_some(_JUNK_TAGS, 2, rng)],
        "description": " ".join(sentences),
    }
    return row, _comments([f"you can really hear {heard}", "not what I was looking for but ok"], handle, rng)


def _row(recording: DemoRecording, title: str) -> dict[str, Any]:
    return {
        "recording_id": recording.recording_id,
        "audio_uri": recording.audio_uri,
        "title": title,
        "licence": LICENCE,
        "source": SOURCE,
    }


def _comments(true_comments: list[str], handle: str, rng: np.random.Generator) -> list[str]:
    """True ones, chatter and other languages in a drawn order; some are said twice."""
    said = _some(true_comments, int(rng.integers(1, 5)), rng)
    said += [text.format(handle=handle) for text in _some(_CHATTER, int(rng.integers(1, 7)), rng)]
    said += _some(_ELSEWHERE, int(rng.integers(0, 3)), rng)
    said += [_pick(said, rng)] if rng.random() < 0.3 else []
    return _some(said, len(said), rng)


def training_playlists(plan: list[DemoRecording], rng: np.random.Generator) -> list[dict[str, Any]]:
    """Playlists by style, mood, instrument and tempo, as people name them, and some that say nothing."""
    members: dict[str, list[str]] = {}
    for recording in plan:
        piece = recording.sound.piece
        if piece is not None:
            titles = (f"{piece.style.name} mix", f"{piece.mood} songs", f"{tempo_word(piece.tempo_bpm)} music")
            for title in (*titles, *(f"songs with {name}" for name in _instruments(piece))):
                members.setdefault(title, []).append(recording.recording_id)
    named = [(_decorated(title, rng), chosen) for title, chosen in sorted(members.items())]
    everything = [recording.recording_id for recording in plan]
    for title in ("favs ❤️", "my playlist #1", "asdf", "watch later"):
        named.append((title, _some(everything, max(2, len(everything) // 6), rng)))
    # One playlist names a recording that is not in the catalogue, as playlists do.
    named[-1][1].append("gone-0001")
    kept = [(title, chosen) for title, chosen in named if len(chosen) >= 2]
    return [
        {"playlist_id": f"pl-{index:03d}", "title": title, "recording_ids": chosen}
        for index, (title, chosen) in enumerate(kept)
    ]


def eval_playlists(plan: list[DemoRecording]) -> list[dict[str, Any]]:
    """Playlists to evaluate with, by what is heard; no training playlist has one of their titles."""
    members: dict[tuple[str, str], list[str]] = {}
    for recording in plan:
        piece = recording.sound.piece
        if piece is not None and not recording.broken:
            pace = tempo_word(piece.tempo_bpm)
            texts = [(f"At a {pace} pace", f"Recordings whose tempo is {pace}.")]
            texts += [(f"The {name} hour", f"Recordings in which {name} can be heard.") for name in _instruments(piece)]
            texts += [(f"All in {piece.mode}", f"Recordings in a {piece.mode} key.")]
            texts += [] if piece.drums else [("No beat at all", "Recordings without any drums.")]
            for text in texts:
                members.setdefault(text, []).append(recording.recording_id)
    return [
        {"playlist_id": f"eval-{index:03d}", "title": title, "description": description, "recording_ids": chosen}
        for index, ((title, description), chosen) in enumerate(sorted(members.items()))
        if MIN_RECORDINGS <= len(chosen) <= MAX_RECORDINGS
    ]


def _decorated(title: str, rng: np.random.Generator) -> str:
    return _pick(("{}", "{}", "best {}", "{} ✨", "{} 2021", "my {}"), rng).format(title)
