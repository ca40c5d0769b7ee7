"""What a server did to the body on its way (`Content-Encoding`), undone.

Asked for is the body as it is, but servers say what they like: a charset, the name of some cache's trick, `x-gzip` for
what was never packed. So the body decides: what is said to be packed is unpacked where that works to its end, and
anything else is taken as it came, for the decoder to tell whether it is media.
"""

import zlib
from collections.abc import Callable, Iterator
from typing import Any

import pyarrow as pa

from pipeline.media.fetching.errors import FetchError
from pipeline.media.fetching.within import within
from schemas.reasons import Reason

MAX_CODINGS = 4  # one within another
_GZIP_MAGIC = b"\x1f\x8b"
_GZIP_WINDOW = 16 + zlib.MAX_WBITS
_PIECE_BYTES = 1 << 16


class _NotSoError(Exception):
    """The body is not packed in the way that was said."""


def unpacked(body: bytes, said: str, *, max_bytes: int, deadline: float, whole: bool) -> bytes:
    """The body without the codings that `said`, a header's value, names. `whole` is whether the server said where the
    body ends, and it did. Raises FetchError.
    """
    codings = [coding.strip().lower() for coding in said.split(",")]
    if len(codings) > MAX_CODINGS:
        raise FetchError(Reason.BAD_RESPONSE, f"Content-Encoding names {len(codings)} codings, one within another")
    for coding in reversed(codings):
        for unpack in _WAYS.get(coding, ()):
            try:
                body = within(unpack(body), f"unpacked by {coding}", max_bytes=max_bytes, deadline=deadline)
            except _NotSoError as error:
                if unpack is _gzip and body.startswith(_GZIP_MAGIC):
                    reason = Reason.BAD_RESPONSE if whole else Reason.TRUNCATED_BODY
                    raise FetchError(reason, f"Content-Encoding is {coding}, and {error}") from error
            else:
                break
    return body


def _inflated(body: bytes, window: int) -> Iterator[bytes]:
    stream = zlib.decompressobj(window)
    at = 0
    while packed := body[at : at + _PIECE_BYTES]:
        if stream.eof and window != _GZIP_WINDOW:
            raise _NotSoError("more follows")
        if stream.eof:
            if not packed.startswith(_GZIP_MAGIC[:1]):
                return
            stream = zlib.decompressobj(window)  # gzip files may follow on one another
        yield _piece_of(stream, packed)
        at += len(packed) - len(stream.unconsumed_tail) - len(stream.unused_data)
    while not stream.eof and (piece := _piece_of(stream, b"")):
        yield piece
    if not stream.eof:
        raise _NotSoError("its end is missing")


def _piece_of(stream: Any, packed: bytes) -> bytes:
    try:
        piece: bytes = stream.decompress(packed, _PIECE_BYTES)
    except zlib.error as error:
        raise _NotSoError(str(error)) from error
    return piece


def _gzip(body: bytes) -> Iterator[bytes]:
    return _inflated(body, _GZIP_WINDOW)


def _zlib(body: bytes) -> Iterator[bytes]:
    return _inflated(body, zlib.MAX_WBITS)


def _bare_deflate(body: bytes) -> Iterator[bytes]:
    return _inflated(body, -zlib.MAX_WBITS)


def _by_arrow(compression: str) -> Callable[[bytes], Iterator[bytes]]:
    def unpack(body: bytes) -> Iterator[bytes]:
        try:
            with pa.CompressedInputStream(pa.BufferReader(body), compression) as stream:
                while piece := stream.read(_PIECE_BYTES):
                    yield piece
        except OSError as error:
            raise _NotSoError(str(error)) from error

    return unpack


# `deflate` is zlib's form by the book, and a bare stream by some servers.
_WAYS: dict[str, tuple[Callable[[bytes], Iterator[bytes]], ...]] = {
    "gzip": (_gzip,),
    "x-gzip": (_gzip,),
    "deflate": (_zlib, _bare_deflate),
    "br": (_by_arrow("brotli"),),
    "zstd": (_by_arrow("zstd"),),
}
