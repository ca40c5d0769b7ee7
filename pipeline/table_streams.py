"""The bytes of a table as UTF-8 with `\\n`, whatever program saved it: UTF-16 and UTF-32, and `\\r` line ends.

Everything is a stream: what is read ahead is bounded.
"""

import codecs
import io
from collections.abc import Callable
from typing import Any

HEAD_BYTES = 1 << 16
# Longest first: the mark of UTF-32 begins with that of UTF-16.
_MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


class EncodingError(Exception):
    """The bytes are not text in the encoding that they begin with."""


class _Recoded(io.RawIOBase):
    """A stream whose chunks go through `recode(chunk, is_last)`."""

    def __init__(self, head: bytes, stream: Any, recode: Callable[[bytes, bool], bytes]) -> None:
        self._ready = head
        self._stream = stream
        self._recode = recode
        self._done: bytes = b""
        self._ended = False

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._done and not self._ended:
            chunk, self._ready = self._ready or self._stream.read(HEAD_BYTES), b""
            self._ended = not chunk
            self._done = self._recode(chunk, self._ended)
        taken = self._done[: len(buffer)]
        buffer[: len(taken)] = taken
        self._done = self._done[len(taken) :]
        return len(taken)


def as_utf8(stream: Any, *, carriage_returns: bool) -> Any:
    """The stream as UTF-8 without a mark; with `carriage_returns` a file without any `\\n` may have `\\r` for it."""
    head = _head(stream).removeprefix(codecs.BOM_UTF8)
    encoding = next((name for mark, name in _MARKS if head.startswith(mark)), None) or _without_mark(head)
    recoded = _buffered(head, stream, _as_it_is if encoding is None else _decoded(encoding))
    if not carriage_returns:
        return recoded
    head = _head(recoded)
    return _buffered(head, recoded, _returns_replaced if _has_returns_alone(head) else _as_it_is)


def is_as_it_is(head: bytes, *, carriage_returns: bool) -> bool:
    """Whether `as_utf8` gives what begins so as it stands, but for UTF-8's mark."""
    text = head.removeprefix(codecs.BOM_UTF8)
    if any(text.startswith(mark) for mark, _ in _MARKS) or _without_mark(text) is not None:
        return False
    return not (carriage_returns and _has_returns_alone(text))


def _has_returns_alone(head: bytes) -> bool:
    return b"\r" in head[:-1] and b"\n" not in head


def _buffered(head: bytes, stream: Any, recode: Callable[[bytes, bool], bytes]) -> io.BufferedReader:
    return io.BufferedReader(_Recoded(head, stream, recode), HEAD_BYTES)


def _head(stream: Any) -> bytes:
    """The first bytes; a stream may give fewer than are asked for before its end."""
    head = b""
    while len(head) < HEAD_BYTES and (chunk := stream.read(HEAD_BYTES - len(head))):
        head += chunk
    return head


def _without_mark(head: bytes) -> str | None:
    """UTF-16 that does not say so: a table begins with ASCII, of which every other byte is then zero."""
    zeros = [byte == 0 for byte in head[:4]]
    if zeros == [False, True, False, True]:
        return "utf-16-le"
    return "utf-16-be" if zeros == [True, False, True, False] else None


def _as_it_is(chunk: bytes, is_last: bool) -> bytes:
    return chunk


def _returns_replaced(chunk: bytes, is_last: bool) -> bytes:
    return chunk.replace(b"\r", b"\n")


def _decoded(encoding: str) -> Callable[[bytes, bool], bytes]:
    decoder = codecs.getincrementaldecoder(encoding)("surrogatepass" if encoding.startswith("utf-16") else "strict")

    def recode(chunk: bytes, is_last: bool) -> bytes:
        try:
            return decoder.decode(chunk, is_last).encode("utf-8", "surrogatepass")
        except UnicodeError as error:
            raise EncodingError(f"begins as {encoding.upper()} and is not: {error}") from error

    return recode
