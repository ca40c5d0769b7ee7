"""The decoder at work: a tone is made, packed by each common codec, and cut by the guarded helper as a clip of a
recording would be. A tone that comes back at another pitch or loudness is a decoder that does not work."""

import importlib.util
import io
import wave
from collections.abc import Iterator
from typing import Any

import numpy as np

from pipeline.doctor.findings import Finding, State

TONE_HZ = 440.0
_RATE_HZ = 48_000
_MADE_S = 2.0
_CUT_S = 1.0
_AMPLITUDE = 0.5
_PITCH_TOLERANCE_HZ = 2.0
_LOUDNESS_TOLERANCE = 0.2
_DEADLINE_S = 20.0
# Container and encoder; what a build of FFmpeg has no encoder for is not checked.
CODECS = {
    "mp3": ("mp3", "libmp3lame"),
    "aac": ("mp4", "aac"),
    "flac": ("flac", "flac"),
    "opus": ("ogg", "libopus"),
}


def findings() -> Iterator[Finding]:
    if importlib.util.find_spec("av") is None:
        yield Finding(name="decoder", state=State.NOTE, what="no PyAV: media cannot be decoded (extras mine, embed)")
        return
    try:
        import av

        from pipeline.media.clip import ClipDecoder, ClipError, ClipSpec, DecodeConfig, DecoderUnavailableError
    except ImportError as error:
        yield Finding(
            name="decoder", state=State.BAD, what=f"PyAV does not load: {error}",
            advice="install av from its wheel: pip install --force-reinstall --only-binary av av",
        )  # fmt: skip
        return
    config = DecodeConfig(deadline_s=_DEADLINE_S, start_timeout_s=_DEADLINE_S)
    spec = ClipSpec(start_s=0.5, duration_s=_CUT_S)
    sounds = {"wav": tone_wav(), **{name: tone_in(*CODECS[name]) for name in CODECS}}
    works, fails = [], []
    try:
        with ClipDecoder(config) as decoder:
            for name, media in sounds.items():
                if media is None:
                    continue
                try:
                    wrong = what_is_wrong(decoder.cut(media, spec).pcm_T)
                except ClipError as error:
                    wrong = str(error)
                if wrong:
                    fails.append(f"{name}: {wrong}")
                else:
                    works.append(name)
    except DecoderUnavailableError as error:
        fails.append(str(error))
    version = f"PyAV {av.__version__}"
    if fails:
        yield Finding(
            name="decoder", state=State.BAD, what=f"{version}: {'; '.join(fails)}",
            advice="install av from its wheel: pip install --force-reinstall --only-binary av av",
        )  # fmt: skip
        return
    unchecked = [name for name, media in sounds.items() if media is None]
    rest = f" (not checked, for want of an encoder: {', '.join(unchecked)})" if unchecked else ""
    yield Finding(name="decoder", state=State.OK, what=f"{version}, in the guarded helper: {', '.join(works)}{rest}")


def tone_T() -> "np.ndarray[tuple[int], np.dtype[np.float64]]":
    time_s = np.arange(round(_MADE_S * _RATE_HZ)) / _RATE_HZ
    return np.asarray(_AMPLITUDE * np.sin(2 * np.pi * TONE_HZ * time_s))


def tone_wav() -> bytes:
    """By the standard library alone."""
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(_RATE_HZ)
        file.writeframes((tone_T() * 32_767).astype("<i2").tobytes())
    return buffer.getvalue()


def tone_in(container: str, encoder: str) -> bytes | None:
    """None where this FFmpeg has no such encoder."""
    import av

    try:
        form = av.Codec(encoder, "w").audio_formats
    except av.codec.codec.UnknownCodecError:
        return None
    buffer = io.BytesIO()
    with av.open(buffer, "w", format=container) as file:
        stream: Any = file.add_stream(encoder, rate=_RATE_HZ)
        stream.codec_context.layout = "mono"
        stream.codec_context.format = form[0] if form else "fltp"
        frame = av.AudioFrame.from_ndarray(tone_T().astype(np.float32)[None], format="fltp", layout="mono")
        frame.sample_rate = _RATE_HZ
        frame.pts = 0
        for packet in (*stream.encode(frame), *stream.encode(None)):
            file.mux(packet)
    return buffer.getvalue()


def what_is_wrong(pcm_T: "np.ndarray[Any, np.dtype[np.int16]]") -> str:
    """Empty where it is the tone: its loudest frequency, and its amplitude as a share of full scale."""
    samples_T = pcm_T.astype(np.float64) / 32_768
    spectrum = np.abs(np.fft.rfft(samples_T * np.hanning(len(samples_T))))
    pitch_hz = float(np.argmax(spectrum)) / _CUT_S
    loudness = float(np.sqrt(2 * np.mean(samples_T**2)))
    if abs(pitch_hz - TONE_HZ) > _PITCH_TOLERANCE_HZ:
        return f"a tone of {TONE_HZ:g} Hz comes back at {pitch_hz:g} Hz"
    if abs(loudness - _AMPLITUDE) > _LOUDNESS_TOLERANCE * _AMPLITUDE:
        return f"a tone of {_AMPLITUDE:g} of full scale comes back at {loudness:.2f}"
    return ""
