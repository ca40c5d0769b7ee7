"""Watch a job from its launcher: worker processes that died or hang, and recordings past their deadline.

Beam's local runner waits for ever for a worker that the kernel has killed. So the pipeline runs in a thread, while the
main thread looks after the workers and is free to take a signal. The job then ends rather than goes on: what is
committed is safe, and the same command resumes.
"""

import contextlib
import fcntl
import logging
import os
import shutil
import signal
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc

from pipeline.workers.faults import told_fault
from pipeline.workers.heartbeat import HEARTBEAT, Sign
from pipeline.workers.processes import state_of
from pipeline.workers.worker import GRACE_S, JOB_FOLDER, LOCK_NAME, POLL_S, SIGN_SUFFIX
from schemas.exits import fault

LOOK_EVERY_S = 1.0
# Without a beat for so long, while both it and the launcher were running, a worker hangs.
SILENT_S = 60.0
END_WITHIN_S = 5.0
HEAR_WITHIN_S = 2.0
# Threads of Beam: the first waits for one worker process, and raises when that fails; the others read from it.
WORKER_THREAD = "run_worker"
READER_THREADS = ("beam_control_read", "read_grpc_client_inputs")
READER_LOGGERS = ("grpc._server", "apache_beam.runners.worker.data_plane")
log = logging.getLogger(__name__)


class WorkerLostError(RuntimeError):
    """A worker died or hangs, so that the job cannot go on; the message says which recording it had in hand."""


@dataclass(kw_only=True)
class _Seen:
    """What was last seen of a worker's heartbeat."""

    sign: Sign
    silent_s: float = 0.0
    told_stopped: bool = False


class Watch:
    """Looks after the processes of one job. `folder` is where workers show their heartbeats; None without workers."""

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder
        self._seen: dict[int, _Seen] = {}
        self._looked = time.monotonic()
        self._died: list[str] = []  # how worker processes ended, as Beam says

    def look(self) -> None:
        """Raises WorkerLostError."""
        now = time.monotonic()
        # A launcher that was suspended has seen nothing meanwhile, and says nothing of it.
        passed_s = min(now - self._looked, 2 * LOOK_EVERY_S)
        self._looked = now
        self._raise_if_overdue(HEARTBEAT.sign())
        if self._folder is None:
            return
        signs = signs_in(self._folder)
        lost = [sign for sign in signs if not state_of(sign.pid).is_alive]
        # One that ended in peace has nothing in hand, and Beam does not complain of it.
        if self._died or any(sign.recording_id is not None for sign in lost):
            self._hear_how()
            raise WorkerLostError(_how_lost(self._died, lost))
        for sign in signs:
            if sign not in lost:
                self._raise_if_overdue(sign)
                self._raise_if_silent(sign, passed_s)

    def _hear_how(self) -> None:
        """A process is gone a moment before Beam, which waits for it, says how it went."""
        deadline = time.monotonic() + HEAR_WITHIN_S
        while not self._died and time.monotonic() < deadline:
            time.sleep(0.05)

    def _raise_if_overdue(self, sign: Sign) -> None:
        if sign.overdue:
            raise WorkerLostError(
                f"process {sign.pid} hangs: it has worked on recording {sign.recording_id!r} for {sign.used_s:.0f} s "
                f"({sign.limit_s:.0f} s are allowed)"
            )

    def _raise_if_silent(self, sign: Sign, passed_s: float) -> None:
        seen = self._seen.get(sign.pid)
        if seen is None or seen.sign.beats != sign.beats:
            self._seen[sign.pid] = _Seen(sign=sign)
            return
        if state_of(sign.pid).is_stopped:
            if not seen.told_stopped:
                log.warning("worker process %d is stopped; the job waits (kill -CONT %d)", sign.pid, sign.pid)
            seen.told_stopped = True
            return
        seen.silent_s += passed_s
        if seen.silent_s > SILENT_S:
            raise WorkerLostError(
                f"worker process {sign.pid} hangs: no sign of life for {seen.silent_s:.0f} s{_with(sign)}"
            )

    def run(self, body: Callable[[], None]) -> None:
        """Run `body` in a thread to its end, and raise what it raises.

        Raises WorkerLostError, and what a signal raises here; then the thread may never end, so the process has to end
        by `os._exit`.
        """
        failures: list[BaseException] = []
        done = threading.Event()

        def work() -> None:
            # What the thread starts has the same mask: Ctrl-C at the terminal is the launcher's alone.
            signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
            try:
                body()
            except BaseException as error:
                failures.append(error)
            finally:
                done.set()

        HEARTBEAT.go_on()
        with _hushed(self._expects):
            threading.Thread(target=work, daemon=True, name="pipeline").start()
            try:
                while not done.wait(LOOK_EVERY_S):
                    self.look()
            except WorkerLostError:
                # A job that failed has its workers ended by Beam: what it failed of says more than that they are gone.
                if done.wait(END_WITHIN_S) and failures and _tells(failures[0]):
                    raise failures[0] from None
                self._end(done)
                raise
            except BaseException:
                self._end(done)
                raise
        if failures:
            raise failures[0]

    def _end(self, done: threading.Event) -> None:
        """Nothing is begun and nothing committed any more; a recording in hand in this process may end in peace."""
        hush()
        HEARTBEAT.end()
        deadline = time.monotonic() + END_WITHIN_S
        while HEARTBEAT.sign().recording_id is not None and not HEARTBEAT.sign().overdue:
            if done.wait(0.05) or time.monotonic() > deadline:
                break

    def _expects(self, failure: Any) -> bool:
        """Hear of failing worker processes, of which Beam's thread tells nobody but the terminal."""
        name = failure.thread.name if failure.thread is not None else ""
        if name == WORKER_THREAD:
            self._died.append(str(failure.exc_value))
        return name == WORKER_THREAD or name in READER_THREADS


def signs_in(folder: Path) -> list[Sign]:
    """What the workers that share this folder say."""
    return [sign for path in sorted(folder.glob(f"*{SIGN_SUFFIX}")) if (sign := Sign.read(path)) is not None]


def _tells(failure: BaseException) -> bool:
    """Whether it says what of the machine failed."""
    return fault(failure) is not None or told_fault(failure) is not None


def readers_hushed() -> contextlib.AbstractContextManager[None]:
    """Threads that talk to an engine complain when it hangs up, which it does at the end of a good job as well; of a
    job that fails, the engine itself tells.
    """
    return _hushed(lambda failure: isinstance(failure.exc_value, grpc.RpcError))


@contextlib.contextmanager
def _hushed(expected: Callable[[Any], bool]) -> Iterator[None]:
    """Say nothing of a failing thread that is `expected` to fail, nor of what its readers miss then. After `hush` it
    stays quiet.
    """
    before = threading.excepthook

    def hear(failure: Any) -> None:
        if not expected(failure):
            before(failure)

    threading.excepthook = hear
    _hush_loggers(READER_LOGGERS)
    try:
        yield
    finally:
        if threading.excepthook is hear:
            threading.excepthook = before


def hush() -> None:
    """What threads and servers of a runner say from now on is of the job's end, which one line tells."""
    threading.excepthook = lambda failure: None
    _hush_loggers(("apache_beam", "apache_beam.runners.portability.local_job_service", "grpc"))


def _hush_loggers(names: Iterable[str]) -> None:
    for name in names:
        logging.getLogger(name).setLevel(logging.CRITICAL)


def _how_lost(died: list[str], lost: list[Sign]) -> str:
    with_work = [sign for sign in lost if sign.recording_id is not None]
    who = f"worker process {with_work[0].pid}" if with_work else "a worker process"
    how = died[0].rsplit(" ", 1)[-1] if died else ""
    code = int(how) if how.lstrip("-").isdigit() else 0
    number = -code if code < 0 else code - 128  # of a signal, as Python and as a shell tell it
    if number == signal.SIGKILL:
        how = "was killed by SIGKILL (out of memory?)"
    elif 0 < number < signal.NSIG:
        how = f"was killed by {signal.Signals(number).name}"
    else:
        how = f"left with exit code {code}" if code else "is gone"
    return f"{who} {how}{_with(with_work[0]) if with_work else ' with no recording in hand'}"


def _with(sign: Sign) -> str:
    return f" with recording {sign.recording_id!r} in hand" if sign.recording_id is not None else ""


@contextlib.contextmanager
def job_folder() -> Iterator[Path]:
    """A private folder that launcher and workers share. Its lock is held until the body, or this process, ends; every
    worker then ends too, and the last one deletes the folder if this process could not.
    """
    folder = Path(tempfile.mkdtemp(prefix="mulan-workers-"))
    try:
        with open(folder / LOCK_NAME, "wb") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield folder
    finally:
        _end_workers(folder)
        shutil.rmtree(folder, ignore_errors=True)


def _end_workers(folder: Path) -> None:
    """Workers that are still there (after an error or a signal) take the freed lock as the sign to end."""
    deadline = time.monotonic() + GRACE_S + 1
    while (left := _of_job(folder)) and time.monotonic() < deadline:
        time.sleep(POLL_S)
    for pid in left:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def _of_job(folder: Path) -> list[int]:
    """The processes that were started with this folder in their environment: workers, and what they started."""
    mark = f"{JOB_FOLDER}={folder}".encode()
    found = []
    for environment in Path("/proc").glob("[0-9]*/environ"):
        pid = int(environment.parent.name)
        with contextlib.suppress(OSError):
            if pid != os.getpid() and mark in environment.read_bytes().split(b"\0") and state_of(pid).is_alive:
                found.append(pid)
    return found
