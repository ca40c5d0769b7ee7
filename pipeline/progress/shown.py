"""How progress is shown to a person: lines that stay in place on a terminal, a plain line now and then elsewhere."""

import contextlib
import logging
import os
import threading
import time
from collections.abc import Iterator
from typing import TextIO

from pipeline.progress.snapshot import Snapshot

FIRST_LINE_S = 5.0
LINE_EVERY_S = 30.0
SHORTEST_BAR = 5
USUAL_COLUMNS = 80
log = logging.getLogger(__name__)


class Lines:
    """The first line comes early, so that who waits soon knows how long."""

    def __init__(self) -> None:
        self._next = time.monotonic() + FIRST_LINE_S
        self._pause_s = FIRST_LINE_S

    def show(self, now: Snapshot) -> None:
        if time.monotonic() >= self._next:
            self._pause_s = min(2 * self._pause_s, LINE_EVERY_S)
            self._next = time.monotonic() + self._pause_s
            say(now)


def say(now: Snapshot) -> None:
    log.info("%s", now.line())


def is_terminal(stream: TextIO) -> bool:
    return stream.isatty() and os.environ.get("TERM") != "dumb"


class Bar:
    """The last lines of a terminal, drawn in place: bar, rate and time left, and below what became of recordings.

    What is logged meanwhile stands above. A terminal that was made narrower has wrapped what stood there, so that the
    rows to draw over are counted by its width of now.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._lines: list[str] = []
        self._lock = threading.Lock()
        self._full = "█" if (stream.encoding or "").lower().startswith("utf") else "#"

    @contextlib.contextmanager
    def drawn(self) -> Iterator["Bar"]:
        """While the body runs; nothing is left of it afterwards."""
        handlers = [one for one in logging.getLogger().handlers if isinstance(one, logging.StreamHandler)]
        redirected = [(one, one.setStream(self)) for one in handlers if one.stream is self._stream]
        try:
            yield self
        finally:
            for handler, before in redirected:
                handler.setStream(before)
            with contextlib.suppress(OSError, ValueError):
                self._draw([])

    def show(self, now: Snapshot) -> None:
        width = self._columns() - 1  # what fills a row to its end may wrap
        self._draw([line for line in (self._bar(now, width), now.outcomes()[:width]) if line])

    def write(self, text: str) -> None:
        """Of a log handler: whole lines."""
        with self._lock:
            self._stream.write(self._erasing() + text + "\n".join(self._lines))

    def flush(self) -> None:
        self._stream.flush()

    def _bar(self, now: Snapshot, width: int) -> str:
        head = f"{now.stage} {now.share:>4.0%}"
        for amount in (now.amount(), now.amount().removesuffix(" recordings")):
            said = ", ".join(filter(None, (amount, now.pace())))
            room = width - len(head) - len(said) - 3
            if room >= SHORTEST_BAR:
                return f"{head}|{(self._full * int(now.share * room)).ljust(room)}| {said}"
        return f"{head} {said}"[:width]

    def _draw(self, lines: list[str]) -> None:
        with self._lock:
            self._stream.write(self._erasing() + "\n".join(lines))
            self._stream.flush()
            self._lines = lines

    def _erasing(self) -> str:
        """Go to where the lines begin, and clear from there on."""
        columns = self._columns()
        rows = sum(max(1, -(-len(line) // columns)) for line in self._lines)
        return "\r" + (f"\x1b[{rows - 1}A" if rows > 1 else "") + "\x1b[J"

    def _columns(self) -> int:
        """Of the terminal, whose width may change, and to which standard output need not go."""
        with contextlib.suppress(OSError):
            return os.get_terminal_size(self._stream.fileno()).columns or USUAL_COLUMNS
        return USUAL_COLUMNS
