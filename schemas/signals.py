"""How a command takes signals: whoever ends it, from the terminal or from a service manager, ends it in order."""

import contextlib
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from types import FrameType

from schemas.exits import INTERRUPTED

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
# One Ctrl-C may come twice, from the terminal and from who started the command; a person's second one comes later.
ONE_SIGNAL_S = 2.0


@contextlib.contextmanager
def interruptible() -> Iterator[None]:
    """SIGTERM and SIGHUP raise KeyboardInterrupt, as SIGINT does; one that comes while the command is ending ends it at
    once. A command may take signals itself.
    """
    first: list[float] = []

    def interrupt() -> None:
        if not first:
            first.append(time.monotonic())
            raise KeyboardInterrupt
        if time.monotonic() - first[0] > ONE_SIGNAL_S:
            os._exit(INTERRUPTED)

    with taking(interrupt):
        yield


@contextlib.contextmanager
def held_back() -> Iterator[None]:
    """A signal that comes while the body runs raises KeyboardInterrupt after it; a second one, at once."""
    first: list[float] = []

    def hold() -> None:
        if first and time.monotonic() - first[0] > ONE_SIGNAL_S:
            raise KeyboardInterrupt
        first.append(time.monotonic())

    with taking(hold):
        yield
    if first:
        raise KeyboardInterrupt


@contextlib.contextmanager
def taking(act: Callable[[], None]) -> Iterator[None]:
    """`act` at each signal while the body runs. Signals are the main thread's; in another one nothing changes."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def take(number: int, frame: FrameType | None) -> None:
        act()

    # What is ignored (by nohup) stays ignored.
    handlers = {number: signal.getsignal(number) for number in SIGNALS}
    before = {number: handler for number, handler in handlers.items() if handler not in (signal.SIG_IGN, None)}
    for number in before:
        signal.signal(number, take)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
