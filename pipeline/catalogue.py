"""Read catalogues and side tables: JSON lines, a JSON array, CSV or Parquet, gzipped or not, one record at a time.

Whatever is wrong with one row is a `Reject` with file, line and reason, and the rest goes on. A file is read as a
stream with a bound on each line, so that neither a huge file nor a huge line needs memory.
"""

import codecs
import contextlib
import csv
import gzip
import itertools
import json
import logging
import math
import re
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, Generic, TypeVar

import pyarrow as pa
import pyarrow.parquet as pq
from apache_beam.io.filesystem import BeamIOError

from pipeline import storage
from pipeline.json_arrays import ARRAY_START, ArrayError, array_elements
from pipeline.stores.store import StoreError
from pipeline.table_folders import FORMATS, format_of, is_part, partition_values, table_folder
from pipeline.table_splits import Piece, open_piece
from pipeline.table_streams import HEAD_BYTES, EncodingError, as_utf8
from schemas.catalogue import FIELDS, LIST_FIELDS, parse_catalogue_row
from schemas.cells import RowError, as_text
from schemas.exits import InputError
from schemas.reasons import Reason
from schemas.side_tables import COMMENT_FIELDS, PLAYLIST_FIELDS, PLAYLIST_LIST_FIELDS, parse_comment, parse_playlist

MAX_LINE_BYTES = 16 << 20  # also of a CSV row, which may have several lines
# A file with more bad rows than this is not the table that it is said to be, and what is said of it has to be held.
MAX_REJECTS = 100_000
MIN_REJECTS_OF_PIECE = 10_000
# Text shrinks to a tenth, and a table of much the same rows to a fiftieth; beyond this it is made to fill a disk.
MAX_GZIP_RATIO = 200
GZIP_RATIO_FROM_BYTES = 64 << 20
MAX_ROW_GROUP_BYTES = 2 << 30
EXCERPT_CHARS = 80
EXCERPT_SOURCE_CHARS = 8192  # what is looked through for secrets before it is cut
_CREDENTIALS = re.compile(r"(://)[^/\s\"'<>?#]*@")
_QUERY = re.compile(r"(://[^\s\"'<>?#]*)\?[^\s\"'<>]*")
PARQUET_BATCH_ROWS = 256
LIST_SEPARATOR = "|"  # between the texts of a list in a CSV cell that is not a JSON array
TAGS = "tags"
_DELIMITERS = ",;\t|"

log = logging.getLogger(__name__)
Record = TypeVar("Record")


@dataclass(frozen=True, kw_only=True)
class Reject:
    """A row that was not used."""

    file: str
    line: int
    reason: Reason
    detail: str
    excerpt: str = ""
    recording_id: str | None = None

    def to_json(self) -> dict[str, Any]:
        return {
            **asdict(self),
            "reason": str(self.reason),
            "outcome": str(self.reason.outcome),
            "detail": without_secrets(self.detail),
        }


@dataclass(frozen=True, kw_only=True)
class Table(Generic[Record]):
    """How one kind of table is read. `columns` maps a field to the column that holds it, where the names differ."""

    kind: str
    fields: tuple[str, ...]
    list_fields: tuple[str, ...]
    number_fields: tuple[str, ...]
    parse: Callable[[Mapping[str, Any]], Record]

    def columns(self, named: Mapping[str, str]) -> dict[str, str]:
        """The column of each field; `named` are those that have another name."""
        return {field: named.get(field, field) for field in self.fields}

    def wanted(self, named: Mapping[str, str]) -> frozenset[str]:
        return frozenset(self.columns(named).values())

    def typed(self, values: dict[str, Any], *, from_text: bool, tags_separator: str | None) -> dict[str, Any]:
        """Lists and numbers from their texts: every cell of CSV is a text, and tags are one where a separator says so.

        Raises RowError.
        """
        if not (from_text or tags_separator):
            return values
        for field in self.list_fields:
            separator = tags_separator if field == TAGS else None
            if isinstance(cell := values.get(field), str) and (from_text or separator):
                values[field] = _list_from_cell(field, cell, separator or LIST_SEPARATOR)
        for field in self.number_fields:
            if from_text and isinstance(cell := values.get(field), str):
                values[field] = _number_from_cell(field, cell)
        return values


