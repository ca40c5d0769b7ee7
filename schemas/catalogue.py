"""Catalogue row: one recording and the text that stands around it, as a user writes it.

The same checks serve JSONL, CSV and Parquet; `python -m schemas.catalogue` prints them as a JSON Schema, for people and
editors.
"""

import json
import sys
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

from schemas.cells import RowError, as_number, as_text, optional_text, text_list, utf8
from schemas.digest import digest_json
from schemas.reasons import Reason
from schemas.sources import CATALOGUE_TEXTS, Source

DEFAULT_START_S = 30.0
DEFAULT_DURATION_S = 30.0
MIN_DURATION_S = 1 / 16_000  # one sample of a clip
MAX_DURATION_S = 600.0
MAX_START_S = 1e6  # eleven days, longer than any recording
MAX_ID_BYTES = 1024
MAX_URI_BYTES = 4096
JSON_SCHEMA_PATH = Path(__file__).with_name("catalogue.schema.json")


class MusicGate(StrEnum):
    """`apply` drops a clip that is not music, `score_only` keeps it with its scores (AudioSet)."""

    APPLY = "apply"
    SCORE_ONLY = "score_only"


@dataclass(frozen=True, kw_only=True)
class CatalogueRow:
    recording_id: str
    audio_uri: str
    # What is written about it, by catalogue field (`schemas.sources`); one text is a list of one, none is left out.
    texts: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    licence: str | None = None
    source: str | None = None
    start_s: float = DEFAULT_START_S
    duration_s: float = DEFAULT_DURATION_S
    music_gate: MusicGate = MusicGate.APPLY

    def to_json(self) -> dict[str, Any]:
        """Plain values only; fields that are at their default are left out."""
        value: dict[str, Any] = {"recording_id": self.recording_id, "audio_uri": self.audio_uri}
        for name in ("licence", "source"):
            if (text := getattr(self, name)) is not None:
                value[name] = text
        for said in CATALOGUE_TEXTS:
            if texts := self.texts.get(said.name):
                value[said.name] = list(texts) if said.many else texts[0]
        if self.start_s != DEFAULT_START_S:
            value["start_s"] = self.start_s
        if self.duration_s != DEFAULT_DURATION_S:
            value["duration_s"] = self.duration_s
        if self.music_gate != MusicGate.APPLY:
            value["music_gate"] = str(self.music_gate)
        return value

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> "CatalogueRow":
        """Of what `to_json` gave, which is not checked again."""
        return cls(
            recording_id=value["recording_id"],
            audio_uri=value["audio_uri"],
            texts={
                said.name: tuple(value[said.name]) if said.many else (value[said.name],)
                for said in CATALOGUE_TEXTS
                if said.name in value
            },
            licence=value.get("licence"),
            source=value.get("source"),
            start_s=value.get("start_s", DEFAULT_START_S),
            duration_s=value.get("duration_s", DEFAULT_DURATION_S),
            music_gate=MusicGate(value.get("music_gate", MusicGate.APPLY)),
        )

    def digest(self) -> str:
        """Depends on the content alone: not on the file, the line, the format or the order of the fields."""
        return digest_json(self.to_json())

    def text(self, name: str) -> str | None:
        """Of a field that has one at most."""
        texts = self.texts.get(name)
        return texts[0] if texts else None

    def texts_of(self, source: Source) -> list[str]:
        """All that the fields of a source say, in their order."""
        return [text for said in source.fields for text in self.texts.get(said.name, ())]


FIELDS = (
    *(name for name in CatalogueRow.__dataclass_fields__ if name != "texts"),
    *(said.name for said in CATALOGUE_TEXTS),
)
LIST_FIELDS = tuple(said.name for said in CATALOGUE_TEXTS if said.many)


def parse_catalogue_row(value: Mapping[str, Any]) -> CatalogueRow:
    """A row from plain values; unknown fields are ignored. Raises RowError."""
    gate = optional_text(value, "music_gate")
    if gate is not None and gate not in tuple(MusicGate):
        raise RowError(Reason.BAD_VALUE, f"music_gate is {gate!r}; it may be apply or score_only")
    start_s = _seconds(value, "start_s", DEFAULT_START_S)
    duration_s = _seconds(value, "duration_s", DEFAULT_DURATION_S)
    if not 0 <= start_s <= MAX_START_S:
        raise RowError(Reason.BAD_VALUE, f"start_s is {start_s}; it must be in [0, {MAX_START_S:.0f}]")
    if not MIN_DURATION_S <= duration_s <= MAX_DURATION_S:
        raise RowError(
            Reason.BAD_VALUE,
            f"duration_s is {duration_s}; it must be in [{MIN_DURATION_S}, {MAX_DURATION_S:.0f}], from one sample on",
        )
    return CatalogueRow(
        recording_id=required_name(value, "recording_id", MAX_ID_BYTES),
        audio_uri=required_name(value, "audio_uri", MAX_URI_BYTES),
        texts=_texts(value),
        licence=optional_text(value, "licence"),
        source=optional_text(value, "source"),
        start_s=start_s,
        duration_s=duration_s,
        music_gate=MusicGate(gate) if gate is not None else MusicGate.APPLY,
    )


def _texts(value: Mapping[str, Any]) -> dict[str, tuple[str, ...]]:
    found = {}
    for said in CATALOGUE_TEXTS:
        if value.get(said.name) is None:
            continue
        text = None if said.many else optional_text(value, said.name)
        texts = text_list(value, said.name) if said.many else (text,) if text is not None else ()
        if texts:
            found[said.name] = texts
    return found


def required_name(value: Mapping[str, Any], field: str, max_bytes: int) -> str:
    """A text that names something: there, not blank, of bounded size, without control characters."""
    name = as_text(value.get(field), field)
    if not name:
        raise RowError(Reason.MISSING_FIELD, f"{field} is missing")
    if not name.strip():
        raise RowError(Reason.MISSING_FIELD, f"{field} is blank")
    if len(utf8(name, field)) > max_bytes:
        raise RowError(Reason.BAD_VALUE, f"{field} is longer than {max_bytes} bytes")
    if not name.isprintable() and any(unicodedata.category(character) == "Cc" for character in name):
        raise RowError(Reason.BAD_VALUE, f"{field} has control characters")
    return name


def _seconds(value: Mapping[str, Any], field: str, default: float) -> float:
    number = as_number(value.get(field), field)
    return default if number is None else number


def row_json_schema() -> dict[str, Any]:
    """The JSON Schema of a row, for documentation and editors: the file's, with the texts of the sources."""
    schema: dict[str, Any] = json.loads(JSON_SCHEMA_PATH.read_text(encoding="utf-8"))
    for said in CATALOGUE_TEXTS:
        text = {"type": ["string", "integer", "null"]}
        kind = {"type": ["array", "null"], "items": text} if said.many else text
        schema["properties"][said.name] = {"description": said.about, **kind} if said.about else kind
    return schema


if __name__ == "__main__":
    sys.stdout.write(json.dumps(row_json_schema(), indent=2) + "\n")
