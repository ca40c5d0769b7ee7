"""A JSON array in a file, one element after the other, in bounded memory: the array is not held, only one element is.

Elements are found by their brackets and quotes alone, so that one that is no JSON costs itself and not its neighbours.
"""

import re
from collections.abc import Iterator
from typing import Any

CHUNK_BYTES = 1 << 16
# How a file begins that holds an array of rows, and not a line that is none.
ARRAY_START = re.compile(rb"\s*\[\s*(?:[{\]]|$)")
_TOKEN = re.compile(rb'\\.|["{}\[\],]', re.DOTALL)


class ArrayError(Exception):
    """The array has no end, or something comes after it."""


def array_elements(stream: Any, max_bytes: int) -> Iterator[bytes | None]:
    """The elements, as they stand there; None for one that is longer than `max_bytes`. Raises ArrayError."""
    content = b""
    start = at = depth = 0  # where the element begins, from where on it is looked through, how deep that is
    too_long = in_text = ended = False
    while chunk := stream.read(CHUNK_BYTES):
        content += chunk
        for token in _TOKEN.finditer(content, at):
            at, mark = token.end(), token.group()
            if ended:
                break
            if mark == b'"':
                in_text = not in_text
            elif in_text or mark.startswith(b"\\"):
                continue
            elif mark in b"{[":
                depth += 1
                start = at if depth == 1 else start
            elif mark in b"}]" or depth == 1:
                depth -= mark != b","
                ended = depth == 0
                if ended or mark == b",":  # or else something inside of the element ends here
                    element = content[start : at - 1].strip()
                    if too_long or len(element) > max_bytes:
                        yield None
                    elif element:
                        yield element
                    start, too_long = at, False
        if ended and content[start:].strip():
            raise ArrayError("there is more after the end of the array")
        at = max(at, len(content) - content.endswith(b"\\"))  # what the last backslash stands before is still to come
        if at - start > max_bytes:
            start, too_long = at, True
        content, start, at = content[start:], 0, at - start
    if not ended:
        raise ArrayError("the array does not end; is the file whole?")
