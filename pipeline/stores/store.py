"""Stores: where the files of a run can lie, behind one small contract.

A path is a name and never a pattern. An absent file is `None`, and whatever else keeps a file from being read is a
`StoreError`: to take the second for the first would plan over a run that is there. A file appears under its name whole
or not at all. `create` and `swap` write only where the file is still what the caller last saw, which is what keeps two
jobs apart; a store that cannot do so says it by `conditional`.

Local disks are here, object stores in `pipeline.stores.object_stores`; everything else goes through Beam's file
systems.
"""

import contextlib
import errno
import fcntl
import hashlib
import logging
import os
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Protocol, TypeVar

from apache_beam.io.filesystem import BeamIOError, CompressionTypes
from apache_beam.io.filesystems import FileSystems

from pipeline.workers.faults import MachineFaultError
from schemas.one_line import one_line

MUTEX_NAME = ".mutex"
MUTEX_WAIT_S = 20.0
COPY_BYTES = 1 << 20
AT_ONCE = 32  # requests that a launcher has open with a store
READ_BYTES = 4 << 20  # that one request asks for, where a file is read from end to end
# Beyond what a store's own client tries again.
WAITS_S = (0.5, 2.0)

log = logging.getLogger(__name__)
Result = TypeVar("Result")


class StoreError(MachineFaultError):
    """A file could not be read, written or listed, though it may well be there; the same command may succeed later."""


def tried(call: Callable[[], Result]) -> Result:
    """What a store answers, asked again where it fails for the moment. Raises StoreError where it goes on failing."""
    for wait_s in WAITS_S:
        try:
            return call()
        except StoreError as error:
            log.warning("%s; trying again", error)
            time.sleep(wait_s)
    return call()


@dataclass(frozen=True, kw_only=True)
class FileInfo:
    """A file; `modified_s` is in seconds since the epoch, None where the store does not say."""

    path: str
    size: int
    modified_s: float | None


class Store(Protocol):
    """One kind of place. Every method raises StoreError where the place fails."""

    conditional: bool  # whether `create` and `swap` keep two writers apart

    def stat(self, path: str) -> FileInfo | None: ...

    def files(self, folder: str, *, deep: bool = False) -> list[FileInfo]:
        """Files in a folder (`deep`: and below it) in any order; none where there is no such folder."""
        ...

    def folders(self, folder: str) -> list[str]:
        """Names of the folders in a folder, in any order."""
        ...

    def open(self, path: str, *, ahead_bytes: int = READ_BYTES) -> Any:
        """A seekable binary stream, which may read so far ahead. Raises FileNotFoundError where there is no file."""
        ...

    def read(self, path: str) -> tuple[bytes, str] | None:
        """Content and version, or None where there is no file."""
        ...

    def write(self, path: str, content: bytes) -> None: ...

    def upload(self, staged: str, path: str) -> None:
        """Give a local file its place in the store; the local one may be gone afterwards."""
        ...

    def create(self, path: str, content: bytes) -> str | None:
        """Write a file that must not be there yet: its version, or None where there is one."""
        ...

    def swap(self, path: str, content: bytes, version: str) -> str | None:
        """Replace a file that must still have this version: its new one, or None where it has another or is gone."""
        ...

    def delete(self, path: str) -> None:
        """One that is not there is no error."""
        ...


class LocalStore:
    """A disk of this machine, or one that looks like it.

    Files are written beside their place and moved there. Replacing a file that must not have changed takes a kernel
    lock of its folder for the moment, which goes with the process that holds it.
    """

    conditional = True

    def stat(self, path: str) -> FileInfo | None:
        with _local_errors(path, "cannot be looked at"):
            try:
                status = os.stat(path)
            except (FileNotFoundError, NotADirectoryError):
                return None
        return FileInfo(path=path, size=status.st_size, modified_s=status.st_mtime)

    def files(self, folder: str, *, deep: bool = False) -> list[FileInfo]:
        found = []
        with _local_errors(folder, "cannot be listed"):
            try:
                entries = list(os.scandir(folder))
            except FileNotFoundError:
                return []
            for entry in entries:
                path = f"{folder.rstrip('/')}/{entry.name}"
                if entry.is_dir():
                    if deep and not entry.is_symlink():
                        found += self.files(path, deep=True)
                elif (info := self.stat(path)) is not None:  # None: gone since, as another's temporary file is
                    found.append(info)
        return found

    def folders(self, folder: str) -> list[str]:
        with _local_errors(folder, "cannot be listed"):
            try:
                return [entry.name for entry in os.scandir(folder) if entry.is_dir()]
            except FileNotFoundError:
                return []

    def open(self, path: str, *, ahead_bytes: int = READ_BYTES) -> BinaryIO:
        with _local_errors(path, "cannot be opened"):
            return open(path, "rb")

    def read(self, path: str) -> tuple[bytes, str] | None:
        with _local_errors(path, "cannot be read"):
            try:
                content = Path(path).read_bytes()
            except (FileNotFoundError, NotADirectoryError):
                return None
        return content, _version(content)

    def write(self, path: str, content: bytes) -> None:
        with _local_errors(path, "cannot be written"), _beside(path, content) as beside:
            os.replace(beside, path)

    def upload(self, staged: str, path: str) -> None:
        with _local_errors(path, "cannot be written"), open(staged, "rb") as stream:
            os.fsync(stream.fileno())
        self.move(staged, path)

    def move(self, staged: str, path: str) -> None:
        """As `upload`, without waiting for the disk: a power cut may leave any part of the file."""
        with _local_errors(path, "cannot be written"):
            os.makedirs(_folder(path), exist_ok=True)
            os.replace(staged, path)

    def create(self, path: str, content: bytes) -> str | None:
        with _local_errors(path, "cannot be written"), _beside(path, content) as beside:
            try:
                # A second name for the file fails where the name is taken; to look first would leave a gap.
                os.link(beside, path)
            except FileExistsError:
                return None
            except OSError as error:
                if error.errno not in (errno.EPERM, errno.ENOTSUP, errno.EMLINK):
                    raise
                # A disk without second names.
                with _mutex(_folder(path)):
                    if os.path.lexists(path):
                        return None
                    os.replace(beside, path)
        return _version(content)

    def swap(self, path: str, content: bytes, version: str) -> str | None:
        with _local_errors(path, "cannot be written"), _beside(path, content) as beside, _mutex(_folder(path)):
            found = self.read(path)
            if found is None or found[1] != version:
                return None
            os.replace(beside, path)
        return _version(content)

    def delete(self, path: str) -> None:
        with _local_errors(path, "cannot be deleted"):
            Path(path).unlink(missing_ok=True)


