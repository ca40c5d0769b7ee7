"""The mining job as a user starts it, in processes of its own that tests then kill, stop and count."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil

from pipeline import storage
from pipeline.workers.heartbeat import Sign

ROOT = Path(__file__).resolve().parents[2]
PATIENCE_S = 120.0  # machines that run tests are busy; nothing here takes long by itself


def wait_until(what: Callable[[], Any], said: str) -> Any:
    """What `what` comes to once it is true."""
    deadline = time.monotonic() + PATIENCE_S
    while not (found := what()):
        assert time.monotonic() < deadline, said
        time.sleep(0.02)
    return found


class Job:
    """`mulan mine`, running; `folder` is its place for temporary files and for what it says."""

    def __init__(self, folder: Path, catalogue: Path, output: Path, *options: str, **environment: str) -> None:
        self.tmp = folder / "tmp"
        self.tmp.mkdir(exist_ok=True)
        self._log = folder / "job.log"
        command = [
            *(sys.executable, str(ROOT / "beam_runner.py"), "--catalog", str(catalogue), "--output", str(output)),
            *("--tokenizer", "none", "--quiet", "--rows_per_shard", "2", *options),
        ]
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**os.environ, "TMPDIR": str(self.tmp), **environment},
                start_new_session=True,
                # Who runs the tests in the background may have it ignored, which children take over.
                preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
            )
        self._family: dict[int, psutil.Process] = {}

    def signs(self) -> list[Sign]:
        """Of the worker processes, as far as they have begun."""
        files = storage.find(f"{self.tmp}/**/*.beat")
        return [sign for file in files if (sign := Sign.read(Path(file.path))) is not None]

    def worker_with(self, recording_id: str) -> int:
        """The worker process that has the recording in hand, once one has."""

        def found() -> int | None:
            assert self.process.poll() is None, self.said()
            return next((sign.pid for sign in self.signs() if sign.recording_id == recording_id), None)

        worker: int = wait_until(found, "no worker took the recording")
        return worker

    def family(self) -> dict[int, psutil.Process]:
        """All processes that the job has at this moment or had at an earlier call, besides the launcher."""
        with contextlib.suppress(psutil.NoSuchProcess):
            children = psutil.Process(self.process.pid).children(recursive=True)
            self._family.update({child.pid: child for child in children})
        return self._family

    def said(self) -> str:
        return self._log.read_text(encoding="utf-8", errors="replace")

    def said_lines(self) -> list[str]:
        """What it said, without Beam's greetings, what the shell tells of a killed worker, and that nothing filters."""
        greetings = ("INFO:", "WARNING:root:apitools")
        lines = [line for line in self.said().splitlines() if "no --lf_model: " not in line]
        return [line for line in lines if line != "Killed" and not line.startswith(greetings)]

    def end(self) -> int:
        """Its exit code."""
        return self.process.wait(PATIENCE_S)

    def assert_nothing_left(self) -> None:
        """No process of it, and none of its own temporary folders."""
        wait_until(lambda: not [one for one in self._family.values() if lives(one)], f"still there: {self._family}")
        wait_until(lambda: not storage.find_folders(f"{self.tmp}/**/mulan-workers-*"), "its temporary folder is left")


def lives(process: psutil.Process) -> bool:
    """And is no zombie, which only waits to be asked for its exit code."""
    with contextlib.suppress(psutil.NoSuchProcess):
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    return False


def hook(folder: Path, code: str) -> dict[str, str]:
    """Python runs this in the launcher and in each worker at its start."""
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(code, encoding="utf-8")
    return {"PYTHONPATH": str(folder)}


@contextlib.contextmanager
def running(folder: Path, catalogue: Path, output: Path, *options: str, **environment: str) -> Iterator[Job]:
    """A job that does not outlive the body."""
    job = Job(folder, catalogue, output, *options, **environment)
    try:
        yield job
    finally:
        family = job.family()
        with contextlib.suppress(ProcessLookupError):
            job.process.kill()
        job.process.wait()
        for one in family.values():
            if lives(one):
                with contextlib.suppress(psutil.NoSuchProcess):
                    one.kill()
