"""Commit records: the small files that say that a plan part or a shard is whole.

A file that no commit record names does not exist for anyone: it may be the rest of a killed attempt. What a record says
of time (`seconds`) is for the report alone and never enters a manifest.
"""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from schemas.accounting import Account, sum_counts
from schemas.shard import COUNTS
from schemas.sources import COUNTED_TEXTS, TextSource

HISTOGRAM_BINS = 20  # of the music fraction, each 0.05 wide; the last one holds 1.0 too


def part_key(generation: int, index: int) -> str:
    """Names a plan part and the shard that is built from it."""
    return f"g{generation:04d}-{index:05d}"


@dataclass(frozen=True, kw_only=True)
class FileEntry:
    """A file of the run folder. `path` is relative to it; `sha256` is of the content."""

    path: str
    sha256: str
    bytes: int
    rows: int


@dataclass(frozen=True, kw_only=True)
class PartRecord:
    """One plan part: the rows of one future shard, and what became of the annotations of its recordings.

    A part that `replaces` an earlier one has its rows without those that were removed from the catalogue since.
    """

    generation: int
    index: int
    file: FileEntry
    annotations: dict[str, Account]  # by text source
    rule_hits: dict[str, int]  # of the short-form rules
    replaces: str | None = None  # key of the earlier part

    @property
    def key(self) -> str:
        return part_key(self.generation, self.index)

    def bare(self) -> "PartRecord":
        """Which part it is, without what became of its annotations."""
        return dataclasses.replace(self, annotations={}, rule_hits={})

    def to_json(self) -> dict[str, Any]:
        return {
            **dataclasses.asdict(self),
            "annotations": {source: account.to_json() for source, account in self.annotations.items()},
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> "PartRecord":
        return cls(
            generation=value["generation"],
            index=value["index"],
            file=FileEntry(**value["file"]),
            annotations={source: Account.from_json(account) for source, account in value["annotations"].items()},
            rule_hits=value["rule_hits"],
            replaces=value["replaces"],
        )


@dataclass(kw_only=True)
class TextTotals:
    """Sums over kept rows, for the paper's Table 2."""

    counts: dict[str, int] = field(default_factory=lambda: {name.name: 0 for name in COUNTS})
    recordings_with: dict[str, int] = field(
        default_factory=lambda: dict.fromkeys((*COUNTED_TEXTS, "any", "lf_above_threshold"), 0)
    )
    lf_above_threshold: dict[str, int] = field(default_factory=lambda: {"annotations": 0, "tokens": 0})
    text_sources: dict[str, int] = field(default_factory=dict)  # rows by bit mask

    def add_row(self, row: Mapping[str, Any], lf_threshold: float | None) -> None:
        """`row` has the text columns of a shard."""
        for name, count in row["counts"].items():
            self.counts[name] += count
        for name in COUNTED_TEXTS:
            self.recordings_with[name] += bool(row["counts"][f"{name}_annotations"])
        self.recordings_with["any"] += bool(row["text_sources"])
        mask = str(int(TextSource(row["text_sources"])))
        self.text_sources[mask] = self.text_sources.get(mask, 0) + 1
        if lf_threshold is not None:
            above = [s for s in row["lf"] if s["score"] is not None and s["score"] >= lf_threshold]
            self.recordings_with["lf_above_threshold"] += bool(above)
            self.lf_above_threshold["annotations"] += sum(s["occurrences"] for s in above)
            self.lf_above_threshold["tokens"] += sum(s["occurrences"] * s["tokens"] for s in above)

    def add(self, other: "TextTotals") -> None:
        self.counts = sum_counts([self.counts, other.counts])
        self.recordings_with = sum_counts([self.recordings_with, other.recordings_with])
        self.lf_above_threshold = sum_counts([self.lf_above_threshold, other.lf_above_threshold])
        self.text_sources = sum_counts([self.text_sources, other.text_sources])


@dataclass(frozen=True, kw_only=True)
class ShardRecord:
    """One shard: what is in it, what was left out and why. `shard` is None where nothing was kept."""

    generation: int
    index: int
    part_sha256: str  # of the plan part that it was built from
    config_digest: str
    shard: FileEntry | None
    rejects: FileEntry | None
    recordings: Account
    music_fractions: tuple[int, ...]  # histogram over the clips that were judged
    texts: TextTotals
    clip_s: float  # seconds of audio in the shard
    seconds: dict[str, float] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        return {**dataclasses.asdict(self), "recordings": self.recordings.to_json()}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> "ShardRecord":
        """Raises KeyError, TypeError or ValueError where the record is not whole."""
        return cls(
            **{
                **value,
                "shard": FileEntry(**value["shard"]) if value["shard"] else None,
                "rejects": FileEntry(**value["rejects"]) if value["rejects"] else None,
                "recordings": Account.from_json(value["recordings"]),
                "music_fractions": tuple(value["music_fractions"]),
                "texts": TextTotals(**value["texts"]),
            }
        )
