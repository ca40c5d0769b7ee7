"""Suppression list: the recordings that a run must not take again, without saying which they are.

It holds a keyed hash of each id; the key is a random secret that is made once for each run and stands beside the
hashes. So the hashes of two runs cannot be compared, and nobody finds an id by hashing all the ids of the world
beforehand. Whoever has the file and an id can tell whether that id is on it: this is what the next mine does.
"""

import hashlib
import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

FORMAT_VERSION = 1
KEY_BYTES = 32
HASH_BYTES = 16


@dataclass(frozen=True, kw_only=True)
class SuppressionList:
    """`recording_id in suppressed` asks it; `key` and `hashes` are hexadecimal."""

    key: str
    hashes: frozenset[str] = frozenset()

    @classmethod
    def new(cls) -> "SuppressionList":
        return cls(key=secrets.token_hex(KEY_BYTES))

    def hash_of(self, recording_id: str) -> str:
        content = recording_id.encode("utf-8", "surrogatepass")
        return hashlib.blake2b(content, key=bytes.fromhex(self.key), digest_size=HASH_BYTES).hexdigest()

    def __contains__(self, recording_id: str) -> bool:
        return bool(self.hashes) and self.hash_of(recording_id) in self.hashes

    def __bool__(self) -> bool:
        return bool(self.hashes)

    def with_ids(self, recording_ids: Iterable[str]) -> "SuppressionList":
        return SuppressionList(key=self.key, hashes=self.hashes | {self.hash_of(name) for name in recording_ids})

    def without_ids(self, recording_ids: Iterable[str]) -> "SuppressionList":
        return SuppressionList(key=self.key, hashes=self.hashes - {self.hash_of(name) for name in recording_ids})

    def to_json(self) -> dict[str, Any]:
        return {"format_version": FORMAT_VERSION, "hashes": sorted(self.hashes), "key": self.key}

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> "SuppressionList":
        """Raises ValueError where it is no such list."""
        if value.get("format_version") != FORMAT_VERSION:
            raise ValueError(
                f"format_version is {value.get('format_version')!r}, this openmulan reads {FORMAT_VERSION}"
            )
        key, hashes = value.get("key"), value.get("hashes")
        if not isinstance(key, str) or len(bytes.fromhex(key)) != KEY_BYTES:
            raise ValueError(f"key is not {KEY_BYTES} bytes in hexadecimal")
        if not isinstance(hashes, list) or not all(isinstance(name, str) for name in hashes):
            raise ValueError("hashes is not a list of texts")
        return cls(key=key, hashes=frozenset(hashes))
