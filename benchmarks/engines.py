"""One catalogue on every engine: its shards must be the same bytes, with a worker of the cluster killed in mid-build.

    make bench-engines BENCH_ARGS='../shared/data --music_detector ../shared/models/yamnet.tflite'

That target sets up Spark and Flink beside this; without one of them its rows are left out, which is said. It prints one
sha256 of all shards for each engine, and exits with 1 where they differ.
"""

import argparse
import hashlib
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from benchmarks.machine import write_result
from tests.engines.jobs import Launch, launched
from tests.engines.servers import (
    FLINK_HOME,
    FLINK_JAR,
    SPARK_HOME,
    SPARK_JAR,
    Cluster,
    flink_cluster,
    flink_options,
    spark_cluster,
    spark_options,
    worker_pool,
)
from tests.pipeline.mining import manifest, shard_hashes

# Beam's options, and the cluster of which a worker is killed once the first shard is there.
Engine = tuple[tuple[str, ...], Cluster | None]


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path, help="folder with catalog.jsonl and playlists.jsonl")
    parser.add_argument("--music_detector", type=Path)
    parser.add_argument("--limit", type=int, help="recordings, for a shorter look")
    parser.add_argument("--rows_per_shard", type=int, default=16)
    parser.add_argument("--only", nargs="+", choices=list(ENGINES), default=list(ENGINES))
    arguments = parser.parse_args(argv)
    if not (arguments.data / "catalog.jsonl").exists():
        sys.stdout.write(f"{arguments.data}/catalog.jsonl is not here: nothing is compared\n")
        return 0
    options = ["--rows_per_shard", str(arguments.rows_per_shard), "--max_failure_rate", "1"]
    if arguments.music_detector is not None:
        options += ["--music_detector", str(arguments.music_detector.resolve())]
    if arguments.limit is not None:
        options += ["--limit", str(arguments.limit)]
    results: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        for name in arguments.only:
            start, needs = ENGINES[name]
            missing = [variable for variable in needs if variable not in os.environ]
            if missing:
                sys.stdout.write(f"{name}: left out, {' and '.join(missing)} not set\n")
                continue
            results[name] = mined(arguments.data.resolve(), Path(folder) / name.replace(" ", "-"), start, options)
            sys.stdout.write(f"{results[name]['sha256']}  {name}\n")
            sys.stdout.flush()
    same = len({result["sha256"] for result in results.values()}) == 1
    command = f"make bench-engines BENCH_ARGS='{' '.join(sys.argv[1:] if argv is None else argv)}'"
    write_result("engines", {"same": same, "engines": results}, packages=("apache-beam", "pyarrow"), command=command)
    return 0 if same else 1


def mined(data: Path, folder: Path, start: Callable[[Path], Any], options: Sequence[str]) -> dict[str, Any]:
    """Mine on an engine, and say what has come of it."""
    folder.mkdir()
    output = folder / "run"
    with start(folder) as (engine_options, cluster):
        began = time.monotonic()
        with launched(data, output, *options, *engine_options) as launch:
            at = _kill_one(cluster, launch, output) if cluster is not None else None
            launch.end()
        wall_s = round(time.monotonic() - began, 1)
    hashes = shard_hashes(output)
    digest = hashlib.sha256("".join(f"{name} {hashes[name]}\n" for name in sorted(hashes)).encode()).hexdigest()
    shards = len(manifest(output)["shards"])
    return {"sha256": digest, "shards": shards, "shards_at_the_kill": at, "wall_s": wall_s}


def _kill_one(cluster: Cluster, launch: Launch, output: Path) -> int:
    """Kill a worker once a shard is committed; returns how many were by then."""
    while not (committed := len(list(output.glob("commits/*.json")))):
        launch.assert_runs()
        time.sleep(0.05)
    cluster.workers[0].kill()
    return committed


@contextmanager
def _local(*options: str) -> Iterator[Engine]:
    yield options, None


@contextmanager
def _spark_cluster(folder: Path) -> Iterator[Engine]:
    with ExitStack() as stack:
        cluster = stack.enter_context(spark_cluster(folder))
        pool = stack.enter_context(worker_pool(folder))
        yield (*spark_options(cluster.master), *pool), cluster


@contextmanager
def _flink_cluster(folder: Path) -> Iterator[Engine]:
    with ExitStack() as stack:
        cluster = stack.enter_context(flink_cluster(folder))
        pool = stack.enter_context(worker_pool(folder))
        yield (*flink_options(cluster.master), *pool), cluster


# How each is started, and what has to be in the environment for it.
ENGINES: dict[str, tuple[Callable[[Path], Any], tuple[str, ...]]] = {
    "one process": (lambda folder: _local(), ()),
    "two worker processes": (lambda folder: _local("--direct_num_workers=2"), ()),
    "Spark, local master": (lambda folder: _local(*spark_options("local[2]")), (SPARK_JAR,)),
    "Spark, standalone, a worker killed": (_spark_cluster, (SPARK_JAR, SPARK_HOME)),
    "Flink, session cluster, a TaskManager killed": (_flink_cluster, (FLINK_JAR, FLINK_HOME)),
}


if __name__ == "__main__":
    sys.exit(main())