def _folder(path: str) -> str:
    return os.path.dirname(path) or "."


def _version(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


@contextlib.contextmanager
def _local_errors(path: str, what: str) -> Iterator[None]:
    """Every error of the disk as one line; an absent file stays FileNotFoundError for those who ask for one."""
    try:
        yield
    except FileNotFoundError:
        raise
    except OSError as error:
        # With its number: what a worker says reaches the launcher as text, and the launcher knows what to advise.
        said = f"[Errno {error.errno}] {error.strerror}" if error.errno else str(error)
        raise StoreError(f"{path}: {what} ({said})") from error


@contextlib.contextmanager
def _beside(path: str, content: bytes) -> Iterator[str]:
    """A file with the content under a name of its own in the same folder; what is not moved is deleted."""
    os.makedirs(_folder(path), exist_ok=True)
    beside = f"{path}.{uuid.uuid4().hex}.tmp"
    try:
        with open(beside, "wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        yield beside
    finally:
        Path(beside).unlink(missing_ok=True)


@contextlib.contextmanager
def _mutex(folder: str) -> Iterator[None]:
    path = os.path.join(folder, MUTEX_NAME)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    try:
        deadline = time.monotonic() + MUTEX_WAIT_S
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError as error:
                if time.monotonic() > deadline:
                    raise StoreError(
                        f"{path}: held by another process for {MUTEX_WAIT_S:g} s; is one suspended? "
                        f"`fuser {path}` names it"
                    ) from error
                time.sleep(0.05)
        yield
    finally:
        os.close(descriptor)


class BeamStore:
    """Whatever else Beam has a file system for, such as hdfs://: no conditional writes there."""

    conditional = False

    def stat(self, path: str) -> FileInfo | None:
        with _beam_errors(path, "cannot be looked at"):
            if not FileSystems.exists(path):
                return None
            (result,) = FileSystems.match([_literal(path)])
            return next((_info(metadata) for metadata in result.metadata_list if metadata.path == path), None)

    def files(self, folder: str, *, deep: bool = False) -> list[FileInfo]:
        with _beam_errors(folder, "cannot be listed"):
            if not FileSystems.exists(folder):
                return []
            (result,) = FileSystems.match([f"{_literal(folder.rstrip('/'))}/{'**' if deep else '*'}"])
            return [_info(metadata) for metadata in result.metadata_list]

    def folders(self, folder: str) -> list[str]:
        prefix = f"{folder.rstrip('/')}/"
        below = [info.path.removeprefix(prefix) for info in self.files(folder, deep=True)]
        return sorted({path.partition("/")[0] for path in below if "/" in path})

    def open(self, path: str, *, ahead_bytes: int = READ_BYTES) -> Any:
        with _beam_errors(path, "cannot be opened"):
            return FileSystems.open(path, compression_type=CompressionTypes.UNCOMPRESSED)

    def read(self, path: str) -> tuple[bytes, str] | None:
        with _beam_errors(path, "cannot be read"):
            if not FileSystems.exists(path):
                return None
            with self.open(path) as stream:
                content: bytes = stream.read()
        return content, _version(content)

    def write(self, path: str, content: bytes) -> None:
        with (
            _beam_errors(path, "cannot be written"),
            FileSystems.create(path, compression_type=CompressionTypes.UNCOMPRESSED) as sink,
        ):
            sink.write(content)

    def upload(self, staged: str, path: str) -> None:
        with (
            _beam_errors(path, "cannot be written"),
            open(staged, "rb") as source,
            FileSystems.create(path, compression_type=CompressionTypes.UNCOMPRESSED) as sink,
        ):
            while chunk := source.read(COPY_BYTES):
                sink.write(chunk)

    def create(self, path: str, content: bytes) -> str | None:
        if self.stat(path) is not None:
            return None
        self.write(path, content)
        return _version(content)

    def swap(self, path: str, content: bytes, version: str) -> str | None:
        found = self.read(path)
        if found is None or found[1] != version:
            return None
        self.write(path, content)
        return _version(content)

    def delete(self, path: str) -> None:
        with _beam_errors(path, "cannot be deleted"):
            if FileSystems.exists(path):
                FileSystems.delete([_literal(path)])


def _info(metadata: Any) -> FileInfo:
    return FileInfo(
        path=str(metadata.path), size=metadata.size_in_bytes, modified_s=metadata.last_updated_in_seconds or None
    )


def _literal(path: str) -> str:
    """A pattern of Beam's that only this very path fits."""
    return "".join(f"[{c}]" if c in "*?[" else c for c in path)


@contextlib.contextmanager
def _beam_errors(path: str, what: str) -> Iterator[None]:
    try:
        yield
    except (BeamIOError, OSError) as error:
        raise StoreError(f"{path}: {what} ({one_line(error)})") from error
