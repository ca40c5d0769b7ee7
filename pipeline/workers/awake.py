"""A clock that stands still while this process is suspended: by Ctrl-Z, SIGSTOP, or a machine that sleeps.

Deadlines are for what takes too long. Who closes the lid of a laptop, or stops a job to give another one room, must not
find recordings refused afterwards because of the hours between.
"""

import os
import threading
import time
from collections.abc import Callable

TICK_S = 0.5
# A tick that comes later was hardly late for want of a processor; if it was, a deadline is that much more patient.
LONGEST_TICK_S = 1.0


class _Clock:
    """Counted by a thread that looks at the time often; where it could not look, no time has passed."""

    def __init__(self) -> None:
        self._awake_s = 0.0
        self._seen = time.monotonic()
        self._lock = threading.Lock()
        threading.Thread(target=self._tick, daemon=True, name="awake").start()

    def now(self) -> float:
        with self._lock:
            seen = time.monotonic()
            self._awake_s += min(seen - self._seen, LONGEST_TICK_S)
            self._seen = seen
            return self._awake_s

    def _tick(self) -> None:
        while True:
            time.sleep(TICK_S)
            self.now()


_clock: _Clock | None = None
_starting = threading.Lock()


def awake() -> float:
    """Seconds, like `time.monotonic()`, but for those that this process was suspended."""
    global _clock
    if _clock is None:
        with _starting:
            if _clock is None:
                _clock = _Clock()
    return _clock.now()


def _forget() -> None:
    global _clock, _starting
    _clock, _starting = None, threading.Lock()


os.register_at_fork(after_in_child=_forget)  # a forked process has no thread that ticks


class AwakeTimer:
    """Calls `act` once so many awake seconds have passed, unless it is cancelled before."""

    def __init__(self, seconds: float, act: Callable[[], None]) -> None:
        self._deadline = awake() + seconds
        self._act = act
        self._cancelled = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True, name="awake timer")

    def start(self) -> None:
        self._thread.start()

    def cancel(self) -> None:
        self._cancelled.set()

    def _run(self) -> None:
        while (left_s := self._deadline - awake()) > 0:
            if self._cancelled.wait(left_s):
                return
        if not self._cancelled.is_set():
            self._act()
