"""Shards as TFRecord files of `tf.train.Example`, written and read without TensorFlow.

A record is its length, a masked CRC-32C of the length, the Example and a masked CRC-32C of that.

Columns become features of the same name; a struct becomes one feature for each field (`counts/sf_tokens`, `lf/text`).
Text is UTF-8 bytes. Doubles are decimal text, which is exact (`tf.strings.to_number(x, tf.float64)`), because Example
has single precision only; scores are single anyway. A column that is null has no feature, a sentence without a score
has NaN.
"""

import math
import struct
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, BinaryIO

import google_crc32c
import numpy as np
import pyarrow as pa

from schemas.formats.indexed import MAX_RECORD_BYTES, IndexedReader, IndexedWriter
from schemas.shard import COUNTS, LF_SENTENCE, SHARD_SCHEMA
from schemas.shard_format import RecordError

_LENGTH = struct.Struct("<Q")
_CRC = struct.Struct("<I")
_HEAD_BYTES = _LENGTH.size + _CRC.size
_FRAME_BYTES = _HEAD_BYTES + _CRC.size
_BYTES, _FLOATS, _INTS = 1, 2, 3  # fields of `Feature`
Feature = tuple[int, Sequence[Any]]


class TFRecordReader(IndexedReader):
    def unpack(self, record: bytes) -> dict[str, Any]:
        return row_of(unframe(record))


class TFRecordWriter(IndexedWriter):
    def pack(self, number: int, row: Mapping[str, Any]) -> bytes:
        return frame(example_of(row))


# Framing.


def masked_crc(content: bytes) -> int:
    """CRC-32C as TFRecord stores it, so that a checksum of data that holds checksums is still useful."""
    crc: int = google_crc32c.value(content)
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


def frame(example: bytes) -> bytes:
    """A record around an Example."""
    length = _LENGTH.pack(len(example))
    return b"".join((length, _CRC.pack(masked_crc(length)), example, _CRC.pack(masked_crc(example))))


def unframe(record: bytes) -> bytes:
    """The Example in a record. Raises RecordError."""
    if len(record) < _FRAME_BYTES:
        raise RecordError(f"a record of {len(record)} bytes")
    length, crc = record[: _LENGTH.size], record[_LENGTH.size : _HEAD_BYTES]
    example = record[_HEAD_BYTES : -_CRC.size]
    if _LENGTH.unpack(length)[0] != len(example):
        raise RecordError(f"{len(example)} bytes where the record says {_LENGTH.unpack(length)[0]}")
    if _CRC.unpack(crc)[0] != masked_crc(length) or _CRC.unpack(record[-_CRC.size :])[0] != masked_crc(example):
        raise RecordError("the checksum is wrong")
    return example


def records(stream: BinaryIO) -> Iterator[bytes]:
    """The Examples of a file, in order, without its index. Raises RecordError."""
    while head := stream.read(_HEAD_BYTES):
        if len(head) < _HEAD_BYTES:
            raise RecordError("the file ends within a record")
        (length,) = _LENGTH.unpack_from(head)
        if length > MAX_RECORD_BYTES:
            raise RecordError(f"a record of {length} bytes")
        yield unframe(head + stream.read(length + _CRC.size))


# Rows and Examples.


def example_of(row: Mapping[str, Any]) -> bytes:
    """A shard row as a serialised `tf.train.Example`, with its features in the order of their names."""
    features: dict[str, Feature] = {}
    for column in SHARD_SCHEMA:
        _add_features(features, column.name, column.type, row[column.name])
    entries = [
        _message(1, _message(1, name.encode()) + _message(2, _feature(*features[name]))) for name in sorted(features)
    ]
    return _message(1, b"".join(entries))


def row_of(example: bytes) -> dict[str, Any]:
    """The shard row of a serialised Example, without the columns that it has no feature of. Raises RecordError."""
    try:
        features = dict(_read_entry(entry) for entry in _fields_of(_only(example, 1), 1))
        heads = {name.partition("/")[0] for name in features}
        return {
            column.name: _value(features, column.name, column.type) for column in SHARD_SCHEMA if column.name in heads
        }
    except (IndexError, KeyError, ValueError, TypeError, struct.error, OverflowError) as error:
        raise RecordError(f"not a shard row: {error!r}") from error


def _add_features(features: dict[str, Feature], name: str, kind: pa.DataType, value: Any) -> None:
    if value is None:
        return
    if name == "lf":
        for part in LF_SENTENCE:
            items = [sentence[part.name] for sentence in value]
            if part.name == "score":
                items = [math.nan if item is None else item for item in items]
            features[f"lf/{part.name}"] = _typed(part.type, items)
    elif name == "counts":
        for part in COUNTS:
            features[f"counts/{part.name}"] = _typed(part.type, [value[part.name]])
    elif pa.types.is_list(kind):
        features[name] = _typed(kind.value_type, value)
    else:
        features[name] = _typed(kind, [value])


