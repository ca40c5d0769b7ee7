"""Run the mining job in a process of its own; kill or suspend it, or kill what it started, at a point or a moment.

`Ordeal` is one kill with all that must hold afterwards; `benchmarks/kills.py` goes through many of them.
"""

import collections
import contextlib
import ctypes
import dataclasses
import fcntl
import functools
import multiprocessing
import os
import random
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Self

import psutil

import pipeline.mine
from openmulan import main as mulan
from pipeline import storage
from pipeline.media import clip
from pipeline.run_folder import pieces
from pipeline.stores.store import MUTEX_NAME
from tests.pipeline.mining import manifest, mine, report, row, shard_hashes, write_catalogue

START_TIMEOUT_S = 120.0
COMMIT_POINTS = (
    "survey_written",
    "part_written",
    "part_published",
    "part_committed",
    "plan_parts_committed",
    "plan_checked",
    "plan_committed",
    "piece_checked",
    "piece_published",
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
REMOVE_POINTS = (
    *("suppression_written", "removed_listed"),
    *(point for point in COMMIT_POINTS[1:] if not point.startswith("piece_")),
)
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
# Of a job that finds the plan of a dry run.
DRY_RUN_POINTS = ("dry_run_checked", "dry_run_settled")
AUDIOSET_POINTS = ("audioset_withdrawn",)
# Of a job with --fingerprint, once its shards are there.
FINGERPRINT_POINTS = ("fingerprints_published", "fingerprints_checked", "fingerprints_joined")

# A server that has imported the job once forks each child from a process without threads.
_processes = multiprocessing.get_context("forkserver")
_processes.set_forkserver_preload(
    [
        *("tests.pipeline.mining", "pipeline.mine", "pipeline.run_folder.prune", "pipeline.runner"),
        # What a job loads only when it gets there.
        *("apache_beam.runners.portability.fn_api_runner.fn_runner", "filters.music.builtin.detector"),
        *("pyarrow.dataset", "schemas.formats.parquet"),
    ]
)


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


def mine_counted(
    catalogue: Path | str, output: Path | str, options: tuple[str, ...], counts: Path, **changes: Any
) -> int | None:
    """Mine in a process of its own that adds a line to `counts` for each request to the decode helper; the exit code.

    `changes`: `lost_s` in place of that of pieces, and `number`, the signal that it sends itself when the line `at` is
    written, with the recording in hand.
    """
    child = _processes.Process(target=_mine_counted, args=(catalogue, output, options, counts), kwargs=changes)
    child.start()
    child.join()
    return child.exitcode


def _mine_counted(
    catalogue: Path | str,
    output: Path | str,
    options: tuple[str, ...],
    counts: Path,
    *,
    lost_s: float = pieces.LOST_S,
    number: signal.Signals | None = None,
    at: int = 0,
) -> None:
    ask = clip._Helper.ask

    def count(helper: clip._Helper, *request: Any) -> Any:
        with counts.open("a", encoding="ascii") as lines:
            lines.write("asked\n")
        if number is not None and len(counts.read_bytes().splitlines()) == at:
            os.kill(os.getpid(), number)
        return ask(helper, *request)

    clip._Helper.ask = count  # type: ignore[method-assign, assignment]
    pieces.LOST_S = lost_s
    sys.exit(mine(catalogue, output, *options))


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
    pieces.LOST_S = 0.0
    mine(catalogue, output, *options)


class Suspended:
    """A launcher that was suspended at a commit point, so that another may take its run folder. Ends with the body."""

    def __init__(
        self, point: str, catalogue: Path | str, output: Path | str, options: tuple[str, ...], said: Path
    ) -> None:
        self._start(point, functools.partial(mine, catalogue, output, *options), output, said)

    @classmethod
    def command(cls, point: str, command: tuple[str, ...], said: Path) -> Self:
        """Any command of `mulan` on a run folder in the place of mine."""
        made = cls.__new__(cls)
        made._start(point, functools.partial(mulan, list(command)), command[1], said)
        return made

    def _start(self, point: str, work: Callable[[], int], output: Path | str, said: Path) -> None:
        self._said = said
        self._there, self._go_on = _processes.Event(), _processes.Event()
        self._child = _processes.Process(target=_wait_at, args=(point, work, said, self._there, self._go_on))
        self._child.start()
        assert self._child.pid is not None
        deadline = time.monotonic() + START_TIMEOUT_S
        while not self._there.wait(0.05):
            assert self._child.is_alive(), f"the job did not get to {point}: {said.read_text(encoding='utf-8')}"
            assert time.monotonic() < deadline, f"the job did not get to {point} in time"
        while True:
            os.kill(self._child.pid, signal.SIGSTOP)
            while psutil.Process(self._child.pid).status() != psutil.STATUS_STOPPED:
                time.sleep(0.001)
            if _is_free(Path(output) / MUTEX_NAME):
                return
            os.kill(self._child.pid, signal.SIGCONT)  # it was about to renew its lease
            time.sleep(0.005)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._child.kill()
        self._child.join()

    def wake(self) -> tuple[int, str]:
        """Let it go on to its end: exit code and what it has said."""
        assert self._child.pid is not None
        os.kill(self._child.pid, signal.SIGCONT)
        self._go_on.set()  # which waits until the child has heard it
        self._child.join(START_TIMEOUT_S)
        assert self._child.exitcode is not None, "the woken job hangs"
        return self._child.exitcode, self._said.read_text(encoding="utf-8")


def _wait_at(point: str, work: Callable[[], int], said: Path, there: Any, go_on: Any) -> None:
    def wait(name: str) -> None:
        if name == point:
            storage.on_commit_point = storage.no_op
            there.set()
            go_on.wait()

    storage.on_commit_point = wait
    pieces.LOST_S = 0.0
    with said.open("w", encoding="utf-8", buffering=1) as stream:
        sys.stderr = stream
        code = work()
        stream.flush()
    # Not through multiprocessing's own end, which turns codes into others.
    os._exit(code)


def _is_free(mutex: Path) -> bool:
    """Whether nobody holds it; an object store has none."""
    if not mutex.exists():
        return True
    with mutex.open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
    return True


def random_moments(seed: int, count: int, longest_s: float) -> list[float]:
    rng = random.Random(seed)
    return [rng.uniform(0.05, longest_s) for _ in range(count)]


class Target(StrEnum):
    """Whom a kill hits."""

    LAUNCHER = "launcher"
    WORKER = "worker"
    HELPER = "helper"


class Phase(StrEnum):
    """When it hits."""

    PLAN = "plan"
    BUILD = "build"
    FINISH = "finish"


# What a command line has of the processes that a job starts.
MARKS = {Target.WORKER: "sdk_worker_main", Target.HELPER: "pipeline.media.helper"}
# The commit point after which a phase has begun.
BEGINS = {Phase.BUILD: "plan_committed", Phase.FINISH: "groups_published"}
# A job hangs that uses next to no CPU for a minute: time alone says nothing on a machine that others use as well.
HANG_S, HANG_CPU_S, LONGEST_S = 60.0, 1.0, 600.0
LEAVE_WITHIN_S = 10.0
RESUMES = 3
MISSES = 6
OPTIONS = ("--rows_per_shard=3", "--max_failure_rate=0.5")


@dataclass(frozen=True, kw_only=True)
class Kill:
    """One kill: of the launcher at a `point`, the so-manieth time that it comes there; or of anyone at a moment, which
    is a `share` of the phase's usual length."""

    target: Target
    phase: Phase
    workers: int
    grown: bool  # the run has a generation already, of which a recording is gone and another one new
    point: str | None = None
    occurrence: int = 1
    share: float = 0.0

    @property
    def way(self) -> tuple[int, bool]:
        """Jobs of one way take about the same time: the number of workers, and whether they also plan, which a small
        catalogue is not worth."""
        return self.workers, self.workers > 1 and self.phase is Phase.PLAN


def draw_kills(count: int, seed: int) -> list[Kill]:
    """Launcher, worker and helper in turn, each in the phases in which it is there; points and moments by the seed."""
    rng = random.Random(seed)
    kills = []
    last = COMMIT_POINTS.index("plan_committed") + 1, COMMIT_POINTS.index("shard_committed") + 1
    points = {
        Phase.PLAN: COMMIT_POINTS[: last[0]],
        Phase.BUILD: COMMIT_POINTS[last[0] : last[1]],
        Phase.FINISH: COMMIT_POINTS[last[1] :],
    }
    phases = {
        Target.LAUNCHER: tuple(Phase),
        Target.WORKER: (Phase.BUILD, Phase.PLAN),
        Target.HELPER: (Phase.BUILD,),
    }
    for number in range(count):
        target = tuple(Target)[number % len(Target)]
        turn = number // len(Target)
        phase = phases[target][turn % len(phases[target])]
        share, point = rng.uniform(0.02, 0.9), rng.choice(points[phase])
        at_point = target is Target.LAUNCHER and (phase is Phase.FINISH or turn % 2 == 0)
        kills.append(
            Kill(
                target=target,
                phase=phase,
                # Commit points of a worker process are not seen, so a launcher that dies at one works alone.
                workers=2 if target is Target.WORKER or (target is Target.LAUNCHER and not at_point) else 1,
                grown=rng.random() < 0.5,
                point=point if at_point else None,
                occurrence=rng.choice((1, 2)) if point.startswith(("part_", "piece_", "shard_")) else 1,
                share=share,
            )
        )
    return kills


class Job:
    """The mining job at work, with its commit points as it reaches them."""

    def __init__(self, catalogue: Path, output: Path, folder: Path, kill: Kill, *, die: bool = False) -> None:
        receive, send = multiprocessing.Pipe(duplex=False)
        options = (*OPTIONS, "--on_removed=tombstone", f"--direct_num_workers={kill.workers}")
        where = (kill.point, kill.occurrence) if die else None
        arguments = (send, catalogue, output, folder, options, kill.way[1], where)
        self.process = _processes.Process(target=_work, args=arguments)
        self.process.start()
        send.close()
        self.started = time.monotonic()
        self.events: list[tuple[str, float]] = []  # commit points, with the seconds since the start
        threading.Thread(target=self._listen, args=(receive,), daemon=True).start()

    def _listen(self, receive: Connection) -> None:
        with contextlib.suppress(EOFError, OSError):
            while True:
                self.events.append((receive.recv(), time.monotonic() - self.started))

    @property
    def phase(self) -> Phase:
        reached = {name for name, _ in self.events}
        return next((phase for phase in (Phase.FINISH, Phase.BUILD) if BEGINS[phase] in reached), Phase.PLAN)

    def is_at_work(self) -> bool:
        return self.process.is_alive()

    def processes(self, target: Target) -> list[psutil.Process]:
        """Those of the job that a kill of this kind can hit."""
        if target is Target.LAUNCHER:
            return [psutil.Process(self.process.pid)] if self.is_at_work() else []
        found = []
        with contextlib.suppress(psutil.Error):
            for process in psutil.Process(self.process.pid).children(recursive=True):
                with contextlib.suppress(psutil.Error):
                    command = process.cmdline()
                    if "python" in process.name() and any(MARKS[target] in word for word in command):
                        found.append(process)
        return found

    def end(self) -> int | None:
        """The exit code; None where the job hangs, and is killed."""
        looked, used = time.monotonic(), self._cpu_s()
        while self.process.exitcode is None and time.monotonic() - self.started < LONGEST_S:
            self.process.join(1.0)
            if (now := self._cpu_s()) > used + HANG_CPU_S:
                looked, used = time.monotonic(), now
            elif time.monotonic() - looked > HANG_S:
                break
        code = self.process.exitcode
        if code is None:
            for process in self._family():
                with contextlib.suppress(psutil.Error):
                    process.kill()
            self.process.join()
        return code

    def _family(self) -> list[psutil.Process]:
        with contextlib.suppress(psutil.Error):
            launcher = psutil.Process(self.process.pid)
            return [launcher, *launcher.children(recursive=True)]
        return []

    def _cpu_s(self) -> float:
        """Of all that the job has started and that is there."""
        total = 0.0
        for process in self._family():
            with contextlib.suppress(psutil.Error):
                times = process.cpu_times()
                total += times.user + times.system + times.children_user + times.children_system
        return total


def _work(
    events: Connection,
    catalogue: Path,
    output: Path,
    folder: Path,
    options: tuple[str, ...],
    workers_plan: bool,
    die_at: tuple[str, int] | None,
) -> None:
    os.environ["TMPDIR"] = str(folder / "tmp")
    tempfile.tempdir = None
    log = os.open(folder / "job.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for stream in (1, 2):
        os.dup2(log, stream)
    times: collections.Counter[str] = collections.Counter()
    lock = threading.Lock()

    def tell(name: str) -> None:
        with lock:
            times[name] += 1
            if (name, times[name]) == die_at:
                os.kill(os.getpid(), signal.SIGKILL)
            events.send(name)

    storage.on_commit_point = tell
    pieces.LOST_S = 0.0
    if workers_plan:
        pipeline.mine.SMALL_BYTES = 0
    sys.exit(mine(catalogue, output, *options))


@dataclass(frozen=True, kw_only=True)
class Undisturbed:
    """What a run comes to that nothing disturbs, and the seconds of each phase, by the way in which it is mined."""

    output: Path
    seconds: dict[tuple[int, bool], dict[Phase, float]]


@dataclass(kw_only=True)
class Result:
    """What became of one kill. `wrong` is empty where all held."""

    kill: Kill
    phase: Phase | None = None  # None: the job ended first
    codes: list[int | None] = field(default_factory=list)
    seconds: float = 0.0
    wrong: list[str] = field(default_factory=list)


class Ordeal:
    """A corpus, its undisturbed runs, and kills of the same job. In `folder`, which it leaves to its owner."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        rows = [row(number) for number in range(12)]
        missing = row(40, audio_uri="audio/nothing.ogg")
        self._catalogues = {
            False: write_catalogue(folder, [*rows[:10], missing], "first.jsonl"),
            True: write_catalogue(folder, [*rows[1:], missing], "grown.jsonl"),
        }
        self._first = folder / "first"
        self._undisturbed: dict[bool, Undisturbed] = {}
        self._number = 0

    def undisturbed(self, kill: Kill) -> Undisturbed:
        """Mined once in each way."""
        if kill.grown and not self._first.exists():
            shutil.copytree(self.undisturbed(dataclasses.replace(kill, grown=False)).output, self._first)
        known = self._undisturbed.get(kill.grown)
        if known is not None and kill.way in known.seconds:
            return known
        self._number += 1
        output = self._output(kill.grown, f"undisturbed-{self._number}")
        job = Job(self._catalogues[kill.grown], output, self._workplace(), kill)
        assert job.end() == 0, self._said()
        reached = dict(reversed(job.events))  # the first time
        planned, built, end = (*(reached[BEGINS[phase]] for phase in BEGINS), time.monotonic() - job.started)
        if known is None:
            known = self._undisturbed[kill.grown] = Undisturbed(output=output, seconds={})
        known.seconds[kill.way] = {
            Phase.PLAN: planned,
            Phase.BUILD: built - planned,
            Phase.FINISH: max(end - built, 0.1),
        }
        return known

    def _output(self, grown: bool, name: str) -> Path:
        output = self._folder / name
        if grown:
            shutil.copytree(self._first, output)
        return output

    def _workplace(self) -> Path:
        (self._folder / "tmp").mkdir(exist_ok=True)
        return self._folder

    def go_through(self, kill: Kill) -> Result:
        """The kill, the same command until it ends, and what must hold then. A moment too late is made earlier."""
        share = kill.share
        for _ in range(MISSES):
            result = self._try(kill, share)
            if result.phase is not None or result.wrong:
                return result
            share *= 0.6
        result.wrong.append(f"{kill} was not hit in {MISSES} tries")
        return result

    def _try(self, kill: Kill, share: float) -> Result:
        expected = self.undisturbed(kill)
        self._number += 1
        output = self._output(kill.grown, f"run-{self._number}")
        result = Result(kill=kill)
        start = time.monotonic()
        with adopting_orphans() as left_processes:
            job = Job(self._catalogues[kill.grown], output, self._workplace(), kill, die=kill.point is not None)
            if kill.point is None:
                result.phase = _kill_at_moment(job, kill, share * expected.seconds[kill.way][kill.phase])
            result.codes.append(job.end())
            if kill.point is not None and result.codes == [-signal.SIGKILL]:
                result.phase = kill.phase
            while result.codes[-1] not in (0, None) and len(result.codes) <= RESUMES:
                result.wrong += left_processes()
                job = Job(self._catalogues[kill.grown], output, self._workplace(), kill)
                result.codes.append(job.end())
            result.wrong += left_processes()
        result.seconds = time.monotonic() - start
        if result.codes[-1] != 0:
            how = "hangs" if result.codes[-1] is None else "does not end"
            result.wrong.append(f"the job {how}: {result.codes}\n{self._said()}")
        if result.phase is None and not result.wrong:
            shutil.rmtree(output)
            return result
        result.wrong += self._differences(output, expected.output)
        if not result.wrong:
            shutil.rmtree(output)
        return result

    def _said(self) -> str:
        lines = (self._folder / "job.log").read_text(encoding="utf-8", errors="replace").splitlines()
        return "\n".join(lines[-20:])

    def _differences(self, output: Path, expected: Path) -> list[str]:
        wrong = []
        try:
            assert_same(output, expected)
        except (AssertionError, OSError) as error:
            wrong.append(f"{output}: {error}")
        if left := sorted(path.name for path in (self._folder / "tmp").iterdir()):
            wrong.append(f"temporary files are left: {left}")
        return wrong


def _kill_at_moment(job: Job, kill: Kill, seconds: float) -> Phase | None:
    """Kill so long after the phase has begun; the phase that was hit, None where the target was gone by then."""
    while kill.phase in BEGINS and job.phase is not kill.phase and job.is_at_work():
        time.sleep(0.002)
    time.sleep(seconds)
    while job.is_at_work() and job.phase is kill.phase:
        for process in job.processes(kill.target):
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
                return kill.phase
        time.sleep(0.005)  # it may not have been started yet
    return None


@contextlib.contextmanager
def adopting_orphans() -> Iterator["LeftProcesses"]:
    """What is started in the body and loses its parent becomes this process's own child, so that it can be found."""
    libc = ctypes.CDLL(None, use_errno=True)
    PR_SET_CHILD_SUBREAPER = 36
    _processes.Process(target=int).start()  # the server of processes is there before the body
    libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    left = LeftProcesses()
    try:
        yield left
    finally:
        left.end()
        libc.prctl(PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0)


class LeftProcesses:
    """Says which processes are still there that were not at first; those that are on their way out are waited for."""

    def __init__(self) -> None:
        self._before = {process.pid for process in psutil.Process().children(recursive=True)}

    def __call__(self) -> list[str]:
        deadline = time.monotonic() + LEAVE_WITHIN_S
        while (left := self._new()) and time.monotonic() < deadline:
            time.sleep(0.05)
        return [f"process {process.pid} is left: {_command(process)}" for process in left]

    def end(self) -> None:
        for process in self._new():
            with contextlib.suppress(psutil.Error):
                process.kill()

    def _new(self) -> list[psutil.Process]:
        found = []
        for process in psutil.Process().children(recursive=True):
            if process.pid in self._before:
                continue
            with contextlib.suppress(psutil.Error):
                if process.status() != psutil.STATUS_ZOMBIE:
                    found.append(process)
                elif process.ppid() == os.getpid():
                    with contextlib.suppress(ChildProcessError):
                        os.waitpid(process.pid, os.WNOHANG)
        return found


def _command(process: psutil.Process) -> str:
    with contextlib.suppress(psutil.Error):
        return " ".join(process.cmdline())[:200]
    return "?"


def assert_same(output: Path, undisturbed: Path) -> None:
    """The same bytes, nothing lost or doubled, nothing left."""
    assert shard_hashes(output) == shard_hashes(undisturbed)
    assert manifest(output) == manifest(undisturbed)
    recordings = report(output)["recordings"]
    assert recordings == report(undisturbed)["recordings"]
    left_out = sum(sum(counts.values()) for counts in recordings.values() if isinstance(counts, dict))
    assert recordings["read"] == recordings["kept"] + left_out
    assert recordings["pending"] == 0
    for folder in ("shards", "rejects", "fingerprints"):
        assert _names(output, folder) == _names(undisturbed, folder)
    for folder in ("pieces", "tmp"):
        assert _names(output, folder) == set()


def _names(output: Path, folder: str) -> set[str]:
    return {path.name for path in (output / folder).iterdir()} if (output / folder).exists() else set()
