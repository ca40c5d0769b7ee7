"""A tree of files as it is now, and what was found in each: kept beside the catalogue, so that a second scan reads only
what is new or has changed.

State is in SQLite, a row a file, so that a tree of a million files needs no more memory than one of ten. A file is the
same where size, time of change and inode are; one that is gone leaves. A scan that is killed has lost what it found in
the last seconds. What depends on the machine at that moment (a permission, a deadline) is asked anew.

No link is followed: what lies in the tree is read where it lies, and what lies outside of it belongs to nobody here.
"""

import contextlib
import json
import logging
import os
import sqlite3
import stat
import time
from collections import Counter, deque
from collections.abc import Generator, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from threading import local
from types import TracebackType
from typing import Self

import av
from tqdm import tqdm

from pipeline.catalogues.reader import LeftOut
from pipeline.media.look import Facts, FactsReader
from pipeline.media.protocol import MAX_FACTS_FILES, MEDIA_SUFFIXES
from schemas.exits import InputError
from schemas.reasons import LeftOutError, Reason, legible

VERSION = 2  # raised when other facts come out of the same file
MEDIA = "media"
LEFT_OUT = "left out"
PARTIAL = (".part", ".partial", ".crdownload", ".download", ".ytdl", ".tmp", ".temp", ".!qb", "~")
# Folders of systems and servers, whose files are copies or waste.
NOT_LOOKED_INTO = ("__macosx", "@eadir", "$recycle.bin", "system volume information", "lost+found")
# What becomes of these is the machine's word and may be another one tomorrow.
_PASSING = frozenset(
    {
        *(Reason.PERMISSION_DENIED, Reason.READ_FAILED, Reason.NOT_FOUND, Reason.DECODE_TIMEOUT),
        *(Reason.DECODER_CRASHED, Reason.DECODER_MEMORY),
    }
)
_ROWS_AT_ONCE = 2_000
_LINE_EVERY_S = 30.0
_COMMIT_EVERY_S = 1.0
_TABLES = """
CREATE TABLE IF NOT EXISTS made_by (version TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS files (
  root BLOB NOT NULL, path BLOB NOT NULL, kind TEXT NOT NULL, size INTEGER, changed_ns INTEGER, inode INTEGER,
  found TEXT, passing INTEGER NOT NULL DEFAULT 0, seen INTEGER NOT NULL, PRIMARY KEY (root, path)
) WITHOUT ROWID;
"""
_SEEN = """
INSERT INTO files (root, path, kind, size, changed_ns, inode, found, seen) VALUES (?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (root, path) DO UPDATE SET
  found = CASE WHEN (kind, size, changed_ns, inode)
    = (excluded.kind, excluded.size, excluded.changed_ns, excluded.inode) THEN found ELSE excluded.found END,
  kind = excluded.kind, size = excluded.size, changed_ns = excluded.changed_ns, inode = excluded.inode,
  seen = excluded.seen
"""

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Found:
    """A file of the tree: `path` is within it, as the disk has it. Of media `facts` or why there are none."""

    path: bytes
    kind: str
    facts: Facts | None = None
    left_out: LeftOut | None = None


