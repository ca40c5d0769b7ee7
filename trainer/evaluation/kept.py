"""Embeddings that were made, on disk: a command that was killed, another evaluator and another row of the ablation make
none twice.

One SQLite file beside the results. A row is found by the digest of the model's files, the digest of the clip's audio
with its cut, and the window policy; nothing in it says where a clip lies.
"""

import sqlite3
import threading
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from trainer.evaluation.model import FloatArray

NAME = "embeddings.sqlite"
_FORMAT = 1
_WAIT_S = 60.0  # for another command that writes


class KeptEmbeddings:
    """Those of one model, in a file that commands may share. Any thread may ask. Raises ValueError where the file is
    another one."""

    def __init__(self, path: Path, model: str) -> None:
        self._path, self._model = path, model
        self._lock = threading.Lock()
        try:
            self._database = sqlite3.connect(path, timeout=_WAIT_S, check_same_thread=False, isolation_level=None)
            version = self._database.execute("PRAGMA user_version").fetchone()[0]
            if version not in (0, _FORMAT):
                raise ValueError(
                    f"{path}: embeddings of format {version}, this openmulan has {_FORMAT}; remove the file"
                )
            self._database.execute(f"PRAGMA user_version = {_FORMAT}")
            self._database.execute(
                "CREATE TABLE IF NOT EXISTS embeddings "
                "(model TEXT, audio TEXT, windows TEXT, row BLOB, PRIMARY KEY (model, audio, windows)) WITHOUT ROWID"
            )
        except sqlite3.Error as error:
            raise ValueError(f"{path}: not embeddings that were kept ({error}); remove the file") from error

    def row(self, audio: str, windows: str) -> FloatArray | None:
        with self._lock:
            found = self._asked(
                "SELECT row FROM embeddings WHERE model = ? AND audio = ? AND windows = ?",
                (self._model, audio, windows),
            ).fetchone()
        return None if found is None else np.frombuffer(found[0], np.float32)

    def keep(self, windows: str, rows: Sequence[tuple[str, FloatArray]]) -> None:
        """All of them or none: `rows` are (audio, row)."""
        with self._lock:
            self._asked("BEGIN IMMEDIATE")
            for audio, row in rows:
                self._asked(
                    "INSERT OR IGNORE INTO embeddings VALUES (?, ?, ?, ?)",
                    (self._model, audio, windows, row.astype(np.float32).tobytes()),
                )
            self._asked("COMMIT")

    def close(self) -> None:
        self._database.close()

    def _asked(self, statement: str, values: Sequence[object] = ()) -> sqlite3.Cursor:
        try:
            return self._database.execute(statement, values)
        except sqlite3.Error as error:
            raise ValueError(f"{self._path}: no embedding can be kept ({error}); free space, or remove it") from error
