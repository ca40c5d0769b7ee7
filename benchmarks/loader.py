"""The loader against a bare loop that decodes the same windows: does a worker process keep up with the decoder?

    python -m benchmarks.loader --run RUN

`RUN` is any mined run of flac clips. The bare loop holds the encoded clips in memory and only decodes, in one process.
The loader plans, reads shards, decodes in its worker processes, and stacks; the time that a worker needs to
start is left out. Both see the same windows, in turns, several times; the figure is the median of the ratios. For the
cold rounds the shards are dropped from the page cache before the loader opens them.
"""

import argparse
import os
import statistics
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import torch

from benchmarks.machine import write_result
from pipeline.media.encode import decode_clip
from schemas.run import Run
from schemas.shard import AudioEncoding
from schemas.sources import TextSource
from trainer.data import Corpus, DataConfig
from trainer.dist import Ranks
from trainer.loader import Loader
from trainer.mixture import Mixture
from trainer.streams import GlobalBatches

NAME = "loader"
WARM_UP = 4  # batches


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path, required=True)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--window_s", type=float, default=10.0)
    parser.add_argument("--batch_size", type=int, default=64)
    parser.add_argument("--batches", type=int, default=16, help="of a round")
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    torch.set_num_threads(1)
    config = DataConfig(
        mixture=Mixture.of({TextSource.SF: 1}),
        window_s=given.window_s,
        buffer_rows=256,
        validation_fraction=0.0,
        lf_threshold=0.0,
    )
    rounds: dict[str, list[dict[str, float]]] = {}
    for cache in ("warm", "cold"):
        rounds[cache] = []
        for number in range(given.rounds):
            if cache == "cold":
                drop_from_cache(given.run)
            measured = measure(given, config, seed=number)
            rounds[cache].append(measured)
            sys.stderr.write(f"{cache}: {measured}\n")
    run = Run.open(given.run)
    result: dict[str, Any] = {
        "clips": sum(shard.rows for shard in run.manifest.shards),
        "shard_mib": round(sum(shard.bytes for shard in run.manifest.shards) / 2**20, 1),
        "audio": run.manifest.audio_encoding,
        "window_s": given.window_s,
        "workers": given.workers,
        "windows_a_round": given.batch_size * given.batches,
        "median_ratio": {
            cache: round(statistics.median(r["ratio"] for r in values), 3) for cache, values in rounds.items()
        },
        "median_cpu_ratio": {
            cache: round(statistics.median(r["cpu_ratio"] for r in values), 3) for cache, values in rounds.items()
        },
        "rounds": rounds,
        "ratio": "windows/s of the loader ÷ windows/s of the bare loop",
        "cpu_ratio": "CPU time of the bare loop ÷ CPU time of the workers, for the same number of windows; where other "
        "work shares the machine, this says more",
    }
    command = f"python -m benchmarks.loader --run RUN --workers {given.workers}"
    write_result(NAME, result, packages=("torch", "pyarrow", "soundfile"), command=command)
    return 0


def measure(given: argparse.Namespace, config: DataConfig, seed: int) -> dict[str, float]:
    corpus = Corpus.open([given.run], config)
    loader = Loader(
        GlobalBatches(corpus, config.mixture, given.batch_size, seed),
        None,
        max_tokens=0,
        window_samples=config.window_samples,
        block_size=1,
        ranks=Ranks(),
        workers=given.workers,
    )
    batches = iter(loader)
    for _ in range(WARM_UP):
        next(batches)
    started, worker_s = time.perf_counter(), -workers_cpu_s()
    waves = [next(batches).wave_RS for _ in range(given.batches)]
    loader_s = time.perf_counter() - started
    worker_s += workers_cpu_s()
    loader.close()

    planner = GlobalBatches(corpus, config.mixture, given.batch_size, seed)
    for _ in range(WARM_UP):
        planner.next()
    windows = [
        (example.row.audio, AudioEncoding(example.row.encoding), example.start_sample)
        for _ in range(given.batches)
        for example in planner.next()
    ]
    started, bare_cpu_s = time.perf_counter(), -time.process_time()
    decoded = [decode_clip(audio, encoding, start, config.window_samples) for audio, encoding, start in windows]
    bare_s = time.perf_counter() - started
    bare_cpu_s += time.process_time()
    assert all((ours.numpy() == theirs).all() for ours, theirs in zip(torch.cat(waves), decoded, strict=True))
    return {
        "loader_windows_per_s": round(len(windows) / loader_s, 1),
        "bare_windows_per_s": round(len(windows) / bare_s, 1),
        "ratio": round(bare_s / loader_s, 3),
        "cpu_ratio": round(bare_cpu_s / worker_s, 3),
        "load_average": round(os.getloadavg()[0], 1),
    }


def workers_cpu_s() -> float:
    """CPU seconds of the processes below this one."""
    times = [process.cpu_times() for process in psutil.Process().children(recursive=True)]
    return sum(time.user + time.system for time in times)


def drop_from_cache(run: Path) -> None:
    """Ask the system to forget the run's files; needs no rights, and works for pages that are written back."""
    for shard in Run.open(run).manifest.shards:
        descriptor = os.open(run / shard.path, os.O_RDONLY)
        try:
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        finally:
            os.close(descriptor)


if __name__ == "__main__":
    sys.exit(main())
