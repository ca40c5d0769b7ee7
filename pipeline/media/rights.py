"""What the decoder's helper process gives up before the first item: files, sockets, processes, memory, time."""

import contextlib
import fcntl
import math
import os
import resource
import select
import signal
import sys

from pipeline.media.protocol import LIFELINE, DecodeConfig


def resident_bytes(statm_fd: int | None) -> int:
    if statm_fd is None:
        return 0
    return int(os.pread(statm_fd, 128, 0).split()[1]) * resource.getpagesize()


def _lower(limit: int, value: int) -> None:
    """Sets a limit for good; where the parent has set a lower one, that stays."""
    hard = resource.getrlimit(limit)[1]
    value = value if hard == resource.RLIM_INFINITY else min(value, hard)
    resource.setrlimit(limit, (value, value))


def give_up_rights(config: DecodeConfig) -> int | None:
    """Leaves this process what decoding needs. Returns a descriptor from which its size is read, where there is one."""
    statm_fd = None
    with contextlib.suppress(OSError):  # there is no /proc on macOS
        statm_fd = os.open("/proc/self/statm", os.O_RDONLY)
    if statm_fd is not None:
        size = int(os.pread(statm_fd, 128, 0).split()[0]) * resource.getpagesize()
        _lower(resource.RLIMIT_AS, size + config.memory_bytes)
    for limit in (resource.RLIMIT_CORE, resource.RLIMIT_FSIZE, resource.RLIMIT_NPROC):
        _lower(limit, 0)
    # Descriptors are handed out from the lowest free number on, and all below this one are taken.
    first_free = os.dup(0)
    os.close(first_free)
    _lower(resource.RLIMIT_NOFILE, first_free)
    return statm_fd


def end_with_parent() -> None:
    """Let the kernel end this process when the parent is gone, whatever a decoder is doing then."""
    lifeline = os.environ.pop(LIFELINE, None)
    if lifeline is None:
        return
    descriptor = int(lifeline)
    signal.signal(signal.SIGIO, signal.SIG_DFL)
    # Where a pipe cannot do this, reading from the closed standard input ends the process after the item.
    with contextlib.suppress(AttributeError, OSError):
        fcntl.fcntl(descriptor, fcntl.F_SETOWN, os.getpid())
        fcntl.fcntl(descriptor, fcntl.F_SETFL, fcntl.fcntl(descriptor, fcntl.F_GETFL) | os.O_ASYNC)
    if select.select([descriptor], [], [], 0)[0]:
        sys.exit(1)  # it was gone before


def arm_deadline(deadline_s: float) -> None:
    """The kernel ends this process should the parent be gone; the parent's own deadline comes first."""
    signal.setitimer(signal.ITIMER_REAL, deadline_s + 1)
    usage = resource.getrusage(resource.RUSAGE_SELF)
    cpu_s = math.ceil(usage.ru_utime + usage.ru_stime + deadline_s + 1)
    hard_s = resource.getrlimit(resource.RLIMIT_CPU)[1]
    resource.setrlimit(resource.RLIMIT_CPU, (cpu_s if hard_s == resource.RLIM_INFINITY else min(cpu_s, hard_s), hard_s))
