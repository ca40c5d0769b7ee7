"""The loader on ranks of 1, 8 and 64, one at a time, against a bare loop that decodes the same windows.

    python -m benchmarks.loader --run RUN --work WORK

`RUN` is any mined run of flac clips. Its rows are written again and again under new ids, by the product's own writer,
to shards of 256 row groups or more in `WORK`, which is emptied afterwards: the lanes are those of a large training, and
a rank plans, reads and decodes its own of them. One source alone is drawn from: two would find each other's clips in
memory, as they would not in a run that is much larger than the buffers. The bare loop holds encoded clips in memory and
only decodes, in as many processes as the loader has workers. What is measured, each several times, after the buffers
are full:

- bytes that the rank's process reads from start to end, as the system counts them, for each clip that it reads, over
  the bytes of a clip: all else that it reads, texts and footers too, stands against the clips of its own pairs
- CPU seconds of all processes a pair, over those of the bare loop
- windows/s over those of the bare loop, which runs before and after, since other work may share the machine
- windows/s from a file system that answers each read and each opening after 150 ms, over those without the delay

A rank has about a hundred pairs of each batch, whatever the number of ranks: all 64 lanes, eight of them, or one.
"""

import argparse
import dataclasses
import hashlib
import itertools
import multiprocessing
import os
import shutil
import statistics
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import psutil
import pyarrow as pa
import pyarrow.fs
import pyarrow.parquet as pq
import torch

from benchmarks.machine import write_result
from pipeline.media.encode import decode_clip
from schemas.digest import canonical_json
from schemas.manifest import POINTER_NAME, ShardEntry, manifest_name
from schemas.run import Run
from schemas.shard import AudioEncoding
from schemas.shard_format import FORMATS
from schemas.sources import TextSource
from trainer.audio import Audio
from trainer.data import Corpus, DataConfig
from trainer.dist import Ranks
from trainer.loader import Loader
from trainer.mixture import Mixture
from trainer.streams import Lanes

NAME = "loader"
LANES = 64
LANE_PAIRS = {1: 2, 8: 12, 64: 96}  # by the number of ranks
WARM_UP = 4  # batches, which takes those that were decoded while nobody waited
SETTLED_S = 0.5
SHARDS, GROUP_ROWS = 8, 16
DELAY_S = 0.15
AIMS = {"bytes": 1.25, "cpu": 1.25, "one_worker": 0.85, "two_workers": 0.75, "delayed": 0.8}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--groups", type=int, default=256)
    parser.add_argument("--pairs", type=int, default=480, help="of a measurement")
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    torch.set_num_threads(1)
    folder = given.work / "many"
    try:
        multiply(given.run, folder, given.groups)
        config = DataConfig(mixture=Mixture.of({TextSource.SF: 1}), buffer_rows=256, validation_fraction=0.0)
        corpus = Corpus.open([folder], config)
        clips = bare_clips(corpus, given.pairs)
        rounds: list[dict[str, Any]] = []
        for number in range(given.rounds):
            rounds.append(measure(corpus, clips, given.pairs, seed=number))
            sys.stderr.write(f"{rounds[-1]}\n")
        (run,) = corpus.runs
        result = {
            "row_groups": len(corpus.index),
            "rows": int(corpus.index.first_row_G[-1]),
            "clip_bytes": round(mean_clip_bytes(corpus)),
            "shard_mib": round(sum(shard.bytes for shard in run.manifest.shards) / 2**20),
            "mixture": corpus.mixture().text,
            "window_s": config.window_s,
            "lanes": LANES,
            "pairs_of_a_lane": {str(ranks): pairs for ranks, pairs in LANE_PAIRS.items()},
            "pairs_a_measurement": given.pairs,
            "aims": AIMS,
            "medians": {name: round(statistics.median(values[name] for values in rounds), 3) for name in rounds[0]},
            "rounds": rounds,
        }
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    command = "python -m benchmarks.loader --run RUN --work WORK"
    write_result(NAME, result, packages=("torch", "pyarrow", "soundfile"), command=command)
    return 0


