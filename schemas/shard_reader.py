"""One shard, in either format: row groups with their statistics, and the rows of a group."""

from collections.abc import Sequence
from typing import Any, Protocol

import pyarrow as pa
import pyarrow.parquet as pq

from schemas.shard import SHARD_SCHEMA
from schemas.tfrecord import INDEX_SCHEMA, INDEX_SUFFIX, RecordError, row_of, unframe

PARQUET, TFRECORD = "parquet", "tfrecord"
FORMATS = (PARQUET, TFRECORD)


class ShardReader(Protocol):
    """Both formats group their rows in the same way."""

    @property
    def metadata(self) -> Any:
        """Parquet metadata with the statistics of `text_sources` and `max_lf_score` for each row group."""

    def read(self, group: int, columns: Sequence[str] | None = None) -> pa.Table:
        """The rows of a group; `columns` None reads all."""


def sidecars(shard_path: str) -> list[str]:
    """Files without which a shard cannot be read."""
    return [f"{shard_path}{INDEX_SUFFIX}"] if shard_path.endswith(f".{TFRECORD}") else []


class ParquetShard:
    def __init__(self, source: Any) -> None:
        self._file = pq.ParquetFile(source)

    @property
    def metadata(self) -> Any:
        return self._file.metadata

    def read(self, group: int, columns: Sequence[str] | None = None) -> pa.Table:
        return self._file.read_row_group(group, columns=None if columns is None else list(columns))


class TFRecordShard:
    """Random access by the index; what the index has itself is read from there alone."""

    def __init__(self, source: Any, index: Any) -> None:
        self._source = source
        self._index = pq.ParquetFile(index)

    @property
    def metadata(self) -> Any:
        return self._index.metadata

    def read(self, group: int, columns: Sequence[str] | None = None) -> pa.Table:
        if columns is not None and set(columns) <= set(INDEX_SCHEMA.names):
            return self._index.read_row_group(group, columns=list(columns))
        places = self._index.read_row_group(group, columns=["offset", "length"]).to_pylist()
        rows = [self.row(place["offset"], place["length"]) for place in places]
        table = pa.Table.from_pylist(rows, schema=SHARD_SCHEMA)
        return table if columns is None else table.select(list(columns))

    def row(self, offset: int, length: int) -> dict[str, Any]:
        """The row at a place that the index names. Raises RecordError."""
        self._source.seek(offset)
        content = self._source.read(length)
        if len(content) != length:
            raise RecordError(f"{len(content)} of {length} bytes at {offset}")
        return row_of(unframe(content))
