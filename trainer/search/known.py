"""What a catalogue (`mulan catalog`) says of recordings: found by their id, or by the path of their sound.

Parquet, JSONL or CSV with the fields of a catalogue row (schemas/catalogue.py), and `year` where there is one.
"""

import csv
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from schemas.catalogue import LIST_FIELDS, CatalogueRow, parse_catalogue_row
from schemas.cells import RowError, as_text
from schemas.jsonl import read_objects

_SEPARATOR = "|"  # of a list in a cell of CSV, as `mulan mine` reads it


@dataclass(frozen=True, kw_only=True, slots=True)
class Known:
    """`fields` are those of `Entry`."""

    recording_id: str
    fields: Mapping[str, Any]


class Catalogue:
    """What is known, by id and by absolute path. A row that cannot be read raises ValueError: it is the user's file."""

    def __init__(self, path: Path | None = None) -> None:
        self._by_id: dict[str, Known] = {}
        self._by_path: dict[str, Known] = {}
        for where, value in _values(path) if path is not None else ():
            try:
                row = parse_catalogue_row(value)
                known = Known(recording_id=row.recording_id, fields=_fields(row, value))
            except RowError as error:
                raise ValueError(f"{where}: {error.detail}") from error
            self._by_id.setdefault(row.recording_id, known)
            if path is not None and "://" not in row.audio_uri:
                self._by_path.setdefault(str((path.parent / row.audio_uri).resolve()), known)

    def __len__(self) -> int:
        return len(self._by_id)

    def of(self, recording_id: str) -> Known | None:
        return self._by_id.get(recording_id)

    def at(self, path: str) -> Known | None:
        return self._by_path.get(str(Path(path).resolve()))

    def path_of(self, recording_id: str) -> str | None:
        """Where the sound of a recording is, as the catalogue has it."""
        if not hasattr(self, "_paths"):
            self._paths = {known.recording_id: path for path, known in self._by_path.items()}
        return self._paths.get(recording_id)


def _fields(row: CatalogueRow, value: Mapping[str, Any]) -> dict[str, Any]:
    year = as_text(value.get("year"), "year")
    return {
        "title": row.text("title"),
        "artist": row.text("artist"),
        "album": row.text("album"),
        "licence": row.licence,
        "source": row.source,
        "year": int(year) if year and year.isdecimal() and len(year) == 4 else None,
        "tags": tuple(row.texts.get("tags", ())),
    }


def _values(path: Path) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Each row with where it stands. Raises ValueError."""
    suffix = path.suffix.lower()
    try:
        if suffix == ".parquet":
            for batch in pq.ParquetFile(path).iter_batches():
                for value in batch.to_pylist():
                    yield f"{path}: {value.get('recording_id')}", value
        elif suffix in (".jsonl", ".ndjson"):
            yield from read_objects(path)
        elif suffix == ".csv":
            with path.open(encoding="utf-8-sig", newline="") as lines:
                for number, row in enumerate(csv.DictReader(lines), start=2):
                    yield f"{path}:{number}", _cells(f"{path}:{number}", row)
        else:
            raise ValueError(f"{path}: no catalogue by its name, which ends in .parquet, .jsonl or .csv")
    except (OSError, pa.ArrowException, UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"{path}: cannot be read as a catalogue ({error})") from error


def _cells(where: str, row: Mapping[str, str]) -> dict[str, Any]:
    try:
        return {name: _cell(name, cell) for name, cell in row.items() if name and cell}
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{where}: cannot be read ({error})") from error


def _cell(name: str, cell: str) -> Any:
    if name in LIST_FIELDS:
        return json.loads(cell) if cell.startswith("[") else [part.strip() for part in cell.split(_SEPARATOR)]
    return float(cell) if name in ("start_s", "duration_s") else cell
