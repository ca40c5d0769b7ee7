"""Shards as WebDataset tar files, written and read without that library.

A row is two members under the zero-padded number of the row: the audio, whose ending is its encoding, and a `.json`
with every other column. (The library cuts names at the first dot, which an id may have; the id is in the `.json`.)
Numbers are as Python's `json` writes them, so that they come back to the bit. Headers are ustar, with no time, owner or
group. A record is what lies between two rows' first headers; nothing is ever extracted.
"""

import json
import tarfile
from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa

from schemas.formats.indexed import IndexedReader, IndexedWriter
from schemas.shard import SHARD_SCHEMA
from schemas.shard_format import RecordError

KEY_DIGITS = 6
END = bytes(2 * tarfile.BLOCKSIZE)


def members_of(number: int, row: Mapping[str, Any]) -> bytes:
    """The record of a shard row: header and content of both members, in whole blocks."""
    key = f"{number:0{KEY_DIGITS}d}"
    rest = {column.name: _plain(row[column.name], column.type) for column in SHARD_SCHEMA if column.name != "audio"}
    text = json.dumps(rest, ensure_ascii=False, separators=(",", ":"))
    return _member(f"{key}.{row['audio_encoding']}", row["audio"]) + _member(f"{key}.json", text.encode())


def row_of(record: bytes) -> dict[str, Any]:
    """The row in a record. Raises RecordError for whatever `members_of` would not have written."""
    audio_name, audio, rest_at = _read_member(record, 0)
    json_name, text, end = _read_member(record, rest_at)
    try:
        row = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise RecordError(f"member {json_name!r} is not JSON ({error})") from error
    if not isinstance(row, dict) or not isinstance(row.get("audio_encoding"), str):
        raise RecordError(f"member {json_name!r} is not a shard row")
    key = json_name.removesuffix(".json")
    if end != len(record) or not key.isdigit() or audio_name != f"{key}.{row['audio_encoding']}":
        raise RecordError(f"members {audio_name!r} and {json_name!r} are not those of one row")
    if isinstance(scores := row.get("music_scores"), list):
        try:
            row["music_scores"] = list(np.asarray(scores, np.float16))
        except (ValueError, TypeError) as error:
            raise RecordError(f"music_scores of {key} are not numbers") from error
    return {**row, "audio": audio}


def _member(name: str, content: bytes) -> bytes:
    return _header(name, len(content)) + content + bytes(-len(content) % tarfile.BLOCKSIZE)


def _header(name: str, size: int) -> bytes:
    member = tarfile.TarInfo(name)  # owner, group and time are 0 and have no names
    member.size = size
    return member.tobuf(tarfile.USTAR_FORMAT)


def _read_member(record: bytes, at: int) -> tuple[str, bytes, int]:
    """Name and content of the member whose header stands at a place, and the place after it. Raises RecordError."""
    header = record[at : at + tarfile.BLOCKSIZE]
    try:
        member = tarfile.TarInfo.frombuf(header, "utf-8", "strict")
        # Written again it must be the same: a plain file, and no path, link, owner, time or extension.
        if "/" in member.name or _header(member.name, member.size) != header:
            raise RecordError(f"member {member.name!r} is not one of ours")
    except (tarfile.TarError, ValueError) as error:
        raise RecordError(f"no tar header ({error})") from error
    start = at + tarfile.BLOCKSIZE
    stop = start + member.size
    end = stop + -member.size % tarfile.BLOCKSIZE
    if end > len(record):
        raise RecordError(f"member {member.name!r} has {member.size} bytes, which its record does not")
    return member.name, record[start:stop], end


def _plain(value: Any, kind: pa.DataType) -> Any:
    """As JSON has it: half precision is not a number to `json`."""
    if pa.types.is_list(kind) and pa.types.is_float16(kind.value_type):
        return [float(item) for item in value]
    return value


class WebDatasetReader(IndexedReader):
    def unpack(self, record: bytes) -> dict[str, Any]:
        return row_of(record)


class WebDatasetWriter(IndexedWriter):
    end = END

    def pack(self, number: int, row: Mapping[str, Any]) -> bytes:
        return members_of(number, row)
