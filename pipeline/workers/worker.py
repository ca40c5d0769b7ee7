"""Imported by each worker process of a local job at its start: it shows a heartbeat, and ends with its launcher.

The launcher holds the lock of a folder; the kernel gives the lock up when the launcher is gone, however it went, and
whoever waits for it here then ends. Without this a worker whose launcher was killed would go on for ever. The module is
imported by way of `HOOK`, before Beam is, since a worker whose launcher dies while it starts must not stay either.
"""

import atexit
import contextlib
import fcntl
import io
import logging
import os
import shutil
import signal
import sys
import threading
from pathlib import Path

# Bound here, while this project comes first on the path: Beam starts a worker by `python -m`, which then puts the
# current folder before it, and that may have a schemas.py of the user's.
import filters  # noqa: F401
import schemas  # noqa: F401
from pipeline.workers.heartbeat import HEARTBEAT

JOB_FOLDER = "MULAN_JOB_FOLDER"  # environment variable with the folder that launcher and workers share
LOCK_NAME = "launcher.lock"
HOOK_NAME = "sitecustomize.py"
# Python runs this file of that folder at its start. One that the environment has beside it is run as well.
HOOK = """import sys
from pathlib import Path

import pipeline.workers.worker

sys.path[:] = [folder for folder in sys.path if folder != str(Path(__file__).parent)]
this = sys.modules.pop(__name__)
try:
    import sitecustomize
except ImportError:
    sys.modules[__name__] = this
"""
SIGN_SUFFIX = ".beat"
GRACE_S = 2.0  # for the recording in hand, so that its helpers end in order
POLL_S = 0.05


def sign_path(folder: Path, pid: int) -> Path:
    return folder / f"{pid}{SIGN_SUFFIX}"


def join_job(folder: Path) -> None:
    """Begin to beat, and end with the launcher."""
    # Ctrl-C reaches each process at the terminal, and is the launcher's to handle.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    end = threading.Thread(target=_end_with_launcher, args=(folder,), daemon=True, name="launcher")
    end.start()
    atexit.register(_leave, folder, end)
    HEARTBEAT.beat_into(sign_path(folder, os.getpid()))


def _end_with_launcher(folder: Path) -> None:
    try:
        with open(folder / LOCK_NAME, "rb") as lock:
            fcntl.flock(lock, fcntl.LOCK_SH)
    except OSError:
        pass  # the folder is gone, and so is the launcher
    HEARTBEAT.end(GRACE_S)
    shutil.rmtree(folder, ignore_errors=True)
    os._exit(1)


def _leave(folder: Path, end: threading.Thread) -> None:
    """Beam's own thread ends the process as soon as it misses the launcher. What is in hand has its time all the same,
    what is settled is saved, and the folder goes.
    """
    with contextlib.suppress(OSError), open(folder / LOCK_NAME, "rb") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return  # the launcher is there, and has no more work
    end.join()


class _ToldByLauncher(io.TextIOWrapper):
    """Standard error without the tracebacks that Beam prints whole: the launcher gets each exception, and says it."""

    _dropped = False

    def write(self, text: str) -> int:
        is_end = self._dropped and text == "\n"  # of what was printed
        self._dropped = text.startswith("Traceback (most recent call last):\n ") and text.endswith("\n")
        return len(text) if self._dropped or is_end else super().write(text)


if JOB_FOLDER in os.environ:
    sys.stderr = _ToldByLauncher(sys.stderr.buffer, encoding="utf-8", errors="backslashreplace", line_buffering=True)
    # Its first lines come before Beam has read which levels were asked for.
    logging.getLogger("__main__").setLevel(logging.ERROR)
    join_job(Path(os.environ[JOB_FOLDER]))
