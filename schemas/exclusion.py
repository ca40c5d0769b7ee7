"""Exclusion: something that must not be trained on, because an evaluation set has it.

A file of them (JSONL) is written by `mulan evaluate --write_exclude` and read by `mulan mine --exclude`. A line names
a recording by `recording_id`, a clip by `audio_sha256` (of its decoded int16 samples, as in a shard row), or a
playlist by `title`; `origin` says which evaluation set it comes from. Titles are compared as `title_key` has them.
"""

import json
import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from schemas.digest import digest_json
from schemas.jsonl import read_objects

_SHA256_HEX_CHARS = 64


def title_key(title: str) -> str:
    """A title without case, punctuation and spacing, so that "Rainy-day Jazz!" equals "rainy day  jazz"."""
    folded = unicodedata.normalize("NFKC", title).casefold()
    return " ".join("".join(c if c.isalnum() else " " for c in folded).split()) or folded.strip()


@dataclass(frozen=True, kw_only=True, order=True)
class Exclusion:
    """Exactly one of `recording_id`, `audio_sha256` and `title` is set."""

    recording_id: str | None = None
    audio_sha256: str | None = None
    title: str | None = None
    origin: str = ""

    def __post_init__(self) -> None:
        named = [value for value in (self.recording_id, self.audio_sha256, self.title) if value is not None]
        if len(named) != 1 or not named[0].strip():
            raise ValueError("an exclusion names one recording_id, one audio_sha256 or one title")
        sha = self.audio_sha256
        if sha is not None and (len(sha) != _SHA256_HEX_CHARS or set(sha) - set("0123456789abcdef")):
            raise ValueError(f"audio_sha256 {sha!r} is not 64 hexadecimal digits")

    def to_json(self) -> dict[str, str]:
        fields = {"recording_id": self.recording_id, "audio_sha256": self.audio_sha256, "title": self.title}
        return {**{name: value for name, value in fields.items() if value is not None}, "origin": self.origin}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> "Exclusion":
        """Raises ValueError where a field is unknown or not a string."""
        unknown = set(value) - {"recording_id", "audio_sha256", "title", "origin"}
        if unknown or not all(isinstance(v, str) for v in value.values()):
            raise ValueError("the fields are recording_id, audio_sha256 or title, and origin, all strings")
        return cls(**value)


@dataclass(frozen=True, kw_only=True)
class ExclusionList:
    """What a file excludes, ready to be asked."""

    recording_ids: frozenset[str] = frozenset()
    audio_sha256: frozenset[str] = frozenset()
    title_keys: frozenset[str] = frozenset()

    @classmethod
    def of(cls, exclusions: Iterable[Exclusion]) -> "ExclusionList":
        every = list(exclusions)
        return cls(
            recording_ids=frozenset(e.recording_id for e in every if e.recording_id is not None),
            audio_sha256=frozenset(e.audio_sha256 for e in every if e.audio_sha256 is not None),
            title_keys=frozenset(title_key(e.title) for e in every if e.title is not None),
        )

    @classmethod
    def read(cls, path: Path) -> "ExclusionList":
        """Raises ValueError that names the file and the line."""
        return cls.of(read_exclusions(path))

    def has_title(self, title: str) -> bool:
        return bool(self.title_keys) and title_key(title) in self.title_keys

    def digest(self) -> str:
        """Of what is excluded, whatever the order of the file and its `origin`s; empty where nothing is."""
        lists = list(self.to_json().values())
        return digest_json(lists) if any(lists) else ""

    def to_json(self) -> dict[str, list[str]]:
        names = ("recording_ids", "audio_sha256", "title_keys")
        return {name: sorted(getattr(self, name)) for name in names}

    @classmethod
    def from_json(cls, value: Mapping[str, list[str]]) -> "ExclusionList":
        return cls(**{name: frozenset(values) for name, values in value.items()})


def read_exclusions(path: Path) -> Iterator[Exclusion]:
    """Raises ValueError that names the file and the line."""
    for where, value in read_objects(path):
        try:
            yield Exclusion.from_json(value)
        except ValueError as error:
            raise ValueError(f"{where}: {error}") from error


def write_exclusions(path: Path, exclusions: Iterable[Exclusion]) -> int:
    """Writes them sorted and each once; returns how many."""
    lines = sorted({json.dumps(e.to_json(), ensure_ascii=False, sort_keys=True) for e in exclusions})
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return len(lines)
