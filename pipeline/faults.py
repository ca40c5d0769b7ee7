"""Whose fault an exception is: that of one recording, which is left out, or the machine's, which ends the attempt.

What one recording does wrong is named by a reason where it was foreseen. What nobody foresaw must not end the job
either, so only what is known to be wrong with the machine goes on to the runner: it would hit every recording.
"""

import errno

MACHINE_ERRNOS = frozenset(
    {
        *(errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO),
        *(errno.ENOMEM, errno.EMFILE, errno.ENFILE, errno.EAGAIN),
    }
)


class MachineFaultError(RuntimeError):
    """The machine or the installation cannot do the work; no recording is to blame."""


def is_fault_of_machine(error: BaseException) -> bool:
    """Whether an exception that a recording met says that the machine failed."""
    if not isinstance(error, Exception) or isinstance(error, MemoryError | MachineFaultError):
        return True
    return isinstance(error, OSError) and error.errno in MACHINE_ERRNOS
