"""Shard formats: one record each, and the one place that tells which format a shard has.

A new format is a file with a reader and a writer (see `schemas/formats/`), and its record in `FORMATS`; everything else
asks here. A shard's format is told by the ending of its name. A name that a run folder holds never turns into code:
only the formats of this table are opened.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import pyarrow as pa

from schemas.columns import completed
from schemas.lookup import find_factory
from schemas.shard import SHARD_SCHEMA
from schemas.version import VERSION

# What a job asks of a shard without its audio; a sidecar that indexes a shard has these.
LIGHT_COLUMNS = ("recording_id", "audio_sha256", "text_sources", "max_lf_score")
DEFAULT_FORMAT = "parquet"
INDEX = ".index.parquet"


class RecordError(Exception):
    """A shard that is damaged or is not one of ours."""


class UnknownFormatError(ValueError):
    """A shard of a format that this version does not have; the message is one line."""


@dataclass(frozen=True, kw_only=True)
class GroupStatistics:
    """What a row group says of its rows without their being read.

    `text_sources` is the one value that all rows share, or None where they differ; `max_lf_score` is the largest, or
    None where no sentence is scored.
    """

    rows: int
    text_sources: int | None
    max_lf_score: float | None


class ShardReader(Protocol):
    """Random access to row groups. Damage is a RecordError, an OSError or a `pa.ArrowException`."""

    def groups(self) -> list[GroupStatistics]: ...

    def read(self, group: int, columns: Sequence[str], rows: Sequence[int] | None = None) -> pa.Table:
        """The rows of a group, or `rows` of it in the order given, with those of `columns` that the file has."""
        ...


class ShardWriter(Protocol):
    """The same groups give the same bytes, whenever and wherever they are written."""

    def write(self, group: pa.Table) -> None:
        """Append a row group; its columns are those of `SHARD_SCHEMA`."""
        ...

    def close(self) -> None: ...


@dataclass(frozen=True, kw_only=True)
class ShardFormat:
    """`suffix` ends the name of a shard; each of `sidecars` is added to that name and makes the name of a file without
    which the shard cannot be read. `reader` and `writer` are `package.module:factory`: the one takes open binary files
    and gives a ShardReader, the other takes local paths and gives a ShardWriter, the shard's first in both.
    """

    name: str
    suffix: str
    reader: str
    writer: str
    sidecars: tuple[str, ...] = ()

    @property
    def endings(self) -> tuple[str, ...]:
        """Of the names of a shard's files, its own first."""
        return (f".{self.suffix}", *(f".{self.suffix}{sidecar}" for sidecar in self.sidecars))

    def open(self, *files: Any) -> "Shard":
        return Shard(find_factory(self.reader, {}, "reader")(*files))

    def create(self, *paths: str) -> ShardWriter:
        writer: ShardWriter = find_factory(self.writer, {}, "writer")(*paths)
        return writer


FORMATS = {
    known.name: known
    for known in (
        ShardFormat(
            name="parquet",
            suffix="parquet",
            reader="schemas.formats.parquet:ParquetReader",
            writer="schemas.formats.parquet:ParquetWriter",
        ),
        ShardFormat(
            name="tfrecord",
            suffix="tfrecord",
            sidecars=(INDEX,),
            reader="schemas.formats.tfrecord:TFRecordReader",
            writer="schemas.formats.tfrecord:TFRecordWriter",
        ),
        ShardFormat(
            name="webdataset",
            suffix="tar",
            sidecars=(INDEX,),
            reader="schemas.formats.webdataset:WebDatasetReader",
            writer="schemas.formats.webdataset:WebDatasetWriter",
        ),
    )
}


class Shard:
    """A shard of any format, as this version has its rows: a column that came after it is there (`schemas.columns`)."""

    def __init__(self, reader: ShardReader) -> None:
        self._reader = reader

    def groups(self) -> list[GroupStatistics]:
        return self._reader.groups()

    def read(self, group: int, columns: Sequence[str] | None = None, rows: Sequence[int] | None = None) -> pa.Table:
        """The rows of a group, or `rows` of it in the order given; `columns` None reads all."""
        names = SHARD_SCHEMA.names if columns is None else columns
        schema = pa.schema([SHARD_SCHEMA.field(name) for name in names])
        try:
            return completed(self._reader.read(group, names, rows), schema)
        except (ValueError, TypeError, OverflowError) as error:
            raise RecordError(f"not shard rows: {error}") from error


def format_of(path: str) -> ShardFormat:
    """Raises UnknownFormatError."""
    if (known := _known_format(path)) is not None:
        return known
    raise UnknownFormatError(
        f"{path}: openmulan {VERSION} has no shard format with this ending (it has {', '.join(FORMATS)}); "
        "a newer one may have written it"
    )


def sidecars(path: str) -> list[str]:
    """Files without which a shard cannot be read; none for a file that is no shard."""
    known = _known_format(path)
    return [f"{path}{sidecar}" for sidecar in known.sidecars] if known is not None else []


def _known_format(path: str) -> ShardFormat | None:
    return next((known for known in FORMATS.values() if path.endswith(known.endings[0])), None)


def open_shard(path: str, open_file: Callable[[str], Any]) -> Shard:
    """A shard with its sidecars, each opened by `open_file`. Raises UnknownFormatError, and what a ShardReader does."""
    return format_of(path).open(*(open_file(name) for name in (path, *sidecars(path))))
