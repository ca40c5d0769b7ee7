"""Shard file: rows in, a shard of any format out, in row groups that a reader can skip.

A group is closed when it is full, or when the next row has other text sources and the group has a useful size; so most
groups hold one value of `text_sources`, and at most a group of rows is in memory.
"""

from collections.abc import Sequence
from typing import Any

import pyarrow as pa

from pipeline import storage
from pipeline.stores.store import READ_BYTES
from schemas import shard_format
from schemas.shard import SHARD_SCHEMA
from schemas.shard_format import Shard, ShardFormat

MAX_GROUP_ROWS = 64
USEFUL_GROUP_ROWS = 16
LITTLE_BYTES = 64 << 10  # of a light column of a group; its audio lies between them


def open_shard(run_dir: str, path: str, *, ahead_bytes: int = READ_BYTES) -> Shard:
    """A shard of a run; `path` is relative to it. Where no audio is read, `LITTLE_BYTES` ahead are enough."""

    def opened(name: str) -> Any:
        return storage.open_file(storage.join(run_dir, name), ahead_bytes=ahead_bytes)

    return shard_format.open_shard(path, opened)


class RowWriter:
    """`add` rows in their final order, then `close`. A shard without rows has no file.

    `paths` are those of the shard and of its format's sidecars.
    """

    def __init__(self, kind: ShardFormat, paths: Sequence[str], *, max_group_rows: int = MAX_GROUP_ROWS) -> None:
        self._kind = kind
        self._paths = paths
        self._max_group_rows = max_group_rows
        # Each row as a batch of its own: the audio of a group is most of a worker's memory, and is held once.
        self._batches: list[pa.RecordBatch] = []
        self._text_sources: int | None = None  # of the newest row
        self._writer: shard_format.ShardWriter | None = None
        self.rows = 0

    def add(self, row: dict[str, Any]) -> None:
        changes = self._text_sources != row["text_sources"]
        if len(self._batches) >= self._max_group_rows or (changes and len(self._batches) >= USEFUL_GROUP_ROWS):
            self._flush()
        self._batches.append(pa.RecordBatch.from_pylist([row], schema=SHARD_SCHEMA))
        self._text_sources = row["text_sources"]
        self.rows += 1

    def close(self) -> None:
        if self._batches:
            self._flush()
        if self._writer is not None:
            self._writer.close()
        # Arrow keeps what it has freed, which would add up to the largest of all shards.
        pa.default_memory_pool().release_unused()

    def _flush(self) -> None:
        table = pa.Table.from_batches(self._batches)
        self._batches = []
        if self._writer is None:
            self._writer = self._kind.create(*self._paths)
        self._writer.write(table)
