"""A catalogue made of what readers give: rows checked and in order, playlists of its own recordings, and all that was
left out, with its reason.

    catalog.parquet            a row a recording, ordered by recording_id
    catalog.playlists.jsonl    for `mulan mine --playlists`
    catalog.comments.jsonl     for `mulan mine --comments`: those beyond the first of a recording, where it has many
    catalog.rejects.jsonl      files, rows and fields that were left out, and why
    catalog.unmatched.jsonl    entries of playlists that are no recording here for sure
    catalog.scan/              what was found in each file, for the next scan

State lies on disk, and the same input gives the same bytes. A file that would not change is left as it is.
"""

import contextlib
import fcntl
import functools
import heapq
import itertools
import json
import os
import shutil
import sqlite3
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.json
import pyarrow.parquet as pq

from pipeline.catalogues.reader import Entry, Item, LeftOut, ListedPlaylist, Recording
from schemas.catalogue import FIELDS, LIST_FIELDS, parse_catalogue_row
from schemas.cells import RowError
from schemas.digest import canonical_json, hash64
from schemas.exits import InputError
from schemas.playlist_files.matching import Key, Matcher
from schemas.reasons import Reason, legible
from schemas.side_tables import Comment, Playlist
from schemas.youtube_address import is_youtube

MAX_COMMENTS = 200  # of a row; more stand in the table of comments
SHOWN_ROWS = 3
_NUMBERS = ("start_s", "duration_s")
_BATCH_ROWS = 4_096
_ROWS_AT_ONCE = 500
_COUNTED = ("title", "artist", "tags", "description", "comments")


def _type(name: str) -> pa.DataType:
    if name in LIST_FIELDS:
        return pa.list_(pa.string())
    return pa.float64() if name in _NUMBERS else pa.string()


# `year` is for those who search; a catalogue's other readers pass over a column that they do not know.
SCHEMA = pa.schema([*(pa.field(name, _type(name)) for name in FIELDS), pa.field("year", pa.int32())])
_TABLES = """
CREATE TABLE recordings (
  id TEXT PRIMARY KEY, said TEXT NOT NULL, only_named INTEGER, path TEXT, names TEXT, duration_s REAL
) WITHOUT ROWID;
CREATE TABLE playlists (id TEXT, place TEXT, listed TEXT NOT NULL, PRIMARY KEY (id, place)) WITHOUT ROWID;
CREATE TABLE left_out (number INTEGER PRIMARY KEY, place TEXT, reason TEXT, detail TEXT);
CREATE TABLE names (name TEXT PRIMARY KEY) WITHOUT ROWID;
CREATE TABLE in_playlists (id TEXT PRIMARY KEY) WITHOUT ROWID;
"""
_NEW_RECORDING = "INSERT INTO recordings VALUES (?, ?, ?, ?, ?, ?)"
_NEW_NAME = "INSERT OR IGNORE INTO names VALUES (?)"
_FULLER = (
    "UPDATE recordings SET (said, only_named, path, names, duration_s) = (?, ?, ?, ?, ?) WHERE id = ? AND only_named"
)
_NEW_PLAYLIST = "INSERT OR IGNORE INTO playlists VALUES (?, ?, ?)"


@dataclass(frozen=True, kw_only=True)
class Paths:
    """Where the files of a catalogue are."""

    catalogue: Path

    def beside(self, what: str) -> Path:
        return self.catalogue.with_name(f"{self.catalogue.name.removesuffix('.parquet')}.{what}")

    @property
    def playlists(self) -> Path:
        return self.beside("playlists.jsonl")

    @property
    def comments(self) -> Path:
        return self.beside("comments.jsonl")

    @property
    def rejects(self) -> Path:
        return self.beside("rejects.jsonl")

    @property
    def unmatched(self) -> Path:
        return self.beside("unmatched.jsonl")

    @property
    def scan(self) -> Path:
        return self.beside("scan")


@dataclass(kw_only=True)
class Made:
    """What a catalogue has come to. outside: folders that its absolute paths are in, for `--allow_root`."""

    recordings: int = 0
    having: Counter[str] = field(default_factory=Counter)
    playlists: int = 0
    entries: int = 0
    unmatched: Counter[str] = field(default_factory=Counter)
    rejects: Counter[str] = field(default_factory=Counter)
    samples: list[dict[str, Any]] = field(default_factory=list)
    outside: bool = False
    more_comments: bool = False


