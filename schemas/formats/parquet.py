"""Shards as Parquet: a row group is one of Parquet's own, whose statistics let a reader skip it.

Audio is neither compressed nor encoded, so that single clips can be read (`schemas.formats.plain_values`).
"""

from collections.abc import Sequence
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from schemas.formats.plain_values import plain_values
from schemas.shard_format import GroupStatistics, RecordError

STATISTICS = ["recording_id", "text_sources", "max_lf_score"]


class ParquetReader:
    def __init__(self, source: Any) -> None:
        self._source = source
        # Far away, the columns of a group are asked for at once.
        self._file = pq.ParquetFile(source, pre_buffer=not isinstance(source, pa.OSFile))

    def groups(self) -> list[GroupStatistics]:
        """From the footer alone."""
        metadata = self._file.metadata
        columns = {metadata.schema.column(i).path: i for i in range(metadata.num_columns)}
        if lacking := {"text_sources", "max_lf_score"} - columns.keys():
            raise RecordError(f"it lacks {', '.join(sorted(lacking))}")
        found = []
        for index in range(metadata.num_row_groups):
            group = metadata.row_group(index)
            sources = group.column(columns["text_sources"]).statistics
            scores = group.column(columns["max_lf_score"]).statistics
            if sources is None or not sources.has_min_max:
                raise RecordError("it has no statistics of text_sources")
            found.append(
                GroupStatistics(
                    rows=group.num_rows,
                    text_sources=int(sources.min) if sources.min == sources.max else None,
                    max_lf_score=float(scores.max) if scores is not None and scores.has_min_max else None,
                )
            )
        return found

    def read(self, group: int, columns: Sequence[str], rows: Sequence[int] | None = None) -> pa.Table:
        if rows is None:
            return self._file.read_row_group(group, columns=list(columns))
        if (
            len(columns) == 1
            and (values := plain_values(self._file, self._source, group, columns[0], rows)) is not None
        ):
            return pa.table({columns[0]: values})
        return self._file.read_row_group(group, columns=list(columns)).take(list(rows))


class ParquetWriter:
    def __init__(self, path: str) -> None:
        self._path = path
        self._writer: pq.ParquetWriter | None = None

    def write(self, group: pa.Table) -> None:
        if self._writer is None:
            self._writer = pq.ParquetWriter(
                self._path,
                group.schema,
                # Audio is compressed already.
                compression={name: "none" if name == "audio" else "zstd" for name in group.schema.names},
                use_dictionary=False,
                write_statistics=STATISTICS,
            )
        self._writer.write_table(group, row_group_size=max(group.num_rows, 1))

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()
