"""Plan: catalogue, comments and playlists in, one plan part per future shard out.

A plan part has everything that its shard will have but the audio, so that audio never crosses a shuffle, a resumed run
never joins text again, and the plan is the dry run. Whatever belongs to one recording meets in one combiner whose
state is bounded (`pipeline.text`).
"""

import collections
import functools
import json
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import apache_beam as beam
import pyarrow as pa
import pyarrow.parquet as pq
from apache_beam.transforms.window import GlobalWindows

from pipeline import storage
from pipeline.batches import Alone, Each, as_it_is, batched
from pipeline.catalogue import CATALOGUE, COMMENTS, PLAYLISTS
from pipeline.exchange import Exchange, Meet, Spill, read_segments
from pipeline.gathered import Gather, Gathered, Row, gathered_of, known_of, read_row, rows_of, said_of
from pipeline.progress.counters import count_annotations, count_planned
from pipeline.run_folder import exclusions, layout
from pipeline.run_folder.suppression import read_suppression
from pipeline.settings import NONE, TextConfig
from pipeline.sketch import Sketch, annotations_in, empty_sketch, text_key
from pipeline.storage import DamagedError
from pipeline.survey import SEGMENTS
from pipeline.table_steps import REJECTS, ROWS, Attempt, ReadKnown, ReadTables, WriteLines, WriteTotals, within_limit
from pipeline.task_file import ReadTasks
from pipeline.text import PlannedText, add_playlist_title, add_sentences, load_counter, plan_texts
from pipeline.workers.memory import spare_what_stays
from schemas.accounting import Account, add_counts
from schemas.columns import completed
from schemas.commit import PartRecord
from schemas.plan import PLAN_SCHEMA, PlannedCounts, PlannedRow
from schemas.shard import shard_of
from schemas.sources import TextSource

COUNTS, REMOVED, ORPHANS = "counts", "removed", "orphans"
MAX_HELD = 50_000  # bags and texts of a bundle, before they go on
MAX_HELD_PARTS = 4_096  # counts of a bundle, likewise


def plan(
    begin: Any,
    *,
    catalogues: list[str],
    comments: list[str],
    playlists: list[str],
    columns: dict[str, dict[str, str]],
    tags_separator: str | None,
    cutoff: int | None,
    shards: int,
    known: str | None,
    keep_gone: bool,
    attempt: Attempt,
    exchange: Exchange,
    tokenizer: str,
    text: TextConfig,
    lf_model: str = NONE,
    exclude: str = "",
) -> None:
    """Write the plan parts, each with its commit record.

    `cutoff` is the largest hash within --limit; `known` what `write_known` says; `tokenizer` the path of a serialised
    TokenCounter, or empty; `lf_model` what `load_scorer` takes, or `none`. `exclude` is as `exclusions.written` gives
    it; its titles alone count here: recordings are left out when their shard is built. Where the exchange has a folder,
    catalogue and earlier generations lie there since the survey.
    """
    said = {}
    for table, paths, stage in (
        (COMMENTS, comments, _CommentText(tokenizer, text, cutoff)),
        (PLAYLISTS, playlists, _PlaylistText(tokenizer, text, cutoff, exclude)),
    ):
        if paths:
            read = begin | f"read {table.kind}" >> ReadTables(table, paths, columns, suppressed_in=attempt.run_dir)
            said[table.kind] = read[ROWS] | f"{table.kind} text" >> beam.ParDo(stage)
            _ = read[REJECTS] | f"{table.kind} rejects" >> WriteLines(attempt, f"rejects-{table.kind}")
    gather = Gather(text)
    if exchange.folder is None:
        rows = begin | "read catalogue" >> ReadTables(
            CATALOGUE, catalogues, columns, tags_separator, suppressed_in=attempt.run_dir
        )
        earlier = begin | "known" >> ReadKnown(attempt.run_dir, known) | "earlier" >> beam.MapTuple(known_of)
        kept = rows[ROWS] | "rows" >> Each(functools.partial(_rows_within, cutoff))
        texts = [found | f"each {kind}" >> Each() for kind, found in said.items()]
        gathered = (kept, earlier, *texts) | beam.Flatten() | beam.CombinePerKey(gather) | Alone()
    else:
        segments = [begin | beam.Create([attempt.totals_path(SEGMENTS)]) | beam.FlatMap(read_segments)]
        segments += [texts | f"spill {kind}" >> Spill(exchange) for kind, texts in said.items()]
        gathered = segments | beam.Flatten() | "meet" >> Meet(functools.partial(_gather_within, gather, cutoff))
    planned = gathered | beam.ParDo(_PlanRows(tokenizer, text, keep_gone, attempt.run_dir, shards)).with_outputs(
        COUNTS, REMOVED, ORPHANS, main=ROWS
    )
    _ = planned[ORPHANS] | "orphans" >> WriteTotals(attempt.totals_path(ORPHANS))
    if known is not None:
        _ = planned[REMOVED] | "removed" >> WriteLines(attempt, "removed-000")
    scored = planned[ROWS]
    if lf_model != NONE:
        # Imported where it is used: RunInference takes a second to import, and most commands score nothing.
        from pipeline.score import ScoreSentences

        each = scored | "each row" >> Each()
        scored = each | "score sentences" >> ScoreSentences(lf_model) | "scored" >> Alone()
    of_parts = {"rows": scored, "counts": planned[COUNTS]}
    if exchange.folder is None:
        each_of_parts = [values | f"each of {name}" >> Each() for name, values in of_parts.items()]
        grouped = each_of_parts | "of parts" >> beam.Flatten() | "group by part" >> beam.GroupByKey()
    else:
        spilled = [values | f"spill {name}" >> Spill(exchange) for name, values in of_parts.items()]
        grouped = spilled | "of parts" >> beam.Flatten() | "meet by part" >> Meet(as_it_is)
    _ = grouped | "write parts" >> beam.ParDo(_WritePart(attempt))