CATALOGUE = Table(
    kind="catalogue",
    fields=FIELDS,
    list_fields=LIST_FIELDS,
    number_fields=("start_s", "duration_s"),
    parse=parse_catalogue_row,
)
COMMENTS = Table(kind="comments", fields=COMMENT_FIELDS, list_fields=(), number_fields=(), parse=parse_comment)
PLAYLISTS = Table(
    kind="playlists",
    fields=PLAYLIST_FIELDS,
    list_fields=PLAYLIST_LIST_FIELDS,
    number_fields=(),
    parse=parse_playlist,
)


def table_format(path: str) -> str:
    """The format of a file by its name. Raises InputError."""
    found = format_of(path)
    if found is None:
        raise InputError(
            f"{path}: not a table that can be read; its name must end in one of {', '.join(FORMATS)} (.gz)"
        )
    return found


def read_table(
    table: Table[Record],
    path: str | Piece,
    columns: Mapping[str, str],
    tags_separator: str | None = None,
    meter: Callable[[Any], Any] = lambda stream: stream,
) -> Iterator[tuple[int, Record] | Reject]:
    """Every row of a file, or of a piece of it, as (line, record), or as a Reject. Line numbers start at 1; in Parquet
    and in a JSON array they count rows. `tags_separator` is what stands between tags that are one text (CSV: `|` where
    it is None); `meter` is given the file's stream, and gives one that is read in its place."""
    return (item for item, _ in read_items(table, path, columns, tags_separator, meter))


