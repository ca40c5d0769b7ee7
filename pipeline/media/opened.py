"""An opened container and the one audio stream of it that is decoded.

Only listed containers and codecs are opened. The container is told from its first bytes and named to ffmpeg, which
therefore never guesses: a playlist that is called `.ogg` is an unknown container. Video is never decoded.
"""

from __future__ import annotations  # PyAV's classes are generic in its stubs only

import functools
import io
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any, NoReturn, TypeAlias

import av
import av.container

# PyAV imports these when it first meets such a stream, and by then the helper process can open no file.
import av.subtitles.codeccontext
import av.subtitles.stream
from av.audio.frame import AudioFrame
from av.audio.stream import AudioStream
from av.packet import Packet
from av.stream import Stream

from pipeline.media.ogg_links import form_changes
from pipeline.media.protocol import DecodeConfig
from pipeline.media.sniff import sniff
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
    "avi": "avi",
    "asf": "asf",
    "flv": "flv",
    "mpegts": "mpegts",
    "mpegps": "mpeg",
    "caf": "caf",
    "au": "au",
    "w64": "w64",
    "ac3": "ac3",
    "eac3": "eac3",
    "dts": "dts",
    "amr": "amr",
    "ape": "ape",
    "tta": "tta",
    "wavpack": "wv",
}
# Each of these forgets its past within the walk's pre-roll, and its packets' durations can be counted on. AAC is not
# among them: its decoder fills bands with noise from a generator that runs on between packets. Nor is Vorbis: what
# ffmpeg believes its packets to last is wrong where long and short blocks meet.
WALKABLE_CODECS = frozenset({"flac", "alac", "mp1", "mp2", "mp3", "mp1float", "mp2float", "mp3float", "opus"})
# Elsewhere time stamps are coarse, or what stands between packets can be lost without a trace.
WALKABLE_CONTAINERS = frozenset({"wav", "aiff", "flac", "mp3", "aac", "ogg", "mp4", "matroska"})
OTHER_CODECS = frozenset(
    {
        *("vorbis", "aac", "ac3", "eac3", "dca", "wmav1", "wmav2", "amrnb", "wavpack", "ape", "tta"),
        *("adpcm_ms", "adpcm_ima_wav", "adpcm_ima_qt", "pcm_dvd"),
    }
)
PCM_CODECS = frozenset(
    f"pcm_{name}"
    for name in (
        *("u8", "s8", "s16le", "s16be", "s24le", "s24be", "s32le", "s32be"),
        *("f32le", "f32be", "f64le", "f64be", "alaw", "mulaw"),
    )
)
CODECS = WALKABLE_CODECS | OTHER_CODECS | PCM_CODECS

AnyPacket: TypeAlias = "Packet[AudioStream] | Packet[Stream]"
ENOMEM = 12


class Refusal(Exception):
    """The item is not decoded: a reason and a line for the report."""

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason
        self.detail = detail


def _refuse_to_open(*_: Any) -> NoReturn:
    raise PermissionError("the decoder opens nothing besides the bytes that it was given")


class _From(io.BytesIO):
    """Media from a byte on, without a copy of them."""

    def __init__(self, media: bytes, start: int) -> None:
        super().__init__(media)
        self._start = start
        super().seek(start)

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        return super().seek(offset + (self._start if whence == io.SEEK_SET else 0), whence) - self._start

    def tell(self) -> int:
        return super().tell() - self._start


@functools.cache
def _options(demuxer: str) -> dict[str, str]:
    return {
        "format_whitelist": av.ContainerFormat(demuxer, "r").name,
        "codec_whitelist": ",".join(sorted(CODECS)),
        "protocol_whitelist": "none",
        **({"enable_drefs": "0", "use_absolute_path": "0"} if demuxer == "mov" else {}),
    }


def open_container(
    file: io.RawIOBase | io.BytesIO, name: str, options: Mapping[str, str] = MappingProxyType({})
) -> av.container.InputContainer:
    """Opens a container of which `sniff` told the name, and of it nothing but what the file has. Raises FFmpegError.

    Bytes of tags that are no UTF-8 are lone surrogates in them. options: of the demuxer, besides ours.
    """
    demuxer = DEMUXERS[name]
    return av.open(
        file,
        "r",
        format=demuxer,
        container_options={**options, **_options(demuxer)},
        metadata_errors="surrogateescape",
        io_open=_refuse_to_open,
    )


