"""The decoder's helper process: media bytes in, float32 samples at 16 kHz mono out.

Media come from strangers, and decoders are where strangers' bytes do harm. So this process is started by exec with an
empty environment, takes bytes rather than names, and gives up what it does not need before the first item arrives:
it can open no further file or socket, write no file, start no process, and outlive no deadline.

Only listed containers and codecs are decoded. The container is told from its first bytes and named to ffmpeg, which
therefore never guesses: a playlist that is called `.ogg` is an unknown container. Video is never decoded.

Time zero is the first sample that a full decode puts out, as `ffmpeg -i FILE` would write it: priming samples that the
container declares are gone, and a late start or a gap in the time stamps is not filled. To get to the clip without
decoding all that stands before it, packets up to a second before the clip are read but not decoded ("walking"), and
their durations are added up. That is done where three things hold: the codec forgets its past within that second, the
container tells durations exactly, and packets decode to as many samples as they last, before and after. Otherwise
everything is decoded from the start. Why not seek: without an index seeking lands wrong, and time stamps do not tell
(those of Opus are often off by 10 ms in real files), while reading packets costs little.
"""

from __future__ import annotations  # PyAV's classes are generic in its stubs only

import contextlib
import fcntl
import functools
import io
import itertools
import json
import math
import os
import resource
import select
import signal
import struct
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, BinaryIO, NoReturn, TypeAlias, cast

import av
import av.container
import av.filter

# PyAV imports these when it first meets such a stream, and by then this process can open no file.
import av.subtitles.codeccontext
import av.subtitles.stream
from av.audio.frame import AudioFrame
from av.audio.stream import AudioStream
from av.packet import Packet
from av.stream import Stream

from pipeline.clip_protocol import (
    CLIP_RATE_HZ,
    LIFELINE,
    MAGIC,
    MAX_JSON_BYTES,
    REPLY_HEADER,
    REQUEST_HEADER,
    SAMPLE_BYTES,
    ClipSpec,
    DecodeConfig,
    ShortPolicy,
)
from schemas.reasons import Reason

# Our name of a container -> ffmpeg's name of its demuxer.
DEMUXERS = {
    "wav": "wav",
    "aiff": "aiff",
    "flac": "flac",
    "mp3": "mp3",
    "aac": "aac",
    "ogg": "ogg",
    "mp4": "mov",
    "matroska": "matroska",
}
# Each of these forgets its past within the walk's pre-roll, and its packets' durations can be counted on. AAC is not
# among them: its decoder fills bands with noise from a generator that runs on between packets. Nor is Vorbis: what
# ffmpeg believes its packets to last is wrong where long and short blocks meet.
WALKABLE_CODECS = frozenset({"flac", "alac", "mp1", "mp2", "mp3", "mp1float", "mp2float", "mp3float", "opus"})
OTHER_CODECS = frozenset({"vorbis", "aac", "ac3", "eac3", "adpcm_ms", "adpcm_ima_wav", "adpcm_ima_qt"})
PCM_CODECS = frozenset(
    f"pcm_{name}"
    for name in (
        *("u8", "s8", "s16le", "s16be", "s24le", "s24be", "s32le", "s32be"),
        *("f32le", "f32be", "f64le", "f64be", "alaw", "mulaw"),
    )
)
CODECS = WALKABLE_CODECS | OTHER_CODECS | PCM_CODECS

PREROLL_S = 1.0
# What the resampler looks at on either side of a sample is 2 ms (32 taps at the lower rate); this is ample.
RESAMPLER_MARGIN_S = 0.05
AnyPacket: TypeAlias = "Packet[AudioStream] | Packet[Stream]"

STEADY_PACKETS = 3  # in a row that must decode to as many samples as they last, at the start and after the walk
FRAMES_PER_PULL = 32
OPUS_RATE_HZ = 48_000
OPUS_GRID = 120
ENOMEM = 12


class Refusal(Exception):
    """The item is not decoded: a reason and a line for the report."""

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason
        self.detail = detail


class CannotWalk(Exception):
    """Walking would not be exact here; decode from the start."""


@dataclass(kw_only=True)
class Cut:
    """What one pass brought: samples from the clip's start on, and the recording's end where it was met."""

    samples: bytes
    end_sample: int | None
    source_rate_hz: int
    source_channels: int
    walked: bool


