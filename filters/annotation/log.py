"""The database: an append-only log of events, and tables that follow from it.

Every change is one row of `events`, numbered, never updated and never deleted (triggers refuse both), and chained: a
row holds the hash of its content and of the row before, so a change made behind the tool's back is found by `verify`.
The tables that pages and exports read (`items`, `labels`, `decisions`) are projections: `projection.py` derives them in
the transaction that appends the event, and `verify` derives them again from the log alone and compares.

What must be erasable is outside the log: names in `people`, notes in `notes`. The log has a number for a person and a
salted hash for a note, and stays whole when they go.

SQLite in WAL mode with `synchronous=FULL`: once `append` has returned and its transaction is committed, neither a
killed process nor a power cut takes the event back, and readers never block the writer. Until the database is closed
the newest events may stand in the file `-wal` beside it alone. So the main file carries a mark, set before anything is
written there and cleared by a close that has brought everything in: a copy with the mark and without its -wal is known
to lack something, is warned of, and is not written to.
"""

import contextlib
import hashlib
import json
import logging
import os
import secrets
import signal
import sqlite3
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from filters.annotation import projection
from filters.annotation.projection import Event
from filters.annotation.records import AnnotationError
from filters.annotation.trouble import trouble_of
from schemas.digest import canonical_json

logger = logging.getLogger(__name__)

# 1 had no table `state`; it is read as it is and becomes 2 with the first thing that is written.
FORMAT_VERSION = 2
_READABLE = (1, FORMAT_VERSION)
# "MuLb": marks the file as ours, so that another SQLite database is refused, not filled with tables.
APPLICATION_ID = 0x4D754C62
_FIRST_LINK = "0" * 32

_LOG_TABLES = """
CREATE TABLE events (
    seq INTEGER PRIMARY KEY,
    at_ms INTEGER NOT NULL,
    kind TEXT NOT NULL,
    person INTEGER,
    item_id TEXT,
    key TEXT UNIQUE,
    body TEXT NOT NULL,
    chain TEXT NOT NULL
) STRICT;
CREATE INDEX events_by_person ON events (person, kind);
CREATE TRIGGER events_keep_content BEFORE UPDATE ON events
    BEGIN SELECT RAISE(ABORT, 'the log is append-only'); END;
CREATE TRIGGER events_keep_rows BEFORE DELETE ON events
    BEGIN SELECT RAISE(ABORT, 'the log is append-only'); END;
CREATE TABLE people (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    adjudicator INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE TABLE secrets (
    hash TEXT PRIMARY KEY,
    kind TEXT NOT NULL,
    person INTEGER NOT NULL REFERENCES people (id),
    expires_ms INTEGER NOT NULL
) STRICT;
CREATE TABLE notes (
    digest TEXT PRIMARY KEY,
    person INTEGER NOT NULL,
    salt TEXT NOT NULL,
    text TEXT NOT NULL
) STRICT;
CREATE TABLE leases (
    item_id TEXT NOT NULL,
    person INTEGER NOT NULL,
    expires_ms INTEGER NOT NULL,
    PRIMARY KEY (item_id, person)
) STRICT, WITHOUT ROWID;
CREATE INDEX leases_by_person ON leases (person);
"""
_STATE_TABLE = """
CREATE TABLE state (
    name TEXT PRIMARY KEY,
    value TEXT NOT NULL
) STRICT, WITHOUT ROWID;
"""
_MARK = "more_in_wal"
_ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
# How long a closing database waits for another process that is writing; that one closes it then.
_CLOSE_TIMEOUT_MS = 2_000


def now_ms() -> int:
    return time.time_ns() // 1_000_000


@dataclass(frozen=True, kw_only=True)
class Check:
    """What `verify` found: the number of events, and what is wrong, if anything."""

    events: int
    problems: list[str]


