"""Bodies are unpacked where they are packed, within the limit, and taken as they came elsewhere."""

import gzip
import zlib
from collections.abc import Callable

import numpy as np
import pyarrow as pa
import pytest

from pipeline.media.fetching.encodings import unpacked
from pipeline.media.fetching.errors import FetchError
from pipeline.workers.awake import awake
from schemas.reasons import Reason

LIMIT = 1 << 20
NOISE = np.random.default_rng(0).bytes(100_000)
BODIES = (b"fLaC", NOISE, bytes(65_536), bytes(LIMIT), b"a" * 65_537 + NOISE)


def bare_deflate(body: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return packer.compress(body) + packer.flush()


def by_arrow(body: bytes, compression: str) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.CompressedOutputStream(sink, compression) as stream:
        stream.write(body)
    return bytes(sink.getvalue())


PACKED: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "X-GZip": lambda body: gzip.compress(body[:10]) + gzip.compress(b"") * 9_000 + gzip.compress(body[10:]) + b"\0",
    "deflate": zlib.compress,
    "Deflate": bare_deflate,
    "br": lambda body: by_arrow(body, "brotli"),
    "zstd": lambda body: by_arrow(body, "zstd"),
    "identity,gzip , utf-8": gzip.compress,
    "gzip, gzip": lambda body: gzip.compress(gzip.compress(body)),
    "br, gzip": lambda body: gzip.compress(by_arrow(body, "brotli")),
}


def read(body: bytes, said: str, *, whole: bool = True, limit: int = LIMIT, seconds: float = 20.0) -> bytes:
    return unpacked(body, said, max_bytes=limit, deadline=awake() + seconds, whole=whole)


@pytest.mark.parametrize("said", PACKED)
def test_what_is_packed_is_unpacked_and_what_is_not_is_taken_as_it_came(said: str) -> None:
    for body in BODIES:
        assert read(PACKED[said](body), said) == body
        assert read(body, said) == body


@pytest.mark.parametrize("said", ["", "identity", "none", "utf-8", "binary", "8bit", "audio/flac", "aws-chunked", ",;"])
def test_what_is_no_coding_means_nothing(said: str) -> None:
    assert read(NOISE, said) == NOISE


@pytest.mark.parametrize("said", PACKED)
def test_a_bomb_is_too_large_and_no_more_of_it_is_kept(said: str) -> None:
    with pytest.raises(FetchError) as caught:
        read(PACKED[said](bytes(LIMIT + 1)), said)
    assert caught.value.reason is Reason.MEDIA_TOO_LARGE


@pytest.mark.parametrize(
    ("body", "said", "whole", "seconds", "reason"),
    [
        (gzip.compress(NOISE)[:-9], "gzip", True, 20, Reason.BAD_RESPONSE),
        (gzip.compress(NOISE)[:-9], "gzip", False, 20, Reason.TRUNCATED_BODY),
        (gzip.compress(NOISE)[:-8] + bytes(8), "gzip", True, 20, Reason.BAD_RESPONSE),
        (NOISE, "a, b, c, d, e", True, 20, Reason.BAD_RESPONSE),
        (gzip.compress(b"") * 100_000, "gzip", True, 0.1, Reason.FETCH_TIMEOUT),
    ],
)
def test_what_cannot_be_unpacked_has_its_reason(
    body: bytes, said: str, whole: bool, seconds: float, reason: Reason
) -> None:
    with pytest.raises(FetchError) as caught:
        read(body, said, whole=whole, seconds=seconds)
    assert caught.value.reason is reason
