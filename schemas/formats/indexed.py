"""Shards that are one record after another, with an index beside them: what TFRecord and WebDataset tar share.

The index is a Parquet file in the same row groups that a Parquet shard would have, with what a reader needs to choose a
row and to find it: `recording_id, audio_sha256, text_sources, max_lf_score, offset, length` (of the whole record).
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from schemas.columns import completed, completed_row
from schemas.formats.parquet import ParquetReader, ParquetWriter
from schemas.shard import SHARD_SCHEMA
from schemas.shard_format import LIGHT_COLUMNS, GroupStatistics, RecordError

PLACE_SCHEMA = pa.schema(
    [pa.field("offset", pa.int64(), nullable=False), pa.field("length", pa.int64(), nullable=False)]
)
INDEX_SCHEMA = pa.schema([*(SHARD_SCHEMA.field(name) for name in LIGHT_COLUMNS), *PLACE_SCHEMA])
MAX_RECORD_BYTES = 1 << 30


class IndexedReader(ABC):
    """Random access to rows by the index; what the index has itself is read from there alone."""

    def __init__(self, source: Any, index: Any) -> None:
        self._source = source
        self._index = ParquetReader(index)

    @abstractmethod
    def unpack(self, record: bytes) -> dict[str, Any]:
        """The row in a record. Raises RecordError."""

    def groups(self) -> list[GroupStatistics]:
        return self._index.groups()

    def read(self, group: int, columns: Sequence[str], rows: Sequence[int] | None = None) -> pa.Table:
        if set(columns) <= set(LIGHT_COLUMNS):
            return self._index.read(group, columns, rows)
        places = completed(self._index.read(group, PLACE_SCHEMA.names, rows), PLACE_SCHEMA).to_pylist()
        found = [self.row(place["offset"], place["length"]) for place in places]
        schema = pa.schema([SHARD_SCHEMA.field(name) for name in columns])
        return pa.Table.from_pylist([{name: row[name] for name in columns} for row in found], schema=schema)

    def row(self, offset: int, length: int) -> dict[str, Any]:
        """The row at a place that the index names. Raises RecordError."""
        if offset < 0 or not 0 < length <= MAX_RECORD_BYTES:
            raise RecordError(f"a record of {length} bytes at {offset}")
        self._source.seek(offset)
        record = self._source.read(length)
        if len(record) != length:
            raise RecordError(f"{len(record)} of {length} bytes at {offset}")
        try:
            return completed_row(self.unpack(record), SHARD_SCHEMA)
        except ValueError as error:
            raise RecordError(f"not a shard row: {error}") from error


class IndexedWriter(ABC):
    end = b""  # what follows the last record

    def __init__(self, path: str, index_path: str) -> None:
        self._stream = Path(path).open("wb")  # noqa: SIM115 # closed by `close`
        self._index = ParquetWriter(index_path)
        self._rows = 0

    @abstractmethod
    def pack(self, number: int, row: Mapping[str, Any]) -> bytes:
        """The record of a row, which is the `number`th of the shard, from 0."""

    def write(self, group: pa.Table) -> None:
        places = []
        for row in group.to_pylist():
            record = self.pack(self._rows, row)
            places.append(
                {**{name: row[name] for name in LIGHT_COLUMNS}, "offset": self._stream.tell(), "length": len(record)}
            )
            self._stream.write(record)
            self._rows += 1
        self._index.write(pa.Table.from_pylist(places, schema=INDEX_SCHEMA))

    def close(self) -> None:
        self._stream.write(self.end)
        self._stream.close()
        self._index.close()