def read_items(
    table: Table[Record],
    path: str | Piece,
    columns: Mapping[str, str],
    tags_separator: str | None = None,
    meter: Callable[[Any], Any] = lambda stream: stream,
) -> Iterator[tuple[tuple[int, Record] | Reject, Mapping[str, Any]]]:
    """As `read_table`, each with the row as it stands in the file; of Parquet's other columns the names alone."""
    piece = path if isinstance(path, Piece) else Piece(path=path)
    path, line, rejects = piece.path, piece.line, 0
    most_rejects = max(MAX_REJECTS // piece.of, min(MAX_REJECTS, MIN_REJECTS_OF_PIECE))
    try:
        kind = table_format(path)
        from_text = kind in ("csv", "tsv")
        column_of = table.columns(columns)
        folders = partition_values(path)
        for line, value in _values(piece, kind, frozenset(column_of.values()), meter):
            if isinstance(value, Reject):
                item: tuple[int, Record] | Reject = value
                cells: Mapping[str, Any] = {}
            else:
                cells = {**value, **folders} if folders else value
                selected = select(cells, column_of)
                try:
                    typed = table.typed(selected, from_text=from_text, tags_separator=tags_separator)
                    item = line, table.parse(typed)
                except RowError as error:
                    item = _unusable(table, path, line, cells, column_of, error)
            yield item, cells
            rejects += isinstance(item, Reject)
            if rejects >= most_rejects:
                raise _TableError(f"{rejects} rows cannot be used; is this the right file?")
    except (_TableError, EncodingError, ArrayError, OSError, EOFError, zlib.error, pa.ArrowException) as error:
        # An error of the disk has a number, and one of what the file holds has none. Only the second is the file's
        # own: to take the first for its end would say that all the rows behind it are gone.
        if isinstance(error, BeamIOError) or getattr(error, "errno", None) is not None:
            raise StoreError(f"{path}: cannot be read to its end ({error})") from error
        detail = f"the rest of the file cannot be read: {error}"
        yield Reject(file=path, line=line + 1, reason=Reason.UNREADABLE_FILE, detail=detail), {}


def select(cells: Mapping[str, Any], column_of: Mapping[str, str]) -> dict[str, Any]:
    """What a row has for each field, by `Table.columns`."""
    return {field: cells.get(column) for field, column in column_of.items()}


def _unusable(
    table: Table[Any],
    path: str,
    line: int,
    cells: Mapping[str, Any],
    column_of: Mapping[str, str],
    error: RowError,
) -> Reject:
    return Reject(
        file=path,
        line=line,
        reason=error.reason,
        detail=error.detail + _column_hint(error, cells, column_of),
        excerpt=_excerpt(_text_of(cells)),
        recording_id=_storable_id(select(cells, column_of).get("recording_id")),
    )


def _column_hint(error: RowError, cells: Mapping[str, Any], column_of: Mapping[str, str]) -> str:
    """Where a required field is missing because its column is: what columns there are."""
    lacking = next((field for field in column_of if error.detail == f"{field} is missing"), None)
    if lacking is None or column_of[lacking] in cells:
        return ""
    names = ", ".join(str(name)[:EXCERPT_CHARS] for name in itertools.islice(cells, 10))
    return f": there is no column {column_of[lacking]} among {names} (--map {lacking}=COLUMN)"


def _storable_id(value: Any) -> str | None:
    """An id of a bad row, where it can be written down: Unicode, and not longer than an excerpt."""
    try:
        text = as_text(value, "recording_id")
    except RowError:
        return None
    return text if text is not None and len(text) <= EXCERPT_CHARS else None


def is_utf8(text: str) -> bool:
    """Whether a text can be written as UTF-8; names of files and JSON's `\\ud800` may hold lone surrogates."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def _values(
    piece: Piece, kind: str, wanted: frozenset[str], meter: Callable[[Any], Any]
) -> Iterator[tuple[int, Mapping[str, Any] | Reject]]:
    if kind == "parquet":
        with meter(open_piece(piece)) as content, _plain(piece.path, content) as stream:
            yield from _parquet_values(piece, stream, wanted)
        return
    before = piece.line - piece.header_lines
    for line, value in _text_values(piece, kind, wanted, meter):
        yield line + before, replace(value, line=value.line + before) if isinstance(value, Reject) else value


def _text_values(
    piece: Piece, kind: str, wanted: frozenset[str], meter: Callable[[Any], Any]
) -> Iterator[tuple[int, Mapping[str, Any] | Reject]]:
    """Lines count from the beginning of what the piece is read as."""
    path = piece.path
    with meter(open_piece(piece)) as content, _plain(path, content) as stream:
        if piece.start and not piece.header:  # what a file begins with says what it is, and not what a piece does
            yield from _json_values(path, _lines(path, content))
            return
        is_csv = kind in ("csv", "tsv")
        text = as_utf8(stream if stream is content else _Unpacked(stream, content), carriage_returns=is_csv)
        if is_csv:
            yield from _csv_values(path, _lines(path, text), _usual_delimiter(path), wanted)
        elif ARRAY_START.match(text.peek(HEAD_BYTES)):
            yield from _json_values(path, _elements(path, text))
        else:
            yield from _json_values(path, _lines(path, text))


class _Unpacked:
    """What a gzip file unpacks to, given up where it grows beyond measure."""

    def __init__(self, stream: Any, packed: Any) -> None:
        self._stream = stream
        self._packed = packed
        self._bytes = 0

    def read(self, size: int) -> bytes:
        chunk: bytes = self._stream.read(size)
        self._bytes += len(chunk)
        if self._bytes > max(GZIP_RATIO_FROM_BYTES, MAX_GZIP_RATIO * self._packed.tell()):
            raise _TableError(f"unpacks to more than {MAX_GZIP_RATIO} times its size")
        return chunk


Lines = Iterator[tuple[int, bytes | Reject]]


def _json_values(path: str, lines: Lines) -> Iterator[tuple[int, Mapping[str, Any] | Reject]]:
    for number, line in lines:
        if isinstance(line, Reject):
            yield number, line
            continue
        if not line.strip():
            continue
        try:
            text = line.decode("utf-8")
        except UnicodeDecodeError as error:
            yield number, _reject(path, number, Reason.NOT_UTF8, _not_utf8(error), line)
            continue
        try:
            value = _JSON.decode(text)
        except (ValueError, RecursionError) as error:
            hint = "; an object stands on one line, or in an array" if line.strip() == b"{" else ""
            yield number, _reject(path, number, Reason.NOT_JSON, f"not JSON: {error}{hint}", line)
            continue
        if not isinstance(value, dict):
            yield number, _reject(path, number, Reason.NOT_JSON, "not a JSON object", line)
            continue
        yield number, value


def _csv_values(
    path: str, lines: Lines, usual: str, wanted: frozenset[str]
) -> Iterator[tuple[int, Mapping[str, Any] | Reject]]:
    skipped, delimiter, lines = _delimiter(lines, usual, wanted)
    header: list[str] | None = None
    for start, cells in _csv_rows(path, lines, skipped, delimiter):
        if isinstance(cells, Reject):
            yield start, cells
        elif header is None:
            header = [name.strip() for name in cells]
            if twice := sorted(name for name in wanted.intersection(header) if header.count(name) > 1):
                log.warning("%s: %s stands twice in the header; the last one is read", path, ", ".join(twice))
        elif len(cells) > len(header):
            detail = f"{len(cells)} cells under {len(header)} columns"
            excerpt = _excerpt(delimiter.join(cells))
            yield start, Reject(file=path, line=start, reason=Reason.BAD_VALUE, detail=detail, excerpt=excerpt)
        elif cells:
            yield start, dict(zip(header, cells, strict=False))


def _csv_rows(path: str, lines: Lines, skipped: int, delimiter: str) -> Iterator[tuple[int, list[str] | Reject]]:
    """The cells of each row, the header's first."""
    csv.field_size_limit(MAX_LINE_BYTES)
    texts = _CsvLines(path, lines)
    reader = csv.reader(texts, delimiter=delimiter, strict=True)
    while True:
        start = reader.line_num + 1 + skipped
        texts.begin_row()
        cells: list[str] | None = None
        try:
            cells = next(reader)
        except StopIteration:
            yield from texts.take_rejects()
            return
        except _RowTooLongError as error:
            yield start, Reject(file=path, line=start, reason=Reason.LINE_TOO_LONG, detail=str(error))
        except csv.Error as error:
            yield start, Reject(file=path, line=start, reason=Reason.BAD_VALUE, detail=f"not CSV: {error}")
        yield from texts.take_rejects()
        if cells is not None:
            yield start, cells


def _delimiter(lines: Lines, usual: str, wanted: frozenset[str]) -> tuple[int, str, Lines]:
    """How many lines stand before the header, what stands between its cells, and the lines from there on.

    A line `sep=;` says it to Excel, which writes semicolons where the comma is a decimal one. Else it is what finds the
    most of the `wanted` columns. Raises _TableError where the header is no text: what its columns are called would be
    guessed.
    """
    skipped = 0
    number, head = next(lines, (1, b""))
    said = re.fullmatch(rb'"?sep=(.)"?\r?\n?', head) if isinstance(head, bytes) else None
    if said is not None:
        skipped = 1
        number, head = next(lines, (2, b""))
    if isinstance(head, Reject):
        raise _TableError(f"the header is {head.detail}")
    try:
        text = head.decode("utf-8")
    except UnicodeDecodeError as error:
        raise _TableError(f"the header is not text: {_not_utf8(error)}") from error

    def found(delimiter: str) -> int:
        try:
            return len(wanted.intersection(name.strip() for name in next(csv.reader([text], delimiter=delimiter), ())))
        except csv.Error:
            return 0

    delimiter = said.group(1).decode("latin-1") if said is not None else max(usual + _DELIMITERS, key=found)
    return skipped, delimiter, itertools.chain([(number, head)], lines)


class _TableError(Exception):
    """The file is not the table that it is said to be."""


class _RowTooLongError(Exception):
    """Quotes hold a row open beyond the bound."""


class _CsvLines:
    """Lines of text for the CSV reader; a line that has no text becomes a reject and an empty line."""

    def __init__(self, path: str, lines: Lines) -> None:
        self._path = path
        self._lines = lines
        self._rejects: list[Reject] = []
        self._row_bytes = 0

    def begin_row(self) -> None:
        self._row_bytes = 0

    def take_rejects(self) -> Iterator[tuple[int, Reject]]:
        taken, self._rejects = self._rejects, []
        return ((reject.line, reject) for reject in taken)

    def __iter__(self) -> "_CsvLines":
        return self

    def __next__(self) -> str:
        number, line = next(self._lines)
        if isinstance(line, Reject):
            self._rejects.append(line)
            return "\n"
        self._row_bytes += len(line)
        if self._row_bytes > MAX_LINE_BYTES:
            raise _RowTooLongError(f"longer than {MAX_LINE_BYTES} bytes; is a quote missing?")
        try:
            return line.decode("utf-8")
        except UnicodeDecodeError as error:
            reject = _reject(self._path, number, Reason.NOT_UTF8, _not_utf8(error), line)
            self._rejects.append(reject)
            return "\n"


def row_ends(path: str, stream: Any, wanted: frozenset[str]) -> Iterator[tuple[int, int]]:
    """Where rows of CSV end, the header first: bytes and lines up to there. The stream is as it stands in the file."""
    begins_with_mark = stream.read(len(codecs.BOM_UTF8)) == codecs.BOM_UTF8
    stream.seek(0)
    counted = _Counted(as_utf8(stream, carriage_returns=True), len(codecs.BOM_UTF8) * begins_with_mark)
    try:
        skipped, delimiter, lines = _delimiter(_lines(path, counted), _usual_delimiter(path), wanted)
    except _TableError:
        return
    for number, (_, row) in enumerate(_csv_rows(path, lines, skipped, delimiter)):
        if number == 0 and isinstance(row, Reject):
            return  # the header comes later, and what is before it is said once
        yield counted.bytes, counted.lines


class _Counted:
    """Lines of a stream, and what they came to."""

    def __init__(self, stream: Any, start: int) -> None:
        self._stream = stream
        self.bytes = start
        self.lines = 0

    def readline(self, size: int) -> bytes:
        line: bytes = self._stream.readline(size)
        self.bytes += len(line)
        self.lines += line.endswith(b"\n")
        return line


def _usual_delimiter(path: str) -> str:
    return "\t" if table_format(path) == "tsv" else ","


def _parquet_values(
    piece: Piece, stream: Any, wanted: frozenset[str]
) -> Iterator[tuple[int, Mapping[str, Any] | Reject]]:
    """Rows with the columns that are `wanted`; what the others hold may be what Python has no value for."""
    path, number = piece.path, piece.line
    file = pq.ParquetFile(pa.PythonFile(stream, mode="r"))
    for group in range(file.metadata.num_row_groups):
        if (size := file.metadata.row_group(group).total_byte_size) > MAX_ROW_GROUP_BYTES:
            raise _TableError(f"row group {group} unpacks to {size} bytes; the limit is {MAX_ROW_GROUP_BYTES}")
    columns = [name for name in file.schema_arrow.names if name in wanted]
    others = dict.fromkeys(name for name in file.schema_arrow.names if name not in wanted)
    groups = range(piece.start, file.metadata.num_row_groups if piece.end is None else piece.end)
    for batch in file.iter_batches(batch_size=PARQUET_BATCH_ROWS, columns=columns, row_groups=groups):
        cells = dict(zip(batch.schema.names, batch.columns, strict=True))
        for row in range(batch.num_rows):
            number += 1
            try:
                yield number, {**{name: column[row].as_py() for name, column in cells.items()}, **others}
            except (ValueError, OverflowError) as error:  # text that is not UTF-8, a date that no calendar has
                reason = Reason.NOT_UTF8 if isinstance(error, UnicodeDecodeError) else Reason.BAD_VALUE
                yield number, Reject(file=path, line=number, reason=reason, detail=str(error))


def _lines(path: str, stream: Any) -> Lines:
    """Lines with their numbers; a line over the bound is skipped to its end without being held."""
    number = 0
    while line := stream.readline(MAX_LINE_BYTES + 1):
        number += 1
        if len(line) <= MAX_LINE_BYTES:
            yield number, line
            continue
        start = line[:EXCERPT_SOURCE_CHARS]
        while line and not line.endswith(b"\n"):
            line = stream.readline(MAX_LINE_BYTES)
        yield number, _too_long(path, number, start)


def _elements(path: str, stream: Any) -> Lines:
    """The elements of a JSON array with their numbers."""
    for number, element in enumerate(array_elements(stream, MAX_LINE_BYTES), 1):
        yield number, _too_long(path, number, b"") if element is None else element


def _too_long(path: str, number: int, start: bytes) -> Reject:
    return _reject(path, number, Reason.LINE_TOO_LONG, f"longer than {MAX_LINE_BYTES} bytes", start)


def _reject(path: str, line: int, reason: Reason, detail: str, content: bytes) -> Reject:
    excerpt = _excerpt(content[:EXCERPT_SOURCE_CHARS].decode("utf-8", "replace"))
    return Reject(file=path, line=line, reason=reason, detail=detail, excerpt=excerpt)


def _excerpt(text: str) -> str:
    shown = without_secrets(text[:EXCERPT_SOURCE_CHARS])
    return shown[:EXCERPT_CHARS].encode("utf-8", "replace").decode("utf-8").strip()


def without_secrets(text: str) -> str:
    """Text without the user names, passwords and queries (which may be signed) of the addresses in it."""
    return _QUERY.sub(r"\1?…", _CREDENTIALS.sub(r"\1…@", text))


def _text_of(value: Mapping[str, Any]) -> str:
    try:
        return str(value)
    except RecursionError:
        return "(nested too deep to show)"


def _plain(path: str, content: Any) -> Any:
    """The content, unpacked where the name says so."""
    return gzip.GzipFile(fileobj=content) if path.lower().endswith(".gz") else contextlib.nullcontext(content)


def _constant(name: str) -> float:
    """Python writes NaN for what a data frame has no value for. Raises ValueError for Infinity."""
    if name != "NaN":
        raise ValueError(f"{name} is not a JSON number")
    return math.nan


_JSON = json.JSONDecoder(parse_constant=_constant)  # one for all rows: `json.loads` makes one a call


def _not_utf8(error: UnicodeDecodeError) -> str:
    return f"byte {error.start} is not UTF-8; save the file as UTF-8 (iconv -f WINDOWS-1252 -t UTF-8)"


def _list_from_cell(field: str, cell: str, separator: str) -> list[Any]:
    if not cell.lstrip().startswith("["):
        return [text.strip() for text in cell.split(separator) if text.strip()]
    try:
        value = _JSON.decode(cell)
    except (ValueError, RecursionError) as error:
        written = "is written as Python does" if is_python_list(cell) else "starts like a JSON array and is none"
        advice = f"write it by json.dumps, or texts with {separator} between them"
        raise RowError(Reason.WRONG_TYPE, f"{field} {written} ({error}); {advice}") from error
    if not isinstance(value, list):
        raise RowError(Reason.WRONG_TYPE, f"{field} must be a JSON array or texts with {separator} between them")
    return value


def is_python_list(cell: str) -> bool:
    """Whether a cell looks like what `str` makes of a list of texts."""
    return re.match(r"\s*\['", cell) is not None


def _number_from_cell(field: str, cell: str) -> float | None:
    if not cell.strip():
        return None
    try:
        return float(cell)
    except ValueError as error:
        raise RowError(Reason.WRONG_TYPE, f"{field} is {cell[:EXCERPT_CHARS]!r}; it must be a number") from error


def find_tables(patterns: Iterable[str], option: str) -> list[str]:
    """The files that an option names, in order; a folder that is a table stands for its files. Raises InputError where
    there are none."""
    paths: list[str] = []
    for pattern in patterns:
        found = [info.path for info in storage.find(pattern)]
        folders = storage.find_folders(pattern)
        for folder in folders:
            if table_folder(folder) is None:
                continue
            files = [info.path for info in storage.list_folder(folder, deep=True)]
            if not (parts := [path for path in files if is_part(path[len(folder) + 1 :])]):
                raise InputError(f"{option} {folder}: a table in a folder, without any file of rows in it")
            found += parts
        if not found and folders == [pattern]:
            raise InputError(
                f"{option} {pattern}: is a folder; name its tables ({pattern.rstrip('/')}/*.parquet), or let a table "
                f"in parts have a name that ends in one of {', '.join(FORMATS)}"
            )
        if not found:
            raise InputError(f"{option} {pattern}: there is no such file")
        paths.extend(found)
    for path in paths:
        table_format(path)
        if not is_utf8(path):
            raise InputError(f"{option} {path!r}: the name is not UTF-8; rename the file")
    return sorted(set(paths))
