"""Real media files for tests, made here: every container and codec that the project decodes, and some that it must not.

Made with PyAV (and libsndfile for Ogg Vorbis), so that no other program is needed. Waves are float32, `_CT` is channels
by samples.
"""

import base64
import functools
import io
import struct
import zlib
from collections.abc import Callable, Mapping
from typing import Any, cast

import av
import numpy as np
import soundfile
from av.audio.stream import AudioStream
from av.packet import Packet
from av.stream import Disposition
from numpy.typing import NDArray

Wave = NDArray[np.float32]


class Pipe(io.RawIOBase):
    """A file that can be written but not sought, so that a muxer cannot go back to add an index."""

    def __init__(self) -> None:
        self.content = bytearray()

    def writable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return False

    def write(self, data: Any) -> int:
        self.content += data
        return len(data)


def music_CT(duration_s: float, rate_hz: int, channels: int = 1, seed: int = 0) -> Wave:
    """Something that never repeats, so that a shift shows: chirps over pink-like noise, another mix in each channel."""
    random = np.random.default_rng(seed)
    samples = round(duration_s * rate_hz)
    time_s = np.arange(samples) / rate_hz
    chirps = sum(
        np.sin(2 * np.pi * (base * time_s + sweep * np.sin(time_s / period)))
        for base, sweep, period in ((220, 900, 1.7), (523, 2_100, 2.9), (1_317, 700, 0.6))
    )
    noise = np.convolve(random.standard_normal(samples), np.ones(8) / 8, "same")
    envelope = 0.6 + 0.4 * np.sin(time_s * 1.3)
    rows = [(0.08 + 0.04 * c) * chirps * envelope + 0.06 * np.roll(noise, 977 * c) for c in range(channels)]
    return np.stack(rows).astype(np.float32)


