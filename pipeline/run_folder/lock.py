"""Lock: a run folder has one writer at a time, and a second one is told so.

The lock is a lease: the file `lock` names the job that holds the folder, with a fencing number that grows by one from
holder to holder, and is renewed while the job runs. Whoever finds it renewed leaves. A lease that was not renewed for
its whole time, by the clock of the one who waits, is taken over; that of a process that is dead on this very machine
goes at once. All of this is done by conditional writes, so that of two jobs at one moment one gets the folder.

A job that was suspended and wakes after that is a loser, and must not write into its successor's folder. So the lock is
looked at before every commit (`Hold.check`), in workers too, and what decides what the run is (lock, settings, plan,
manifest, pointer) is only written where it is still as this job last saw it.
"""

import hashlib
import json
import logging
import os
import platform
import sys
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from pipeline import storage
from pipeline.run_folder import layout
from pipeline.settings import LockConfig
from pipeline.storage import DamagedError
from pipeline.stores.store import StoreError
from pipeline.workers.faults import MachineFaultError
from pipeline.workers.processes import state_of
from schemas.exits import InputError

LOOK_EVERY_S = 2.0
COUNTDOWN_EVERY_S = 10.0
# Where two writers cannot be told apart by the store, each waits a moment and looks whose word stands.
SETTLE_S = 1.0

log = logging.getLogger(__name__)


class LockedError(Exception):
    """Another job writes to the run folder."""


class LostLockError(MachineFaultError):
    """Another job took the folder over while this one was suspended or cut off."""


@dataclass(frozen=True, kw_only=True)
class Hold:
    """The right to write to a run folder; goes to the workers."""

    run_dir: str
    job_id: str
    fence: int

    @property
    def attempt(self) -> str:
        """Names what this holder has written for the time being."""
        return f"{self.fence:04d}-{self.job_id[:8]}"

    def check(self) -> None:
        """Raises LostLockError where another job has the folder."""
        path = storage.join(self.run_dir, layout.LOCK)
        found = storage.read_version(path)
        holder = _parse(found[0]) if found is not None else None
        if holder is None:
            raise LostLockError(f"{path} is gone or was written by something else; this job stops, run it again")
        if holder["job_id"] != self.job_id:
            raise LostLockError(
                f"{self.run_dir} was taken over by {_named(holder)} while this job was suspended or cut off; this job "
                "stops, what it has committed is safe"
            )


@contextmanager
def locked(run_dir: str, config: LockConfig | None = None) -> Iterator[Hold]:
    """Hold the run folder. Raises LockedError where another job does, StoreError where that cannot be found out.

    What goes wrong in the body because another job has taken the folder over is a LostLockError.
    """
    config = config or LockConfig()
    storage.make_folder(run_dir)
    lease = _Lease.acquire(run_dir, config)
    stop = threading.Event()
    thread = threading.Thread(target=lease.keep_renewing, args=(stop,), daemon=True)
    thread.start()
    try:
        yield lease.hold
    except (InputError, DamagedError, StoreError):
        raise
    except Exception:
        lease.hold.check()  # why a worker could not commit matters more than how its runner says so
        raise
    finally:
        stop.set()
        thread.join()
        lease.release()


