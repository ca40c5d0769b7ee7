"""What is known of each recording of an index, in SQLite, with a full-text index over its names.

A row's number is that of its vector. A user's query is never read as FTS5's own language: its words are quoted.
"""

import json
import os
import re
import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trainer.search import where

_SCHEMA = """
CREATE TABLE entries (
    row INTEGER PRIMARY KEY, recording_id TEXT NOT NULL UNIQUE, title TEXT, artist TEXT, album TEXT, licence TEXT,
    source TEXT, year INTEGER, tags TEXT NOT NULL, start_s REAL NOT NULL, duration_s REAL,
    path BLOB, run TEXT, shard TEXT, row_group INTEGER, group_row INTEGER
);
CREATE VIRTUAL TABLE names USING fts5(
    title, artist, album, tags, content='', tokenize='porter unicode61 remove_diacritics 2'
);
"""
_WORD = re.compile(r"\w+")
_MAX_WORDS = 32
# A word that more recordings have is no name; ranking a million of them would take longer than the sound does.
MAX_NAMED = 10_000
_AT_ONCE = 500


@dataclass(frozen=True, kw_only=True, slots=True)
class ShardPlace:
    """A row of a mined run: its run, its shard as the manifest names it, and where it stands in that."""

    run: str
    shard: str
    row_group: int
    row: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Entry:
    """What is known of a recording. Its sound is a file (`path`), or a row of a run (`place`), or is not at hand."""

    recording_id: str
    title: str | None = None
    artist: str | None = None
    album: str | None = None
    licence: str | None = None
    source: str | None = None
    year: int | None = None
    tags: tuple[str, ...] = ()
    start_s: float = 0.0
    duration_s: float | None = None
    path: str | None = None
    place: ShardPlace | None = None


class EntryWriter:
    """Fills a new database, which is whole once it is closed."""

    def __init__(self, path: Path) -> None:
        self._base = sqlite3.connect(path)
        # Nobody reads it before it is whole, and what a kill leaves is thrown away.
        self._base.executescript(f"PRAGMA journal_mode=OFF; PRAGMA synchronous=OFF; {_SCHEMA}")
        self.count, self._closed = 0, False

    def close(self) -> None:
        if not self._closed:
            self._base.commit()
            self._base.close()
            self._closed = True

    def add(self, entry: Entry) -> bool:
        """False where the id is there already: one recording is one row."""
        place = entry.place
        placed = (place.run, place.shard, place.row_group, place.row) if place else (None,) * 4
        words = [_storable(text) for text in (entry.title, entry.artist, entry.album)]
        tags = [str(_storable(tag)) for tag in entry.tags]
        row = (
            self.count,
            _storable(entry.recording_id),
            *words,
            *(_storable(text) for text in (entry.licence, entry.source)),
            entry.year,
            json.dumps(tags, ensure_ascii=False),
            entry.start_s,
            entry.duration_s,
            None if entry.path is None else os.fsencode(entry.path),
            *placed,
        )
        done = self._base.execute(f"INSERT OR IGNORE INTO entries VALUES ({', '.join('?' * len(row))})", row)  # noqa: S608
        if not done.rowcount:
            return False
        if any(words) or tags:
            values = (self.count, *words, "\n".join(tags))
            self._base.execute("INSERT INTO names (rowid, title, artist, album, tags) VALUES (?, ?, ?, ?, ?)", values)
        self.count += 1
        return True


class Entries:
    """Reads a database that is whole, and keeps it when the next generation takes its file away. For any thread."""

    def __init__(self, path: Path) -> None:
        self._base = sqlite3.connect(
            f"{path.resolve().as_uri()}?mode=ro&immutable=1", uri=True, check_same_thread=False
        )
        self._lock = Lock()
        self._ask("SELECT row FROM entries LIMIT 1")

    def close(self) -> None:
        self._base.close()

    def _ask(self, statement: str, values: Sequence[Any] = ()) -> list[Any]:
        with self._lock:
            found: list[Any] = self._base.execute(statement, values).fetchall()
        return found

    def at(self, rows: Sequence[int]) -> list[Entry]:
        """The entries of some rows, in their order."""
        found: dict[int, Entry] = {}
        for start in range(0, len(rows), _AT_ONCE):
            some = [int(row) for row in rows[start : start + _AT_ONCE]]
            marks = ", ".join("?" * len(some))
            for values in self._ask(f"SELECT * FROM entries WHERE row IN ({marks})", some):  # noqa: S608
                found[values[0]] = _entry(values)
        return [found[int(row)] for row in rows]

    def row_of(self, recording_id: str) -> int | None:
        found = self._ask("SELECT row FROM entries WHERE recording_id = ?", (_storable(recording_id),))
        return int(found[0][0]) if found else None

    def where(self, condition: str) -> NDArray[np.int64]:
        """The rows that a condition is true of, in order. Raises WhereError."""
        test, parameters = where.parse(condition)
        found = self._ask(f"SELECT row FROM entries WHERE {test} ORDER BY row", parameters)  # noqa: S608
        return np.asarray([row for (row,) in found], np.int64)

    def named(self, text: str) -> list[int]:
        """The rows whose title, artist, album or tags have all the words of a text, the best first; none where more
        than `MAX_NAMED` have them."""
        words = _WORD.findall(text)
        if not words or len(words) > _MAX_WORDS:
            return []
        asked = " ".join(f'"{word}"' for word in words)
        statement = "SELECT rowid, bm25(names, 4.0, 4.0, 2.0, 1.0) FROM names WHERE names MATCH ? LIMIT ?"
        found = self._ask(statement, (asked, MAX_NAMED + 1))
        if len(found) > MAX_NAMED:
            return []
        return [row for row, _ in sorted(found, key=lambda one: (one[1], one[0]))]

    def ids(self) -> Iterator[str]:
        """In the order of the rows."""
        last, some = -1, [(0, "")]
        while some:
            some = self._ask("SELECT row, recording_id FROM entries WHERE row > ? ORDER BY row LIMIT 10000", (last,))
            for row, recording_id in some:
                last = row
                yield recording_id

    def tagged(self, limit: int) -> list[tuple[int, Entry]]:
        """Rows that have names, at most so many, spread over the index."""
        statement = (
            "SELECT * FROM entries WHERE tags <> '[]' OR title IS NOT NULL OR artist IS NOT NULL "
            "ORDER BY (row * 2654435761) % 4294967296 LIMIT ?"
        )
        return [(values[0], _entry(values)) for values in self._ask(statement, (limit,))]


def _entry(values: Sequence[Any]) -> Entry:
    recording_id, title, artist, album, licence, source, year, tags, start_s, duration_s, *rest = values[1:]
    path, run, shard, row_group, row = rest
    return Entry(
        recording_id=recording_id,
        title=title,
        artist=artist,
        album=album,
        licence=licence,
        source=source,
        year=year,
        tags=tuple(json.loads(tags)),
        start_s=start_s,
        duration_s=duration_s,
        path=None if path is None else os.fsdecode(path),
        place=None if run is None else ShardPlace(run=run, shard=shard, row_group=row_group, row=row),
    )


def _storable(text: str | None) -> str | None:
    """Lone surrogates, as names that are no Unicode have them, cannot be stored."""
    return text if text is None else text.encode("utf-8", "backslashreplace").decode()
