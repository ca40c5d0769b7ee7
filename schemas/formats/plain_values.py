"""Chosen values of a Parquet column of byte strings, where they stand one after another as they are.

Parquet's own reader gives a column chunk as a whole. But where a column is required, uncompressed and PLAIN, as audio
is in a shard, each value is its length and its bytes: some clips of a row group are then read without the others, each
into memory of its own. Anything else is left to Parquet's reader.

A page is headed by a `PageHeader` of `parquet.thrift`, in Thrift's compact protocol.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from schemas.shard_format import RecordError

_LENGTH_BYTES = 4
_MOST_HEADER_BYTES = 256  # without statistics, which audio has not, it is about 20
_DATA_PAGE, _PLAIN = 0, 0
_TRUE, _FALSE, _BYTE, _I64, _BINARY, _STRUCT = 1, 2, 3, 6, 8, 12  # types of the compact protocol

ReadAt = Callable[[int, int], bytes]  # (bytes, offset)


def plain_values(
    file: pq.ParquetFile, source: Any, group: int, column: str, rows: Sequence[int]
) -> pa.ChunkedArray | None:
    """A chunk for each row, or None where the column is not written like this. Raises RecordError and OSError."""
    names = [file.metadata.schema.column(i).path for i in range(file.metadata.num_columns)]
    if column not in names:
        return None
    kind = file.metadata.schema.column(names.index(column))
    chunk = file.metadata.row_group(group).column(names.index(column))
    if (
        kind.physical_type != "BYTE_ARRAY"
        or kind.max_definition_level
        or kind.max_repetition_level
        or chunk.compression != "UNCOMPRESSED"
        or chunk.has_dictionary_page
    ):
        return None
    found = _walk(_reader(source, chunk), chunk, set(rows))
    if found is None:
        return None
    if missing := [row for row in rows if row not in found]:
        raise RecordError(f"row group {group} has no row {missing[0]}")
    arrow_type = file.schema_arrow.field(column).type
    return pa.chunked_array([_array(found[row], arrow_type) for row in rows], arrow_type)


def _reader(source: Any, chunk: Any) -> ReadAt:
    """From a local file piece by piece; from afar, where each read takes long, the chunk in one."""
    if isinstance(source, pa.OSFile):
        return source.read_at  # type: ignore[no-any-return]
    start = chunk.data_page_offset
    content = memoryview(source.read_at(chunk.total_compressed_size, start))
    return lambda size, offset: bytes(content[offset - start : offset - start + size])


def _walk(read_at: ReadAt, chunk: Any, rows: set[int]) -> dict[int, memoryview] | None:
    at, end = chunk.data_page_offset, chunk.data_page_offset + chunk.total_compressed_size
    found: dict[int, memoryview] = {}
    first = 0
    while at < end and len(found) < len(rows):
        header = _page_header(read_at(min(_MOST_HEADER_BYTES, end - at), at))
        if header is None:
            return None
        at += header.header_bytes
        found.update(_of_page(read_at, at, header, [row for row in rows if row >= first], first))
        first += header.values
        at += header.page_bytes
    return found


def _of_page(read_at: ReadAt, at: int, header: "_Page", rows: Sequence[int], first: int) -> dict[int, memoryview]:
    wanted = {row - first for row in rows if row - first < header.values}
    end = at + header.page_bytes
    found: dict[int, memoryview] = {}
    prefix = read_at(_LENGTH_BYTES, at) if wanted else b""
    for value in range(max(wanted, default=-1) + 1):
        at += _LENGTH_BYTES
        length = int.from_bytes(prefix, "little")
        if len(prefix) != _LENGTH_BYTES or at + length > end:
            raise RecordError(f"a value of {length} bytes, which its page does not have")
        # The length of the next value comes with this one.
        if value in wanted:
            content = read_at(min(length + _LENGTH_BYTES, end - at), at)
            if len(content) < length:
                raise RecordError("the file ends within a value")
            found[first + value] = memoryview(content)[:length]
            prefix = content[length:]
        else:
            prefix = read_at(min(_LENGTH_BYTES, end - at - length), at + length)
        at += length
    return found


def _array(value: memoryview, kind: pa.DataType) -> pa.Array:
    offsets = np.array([0, len(value)], np.int64 if pa.types.is_large_binary(kind) else np.int32)
    return pa.Array.from_buffers(kind, 1, [None, pa.py_buffer(offsets), pa.py_buffer(value)])


# The header of a page, as far as it is needed.


@dataclass(frozen=True, kw_only=True)
class _Page:
    header_bytes: int
    page_bytes: int
    values: int


def _page_header(content: bytes) -> _Page | None:
    """None for a page that is not plain, or that this does not understand."""
    try:
        fields, header_bytes = _struct(content, 0)
        data = fields[5]
        if fields[1] != _DATA_PAGE or data[2] != _PLAIN or fields[2] != fields[3]:
            return None
        return _Page(header_bytes=header_bytes, page_bytes=fields[3], values=data[1])
    except (IndexError, KeyError, TypeError):
        return None


def _struct(content: bytes, at: int) -> tuple[dict[int, Any], int]:
    """The fields of a struct by number, and where it ends. Raises KeyError for a type that page headers lack."""
    fields: dict[int, Any] = {}
    number = 0
    while head := content[at]:
        at += 1
        if head >> 4:
            number += head >> 4
        else:
            number, at = _integer(content, at)
        match head & 0x0F:
            case kind if kind in (_TRUE, _FALSE):
                fields[number] = kind == _TRUE
            case kind if _BYTE < kind <= _I64:
                fields[number], at = _integer(content, at)
            case kind if kind == _BINARY:
                length, at = _unsigned(content, at)
                fields[number], at = content[at : at + length], at + length
            case kind if kind == _STRUCT:
                fields[number], at = _struct(content, at)
            case kind:
                raise KeyError(kind)
    return fields, at + 1


def _integer(content: bytes, at: int) -> tuple[int, int]:
    number, at = _unsigned(content, at)
    return number >> 1 ^ -(number & 1), at


def _unsigned(content: bytes, at: int) -> tuple[int, int]:
    number = shift = 0
    while True:
        byte = content[at]
        number |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if not byte & 0x80:
            return number, at