@contextlib.contextmanager
def held(paths: Paths) -> Iterator[None]:
    """While the folder of the work is this command's alone. Raises InputError."""
    try:
        paths.scan.mkdir(parents=True, exist_ok=True)
        lock = open(paths.scan / "lock", "w")  # noqa: SIM115 - held while the body runs
    except OSError as error:
        raise InputError(f"{paths.scan}: cannot be written to ({error.strerror}); give another --output") from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise InputError(f"{paths.catalogue}: another command is writing it") from error
        yield


def make(items: Iterable[Item], paths: Paths, is_removed: Callable[[str], bool] = lambda _: False) -> Made:
    """Write the catalogue of `items`. Call it in `held`. Those that `is_removed` names are left out without a trace."""
    work = paths.scan / "work"
    shutil.rmtree(work, ignore_errors=True)  # of a command that was killed
    work.mkdir()
    base = sqlite3.connect(work / "rows.sqlite", isolation_level=None)
    try:
        for pragma in ("journal_mode = OFF", "synchronous = OFF", "temp_store = FILE"):
            base.execute(f"PRAGMA {pragma}")
        base.executescript(_TABLES)
        making = _Making(base, paths, work)
        base.execute("BEGIN")
        for item in items:
            making.take(item, is_removed)
        making.settle()
        base.execute("COMMIT")
        return making.write()
    finally:
        base.close()
        shutil.rmtree(work, ignore_errors=True)


# What the database is told of a recording but its id, and the recording.
_Waiting = tuple[tuple[object, ...], Recording]


