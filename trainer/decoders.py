"""Those who decode: a thread each, with a worker process of its own where there are workers.

A thread takes clips as they are read (`trainer.audio`), puts them into the memory that it shares with its worker, and
takes the windows from there; it fills one slot of that memory while the worker decodes from the other. The memory is
anonymous (`memfd_create`), so it does not depend on how large `/dev/shm` is; where it cannot be had at the start, the
threads decode themselves, since libsndfile does not hold the interpreter's lock. What is decoded is the same.
"""

import json
import logging
import mmap
import os
import subprocess
import sys
import tempfile
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from queue import Empty, SimpleQueue
from threading import Thread

import numpy as np
from numpy.typing import NDArray

from schemas.run import RunError
from trainer.audio import Clip
from trainer.data import Place
from trainer.windows import Layout, Window, arguments, decode_window, request

log = logging.getLogger(__name__)

DECODED_TOGETHER = 8  # windows
_SLOTS = 2
_LEAST_CLIP_BYTES = 1 << 20  # room for a clip; one of 30 s has less, whatever it holds
_BOOTSTRAP = "import sys; sys.path.insert(0, sys.argv[1]); from trainer.windows import serve; serve(*sys.argv[2:])"

Reasons = list[str | None]  # for each window why it cannot be decoded, or None


@dataclass(frozen=True, kw_only=True)
class _Job:
    places: Sequence[Place]
    windows: Sequence[Window]
    wave_NS: NDArray[np.int16]
    reasons: "Future[Reasons]" = field(default_factory=Future)


class Decoders:
    """`submit` windows; they are decoded in no particular order. `workers` 0 is one thread of this process."""

    def __init__(
        self, take: Callable[[Place], Clip], *, workers: int, window_samples: int, mean_clip_bytes: int
    ) -> None:
        self._take = take
        self._jobs: SimpleQueue[_Job | None] = SimpleQueue()
        clip_bytes = max(_LEAST_CLIP_BYTES, 2 * mean_clip_bytes) * DECODED_TOGETHER
        layout = Layout(
            slots=_SLOTS,
            windows=DECODED_TOGETHER,
            window_samples=window_samples,
            clip_bytes=clip_bytes + clip_bytes % 2,
        )
        processes = _start(workers, layout)
        runs: list[Callable[[], None]] = [_Driver(self._jobs, take, process).run for process in processes]
        runs = runs or [self._run] * max(workers, 1)
        self._threads = [Thread(target=run, name="decoder", daemon=True) for run in runs]
        for thread in self._threads:
            thread.start()

    def submit(
        self, places: Sequence[Place], windows: Sequence[Window], wave_NS: NDArray[np.int16]
    ) -> "Future[Reasons]":
        """At most DECODED_TOGETHER windows, to be written into the rows of `wave_NS`."""
        job = _Job(places=places, windows=windows, wave_NS=wave_NS)
        self._jobs.put(job)
        return job.reasons

    def close(self) -> None:
        """Ends threads and workers. What was submitted and is not begun is cancelled."""
        while True:
            try:
                job = self._jobs.get_nowait()
            except Empty:
                break
            if job is not None:
                job.reasons.cancel()
        for _ in self._threads:
            self._jobs.put(None)
        for thread in self._threads:
            thread.join()

    def _run(self) -> None:
        while (job := self._jobs.get()) is not None:
            try:
                clips = (self._take(place) for place in job.places)
                reasons = [decode_window(*each) for each in zip(clips, job.windows, job.wave_NS, strict=True)]
                job.reasons.set_result(reasons)
            except BaseException as error:  # whoever waits for the windows raises it
                job.reasons.set_exception(error)