def _rows_within(cutoff: int | None, read: Iterable[tuple[str, int, Any]]) -> Iterator[tuple[str, Gathered]]:
    return rows_of(row for row in read if within_limit(row[2].recording_id, cutoff))


def _gather_within(
    gather: Gather, cutoff: int | None, met: Iterable[tuple[str, list[Any]]]
) -> Iterator[list[tuple[str, Gathered]]]:
    return batched(_gathered_within(gather, cutoff, met))


def _gathered_within(
    gather: Gather, cutoff: int | None, met: Iterable[tuple[str, list[Any]]]
) -> Iterator[tuple[str, Gathered]]:
    """Beyond the limit nothing counts but that an earlier generation has the recording."""
    for recording_id, values in met:
        found = [gathered_of(value) for value in values]
        if not within_limit(recording_id, cutoff):
            found = [(None, known, {}) for _, known, _ in found if known is not None]
        if found:
            yield recording_id, gather.merge_accumulators(found)


class _TextStage(beam.DoFn):
    """Needs the token counter, which is too large for a graph: the workers read it from a file, once."""

    def __init__(self, tokenizer: str, text: TextConfig, cutoff: int | None = None) -> None:
        self._tokenizer = tokenizer
        self._text = text
        self._cutoff = cutoff

    def setup(self) -> None:
        spare_what_stays()
        self._counter = load_counter(storage.read_bytes(self._tokenizer).decode() if self._tokenizer else "")


class _SideTable(_TextStage):
    """Text of a side table: a sketch for each recording of a bundle, rather than for each row.

    What goes into the flattening of several tables a runner may hold until all of them are read (the local one does),
    so the million rows of one recording have to meet before it.
    """

    source: TextSource

    def start_bundle(self) -> None:
        self._sketches: dict[str, Sketch] = {}
        self._held = 0

    def process(self, batch: list[tuple[str, int, Any]]) -> Iterator[list[tuple[str, Gathered]]]:
        for _, _, record in batch:
            yield from self._add(record)

    def _add(self, record: Any) -> Iterator[list[tuple[str, Gathered]]]:
        add = self._adder(record)
        for recording_id in self._recordings(record):
            if not within_limit(recording_id, self._cutoff):
                continue
            if recording_id not in self._sketches:
                self._sketches[recording_id] = empty_sketch()
                self._held += 1
            sketch = self._sketches[recording_id]
            before = len(sketch[0])
            add(sketch)
            self._held += len(sketch[0]) - before
            if self._held >= MAX_HELD:
                yield from self._flush()

    def finish_bundle(self) -> Iterator[Any]:
        for batch in self._flush():
            yield GlobalWindows.windowed_value(batch)

    def _flush(self) -> Iterator[list[tuple[str, Gathered]]]:
        sketches, self._sketches, self._held = self._sketches, {}, 0
        return batched(said_of(recording_id, self.source, sketch) for recording_id, sketch in sketches.items())

    def _recordings(self, record: Any) -> Iterable[str]:
        raise NotImplementedError

    def _adder(self, record: Any) -> Callable[[Sketch], None]:
        raise NotImplementedError


