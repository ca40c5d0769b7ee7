"""Pieces of large tables, so that many workers read one file: row groups of Parquet, runs of whole rows elsewhere.

Where rows begin is found by looking through the file once, since errors name lines, and in CSV a line end may stand in
quotes: JSON lines are only counted, CSV goes through its reader. What cannot be entered in its middle (gzip, a JSON
array, UTF-16) stays one piece.
"""

import io
import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline import storage
from pipeline.json_arrays import ARRAY_START
from pipeline.table_folders import format_of
from pipeline.table_streams import HEAD_BYTES, is_as_it_is

PIECE_BYTES = 64 << 20
SCAN_BYTES = 1 << 20
SAID_FROM_BYTES = 1 << 30  # a file that one worker reads alone is worth a warning

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Piece:
    """Some rows of a file; all of them where there is no `end`. `start` and `end` count row groups in Parquet and bytes
    elsewhere; before the piece are `line` lines (in Parquet rows), and `header` bytes at the beginning of the file
    belong to each of its pieces."""

    path: str
    start: int = 0
    end: int | None = None
    line: int = 0
    header: int = 0
    header_lines: int = 0
    size: int | None = None  # bytes of the file that count as this piece's
    of: int = 1  # pieces of the file


# Of a stream of CSV: for each row, when it has been read, how many bytes and lines that took so far.
RowEnds = Callable[[str, Any, frozenset[str]], Iterator[tuple[int, int]]]


def pieces(path: str, row_ends: RowEnds, wanted: frozenset[str]) -> list[Piece]:
    """The pieces of a table, in order. `row_ends` looks through CSV, whose header has some of the `wanted` columns."""
    info = storage.stat(path)
    if info is None or info.size <= PIECE_BYTES:
        return [Piece(path=path)]
    found: list[Piece] = []
    kind, why = format_of(path), "is gzipped"
    if not path.lower().endswith(".gz"):
        with storage.open_file(path) as stream:
            if kind == "parquet":
                found, why = _row_groups(path, stream), "has one row group"
            else:
                is_csv = kind in ("csv", "tsv")
                head = stream.read(HEAD_BYTES)
                stream.seek(0)
                if not is_as_it_is(head, carriage_returns=is_csv):
                    why = "is not UTF-8 with line feeds"
                elif is_csv:
                    found, why = _csv_pieces(path, info.size, row_ends(path, stream, wanted)), "has one row"
                elif ARRAY_START.match(head):
                    why = "is a JSON array"
                else:
                    found, why = _line_pieces(path, info.size, stream), "has one line"
    if len(found) > 1:
        return found
    if info.size >= SAID_FROM_BYTES:
        log.warning("%s %s, so that one worker reads all %d MiB of it", path, why, info.size >> 20)
    return [Piece(path=path)]


def _row_groups(path: str, stream: Any) -> list[Piece]:
    try:
        metadata = pq.ParquetFile(pa.PythonFile(stream, mode="r")).metadata
    except (pa.ArrowException, OSError):
        return []  # who reads it says what is wrong
    cuts, rows, size = [(0, 0)], 0, 0
    sizes = []
    for group in range(metadata.num_row_groups):
        about = metadata.row_group(group)
        size += sum(about.column(column).total_compressed_size for column in range(about.num_columns))
        rows += about.num_rows
        if size >= PIECE_BYTES or group + 1 == metadata.num_row_groups:
            cuts.append((group + 1, rows))
            sizes.append(size)
            size = 0
    return [
        Piece(path=path, start=start, end=end, line=line, size=size, of=len(sizes))
        for (start, line), (end, _), size in zip(cuts, cuts[1:], sizes, strict=False)
    ]


def _line_pieces(path: str, size: int, stream: Any) -> list[Piece]:
    return _cut(path, size, [(0, 0), *_line_cuts(stream)])


def _line_cuts(stream: Any) -> Iterator[tuple[int, int]]:
    """Where pieces end, and how many lines that is."""
    at = lines = 0
    target = PIECE_BYTES
    while chunk := stream.read(SCAN_BYTES):
        done = 0
        while target < at + len(chunk) and (end := chunk.find(b"\n", max(target - at, done))) >= 0:
            lines += chunk.count(b"\n", done, end + 1)
            done = end + 1
            yield at + done, lines
            target = at + done + PIECE_BYTES
        lines += chunk.count(b"\n", done)
        at += len(chunk)


def _csv_pieces(path: str, size: int, ends: Iterator[tuple[int, int]]) -> list[Piece]:
    header, header_lines = next(ends, (0, 0))
    cuts = [(header, header_lines)]
    for at, lines in ends:
        if at - cuts[-1][0] >= PIECE_BYTES:
            cuts.append((at, lines))
    return _cut(path, size, cuts, header, header_lines)


def _cut(path: str, size: int, cuts: list[tuple[int, int]], header: int = 0, header_lines: int = 0) -> list[Piece]:
    cuts = [cut for cut in cuts if cut[0] < size]
    ends = [*(at for at, _ in cuts[1:]), size]
    return [
        Piece(path=path, start=start, end=end, line=line, header=header, header_lines=header_lines, of=len(cuts))
        for (start, line), end in zip(cuts, ends, strict=True)
    ]


def open_piece(piece: Piece) -> Any:
    """The bytes of a piece as a file of their own: those of its header, then its rows."""
    stream = storage.open_file(piece.path)
    if piece.end is None or format_of(piece.path) == "parquet":
        return stream
    return io.BufferedReader(_Spans(stream, ((0, piece.header), (piece.start, piece.end))), HEAD_BYTES)


class _Spans(io.RawIOBase):
    """Spans of a file, one behind the other."""

    def __init__(self, stream: Any, spans: tuple[tuple[int, int], ...]) -> None:
        self._stream = stream
        self._spans = spans
        self._size = sum(end - start for start, end in spans)
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._at = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        return self._at

    def readinto(self, buffer: Any) -> int:
        before = self._at
        for start, end in self._spans:
            if before < end - start:
                self._stream.seek(start + before)
                content = self._stream.read(min(len(buffer), end - start - before))
                buffer[: len(content)] = content
                self._at += len(content)
                return len(content)
            before -= end - start
        return 0

    def close(self) -> None:
        if not self.closed:
            self._stream.close()
        super().close()