class _Making:
    def __init__(self, base: sqlite3.Connection, paths: Paths, work: Path) -> None:
        self._base, self._paths, self._work = base, paths, work
        self._below = os.path.realpath(paths.catalogue.parent).rstrip("/") + "/"
        self._made = Made()
        self._above = self._real = ""  # the folder of the last recording, and where it really is
        # By id, until `settle`: each statement by itself would wait for the threads that read the next files.
        self._waiting: dict[str, _Waiting] = {}

    def take(self, item: Item, is_removed: Callable[[str], bool]) -> None:
        if isinstance(item, LeftOut):
            self._leave_out(item)
        elif isinstance(item, ListedPlaylist):
            values = _plain(item.playlist_id), _plain(item.where), _listed_json(item)
            if not self._base.execute(_NEW_PLAYLIST, values).rowcount:
                self._leave_out(_repeated(item.where, f"playlist_id {item.playlist_id}"))
        else:
            self._recording(item, is_removed)

    def _recording(self, item: Recording, is_removed: Callable[[str], bool]) -> None:
        try:
            row = parse_catalogue_row({**item.row, "audio_uri": self._uri(str(item.row.get("audio_uri") or ""))})
        except RowError as error:
            self._leave_out(LeftOut(where=item.where, reason=error.reason, detail=error.detail))
            return
        if is_removed(row.recording_id):
            return
        year = {"year": item.row["year"]} if isinstance(item.row.get("year"), int) else {}
        names = json.dumps(item.names) if item.names else "[]"
        values = (
            json.dumps({"comments": [], **row.to_json(), **year}),
            item.only_named,
            _plain(str(item.row["audio_uri"])),  # where it is, for the entries of playlists
            names,
            item.duration_s,
        )
        if row.recording_id in self._waiting or len(self._waiting) == _ROWS_AT_ONCE:
            self.settle()
        self._waiting[row.recording_id] = values, item

    def settle(self) -> None:
        """Put down the recordings that wait; of one that is there already the first counts, or the fuller one."""
        waiting, self._waiting = self._waiting, {}
        places = ",".join("?" * len(waiting))
        query = f"SELECT id FROM recordings WHERE id IN ({places})"  # noqa: S608 - places of values, and no value
        known = {recording_id for (recording_id,) in self._base.execute(query, tuple(waiting))}
        new = [(recording_id, *values) for recording_id, (values, _) in waiting.items() if recording_id not in known]
        self._base.executemany(_NEW_RECORDING, new)
        named = [item.names for _, item in waiting.values() if not item.only_named]
        self._base.executemany(_NEW_NAME, [(_plain(name),) for names in named for name in names])
        for recording_id, (values, item) in waiting.items():
            if recording_id not in known or item.only_named:
                continue
            if not self._base.execute(_FULLER, (*values, recording_id)).rowcount:
                self._leave_out(_repeated(item.where, f"recording_id {recording_id}"))

    def _uri(self, audio_uri: str) -> str:
        """Relative to the catalogue, where the file lies below its folder."""
        if not os.path.isabs(audio_uri):
            return audio_uri
        above, _, name = audio_uri.rpartition("/")
        if above != self._above:
            self._above, self._real = above, os.path.realpath(above)
        real = os.path.join(self._real, name)
        relative = real.removeprefix(self._below)
        # A path may look like an address.
        inside = relative != real and "://" not in relative and not is_youtube(relative)
        self._made.outside |= not inside
        return relative if inside else real

    def _leave_out(self, item: LeftOut) -> None:
        self._made.rejects[item.reason] += 1
        values = (_plain(item.where), str(item.reason), legible(_plain(item.detail)))
        self._base.execute("INSERT INTO left_out (place, reason, detail) VALUES (?, ?, ?)", values)

    def write(self) -> Made:
        """The files, of which the catalogue is the last: it is whole once it is there. One that would be empty does not
        take the place of another, since a disk may only be away."""
        # A file whose name has the video's id is that video.
        self._base.execute("DELETE FROM recordings WHERE only_named AND 'youtube:' || id IN (SELECT name FROM names)")
        query = "SELECT place, reason, detail FROM left_out ORDER BY place, number"
        with _written(self._paths.rejects, self._work) as file:
            for place, reason, detail in self._base.execute(query):
                outcome = str(Reason.named(reason).outcome)
                file.write(_line({"file": place, "reason": reason, "detail": detail, "outcome": outcome}))
        if self._base.execute("SELECT 1 FROM recordings LIMIT 1").fetchone() is None:
            return self._made
        with (
            _written(self._paths.unmatched, self._work) as unmatched,
            _written(self._paths.playlists, self._work) as file,
        ):
            self._match(file, unmatched)
        self._rows()
        return self._made

    def _match(self, file: Any, unmatched: Any) -> None:
        made = self._made
        rows = self._base.execute("SELECT id, listed FROM playlists ORDER BY id, place")
        if not self._base.execute("SELECT count(*) FROM playlists").fetchone()[0]:
            return
        with Matcher(self._keys(), self._work) as matcher:
            # One that yt-dlp wrote a dump of each recording for comes in pieces.
            for playlist_id, pieces in itertools.groupby(rows, key=lambda row: str(row[0])):
                made.playlists += 1
                title, ids = "", dict[str, None]()
                for _, listed in pieces:
                    asked = _listed(json.loads(listed))
                    playlist, others = matcher.playlist(asked)
                    title = title or playlist.title
                    ids |= dict.fromkeys(playlist.recording_ids)
                    made.entries += len(asked.entries)
                    made.unmatched.update(other.reason for other in others)
                    unmatched.writelines(_line(other.to_json()) for other in others)
                if ids:
                    file.write(_line(asdict(Playlist(playlist_id=playlist_id, title=title, recording_ids=tuple(ids)))))
                    self._base.executemany("INSERT OR IGNORE INTO in_playlists VALUES (?)", [(one,) for one in ids])
        made.having["playlists"] = self._base.execute("SELECT count(*) FROM in_playlists").fetchone()[0]

    def _keys(self) -> Iterator[Key]:
        query = "SELECT id, said, path, names, duration_s FROM recordings ORDER BY id"
        for recording_id, said, path, names, duration_s in self._base.execute(query):
            row = json.loads(said)
            yield Key(
                recording_id=recording_id,
                path=path,
                names=tuple(json.loads(names)),
                artist=row.get("artist"),
                title=row.get("title"),
                duration_s=duration_s,
            )

    def _rows(self) -> None:
        made, having = self._made, self._made.having
        samples: list[tuple[int, str, str]] = []
        staged = self._work / "catalogue"
        rows = self._base.execute("SELECT id, said FROM recordings ORDER BY id")
        with _written(self._paths.comments, self._work) as comments, pq.ParquetWriter(staged, SCHEMA) as writer:
            while batch := rows.fetchmany(_BATCH_ROWS):
                texts = []
                for recording_id, text in batch:
                    sample = -hash64(recording_id), recording_id, text
                    if len(samples) < SHOWN_ROWS:
                        heapq.heappush(samples, sample)
                    elif sample > samples[0]:
                        heapq.heapreplace(samples, sample)
                    has_room = len(text) < MAX_COMMENTS * len('"", ')
                    texts.append(text if has_room else self._capped(recording_id, text, comments))
                table = _table(texts)
                made.recordings += len(texts)
                has = {name: _has(table[name]) for name in (*_COUNTED, "album")}
                for name in _COUNTED:
                    having[name] += has[name].true_count
                having["no text"] += len(texts) - functools.reduce(pc.or_, has.values()).true_count
                writer.write_table(table)
        made.samples = [json.loads(text) for _, _, text in sorted(samples, key=lambda sample: sample[1])]
        _publish(staged, self._paths.catalogue)

    def _capped(self, recording_id: str, text: str, comments: Any) -> str:
        """A row without the comments that are one too many, which are written."""
        row = json.loads(text)
        if len(row["comments"]) <= MAX_COMMENTS:
            return text
        self._made.more_comments = True
        more = (Comment(recording_id=recording_id, text=comment) for comment in row["comments"][MAX_COMMENTS:])
        comments.writelines(_line(asdict(comment)) for comment in more)
        return json.dumps({**row, "comments": row["comments"][:MAX_COMMENTS]})


