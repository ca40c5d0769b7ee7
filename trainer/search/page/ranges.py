"""The part of a file that a player asks for: one range of bytes, as RFC 9110 has it."""

import re

_ONE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})")


class OutOfRangeError(ValueError):
    """Nothing of the file lies in the range (416)."""


def part_of(header: str | None, size: int) -> tuple[int, int] | None:
    """[start, stop) of a file; None for the whole of it, which is also the answer to what is no single range.

    Raises OutOfRangeError.
    """
    found = _ONE.fullmatch((header or "").strip().lower())
    if found is None or not any(found.groups()):
        return None
    first, last = found.groups()
    if not first:
        start, stop = max(0, size - int(last)), size
    else:
        start, stop = int(first), size if not last else min(size, int(last) + 1)
        if last and int(last) < start:
            return None
    if start >= stop:
        raise OutOfRangeError(f"the file has {size} bytes")
    return start, stop
