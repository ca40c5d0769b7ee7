"""Read catalogues and side tables: JSONL, CSV or Parquet, gzipped or not, one record at a time.

Whatever is wrong with one row is a `Reject` with file, line and reason, and the rest goes on. A file is read as a
stream with a bound on each line, so that neither a huge file nor a huge line needs memory.
"""

import codecs
import contextlib
import csv
import gzip
import json
import re
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Generic, TypeVar

import pyarrow as pa
import pyarrow.parquet as pq
from apache_beam.io.filesystem import BeamIOError

from pipeline import storage
from pipeline.settings import InputError
from pipeline.stores.store import StoreError
from schemas.catalogue import FIELDS, LIST_FIELDS, RowError, parse_catalogue_row
from schemas.reasons import Reason
from schemas.side_tables import COMMENT_FIELDS, PLAYLIST_FIELDS, PLAYLIST_LIST_FIELDS, parse_comment, parse_playlist

MAX_LINE_BYTES = 16 << 20  # also of a CSV row, which may have several lines
# A file with more bad rows than this is not the table that it is said to be, and what is said of it has to be held.
MAX_REJECTS = 100_000
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
FORMATS = ("jsonl", "ndjson", "json", "csv", "tsv", "parquet")

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

    def select(self, value: Mapping[str, Any], columns: Mapping[str, str]) -> dict[str, Any]:
        return {field: value.get(columns.get(field, field)) for field in self.fields}

    def from_cells(self, cells: Mapping[str, Any]) -> dict[str, Any]:
        """Typed values from the texts of CSV cells. Raises RowError."""
        values: dict[str, Any] = dict(cells)
        for field in self.list_fields:
            if isinstance(cells.get(field), str):
                values[field] = _list_from_cell(field, cells[field])
        for field in self.number_fields:
            if isinstance(cells.get(field), str):
                values[field] = _number_from_cell(field, cells[field])
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
    suffix = path.lower().removesuffix(".gz").rsplit(".", 1)[-1]
    if suffix not in FORMATS:
        raise InputError(
            f"{path}: not a table that can be read; its name must end in one of {', '.join(FORMATS)} (.gz)"
        )
    return suffix


def read_table(
    table: Table[Record], path: str, columns: Mapping[str, str], meter: Callable[[Any], Any] = lambda stream: stream
) -> Iterator[tuple[int, Record] | Reject]:
    """Every row of a file as (line, record), or as a Reject. Line numbers start at 1; in Parquet they count rows.

    `meter` is given the file's stream, and gives one that is read in its place.
    """
    line = rejects = 0
    try:
        wanted = frozenset(columns.get(field, field) for field in table.fields)
        for line, value in _values(path, table_format(path), wanted, meter):
            item = value if isinstance(value, Reject) else _record(table, path, line, value, columns)
            yield item
            rejects += isinstance(item, Reject)
            if rejects >= MAX_REJECTS:
                raise _TableError(f"{rejects} rows cannot be used; is this the right file?")
    except (_TableError, OSError, EOFError, zlib.error, pa.ArrowException) as error:
        # An error of the disk has a number, and one of what the file holds has none. Only the second is the file's
        # own: to take the first for its end would say that all the rows behind it are gone.
        if isinstance(error, BeamIOError) or getattr(error, "errno", None) is not None:
            raise StoreError(f"{path}: cannot be read to its end ({error})") from error
        yield Reject(
            file=path,
            line=line + 1,
            reason=Reason.UNREADABLE_FILE,
            detail=f"the rest of the file cannot be read: {error}",
        )


def _record(
    table: Table[Record], path: str, line: int, value: Mapping[str, Any], columns: Mapping[str, str]
) -> tuple[int, Record] | Reject:
    selected = table.select(value, columns)
    try:
        if table_format(path) in ("csv", "tsv"):
            selected = table.from_cells(selected)
        return line, table.parse(selected)
    except RowError as error:
        return Reject(
            file=path,
            line=line,
            reason=error.reason,
            detail=error.detail,
            excerpt=_excerpt(_text_of(value)),
            recording_id=_storable_id(selected.get("recording_id")),
        )


def _storable_id(value: Any) -> str | None:
    """An id of a bad row, where it can be written down: Unicode, and not longer than an excerpt."""
    if not isinstance(value, str) or len(value) > EXCERPT_CHARS:
        return None
    return value if is_utf8(value) else None