def choose_stream(container: av.container.InputContainer, name: str, config: DecodeConfig) -> AudioStream:
    """The audio stream that ffmpeg's command line takes, which is the one flagged as default, of several the one with
    the most channels, of those the first. Raises Refusal."""
    streams = list(container.streams)
    if len(streams) > config.max_streams:
        raise Refusal(Reason.BAD_AUDIO_FORMAT, f"{len(streams)} streams, more than the {config.max_streams} allowed")
    candidates = [stream for stream in streams if isinstance(stream, AudioStream)]
    if not candidates:
        raise Refusal(Reason.NO_AUDIO, f"{len(streams)} streams, none of them audio")
    chosen = candidates[0]
    if len(candidates) > 1:
        default = av.stream.Disposition.default
        chosen = max(candidates, key=lambda s: (bool(s.disposition & default), s.channels if s.codec_context else 0))
    codec = chosen.codec_context.codec.name if chosen.codec_context else "unknown"
    if codec not in CODECS:
        raise Refusal(Reason.UNKNOWN_CODEC, f"codec {codec} in {name}")
    return chosen


class OpenedMedia:
    """One opened container and the audio stream of it that is decoded."""

    def __init__(self, media: bytes, config: DecodeConfig) -> None:
        found = sniff(media)
        if found is None:
            raise Refusal(Reason.UNKNOWN_CONTAINER, f"begins with {media[:12]!r}")
        self.name = found.name
        self.config = config
        self.packets_seen = 0
        self.packets_bad = 0
        self._media = media
        self._later_parts = form_changes(media) if found.name == "ogg" else []  # where they begin
        self._open(found.start)
        self.codec = self.stream.codec_context.codec.name
        self.walkable = self.name in WALKABLE_CONTAINERS and self.codec in WALKABLE_CODECS | PCM_CODECS

    def _open(self, start: int) -> None:
        end = self._later_parts[0] if self._later_parts else len(self._media)
        self.container = open_container(_From(self._media[:end], start), self.name)
        try:
            self.stream = self._choose_stream()
        except BaseException:
            self.container.close()
            raise

    def _choose_stream(self) -> AudioStream:
        chosen = choose_stream(self.container, self.name, self.config)
        for stream in self.container.streams:
            if stream is not chosen:
                stream.discard = av.stream.Discard.all
        chosen.codec_context.thread_count = 1
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
            raise_if_memory(error)
            yield Packet()
        except IndexError:
            # PyAV has no name for streams that appear on the way (FLV, MPEG-TS). It meets them when it flushes, which
            # is in the order of streams, so ours is flushed by then.
            return

    def decode(self, packet: AnyPacket) -> list[AudioFrame] | None:
        """Frames of one packet; None where it cannot be decoded."""
        try:
            frames = self.stream.codec_context.decode(packet if packet.size else None)
        except EOFError:
            return []
        except av.FFmpegError as error:
            raise_if_memory(error)
            return None
        return frames

    def frames(self, packets: Iterator[AnyPacket]) -> Iterator[AudioFrame]:
        """Frames to the recording's end as ffmpeg's command line sees them: packets that cannot be decoded are passed
        over, and counted. Links of a chained Ogg file follow whose form is another, at which ffmpeg stops."""
        while True:
            for packet in packets:
                frames = self.decode(packet)
                self.packets_seen += 1
                if frames is None:
                    self.packets_bad += 1
                    continue
                yield from frames
            if not self._later_parts:
                return
            self.container.close()
            try:
                self._open(self._later_parts.pop(0))
            except av.FFmpegError as error:  # damage that stops the demuxer is an end
                raise_if_memory(error)
                return
            packets = self.packets()

    def check_damage(self) -> None:
        if self.packets_bad > self.config.max_bad_packet_share * self.packets_seen:
            raise Refusal(Reason.CORRUPT_MEDIA, f"{self.packets_bad} of {self.packets_seen} packets cannot be decoded")

    def close(self) -> None:
        self.container.close()


def raise_if_memory(error: av.FFmpegError) -> None:
    if error.errno == ENOMEM:
        raise MemoryError(str(error)) from error
