"""Whose fault an exception is: that of one recording, which is left out, or the machine's, which ends the attempt.

What one recording does wrong is named by a reason where it was foreseen. What nobody foresaw must not end the job
either, so only what is known to be wrong with the machine goes on to the runner: it would hit every recording.
"""

import errno
import re

MACHINE_ERRNOS = frozenset(
    {
        *(errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO),
        *(errno.ENOMEM, errno.EMFILE, errno.ENFILE, errno.EAGAIN),
    }
)


# A runner sends an exception of a worker to the launcher as text.
_TOLD = re.compile(
    r"(?:MachineFaultError|DecoderUnavailableError|StoreError|DamagedError|LostLockError): "
    r"(?P<what>[^\n]+?)(?: \[while running [^\n]*)?$",
    re.MULTILINE,
)


class MachineFaultError(RuntimeError):
    """The machine or the installation cannot do the work; no recording is to blame."""


def is_fault_of_machine(error: BaseException) -> bool:
    """Whether an exception that a recording met says that the machine failed."""
    if not isinstance(error, Exception) or isinstance(error, MemoryError | MachineFaultError):
        return True
    return isinstance(error, OSError) and error.errno in MACHINE_ERRNOS


def told_fault(error: BaseException) -> str | None:
    """What a MachineFaultError said, where the exception is one or carries the text of one."""
    if isinstance(error, MachineFaultError):
        return str(error)
    told = _TOLD.search(str(error))
    return told["what"] if told is not None else None
