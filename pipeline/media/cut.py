"""The exact clip of an opened container: float32 samples at 16 kHz, mono.

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
import itertools
import math
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, cast

import av
import av.filter
from av.audio.frame import AudioFrame

from pipeline.media.opened import OpenedMedia, Refusal, raise_if_memory
from pipeline.media.packet_clock import OPUS_RATE_HZ, CannotWalk, PacketClock
from pipeline.media.protocol import CLIP_RATE_HZ, SAMPLE_BYTES, ClipSpec, DecodeConfig, ShortPolicy
from schemas.reasons import Reason

PREROLL_S = 1.0
# What the resampler looks at on either side of a sample is 2 ms (32 taps at the lower rate); this is ample.
RESAMPLER_MARGIN_S = 0.05
STEADY_PACKETS = 3  # in a row that must decode to as many samples as they last, at the start and after the walk
FRAMES_PER_PULL = 32


@dataclass(kw_only=True)
class Cut:
    """What one pass brought: samples from the clip's start on, and the recording's end where it was met."""

    samples: bytes
    end_sample: int | None
    source_rate_hz: int
    source_channels: int
    walked: bool


class Resampler:
    """To 16 kHz mono float32. One `aresample` of ffmpeg, with the downmix of its command line for 16-bit output, which
    scales a mix so that it cannot clip, or of the first channel alone."""

    def __init__(self, template: AudioFrame, *, first_channel: bool) -> None:
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
        into = resample
        if first_channel:
            into = graph.add("pan", "mono|c0=c0")
            into.link_to(resample)
        self._source.link_to(into)
        resample.link_to(self._sink)
        try:
            graph.configure()
        except av.FFmpegError as error:
            raise_if_memory(error)
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

    def __init__(self, opened: OpenedMedia, start_sample: int, samples: int, *, first_channel: bool) -> None:
        self._opened = opened
        self._first_channel = first_channel
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
            self._resampler = Resampler(frame, first_channel=self._first_channel)
        self._kept.append(self._resampler.push(frame))
        return self._next >= self._feed_until

    def _begin_stretch(self, frame: AudioFrame, form: tuple[int, str, str]) -> None:
        self._opened.check_format(frame.sample_rate, frame.layout.nb_channels)
        if self._format is not None:
            self._end_stretch(goes_on=True)
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

    def _end_stretch(self, *, goes_on: bool) -> None:
        assert self._format is not None
        rate_hz = self._format[0]
        kept = b"".join(self._kept)
        end = self._stretch_start + round(Fraction(self._next * CLIP_RATE_HZ, rate_hz))
        if self._resampler is not None:
            kept += self._resampler.flush()
            self._resampler = None
            kept = kept[: max(0, end - self._kept_from) * SAMPLE_BYTES]
            if goes_on:  # the resampler may end a sample early, and what follows would move up
                missing = end - self._kept_from - len(kept) // SAMPLE_BYTES
                kept += (kept[-SAMPLE_BYTES:] or bytes(SAMPLE_BYTES)) * missing
            skip = max(0, self._start - self._kept_from)
            self._chunks.append(kept[skip * SAMPLE_BYTES :])
        self._kept = []
        self._stretch_start = end

    def result(self, *, complete: bool, walked: bool) -> Cut:
        self._opened.check_damage()
        if self._format is None:
            raise Refusal(Reason.CORRUPT_MEDIA, "nothing of the audio can be decoded")
        self._end_stretch(goes_on=False)
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


def cut_linear(opened: OpenedMedia, start_sample: int, samples: int, *, first_channel: bool = False) -> Cut:
    """Decodes from the start."""
    cutter = Cutter(opened, start_sample, samples, first_channel=first_channel)
    complete = any(cutter.push(frame) for frame in opened.frames(opened.packets()))
    return cutter.result(complete=complete, walked=False)


def cut_walking(opened: OpenedMedia, start_sample: int, samples: int, *, first_channel: bool = False) -> Cut | None:
    """Reads to the clip and decodes from there; None where the recording ends on the way. Raises CannotWalk."""
    if not opened.walkable or not opened.stream.rate:
        raise CannotWalk(f"{opened.codec} in {opened.name}")
    rate_hz = OPUS_RATE_HZ if opened.codec == "opus" else opened.stream.rate
    clock = PacketClock(opened, rate_hz)
    cutter = Cutter(opened, start_sample, samples, first_channel=first_channel)
    needed_from = cutter.feed_from(rate_hz)
    walk_until = needed_from - round(PREROLL_S * rate_hz)
    packets = opened.packets()

    # The first packets tell how much the decoder discards at the start.
    lasted, position, steady = 0, 0, 0
    for packet in packets:
        duration = clock.at_start(packet)
        decoded = _samples_in(opened.decode(packet) or [], rate_hz)
        lasted, position = lasted + duration, position + decoded
        steady = steady + 1 if decoded == duration else 0
        if steady == STEADY_PACKETS:
            break
    if steady < STEADY_PACKETS or position >= walk_until:
        raise CannotWalk("the clip is near the start")
    if opened.codec == "opus" and lasted - position != _opus_preskip(opened):
        raise CannotWalk("the decoder holds samples back")

    for packet in packets:
        if not packet.size:
            return None
        position += clock.on_the_way(packet)
        if position >= walk_until:
            break
    opened.stream.codec_context.flush_buffers()

    frames: list[AudioFrame] = []
    for packet in packets:
        if not packet.size:
            return None
        duration = clock.on_the_way(packet)
        frames = opened.decode(packet) or []
        if _samples_in(frames, rate_hz) != duration:
            raise CannotWalk("a packet does not decode to as many samples as it lasts")
        if position + duration > needed_from:
            break
        position += duration
    cutter.land(position)
    complete = any(cutter.push(frame) for frame in itertools.chain(frames, opened.frames(packets)))
    return cutter.result(complete=complete, walked=True)


def _samples_in(frames: list[AudioFrame], rate_hz: int) -> int:
    if any(frame.sample_rate != rate_hz for frame in frames):
        raise CannotWalk("the rate changes")
    return sum(frame.samples for frame in frames)


def _opus_preskip(opened: OpenedMedia) -> int:
    """Samples at 48 kHz that the stream's header (RFC 7845, section 5.1) tells the decoder to discard."""
    return int.from_bytes((opened.stream.codec_context.extradata or b"")[10:12], "little")


