"""What a process has in hand, and a sign that it lives: for `pipeline.workers.watch`, which looks from the launcher.

A worker that the kernel kills cannot say which recording it had, so it says so before it begins, in a small file. The
same file counts beats, which come from a thread and stop when the interpreter hangs, and what is settled, which is for
the eye alone (`pipeline.progress`). Time is that of `pipeline.workers.awake`.
"""

import json
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from pipeline.workers.awake import awake

BEAT_S = 1.0
SHOWN_CHARS = 200  # of an id, which may have a kilobyte
FILE_BYTES = 4_096  # one page, written as a whole

# Task (a shard's part, or the tables that are read) -> what was counted of it.
Counts = dict[str, dict[str, int]]


@dataclass(kw_only=True)
class InHand:
    """One recording at work. `limit_s` is what it may take in all, waiting for a turn left out; `stage` is what is done
    with it at the moment."""

    recording_id: str
    limit_s: float
    since: float
    stage: str = ""
    waited_s: float = 0.0
    waiting_since: float | None = None

    def used_s(self, now: float) -> float:
        waiting_s = now - self.waiting_since if self.waiting_since is not None else 0.0
        return now - self.since - self.waited_s - waiting_s


@dataclass(frozen=True, kw_only=True)
class Sign:
    """What a heartbeat file says: the recording in hand and whether it is past its deadline.

    `made` is how many recordings the process is done with, `counts` what has become of those of the tasks in hand.
    """

    pid: int
    beats: int
    recording_id: str | None = None
    stage: str = ""
    used_s: float = 0.0
    limit_s: float = 0.0
    made: int = 0
    counts: Counts = field(default_factory=dict)

    @property
    def overdue(self) -> bool:
        return self.recording_id is not None and self.used_s > self.limit_s

    @classmethod
    def read(cls, path: Path) -> "Sign | None":
        """None where there is no file, or half of one."""
        try:
            return cls(**json.loads(path.read_bytes().rstrip(b"\0")))
        except (OSError, ValueError, TypeError):
            return None


class Heartbeat:
    """Of this process. It has no file until `beat_into`; what is in hand is known to the process itself in any case."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._in_hand: dict[int, InHand] = {}  # by thread
        self._beats = 0
        self._made = 0
        self._counts: Counts = {}
        self._file: int | None = None
        self._ending = False

    @contextmanager
    def holding(self, recording_id: str, limit_s: float) -> Iterator[None]:
        """Say what this thread works on while the body runs. Where the job is ending, no body is begun."""
        self.stay_if_ending()
        thread = threading.get_ident()
        self._in_hand[thread] = InHand(recording_id=recording_id, limit_s=limit_s, since=awake())
        self._write()
        try:
            yield
        finally:
            del self._in_hand[thread]
            self._made += 1
            self._write()

    def at(self, stage: str) -> None:
        """Say what this thread does with its recording."""
        if (held := self._in_hand.get(threading.get_ident())) is not None:
            held.stage = stage

    @contextmanager
    def counting(self, task: str) -> Iterator[None]:
        """Show counts of a task while the body runs; a task that is tried again is counted from nothing."""
        self._counts[task] = {}
        try:
            yield
        finally:
            self._counts.pop(task, None)

    def count(self, task: str, name: str, number: int = 1) -> None:
        """Shown with the next sign."""
        with self._lock:
            counts = self._counts.setdefault(task, {})
            counts[name] = counts.get(name, 0) + number

    def forget_counts(self) -> None:
        self._counts.clear()

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """The body waits for a turn, which is no fault of the recording in hand."""
        held = self._in_hand.get(threading.get_ident())
        if held is not None:
            held.waiting_since = awake()
        try:
            yield
        finally:
            if held is not None and held.waiting_since is not None:
                held.waited_s += awake() - held.waiting_since
                held.waiting_since = None

    def stay_if_ending(self) -> None:
        """Does not return where the job is ending: the process ends under a thread that waits here, in silence, while
        an exception would be taken for a failure by each layer of a runner.
        """
        if self._ending:
            threading.Event().wait()

    def end(self) -> None:
        """No recording is begun any more, and nothing is committed."""
        self._ending = True

    def go_on(self) -> None:
        self._ending = False

    def sign(self) -> Sign:
        """Of several recordings in hand the one that is nearest to its deadline, or furthest past it."""
        now = awake()
        held = max(list(self._in_hand.values()), key=lambda one: one.used_s(now) - one.limit_s, default=None)
        counts = {task: dict(counts) for task, counts in list(self._counts.items())}
        sign = Sign(pid=os.getpid(), beats=self._beats, made=self._made, counts=counts)
        if held is None:
            return sign
        return replace(
            sign,
            recording_id=held.recording_id[:SHOWN_CHARS],
            stage=held.stage,
            used_s=held.used_s(now),
            limit_s=held.limit_s,
        )

    def beat_into(self, path: Path) -> None:
        """Write beats from now on, and what is in hand as soon as it is taken."""
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        os.ftruncate(self._file, FILE_BYTES)
        self._write()
        threading.Thread(target=self._beat, daemon=True, name="heartbeat").start()

    def _beat(self) -> None:
        pause = threading.Event()
        while True:
            pause.wait(BEAT_S)
            self._beats += 1
            self._write()

    def _write(self) -> None:
        if self._file is None:
            return
        with self._lock:
            value = vars(self.sign())
            content = json.dumps(value).encode()
            if len(content) > FILE_BYTES:  # counts can wait for the commit record, a name in hand cannot
                content = json.dumps({**value, "counts": {}}).encode()
            os.pwrite(self._file, content.ljust(FILE_BYTES, b"\0"), 0)


HEARTBEAT = Heartbeat()
