"""What a failing disk or a damaged database means: one line for whoever runs the tool, and one for the page.

SQLite says what went wrong by a number; its words ("database disk image is malformed") tell nobody what to do.
"""

import sqlite3
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Trouble:
    """`words` for the terminal, after the name of the file; `page` for annotators, whose answers wait meanwhile."""

    words: str
    page: str


_FULL = Trouble(
    words="the disk is full; free some space: nothing that was answered for is lost, and the page sends the rest again",
    page="The disk of the server is full: tell the person who runs this page.",
)
DAMAGED = Trouble(
    words="the database is damaged; stop the server, look at `mulan label check`, and go on from the last back-up",
    page="The database of the server is damaged: tell the person who runs this page.",
)
_UNREADABLE = Trouble(
    words="the file system does not read or write the file; see to the disk (its space, its quota, its cables)",
    page="The server cannot write to its disk: tell the person who runs this page.",
)
_READ_ONLY = Trouble(
    words="the file is not writable; see to its permissions and its file system",
    page="The server may not write its database: tell the person who runs this page.",
)
_BUSY = Trouble(
    words="another program has kept the database locked for half a minute; end it",
    page="The database of the server is locked by another program.",
)
# By SQLite's primary result code.
_TROUBLES = {
    sqlite3.SQLITE_FULL: _FULL,
    sqlite3.SQLITE_CORRUPT: DAMAGED,
    sqlite3.SQLITE_IOERR: _UNREADABLE,
    sqlite3.SQLITE_CANTOPEN: _UNREADABLE,
    sqlite3.SQLITE_READONLY: _READ_ONLY,
    sqlite3.SQLITE_BUSY: _BUSY,
    sqlite3.SQLITE_LOCKED: _BUSY,
}


def trouble_of(error: sqlite3.Error) -> Trouble | None:
    """None where the fault is not one of the disk or the file."""
    # The upper bits say more of the same thing. An error that Python itself raises has no code.
    return _TROUBLES.get(getattr(error, "sqlite_errorcode", -1) & 0xFF)
