"""Run the mining job in a process of its own, and kill or suspend it there: at a commit point or at any moment."""

import functools
import multiprocessing
import os
import random
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Self

import psutil

from openmulan import main as mulan
from pipeline import storage
from tests.pipeline.mining import mine

START_TIMEOUT_S = 120.0
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
# Of `mulan remove`, beside those of planning and building.
REMOVE_POINTS = ("suppression_written", "removed_listed", *COMMIT_POINTS[1:])
# Of `mulan prune`, after it has finished what was left of a removal.
PRUNE_POINTS = (
    "quiet_checked",
    "plan_quieted",
    "manifest_checked",
    "manifest_written",
    "pointer_checked",
    "pointer_written",
    "manifests_deleted",
    "sweep_listed",
)
AUDIOSET_POINTS = ("audioset_withdrawn",)

# A server that has imported the job once forks each child from a process without threads.
_processes = multiprocessing.get_context("forkserver")
_processes.set_forkserver_preload(["tests.pipeline.mining"])


def mine_and_die_at(point: str, catalogue: Path | str, output: Path | str, options: tuple[str, ...]) -> None:
    """Raises AssertionError where the job ends before it gets to the point."""
    child = _processes.Process(target=_die_at, args=(point, catalogue, output, options))
    child.start()
    child.join()
    assert child.exitcode == -signal.SIGKILL, f"the job did not get to {point}: exit code {child.exitcode}"


def mine_and_die_after(seconds: float, catalogue: Path | str, output: Path | str, options: tuple[str, ...]) -> bool:
    """Kill the job so many seconds after it started; whether it was still at work."""
    child = _processes.Process(target=mine, args=(catalogue, output, *options))
    child.start()
    time.sleep(seconds)
    child.kill()
    child.join()
    return child.exitcode == -signal.SIGKILL


def die_at(point: str, *command: str) -> None:
    """Run a command of `mulan`. Raises AssertionError where it ends before it gets to the point."""
    child = _processes.Process(target=_command_dies_at, args=(point, command))
    child.start()
    child.join()
    assert child.exitcode == -signal.SIGKILL, f"the job did not get to {point}: exit code {child.exitcode}"


def _command_dies_at(point: str, command: tuple[str, ...]) -> None:
    def die(name: str) -> None:
        if name == point:
            os.kill(os.getpid(), signal.SIGKILL)

    storage.on_commit_point = die
    mulan(list(command))


def _die_at(point: str, catalogue: Path | str, output: Path | str, options: tuple[str, ...]) -> None:
    def die(name: str) -> None:
        if name == point:
            os.kill(os.getpid(), signal.SIGKILL)

    storage.on_commit_point = die
    mine(catalogue, output, *options)


class Suspended:
    """A launcher that was suspended at a commit point, so that another may take its run folder. Ends with the body."""

    def __init__(
        self, point: str, catalogue: Path | str, output: Path | str, options: tuple[str, ...], said: Path
    ) -> None:
        self._start(point, functools.partial(mine, catalogue, output, *options), said)

    @classmethod
    def command(cls, point: str, command: tuple[str, ...], said: Path) -> Self:
        """Any command of `mulan` in the place of mine."""
        made = cls.__new__(cls)
        made._start(point, functools.partial(mulan, list(command)), said)
        return made

    def _start(self, point: str, work: Callable[[], int], said: Path) -> None:
        self._said = said
        self._child = _processes.Process(target=_stop_at, args=(point, work, said))
        self._child.start()
        assert self._child.pid is not None
        deadline = time.monotonic() + START_TIMEOUT_S
        while psutil.Process(self._child.pid).status() != psutil.STATUS_STOPPED:
            assert self._child.is_alive(), f"the job did not get to {point}: {said.read_text(encoding='utf-8')}"
            assert time.monotonic() < deadline, f"the job did not get to {point} in time"
            time.sleep(0.02)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._child.kill()
        self._child.join()

    def wake(self) -> tuple[int, str]:
        """Let it go on to its end: exit code and what it has said."""
        assert self._child.pid is not None
        os.kill(self._child.pid, signal.SIGCONT)
        self._child.join(START_TIMEOUT_S)
        assert self._child.exitcode is not None, "the woken job hangs"
        return self._child.exitcode, self._said.read_text(encoding="utf-8")


def _stop_at(point: str, work: Callable[[], int], said: Path) -> None:
    def stop(name: str) -> None:
        if name == point:
            storage.on_commit_point = storage.no_op
            os.kill(os.getpid(), signal.SIGSTOP)

    storage.on_commit_point = stop
    with said.open("w", encoding="utf-8", buffering=1) as stream:
        sys.stderr = stream
        code = work()
        stream.flush()
    # Not through multiprocessing's own end, which turns codes into others.
    os._exit(code)


def random_moments(seed: int, count: int, longest_s: float) -> list[float]:
    rng = random.Random(seed)
    return [rng.uniform(0.05, longest_s) for _ in range(count)]
