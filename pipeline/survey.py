"""Survey: read the catalogue once, before any text is joined or any audio is touched.

It finds how many recordings there are (which fixes the number of shards), the digest of the catalogue (which does not
depend on the order of lines or files), rows that repeat an id, what is within `--limit`, and what has come, changed or
gone since the generation before.
"""

import heapq
from collections.abc import Iterable, Iterator
from typing import Any

import apache_beam as beam
from apache_beam.transforms.window import GlobalWindows

from pipeline import storage
from pipeline.batches import Alone, Each, batched
from pipeline.catalogue import CATALOGUE
from pipeline.exchange import Exchange, Meet, Spill, WriteSegments
from pipeline.gathered import known_of, rows_of
from pipeline.progress.counters import count_left_out_row
from pipeline.run_folder.suppression import read_suppression
from pipeline.table_steps import REJECTS, ROWS, Attempt, ReadKnown, ReadTables, WriteLines, WriteTotals, within_limit
from schemas.accounting import add_counts
from schemas.digest import digest_bytes, digest_json, hash64
from schemas.reasons import Reason

MAX_LISTED_REPEATS = 100  # of one id; all are counted
DIGEST_WORDS = 4  # of 32 bits
CUTOFF, SEGMENTS = "cutoff", "segments"  # what an attempt's folder has besides the totals

# One catalogue row as it competes with others of its id: (digest, file, line).
Candidate = tuple[str, str, int]
# Best candidates (sorted), how many there were, (row digest, part key) of the earlier generation.
Choice = tuple[list[Candidate], int, tuple[str, str] | None]


class _SmallestDistinct(beam.CombineFn):
    """The largest of the `count` smallest distinct numbers."""

    def __init__(self, count: int) -> None:
        self._count = count

    def create_accumulator(self, *args: Any, **kwargs: Any) -> list[int]:
        return []

    def add_input(self, accumulator: list[int], element: int, *args: Any, **kwargs: Any) -> list[int]:
        accumulator.append(element)
        return accumulator if len(accumulator) < 2 * self._count + 1024 else self._prune(accumulator)

    def merge_accumulators(self, accumulators: Iterable[list[int]], *args: Any, **kwargs: Any) -> list[int]:
        merged: list[int] = []
        for accumulator in accumulators:
            merged = self._prune(merged + accumulator)
        return merged

    def extract_output(self, accumulator: list[int], *args: Any, **kwargs: Any) -> int:
        return max(self._prune(accumulator), default=0)

    def _prune(self, numbers: list[int]) -> list[int]:
        return heapq.nsmallest(self._count, set(numbers))


def survey(
    begin: Any,
    *,
    paths: list[str],
    columns: dict[str, dict[str, str]],
    tags_separator: str | None,
    limit: int | None,
    known: str | None,
    attempt: Attempt,
    exchange: Exchange,
) -> None:
    """Write the totals of the catalogue, the rejects of its rows and, with a `limit`, the largest hash within it.

    Where the exchange has a folder, the rows themselves stay there for the plan, so that they are read once.
    """
    tables = begin | "read" >> ReadTables(CATALOGUE, paths, columns, tags_separator, suppressed_in=attempt.run_dir)
    cutoff = tables[ROWS] | "cutoff" >> _Cutoff(limit)
    _ = cutoff | "write cutoff" >> beam.Map(_write_cutoff, attempt.totals_path(CUTOFF))
    earlier = begin | "known" >> ReadKnown(attempt.run_dir, known)
    if exchange.folder is None:
        candidates = tables[ROWS] | "candidates" >> Each(_candidates)
        parts = earlier | "earlier" >> beam.MapTuple(lambda recording_id, part: (recording_id, ([], 0, part)))
        met = (candidates, parts) | beam.Flatten() | beam.CombinePerKey(ChooseRow()) | Alone()
    else:
        parts = earlier | "earlier" >> beam.MapTuple(known_of)
        spilled = (
            tables[ROWS] | "spill rows" >> Spill(exchange, rows_of),
            parts | Alone() | "spill parts" >> Spill(exchange),
        ) | beam.Flatten()
        _ = spilled | WriteSegments(attempt.totals_path(SEGMENTS))
        met = spilled | Meet(_choose)
    chosen = met | beam.ParDo(_Classify(attempt.run_dir), beam.pvalue.AsSingleton(cutoff)).with_outputs(
        REJECTS, main=ROWS
    )
    bad_counts = tables[REJECTS] | "count rejects" >> beam.Map(
        lambda reject: {"rows": 1, f"reason:{reject['reason']}": 1}
    )
    _ = (chosen[ROWS], bad_counts) | "all counts" >> beam.Flatten() | WriteTotals(attempt.totals_path("survey"))
    _ = (
        (tables[REJECTS], chosen[REJECTS])
        | "all rejects" >> beam.Flatten()
        | WriteLines(attempt, f"rejects-{CATALOGUE.kind}")
    )


class _Cutoff(beam.PTransform):
    """The largest hash among the `limit` smallest of all recording ids; None without a limit."""

    def __init__(self, limit: int | None) -> None:
        super().__init__()
        self._limit = limit

    def expand(self, rows: Any) -> Any:
        if self._limit is None:
            return rows.pipeline | beam.Create([None])
        return (
            rows
            | beam.FlatMap(_halves)
            | beam.CombineGlobally(_SmallestDistinct(self._limit))
            | beam.Map(lambda cutoff: (cutoff << 1) | 1)
        )


