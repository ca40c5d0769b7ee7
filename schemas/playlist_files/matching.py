"""Which recording an entry of a playlist means: by path, then by id, ISRC, and artist and title with a score.

| step | matched where |
|---|---|
| path | the file itself, or folder and name of one recording alone (a list that came from elsewhere) |
| names | one of its ids (`youtube:`, `spotify:`, `url:` …, `isrc:`) is one recording's alone, or is a recording_id |
| artist and title | the best score is MIN_SCORE or more, and no other recording is within MARGIN of it |

Folder and name are no match where artist and title say something else (a score below SURE_SCORE).

A length, where both sides know it, decides between recordings of equal score (SAME_S) and speaks against one that is
otherwise alike (OTHER_S). What is not matched is `Unmatched`, with the candidates and their scores; nothing is guessed.

The keys of the recordings lie in a SQLite file that is removed at the end, so that a million of them cost no memory.
"""

import sqlite3
import tempfile
import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PureWindowsPath
from types import TracebackType
from typing import Any, Self

from schemas.digest import hash64
from schemas.playlist_files import naming
from schemas.playlist_files.entries import Entry, ListedPlaylist
from schemas.reasons import Reason
from schemas.side_tables import Playlist

MIN_SCORE = 0.85
SURE_SCORE = 0.5
MARGIN = 0.05
SAME_S = 3.0
OTHER_S = 15.0
MAX_CANDIDATES = 50  # that are scored for one entry
SHOWN_CANDIDATES = 3
_BATCH = 10_000
_KIB_OF_CACHE = 64 << 10
_TAIL = "tail:"


@dataclass(frozen=True, kw_only=True)
class Key:
    """What a recording may be meant by. `path` is absolute, or as it stands in a table of paths."""

    recording_id: str
    path: str | None = None
    names: tuple[str, ...] = ()
    artist: str | None = None
    title: str | None = None
    duration_s: float | None = None


@dataclass(frozen=True, kw_only=True)
class Unmatched:
    """An entry that no recording, or no single one, answers to."""

    playlist_id: str
    where: str
    reason: Reason
    detail: str
    said: str  # what the entry says, for the eye
    candidates: tuple[tuple[str, float], ...] = ()

    def to_json(self) -> dict[str, Any]:
        candidates = [{"recording_id": recording_id, "score": score} for recording_id, score in self.candidates]
        return {**vars(self), "reason": str(self.reason), "candidates": candidates}


@dataclass(frozen=True, kw_only=True)
class _Row:
    number: int
    recording_id: str
    artist: str | None
    title: str | None
    duration_s: float | None


class Matcher:
    """A context manager; `folder` is where its file lies while it is open."""

    def __init__(self, recordings: Iterable[Key], folder: Path | None = None) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="matching-", dir=folder)
        self._base = sqlite3.connect(Path(self._folder.name) / "keys.sqlite", isolation_level=None)
        for pragma in ("journal_mode=OFF", "synchronous=OFF", f"cache_size=-{_KIB_OF_CACHE}", "temp_store=FILE"):
            self._base.execute(f"PRAGMA {pragma}")
        self._base.execute("CREATE TABLE recordings (number INTEGER PRIMARY KEY, id, artist, title, duration_s)")
        self._base.execute("CREATE TABLE keys (hash INTEGER, number INTEGER)")
        self._fill(recordings)
        self._base.execute("CREATE INDEX by_hash ON keys (hash, number)")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._base.close()
        self._folder.cleanup()

    def playlist(self, listed: ListedPlaylist) -> tuple[Playlist, list[Unmatched]]:
        """The recordings of a playlist in its order, each once, and the entries that have none."""
        found: dict[str, None] = {}
        unmatched = []
        for entry in listed.entries:
            matched = self.match(entry, listed)
            if isinstance(matched, Unmatched):
                unmatched.append(matched)
            else:
                found[matched] = None
        return Playlist(playlist_id=listed.playlist_id, title=listed.title, recording_ids=tuple(found)), unmatched

    def match(self, entry: Entry, listed: ListedPlaylist) -> str | Unmatched:
        """The recording_id that an entry means."""
        said = naming.names(entry.artist, entry.title)
        doubt: list[_Row] = []
        for wanted in _certain_keys(entry, listed.folder):
            rows = self._find([wanted])
            sure = not wanted.startswith(_TAIL) or not rows[:1] or _score(said, rows[0], unknown=1.0) >= SURE_SCORE
            if len(rows) == 1 and sure:
                return rows[0].recording_id
            doubt += rows
        scored = self._scored(said, doubt)
        best = scored[0][1] if scored else 0.0
        near = [row for row, score in scored if score > best - MARGIN]
        if len(near) > 1:
            near = [row for row in near if (apart := _apart(row, entry)) is not None and apart <= SAME_S] or near
        if best >= MIN_SCORE and len(near) == 1 and (_apart(near[0], entry) or 0.0) <= OTHER_S:
            return near[0].recording_id
        known = scored or [(row, 1.0) for row in dict.fromkeys(doubt)]
        return self._unmatched(entry, listed, known, best, len(near))

    def _unmatched(
        self, entry: Entry, listed: ListedPlaylist, known: list[tuple[_Row, float]], best: float, near: int
    ) -> Unmatched:
        if not known:
            reason, detail = Reason.UNKNOWN_RECORDING, "no recording has this path, id, or artist and title"
        elif best >= MIN_SCORE and near == 1:
            reason, detail = Reason.DOUBTFUL_MATCH, "the recording of this name has another length"
        elif near > 1 or not best:
            reason, detail = Reason.DOUBTFUL_MATCH, "several recordings may be meant"
        else:
            reason, detail = Reason.DOUBTFUL_MATCH, f"the nearest has a score of {best:.2f}, below {MIN_SCORE:g}"
        said = entry.path or " - ".join(text for text in (entry.artist, entry.title) if text) or ", ".join(entry.names)
        return Unmatched(
            playlist_id=listed.playlist_id,
            where=entry.where,
            reason=reason,
            detail=detail,
            said=said,
            candidates=tuple((row.recording_id, round(score, 3)) for row, score in known[:SHOWN_CANDIDATES]),
        )

    def _scored(self, said: tuple[naming.Name, ...], also: list[_Row]) -> list[tuple[_Row, float]]:
        """Candidates by artist and title, the best first; those of the title alone where none of both will do."""
        scored: dict[_Row, float] = {}
        for keys in (_both_keys, _title_keys) if said else ():
            found = self._find([key for name in said for key in keys(name)])
            scored |= {row: _score(said, row, unknown=0.0) for row in (*also, *found) if row not in scored}
            if max(scored.values(), default=0.0) >= MIN_SCORE:
                break
        return sorted(scored.items(), key=lambda pair: (-pair[1], pair[0].number))

    def _find(self, wanted: list[str]) -> list[_Row]:
        """Recordings that have one of the keys; the keys that say most come first, and the bound is of all."""
        found: dict[int, None] = {}
        for key in wanted:
            rows = self._base.execute(
                "SELECT number FROM keys WHERE hash = ? ORDER BY number LIMIT ?", (_signed(key), MAX_CANDIDATES)
            )
            found |= dict.fromkeys(number for (number,) in rows)
            if len(found) >= MAX_CANDIDATES:
                break
        numbers = list(found)[:MAX_CANDIDATES]
        return [
            _Row(number=number, recording_id=row[0], artist=row[1], title=row[2], duration_s=row[3])
            for number in numbers
            for row in self._base.execute(
                "SELECT id, artist, title, duration_s FROM recordings WHERE number = ?", (number,)
            )
        ]

    def _fill(self, recordings: Iterable[Key]) -> None:
        rows: list[tuple[int, str, str | None, str | None, float | None]] = []
        keys: list[tuple[int, int]] = []

        def write() -> None:
            self._base.execute("BEGIN")
            self._base.executemany("INSERT INTO recordings VALUES (?, ?, ?, ?, ?)", rows)
            self._base.executemany("INSERT INTO keys VALUES (?, ?)", keys)
            self._base.execute("COMMIT")
            rows.clear()
            keys.clear()

        for number, recording in enumerate(recordings):
            rows.append((number, recording.recording_id, recording.artist, recording.title, recording.duration_s))
            keys += [(_signed(key), number) for key in dict.fromkeys(_keys(recording))]
            if len(rows) == _BATCH:
                write()
        write()


