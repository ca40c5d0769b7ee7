"""Digests: the same thing has the same name wherever and whenever it is computed.

Everything that is named by its content (rows, configurations, shards, commit records) goes through this file, so that
there is one canonical form of JSON and one hash.
"""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

DIGEST_HEX_CHARS = 32


def canonical_json(value: Any) -> str:
    """JSON with sorted keys, no spaces and no NaN: equal values give equal texts."""
    return json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"), allow_nan=False)


def digest_bytes(content: bytes) -> str:
    """32 hex digits (128 bits) of blake2b."""
    return hashlib.blake2b(content, digest_size=DIGEST_HEX_CHARS // 2).hexdigest()


def digest_json(value: Mapping[str, Any] | list[Any]) -> str:
    """Digest of a JSON value, whatever the order of its keys."""
    return digest_text(canonical_json(value))


def digest_text(text: str) -> str:
    """Digest of a text, of `canonical_json` for one."""
    return digest_bytes(text.encode("utf-8", "surrogatepass"))


def hash64(text: str) -> int:
    """A 64-bit hash that is the same in every process and on every machine (unlike `hash`)."""
    return int.from_bytes(hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "big")