class Scan:
    """The scan of trees into one file of SQLite. A context manager, for one thread and one process at a time.

    kinds: what files are, by the end of their names in lower case, besides media; the longest that fits counts.
    counts: what was passed over and what was read, over all trees.
    """

    def __init__(self, database: Path, kinds: Mapping[str, str], workers: int) -> None:
        self._kinds = sorted(kinds.items(), key=lambda pair: -len(pair[0]))
        self._suffixes = (*kinds, *MEDIA_SUFFIXES)
        self._workers = workers
        self._opened = local()
        self._readers: list[FactsReader] = []
        self.counts: Counter[str] = Counter()
        self._connection = _connect(database)
        self._number = 1 + self._connection.execute("SELECT coalesce(max(seen), 0) FROM files").fetchone()[0]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._connection.commit()
        self._connection.close()

    def files(self, where: bytes) -> Iterator[Found]:
        """Every file of a tree that somebody reads, in the order of their paths as bytes; `where` is its real path.
        Raises DecoderUnavailableError."""
        self._walk(where)
        last = b""
        # Rows are made of what is known while the next files are read.
        with contextlib.closing(self._look(where)) as looking:
            for reached, read in looking:
                yield from self._known(where, last, reached, read)
                last = reached
        yield from self._known(where, last, b"\xff" * 4_097, {})  # behind every path

    def _known(
        self, where: bytes, after: bytes, until: bytes, read: Mapping[bytes, Facts | LeftOutError]
    ) -> Iterator[Found]:
        """`read`: those of which nobody has to ask the database what was found in them."""
        query = (
            "SELECT path, kind, found FROM files WHERE root = ? AND seen = ? AND path > ? AND path <= ? "
            "ORDER BY path LIMIT ?"
        )
        while rows := self._connection.execute(query, (where, self._number, after, until, _ROWS_AT_ONCE)).fetchall():
            after = rows[-1][0]
            for path, kind, found in rows:
                yield _found(where, path, kind, read.get(path) or _said(found))

    def has(self, where: bytes, kind: str) -> bool:
        """Whether the tree, once it was walked, has a file of this kind."""
        query = "SELECT 1 FROM files WHERE root = ? AND seen = ? AND kind = ? LIMIT 1"
        return self._connection.execute(query, (where, self._number, kind)).fetchone() is not None

    def beside(self, where: bytes, path: bytes, kind: str) -> list[bytes]:
        """Files of a kind with the same name but for the suffix, in order."""
        stem = _stem(path)
        query = (
            "SELECT path FROM files WHERE root = ? AND seen = ? AND kind = ? AND path > ? AND path < ? ORDER BY path"
        )
        rows = self._connection.execute(query, (where, self._number, kind, stem + b".", stem + b"/"))
        return [found for (found,) in rows if _stem(found) == stem]

    def _walk(self, root: bytes) -> None:
        self._connection.execute("UPDATE files SET found = NULL, passing = 0 WHERE root = ? AND passing", (root,))
        rows: list[tuple[object, ...]] = []
        for path, kind, status, left_out in self._entries(root):
            said = None if left_out is None else json.dumps({"reason": left_out.reason, "detail": left_out.detail})
            known = (None, None, None) if status is None else (status.st_size, status.st_mtime_ns, status.st_ino)
            rows.append((root, path, kind, *known, said, self._number))
            if len(rows) == _ROWS_AT_ONCE:
                self._connection.executemany(_SEEN, rows)
                rows = []
        self._connection.executemany(_SEEN, rows)
        gone = self._connection.execute("DELETE FROM files WHERE root = ? AND seen <> ?", (root, self._number))
        self.counts["gone"] += gone.rowcount
        self._connection.commit()

    def _entries(self, root: bytes) -> Iterator[tuple[bytes, str, os.stat_result | None, LeftOutError | None]]:
        """Path within the tree, kind, status, and why it is not read."""
        waiting = [b""]
        while waiting:
            folder = waiting.pop()
            try:
                listing = os.scandir(os.path.join(root, folder))
            except OSError as error:
                reason = Reason.PERMISSION_DENIED if isinstance(error, PermissionError) else Reason.READ_FAILED
                yield folder or b".", LEFT_OUT, None, LeftOutError(reason, f"the folder: {error.strerror}")
                continue
            above = os.path.join(folder, b"")
            with listing:
                for entry in listing:
                    path, name = above + entry.name, os.fsdecode(entry.name).lower()
                    if self._is_passed_over(name):
                        continue
                    if entry.is_dir(follow_symlinks=False):
                        waiting.append(path)
                        continue
                    kind = self._kind(name)
                    if entry.is_symlink():
                        yield from self._link(root, path, kind)
                        continue
                    if kind is None:
                        self.counts["others"] += 1
                        continue
                    try:
                        status = entry.stat(follow_symlinks=False)
                    except FileNotFoundError:
                        continue
                    if not stat.S_ISREG(status.st_mode):
                        yield path, LEFT_OUT, None, LeftOutError(Reason.NOT_A_FILE, "a pipe, a socket or a device")
                    elif status.st_size == 0:
                        self.counts["empty"] += 1
                    else:
                        yield path, kind, status, None

    def _link(self, root: bytes, path: bytes, kind: str | None) -> Iterator[tuple[bytes, str, None, LeftOutError]]:
        target = os.path.realpath(os.path.join(root, path))
        if os.path.commonpath([root, target]) == root:
            self.counts["links"] += 1
        elif kind is not None or os.path.isdir(target):
            detail = f"a link out of the tree, to {legible(os.fsdecode(target))}: name that as a source of its own"
            yield path, LEFT_OUT, None, LeftOutError(Reason.OUTSIDE_ROOT, detail)

    def _is_passed_over(self, lower: str) -> bool:
        if lower.startswith(".") or lower in NOT_LOOKED_INTO:
            self.counts["hidden"] += 1
            return True
        if lower.endswith(PARTIAL):
            self.counts["partial"] += 1
            return True
        return False

    def _kind(self, lower: str) -> str | None:
        if not lower.endswith(self._suffixes):
            return None
        return next((kind for suffix, kind in self._kinds if lower.endswith(suffix)), MEDIA)

    def _look(self, root: bytes) -> Generator[tuple[bytes, dict[bytes, Facts | LeftOutError]]]:
        """Read the media of which nothing is known, and say again and again up to which path all is known, and what was
        found in the last."""
        unknown = "FROM files WHERE root = ? AND seen = ? AND kind = ? AND found IS NULL"
        key = (root, self._number, MEDIA)
        (total,) = self._connection.execute(f"SELECT count(*) {unknown}", key).fetchone()
        if not total:
            return
        query = f"SELECT path {unknown} AND path > ? ORDER BY path LIMIT ?"

        def batches() -> Iterator[list[bytes]]:
            last = b""
            while rows := self._connection.execute(query, (*key, last, MAX_FACTS_FILES)).fetchall():
                last = rows[-1][0]
                yield [path for (path,) in rows]

        progress = _Progress(total)
        committed = time.monotonic()
        waiting: deque[tuple[list[bytes], Future[list[Facts | LeftOutError]]]] = deque()
        pool = ThreadPoolExecutor(self._workers, thread_name_prefix="scan")

        def settle() -> tuple[bytes, dict[bytes, Facts | LeftOutError]]:
            nonlocal committed
            paths, future = waiting.popleft()
            read = dict(zip(paths, future.result(), strict=True))
            rows = [(*_kept(facts), root, path) for path, facts in read.items()]
            self._connection.executemany("UPDATE files SET found = ?, passing = ? WHERE root = ? AND path = ?", rows)
            if (now := time.monotonic()) - committed > _COMMIT_EVERY_S:
                self._connection.commit()
                committed = now
            self.counts["read"] += len(paths)
            progress.advance(len(paths))
            return paths[-1], read

        try:
            for paths in batches():
                waiting.append((paths, pool.submit(self._facts, root, paths)))
                if len(waiting) > 2 * self._workers:
                    yield settle()
            while waiting:
                yield settle()
        finally:
            progress.close()
            pool.shutdown(wait=True, cancel_futures=True)
            for reader in self._readers:
                reader.close()
            self._readers = []
            self._opened = local()

    def _facts(self, root: bytes, paths: list[bytes]) -> list[Facts | LeftOutError]:
        if not hasattr(self._opened, "reader"):
            self._opened.reader = FactsReader()
            self._readers.append(self._opened.reader)
        reader: FactsReader = self._opened.reader
        return reader.look([os.path.join(root, path) for path in paths])


