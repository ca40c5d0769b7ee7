"""Beam transforms that the survey and the plan share: tables in, rejects and totals out."""

import contextlib
import dataclasses
import heapq
import io
import json
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import apache_beam as beam
import pyarrow.parquet as pq

from pipeline import storage, task_file
from pipeline.batches import ROWS_AT_ONCE, batched
from pipeline.catalogue import CATALOGUE, Reject, Table, read_table, row_ends
from pipeline.progress.counters import TableMeter
from pipeline.run_folder import layout
from pipeline.run_folder.suppression import quiet_reject, read_suppression, removed_reject
from pipeline.table_splits import Piece, pieces
from pipeline.task_file import ReadTasks
from schemas.accounting import sum_counts
from schemas.commit import FileEntry, PartRecord
from schemas.digest import hash64
from schemas.reasons import Reason

ROWS, REJECTS = "rows", "rejects"
LINES = "lines"  # folder of an attempt with the records of its files of lines
SORTED_LINES = 100_000  # at a time, in memory
BYTES_AT_ONCE = 1 << 20  # of a table, in a batch of rows


class ReadTables(beam.PTransform):
    """The rows of some files, batches of (file, line, record), under ROWS; what cannot be used as plain values under
    REJECTS.

    A large file is read in pieces, by several workers where there are (`pipeline.table_splits`).
    `suppressed_in` is a run folder: rows of recordings that were removed from it become rejects that say no more.
    """

    def __init__(
        self,
        table: Table[Any],
        paths: list[str],
        columns: dict[str, dict[str, str]],
        tags_separator: str | None = None,
        *,
        suppressed_in: str | None = None,
    ) -> None:
        super().__init__()
        named = columns.get(table.kind, {})
        self._read = _Read(table, named, tags_separator, suppressed_in)
        self._wanted = table.wanted(named)
        self._paths = paths

    def expand(self, begin: Any) -> Any:
        return (
            begin
            | beam.Create(self._paths, reshuffle=False)
            | "spread files" >> beam.Reshuffle()
            | beam.FlatMap(pieces, row_ends, self._wanted)
            | beam.Reshuffle()
            | beam.ParDo(self._read).with_outputs(REJECTS, main=ROWS)
        )


class _Read(beam.DoFn):
    def __init__(
        self, table: Table[Any], columns: dict[str, str], tags_separator: str | None, suppressed_in: str | None
    ) -> None:
        self._table = table
        self._columns = columns
        self._tags_separator = tags_separator
        self._suppressed_in = suppressed_in

    def setup(self) -> None:
        self._suppressed = read_suppression(self._suppressed_in) if self._suppressed_in is not None else None

    def process(self, piece: Piece) -> Iterator[Any]:
        suppressed, path = self._suppressed, piece.path
        meter = TableMeter(self._table.kind, piece.size)
        batch: list[tuple[str, int, Any]] = []
        began = 0
        for item in read_table(self._table, piece, self._columns, self._tags_separator, meter.of):
            meter.count_row()
            if isinstance(item, Reject):
                meter.count_left_out(item.reason)
                reject = item.to_json()
                if suppressed:
                    reject = quiet_reject(reject, suppressed)
                yield beam.pvalue.TaggedOutput(REJECTS, reject)
                continue
            line, record = item
            # A playlist is about many, and a comment of somebody whom the catalogue lacks is not kept anyway.
            if suppressed and self._table.kind == CATALOGUE.kind and record.recording_id in suppressed:
                meter.count_left_out(Reason.REMOVED)
                yield beam.pvalue.TaggedOutput(REJECTS, removed_reject(path, line))
                continue
            batch.append((path, line, record))
            # Rows may be as long as they please.
            if len(batch) == ROWS_AT_ONCE or meter.position - began >= BYTES_AT_ONCE:
                yield batch
                batch, began = [], meter.position
        if batch:
            yield batch
        meter.finish()


@dataclass(frozen=True, kw_only=True)
class Attempt:
    """Where one attempt at a generation's plan writes."""

    run_dir: str
    generation: int
    name: str

    @property
    def folder(self) -> str:
        return layout.attempt_dir(self.run_dir, self.generation, self.name)

    @property
    def known_path(self) -> str:
        """Of a file of tasks: the parts of earlier generations."""
        return storage.join(self.folder, "known.jsonl")

    @property
    def tokenizer_path(self) -> str:
        return storage.join(self.folder, "tokenizer.json")

    def totals_path(self, name: str) -> str:
        return storage.join(self.folder, f"{name}.json")

    def commit_path(self, index: int) -> str:
        """Says that a plan part is whole."""
        return storage.join(self.folder, layout.COMMITS, f"{index:05d}.json")

    def lines_path(self, name: str) -> str:
        """Says that a file of lines is whole, and what it is called."""
        return storage.join(self.folder, LINES, f"{name}.json")

    def lines(self, prefix: str) -> tuple[FileEntry, ...]:
        """The whole files of lines whose names begin so, in order."""
        records = storage.list_folder(storage.join(self.folder, LINES))
        named = [info.path for info in records if storage.name_of(info.path).startswith(prefix)]
        return tuple(FileEntry(**storage.parse_json(path, storage.read_bytes(path))) for path in named)


