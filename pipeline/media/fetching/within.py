"""Bytes that come in pieces, taken as long as they stay within a size and a deadline."""

from collections.abc import Iterable

from pipeline.media.fetching.errors import FetchError
from pipeline.workers.awake import awake
from schemas.reasons import Reason


def within(pieces: Iterable[bytes], what: str, *, max_bytes: int, deadline: float) -> bytes:
    """All of `what`, by a time of `awake`. Raises FetchError."""
    kept: list[bytes] = []
    got = 0
    for piece in pieces:
        if piece:
            kept.append(piece)
        got += len(piece)
        if got > max_bytes:
            raise FetchError(Reason.MEDIA_TOO_LARGE, f"{what}: more than {max_bytes} bytes")
        if awake() >= deadline:
            raise FetchError(Reason.FETCH_TIMEOUT, f"{what}: {got} bytes came in time")
    return b"".join(kept)