class _CommentText(_SideTable):
    source = TextSource.LF

    def _recordings(self, record: Any) -> Iterable[str]:
        return (record.recording_id,)

    def _adder(self, record: Any) -> Callable[[Sketch], None]:
        return lambda sketch: add_sentences(sketch, [record.text], self._counter, self._text)


class _PlaylistText(_SideTable):
    source = TextSource.PL

    def __init__(self, tokenizer: str, text: TextConfig, cutoff: int | None, exclude: str) -> None:
        super().__init__(tokenizer, text, cutoff)
        self._exclude = exclude

    def setup(self) -> None:
        super().setup()
        self._excluded = exclusions.read(self._exclude)

    def _recordings(self, record: Any) -> Iterable[str]:
        recording_ids: Iterable[str] = record.recording_ids
        return recording_ids

    def _adder(self, record: Any) -> Callable[[Sketch], None]:
        # Once, however many recordings it has.
        (tokens,) = self._counter.count([record.title])
        return functools.partial(
            add_playlist_title,
            playlist_key=text_key(record.playlist_id),
            title=record.title,
            tokens=tokens,
            cap=self._text.max_pl,
            excluded=self._excluded.has_title(record.title),
        )


class _PlanRows(_TextStage):
    """Recordings as plan rows; or what they are instead.

    What became of their annotations is added up by part within a bundle: else it were as much to carry as the rows.
    """

    def __init__(self, tokenizer: str, text: TextConfig, keep_gone: bool, run_dir: str, shards: int) -> None:
        super().__init__(tokenizer, text)
        self._keep_gone = keep_gone
        self._run_dir = run_dir
        self._shards = shards

    def setup(self) -> None:
        super().setup()
        self._suppressed = read_suppression(self._run_dir)

    def start_bundle(self) -> None:
        self._counts: dict[str, tuple[dict[str, Account], dict[str, int]]] = {}

    def finish_bundle(self) -> Iterator[Any]:
        for batch in self._flush():
            yield beam.pvalue.TaggedOutput(COUNTS, GlobalWindows.windowed_value(batch))

    def _flush(self) -> Iterator[list[tuple[str, PlannedCounts]]]:
        counts, self._counts = self._counts, {}
        return batched(
            (part, ({source: account.counts() for source, account in accounts.items()}, hits))
            for part, (accounts, hits) in counts.items()
        )

    def process(self, batch: list[tuple[str, Gathered]]) -> Iterator[Any]:
        rows: list[PlannedRow] = []
        for recording_id, gathered in batch:
            chosen, known, sketches = gathered
            yield from self._aside(recording_id, gathered)
            if chosen is not None and (known is None or chosen[0] != known[0]):
                rows.append(self._planned(recording_id, chosen, sketches))
        if rows:
            count_planned(len(rows))
            yield rows
        if len(self._counts) >= MAX_HELD_PARTS:
            for counts in self._flush():
                yield beam.pvalue.TaggedOutput(COUNTS, counts)

    def _aside(self, recording_id: str, gathered: Gathered) -> Iterator[Any]:
        """The row of an earlier generation that no longer holds; texts of what no catalogue has."""
        chosen, known, sketches = gathered
        is_suppressed = self._suppressed is not None and recording_id in self._suppressed
        is_gone = chosen is None and (is_suppressed or not self._keep_gone)
        if known is not None and (is_gone or (chosen is not None and chosen[0] != known[0])):
            yield beam.pvalue.TaggedOutput(REMOVED, removed_line(recording_id, known[1], gone=is_gone))
        if chosen is None and known is None:
            seen = {f"{key}_annotations": annotations_in(sketch) for key, sketch in sketches.items()}
            yield beam.pvalue.TaggedOutput(ORPHANS, {**seen, "recordings": 1})

    def _planned(self, recording_id: str, chosen: Row, sketches: dict[str, Sketch]) -> PlannedRow:
        row, base_uri = read_row(chosen)
        texts = plan_texts(row, sketches, self._counter, self._text)
        part = str(shard_of(recording_id, self._shards))
        self._count(part, texts)
        return part, {
            "recording_id": recording_id,
            "row_digest": chosen[0],
            "audio_uri": row.audio_uri,
            "base_uri": base_uri,
            "start_s": row.start_s,
            "duration_s": row.duration_s,
            "music_gate": str(row.music_gate),
            **texts.columns,
        }

    def _count(self, part: str, texts: PlannedText) -> None:
        if part not in self._counts:
            self._counts[part] = ({source: Account() for source in texts.accounts}, {})
        accounts, hits = self._counts[part]
        for source, account in texts.accounts.items():
            accounts[source].add(account)
        add_counts(hits, texts.rule_hits)