class _Lease:
    """The lock file as its holder last wrote it."""

    def __init__(self, hold: Hold, config: LockConfig, version: str, content: dict[str, Any]) -> None:
        self.hold = hold
        self._config = config
        self._path = storage.join(hold.run_dir, layout.LOCK)
        self._version = version
        self._content = content

    @classmethod
    def acquire(cls, run_dir: str, config: LockConfig) -> "_Lease":
        path = storage.join(run_dir, layout.LOCK)
        apart = storage.keeps_writers_apart(run_dir)
        if not apart:
            log.warning(
                "%s: this store has no conditional writes, so two jobs that start at one moment, or one that wakes "
                "after the other took over, may both write; see to it that only one runs",
                run_dir,
            )
        job_id = uuid.uuid4().hex
        while True:
            found = storage.read_version(path)
            holder = _parse(found[0]) if found is not None else None
            if found is not None and holder is not None and not _is_free(holder, config):
                _wait_until_stale(path, found[1], holder)
            fence = holder["fence"] + 1 if holder is not None else 1
            content = {
                "job_id": job_id,
                "fence": fence,
                "host": platform.node(),
                "machine": _machine(),
                "pid": os.getpid(),
                "pid_started": state_of(os.getpid()).started,
                "lease_s": config.lease_s,
                "beat": 0,
            }
            body = _body(content)
            version = storage.create(path, body) if found is None else storage.swap(path, body, found[1])
            if version is None:
                continue  # another was quicker: look whose it is
            hold = Hold(run_dir=run_dir, job_id=job_id, fence=fence)
            if not apart:
                time.sleep(SETTLE_S)
                hold.check()
            return cls(hold, config, version, content)

    def keep_renewing(self, stop: threading.Event) -> None:
        """A renewal that fails is tried again at the next turn; one that finds another's name is the last."""
        while not stop.wait(self._config.renew_s):
            content = {**self._content, "beat": self._content["beat"] + 1}
            try:
                version = storage.swap(self._path, _body(content), self._version)
            except StoreError as error:
                log.warning("lock: not renewed, trying again in %g s: %s", self._config.renew_s, error)
                continue
            if version is None:
                log.warning("lock: %s was taken over by another job; this one stops at its next commit", self._path)
                return
            self._content, self._version = content, version

    def release(self) -> None:
        """Only what is still ours; a lease that cannot be given back ends by itself."""
        try:
            storage.swap(self._path, _body({**self._content, "released": True}), self._version)
        except StoreError as error:
            log.info("lock: not given back, it ends in %g s: %s", self._config.lease_s, error)


def _body(content: dict[str, Any]) -> bytes:
    return (json.dumps(content, sort_keys=True) + "\n").encode()


def _parse(content: bytes) -> dict[str, Any] | None:
    """What the lock file says; None where it is not of this kind, as that of a version that held it by the kernel."""
    try:
        value = json.loads(content)
    except ValueError:
        return None
    if not isinstance(value, dict) or not isinstance(value.get("job_id"), str):
        return None
    return value if isinstance(value.get("fence"), int) else None


def _is_free(holder: dict[str, Any], config: LockConfig) -> bool:
    """Whether the folder can be had at once. Raises LockedError where its holder is seen at work."""
    if holder.get("released") or holder.get("renewed") == 0.0:  # the second is how version 0.1 gave it back
        return True
    if config.take_over:
        log.warning("lock: taken over from %s, as asked", _named(holder))
        return True
    if holder.get("machine") != _machine():
        return False
    process = state_of(holder["pid"])
    if not process.is_alive or process.started != holder["pid_started"]:
        log.info("lock: %s is dead; its lock is taken", _named(holder))
        return True
    if not process.is_stopped:
        raise LockedError(
            f"another job writes to this folder ({_named(holder)}); wait for it or end it, or give --take_over if it "
            "will never go on"
        )
    return False


def _wait_until_stale(path: str, version: str, holder: dict[str, Any]) -> None:
    """Return once the lease was not renewed for its whole time. Raises LockedError at the first sign of life."""
    lease_s = float(holder.get("lease_s", LockConfig().lease_s))
    deadline = time.monotonic() + lease_s
    next_line = 0.0
    while (left_s := deadline - time.monotonic()) > 0:
        if time.monotonic() >= next_line:
            next_line = time.monotonic() + COUNTDOWN_EVERY_S
            _say(
                f"lock: waiting {left_s:.0f} s to see whether {_named(holder)} still lives; "
                "--take_over does not wait, if you know that it is dead"
            )
        time.sleep(min(LOOK_EVERY_S, left_s, lease_s / 10))
        found = storage.read_version(path)
        if found is None or found[1] != version:
            now = _parse(found[0]) if found is not None else None
            if now is None or now.get("released"):
                return
            raise LockedError(f"{path}: another job writes to this folder ({_named(now)}, seen alive just now)")


def _say(line: str) -> None:
    """A countdown is for the one who waits, whatever the level of the log."""
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()


def _named(holder: dict[str, Any]) -> str:
    where = f", process {holder['pid']} on {holder.get('host')}" if "pid" in holder else ""
    return f"job {holder['job_id'][:8]}{where}"


@lru_cache(maxsize=1)
def _machine() -> str:
    """Tells whether a process number means the same here as where the lock was written: boot and process namespace."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return hashlib.sha256(f"{boot} {os.readlink('/proc/self/ns/pid')}".encode()).hexdigest()[:16]
    except OSError:
        return f"unknown-{uuid.uuid4().hex[:8]}"  # equal to no other: only the lease counts