def clicks_CT(duration_s: float, rate_hz: int, at_s: list[float], shift_samples: int = 0) -> Wave:
    """Clicks of half a millisecond, each beginning at its time minus `shift_samples`, in silence."""
    wave = np.zeros((1, round(duration_s * rate_hz)), np.float32)
    for when_s in at_s:
        start = round(when_s * rate_hz) - shift_samples
        wave[0, start : start + max(2, rate_hz // 2_000)] = 0.9
    return wave


def encoded(
    wave_CT: Wave,
    rate_hz: int,
    container: str,
    codec: str,
    *,
    layout: str = "mono",
    options: Mapping[str, str] | None = None,
    codec_options: Mapping[str, str] | None = None,
    bit_rate: int | None = None,
    video: bool = False,
    more_CT: list[Wave] | None = None,
    default_stream: int | None = None,
    metadata: Mapping[str, str] | None = None,
    seekable: bool = True,
    late_s: float = 0.0,
) -> bytes:
    """`wave_CT` as a file. `more_CT` are further audio streams of the same form; `default_stream` numbers them. The
    sound's time stamps begin at `late_s`."""
    file: Any = io.BytesIO() if seekable else Pipe()
    with av.open(file, "w", format=container, options=dict(options or {})) as output:
        if video:
            picture = output.add_stream("mpeg4", rate=5)
            picture.width = picture.height = 64
            picture.pix_fmt = "yuv420p"
        output.metadata.update(metadata or {})
        streams: list[AudioStream] = []
        for number, _ in enumerate([wave_CT, *(more_CT or [])]):
            stream = cast(AudioStream, output.add_stream(codec, rate=rate_hz, layout=layout))
            stream.codec_context.options = dict(codec_options or {})
            if bit_rate is not None:
                stream.codec_context.bit_rate = bit_rate
            if default_stream is not None:
                stream.disposition = Disposition.default if number == default_stream else Disposition(0)
            streams.append(stream)
        packets: list[Packet[Any]] = []
        if video:
            for index in range(round(wave_CT.shape[1] / rate_hz * 5)):
                image = av.VideoFrame(64, 64, "yuv420p")
                for plane in image.planes:
                    plane.update(bytes([index % 200]) * plane.buffer_size)
                image.pts = index
                packets += picture.encode(image)
            packets += picture.encode(None)
        for stream, row_CT in zip(streams, [wave_CT, *(more_CT or [])], strict=True):
            resampler = av.AudioResampler(
                format=stream.codec_context.format, layout=layout, rate=rate_hz, frame_size=stream.frame_size or 1_024
            )
            frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(row_CT), format="fltp", layout=layout)
            frame.sample_rate = rate_hz
            frame.pts = 0
            for part in [*resampler.resample(frame), *resampler.resample(None)]:
                part.pts = (part.pts or 0) + round(late_s * rate_hz)
                packets += stream.encode(part)
            packets += stream.encode(None)
        for packet in sorted(packets, key=lambda packet: (packet.dts or 0) * packet.time_base):
            output.mux(packet)
    return bytes(file.content) if isinstance(file, Pipe) else file.getvalue()


def wav(wave_CT: Wave, rate_hz: int, subtype: str = "PCM_16", container: str = "WAV") -> bytes:
    """By libsndfile: any sample type, NaN included."""
    file = io.BytesIO()
    soundfile.write(file, wave_CT.T, rate_hz, format=container, subtype=subtype)
    return file.getvalue()


def ogg_vorbis(wave_CT: Wave, rate_hz: int) -> bytes:
    file = io.BytesIO()
    with soundfile.SoundFile(file, "w", rate_hz, len(wave_CT), format="OGG", subtype="VORBIS") as output:
        for start in range(0, wave_CT.shape[1], 48_000):  # libsndfile overruns its stack where it gets all at once
            output.write(wave_CT.T[start : start + 48_000])
    return file.getvalue()


def remuxed(
    media: bytes, container: str, *, seekable: bool = True, without_s: tuple[float, float] = (0.0, 0.0)
) -> bytes:
    """The first audio stream in another container, packets unchanged but for those that begin in `without_s`."""
    file: Any = io.BytesIO() if seekable else Pipe()
    with av.open(io.BytesIO(media), "r") as source, av.open(file, "w", format=container) as output:
        stream = source.streams.audio[0]
        copy = output.add_stream_from_template(stream)
        for packet in source.demux(stream):
            if packet.dts is not None and not without_s[0] <= packet.dts * packet.time_base < without_s[1]:
                packet.stream = copy
                output.mux(packet)
    return bytes(file.content) if isinstance(file, Pipe) else file.getvalue()


def ape_silence(samples: int, rate_hz: int) -> bytes:
    """Monkey's Audio, which nothing here encodes: frames of a 3.99 file may say that they are silent and stop there."""
    blocks = 73_728
    frames = -(-samples // blocks)
    frame = struct.pack("<II", 0x80000000, 3) + bytes(16)
    start = 52 + 24 + 4 * frames
    descriptor = struct.pack(
        "<4sHHIIIIIII16s", b"MAC ", 3_990, 0, 52, 24, 4 * frames, 0, len(frame) * frames, 0, 0, b""
    )
    header = struct.pack("<HHIIIHHI", 2_000, 0, blocks, samples - (frames - 1) * blocks, frames, 16, 1, rate_hz)
    seek_table = struct.pack(f"<{frames}I", *range(start, start + len(frame) * frames, len(frame)))
    return descriptor + header + seek_table + frame * frames


# 375 Hz at 48 kHz, one frame of 512 samples in the middle of it, encoded for this by ffmpeg (no encoder is in PyAV).
_DTS_FRAME = zlib.decompress(
    base64.b64decode(
        b"eNqr/9fA+MeG/4PJAUYLBsb3zcn//39wYGBgYOlIWdLh0CTQosRxSKBFkcMJRADFWQMOtnEy2DQoODAyMOhEMrh4CTM4NCgwsLVp"
        b"mMTIiGfk9z+KO3iwrO3HP9VXLkIKr4RKObVl/VbL+l1olgholghqmsJ3pu/NiZ+Vj6fP09HRXMZw2YFz+frssyYtHA6XozJmVQFR"
        b"5tevy5oEWGvrr1+/frW2traGRubW///BAABz32zd"
    )
)


def dts_tone(samples: int) -> bytes:
    """A steady tone, mono, 48 kHz."""
    return _DTS_FRAME * -(-samples // 512)


def with_times(stream: bytes) -> bytes:
    """A transport stream as cameras and Blu-ray discs have it: four bytes of time before each packet."""
    return b"".join(bytes(4) + stream[at : at + 188] for at in range(0, len(stream), 188))


RECORDING_S = 61
MP3_DELAY = 1_105  # what decoding adds before the first sample where no tag says so: 576 + 529 samples
AAC_DELAY = 1_024
VBR = {"flags": "+qscale", "global_quality": str(4 * 118)}
LOW_VOICE = {"application": "voip"}

# Kind -> (rate, maker, whether the way to the clip is walked, samples by which a full decode begins late).
KINDS: dict[str, tuple[int, Callable[[Wave], bytes], bool, int]] = {
    "wav": (44_100, lambda w: wav(w, 44_100), True, 0),
    "wav_24bit_96k": (96_000, lambda w: wav(w, 96_000, "PCM_24"), True, 0),
    "aiff": (44_100, lambda w: wav(w, 44_100, "PCM_16", "AIFF"), True, 0),
    "flac": (44_100, lambda w: encoded(w, 44_100, "flac", "flac"), True, 0),
    "mp3_cbr": (44_100, lambda w: encoded(w, 44_100, "mp3", "libmp3lame", bit_rate=64_000), True, 0),
    "mp3_vbr": (44_100, lambda w: encoded(w, 44_100, "mp3", "libmp3lame", codec_options=VBR), True, 0),
    "mp3_cbr_no_xing": (
        44_100,
        lambda w: encoded(w, 44_100, "mp3", "libmp3lame", bit_rate=64_000, options={"write_xing": "0"}),
        True,
        MP3_DELAY,
    ),
    "mp3_vbr_no_xing": (
        44_100,
        lambda w: encoded(w, 44_100, "mp3", "libmp3lame", codec_options=VBR, options={"write_xing": "0"}),
        True,
        MP3_DELAY,
    ),
    "ogg": (44_100, lambda w: ogg_vorbis(w, 44_100), False, 0),
    "opus": (48_000, lambda w: encoded(w, 48_000, "ogg", "libopus", bit_rate=48_000), True, 0),
    "opus_voice": (
        16_000,
        lambda w: encoded(w, 16_000, "ogg", "libopus", bit_rate=12_000, codec_options=LOW_VOICE),
        True,
        0,
    ),
    "m4a": (44_100, lambda w: encoded(w, 44_100, "ipod", "aac"), False, 0),
    "m4a_alac": (44_100, lambda w: encoded(w, 44_100, "ipod", "alac"), True, 0),
    "aac": (44_100, lambda w: encoded(w, 44_100, "adts", "aac"), False, AAC_DELAY),
    "webm": (48_000, lambda w: encoded(w, 48_000, "webm", "libopus", bit_rate=48_000), True, 0),
    "webm_no_cues": (
        48_000,
        lambda w: encoded(w, 48_000, "webm", "libopus", bit_rate=48_000, seekable=False),
        True,
        0,
    ),
    "webm_vorbis_no_cues": (44_100, lambda w: remuxed(ogg_vorbis(w, 44_100), "webm", seekable=False), False, 0),
    "mkv_flac": (44_100, lambda w: encoded(w, 44_100, "matroska", "flac"), False, 0),
    "mp4_video": (44_100, lambda w: encoded(w, 44_100, "mp4", "aac", video=True), False, 0),
    "mkv_video": (44_100, lambda w: encoded(w, 44_100, "matroska", "flac", video=True), False, 0),
    "mkv_mp3": (44_100, lambda w: encoded(w, 44_100, "matroska", "libmp3lame"), False, 0),
}

# Of these the container tells how much priming to discard, which the ffmpeg that is installed may be too old to know.
DECLARED_PRIMING = {"mkv_mp3"}


# Kinds that are always decoded from the start, by container and codec: rate, maker.
LINEAR_KINDS: dict[str, tuple[int, Callable[[Wave], bytes]]] = {
    "asf_wmav1": (44_100, lambda w: encoded(w, 44_100, "asf", "wmav1", bit_rate=128_000)),
    "asf_wmav2": (44_100, lambda w: encoded(w, 44_100, "asf", "wmav2", bit_rate=128_000)),
    "avi_mp3": (44_100, lambda w: encoded(w, 44_100, "avi", "libmp3lame")),
    "avi_pcm": (44_100, lambda w: encoded(w, 44_100, "avi", "pcm_s16le", video=True)),
    "flv_mp3": (44_100, lambda w: encoded(w, 44_100, "flv", "libmp3lame")),
    "flv_aac": (44_100, lambda w: encoded(w, 44_100, "flv", "aac")),
    "mpegts_aac": (48_000, lambda w: encoded(w, 48_000, "mpegts", "aac")),
    "mpegts_mp2": (48_000, lambda w: encoded(w, 48_000, "mpegts", "mp2", video=True)),
    "mpegts_ac3": (48_000, lambda w: with_times(encoded(w, 48_000, "mpegts", "ac3"))),
    "mpegps_mp2": (48_000, lambda w: encoded(w, 48_000, "mpeg", "mp2")),
    "mpegps_ac3": (48_000, lambda w: encoded(w, 48_000, "vob", "ac3")),
    "caf_pcm": (44_100, lambda w: encoded(w, 44_100, "caf", "pcm_s16be")),
    "caf_alac": (44_100, lambda w: encoded(w, 44_100, "caf", "alac")),
    "au_pcm": (44_100, lambda w: encoded(w, 44_100, "au", "pcm_s16be")),
    "w64_pcm": (44_100, lambda w: encoded(w, 44_100, "w64", "pcm_s16le")),
    "ac3_ac3": (48_000, lambda w: encoded(w, 48_000, "ac3", "ac3")),
    "eac3_eac3": (44_100, lambda w: encoded(w, 44_100, "eac3", "eac3")),
    "dts_dca": (48_000, lambda w: dts_tone(w.shape[1])),
    "amr_amrnb": (8_000, lambda w: encoded(w, 8_000, "amr", "libopencore_amrnb", bit_rate=12_200)),
    "mp4_amrnb": (8_000, lambda w: encoded(w, 8_000, "3gp", "libopencore_amrnb", bit_rate=12_200)),
    "ape_ape": (44_100, lambda w: ape_silence(w.shape[1], 44_100)),
    "tta_tta": (44_100, lambda w: encoded(w, 44_100, "tta", "tta")),
    "wavpack_wavpack": (44_100, lambda w: encoded(w, 44_100, "wv", "wavpack")),
    "matroska_wavpack": (44_100, lambda w: encoded(w, 44_100, "matroska", "wavpack")),
}


@functools.cache
def made(kind: str) -> bytes:
    rate_hz, make, _, _ = KINDS[kind]
    return make(music_CT(RECORDING_S, rate_hz))