def sniff(media: bytes) -> str | None:
    """The container by its first bytes, or None."""
    at = 0
    while media[at : at + 3] == b"ID3" and len(media) >= at + 10:
        size = 0
        for byte in media[at + 6 : at + 10]:
            size = size << 7 | byte & 0x7F
        at += 10 + size + (10 if media[at + 5] & 0x10 else 0)
    head = media[at : at + 12]
    if head[:4] in (b"RIFF", b"RIFX", b"RF64", b"BW64") and head[8:] == b"WAVE":
        return "wav"
    if head[:4] == b"FORM" and head[8:] in (b"AIFF", b"AIFC"):
        return "aiff"
    if head[:4] == b"fLaC":
        return "flac"
    if head[:4] == b"OggS":
        return "ogg"
    if head[:4] == b"\x1aE\xdf\xa3":
        return "matroska"
    if head[4:8] in (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip"):
        return "mp4"
    return _sniff_mpeg(media, at)


_MPEG_BITRATES_KBPS = {
    (True, 1): (32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448),
    (True, 2): (32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    (True, 3): (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (False, 1): (32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256),
    (False, 2): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
    (False, 3): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
_MPEG_SEARCH_BYTES = 4_096  # cut files begin within a frame, and some writers pad with zeros
_MPEG_FRAMES = 3


def _sniff_mpeg(media: bytes, start: int) -> str | None:
    """MPEG audio or ADTS where three frames in a row follow on one another."""
    end = min(start + _MPEG_SEARCH_BYTES, len(media))
    at = media.find(b"\xff", start, end)
    while at >= 0:
        for name, frame_bytes in (("mp3", _mpeg_frame_bytes), ("aac", _adts_frame_bytes)):
            position, frames = at, 0
            while frames < _MPEG_FRAMES and (size := frame_bytes(media[position : position + 7])):
                position += size
                frames += 1
            if frames == _MPEG_FRAMES or (frames and position >= len(media)):
                return name
        at = media.find(b"\xff", at + 1, end)
    return None


def _mpeg_frame_bytes(head: bytes) -> int:
    if len(head) < 4 or head[0] != 0xFF or head[1] & 0xE0 != 0xE0:
        return 0
    version, layer = head[1] >> 3 & 3, 4 - (head[1] >> 1 & 3)
    bitrate, rate, padding = head[2] >> 4, head[2] >> 2 & 3, head[2] >> 1 & 1
    if version == 1 or layer == 4 or bitrate in (0, 15) or rate == 3:
        return 0
    rate_hz = (44_100, 48_000, 32_000)[rate] >> {3: 0, 2: 1, 0: 2}[version]
    bits_per_s = _MPEG_BITRATES_KBPS[version == 3, layer][bitrate - 1] * 1_000
    if layer == 1:
        return (12 * bits_per_s // rate_hz + padding) * 4
    return (72 if layer == 3 and version != 3 else 144) * bits_per_s // rate_hz + padding


def _adts_frame_bytes(head: bytes) -> int:
    if len(head) < 7 or head[0] != 0xFF or head[1] & 0xF6 != 0xF0:
        return 0
    size = (head[3] & 3) << 11 | head[4] << 3 | head[5] >> 5
    return size if size > 7 else 0


def _refuse_to_open(*_: Any) -> NoReturn:
    raise PermissionError("the decoder opens nothing besides the bytes that it was given")


class Recording:
    """One opened container and the audio stream of it that is decoded: the one that ffmpeg's command line takes,
    which is the one flagged as default, of several the one with the most channels, of those the first."""

    def __init__(self, media: bytes, config: DecodeConfig) -> None:
        name = sniff(media)
        if name is None:
            raise Refusal(Reason.UNKNOWN_CONTAINER, f"begins with {media[:12]!r}")
        self.name = name
        self.config = config
        self.packets_seen = 0
        self.packets_bad = 0
        demuxer = DEMUXERS[name]
        self.container = av.open(
            io.BytesIO(media),
            "r",
            format=demuxer,
            container_options={
                "format_whitelist": av.ContainerFormat(demuxer, "r").name,
                "codec_whitelist": ",".join(sorted(CODECS)),
                "protocol_whitelist": "none",
                **({"enable_drefs": "0", "use_absolute_path": "0"} if demuxer == "mov" else {}),
            },
            metadata_errors="replace",
            io_open=_refuse_to_open,
        )
        try:
            self.stream = self._choose_stream()
        except BaseException:
            self.container.close()
            raise

    def _choose_stream(self) -> AudioStream:
        streams = list(self.container.streams)
        if len(streams) > self.config.max_streams:
            raise Refusal(
                Reason.BAD_AUDIO_FORMAT, f"{len(streams)} streams, more than the {self.config.max_streams} allowed"
            )
        candidates = [stream for stream in streams if isinstance(stream, AudioStream)]
        if not candidates:
            raise Refusal(Reason.NO_AUDIO, f"{len(streams)} streams, none of them audio")
        chosen = max(
            candidates,
            key=lambda s: (bool(s.disposition & av.stream.Disposition.default), s.channels if s.codec_context else 0),
        )
        for stream in streams:
            if stream is not chosen:
                stream.discard = av.stream.Discard.all
        codec = chosen.codec_context.codec.name if chosen.codec_context else "unknown"
        if codec not in CODECS:
            raise Refusal(Reason.UNKNOWN_CODEC, f"codec {codec} in {self.name}")
        chosen.codec_context.thread_count = 1
        self.codec = codec
        # Of zero channels or rate nothing is known yet: each frame is checked too.
        if chosen.rate:
            self.check_format(chosen.rate, max(1, chosen.channels))
        return chosen

    def check_format(self, rate_hz: int, channels: int) -> None:
        config = self.config
        if not config.min_sample_rate_hz <= rate_hz <= config.max_sample_rate_hz:
            raise Refusal(
                Reason.BAD_AUDIO_FORMAT,
                f"{rate_hz} Hz is outside {config.min_sample_rate_hz} to {config.max_sample_rate_hz} Hz",
            )
        if not 1 <= channels <= config.max_channels:
            raise Refusal(Reason.BAD_AUDIO_FORMAT, f"{channels} channels, more than the {config.max_channels} allowed")

    def packets(self) -> Iterator[AnyPacket]:
        """Packets of the stream, then one that flushes the decoder. Damage that stops the demuxer is an end."""
        try:
            yield from self.container.demux(self.stream)
        except av.FFmpegError as error:
            _raise_if_memory(error)
            yield Packet()

    def decode(self, packet: AnyPacket) -> list[AudioFrame] | None:
        """Frames of one packet; None where it cannot be decoded."""
        try:
            frames = self.stream.codec_context.decode(packet if packet.size else None)
        except EOFError:
            return []
        except av.FFmpegError as error:
            _raise_if_memory(error)
            return None
        return frames

    def frames(self, packets: Iterator[AnyPacket]) -> Iterator[AudioFrame]:
        """Frames as ffmpeg's command line sees them: packets that cannot be decoded are passed over, and counted."""
        for packet in packets:
            frames = self.decode(packet)
            self.packets_seen += 1
            if frames is None:
                self.packets_bad += 1
                continue
            yield from frames

    def check_damage(self) -> None:
        if self.packets_bad > self.config.max_bad_packet_share * self.packets_seen:
            raise Refusal(Reason.CORRUPT_MEDIA, f"{self.packets_bad} of {self.packets_seen} packets cannot be decoded")

    def close(self) -> None:
        self.container.close()


def _raise_if_memory(error: av.FFmpegError) -> None:
    if error.errno == ENOMEM:
        raise MemoryError(str(error)) from error


class Resampler:
    """To 16 kHz mono float32. One `aresample` of ffmpeg, with the downmix of its command line for 16-bit output, which
    scales a mix so that it cannot clip."""

    def __init__(self, template: AudioFrame) -> None:
        graph = av.filter.Graph()
        graph.threads = 1
        self._source = graph.add(
            "abuffer",
            sample_rate=str(template.sample_rate),
            sample_fmt=template.format.name,
            channel_layout=template.layout.name,
            time_base=f"1/{template.sample_rate}",
        )
        resample = graph.add(
            "aresample", f"{CLIP_RATE_HZ}:rematrix_maxval=1.0:out_sample_fmt=flt:out_chlayout=mono:resampler=swr"
        )
        self._sink = graph.add("abuffersink")
        self._source.link_to(resample)
        resample.link_to(self._sink)
        try:
            graph.configure()
        except av.FFmpegError as error:
            _raise_if_memory(error)
            raise Refusal(Reason.BAD_AUDIO_FORMAT, f"no downmix of {template.layout.name} to mono: {error}") from error
        # Fewer and longer frames come out, each of which costs a call.
        graph.set_audio_frame_size(CLIP_RATE_HZ)
        self._graph = graph
        self._waiting = 0

    def push(self, frame: AudioFrame) -> bytes:
        self._source.push(frame)
        self._waiting += 1
        return self._pull() if self._waiting >= FRAMES_PER_PULL else b""

    def flush(self) -> bytes:
        self._source.push(None)
        return self._pull()

    def _pull(self) -> bytes:
        self._waiting = 0
        pulled = []
        with contextlib.suppress(av.BlockingIOError, av.EOFError):
            while True:
                frame = cast(AudioFrame, self._sink.pull())
                pulled.append(bytes(memoryview(frame.planes[0])[: frame.samples * SAMPLE_BYTES]))
        return b"".join(pulled)


class Cutter:
    """Takes decoded frames with their positions and keeps what lies in the clip.

    The resampler is started on a sample whose position at 16 kHz is whole, so its output falls on the same grid as a
    full decode's. Where a recording changes its rate or channels midway, each stretch has a resampler of its own.
    """

    def __init__(self, recording: Recording, start_sample: int, samples: int) -> None:
        self._recording = recording
        self._start = start_sample
        self._end = start_sample + samples
        self._format: tuple[int, str, str] | None = None
        self._resampler: Resampler | None = None
        self._stretch_start = 0  # at 16 kHz
        self._kept: list[bytes] = []
        self._kept_from = 0  # at 16 kHz, of the stretch in work
        self._next = 0  # position after the last frame, at its rate
        self._landed_at = 0
        self._feed_from = 0
        self._feed_until = 0
        self._chunks: list[bytes] = []
        self.rate_hz = 0
        self.channels = 0

    def feed_from(self, rate_hz: int) -> int:
        """The position at `rate_hz` from which frames are needed, within the stretch."""
        period = rate_hz // math.gcd(rate_hz, CLIP_RATE_HZ)
        start = (self._start - self._stretch_start) * rate_hz // CLIP_RATE_HZ - math.ceil(RESAMPLER_MARGIN_S * rate_hz)
        return max(0, start // period * period)

    def land(self, position: int) -> None:
        """The first frame that comes does not stand at the recording's start but here, at its own rate."""
        self._landed_at = position

    def push(self, frame: AudioFrame) -> bool:
        """Takes the next frame; True once the clip is complete."""
        form = (frame.sample_rate, frame.format.name, frame.layout.name)
        if form != self._format:
            self._begin_stretch(frame, form)
        begin, self._next = self._next, self._next + frame.samples
        if self._next <= self._feed_from:
            return False
        if self._resampler is None:
            frame = _without_first(frame, max(0, self._feed_from - begin))
            self._resampler = Resampler(frame)
        self._kept.append(self._resampler.push(frame))
        return self._next >= self._feed_until

    def _begin_stretch(self, frame: AudioFrame, form: tuple[int, str, str]) -> None:
        self._recording.check_format(frame.sample_rate, frame.layout.nb_channels)
        if self._format is not None:
            self._end_stretch()
        else:
            self.rate_hz, self.channels = frame.sample_rate, frame.layout.nb_channels
        self._next = self._landed_at if self._format is None else 0
        self._format = form
        self._feed_from = self.feed_from(frame.sample_rate)
        self._kept_from = self._stretch_start + self._feed_from * CLIP_RATE_HZ // frame.sample_rate
        end = self._end - self._stretch_start
        self._feed_until = -(-end * frame.sample_rate // CLIP_RATE_HZ) + math.ceil(
            RESAMPLER_MARGIN_S * frame.sample_rate
        )

    def _end_stretch(self) -> None:
        assert self._format is not None
        rate_hz = self._format[0]
        kept = b"".join(self._kept)
        end = self._stretch_start + round(Fraction(self._next * CLIP_RATE_HZ, rate_hz))
        if self._resampler is not None:
            kept += self._resampler.flush()
            self._resampler = None
            kept = kept[: max(0, end - self._kept_from) * SAMPLE_BYTES]
            skip = max(0, self._start - self._kept_from)
            self._chunks.append(kept[skip * SAMPLE_BYTES :])
        self._kept = []
        self._stretch_start = end

    def result(self, *, complete: bool, walked: bool) -> Cut:
        self._recording.check_damage()
        if self._format is None:
            raise Refusal(Reason.CORRUPT_MEDIA, "nothing of the audio can be decoded")
        self._end_stretch()
        samples = b"".join(self._chunks)[: (self._end - self._start) * SAMPLE_BYTES]
        return Cut(
            samples=samples,
            end_sample=None if complete else self._stretch_start,
            source_rate_hz=self.rate_hz,
            source_channels=self.channels,
            walked=walked,
        )


def _without_first(frame: AudioFrame, samples: int) -> AudioFrame:
    """The frame without its first samples."""
    if samples == 0:
        return frame
    kept = AudioFrame(format=frame.format, layout=frame.layout, samples=frame.samples - samples)
    kept.sample_rate = frame.sample_rate
    step = frame.format.bytes * (1 if frame.format.is_planar else frame.layout.nb_channels)
    for source, target in zip(frame.planes, kept.planes, strict=True):
        target.update(bytes(memoryview(source)[samples * step : frame.samples * step]))
    return kept


def cut_linear(recording: Recording, start_sample: int, samples: int) -> Cut:
    """Decodes from the start."""
    cutter = Cutter(recording, start_sample, samples)
    complete = any(cutter.push(frame) for frame in recording.frames(recording.packets()))
    return cutter.result(complete=complete, walked=False)


def cut_walking(recording: Recording, start_sample: int, samples: int) -> Cut | None:
    """Reads to the clip and decodes from there; None where the recording ends on the way. Raises CannotWalk."""
    if recording.codec not in WALKABLE_CODECS | PCM_CODECS or not recording.stream.rate:
        raise CannotWalk(f"codec {recording.codec}")
    rate_hz = OPUS_RATE_HZ if recording.codec == "opus" else recording.stream.rate
    lasts = _packet_clock(recording, rate_hz)
    cutter = Cutter(recording, start_sample, samples)
    needed_from = cutter.feed_from(rate_hz)
    walk_until = needed_from - round(PREROLL_S * rate_hz)
    packets = recording.packets()

    # The first packets tell how much the decoder discards at the start.
    lasted, position, steady = 0, 0, 0
    for packet in packets:
        duration = lasts(packet)
        decoded = sum(frame.samples for frame in recording.decode(packet) or ())
        lasted, position = lasted + duration, position + decoded
        steady = steady + 1 if decoded == duration else 0
        if steady == STEADY_PACKETS:
            break
    if steady < STEADY_PACKETS or position >= walk_until:
        raise CannotWalk("the clip is near the start")
    if recording.codec == "opus" and lasted - position != _opus_preskip(recording):
        raise CannotWalk("the decoder holds samples back")

    for packet in packets:
        if not packet.size:
            return None
        position += lasts(packet)
        if position >= walk_until:
            break
    recording.stream.codec_context.flush_buffers()

    steady = 0
    frames: list[AudioFrame] = []
    for packet in packets:
        if not packet.size:
            return None
        duration = lasts(packet)
        frames = recording.decode(packet) or []
        if position + duration > needed_from:
            break
        position += duration
        steady = steady + 1 if sum(frame.samples for frame in frames) == duration else 0
    if steady < STEADY_PACKETS:
        raise CannotWalk("packets do not decode to as many samples as they last")
    cutter.land(position)
    complete = any(cutter.push(frame) for frame in itertools.chain(frames, recording.frames(packets)))
    return cutter.result(complete=complete, walked=True)


def _packet_clock(recording: Recording, rate_hz: int) -> Callable[[AnyPacket], int]:
    """A function that tells how many samples a packet lasts; it raises CannotWalk where that is not known exactly."""
    samples_per_tick = (recording.stream.time_base or Fraction(0)) * rate_hz
    # Matroska rounds to milliseconds. Opus packets last multiples of 2.5 ms, which can be told apart all the same.
    grid = OPUS_GRID if recording.codec == "opus" else 1

    @functools.cache
    def samples_of(ticks: int) -> int:
        samples = ticks * samples_per_tick
        if grid == 1 and samples.denominator != 1:
            raise CannotWalk("time stamps are coarser than a sample")
        on_grid = round(samples / grid) * grid
        if on_grid <= 0:
            raise CannotWalk("packets without a duration")
        return on_grid

    return lambda packet: samples_of(packet.duration or 0)


def _opus_preskip(recording: Recording) -> int:
    """Samples at 48 kHz that the stream's header (RFC 7845, section 5.1) tells the decoder to discard."""
    return int.from_bytes((recording.stream.codec_context.extradata or b"")[10:12], "little")


def cut_once(media: bytes, config: DecodeConfig, start_sample: int, samples: int) -> tuple[Cut, Recording]:
    """One exact cut, by walking where that is exact."""
    recording = Recording(media, config)
    try:
        try:
            cut = cut_walking(recording, start_sample, samples)
        except CannotWalk:
            cut = None
    finally:
        recording.close()
    if cut is None:
        recording = Recording(media, config)
        try:
            cut = cut_linear(recording, start_sample, samples)
        finally:
            recording.close()
    return cut, recording


def cut_clip(media: bytes, spec: ClipSpec, config: DecodeConfig) -> tuple[dict[str, Any], bytes]:
    """The clip and what is known of it, by the policy for short recordings. Raises Refusal."""
    start, samples = spec.start_sample, spec.samples
    cut, recording = cut_once(media, config, start, samples)
    missing = samples - len(cut.samples) // SAMPLE_BYTES
    if missing > round(config.end_tolerance_s * CLIP_RATE_HZ):
        end = cut.end_sample
        assert end is not None
        short = Refusal(
            Reason.TOO_SHORT,
            f"ends at {end / CLIP_RATE_HZ:.3f} s, the clip at {(start + samples) / CLIP_RATE_HZ:.3f} s",
        )
        match config.short_policy:
            case ShortPolicy.DROP:
                raise short
            case ShortPolicy.PAD:
                if end <= start:
                    raise short
            case ShortPolicy.FROM_END:
                if end < samples:
                    raise short
                start = end - samples
                cut, recording = cut_once(media, config, start, samples)
                missing = samples - len(cut.samples) // SAMPLE_BYTES
    meta = {
        "start_sample": start,
        "padded_samples": missing,
        "source_rate_hz": cut.source_rate_hz,
        "source_channels": cut.source_channels,
        "container": recording.name,
        "codec": recording.codec,
        "walked": cut.walked,
    }
    return meta, cut.samples


def answer(media: bytes, spec: ClipSpec, config: DecodeConfig) -> tuple[dict[str, Any], bytes]:
    """The reply to one request: facts and samples, or a reason and no samples."""
    try:
        return cut_clip(media, spec, config)
    except Refusal as refusal:
        return {"reason": refusal.reason.value, "detail": refusal.detail}, b""
    except MemoryError:
        return {"reason": Reason.DECODER_MEMORY.value, "detail": f"more than {config.memory_bytes} bytes"}, b""
    except (av.FFmpegError, OSError, ValueError, OverflowError) as error:
        memory = isinstance(error, OSError) and error.errno == ENOMEM
        reason = Reason.DECODER_MEMORY if memory else Reason.CORRUPT_MEDIA
        return {"reason": reason.value, "detail": str(error)}, b""


def _warm_up(config: DecodeConfig) -> None:
    """Decodes a little silence, so that whatever is loaded or allocated at first use is there before rights go."""
    pcm = bytes(2 * CLIP_RATE_HZ)
    form = struct.pack("<IHHIIHH", 16, 1, 1, CLIP_RATE_HZ // 2, CLIP_RATE_HZ, 2, 16)
    wav = b"RIFF" + struct.pack("<I", 36 + len(pcm)) + b"WAVEfmt " + form + b"data" + struct.pack("<I", len(pcm)) + pcm
    cut_clip(wav, ClipSpec(start_s=0, duration_s=0.5), config)


def _resident_bytes(statm_fd: int | None) -> int:
    if statm_fd is None:
        return 0
    return int(os.pread(statm_fd, 128, 0).split()[1]) * resource.getpagesize()


def _lower(limit: int, value: int) -> None:
    """Sets a limit for good; where the parent has set a lower one, that stays."""
    hard = resource.getrlimit(limit)[1]
    value = value if hard == resource.RLIM_INFINITY else min(value, hard)
    resource.setrlimit(limit, (value, value))


def give_up_rights(config: DecodeConfig) -> int | None:
    """Leaves this process what decoding needs. Returns a descriptor from which its size is read, where there is one."""
    statm_fd = None
    with contextlib.suppress(OSError):  # there is no /proc on macOS
        statm_fd = os.open("/proc/self/statm", os.O_RDONLY)
    if statm_fd is not None:
        size = int(os.pread(statm_fd, 128, 0).split()[0]) * resource.getpagesize()
        _lower(resource.RLIMIT_AS, size + config.memory_bytes)
    for limit in (resource.RLIMIT_CORE, resource.RLIMIT_FSIZE, resource.RLIMIT_NPROC):
        _lower(limit, 0)
    # Descriptors are handed out from the lowest free number on, and all below this one are taken.
    first_free = os.dup(0)
    os.close(first_free)
    _lower(resource.RLIMIT_NOFILE, first_free)
    return statm_fd


def _end_with_parent() -> None:
    """Let the kernel end this process when the parent is gone, whatever a decoder is doing then."""
    lifeline = os.environ.pop(LIFELINE, None)
    if lifeline is None:
        return
    descriptor = int(lifeline)
    signal.signal(signal.SIGIO, signal.SIG_DFL)
    # Where a pipe cannot do this, reading from the closed standard input ends the process after the item.
    with contextlib.suppress(AttributeError, OSError):
        fcntl.fcntl(descriptor, fcntl.F_SETOWN, os.getpid())
        fcntl.fcntl(descriptor, fcntl.F_SETFL, fcntl.fcntl(descriptor, fcntl.F_GETFL) | os.O_ASYNC)
    if select.select([descriptor], [], [], 0)[0]:
        sys.exit(1)  # it was gone before


def _arm_deadline(deadline_s: float) -> None:
    """The kernel ends this process should the parent be gone; the parent's own deadline comes first."""
    signal.setitimer(signal.ITIMER_REAL, deadline_s + 1)
    usage = resource.getrusage(resource.RUSAGE_SELF)
    cpu_s = math.ceil(usage.ru_utime + usage.ru_stime + deadline_s + 1)
    hard_s = resource.getrlimit(resource.RLIMIT_CPU)[1]
    resource.setrlimit(resource.RLIMIT_CPU, (cpu_s if hard_s == resource.RLIM_INFINITY else min(cpu_s, hard_s), hard_s))


def _read_exactly(stream: BinaryIO, size: int) -> bytes:
    content = stream.read(size)
    if len(content) != size:
        raise EOFError
    return content


def _reply(stream: BinaryIO, number: int, meta: dict[str, Any], samples: bytes) -> None:
    meta_json = json.dumps(meta).encode()
    stream.write(REPLY_HEADER.pack(MAGIC, number, len(meta_json), len(samples)) + meta_json)
    stream.write(samples)
    stream.flush()


def main(config_json: str) -> None:
    """Serves requests from standard input until it closes."""
    config = DecodeConfig.from_json(json.loads(config_json))
    # The parent reads the real standard output; what a library prints must not get into it.
    requests, replies = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    _end_with_parent()
    av.logging.set_level(None)
    _warm_up(config)
    statm_fd = give_up_rights(config)
    _reply(replies, 0, {"ready": True, "av": av.__version__}, b"")
    while True:
        try:
            magic, number, spec_bytes, media_bytes = REQUEST_HEADER.unpack(_read_exactly(requests, REQUEST_HEADER.size))
        except EOFError:
            return
        if magic != MAGIC or spec_bytes > MAX_JSON_BYTES or media_bytes > config.max_media_bytes:
            return
        _arm_deadline(config.deadline_s)
        try:
            spec = ClipSpec(**json.loads(_read_exactly(requests, spec_bytes)))
            media = _read_exactly(requests, media_bytes)
        except EOFError:
            return
        meta, samples = answer(media, spec, config)
        del media
        meta["resident_bytes"] = _resident_bytes(statm_fd)
        _reply(replies, number, meta, samples)
        signal.setitimer(signal.ITIMER_REAL, 0)
