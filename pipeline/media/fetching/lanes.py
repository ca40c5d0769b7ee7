"""Lanes: how many requests are in flight to one host, over all workers of a machine.

A lane is a lock file; whoever holds its lock may ask the host. The kernel gives a lock up with the process that holds
it, so a killed worker leaves nothing behind. A lane that has to rest (politeness, or a server that asked for it) has
the time from which it may be used again as its time of change.
"""

import contextlib
import fcntl
import hashlib
import os
import time
from collections.abc import Iterator

from pipeline.workers.faults import MachineFaultError
from pipeline.workers.heartbeat import HEARTBEAT
from pipeline.workers.scratch import shared_folder

POLL_S = 0.02
LONGEST_POLL_S = 0.5


class Lane:
    """One turn at a host."""

    def __init__(self) -> None:
        self.rest_s = 0.0

    def rest(self, seconds: float) -> None:
        """Nobody uses this lane for so long after the turn."""
        self.rest_s = max(self.rest_s, seconds)


class Lanes:
    """`with lanes.turn(host):` waits for a lane; at most `count` turns at a time for each host."""

    def __init__(self, folder: str | None, count: int) -> None:
        self._folder = folder or os.path.join(shared_folder(), f"mulan-lanes-{os.getuid()}")
        self._count = count
        try:
            os.makedirs(self._folder, mode=0o700, exist_ok=True)
        except OSError as error:
            raise MachineFaultError(f"{self._folder}: {error.strerror}; set TMPDIR to a folder of your own") from error
        if os.stat(self._folder).st_uid != os.getuid():
            raise MachineFaultError(f"{self._folder} belongs to another user; set TMPDIR to a folder of your own")

    @contextlib.contextmanager
    def turn(self, host: str, rest_s: float = 0.0) -> Iterator[Lane]:
        with HEARTBEAT.waiting():
            descriptor = self._wait(host)
        lane = Lane()
        lane.rest(rest_s)
        try:
            yield lane
        finally:
            now = time.time()
            os.utime(descriptor, (now, now + lane.rest_s))
            os.close(descriptor)

    def _wait(self, host: str) -> int:
        name = hashlib.blake2b(host.lower().encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()
        poll_s = POLL_S
        while True:
            for index in range(self._count):
                path = os.path.join(self._folder, f"{name}-{index:03d}.lane")
                try:
                    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
                except OSError as error:
                    raise MachineFaultError(f"{path}: {error.strerror}") from error
                with contextlib.suppress(BlockingIOError):
                    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    if os.fstat(descriptor).st_mtime <= time.time():
                        return descriptor
                os.close(descriptor)
            time.sleep(poll_s)
            poll_s = min(2 * poll_s, LONGEST_POLL_S)
