"""How a shard holds a clip: encode once in the mining job, decode windows of it in the trainer.

FLAC is lossless, about half the size, and lets a window be decoded alone. PCM16 is a slice. Opus is small and lossy.
The same samples give the same bytes, whichever process or machine encodes them (with one version of the codecs).

A shape suffix names the axes: `_T` is time, in samples at 16 kHz.
"""

import io

import numpy as np
import soundfile
from numpy.typing import NDArray

from schemas.shard import CLIP_SAMPLE_RATE_HZ, AudioEncoding

# 4 of 0…8: higher levels cost twice the time for about one per cent.
FLAC_LEVEL = 0.5
OPUS_BITS_PER_S = 64_000
OPUS_FRAME_SAMPLES = CLIP_SAMPLE_RATE_HZ // 50  # 20 ms
# Opus needs some time before a window to settle. libsndfile gives it the 80 ms of its specification, after which a few
# windows of loud noise are still a step away from the whole clip; after ten times as much they are the same.
OPUS_PREROLL_SAMPLES = CLIP_SAMPLE_RATE_HZ * 8 // 10


class UnreadableClipError(ValueError):
    """The bytes do not hold a clip in the encoding that they are said to have."""


def encode(pcm_T: NDArray[np.int16], encoding: AudioEncoding) -> bytes:
    """A 16 kHz mono clip as the bytes of a shard's `audio` column."""
    if pcm_T.dtype != np.int16 or pcm_T.ndim != 1 or not len(pcm_T):
        raise ValueError(f"a clip is a row of int16 samples, not {pcm_T.dtype} of shape {pcm_T.shape}")
    match encoding:
        case AudioEncoding.PCM16:
            return pcm_T.astype("<i2", copy=False).tobytes()
        case AudioEncoding.FLAC:
            buffer = io.BytesIO()
            soundfile.write(
                buffer, pcm_T, CLIP_SAMPLE_RATE_HZ, format="FLAC", subtype="PCM_16", compression_level=FLAC_LEVEL
            )
            return buffer.getvalue()
        case AudioEncoding.OPUS:
            return _encode_opus(pcm_T)


def decode_clip(
    audio: bytes | memoryview,
    encoding: AudioEncoding,
    start_sample: int = 0,
    samples: int | None = None,
    out_T: NDArray[np.int16] | None = None,
) -> NDArray[np.int16]:
    """A window of an encoded clip, `[start_sample, start_sample + samples)` or to the end; int16 at 16 kHz, mono.

    With `out_T`, which has `samples` samples, the window is written there. Raises UnreadableClipError where the bytes
    are damaged or end before the window does.
    """
    if start_sample < 0 or (samples is not None and samples < 0):
        raise ValueError(f"a window begins at zero or later, not at {start_sample}, and lasts {samples} samples")
    if encoding is AudioEncoding.PCM16:
        if len(audio) % 2:
            raise UnreadableClipError(f"{len(audio)} bytes are not whole int16 samples")
        stop = None if samples is None else start_sample + samples
        window_T = np.frombuffer(audio, "<i2")[start_sample:stop].astype(np.int16, copy=False)
    else:
        window_T = _decode_file(audio, encoding, start_sample, samples, out_T)
    if samples is not None and len(window_T) != samples:
        raise UnreadableClipError(f"ends {samples - len(window_T)} samples before the window does")
    if out_T is not None and not np.shares_memory(window_T, out_T):
        out_T[:] = window_T
    return window_T


def _decode_file(
    audio: bytes | memoryview, encoding: AudioEncoding, start: int, samples: int | None, out_T: NDArray[np.int16] | None
) -> NDArray[np.int16]:
    expected = {AudioEncoding.FLAC: ("FLAC", "PCM_16"), AudioEncoding.OPUS: ("OGG", "OPUS")}[encoding]
    try:
        with soundfile.SoundFile(io.BytesIO(audio)) as file:
            found = (file.format, file.subtype)
            if found != expected or (file.samplerate, file.channels) != (CLIP_SAMPLE_RATE_HZ, 1):
                raise UnreadableClipError(
                    f"{'/'.join(found)} at {file.samplerate} Hz with {file.channels} channels, "
                    f"expected {'/'.join(expected)} at {CLIP_SAMPLE_RATE_HZ} Hz, mono"
                )
            preroll = min(start, OPUS_PREROLL_SAMPLES) if encoding is AudioEncoding.OPUS else 0
            if start > file.frames:
                raise UnreadableClipError(f"has {file.frames} samples, the window begins at {start}")
            file.seek(start - preroll)
            window_T: NDArray[np.int16]
            if out_T is not None and not preroll:
                return file.read(samples, dtype="int16", out=out_T)  # type: ignore[no-any-return]
            window_T = file.read(-1 if samples is None else preroll + samples, dtype="int16")
            return window_T[preroll:]
    except soundfile.LibsndfileError as error:
        raise UnreadableClipError(str(error)) from error


def _encode_opus(pcm_T: NDArray[np.int16]) -> bytes:
    """Ogg Opus with a fixed serial number and no tags: `bitexact` keeps chance and versions out of the file."""
    import av

    buffer = io.BytesIO()
    with av.open(buffer, "w", format="ogg", options={"fflags": "+bitexact"}) as container:
        stream = container.add_stream("libopus", rate=CLIP_SAMPLE_RATE_HZ, layout="mono", bit_rate=OPUS_BITS_PER_S)
        context = stream.codec_context
        context.options = {"application": "audio", "frame_duration": "20", "flags": "+bitexact"}
        context.thread_count = 1
        for start in range(0, len(pcm_T), OPUS_FRAME_SAMPLES):
            part_T = pcm_T[start : start + OPUS_FRAME_SAMPLES]
            frame = av.AudioFrame.from_ndarray(part_T[np.newaxis], format="s16", layout="mono")
            frame.sample_rate = CLIP_SAMPLE_RATE_HZ
            frame.pts = start
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return buffer.getvalue()