def measure(corpus: Corpus, clips: Sequence["Clip"], pairs: int, seed: int) -> dict[str, float]:
    """A round."""
    result: dict[str, float] = {}
    one = bare(clips, 1)
    for count in LANE_PAIRS:
        rank = loaded(corpus, Ranks(rank=seed % count, count=count), pairs, seed, workers=1)
        again = bare(clips, 1)
        result[f"bytes_of_{count}"] = rank.clip_bytes / mean_clip_bytes(corpus)
        result[f"cpu_of_{count}"] = rank.cpu_s / statistics.mean((one.cpu_s, again.cpu_s))
        result[f"one_worker_of_{count}"] = rank.windows_per_s / statistics.mean(
            (one.windows_per_s, again.windows_per_s)
        )
        one = again
    before = bare(clips, 2)
    two = loaded(corpus, Ranks(count=8), pairs, seed, workers=2)
    after = bare(clips, 2)
    result["two_workers"] = two.windows_per_s / statistics.mean((before.windows_per_s, after.windows_per_s))
    delayed = Corpus(delayed_runs(corpus), corpus.config, corpus.index, {})
    ranks = Ranks(count=8)
    plain = loaded(corpus, ranks, pairs, seed, workers=1)
    slow = loaded(delayed, ranks, pairs, seed, workers=1)
    again = loaded(corpus, ranks, pairs, seed, workers=1)
    result["delayed"] = slow.windows_per_s / statistics.mean((plain.windows_per_s, again.windows_per_s))
    result["windows_per_s"] = one.windows_per_s
    result["load_average"] = os.getloadavg()[0]
    return {name: round(value, 3) for name, value in result.items()}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Measured:
    """CPU seconds are those of a pair, bytes those that were read in all for each clip that was read."""

    windows_per_s: float
    cpu_s: float
    clip_bytes: float = 0.0


# The loader.


