"""How far a fit is, and how long it will take: a line after two seconds, four, eight, then every half minute."""

import logging
import time

log = logging.getLogger(__name__)

_FIRST_S = 2.0
_EVERY_S = 30.0


class Countdown:
    """Counts steps of the optimizer and the seconds that they took."""

    def __init__(self) -> None:
        self.done = 0
        self.steps_s = 0.0
        self._expected = 0
        self._started_s = self._said_s = time.monotonic()

    def start(self, steps: int) -> None:
        self._expected = steps
        self._started_s = self._said_s = time.monotonic()

    def expect(self, more: int) -> None:
        """So many steps are left, as is known by now."""
        self._expected = self.done + more

    def step(self, seconds: float) -> None:
        self.done += 1
        self.steps_s += seconds
        now_s = time.monotonic()
        if now_s - self._said_s >= min(_EVERY_S, max(_FIRST_S, self._said_s - self._started_s)):
            self._said_s = now_s
            left_s = (now_s - self._started_s) / self.done * (self._expected - self.done)
            log.info("step %d of %d, at most %s left", self.done, self._expected, duration(left_s))


def duration(seconds: float) -> str:
    """For people: `45 s`, `12 min`, `3.5 h`."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
