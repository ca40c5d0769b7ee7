"""What was fetched once, under the digest of its content, so that a killed shard does not fetch again.

`media/` holds each content once, whatever it was fetched as; its name is its SHA-256, so what a broken disk or a full
one leaves is noticed and fetched again. `uris/` says which content a URI had. Several processes share a folder; each
file appears whole. When the folder is over its bound, the files that were not used for longest go.
"""

import contextlib
import hashlib
import logging
import os
import tempfile
from pathlib import Path

from schemas.digest import digest_bytes

SWEEP_SHARE = 16  # of the bound is written by a process between two looks at the whole folder
LOW_WATER = 0.9
TMP_SUFFIX = ".tmp"
NAME_BYTES = 64  # a SHA-256 in hexadecimal, which is what a file of `uris/` holds
log = logging.getLogger(__name__)


class MediaCache:
    """`get` and `put` by URI. A cache that cannot be written is not an error: it is a cache that has nothing."""

    def __init__(self, folder: str, max_bytes: int) -> None:
        self._folder = Path(folder)
        self._max_bytes = max_bytes
        self._folder.mkdir(parents=True, exist_ok=True)
        self._since_sweep = max_bytes  # so that the first `put` looks

    def get(self, uri: str) -> bytes | None:
        reference = self._reference(uri)
        try:
            name = reference.read_text(encoding="ascii")
            if len(name) != NAME_BYTES or not name.isalnum():
                raise ValueError(name)
            path = self._media(name)
            media = path.read_bytes()
        except (OSError, ValueError):
            return None
        if hashlib.sha256(media).hexdigest() != name:
            log.warning("cache: %s is damaged and is dropped", path)
            path.unlink(missing_ok=True)
            return None
        for used in (reference, path):
            with contextlib.suppress(OSError):
                os.utime(used)
        return media

    def put(self, uri: str, media: bytes) -> None:
        if len(media) + NAME_BYTES > self._max_bytes:
            return
        self._since_sweep += len(media)
        if self._since_sweep > self._max_bytes // SWEEP_SHARE:
            self._sweep(len(media) + NAME_BYTES)
        name = hashlib.sha256(media).hexdigest()
        try:
            self._write(self._media(name), media)
            self._write(self._reference(uri), name.encode())
        except OSError as error:
            log.warning("cache: %s was not kept: %s", self._folder, error.strerror)

    def forget(self, uri: str) -> bool:
        """Delete what a URI had; whether there was anything. Raises OSError."""
        reference = self._reference(uri)
        try:
            name = reference.read_text(encoding="ascii")
        except (FileNotFoundError, ValueError):
            name = ""
        if len(name) == NAME_BYTES and name.isalnum():
            # Another URI with this content misses it, and fetches it again.
            self._media(name).unlink(missing_ok=True)
        there = reference.exists()
        reference.unlink(missing_ok=True)
        return there

    def _write(self, path: Path, content: bytes) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, beside = tempfile.mkstemp(dir=path.parent, suffix=TMP_SUFFIX)
        try:
            with os.fdopen(descriptor, "wb") as stream:
                stream.write(content)
            os.replace(beside, path)
        except BaseException:
            Path(beside).unlink(missing_ok=True)
            raise

    def _media(self, name: str) -> Path:
        return self._folder / "media" / name[:2] / name

    def _reference(self, uri: str) -> Path:
        name = digest_bytes(uri.encode("utf-8", "surrogatepass"))
        return self._folder / "uris" / name[:2] / name

    def _sweep(self, room: int) -> None:
        """Delete the files that were not used for longest until `room` is left."""
        files: list[tuple[float, int, str]] = []
        for folder, _, names in os.walk(self._folder):
            for name in names:
                path = os.path.join(folder, name)
                with contextlib.suppress(OSError):
                    status = os.stat(path)
                    # What a killed process was writing counts as unused since it began, like any other file.
                    files.append((status.st_mtime, status.st_size, path))
        total = sum(size for _, size, _ in files)
        self._since_sweep = 0
        if total + room <= self._max_bytes:
            return
        for _, size, path in sorted(files):
            if total + room <= self._max_bytes * LOW_WATER:
                break
            with contextlib.suppress(OSError):
                os.unlink(path)
            total -= size
