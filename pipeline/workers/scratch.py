"""Scratch: one folder for everything temporary of a job, its own and Beam's, which no kill leaves behind for good.

Whatever this process and its workers ask `tempfile` for lies in it. It goes with the job; where the job was killed, the
next one on this machine finds that nobody holds its lock any more and deletes it.
"""

import contextlib
import errno
import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

PREFIX = "mulan-job-"
_SHARED = "MULAN_SHARED_TMP"


class NoScratchError(Exception):
    """Nothing temporary can be written on this machine."""


def shared_folder() -> str:
    """Where jobs of one user meet (lanes of hosts): outside of any job's scratch."""
    return os.environ.get(_SHARED) or tempfile.gettempdir()


@contextlib.contextmanager
def scratch_folder() -> Iterator[Path]:
    """Raises NoScratchError where nothing temporary can be written."""
    try:
        base = Path(tempfile.gettempdir())
    except FileNotFoundError as error:
        raise NoScratchError(f"no temporary file can be written ({error.strerror}); set TMPDIR") from error
    _sweep(base)
    with _held(base) as folder:
        changes = {"TMPDIR": str(folder), _SHARED: str(base)}
        before = {name: os.environ.get(name) for name in changes}
        before_here = tempfile.tempdir
        os.environ.update(changes)
        tempfile.tempdir = str(folder)
        try:
            yield folder
        finally:
            tempfile.tempdir = before_here
            for name, value in before.items():
                if value is None:
                    del os.environ[name]
                else:
                    os.environ[name] = value


@contextlib.contextmanager
def _held(base: Path) -> Iterator[Path]:
    """A new folder, and a lock on it that the kernel gives up with this process."""
    while True:
        folder = Path(tempfile.mkdtemp(prefix=PREFIX, dir=base))
        descriptor = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
        fcntl.flock(descriptor, fcntl.LOCK_SH)
        if folder.exists():
            break
        os.close(descriptor)  # a job that started at the same moment took it for a dead one's
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(descriptor)


def _sweep(base: Path) -> None:
    """Delete what killed jobs of this user have left."""
    for folder in base.glob(f"{PREFIX}*"):
        try:
            descriptor = os.open(folder, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_DIRECTORY)
        except OSError:
            continue  # gone by now, or not ours to look at
        try:
            if os.fstat(descriptor).st_uid == os.getuid():
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(folder, ignore_errors=True)
        except OSError as error:
            if error.errno not in (errno.EACCES, errno.EAGAIN):
                raise
        finally:
            os.close(descriptor)
