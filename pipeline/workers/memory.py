"""Give memory back that is not in use, so that a process stays as large as its work. For glibc; elsewhere a no-op."""

import ctypes
import functools
import gc
from contextlib import suppress

from schemas.allocation import keep_freed_memory

LARGE_BLOCK_BYTES = 8 << 20
KEPT_BYTES = 32 << 20  # that may be free at the end of a heap
OBJECTS_BETWEEN_LOOKS = 20_000


def give_back_large_blocks() -> None:
    """Fix the size from which freed memory goes back at once. glibc raises it with every larger block that is freed, so
    that a worker would grow by the holes which clips and shards leave.

    A clip's arrays are below that size: each time anew from the kernel, they cost 4,000 page faults a recording.
    """
    keep_freed_memory(LARGE_BLOCK_BYTES, KEPT_BYTES)


@functools.cache  # once a process
def spare_what_stays() -> None:
    """Keep the collector from looking through all that is imported, again and again, while work makes many objects, and
    from looking after every few rows."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(OBJECTS_BETWEEN_LOOKS)


def give_back_freed() -> None:
    """Return what small objects have left free, after a step that held many of them."""
    gc.collect()
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)
