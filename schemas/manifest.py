"""Manifest: what a trainer may read of a run. It names committed files only and is never changed once written.

`manifest.json` is a pointer (`{"manifest": "manifest-0002.json"}`) to the newest of `manifest-NNNN.json`.
"""

import dataclasses
from dataclasses import dataclass, field
from typing import Any

from schemas.digest import digest_json
from schemas.record import record_of
from schemas.version import VERSION

# Raised when a run means something else than older readers would take it for. A column that `schemas/columns.py` has a
# default for needs no other version: newer readers fill it in, and older ones pass over it.
FORMAT_VERSION = 1
POINTER_NAME = "manifest.json"


def manifest_name(number: int) -> str:
    return f"manifest-{number:04d}.json"


@dataclass(frozen=True, kw_only=True)
class ShardEntry:
    """One committed shard. `path` is relative to the run folder; `sha256` is of the file."""

    path: str
    sha256: str
    bytes: int
    rows: int
    generation: int
    index: int


@dataclass(frozen=True, kw_only=True)
class DetectorEntry:
    """The music detector that judged the clips, with its frame grid."""

    name: str
    digest: str
    window_s: float
    hop_s: float
    threshold: float
    min_fraction: float
    demo_grade: bool


@dataclass(frozen=True, kw_only=True)
class LongFormEntry:
    """The sentence classifier. `threshold` may be moved by a reader: every sentence keeps its score."""

    model: str
    digest: str | None
    threshold: float | None


@dataclass(frozen=True, kw_only=True)
class Manifest:
    number: int
    shard_format: str
    audio_encoding: str
    sample_rate_hz: int
    config_digest: str
    catalogue_digest: str
    detector: DetectorEntry
    long_form: LongFormEntry
    shards: tuple[ShardEntry, ...]
    groups_path: str
    accounting: dict[str, Any]  # recordings and annotations by outcome and reason
    tombstones: tuple[str, ...] = ()  # files that list removed recordings
    format_version: int = field(default=FORMAT_VERSION)

    def to_json(self) -> dict[str, Any]:
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> "Manifest":
        """Raises ValueError where a newer version wrote the file, or where it has other fields than it should."""
        version = value.get("format_version")
        if version not in range(1, FORMAT_VERSION + 1):
            raise ValueError(
                f"manifest has format_version {version!r}, and openmulan {VERSION} reads those up to {FORMAT_VERSION}; "
                "read it with the version that wrote it, or a later one"
            )
        manifest = record_of(cls, value, "the manifest")
        for name in ("shards", "tombstones"):
            if not isinstance(getattr(manifest, name), list | tuple):
                raise ValueError(f"the manifest's {name} are not a list")
        return dataclasses.replace(
            manifest,
            detector=record_of(DetectorEntry, value["detector"], "the manifest's detector"),
            long_form=record_of(LongFormEntry, value["long_form"], "the manifest's long_form"),
            shards=tuple(record_of(ShardEntry, entry, "a shard of the manifest") for entry in value["shards"]),
            tombstones=tuple(manifest.tombstones),
        )

    def digest(self) -> str:
        """Digest of the content but for the number: two manifests with one digest name the same data."""
        return digest_json({**self.to_json(), "number": 0})