def cut_once(
    media: bytes, config: DecodeConfig, start_sample: int, samples: int, *, first_channel: bool = False
) -> tuple[Cut, OpenedMedia]:
    """One exact cut, by walking where that is exact."""
    opened = OpenedMedia(media, config)
    try:
        try:
            cut = cut_walking(opened, start_sample, samples, first_channel=first_channel)
        except CannotWalk:
            cut = None
    finally:
        opened.close()
    if cut is None:
        opened = OpenedMedia(media, config)
        try:
            cut = cut_linear(opened, start_sample, samples, first_channel=first_channel)
        finally:
            opened.close()
    return cut, opened


def cut_clip(media: bytes, spec: ClipSpec, config: DecodeConfig) -> tuple[dict[str, Any], bytes]:
    """The clip and what is known of it, by the policy for short recordings. Raises Refusal."""
    start, samples = spec.start_sample, spec.samples
    cut, opened = cut_once(media, config, start, samples, first_channel=spec.first_channel)
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
                cut, opened = cut_once(media, config, start, samples, first_channel=spec.first_channel)
                missing = samples - len(cut.samples) // SAMPLE_BYTES
    meta = {
        "start_sample": start,
        "padded_samples": missing,
        "source_rate_hz": cut.source_rate_hz,
        "source_channels": cut.source_channels,
        "container": opened.name,
        "codec": opened.codec,
        "walked": cut.walked,
    }
    return meta, cut.samples
