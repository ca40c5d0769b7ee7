"""Survey: read the catalogue once, before any text is joined or any audio is touched.

It finds how many recordings there are (which fixes the number of shards), the digest of the catalogue (which does not
depend on the order of lines or files), rows that repeat an id, and what has come, changed or gone since the
generation before.
"""

import heapq
from collections.abc import Iterable, Iterator
from typing import Any

import apache_beam as beam

from pipeline.catalogue import CATALOGUE
from pipeline.progress.counters import count_left_out_row
from pipeline.run_folder.suppression import read_suppression
from pipeline.table_steps import REJECTS, ROWS, Attempt, ReadKnown, ReadTables, Selection, WriteLines, WriteTotals
from schemas.digest import digest_bytes, digest_json, hash64
from schemas.reasons import Reason

MAX_LISTED_REPEATS = 100  # of one id; all are counted
DIGEST_WORDS = 4  # of 32 bits

# One catalogue row as it competes with others of its id: (digest, file, line).
Candidate = tuple[str, str, int]
# Best candidates (sorted), how many there were, (row digest, part key) of the earlier generation.
Choice = tuple[list[Candidate], int, tuple[str, str] | None]


def find_cutoff(
    begin: Any,
    *,
    paths: list[str],
    columns: dict[str, dict[str, str]],
    tags_separator: str | None,
    limit: int,
    path: str,
) -> None:
    """Write the largest hash among the `limit` smallest of all recording ids."""
    tables = begin | "read" >> ReadTables(CATALOGUE, paths, columns, tags_separator)
    (
        tables[ROWS]
        | beam.Map(lambda row: hash64(row[2].recording_id) >> 1)
        | beam.CombineGlobally(_SmallestDistinct(limit))
        | beam.Map(lambda cutoff: {"cutoff": (cutoff << 1) | 1})
        | WriteTotals(path)
    )


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
    selection: Selection,
    known: str | None,
    attempt: Attempt,
    suffix: str,
) -> None:
    """Write the totals of one pass, and the rejects of its rows; `suffix` tells the passes apart."""
    tables = begin | "read" >> ReadTables(CATALOGUE, paths, columns, tags_separator, suppressed_in=attempt.run_dir)
    candidates = tables[ROWS] | "candidates" >> beam.FlatMap(_candidates, selection)
    earlier = begin | "known" >> ReadKnown(attempt.run_dir, known) | "known of pass" >> beam.FlatMap(_known, selection)
    chosen = (
        (candidates, earlier)
        | beam.Flatten()
        | beam.CombinePerKey(ChooseRow())
        | beam.ParDo(_Classify(attempt.run_dir)).with_outputs(REJECTS, main=ROWS)
    )
    over_limit = tables[ROWS] | "over limit" >> beam.FlatMap(_over_limit, selection)
    bad = tables[REJECTS] | "rejects of first pass" >> beam.Filter(lambda _: selection.index == 0)
    bad_counts = bad | "count rejects" >> beam.Map(lambda reject: {"rows": 1, f"reason:{reject['reason']}": 1})
    (
        (chosen[ROWS], over_limit, bad_counts)
        | "all counts" >> beam.Flatten()
        | WriteTotals(attempt.totals_path(f"survey{suffix}"))
    )
    (bad, chosen[REJECTS]) | "all rejects" >> beam.Flatten() | WriteLines(attempt, f"rejects-catalogue{suffix}")


def _candidates(row: tuple[str, int, Any], selection: Selection) -> Iterator[tuple[str, Choice]]:
    file, line, record = row
    if selection.takes(record.recording_id):
        yield record.recording_id, ([(record.digest(), file, line)], 1, None)


def _known(row: tuple[str, tuple[str, str]], selection: Selection) -> Iterator[tuple[str, Choice]]:
    recording_id, known = row
    if selection.in_pass(recording_id):
        yield recording_id, ([], 0, known)


def _over_limit(row: tuple[str, int, Any], selection: Selection) -> Iterator[dict[str, int]]:
    recording_id = row[2].recording_id
    if selection.in_pass(recording_id) and not selection.within_limit(recording_id):
        count_left_out_row(CATALOGUE.kind, Reason.OVER_LIMIT)
        yield {"rows": 1, f"reason:{Reason.OVER_LIMIT}": 1}


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
    def __init__(self, run_dir: str) -> None:
        self._run_dir = run_dir

    def setup(self) -> None:
        self._suppressed = read_suppression(self._run_dir)

    def process(self, element: tuple[str, Choice]) -> Iterator[Any]:
        recording_id, (candidates, seen, known) = element
        if not candidates:
            # What was removed for good and is still there leaves, whatever becomes of what is merely gone.
            removed = self._suppressed is not None and recording_id in self._suppressed
            yield {"removed" if removed else "gone": 1}
            return
        counts = {"rows": seen, "recordings": 1, f"reason:{Reason.REPEATED_ID}": seen - 1}
        count_left_out_row(CATALOGUE.kind, Reason.REPEATED_ID, seen - 1)
        row_digest = candidates[0][0]
        if known is None:
            counts["new"] = 1
        else:
            counts["unchanged" if known[0] == row_digest else "changed"] = 1
        yield {**counts, **digest_counts(recording_id, row_digest)}
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
    """One digest for the ids and rows of all passes together."""
    return digest_json([totals.get(f"digest:{word}", 0) for word in range(DIGEST_WORDS)])