class Log:
    """One open database. Not for several threads; several processes may hold one each."""

    def __init__(
        self, path: Path, *, create: bool = False, warn: bool = True, clock_ms: Callable[[], int] = now_ms
    ) -> None:
        """Raises AnnotationError where there is no database (and no `create`) or the file is something else.

        `lacks_wal` is whether the file was brought here without its -wal; `warn` says so in the log of the process.
        """
        if not create and not path.is_file():
            raise AnnotationError(f"{path}: no such database; `mulan label sample` or `import` makes one")
        self.path = path
        self.clock_ms = clock_ms
        self.lacks_wal = False
        self._mark_in_file = False
        try:
            self.connection = sqlite3.connect(path, timeout=30, isolation_level=None, check_same_thread=False)
            self.connection.row_factory = sqlite3.Row
            self._prepare()
        except sqlite3.Error as error:
            trouble = trouble_of(error)
            words = trouble.words if trouble else f"not a database of `mulan label` ({error})"
            raise AnnotationError(f"{path}: {words}") from error
        if self.lacks_wal and warn:
            logger.warning("%s: %s", path, self.what_is_lacking())

    def __enter__(self) -> "Log":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Bring everything into the one file, so that a copy of it is whole, also where others have it open."""
        # A second Ctrl-C or SIGTERM waits: half a close would leave the mark without the -wal.
        blocked = signal.pthread_sigmask(signal.SIG_BLOCK, _ENDING)
        try:
            # Another process that is writing keeps its mark and closes after us.
            with contextlib.suppress(sqlite3.Error):
                self._settle()
            self.connection.close()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, blocked)

    def _settle(self) -> None:
        if self.lacks_wal:
            return
        # Broken off before its COMMIT: nobody was told that it was done.
        self.connection.rollback()
        self.connection.execute(f"PRAGMA busy_timeout = {_CLOSE_TIMEOUT_MS}")
        if self._marked():
            self.connection.execute("PRAGMA synchronous = FULL")
            self._set_state(_MARK, "0")
        self._checkpoint()

    def _checkpoint(self) -> bool:
        """Copy what the -wal holds into the file, as far as no reader is in the way; whether that was all of it."""
        busy, frames, copied = self.connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
        return not busy and frames == copied

    @property
    def project(self) -> str:
        """What tells this project from any other, in the browser of somebody who works for both."""
        project = self.state("project")
        if project is None:
            with self.transaction():
                project = self.state("project")
        assert project is not None
        return project

    def state(self, name: str) -> str | None:
        """A fact about the file as a whole, outside the log."""
        if self._version() < FORMAT_VERSION:
            return None
        row = self.connection.execute("SELECT value FROM state WHERE name = ?", (name,)).fetchone()
        return row["value"] if row else None

    def set_state(self, name: str, value: str) -> None:
        with self.transaction():
            self._set_state(name, value)

    def _set_state(self, name: str, value: str) -> None:
        self.connection.execute("INSERT OR REPLACE INTO state (name, value) VALUES (?,?)", (name, value))

    def _version(self) -> int:
        version: int = self.connection.execute("PRAGMA user_version").fetchone()[0]
        return version

    def _marked(self) -> bool:
        return self.state(_MARK) == "1"

    def _mark(self) -> None:
        """See to it that the file itself says that there is more in the -wal, before there is."""
        run = self.connection.execute
        if run("PRAGMA journal_mode = WAL").fetchone()[0] != "wal":
            raise AnnotationError(f"{self.path}: its file system cannot hold a database that is written to")
        run("PRAGMA synchronous = FULL")
        run("BEGIN IMMEDIATE")
        try:
            if self._version() < FORMAT_VERSION:
                run(_STATE_TABLE)
                self._set_state("project", secrets.token_hex(8))
                run(f"PRAGMA user_version = {FORMAT_VERSION}")
            if not self._marked():
                self._set_state(_MARK, "1")
            run("COMMIT")
        except BaseException:
            self._roll_back()
            raise
        # Where a reader is in the way the mark comes into the file with the next transaction.
        self._mark_in_file = self._checkpoint()

    def what_is_lacking(self) -> str:
        row = self.connection.execute("SELECT at_ms FROM events ORDER BY seq DESC LIMIT 1").fetchone()
        after = f" after {datetime.fromtimestamp(row['at_ms'] / 1000, UTC):%Y-%m-%d %H:%M} UTC" if row else ""
        return (
            f"was copied while in use, without {self.path.name}-wal: what was given{after} may not be in it; bring "
            "that file too (or copy with `mulan label backup`), or take it as it is with `mulan label check --accept`"
        )

    def accept_without_wal(self) -> None:
        """Go on with a file whose -wal is lost for good."""
        self.lacks_wal = False
        self.connection.execute("PRAGMA synchronous = FULL")
        self._set_state(_MARK, "0")

    def _prepare(self) -> None:
        run = self.connection.execute
        run("PRAGMA foreign_keys = ON")
        run("PRAGMA trusted_schema = OFF")
        run("PRAGMA secure_delete = ON")
        application = run("PRAGMA application_id").fetchone()[0]
        if application == 0 and not run("SELECT 1 FROM sqlite_master").fetchone():
            run("PRAGMA journal_mode = WAL")
            with self.transaction(durable=False):
                # Two processes may create one file: only the first finds it still empty under the lock.
                if not run("SELECT 1 FROM sqlite_master").fetchone():
                    for statement in _statements(_LOG_TABLES + projection.TABLES + _STATE_TABLE):
                        run(statement)
                    self._set_state("project", secrets.token_hex(8))
                    run(f"PRAGMA application_id = {APPLICATION_ID}")
                    run(f"PRAGMA user_version = {FORMAT_VERSION}")
            # Names and labels of people: nobody else's business.
            os.chmod(self.path, 0o600)
            return
        if application != APPLICATION_ID:
            raise AnnotationError(f"{self.path}: a database, but not one of `mulan label`")
        version = self._version()
        if version not in _READABLE:
            raise AnnotationError(f"{self.path}: format {version}, this openmulan reads up to {FORMAT_VERSION}")
        # Who copies by SQL (`VACUUM INTO`) gets everything, and a file without a -wal.
        in_wal_mode = run("PRAGMA journal_mode").fetchone()[0] == "wal"
        self.lacks_wal = in_wal_mode and self._marked() and self._wal_bytes() == 0

    def _wal_bytes(self) -> int:
        try:
            return os.stat(f"{os.path.realpath(self.path)}-wal").st_size
        except FileNotFoundError:
            return 0

    @contextlib.contextmanager
    def transaction(self, *, durable: bool = True) -> Iterator[None]:
        """All or nothing. Takes the write lock at once, so that what is read inside is still true when written.

        Without `durable`, a power cut (not a killed process) may forget it: leases are worth no wait for the disk.
        Raises AnnotationError on a file whose -wal is somewhere else: what that holds would not fit any more.
        """
        if self.lacks_wal:
            raise AnnotationError(f"{self.path}: {self.what_is_lacking()}")
        if durable and not self._mark_in_file:
            self._mark()
        self.connection.execute(f"PRAGMA synchronous = {'FULL' if durable else 'NORMAL'}")
        self.connection.execute("BEGIN IMMEDIATE")
        # Another process may have closed the database, and so cleared the mark, since it was looked at.
        while durable and not self._marked():
            self.connection.execute("ROLLBACK")
            self._mark()
            self.connection.execute("BEGIN IMMEDIATE")
        try:
            yield
            # A full disk is often met only here, and what cannot be committed must not stay open either.
            self.connection.execute("COMMIT")
        except BaseException:
            self._roll_back()
            raise

    def _roll_back(self) -> None:
        # SQLite has done so by itself after some failures.
        if self.connection.in_transaction:
            self.connection.execute("ROLLBACK")

    def append(
        self,
        kind: str,
        body: dict[str, Any],
        *,
        person: int | None = None,
        item_id: str | None = None,
        key: str | None = None,
    ) -> Event:
        """Write one event and what follows from it. Only inside a `transaction`."""
        last = self.connection.execute("SELECT seq, chain FROM events ORDER BY seq DESC LIMIT 1").fetchone()
        seq, before = (last["seq"] + 1, last["chain"]) if last else (1, _FIRST_LINK)
        event = Event(
            seq=seq,
            at_ms=self.clock_ms(),
            kind=kind,
            person=person,
            item_id=item_id,
            key=key,
            body=canonical_json(body),
        )
        self.connection.execute(
            "INSERT INTO events (seq, at_ms, kind, person, item_id, key, body, chain) VALUES (?,?,?,?,?,?,?,?)",
            (seq, event.at_ms, kind, person, item_id, key, event.body, _link(before, event)),
        )
        projection.apply(self.connection, event)
        return event

    def event_of_key(self, key: str) -> Event | None:
        """The event that was written under an idempotency key, if it was."""
        row = self.connection.execute("SELECT * FROM events WHERE key = ?", (key,)).fetchone()
        return _event(row) if row else None

    def event(self, seq: int) -> Event:
        return _event(self.connection.execute("SELECT * FROM events WHERE seq = ?", (seq,)).fetchone())

    def last_seq(self) -> int:
        seq: int = self.connection.execute("SELECT coalesce(max(seq), 0) FROM events").fetchone()[0]
        return seq

    def keep_note(self, person: int, text: str) -> str:
        """Put a note beside the log; returns the salted hash that stands for it in the log."""
        salt = secrets.token_hex(8)
        digest = hashlib.blake2b(f"{salt}\n{text}".encode(), digest_size=16).hexdigest()
        self.connection.execute(
            "INSERT INTO notes (digest, person, salt, text) VALUES (?,?,?,?)", (digest, person, salt, text)
        )
        return digest

    def note(self, digest: str | None) -> str | None:
        """The text of a note; None where there is none or it was erased."""
        row = self.connection.execute("SELECT text FROM notes WHERE digest = ?", (digest,)).fetchone()
        return row["text"] if row else None

    def verify(self) -> Check:
        """Walk the chain and derive every table again; says what does not fit."""
        problems = [self.what_is_lacking()] if self.lacks_wal else []
        again = sqlite3.connect(":memory:", isolation_level=None)
        again.row_factory = sqlite3.Row
        again.executescript(_LOG_TABLES + projection.TABLES)
        before = _FIRST_LINK
        count = 0
        # One read transaction: the server may go on writing meanwhile.
        self.connection.execute("BEGIN")
        try:
            for row in self.connection.execute("SELECT * FROM events ORDER BY seq"):
                count += 1
                event = _event(row)
                if event.seq != count:
                    problems.append(f"event {count} is missing")
                    break
                before = _link(before, event)
                if row["chain"] != before:
                    problems.append(f"event {event.seq} was changed after it was written")
                    break
                again.execute("INSERT INTO events VALUES (?,?,?,?,?,?,?,?)", tuple(row))
                projection.apply(again, event)
            else:
                for table in projection.TABLE_NAMES:
                    query = f"SELECT * FROM {table} ORDER BY 1, 2"  # noqa: S608 - names of our own tables
                    ours, derived = (
                        [tuple(row) for row in connection.execute(query)] for connection in (self.connection, again)
                    )
                    if ours != derived:
                        problems.append(f"table {table} does not follow from the log")
        finally:
            self.connection.execute("COMMIT")
            again.close()
        return Check(events=count, problems=problems)

    def backup(self, destination: Path) -> Check:
        """Copy the database while it is in use; the copy appears under its name only when it is whole and checked."""
        if destination.exists():
            raise AnnotationError(f"{destination}: is there already; give another name")
        if self.lacks_wal:
            raise AnnotationError(f"{self.path}: {self.what_is_lacking()}")
        unfinished = destination.with_name(f"{destination.name}.unfinished")
        unfinished.unlink(missing_ok=True)
        copy = sqlite3.connect(unfinished)
        try:
            os.chmod(unfinished, 0o600)
            self.connection.backup(copy)
            if self._version() == FORMAT_VERSION:
                copy.execute("UPDATE state SET value = '0' WHERE name = ?", (_MARK,))
                copy.commit()
            # One file, without a -wal beside it, is what people copy elsewhere.
            copy.execute("PRAGMA journal_mode = DELETE")
        finally:
            copy.close()
        with Log(unfinished) as log:
            check = log.verify()
        if check.problems:
            raise AnnotationError(f"{unfinished}: {check.problems[0]}; the copy is left for a look")
        unfinished.replace(destination)
        return check


def _event(row: sqlite3.Row) -> Event:
    return Event(
        seq=row["seq"],
        at_ms=row["at_ms"],
        kind=row["kind"],
        person=row["person"],
        item_id=row["item_id"],
        key=row["key"],
        body=row["body"],
    )


def _link(before: str, event: Event) -> str:
    content = json.dumps(
        [before, event.seq, event.at_ms, event.kind, event.person, event.item_id, event.key, event.body]
    )
    return hashlib.blake2b(content.encode(), digest_size=16).hexdigest()


def _statements(script: str) -> Iterator[str]:
    """Split a script (`executescript` would commit the transaction that it runs in)."""
    pending = ""
    for line in script.splitlines():
        pending += line + "\n"
        if sqlite3.complete_statement(pending):
            yield pending
            pending = ""
