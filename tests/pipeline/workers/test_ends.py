"""A job that cannot go on ends, one that is told to end does, and neither leaves anything behind.

Real processes and real signals. One recording lies on a server that does not answer until the test lets it, so that a
test knows what a worker has in hand.
"""

import contextlib
import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from pipeline import storage
from tests.pipeline.jobs import Job, hook, running, wait_until
from tests.pipeline.mining import mine, report, row, shard_hashes, write_catalogue
from tests.pipeline.misbehaving import Misbehaving

pytestmark = pytest.mark.slow

HELD = "/held"
IN_HAND = "rec-009"
TWO_WORKERS = ("--direct_num_workers", "2")


class Corpus:
    """A few recordings on disk and one on the server."""

    def __init__(self, folder: Path, server: Misbehaving, gate: threading.Event) -> None:
        self.gate = gate
        rows = [row(number) for number in range(5)]
        write_catalogue(folder, [*rows, row(9)])
        server.files[HELD] = (folder / "audio" / "009.flac").read_bytes()
        self.catalogue = write_catalogue(folder, [*rows, row(9, audio_uri=server.url(HELD))])
        self.options = ("--allow_private_hosts", server.host_and_port)
        self.server = server


@pytest.fixture
def corpus(tmp_path: Path) -> Iterator[Corpus]:
    gate = threading.Event()
    with Misbehaving() as server:
        server.before = lambda path: (gate.wait(300), None)[1]
        yield Corpus(tmp_path, server, gate)
        gate.set()


@contextlib.contextmanager
def with_held_recording(corpus: Corpus, output: Path, *options: str, **environment: str) -> Iterator[Job]:
    """A job that has the held recording in hand, and has settled what else there is to do beside it."""
    with running(output.parent, corpus.catalogue, output, *corpus.options, *options, **environment) as job:
        wait_until(lambda: corpus.server.requests[HELD], f"the recording was not asked for:\n{job.said()}")
        if TWO_WORKERS[0] in options:
            wait_until(lambda: len(job.signs()) == 2, "there are not two workers")
        job.family()
        yield job


def assert_resumes(corpus: Corpus, output: Path) -> None:
    corpus.gate.set()
    for folder in (output, output.with_name("undisturbed")):
        assert mine(corpus.catalogue, folder, "--rows_per_shard=2", *corpus.options) == 0
        assert report(folder)["recordings"]["kept"] == 6
    assert shard_hashes(output) == shard_hashes(output.with_name("undisturbed"))


def test_a_killed_worker_ends_the_job_with_its_recording_s_name(corpus: Corpus, tmp_path: Path) -> None:
    with with_held_recording(corpus, tmp_path / "run", *TWO_WORKERS) as job:
        worker = job.worker_with(IN_HAND)
        os.kill(worker, signal.SIGKILL)
        start = time.monotonic()
        assert job.end() == 3
        assert time.monotonic() - start < 10
        assert job.said_lines() == [
            f"mulan mine: worker process {worker} was killed by SIGKILL (out of memory?) with recording '{IN_HAND}' in "
            "hand; what is committed is safe, run the same command to go on"
        ]
        job.assert_nothing_left()
    assert_resumes(corpus, tmp_path / "run")


@pytest.mark.parametrize(
    ("number", "options", "to_all"),
    [
        (signal.SIGTERM, (), False),
        (signal.SIGINT, (), False),
        # As a terminal and a service manager do, to each process of the group.
        (signal.SIGINT, TWO_WORKERS, True),
        (signal.SIGTERM, TWO_WORKERS, True),
    ],
)
def test_a_signal_ends_the_job_in_order(
    corpus: Corpus, tmp_path: Path, number: signal.Signals, options: tuple[str, ...], to_all: bool
) -> None:
    with with_held_recording(corpus, tmp_path / "run", *options) as job:
        (os.killpg if to_all else os.kill)(job.process.pid, number)
        assert job.end() == 3
        assert job.said_lines() == ["mulan mine: interrupted; what is committed is safe, run the same command to go on"]
        job.assert_nothing_left()


SLOW_TO_END = """
import os, time
if "MULAN_JOB_FOLDER" in os.environ:
    from pipeline.workers import worker
    end = worker.HEARTBEAT.end
    worker.HEARTBEAT.end = lambda grace_s: (time.sleep(1.5), end(grace_s))
"""