class WriteLines(beam.PTransform):
    """Values as lines of one JSONL file, in order; it is there, if empty, when the job is done.

    Its name holds its content's hash, and the attempt's record names it.
    """

    def __init__(self, attempt: Attempt, name: str) -> None:
        super().__init__()
        self._write = _WriteLines(attempt, name)

    def expand(self, values: Any) -> Any:
        nothing = values.pipeline | beam.Create([(0, None)])
        keyed = values | beam.Map(lambda value: (0, json.dumps(value, sort_keys=True, ensure_ascii=False)))
        return (keyed, nothing) | beam.Flatten() | beam.GroupByKey() | beam.ParDo(self._write)


class _WriteLines(beam.DoFn):
    def __init__(self, attempt: Attempt, name: str) -> None:
        self._attempt = attempt
        self._name = name

    def process(self, group: tuple[int, Iterable[str | None]]) -> Iterator[str]:
        attempt = self._attempt
        lines = _in_order(line for line in group[1] if line is not None)
        entry = publish_lines(attempt.run_dir, attempt.generation, self._name, lines)
        storage.write_json(attempt.lines_path(self._name), dataclasses.asdict(entry))
        yield entry.path


def publish_lines(run_dir: str, generation: int, name: str, lines: Iterable[str]) -> FileEntry:
    """Write lines into a file of a generation's plan, whose name holds its content's hash."""
    count = 0
    with storage.staged(run_dir) as staged:
        with open(staged, "w", encoding="utf-8") as stream:
            for line in lines:
                stream.write(f"{line}\n")
                count += 1
        entry = storage.file_entry(staged, layout.lines_name_pattern(generation, name), count)
        storage.publish(staged, storage.join(run_dir, entry.path))
    return entry


def _in_order(lines: Iterable[str]) -> Iterator[str]:
    """Lines sorted, whatever the order in which a runner brings them, without holding them all."""
    with contextlib.ExitStack() as files:
        runs: list[Iterable[str]] = []
        for some in batched(lines, SORTED_LINES):
            run = files.enter_context(tempfile.TemporaryFile("w+", encoding="utf-8"))
            run.writelines(f"{line}\n" for line in sorted(some))
            run.seek(0)
            runs.append(run)
        for line in heapq.merge(*runs):
            yield line.removesuffix("\n")


class WriteTotals(beam.PTransform):
    """Sum up dictionaries of numbers, key by key, into one JSON file."""

    def __init__(self, path: str) -> None:
        super().__init__()
        self._path = path

    def expand(self, counts: Any) -> Any:
        return counts | beam.CombineGlobally(sum_counts) | beam.Map(_write_json, self._path)


def _write_json(value: dict[str, Any], path: str) -> None:
    storage.write_json(path, value)


def within_limit(recording_id: str, cutoff: int | None) -> bool:
    """`cutoff` is the largest hash within --limit."""
    return cutoff is None or hash64(recording_id) <= cutoff


def write_known(attempt: Attempt, parts: list[PartRecord]) -> str | None:
    """The parts of earlier generations as a file of tasks: key, path and number in their order. None without any."""
    if not parts:
        return None
    path = attempt.known_path
    task_file.write(path, ((part.key, part.file.path, number) for number, part in enumerate(parts)))
    return path


class ReadKnown(beam.PTransform):
    """Recordings of earlier generations as (recording id, (row digest, part key)); `known` is from `write_known`."""

    def __init__(self, run_dir: str, known: str | None) -> None:
        super().__init__()
        self._run_dir = run_dir
        self._known = known

    def expand(self, begin: Any) -> Any:
        tasks = beam.Create([]) if self._known is None else ReadTasks(self._known, tuple)
        return begin | "parts" >> tasks | beam.FlatMap(_read_known, self._run_dir)


def _read_known(part: tuple[str, str, int], run_dir: str) -> Iterator[tuple[str, tuple[str, str]]]:
    key, path, _ = part
    content = storage.read_bytes(storage.join(run_dir, path))
    table = pq.read_table(io.BytesIO(content), columns=["recording_id", "row_digest"])
    for row in table.to_pylist():
        yield row["recording_id"], (row["row_digest"], key)
