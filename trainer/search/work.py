"""What was embedded for an index, kept in its folder: a command that was killed goes on, one that is run again embeds
only what is new.

Rows are kept by a key that changes with the sound (a file's path, size and time; a clip's hash), and committed a batch
at a time. What has left the collection is deleted so that no byte of it stays.

Legend: W windows, D dimensions.
"""

import sqlite3
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from trainer.search.generation import Vectors

_SCHEMA = """
CREATE TABLE IF NOT EXISTS identity (name TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS embedded (
    key TEXT PRIMARY KEY, row BLOB NOT NULL, windows BLOB, starts BLOB, duration_s REAL NOT NULL
) WITHOUT ROWID;
CREATE TEMPORARY TABLE here (key TEXT PRIMARY KEY) WITHOUT ROWID;
"""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Kept:
    key: str
    vectors: Vectors
    duration_s: float


class Work:
    """Raises ValueError where what is kept was made with another identity: another model, or without windows."""

    def __init__(self, path: Path, identity: dict[str, str]) -> None:
        self.gone = 0
        try:
            self._base = sqlite3.connect(path)
            # What is deleted is overwritten; a commit is on the disk when it returns.
            self._base.executescript(f"PRAGMA secure_delete=ON; PRAGMA synchronous=FULL; {_SCHEMA}")
            found = dict(self._base.execute("SELECT name, value FROM identity").fetchall())
        except sqlite3.DatabaseError as error:
            raise ValueError(f"{path}: cannot be used ({error}); delete it and run the command again") from error
        if found:
            other = [name for name, value in identity.items() if found.get(name) != value]
            if other:
                self._base.close()
                raise ValueError(
                    f"{path.parent}: was made with another {', another '.join(other)}; give another --output, or "
                    "delete it"
                )
        else:
            with self._base:
                self._base.executemany("INSERT INTO identity VALUES (?, ?)", identity.items())

    def close(self) -> None:
        self._base.close()

    def missing(self, keys: Iterable[str]) -> set[str]:
        """Those of what is here now that are not embedded. What is embedded and no longer here is deleted."""
        with self._base:
            self._base.execute("DELETE FROM here")
            self._base.executemany("INSERT OR IGNORE INTO here VALUES (?)", ((key,) for key in keys))
            gone = self._base.execute("DELETE FROM embedded WHERE key NOT IN (SELECT key FROM here)")
            self.gone = gone.rowcount
        statement = "SELECT key FROM here WHERE key NOT IN (SELECT key FROM embedded)"
        return {key for (key,) in self._base.execute(statement)}

    def keep(self, batch: Sequence[Kept]) -> None:
        rows = []
        for one in batch:
            vectors = one.vectors
            windows = None if vectors.windows_WD is None else vectors.windows_WD.astype(np.float32).tobytes()
            starts = np.asarray(vectors.starts_s, np.float64).tobytes()
            rows.append((one.key, vectors.row.astype(np.float32).tobytes(), windows, starts, one.duration_s))
        with self._base:
            self._base.executemany("INSERT OR REPLACE INTO embedded VALUES (?, ?, ?, ?, ?)", rows)

    def get(self, key: str, dimension: int) -> Kept | None:
        found = self._base.execute("SELECT * FROM embedded WHERE key = ?", (key,)).fetchone()
        if found is None:
            return None
        _, row, windows, starts, duration_s = found
        windows_WD = None if windows is None else _floats(windows).reshape(-1, dimension)
        starts_s = tuple(np.frombuffer(starts, np.float64).tolist())
        vectors = Vectors(row=_floats(row), windows_WD=windows_WD, starts_s=starts_s)
        return Kept(key=key, vectors=vectors, duration_s=duration_s)


def _floats(content: bytes) -> NDArray[np.float32]:
    return np.frombuffer(content, np.float32)