def loaded(corpus: Corpus, ranks: Ranks, pairs: int, seed: int, *, workers: int) -> Measured:
    read = -bytes_read()
    audio = CountingAudio(corpus)
    batch_size = LANES * LANE_PAIRS[ranks.count]
    lanes = Lanes(corpus, corpus.mixture(), batch_size, LANES, seed, ranks=ranks, audio=audio)
    loader = Loader(lanes, audio, None, window_samples=corpus.config.window_samples, workers=workers)
    batches = iter(loader)
    steps = -(-pairs // lanes.pairs)
    next(batches)
    clips = 0
    while audio.clips != clips:  # buffers are filled, and batches are planned ahead
        clips = audio.clips
        time.sleep(SETTLED_S)
    for _ in range(WARM_UP):
        next(batches)
    started, cpu_s = time.perf_counter(), -cpu_of_all()
    for _ in range(steps):
        next(batches)
    taken_s, cpu_s = time.perf_counter() - started, cpu_s + cpu_of_all()
    loader.close()
    done = steps * lanes.pairs
    clip_bytes = (read + bytes_read()) / audio.clips
    return Measured(windows_per_s=done / taken_s, cpu_s=cpu_s / done, clip_bytes=clip_bytes)


class CountingAudio(Audio):
    """Knows how many clips it has read: few that are drawn anew while they are still in memory are read again."""

    clips = 0

    def _read(self, group: int, rows: Sequence[int]) -> dict[int, Any]:
        found = super()._read(group, rows)
        self.clips += len(found)
        return found


def cpu_of_all() -> float:
    """CPU seconds of this process and those below it."""
    times = [process.cpu_times() for process in psutil.Process().children(recursive=True)]
    return time.process_time() + sum(spent.user + spent.system for spent in times)


def bytes_read() -> int:
    """By this process, as the system counts them, from the page cache too."""
    return psutil.Process().io_counters().read_chars


def mean_clip_bytes(corpus: Corpus) -> float:
    """Of the clip alone, without the other columns."""
    (run,) = corpus.runs
    found = [pq.ParquetFile(f"{run.root}/{shard.path}").metadata for shard in run.manifest.shards]
    audio = sum(
        metadata.row_group(group).column(i).total_compressed_size
        for metadata in found
        for group in range(metadata.num_row_groups)
        for i in range(metadata.num_columns)
        if metadata.schema.column(i).path == "audio"
    )
    return float(audio / sum(metadata.num_rows for metadata in found))


# The bare loop.

Clip = tuple[bytes, str, int, int]  # encoded, its encoding, where the window starts, its samples


def bare_clips(corpus: Corpus, pairs: int) -> list[Clip]:
    """Some of the windows that the loader decodes."""
    lanes = Lanes(corpus, corpus.mixture(), LANES * LANE_PAIRS[1], LANES, 0)
    audio, samples = Audio(corpus), corpus.config.window_samples
    examples = list(itertools.islice((example for _ in itertools.count() for example in lanes.next()), pairs))
    for example in examples:
        audio.expect(example.row.place.group, [example.row.place.row])
    clips = [
        (bytes(audio.take(e.row.place)), e.row.encoding, e.start_sample, min(samples, e.row.samples - e.start_sample))
        for e in examples
    ]
    audio.close()
    lanes.close()
    return clips


def bare(clips: Sequence[Clip], processes: int) -> Measured:
    """In processes that hold the clips before they start."""
    if processes == 1:
        return _decode_all(clips)
    context = multiprocessing.get_context("fork")  # which have the clips then, and touch nothing else
    started = context.Barrier(processes)
    results: Any = context.SimpleQueue()

    def run() -> None:
        started.wait()
        measured = _decode_all(clips)
        results.put((measured.windows_per_s, measured.cpu_s))

    running = [context.Process(target=run) for _ in range(processes)]
    for process in running:
        process.start()
    found = [results.get() for _ in running]
    for process in running:
        process.join()
    return Measured(windows_per_s=sum(rate for rate, _ in found), cpu_s=statistics.mean(cpu_s for _, cpu_s in found))


def _decode_all(clips: Sequence[Clip]) -> Measured:
    started, cpu_s = time.perf_counter(), -time.process_time()
    for audio, encoding, start_sample, samples in clips:
        decode_clip(audio, AudioEncoding(encoding), start_sample, samples)
    taken_s, cpu_s = time.perf_counter() - started, cpu_s + time.process_time()
    return Measured(windows_per_s=len(clips) / taken_s, cpu_s=cpu_s / len(clips))


# The data.


def multiply(source: Path, folder: Path, groups: int) -> None:
    """A run with the clips and texts of another under new ids, in so many row groups."""
    run = Run.open(source)
    rows = [row for group in run.row_groups() for row in run.read(group).to_pylist() if row["sf"]]
    numbered = itertools.count()
    (folder / "shards").mkdir(parents=True)
    entries, ids = [], []
    for index in range(SHARDS):
        kind = FORMATS["parquet"]
        path = folder / "shards" / f"g0001-{index:05d}{kind.endings[0]}"
        writer = kind.create(str(path))
        mine = groups // SHARDS
        for _ in range(mine):
            part = [{**rows[i % len(rows)], "recording_id": f"{i:06d}"} for i in itertools.islice(numbered, GROUP_ROWS)]
            ids += [row["recording_id"] for row in part]
            writer.write(pa.Table.from_pylist(part, schema=run.read(next(run.row_groups())).schema))
        writer.close()
        with path.open("rb") as stream:
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
        entries.append(
            ShardEntry(
                path=f"shards/{path.name}",
                sha256=digest,
                bytes=path.stat().st_size,
                rows=mine * GROUP_ROWS,
                generation=1,
                index=index,
            )
        )
    pq.write_table(pa.table({"recording_id": ids, "group": ids}), folder / "groups.parquet")
    manifest = dataclasses.replace(run.manifest, number=1, shards=tuple(entries), groups_path="groups.parquet")
    (folder / manifest_name(1)).write_text(canonical_json(manifest.to_json()))
    (folder / POINTER_NAME).write_text(canonical_json({"manifest": manifest_name(1)}))


# A slow server.


def delayed_runs(corpus: Corpus) -> list[Run]:
    slow = pa.fs.PyFileSystem(Delayed())
    return [Run(run.location, run.root, slow, run.manifest) for run in corpus.runs]


class Delayed(pa.fs.FSSpecHandler):  # type: ignore[misc]
    """Local files of which each opening and each read takes a while."""

    def __init__(self) -> None:
        from fsspec.implementations.local import LocalFileSystem  # type: ignore[import-untyped]

        super().__init__(LocalFileSystem())

    def open_input_file(self, path: str) -> Any:
        time.sleep(DELAY_S)
        return pa.PythonFile(_DelayedFile(path), mode="r")


class _DelayedFile:
    def __init__(self, path: str) -> None:
        self._file = open(path, "rb", buffering=0)  # noqa: SIM115

    def read(self, size: int = -1) -> bytes:
        time.sleep(DELAY_S)
        return self._file.read(size) or b""

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)


if __name__ == "__main__":
    sys.exit(main())