def _connect(database: Path) -> sqlite3.Connection:
    """The database, made anew where it was made by another version or is none. Raises InputError where another process
    has it open."""
    version = f"{VERSION} PyAV {av.__version__}"
    for attempt in (1, 2):
        connection = sqlite3.connect(database, timeout=0)
        try:
            connection.execute("PRAGMA locking_mode = EXCLUSIVE")
            # It is a cache: what a power cut breaks is made anew.
            connection.execute("PRAGMA synchronous = OFF")
            connection.execute("BEGIN EXCLUSIVE")
            connection.commit()
            connection.executescript(_TABLES)
            known = [row[0] for row in connection.execute("SELECT version FROM made_by")]
            if known != [version]:
                connection.execute("DELETE FROM files")
                connection.execute("DELETE FROM made_by")
                connection.execute("INSERT INTO made_by VALUES (?)", (version,))
                connection.commit()
            return connection
        except sqlite3.DatabaseError as error:
            connection.close()
            if "locked" in str(error):
                raise InputError(f"{database}: another command is writing it; wait for its end") from error
            if attempt == 2 or isinstance(error, sqlite3.OperationalError):
                raise InputError(
                    f"{database}: cannot be used ({error}); delete it, or give another --output"
                ) from error
            log.warning("%s is no database any more (%s); everything is read again", database, error)
            database.unlink()
    raise AssertionError("unreachable")


def _kept(facts: Facts | LeftOutError) -> tuple[str, bool]:
    """As it stands in the database, in ASCII, since tags may have lone surrogates; and whether it may pass."""
    if isinstance(facts, Facts):
        return json.dumps(vars(facts)), False
    return json.dumps({"reason": facts.reason, "detail": facts.detail}), facts.reason in _PASSING


def _said(found: str | None) -> Facts | LeftOutError | None:
    """What `_kept` made a text of."""
    if found is None:
        return None
    value = json.loads(found)
    return LeftOutError(Reason.named(value["reason"]), value["detail"]) if "reason" in value else Facts(**value)


def _found(root: bytes, path: bytes, kind: str, said: Facts | LeftOutError | None) -> Found:
    if not isinstance(said, LeftOutError):
        return Found(path=path, kind=kind, facts=said)
    where = shown(os.path.join(root, path))
    return Found(path=path, kind=kind, left_out=LeftOut(where=where, reason=said.reason, detail=said.detail))


def shown(path: bytes) -> str:
    """A path as it can be written down: one line, and UTF-8."""
    text = path.decode("utf-8", "backslashreplace")
    return (
        text
        if text.isprintable()
        else "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
    )


def _stem(path: bytes) -> bytes:
    return os.path.splitext(path.removesuffix(b".info.json") + b".x" if path.endswith(b".info.json") else path)[0]


class _Progress:
    """A bar on a terminal, now and then a line elsewhere."""

    def __init__(self, total: int) -> None:
        self._total, self._done, self._said = total, 0, time.monotonic()
        self._bar = tqdm(total=total, desc="reading tags", unit=" files", disable=None)

    def advance(self, count: int) -> None:
        self._done += count
        self._bar.update(count)
        if self._bar.disable and time.monotonic() - self._said > _LINE_EVERY_S:
            self._said = time.monotonic()
            log.info("%d of %d files read", self._done, self._total)

    def close(self) -> None:
        self._bar.close()
