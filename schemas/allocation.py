"""What becomes of memory that this process frees. For glibc; elsewhere a no-op."""

import ctypes
from contextlib import suppress

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # of glibc's malloc.h


def keep_freed_memory(largest_block_bytes: int, most_bytes: int) -> None:
    """Keep freed blocks below a size for those that come next, and at most so much free at the end of a heap; larger
    blocks go back to the system at once."""
    with suppress(OSError, AttributeError):
        libc = ctypes.CDLL(None)
        libc.mallopt(_M_MMAP_THRESHOLD, largest_block_bytes)
        libc.mallopt(_M_TRIM_THRESHOLD, most_bytes)
