"""What the two sides of the decoder's pipe agree on: what to cut, within which limits, and how bytes are framed.

`pipeline.media.clip` (the parent) and `pipeline.media.helper` (the helper process) both read this file and nothing else
of each other. It imports the standard library only, because every start of a helper pays for its imports.

A request is a header, the `ClipSpec` as JSON and the media; a reply is a header, a JSON object and float32 samples:
those that the recording has, while the zeros after its end are only counted. Both carry the number of the request, and
each side checks magic, number and lengths before it reads on.

A second kind of request asks for the facts of several files (`pipeline.media.facts`): of each the size and some pieces,
which are sent one after the other. Its reply is a JSON list in the place of the samples, and says of a file what it is,
why it is refused, or which bytes more are needed for an answer.
"""

import dataclasses
import math
import struct
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

DECODER_VERSION = 2  # raised when other samples come out of the same media (tests/test_versions.py)
CLIP_RATE_HZ = 16_000
SAMPLE_BYTES = 4  # float32 on the pipe

MAGIC = b"OMc1"
FACTS_MAGIC = b"OMf1"  # of a request for facts
REQUEST_HEADER = struct.Struct("<4sQIQ")  # magic, request number, bytes of JSON, bytes of media
REPLY_HEADER = struct.Struct("<4sQII")  # magic, request number, bytes of JSON, bytes of samples
MAX_JSON_BYTES = 65_536
MAX_FACTS_FILES = 256  # of one request
MAX_FACTS_BYTES = 65_536  # what is said of one file; tags beyond it are cut

# Environment variable with the number of a pipe's descriptor that ends the helper when its other end is closed.
LIFELINE = "MULAN_LIFELINE"

LONGEST_CLIP_S = 3_600.0
# What files of recordings are called, where a folder is looked through; the decoder itself goes by their content.
MEDIA_SUFFIXES = (
    *(".flac", ".wav", ".mp3", ".m4a", ".mp4", ".aac", ".ogg", ".oga", ".opus", ".webm", ".mkv", ".mka"),
    *(".wma", ".ape", ".wv", ".tta", ".aif", ".aiff", ".caf", ".au", ".w64", ".ac3", ".eac3", ".dts", ".amr", ".3gp"),
    *(".mov", ".avi", ".flv", ".mpg", ".vob", ".m2ts"),
)
MIB = 1 << 20


class ShortPolicy(StrEnum):
    """What becomes of a recording that ends before its clip does."""

    DROP = "drop"  # it is too short
    FROM_END = "from_end"  # the clip is moved back so that it ends where the recording ends
    PAD = "pad"  # zeros follow the recording's end


@dataclass(frozen=True, kw_only=True)
class ClipSpec:
    """What to cut. Time zero is the first sample that a full decode puts out, whatever the container's time stamps.

    first_channel: of the first channel alone, where the mix of all is no clip of the recording.
    """

    start_s: float = 30.0
    duration_s: float = 30.0
    first_channel: bool = False

    def __post_init__(self) -> None:
        if not (math.isfinite(self.start_s) and self.start_s >= 0):
            raise ValueError(f"start_s must be zero or more seconds, not {self.start_s}")
        if not (1 / CLIP_RATE_HZ <= self.duration_s <= LONGEST_CLIP_S):
            raise ValueError(f"duration_s must lie between one sample and {LONGEST_CLIP_S:g} s, not {self.duration_s}")

    @property
    def start_sample(self) -> int:
        return round(self.start_s * CLIP_RATE_HZ)

    @property
    def samples(self) -> int:
        return round(self.duration_s * CLIP_RATE_HZ)


@dataclass(frozen=True, kw_only=True)
class Pieces:
    """What is sent of a file that is asked about: (where it begins, bytes), in order and apart from one another."""

    size: int
    pieces: tuple[tuple[int, int], ...]

    def __post_init__(self) -> None:
        reached = 0
        for start, length in self.pieces:
            if start < reached or length < 1 or start + length > self.size:
                raise ValueError(f"pieces {self.pieces} of {self.size} bytes")
            reached = start + length

    @property
    def sent_bytes(self) -> int:
        return sum(length for _, length in self.pieces)


@dataclass(frozen=True, kw_only=True)
class DecodeConfig:
    """How hard the decoder tries, and what it refuses. The one place of these defaults.

    end_tolerance_s: a recording that ends this much before its clip does still counts as long enough, and zeros fill
        the gap: codecs and containers that do not store their padding lose up to a frame at the end.
    deadline_s: wall time of one item, both attempts together.
    memory_bytes: address space that a helper may take beyond what it has after start-up.
    max_bad_packet_share: a clip of which more packets than this cannot be decoded is corrupt.
    recycle_after, recycle_rss_bytes: a helper is replaced after so many items, or when it has grown to this size.
    """

    short_policy: ShortPolicy = ShortPolicy.DROP
    end_tolerance_s: float = 0.02
    deadline_s: float = 60.0
    start_timeout_s: float = 60.0
    memory_bytes: int = 1024 * MIB
    max_media_bytes: int = 512 * MIB
    max_channels: int = 8
    min_sample_rate_hz: int = 4_000
    max_sample_rate_hz: int = 192_000
    max_streams: int = 32
    max_bad_packet_share: float = 0.05
    recycle_after: int = 200
    recycle_rss_bytes: int = 512 * MIB

    def __post_init__(self) -> None:
        object.__setattr__(self, "short_policy", ShortPolicy(self.short_policy))
        for name in ("deadline_s", "start_timeout_s", "max_media_bytes", "max_channels", "max_streams"):
            if getattr(self, name) <= 0:
                raise ValueError(f"{name} must be above zero, not {getattr(self, name)}")
        if self.recycle_after < 1:
            raise ValueError(f"recycle_after must be at least one item, not {self.recycle_after}")
        if not 0 <= self.end_tolerance_s <= 0.1:
            raise ValueError(f"end_tolerance_s must lie between 0 and 0.1, not {self.end_tolerance_s}")
        if not 0 <= self.max_bad_packet_share <= 1:
            raise ValueError(f"max_bad_packet_share must lie between 0 and 1, not {self.max_bad_packet_share}")
        if not 0 < self.min_sample_rate_hz <= self.max_sample_rate_hz:
            raise ValueError(
                f"min_sample_rate_hz {self.min_sample_rate_hz} must be above zero and at most "
                f"max_sample_rate_hz {self.max_sample_rate_hz}"
            )
        if self.memory_bytes < self.max_media_bytes + 64 * MIB:
            raise ValueError("memory_bytes must leave at least 64 MiB beyond max_media_bytes, which the helper holds")

    def to_json(self) -> dict[str, Any]:
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> "DecodeConfig":
        return cls(**value)
