"""What is known of one recording, from all tables and earlier generations: what travels to meet, and how it adds up.

Values are of a kind that JSON holds, but for numbers as keys of a sketch's entries, which `gathered_of` makes again.
"""

from collections.abc import Iterable, Iterator
from typing import Any

import apache_beam as beam
import orjson

from pipeline import storage
from pipeline.settings import TextConfig
from pipeline.sketch import Sketch, empty_sketch, merge_sketches
from schemas.catalogue import CatalogueRow
from schemas.digest import canonical_json, digest_text
from schemas.sources import SOURCES, TextSource

# Digest of a catalogue row, the row as canonical JSON, and where it stands: file and line.
Row = tuple[str, str, str, int]
# The row, (row digest, part key) of an earlier generation, sketches of what the side tables say by their source's key.
Gathered = tuple[Row | None, tuple[str, str] | None, dict[str, Sketch]]


def rows_of(read: Iterable[tuple[str, int, CatalogueRow]]) -> Iterator[tuple[str, Gathered]]:
    """Catalogue rows, as they were read."""
    for file, line, record in read:
        text = canonical_json(record.to_json())
        yield record.recording_id, ((digest_text(text), text, file, line), None, {})


def known_of(recording_id: str, known: tuple[str, str]) -> tuple[str, Gathered]:
    """What an earlier generation has of a recording."""
    return recording_id, (None, known, {})


def said_of(recording_id: str, source: TextSource, sketch: Sketch) -> tuple[str, Gathered]:
    """What a side table says of a recording."""
    return recording_id, (None, None, {source.key: sketch})


def gathered_of(value: Any) -> Gathered:
    """From what JSON makes of it."""
    row, known, sketches = value
    return (
        tuple(row) if row is not None else None,
        tuple(known) if known is not None else None,
        {key: (_entries(entries), left_out, counted) for key, (entries, left_out, counted) in sketches.items()},
    )


def _entries(entries: dict[str, Any]) -> dict[int, Any]:
    return {int(key): tuple(entry) for key, entry in entries.items()}


def read_row(row: Row) -> tuple[CatalogueRow, str]:
    """The row, and the folder of its file, which its paths are relative to."""
    return CatalogueRow.from_json(orjson.loads(row[1])), storage.parent(row[2])


class Gather(beam.CombineFn):
    """Everything of one recording, within the caps."""

    def __init__(self, text: TextConfig) -> None:
        self._caps = {source.key: text.cap(source) for source in SOURCES}

    def create_accumulator(self, *args: Any, **kwargs: Any) -> Gathered:
        return None, None, {}

    def add_input(self, accumulator: Gathered, element: Gathered, *args: Any, **kwargs: Any) -> Gathered:
        return self._merge(accumulator, element)

    def merge_accumulators(self, accumulators: Iterable[Gathered], *args: Any, **kwargs: Any) -> Gathered:
        merged: Gathered = (None, None, {})
        for accumulator in accumulators:
            merged = self._merge(merged, accumulator)
        return merged

    def extract_output(self, accumulator: Gathered, *args: Any, **kwargs: Any) -> Gathered:
        return accumulator

    def _merge(self, one: Gathered, other: Gathered) -> Gathered:
        row = one[0] or other[0]
        if one[0] is not None and other[0] is not None:
            # Rows with one digest can still come from files in two folders; the folder settles it.
            row = min(one[0], other[0], key=lambda row: (row[0], storage.parent(row[2])))
        return row, one[1] or other[1], self._merge_sketches(one[2], other[2])

    def _merge_sketches(self, into: dict[str, Sketch], other: dict[str, Sketch]) -> dict[str, Sketch]:
        for key, sketch in other.items():
            # Into one of its own: an input may be seen again by a retried bundle, and this is changed in place.
            into[key] = merge_sketches(into.get(key) or empty_sketch(), sketch, self._caps[key])
        return into