def _value(features: Mapping[str, Feature], name: str, kind: pa.DataType) -> Any:
    if name == "lf":
        parts = [part for part in LF_SENTENCE if f"lf/{part.name}" in features]
        columns = [_plain(part.type, features[f"lf/{part.name}"][1]) for part in parts]
        names = [part.name for part in parts]
        sentences = [dict(zip(names, items, strict=True)) for items in zip(*columns, strict=True)]
        for sentence in sentences:
            if math.isnan(sentence["score"]):
                sentence["score"] = None
        return sentences
    if name == "counts":
        parts = [part for part in COUNTS if f"counts/{part.name}" in features]
        return {part.name: _plain(part.type, features[f"counts/{part.name}"][1])[0] for part in parts}
    if pa.types.is_list(kind):
        return _plain(kind.value_type, features[name][1])
    return _plain(kind, features[name][1])[0]


def _typed(kind: pa.DataType, items: Sequence[Any]) -> Feature:
    if pa.types.is_string(kind):
        return _BYTES, [item.encode() for item in items]
    if pa.types.is_binary(kind):
        return _BYTES, items
    if pa.types.is_float64(kind):
        return _BYTES, [repr(float(item)).encode() for item in items]
    return (_FLOATS if pa.types.is_floating(kind) else _INTS), items


def _plain(kind: pa.DataType, items: Sequence[Any]) -> list[Any]:
    if pa.types.is_string(kind):
        return [item.decode() for item in items]
    if pa.types.is_float64(kind):
        return [float(item) for item in items]
    if pa.types.is_float16(kind):
        return list(np.asarray(items, np.float16))
    return list(items)


# The wire format of protocol buffers, as far as Example needs it.


def _varint(number: int) -> bytes:
    number &= 0xFFFFFFFFFFFFFFFF
    written = bytearray()
    while number > 0x7F:
        written.append(number & 0x7F | 0x80)
        number >>= 7
    written.append(number)
    return bytes(written)


def _message(field: int, content: bytes) -> bytes:
    return _varint(field << 3 | 2) + _varint(len(content)) + content


def _feature(kind: int, items: Sequence[Any]) -> bytes:
    if kind == _BYTES:
        content = b"".join(_message(1, item) for item in items)
    elif kind == _FLOATS:
        content = _message(1, np.asarray(items, "<f4").tobytes()) if len(items) else b""
    else:
        content = _message(1, b"".join(_varint(int(item)) for item in items)) if len(items) else b""
    return _message(kind, content)


def _read_varint(content: bytes, at: int) -> tuple[int, int]:
    number = shift = 0
    while True:
        byte = content[at]
        number |= (byte & 0x7F) << shift
        at += 1
        if not byte & 0x80:
            return number & 0xFFFFFFFFFFFFFFFF, at
        shift += 7
        if shift > 63:
            raise ValueError("a number of more than 64 bits")


def _walk(content: bytes) -> Iterator[tuple[int, int, Any]]:
    """(field, wire type, value) of a message."""
    at = 0
    while at < len(content):
        key, at = _read_varint(content, at)
        field, wire = key >> 3, key & 7
        if wire == 0:
            value, at = _read_varint(content, at)
            yield field, wire, value
            continue
        if wire == 2:
            size, at = _read_varint(content, at)
        elif wire in (1, 5):
            size = 8 if wire == 1 else 4
        else:
            raise ValueError(f"wire type {wire}")
        if at + size > len(content):
            raise ValueError("the message ends within a field")
        yield field, wire, content[at : at + size]
        at += size


def _fields_of(content: bytes, field: int) -> Iterator[bytes]:
    return (value for number, wire, value in _walk(content) if number == field and wire == 2)


def _only(content: bytes, field: int) -> bytes:
    return b"".join(_fields_of(content, field))


def _read_entry(entry: bytes) -> tuple[str, Feature]:
    kinds = [(number, value) for number, wire, value in _walk(_only(entry, 2)) if wire == 2]
    kind, content = kinds[-1]
    return _only(entry, 1).decode(), (kind, _read_items(kind, content))


def _read_items(kind: int, content: bytes) -> Sequence[Any]:
    """Items of a list, packed or one by one, as either may be written."""
    if kind == _BYTES:
        return list(_fields_of(content, 1))
    items: list[Any] = []
    for number, wire, value in _walk(content):
        if number != 1:
            continue
        if kind == _FLOATS:
            items.extend(np.frombuffer(value, "<f4").tolist())
        elif wire == 0:
            items.append(_signed(value))
        else:
            at = 0
            while at < len(value):
                item, at = _read_varint(value, at)
                items.append(_signed(item))
    return items


def _signed(number: int) -> int:
    return number - (1 << 64) if number >> 63 else number