def test_a_killed_launcher_takes_its_workers_and_decoders_with_it(corpus: Corpus, tmp_path: Path) -> None:
    """However busy the machine is: Beam's own thread ends by itself half a second after the launcher."""
    environment = hook(tmp_path / "hook", SLOW_TO_END)
    with with_held_recording(corpus, tmp_path / "run", *TWO_WORKERS, **environment) as job:
        wait_until(lambda: len(decoders(job)) >= 1, "no decoder was started")
        os.kill(job.process.pid, signal.SIGKILL)
        assert job.end() == -signal.SIGKILL
        job.assert_nothing_left()


def decoders(job: Job) -> list[psutil.Process]:
    found = []
    for one in list(job.family().values()):
        with contextlib.suppress(psutil.NoSuchProcess):
            if "media.helper" in " ".join(one.cmdline()):
                found.append(one)
    return found


IMPATIENT = "import pipeline.workers.watch\npipeline.workers.watch.SILENT_S = 4.0\n"


def test_a_worker_that_hangs_shows_no_heartbeat(corpus: Corpus, tmp_path: Path) -> None:
    """Its interpreter stands still in a library that never comes back, and so do all its threads."""
    code = "import ctypes, pipeline.media.encode as media\nmedia.encode = lambda *_: ctypes.PyDLL(None).sleep(600)\n"
    environment = hook(tmp_path / "hook", IMPATIENT + code)
    with running(tmp_path, corpus.catalogue, tmp_path / "run", *corpus.options, *TWO_WORKERS, **environment) as job:
        wait_until(lambda: job.family() and any(sign.recording_id for sign in job.signs()), "nothing was taken")
        assert job.end() == 3
        (line,) = job.said_lines()
        assert "hangs: no sign of life for" in line
        assert "with recording 'rec-0" in line
        job.assert_nothing_left()


def test_a_worker_that_is_stopped_is_waited_for(corpus: Corpus, tmp_path: Path) -> None:
    environment = hook(tmp_path / "hook", IMPATIENT)
    with with_held_recording(corpus, tmp_path / "run", *TWO_WORKERS, **environment) as job:
        worker = job.worker_with(IN_HAND)
        os.kill(worker, signal.SIGSTOP)
        said = f"worker process {worker} is stopped; the job waits (kill -CONT {worker})"
        wait_until(lambda: said in job.said(), "nobody noticed")
        time.sleep(8)  # twice as long as one may be silent
        assert job.process.poll() is None
        os.kill(worker, signal.SIGCONT)
        corpus.gate.set()
        assert job.end() == 0
    assert report(tmp_path / "run")["recordings"]["kept"] == 6


SLOW = (
    "import time, pipeline.build as build\n"
    "def slow(*of, made=build.encode):\n"
    "    until = time.monotonic() + {seconds}\n"
    "    while time.monotonic() < until: time.sleep(0.1)\n"
    "    return made(*of)\n"
    "build.encode = slow\n"
    "build.ClipMaker.longest_s = lambda self, uri: {limit_s}\n"
)


def one_recording(folder: Path, seconds: float, limit_s: float) -> tuple[Path, dict[str, str]]:
    code = SLOW.format(seconds=seconds, limit_s=limit_s)
    return write_catalogue(folder, [row(0)]), hook(folder / "hook", code)


def test_a_recording_past_its_deadline_ends_the_job(tmp_path: Path) -> None:
    catalogue, environment = one_recording(tmp_path, seconds=600, limit_s=3)
    with running(tmp_path, catalogue, tmp_path / "run", **environment) as job:
        job.family()
        assert job.end() == 3
        (line,) = job.said_lines()
        assert f"process {job.process.pid} hangs: it has worked on recording 'rec-000' for" in line
        assert "(3 s are allowed)" in line


def test_a_recording_just_under_its_deadline_goes_on_whatever_the_time_it_was_suspended(tmp_path: Path) -> None:
    catalogue, environment = one_recording(tmp_path, seconds=12, limit_s=10)
    with running(tmp_path, catalogue, tmp_path / "run", **environment) as job:
        wait_until(lambda: storage.find(f"{tmp_path}/run/plans/*/plan.json"), "there is no plan")
        wait_until(lambda: len(decoders(job)) == 1, "nothing is decoded")
        time.sleep(2)
        os.kill(job.process.pid, signal.SIGSTOP)
        time.sleep(14)
        os.kill(job.process.pid, signal.SIGCONT)
        assert job.end() == 0, job.said()
    assert report(tmp_path / "run")["recordings"]["kept"] == 1
