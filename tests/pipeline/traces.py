"""Find what a run folder still has of a recording: in every file as it lies, and in what its tables unpack to."""

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from schemas.formats.tfrecord import records, row_of


def traces(folder: Path, needles: Iterable[str | bytes]) -> dict[str, set[bytes]]:
    """Each file that has one of the needles, with those that it has. A hash is looked for as text and as bytes."""
    wanted = {needle.encode() if isinstance(needle, str) else needle for needle in needles}
    wanted |= {bytes.fromhex(needle.decode()) for needle in wanted if _is_hash(needle)}
    found = {}
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        contents = [path.read_bytes(), *_unpacked(path)]
        if had := {needle for needle in wanted if any(needle in content for content in contents)}:
            found[str(path.relative_to(folder))] = had
    return found


def _is_hash(needle: bytes) -> bool:
    return len(needle) >= 32 and not set(needle) - set(b"0123456789abcdef")


def _unpacked(path: Path) -> Iterator[bytes]:
    if path.suffix == ".parquet":
        for row in pq.read_table(path).to_pylist():
            yield from _values(row)
    elif path.suffix == ".tfrecord":
        with path.open("rb") as stream:
            for example in records(stream):
                yield from _values(row_of(example))
    elif path.suffix == ".jsonl":
        for line in path.read_text(encoding="utf-8").splitlines():
            yield from _values(json.loads(line))


def _values(value: Any) -> Iterator[bytes]:
    if isinstance(value, dict):
        for item in value.values():
            yield from _values(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _values(item)
    elif isinstance(value, bytes):
        yield value
    elif isinstance(value, str):
        yield value.encode()