def _halves(rows: Iterable[tuple[str, int, Any]]) -> Iterator[int]:
    """Of hashes, since Beam's coders write signed numbers."""
    return (hash64(record.recording_id) >> 1 for _, _, record in rows)


def _write_cutoff(cutoff: int | None, path: str) -> None:
    storage.write_json(path, {CUTOFF: cutoff})


def _candidates(rows: Iterable[tuple[str, int, Any]]) -> Iterator[tuple[str, Choice]]:
    return ((record.recording_id, ([(record.digest(), file, line)], 1, None)) for file, line, record in rows)


def _choose(met: Iterable[tuple[str, list[Any]]]) -> Iterator[list[tuple[str, Choice]]]:
    merge = ChooseRow().merge_accumulators
    choices = ((recording_id, [_choice(value) for value in values]) for recording_id, values in met)
    return batched((recording_id, found[0] if len(found) == 1 else merge(found)) for recording_id, found in choices)


def _choice(value: Any) -> Choice:
    """What of a value that is kept for the plan counts here."""
    row, known, _ = value
    return ([(row[0], row[2], row[3])], 1, None) if row is not None else ([], 0, tuple(known))


class ChooseRow(beam.CombineFn):
    """Of all rows with one id the one with the smallest digest, whatever the order; the others are repeats."""

    def create_accumulator(self, *args: Any, **kwargs: Any) -> Choice:
        return [], 0, None

    def add_input(self, accumulator: Choice, element: Choice, *args: Any, **kwargs: Any) -> Choice:
        return self.merge_accumulators([accumulator, element])

    def merge_accumulators(self, accumulators: Iterable[Choice], *args: Any, **kwargs: Any) -> Choice:
        best: list[Candidate] = []
        count = 0
        known = None
        for more, seen, earlier in accumulators:
            best = sorted([*best, *more])[: MAX_LISTED_REPEATS + 1]
            count += seen
            known = earlier or known
        return best, count, known

    def extract_output(self, accumulator: Choice, *args: Any, **kwargs: Any) -> Choice:
        return accumulator


class _Classify(beam.DoFn):
    """Counts are added up within a bundle, since a runner may hold what it flattens: else one dictionary a row."""

    def __init__(self, run_dir: str) -> None:
        self._run_dir = run_dir

    def setup(self) -> None:
        self._suppressed = read_suppression(self._run_dir)

    def start_bundle(self) -> None:
        self._counts: dict[str, int] = {}

    def finish_bundle(self) -> Iterator[Any]:
        yield GlobalWindows.windowed_value(self._counts)

    def process(self, batch: list[tuple[str, Choice]], cutoff: int | None) -> Iterator[Any]:
        for recording_id, choice in batch:
            yield from self._classify(recording_id, choice, cutoff)

    def _classify(self, recording_id: str, choice: Choice, cutoff: int | None) -> Iterator[Any]:
        candidates, seen, known = choice
        if candidates and not within_limit(recording_id, cutoff):
            count_left_out_row(CATALOGUE.kind, Reason.OVER_LIMIT, seen)
            add_counts(self._counts, {"rows": seen, f"reason:{Reason.OVER_LIMIT}": seen})
            if known is None:
                return
            candidates = []
        if not candidates:
            # What was removed for good and is still there leaves, whatever becomes of what is merely gone.
            removed = self._suppressed is not None and recording_id in self._suppressed
            add_counts(self._counts, {"removed" if removed else "gone": 1})
            return
        count_left_out_row(CATALOGUE.kind, Reason.REPEATED_ID, seen - 1)
        row_digest = candidates[0][0]
        state = "new" if known is None else "unchanged" if known[0] == row_digest else "changed"
        counts = {"rows": seen, "recordings": 1, f"reason:{Reason.REPEATED_ID}": seen - 1, state: 1}
        add_counts(self._counts, counts)
        add_counts(self._counts, digest_counts(recording_id, row_digest))
        for _, file, line in candidates[1:]:
            yield beam.pvalue.TaggedOutput(
                REJECTS,
                {
                    "file": file,
                    "line": line,
                    "recording_id": recording_id,
                    "reason": str(Reason.REPEATED_ID),
                    "outcome": str(Reason.REPEATED_ID.outcome),
                    "detail": f"{seen} rows have this id; the one at {candidates[0][1]}:{candidates[0][2]} is used",
                    "excerpt": "",
                },
            )


def digest_counts(recording_id: str, row_digest: str) -> dict[str, int]:
    """What one recording adds to the catalogue's digest.

    Digests add up, so that neither order nor partition matters; in words of 32 bits, whose sums stay within what every
    JSON reader and Beam coder takes as a plain number.
    """
    identity = int(digest_bytes(f"{len(recording_id)}:{recording_id}:{row_digest}".encode()), 16)
    return {f"digest:{word}": identity >> (32 * word) & 0xFFFFFFFF for word in range(DIGEST_WORDS)}


def catalogue_digest(totals: dict[str, int]) -> str:
    """One digest for all ids and rows."""
    return digest_json([totals.get(f"digest:{word}", 0) for word in range(DIGEST_WORDS)])