class _WritePart(beam.DoFn):
    """Rows of one shard, sorted, as Parquet, with a commit record."""

    def __init__(self, attempt: Attempt) -> None:
        self._attempt = attempt

    def process(self, group: tuple[str, Iterable[dict[str, Any] | PlannedCounts]]) -> Iterator[int]:
        index, planned = int(group[0]), group[1]
        counts: dict[str, dict[str, int]] = collections.defaultdict(dict)
        rows = []
        hits: dict[str, int] = {}
        for found in planned:
            if isinstance(found, dict):
                rows.append(found)
                continue
            more_counts, more_hits = found
            add_counts(hits, more_hits)
            for source, more in more_counts.items():
                add_counts(counts[source], more)
        accounts = {source: Account.from_counts(total) for source, total in counts.items()}
        rows.sort(key=row_order)
        count_annotations(accounts)
        table = pa.Table.from_pylist(rows, schema=PLAN_SCHEMA)
        write_part(self._attempt, index, table, annotations=accounts, rule_hits=hits)
        yield index


def row_order(row: dict[str, Any]) -> tuple[int, str]:
    """The order of rows in a part and in its shard."""
    return row["text_sources"], row["recording_id"]


def write_part(
    attempt: Attempt,
    index: int,
    table: pa.Table,
    *,
    annotations: dict[str, Account],
    rule_hits: dict[str, int],
    replaces: str | None = None,
) -> PartRecord:
    """Write and commit a plan part; `table` has the rows in their final order."""
    run_dir, generation = attempt.run_dir, attempt.generation
    with storage.staged(run_dir) as staged:
        pq.write_table(table, staged, compression="zstd")
        storage.failpoint("part_written")
        entry = storage.file_entry(staged, layout.part_name_pattern(generation, index), table.num_rows)
        storage.publish(staged, storage.join(run_dir, entry.path))
    storage.failpoint("part_published")
    record = PartRecord(
        generation=generation,
        index=index,
        file=entry,
        annotations=annotations,
        rule_hits=rule_hits,
        replaces=replaces,
    )
    storage.write_json(attempt.commit_path(index), record.to_json())
    storage.failpoint("part_committed")
    return record


def rewrite_parts(begin: Any, *, removed: list[str], known: str, attempt: Attempt, first_index: int) -> None:
    """For each part of `known` that lost recordings, write a part of this generation without them.

    `removed` are lists of `removed_line`; the new parts are numbered from `first_index` in the order of `known`.
    """
    parts = begin | "known" >> ReadTasks(known, tuple) | beam.Map(lambda part: (part[0], part[1:]))
    gone = begin | beam.Create(removed) | beam.FlatMap(_removed_by_part)
    _ = {"part": parts, "gone": gone} | beam.CoGroupByKey() | beam.ParDo(_RewritePart(attempt, first_index))


def removed_line(recording_id: str, part: str, *, gone: bool) -> dict[str, Any]:
    """Of a list of removed recordings. One that is not gone comes back with another row in the same generation."""
    return {"recording_id": recording_id, "part": part, "gone": gone}


def _removed_by_part(path: str) -> Iterator[tuple[str, str]]:
    for line in storage.read_bytes(path).splitlines():
        value = json.loads(line)
        yield value["part"], value["recording_id"]


class _RewritePart(beam.DoFn):
    def __init__(self, attempt: Attempt, first_index: int) -> None:
        self._attempt = attempt
        self._first_index = first_index

    def process(self, group: tuple[str, dict[str, Iterable[Any]]]) -> Iterator[str]:
        key, values = group
        gone = set(values["gone"])
        if not gone:
            return
        ((path, number),) = values["part"]
        table = read_part(self._attempt.run_dir, path)
        keep = [recording_id not in gone for recording_id in table["recording_id"].to_pylist()]
        write_part(
            self._attempt,
            self._first_index + number,
            table.filter(pa.array(keep)),
            # The generation that read the annotations has them in its account already.
            annotations={},
            rule_hits={},
            replaces=key,
        )
        yield key


def read_part(run_dir: str, path: str) -> pa.Table:
    """All rows of a plan part: text only, so it fits. Raises DamagedError."""
    table = pq.read_table(pa.BufferReader(storage.read_bytes(storage.join(run_dir, path))))
    try:
        return completed(table, PLAN_SCHEMA)
    except ValueError as error:
        raise DamagedError(f"{storage.join(run_dir, path)}: not a plan part ({error})") from error
