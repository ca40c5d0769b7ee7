"""How a command ends: its exit code, and one line for what is wrong with a disk, a folder or a terminal.

0 done; 1 done, with more failures than allowed or with damage found; 2 arguments, input or a place that cannot be used;
3 broken off, so that the same command goes on once there is room, or the disk is back.

What is wrong with a place before the work begins is the user's to change (2). What fails under way is the machine's
(3): a disk that is full, a permission that was taken away.
"""

import atexit
import contextlib
import errno
import io
import os
import re
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

DONE, FAILURES, BAD_INPUT, INTERRUPTED = 0, 1, 2, 3

# These pass, or are made to pass, without another command.
_PASSING = {errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ESTALE}
_ADVICE = {
    errno.ENOSPC: "make room and run the same command again",
    errno.EDQUOT: "make room and run the same command again",
    errno.EMFILE: "allow more open files (ulimit -n) and run the same command again",
}
# As Rust's libraries, and exceptions that crossed from a worker process as text, tell of an operating system's error.
_TOLD = (re.compile(r"(?P<text>[^:(]*)\(os error (?P<number>\d+)\)"), re.compile(r"\[Errno (?P<number>\d+)\]"))
_TOLD_PATH = re.compile(r"\[Errno \d+\] [^:\n]*: '(?P<path>[^'\n]+)'")


class InputError(Exception):
    """Arguments or input that nothing can be done with; the message is one line for the user."""


@dataclass(frozen=True, kw_only=True)
class Fault:
    """What the operating system refused: `what` names the path, where one is known; `advice` may be empty."""

    number: int
    what: str
    advice: str

    @property
    def line(self) -> str:
        return "; ".join(filter(None, (self.what, self.advice)))

    @property
    def code(self) -> int:
        """For a command that had not begun its work."""
        return INTERRUPTED if self.number in _PASSING else BAD_INPUT


def fault(error: BaseException, *, where: str | None = None) -> Fault | None:
    """What the operating system refused, where that is what an exception comes from.

    `where` stands for the path where the exception names none, as those of Arrow do.
    """
    for one in _chain(error):
        if isinstance(one, OSError) and one.errno:
            return _fault(one.errno, one.filename2 or one.filename or where)
        if type(one).__module__ == "sqlite3" and "is full" in str(one):
            return _fault(errno.ENOSPC, "the database")
    for one in _chain(error):
        for pattern in _TOLD:
            if told := pattern.search(str(one)):
                named = _TOLD_PATH.search(str(one))
                return _fault(int(told["number"]), named["path"] if named else where)
    return None


def _chain(error: BaseException) -> Iterator[BaseException]:
    """The exception, then what it came from."""
    seen: set[int] = set()
    one: BaseException | None = error
    while one is not None and id(one) not in seen:
        seen.add(id(one))
        yield one
        one = one.__cause__ or one.__context__


def _fault(number: int, path: object) -> Fault:
    where = f"{os.fsdecode(path)}: " if isinstance(path, str | bytes | os.PathLike) else ""
    return Fault(number=number, what=f"{where}{os.strerror(number)}", advice=_ADVICE.get(number, ""))


def check_output(folder: str | os.PathLike[str]) -> None:
    """Make an output folder and see that files can be made in it. Raises ValueError with one line.

    A full disk is not the folder's fault and stays an OSError.
    """
    path = Path(folder)
    try:
        path.mkdir(parents=True, exist_ok=True)
        # Where the system can, a file without a name: a kill at this moment leaves nothing.
        with tempfile.TemporaryFile(dir=path):
            pass
    except OSError as error:
        if error.errno in _PASSING:
            raise
        in_the_way = next((one for one in (path, *path.parents) if one.exists()), path)
        if not in_the_way.is_dir():
            raise ValueError(f"{path}: {in_the_way} is a file, not a folder; give another --output") from error
        raise ValueError(f"{path}: cannot be written to ({error.strerror}); give another --output") from error


def ended(command: str, run: Callable[[], int], *, streams: bool = False) -> int:
    """Run a command to its end: its code, or one line and the code for what the operating system refused.

    Standard output that is closed, or whose reader has seen enough (`| head`), changes nothing of the work and nothing
    of its code; only a command that `streams` has nothing else to do, and ends.
    """
    with _standard_streams(command, patient=not streams):
        try:
            code = run()
            sys.stdout.flush()
            return code
        except BrokenPipeError:
            return DONE
        except Exception as error:
            if (found := fault(error)) is None:
                raise
            sys.stderr.write(f"{command}: {found.line}\n")
            return found.code


def leave(code: int) -> NoReturn:
    """End this process as the interpreter does at its end, but for taking itself down.

    While it does that, a thread of Arrow's pool that lets go of a Python object ends the process by abort (134).
    """
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    os._exit(code)


@contextlib.contextmanager
def _standard_streams(command: str, *, patient: bool) -> Iterator[None]:
    """Standard streams that can be written to, whatever has become of them."""
    is_closed = sys.stdout is None
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            _open_null(number)
            setattr(sys, name, open(os.devnull, "r+", encoding="utf-8"))  # noqa: SIM115 - for the whole process
    if is_closed:
        sys.stderr.write(f"{command}: standard output is closed, so what it would say is not shown\n")
    # What a test or another command has put in its place is theirs.
    before = sys.stdout
    if is_closed or before is not sys.__stdout__:
        yield
        return
    assert before is not None
    raw = _Patient(before.fileno(), patient=patient)
    sys.stdout = io.TextIOWrapper(
        io.BufferedWriter(raw), encoding=before.encoding, errors=before.errors, line_buffering=before.isatty()
    )
    try:
        yield
    finally:
        raw.patient = True
        with contextlib.suppress(OSError):
            sys.stdout.flush()
        sys.stdout = before


def _open_null(number: int) -> None:
    """Take a free descriptor of a standard stream, so that no file of the work gets it and is written to by others."""
    try:
        os.fstat(number)
    except OSError:
        descriptor = os.open(os.devnull, os.O_RDWR)
        if descriptor != number:
            os.dup2(descriptor, number)
            os.close(descriptor)


class _Patient(io.RawIOBase):
    """Standard output that nobody has to read: once its reader is gone, what is written to it is dropped."""

    def __init__(self, descriptor: int, *, patient: bool) -> None:
        self._descriptor = descriptor
        self._gone = False
        self.patient = patient

    def fileno(self) -> int:
        return self._descriptor

    def isatty(self) -> bool:
        return os.isatty(self._descriptor)

    def writable(self) -> bool:
        return True

    def write(self, content: "bytes | bytearray | memoryview") -> int:  # type: ignore[override]
        size = memoryview(content).nbytes
        if self._gone:
            return size
        try:
            return os.write(self._descriptor, content)
        except BrokenPipeError:
            self._gone = True
            if not self.patient:
                raise
            return size
        except OSError as error:
            # Said once: what is left in the buffers would say it again at the end of the process.
            self._gone = True
            raise OSError(error.errno, error.strerror, "standard output") from error