def _score(said: tuple[naming.Name, ...], row: _Row, *, unknown: float) -> float:
    """The best of what an entry and a recording may be called; `unknown` where one of them says nothing."""
    return max(
        (naming.score(a, b) for a in said for b in naming.names(row.artist, row.title)),
        default=unknown,
    )


def _apart(row: _Row, entry: Entry) -> float | None:
    """Seconds between their lengths, None where one is not known."""
    if row.duration_s is None or entry.duration_s is None:
        return None
    return abs(row.duration_s - entry.duration_s)


def _signed(key: str) -> int:
    """SQLite's integers have a sign."""
    return hash64(key) - (1 << 63)


def _keys(recording: Key) -> Iterator[str]:
    yield f"id:{recording.recording_id}"
    yield from (f"name:{name}" for name in recording.names)
    if recording.path is not None:
        parts = _parts(recording.path)
        yield f"path:{'/'.join(parts)}"
        if len(parts) > 1:
            yield _tail(parts)
    for name in naming.names(recording.artist, recording.title):
        yield from _both_keys(name)
        yield from _title_keys(name)


def _both_keys(name: naming.Name) -> Iterator[str]:
    yield f"letters:{name.letters}"


def _title_keys(name: naming.Name) -> Iterator[str]:
    yield f"title:{name.title}"


def _certain_keys(entry: Entry, folder: Path | None) -> Iterator[str]:
    """From what says most to what says least."""
    if entry.path is not None:
        parts = _parts(entry.path)
        if not _is_absolute(entry.path) and folder is not None:
            yield f"path:{'/'.join(_parts(f'{folder}/{entry.path}'))}"
        yield f"path:{'/'.join(parts)}"
        yield f"id:{entry.path}"
        if len(parts) > 1 and ".." not in parts:
            yield _tail(parts)
    for name in entry.names:
        yield f"name:{name}"
    yield from (f"id:{name.partition(':')[2]}" for name in entry.names)


def _tail(parts: list[str]) -> str:
    return _TAIL + "/".join(parts[-2:]).casefold()


def _is_absolute(path: str) -> bool:
    return path.startswith(("/", "\\")) or bool(PureWindowsPath(path).drive)


def _parts(path: str) -> list[str]:
    """Of a path of any system, with `.` and `..` worked out by name; nothing on a disk is looked at."""
    found: list[str] = []
    for part in path.replace("\\", "/").split("/"):
        if part == ".." and found and found[-1] != "..":
            found.pop()
        elif part not in ("", "."):
            found.append(unicodedata.normalize("NFC", part))  # é is two characters on a Mac's disk
    return found
