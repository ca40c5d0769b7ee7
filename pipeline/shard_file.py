"""Shard file: rows in, Parquet or TFRecord out, in row groups that a reader can skip.

A group is closed when it is full, or when the next row has other text sources and the group has a useful size; so most
groups hold one value of `text_sources`, and at most a group of rows is in memory.
"""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline import storage
from schemas.shard import SHARD_SCHEMA
from schemas.shard_reader import TFRECORD, ParquetShard, ShardReader, TFRecordShard, sidecars
from schemas.tfrecord import INDEX_SCHEMA, example_of, frame

MAX_GROUP_ROWS = 64
USEFUL_GROUP_ROWS = 16
STATISTICS = ["recording_id", "text_sources", "max_lf_score"]


def open_shard(run_dir: str, path: str) -> ShardReader:
    """A shard of a run; `path` is relative to it."""
    files = [storage.open_file(storage.join(run_dir, name)) for name in (path, *sidecars(path))]
    return TFRecordShard(*files) if sidecars(path) else ParquetShard(*files)


class ShardWriter:
    """`add` rows in their final order, then `close`. A shard without rows has no file.

    With an `index_path` the shard is a TFRecord file, and its index has the row groups.
    """

    def __init__(self, path: str, index_path: str | None = None) -> None:
        self._path = path
        self._index_path = index_path
        # Each row as a batch of its own: the audio of a group is most of a worker's memory, and is held once.
        self._batches: list[pa.RecordBatch] = []
        self._text_sources: int | None = None  # of the newest row
        self._writer: pq.ParquetWriter | None = None
        self._bytes = 0
        self.rows = 0

    @classmethod
    def of_format(cls, shard_format: str, path: str, index_path: str) -> "ShardWriter":
        return cls(path, index_path if shard_format == TFRECORD else None)

    def add(self, row: dict[str, Any]) -> None:
        changes = self._text_sources != row["text_sources"]
        if len(self._batches) >= MAX_GROUP_ROWS or (changes and len(self._batches) >= USEFUL_GROUP_ROWS):
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
        if self._index_path is None:
            self._write_group(self._path, table)
        else:
            # Through the table, so that both formats hold values of the schema's types.
            rows = table.to_pylist()
            places = [self._append(frame(example_of(row))) for row in rows]
            index = [
                {**row, "offset": offset, "length": length} for row, (offset, length) in zip(rows, places, strict=True)
            ]
            self._write_group(self._index_path, pa.Table.from_pylist(index, schema=INDEX_SCHEMA))

    def _append(self, record: bytes) -> tuple[int, int]:
        offset = self._bytes
        with Path(self._path).open("ab") as stream:
            stream.write(record)
        self._bytes += len(record)
        return offset, len(record)

    def _write_group(self, path: str, table: pa.Table) -> None:
        if self._writer is None:
            self._writer = pq.ParquetWriter(
                path,
                table.schema,
                # Audio is compressed already.
                compression={name: "none" if name == "audio" else "zstd" for name in table.schema.names},
                use_dictionary=False,
                write_statistics=STATISTICS,
            )
        self._writer.write_table(table, row_group_size=MAX_GROUP_ROWS)
