"""Which fingerprints are of one recording: joined on the engine, by what they have in common, and never all with all.

    fingerprints ── keys ── who else has this key ── pairs ── compared, one word beside the other ── copies

Audio goes by its name in the groups (the hash of the decoded clip). A key is asked of nobody twice: those that have it
are all compared with one another where they are few (FEW), and else each with the first of them alone, by name. So a
key of silence, a loop or a recording of which there are ten thousand copies costs as much as as many keys that few
have, and copies of one recording still come together, since each is like the first. How many keys and clips were
bounded so is counted. A pair that has a single key in common is not compared: among millions that is chance.
"""

import io
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from typing import Any

import apache_beam as beam
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from apache_beam.pvalue import TaggedOutput

from pipeline import storage
from pipeline.duplicates.fingerprint import MAX_DISTANCE, distance
from pipeline.run_folder import layout
from pipeline.table_steps import WriteTotals
from pipeline.task_file import ReadTasks

FEW = 8
MIN_KEYS = 2  # that a pair has in common
NEAR_WORDS = 1  # offsets so far apart are one alignment
COUNTS, PAIRS = "counts", "pairs"
PAIRS_SCHEMA = pa.schema(
    [
        pa.field("one", pa.string(), nullable=False),
        pa.field("other", pa.string(), nullable=False),
        pa.field("offset", pa.int32(), nullable=False),  # words by which `other` begins later
        pa.field("distance", pa.float32(), nullable=False),
    ]
)

# Audio, and what is of it.
Named = tuple[str, Any]
# Audio, words, keys and places.
Clip = tuple[str, bytes, bytes, bytes]


