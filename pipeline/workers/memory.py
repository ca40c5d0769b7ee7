"""Give memory back that is not in use, so that a process stays as large as its work. For glibc; elsewhere a no-op."""

import ctypes
import gc
from contextlib import suppress

M_MMAP_THRESHOLD = -3  # of glibc's malloc.h
LARGE_BLOCK_BYTES = 128 << 10


def give_back_large_blocks() -> None:
    """Fix the size from which freed memory goes back at once. glibc raises it with every larger block that is freed, so
    that a worker would grow by the holes which clips and shards leave.
    """
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).mallopt(M_MMAP_THRESHOLD, LARGE_BLOCK_BYTES)


def give_back_freed() -> None:
    """Return what small objects have left free, after a step that held many of them."""
    gc.collect()
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)