def is_utf8(text: str) -> bool:
    """Whether a text can be written as UTF-8; names of files and JSON's `\\ud800` may hold lone surrogates."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def _values(
    path: str, kind: str, wanted: frozenset[str], meter: Callable[[Any], Any]
) -> Iterator[tuple[int, Mapping[str, Any] | Reject]]:
    with meter(storage.open_file(path)) as content, _plain(path, content) as stream:
        lines = _lines(path, stream, content if stream is not content else None)
        if kind == "parquet":
            yield from _parquet_values(path, stream, wanted)
        elif kind in ("csv", "tsv"):
            yield from _csv_values(path, lines, "\t" if kind == "tsv" else ",")
        else:
            yield from _json_values(path, lines)


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
            yield number, _reject(path, number, Reason.NOT_UTF8, f"byte {error.start} is not UTF-8", line)
            continue
        try:
            value = json.loads(text, parse_constant=_refuse_constant)
        except (ValueError, RecursionError) as error:
            yield number, _reject(path, number, Reason.NOT_JSON, f"not JSON: {error}", line)
            continue
        if not isinstance(value, dict):
            yield number, _reject(path, number, Reason.NOT_JSON, "not a JSON object", line)
            continue
        yield number, value


def _csv_values(path: str, lines: Lines, delimiter: str) -> Iterator[tuple[int, Mapping[str, Any] | Reject]]:
    csv.field_size_limit(MAX_LINE_BYTES)
    texts = _CsvLines(path, lines)
    reader = csv.reader(texts, delimiter=delimiter, strict=True)
    header: list[str] | None = None
    while True:
        start = reader.line_num + 1
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
        if cells is None:
            continue
        if header is None:
            header = [name.strip() for name in cells]
        elif len(cells) > len(header):
            detail = f"{len(cells)} cells under {len(header)} columns"
            yield (
                start,
                Reject(
                    file=path,
                    line=start,
                    reason=Reason.BAD_VALUE,
                    detail=detail,
                    excerpt=_excerpt(delimiter.join(cells)),
                ),
            )
        elif cells:
            yield start, dict(zip(header, cells, strict=False))


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
            reject = _reject(self._path, number, Reason.NOT_UTF8, f"byte {error.start} is not UTF-8", line)
            self._rejects.append(reject)
            return "\n"


def _parquet_values(path: str, stream: Any, wanted: frozenset[str]) -> Iterator[tuple[int, Mapping[str, Any] | Reject]]:
    """Rows with the columns that are `wanted`; what the others hold may be what Python has no value for."""
    number = 0
    file = pq.ParquetFile(pa.PythonFile(stream, mode="r"))
    for group in range(file.metadata.num_row_groups):
        if (size := file.metadata.row_group(group).total_byte_size) > MAX_ROW_GROUP_BYTES:
            raise _TableError(f"row group {group} unpacks to {size} bytes; the limit is {MAX_ROW_GROUP_BYTES}")
    columns = [name for name in file.schema_arrow.names if name in wanted]
    for batch in file.iter_batches(batch_size=PARQUET_BATCH_ROWS, columns=columns):
        cells = dict(zip(batch.schema.names, batch.columns, strict=True))
        for row in range(batch.num_rows):
            number += 1
            try:
                yield number, {name: column[row].as_py() for name, column in cells.items()}
            except (ValueError, OverflowError) as error:  # text that is not UTF-8, a date that no calendar has
                reason = Reason.NOT_UTF8 if isinstance(error, UnicodeDecodeError) else Reason.BAD_VALUE
                yield number, Reject(file=path, line=number, reason=reason, detail=str(error))


def _lines(path: str, stream: Any, packed: Any) -> Lines:
    """Lines with their numbers; a line over the bound is skipped to its end without being held.

    `packed` is the file that `stream` unpacks, or None.
    """
    number = unpacked_bytes = 0

    def check_ratio() -> None:
        if packed is not None and unpacked_bytes > max(GZIP_RATIO_FROM_BYTES, MAX_GZIP_RATIO * packed.tell()):
            raise _TableError(f"unpacks to more than {MAX_GZIP_RATIO} times its size")

    while line := stream.readline(MAX_LINE_BYTES + 1):
        number += 1
        unpacked_bytes += len(line)
        check_ratio()
        if number == 1:
            line = line.removeprefix(codecs.BOM_UTF8)
        if len(line) <= MAX_LINE_BYTES:
            yield number, line
            continue
        start = line[:EXCERPT_SOURCE_CHARS]
        while line and not line.endswith(b"\n"):
            line = stream.readline(MAX_LINE_BYTES)
            unpacked_bytes += len(line)
            check_ratio()
        yield number, _reject(path, number, Reason.LINE_TOO_LONG, f"longer than {MAX_LINE_BYTES} bytes", start)


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


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not a JSON number")


def _list_from_cell(field: str, cell: str) -> list[Any]:
    if not cell.lstrip().startswith("["):
        return [text.strip() for text in cell.split(LIST_SEPARATOR) if text.strip()]
    try:
        value = json.loads(cell)
    except (ValueError, RecursionError) as error:
        raise RowError(Reason.WRONG_TYPE, f"{field} starts like a JSON array and is none: {error}") from error
    if not isinstance(value, list):
        raise RowError(Reason.WRONG_TYPE, f"{field} must be a JSON array or texts with {LIST_SEPARATOR} between them")
    return value


def _number_from_cell(field: str, cell: str) -> float | None:
    if not cell.strip():
        return None
    try:
        return float(cell)
    except ValueError as error:
        raise RowError(Reason.WRONG_TYPE, f"{field} is {cell[:EXCERPT_CHARS]!r}; it must be a number") from error


def find_tables(patterns: Iterable[str], option: str) -> list[str]:
    """The files that an option names, in order. Raises InputError where there are none."""
    paths: list[str] = []
    for pattern in patterns:
        found = [info.path for info in storage.find(pattern)]
        if not found:
            raise InputError(f"{option} {pattern}: there is no such file")
        paths.extend(found)
    for path in paths:
        table_format(path)
        if not is_utf8(path):
            raise InputError(f"{option} {path!r}: the name is not UTF-8; rename the file")
    return sorted(set(paths))