def _table(texts: list[str]) -> pa.Table:
    """Rows of JSON. Not by way of lists, at whose first pyarrow loads pandas where it is installed: half a second."""
    content = "\n".join(texts).encode()
    return pyarrow.json.read_json(
        pa.BufferReader(content),
        read_options=pyarrow.json.ReadOptions(use_threads=False, block_size=len(content) + 1),
        parse_options=pyarrow.json.ParseOptions(explicit_schema=SCHEMA, unexpected_field_behavior="error"),
    ).combine_chunks()


def _has(column: pa.ChunkedArray) -> pa.BooleanArray:
    """Which rows have it."""
    is_list = pa.types.is_list(column.type)
    has = pc.fill_null(pc.greater(pc.list_value_length(column), 0), False) if is_list else pc.is_valid(column)
    return has.combine_chunks()


def _repeated(where: str, what: str) -> LeftOut:
    return LeftOut(where=where, reason=Reason.REPEATED_ID, detail=f"{what} is there already; the first counts")


def _listed_json(item: ListedPlaylist) -> str:
    folder = None if item.folder is None else os.fspath(item.folder)
    return json.dumps(asdict(replace(item, folder=None)) | {"folder": folder})


def _listed(value: Mapping[str, Any]) -> ListedPlaylist:
    entries = tuple(Entry(**{**entry, "names": tuple(entry["names"])}) for entry in value["entries"])
    folder = None if value["folder"] is None else Path(value["folder"])
    return ListedPlaylist(**{**value, "entries": entries, "folder": folder})


def _line(value: Mapping[str, Any]) -> str:
    return canonical_json(value).encode("utf-8", "replace").decode() + "\n"


def _plain(text: str) -> str:
    return text.encode("utf-8", "backslashreplace").decode()


@contextlib.contextmanager
def _written(path: Path, work: Path) -> Iterator[Any]:
    staged = work / path.name
    with staged.open("w", encoding="utf-8") as file:
        yield file
    _publish(staged, path)


def _publish(staged: Path, path: Path) -> None:
    """Give a file its place, unless what is there is the same: a job that reads it need not look at it again."""
    if path.exists() and _same(staged, path):
        staged.unlink()
    else:
        with staged.open("rb") as file:
            os.fsync(file.fileno())
        staged.replace(path)


def _same(one: Path, other: Path) -> bool:
    if one.stat().st_size != other.stat().st_size:
        return False
    with one.open("rb") as left, other.open("rb") as right:
        while chunk := left.read(1 << 20):
            if chunk != right.read(1 << 20):
                return False
    return True