def join(begin: Any, *, files: str, run_dir: str, folder: str, parts: int) -> None:
    """Write the pairs of copies among fingerprints, as `parts` files whose records lie in `folder`, and the counts
    beside them. `files` has a line for each file of fingerprints."""
    clips = (
        begin
        | "files" >> ReadTasks(files, str)
        | "read fingerprints" >> beam.FlatMap(_read, run_dir)
        # Of clips with the same samples one is compared; they are copies as it is.
        | "by audio" >> beam.GroupByKey()
        | "one of each" >> beam.Map(_one_of_each)
    )
    words = clips | "words" >> beam.Map(lambda clip: (clip[0], clip[1]))
    shared = (
        clips
        | "keys" >> beam.FlatMap(_keys)
        | "by key" >> beam.GroupByKey()
        | "who shares it" >> beam.FlatMap(_sharing).with_outputs(COUNTS, main=PAIRS)
    )
    asked = shared[PAIRS] | "by pair" >> beam.GroupByKey() | "alignments" >> beam.FlatMap(_aligned)
    halves = {"words": words, "asked": asked} | "by one" >> beam.CoGroupByKey() | "ask other" >> beam.FlatMap(_halves)
    compared = (
        {"words": words, "asked": halves}
        | "by other" >> beam.CoGroupByKey()
        | "compare" >> beam.FlatMap(_compared).with_outputs(COUNTS, main=PAIRS)
    )
    _ = (
        compared[PAIRS]
        | "file of a pair" >> beam.Map(lambda pair: (int(pair[0][:8], 16) % parts, pair))
        | "by file" >> beam.GroupByKey()
        | "write pairs" >> beam.Map(_write, run_dir, folder)
    )
    seen = clips | "clips" >> beam.Map(lambda clip: {"clips": 1, "keys": len(clip[2]) // 4})
    _ = (seen, shared[COUNTS], compared[COUNTS]) | beam.Flatten() | WriteTotals(storage.join(folder, f"{COUNTS}.json"))


def _read(path: str, run_dir: str) -> Iterator[tuple[str, tuple[bytes, bytes, bytes]]]:
    table = pq.read_table(io.BytesIO(storage.read_bytes(storage.join(run_dir, path))))
    columns = (table[name].to_pylist() for name in ("audio", "words", "keys", "places"))
    for audio, words, keys, places in zip(*columns, strict=True):
        yield audio, (words, keys, places)


def _one_of_each(group: tuple[str, Iterable[tuple[bytes, bytes, bytes]]]) -> Clip:
    audio, same = group
    return (audio, *next(iter(same)))


def _keys(clip: Clip) -> Iterator[tuple[int, Named]]:
    audio, _, keys, places = clip
    for key, place in zip(np.frombuffer(keys, "<u4").tolist(), np.frombuffer(places, "<i4").tolist(), strict=True):
        yield key, (audio, place)


def _sharing(group: tuple[int, Iterable[Named]]) -> Iterator[Any]:
    """((one, other), offset) of those that have a key in common; one is the smaller name."""
    # Read more than once, since there may be more than memory holds.
    clips = group[1]
    few: dict[str, int] = {}
    for audio, place in clips:
        few[audio] = place
        if len(few) > FEW:
            break
    if len(few) <= FEW:
        ordered = sorted(few.items())
        for i, (other, there) in enumerate(ordered):
            for one, here in ordered[:i]:
                yield (one, other), here - there
        return
    first, here = min(clips)
    bounded = 0
    for other, there in clips:
        if other != first:
            bounded += 1
            yield (first, other), here - there
    yield TaggedOutput(COUNTS, {"keys_bounded": 1, "clips_bounded": bounded})


def _aligned(group: tuple[tuple[str, str], Iterable[int]]) -> Iterator[tuple[str, Any]]:
    """(one, (other, offsets)): the offsets that MIN_KEYS keys agree on, the most agreed first."""
    (one, other), offsets = group
    votes = Counter(offsets)
    near = {
        offset: sum(votes[offset + step] for step in range(-NEAR_WORDS, NEAR_WORDS + 1)) for offset in sorted(votes)
    }
    agreed = sorted((-count, offset) for offset, count in near.items() if count >= MIN_KEYS)
    if agreed:
        yield one, (other, agreed[0][1])


def _halves(group: tuple[str, dict[str, Iterable[Any]]]) -> Iterator[tuple[str, Any]]:
    """(other, (one, offset, words of one))."""
    one, found = group
    words = next(iter(found["words"]), None)
    for other, offset in found["asked"]:
        yield other, (one, offset, words)


def _compared(group: tuple[str, dict[str, Iterable[Any]]]) -> Iterator[Any]:
    other, found = group
    words = next(iter(found["words"]))
    compared = copies = 0
    for one, offset, theirs in found["asked"]:
        compared += 1
        nearest = compare(theirs, words, offset)
        if nearest is not None and nearest[0] <= MAX_DISTANCE:
            copies += 1
            yield one, other, nearest[1], nearest[0]
    if compared:
        yield TaggedOutput(COUNTS, {"compared": compared, "copies": copies})


def compare(one: bytes, other: bytes, offset: int) -> tuple[float, int] | None:
    """The least distance near an offset, and where; None where there is too little to compare."""
    one_N, other_N = np.frombuffer(one, "<u4"), np.frombuffer(other, "<u4")
    tried = ((distance(one_N, other_N, at), at) for at in range(offset - NEAR_WORDS, offset + NEAR_WORDS + 1))
    return min(((far, at) for far, at in tried if far is not None), default=None)


def _write(group: tuple[int, Iterable[tuple[str, str, int, float]]], run_dir: str, folder: str) -> None:
    part, pairs = group
    rows = sorted(pairs)
    columns = zip(*rows, strict=True)
    table = pa.table([pa.array(c, f.type) for c, f in zip(columns, PAIRS_SCHEMA, strict=True)], schema=PAIRS_SCHEMA)
    with storage.staged(run_dir) as staged:
        pq.write_table(table, staged, compression="zstd")
        entry = storage.file_entry(staged, layout.PAIRS_NAME_PATTERN, len(rows))
        storage.publish(staged, storage.join(run_dir, entry.path))
    storage.write_json(storage.join(folder, f"{PAIRS}-{part:05d}.json"), asdict(entry))
