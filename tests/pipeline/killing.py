"""Run the mining job in a process of its own, and kill it there: at a named commit point, or at any moment."""

import multiprocessing
import os
import random
import signal
import time
from pathlib import Path

from pipeline import storage
from tests.pipeline.mining import mine

COMMIT_POINTS = (
    "survey_written",
    "part_written",
    "part_published",
    "part_committed",
    "plan_parts_committed",
    "plan_checked",
    "plan_committed",
    "shard_written",
    "rejects_published",
    "shard_published",
    "shard_checked",
    "shard_committed",
    "groups_published",
    "manifest_checked",
    "manifest_written",
    "pointer_checked",
    "pointer_written",
    "sweep_listed",
)

# A server that has imported the job once forks each child from a process without threads.
_processes = multiprocessing.get_context("forkserver")
_processes.set_forkserver_preload(["tests.pipeline.mining"])


def mine_and_die_at(point: str, catalogue: Path, output: Path, options: tuple[str, ...]) -> None:
    """Raises AssertionError where the job ends before it gets to the point."""
    child = _processes.Process(target=_die_at, args=(point, catalogue, output, options))
    child.start()
    child.join()
    assert child.exitcode == -signal.SIGKILL, f"the job did not get to {point}: exit code {child.exitcode}"


def mine_and_die_after(seconds: float, catalogue: Path, output: Path, options: tuple[str, ...]) -> bool:
    """Kill the job so many seconds after it started; whether it was still at work."""
    child = _processes.Process(target=mine, args=(catalogue, output, *options))
    child.start()
    time.sleep(seconds)
    child.kill()
    child.join()
    return child.exitcode == -signal.SIGKILL


def _die_at(point: str, catalogue: Path, output: Path, options: tuple[str, ...]) -> None:
    def die(name: str) -> None:
        if name == point:
            os.kill(os.getpid(), signal.SIGKILL)

    storage.on_commit_point = die
    mine(catalogue, output, *options)


def random_moments(seed: int, count: int, longest_s: float) -> list[float]:
    rng = random.Random(seed)
    return [rng.uniform(0.05, longest_s) for _ in range(count)]
