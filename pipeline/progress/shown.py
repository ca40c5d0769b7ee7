"""How progress is shown to a person: lines that stay in place on a terminal, a plain line now and then elsewhere."""

import contextlib
import logging
import shutil
import sys
import time
from typing import Any

from tqdm import tqdm
from tqdm.contrib.logging import logging_redirect_tqdm

from pipeline.progress.snapshot import Snapshot

FIRST_LINE_S = 5.0
LINE_EVERY_S = 30.0
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


class Bar:
    """One line with bar, rate and time left, and for recordings one below it with what became of them."""

    def __init__(self) -> None:
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> "Bar":
        self._stack.enter_context(logging_redirect_tqdm())  # what is logged meanwhile stands above
        self._bar = self._line(0)
        self._below: tqdm[Any] | None = None
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def _line(self, position: int) -> "tqdm[Any]":
        bar: tqdm[Any] = tqdm(
            total=1, position=position, leave=False, dynamic_ncols=True, file=sys.stderr, bar_format="{bar:0}"
        )
        return self._stack.enter_context(bar)

    def show(self, now: Snapshot) -> None:
        said = ", ".join(filter(None, (now.amount(), now.pace())))
        self._put(self._bar, f"{now.stage} {now.share:>4.0%}|{{bar}}| {said}")
        self._bar.total, self._bar.n = max(now.total, 1), min(now.done, now.total)
        self._bar.refresh()
        if now.shards is not None:
            self._below = self._below or self._line(1)
            columns = shutil.get_terminal_size().columns - 1
            text = now.outcomes()
            self._put(self._below, text if len(text) <= columns else f"{text[: columns - 1]}…")
            self._below.refresh()

    @staticmethod
    def _put(bar: "tqdm[Any]", text: str) -> None:
        bar.bar_format = text