class _Worker:
    """A process that decodes, and the memory that it shares."""

    def __init__(self, layout: Layout) -> None:
        descriptor = _shared_memory(layout.bytes)
        try:
            memory = mmap.mmap(descriptor, layout.bytes)
            self._process = subprocess.Popen(
                [sys.executable, "-c", _BOOTSTRAP, str(Path(__file__).parents[1]), *arguments(descriptor, layout)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                pass_fds=(descriptor,),
            )
        finally:
            os.close(descriptor)
        self.clips = [layout.clips(memory, slot) for slot in range(layout.slots)]
        self.waves = [layout.waves(memory, slot) for slot in range(layout.slots)]

    def ask(self, line: bytes) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(line)
        self._process.stdin.flush()

    def answer(self) -> Reasons:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise EOFError(f"it ended with code {self._process.wait()}")
        reasons: Reasons = json.loads(line)
        return reasons

    def stop(self) -> None:
        self._process.kill()
        self._process.communicate()


@dataclass(frozen=True, kw_only=True)
class _Asked:
    """A job that a worker has: which windows lie in the slot, and the reasons of the others."""

    job: _Job
    slot: int
    sent: list[int]
    reasons: dict[int, str | None]


class _Driver:
    """The thread of a worker."""

    def __init__(self, jobs: "SimpleQueue[_Job | None]", take: Callable[[Place], Clip], worker: _Worker) -> None:
        self._jobs, self._take, self._worker = jobs, take, worker
        self._free = list(range(_SLOTS))
        self._asked: deque[_Asked] = deque()

    def run(self) -> None:
        try:
            ended = False
            while not ended or self._asked:
                if not ended and self._free:
                    try:
                        job = self._jobs.get(block=not self._asked)
                    except Empty:
                        job = None
                    else:
                        ended = job is None
                    if job is not None:
                        self._guarded(job, self._ask)
                        continue
                if self._asked:
                    self._guarded(self._asked[0].job, self._copy)
        finally:
            self._worker.stop()

    def _guarded(self, job: _Job, act: Callable[[_Job], None]) -> None:
        try:
            act(job)
        except (BrokenPipeError, EOFError) as error:
            clips = ", ".join(str(place) for place in job.places)
            job.reasons.set_exception(
                RunError(f"a decoding worker is gone ({error}); it had row groups and rows {clips}")
            )
        except BaseException as error:  # whoever waits for the windows raises it
            job.reasons.set_exception(error)

    def _ask(self, job: _Job) -> None:
        """Fill a slot. A clip that is too large for what is left of it is decoded here."""
        slot = self._free[-1]
        room, ends = self._worker.clips[slot], [0]
        sent: list[int] = []
        reasons: dict[int, str | None] = {}
        for i, place in enumerate(job.places):
            clip = np.frombuffer(self._take(place), np.uint8)
            start, end = ends[-1], ends[-1] + len(clip)
            if end <= len(room):
                room[start:end] = clip
                ends.append(end)
                sent.append(i)
            else:
                reasons[i] = decode_window(clip.data, job.windows[i], job.wave_NS[i])
        self._worker.ask(request(slot, [job.windows[i] for i in sent], ends[1:]))
        self._free.pop()
        self._asked.append(_Asked(job=job, slot=slot, sent=sent, reasons=reasons))

    def _copy(self, job: _Job) -> None:
        """Take the windows of the slot that was asked for first."""
        asked = self._asked.popleft()
        self._free.append(asked.slot)  # this thread fills it again, after it has copied
        answered = self._worker.answer()
        job.wave_NS[asked.sent] = self._worker.waves[asked.slot][: len(asked.sent)]
        reasons = asked.reasons | dict(zip(asked.sent, answered, strict=True))
        job.reasons.set_result([reasons[i] for i in range(len(job.windows))])


def _start(workers: int, layout: Layout) -> list[_Worker]:
    """No worker where none is asked for, or where there is no memory to share."""
    started: list[_Worker] = []
    try:
        for _ in range(workers):
            started.append(_Worker(layout))
    except OSError as error:
        for worker in started:
            worker.stop()
        log.warning(
            "%d workers need %.0f MiB of shared memory, which cannot be had (%s): %s",
            workers,
            workers * layout.bytes / 2**20,
            error,
            "threads of this process decode instead",
        )
        return []
    if workers:
        log.info("%d workers share %.0f MiB of memory with this process", workers, workers * layout.bytes / 2**20)
    return started


def _shared_memory(size: int) -> int:
    """A descriptor of memory that is there, or OSError; nothing of it has a name, so nothing is left behind."""
    if hasattr(os, "memfd_create"):
        descriptor = os.memfd_create("mulan-windows")
    else:
        with tempfile.TemporaryFile() as file:
            descriptor = os.dup(file.fileno())
    try:
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(descriptor, 0, size)
        else:
            os.ftruncate(descriptor, size)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor
