"""The one reader of a mined run: manifest first, then the row groups of the shards that it names.

Works on a local folder or any URI that `pyarrow.fs` knows (`gs://`, `s3://`), needs neither Beam nor torch. What an
object store does not answer is asked again, and is an error after that, never "there is none".
"""

import hashlib
import json
import re
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from threading import Lock
from typing import Any, TypeVar

import pyarrow as pa
import pyarrow.fs
import pyarrow.parquet as pq

from schemas.manifest import POINTER_NAME, Manifest, ShardEntry, manifest_name
from schemas.one_line import one_line
from schemas.shard_format import RecordError, Shard, UnknownFormatError, open_shard

_MANIFEST_NAME = re.compile(r"manifest-(\d{4,})\.json")
_REPAIR = "mine again to repair the run"
_READ_ERRORS = (OSError, pa.ArrowException, RecordError)
# pyarrow asks a store again by itself, but not where the answer is shorter than the store's complaint: a small file.
_WAITS_S = (0.5, 1.0, 2.0)
_OPEN_SHARDS = 64  # of a run

Answer = TypeVar("Answer")


class RunError(Exception):
    """A run that cannot be read: says which file and what to do."""


@dataclass(frozen=True, kw_only=True)
class RowGroup:
    """Where some rows stand, and what their statistics promise.

    `text_sources` is the one value that all rows of the group share, or None where the group mixes values;
    `max_lf_score` is the largest of the group, or None where no sentence of it is scored.
    """

    shard: ShardEntry
    index: int
    rows: int
    text_sources: int | None
    max_lf_score: float | None


class _OpenShards:
    """The shards that were read last stay open, so that a footer is read once for the texts and the audio of a group.

    A shard is read by one thread at a time; another that asks meanwhile opens it for itself.
    """

    def __init__(self) -> None:
        self._idle: OrderedDict[str, Shard] = OrderedDict()
        self._lock = Lock()

    def ask(self, path: str, open_file: Callable[[str], Any], read: Callable[[Shard], Answer]) -> Answer:
        with self._lock:
            shard = self._idle.pop(path, None)
        if shard is None:
            shard = open_shard(path, open_file)
        answer = read(shard)
        with self._lock:
            self._idle[path] = shard
            if len(self._idle) > _OPEN_SHARDS:
                self._idle.popitem(last=False)
        return answer


class Run:
    """`Run.open(folder)` reads the newest manifest, `Run.open(folder, number=3)` an older one.

    `location` is the folder as others may open it, a path or a URI; `filesystem` and `root` are the same for pyarrow.
    """

    def __init__(self, location: str, root: str, filesystem: pyarrow.fs.FileSystem, manifest: Manifest) -> None:
        self.location = location
        self.root = root
        self.filesystem = filesystem
        self.manifest = manifest
        self._opened = _OpenShards()

    @classmethod
    def open(cls, folder: str | Path, number: int | None = None) -> "Run":
        """Raises RunError where there is no finished run, or where it cannot be read."""
        location, root, filesystem = _open_folder(folder)
        if number is not None:
            name: Any = manifest_name(number)
            advice = "the run has no such manifest"
        else:
            pointer = f"{root}/{POINTER_NAME}"
            name = _read_json(filesystem, pointer, "is it the output of a finished `mulan mine`?").get("manifest")
            if not isinstance(name, str) or not _MANIFEST_NAME.fullmatch(name):
                raise RunError(f"{pointer}: does not name a manifest; {_REPAIR}")
            advice = f"{POINTER_NAME} names it; {_REPAIR}"
        return cls(location, root, filesystem, _read_manifest(filesystem, f"{root}/{name}", advice))

    def at(self, number: int) -> "Run":
        """The same run at another of its manifests. Raises RunError."""
        path = f"{self.root}/{manifest_name(number)}"
        manifest = _read_manifest(self.filesystem, path, "the run has no such manifest")
        return Run(self.location, self.root, self.filesystem, manifest)

    def files(self) -> list[str]:
        """The shards that the manifest names, as paths or URIs: each recording once.

        A pattern over `shards/` gives those of older generations too.
        """
        return [f"{self.location}/{shard.path}" for shard in self.manifest.shards]

    def numbers(self) -> list[int]:
        """The manifests that the run still has, newest first; there may be gaps. Raises RunError."""
        try:
            found = asked(self.filesystem, lambda: self.filesystem.get_file_info(pyarrow.fs.FileSelector(self.root)))
        except _READ_ERRORS as error:
            raise RunError(f"{self.root}: cannot be listed ({one_line(error)})") from error
        names = (_MANIFEST_NAME.fullmatch(info.base_name) for info in found)
        return sorted((int(name[1]) for name in names if name), reverse=True)

    def row_groups(self, shards: Iterable[ShardEntry] | None = None) -> Iterator[RowGroup]:
        """Every row group in manifest order (or of some shards), from the shards' footers alone."""
        for shard in self.manifest.shards if shards is None else shards:
            for index, found in enumerate(self._ask(shard, lambda file: file.groups())):
                yield RowGroup(
                    shard=shard,
                    index=index,
                    rows=found.rows,
                    text_sources=found.text_sources,
                    max_lf_score=found.max_lf_score,
                )

    def read(
        self, group: RowGroup, columns: Sequence[str] | None = None, rows: Sequence[int] | None = None
    ) -> pa.Table:
        """The rows of a group, or `rows` of it in the order given; `columns` None reads all. Raises RunError."""
        return self._ask(group.shard, lambda file: file.read(group.index, columns, rows))

    def groups(self) -> pa.Table:
        """The near-duplicate groups: `recording_id`, `group`."""
        path = f"{self.root}/{self.manifest.groups_path}"
        try:
            columns = ["recording_id", "group"]
            return asked(self.filesystem, lambda: pq.read_table(path, filesystem=self.filesystem, columns=columns))
        except _READ_ERRORS as error:
            raise RunError(f"{path}: not a readable table of groups ({one_line(error)}); {_REPAIR}") from error

    def check(self, shard: ShardEntry, *, content: bool) -> None:
        """Raises RunError where a shard is missing or has another size than the manifest says (or, with `content`,
        another hash)."""
        path = f"{self.root}/{shard.path}"
        try:
            info = asked(self.filesystem, lambda: self.filesystem.get_file_info(path))
            if info.type != pyarrow.fs.FileType.File:
                raise RunError(f"{path}: the shard is missing; {_REPAIR}")
            if info.size != shard.bytes:
                raise RunError(f"{path}: has {info.size} bytes, the manifest says {shard.bytes}; {_REPAIR}")
            if content and asked(self.filesystem, lambda: self._sha256(path)) != shard.sha256:
                raise RunError(f"{path}: the content is not what the manifest names; {_REPAIR}")
        except _READ_ERRORS as error:
            raise self._unreadable(shard, error) from error

    def sizes(self) -> dict[str, int]:
        """The bytes of each file that stands where shards do, by the path that a manifest gives it. Raises RunError."""
        found: dict[str, int] = {}
        for folder in {str(PurePosixPath(shard.path).parent) for shard in self.manifest.shards}:
            path = f"{self.root}/{folder}"
            try:
                select = pyarrow.fs.FileSelector(path, allow_not_found=True)
                infos = asked(self.filesystem, partial(self.filesystem.get_file_info, select))
            except _READ_ERRORS as error:
                raise RunError(f"{path}: cannot be listed ({one_line(error)})") from error
            found |= {f"{folder}/{info.base_name}": info.size for info in infos}
        return found

    def _ask(self, shard: ShardEntry, read: Callable[[Shard], Answer]) -> Answer:
        """What a shard answers. Raises RunError."""
        path = f"{self.root}/{shard.path}"
        try:
            return asked(self.filesystem, lambda: self._opened.ask(path, self._open_file, read))
        except UnknownFormatError as error:
            raise RunError(str(error)) from error
        except _READ_ERRORS as error:
            raise self._unreadable(shard, error) from error

    def _open_file(self, path: str) -> pa.NativeFile:
        # Its type tells a reader that small reads cost next to nothing.
        return pa.OSFile(path) if self.filesystem.type_name == "local" else self.filesystem.open_input_file(path)

    def _sha256(self, path: str) -> str:
        digest = hashlib.sha256()
        with self.filesystem.open_input_stream(path) as stream:
            while block := stream.read(1 << 20):
                digest.update(block)
        return digest.hexdigest()

    def _unreadable(self, shard: ShardEntry, error: Exception | str) -> RunError:
        return RunError(f"{self.root}/{shard.path}: not a readable shard ({one_line(error)}); {_REPAIR}")


def _open_folder(folder: str | Path) -> tuple[str, str, pyarrow.fs.FileSystem]:
    """(location, root, file system) of a run folder: a path, or a URI whose options stand behind a `?`.

    Raises RunError where pyarrow knows no such file system.
    """
    location = str(folder)
    if "://" not in location:
        root = str(Path(location).resolve())
        return root, root, pyarrow.fs.LocalFileSystem()
    try:
        filesystem, root = pyarrow.fs.FileSystem.from_uri(location)
    except _READ_ERRORS as error:
        raise RunError(f"{location}: cannot be opened ({one_line(error)})") from error
    root = root.rstrip("/")
    if filesystem.type_name == "local":
        return root, root, filesystem
    if filesystem.type_name in ("s3", "gcs"):  # whose root begins with the bucket; keys may stand before it
        return f"{location.partition('://')[0]}://{root}", root, filesystem
    return location.partition("?")[0].rstrip("/"), root, filesystem


def asked(filesystem: pyarrow.fs.FileSystem, read: Callable[[], Answer]) -> Answer:
    """What `read` gives; where an object store fails to answer, it is asked three times more."""
    waits_s = () if filesystem.type_name == "local" else _WAITS_S
    for wait_s in waits_s:
        try:
            return read()
        except (FileNotFoundError, PermissionError):
            raise
        except OSError:
            time.sleep(wait_s)
    return read()


def read_file(filesystem: pyarrow.fs.FileSystem, path: str) -> bytes:
    """A small file as a whole. Raises OSError."""

    def read() -> bytes:
        with filesystem.open_input_stream(path) as stream:
            content: bytes = stream.read()
        return content

    return asked(filesystem, read)


def _read_json(filesystem: pyarrow.fs.FileSystem, path: str, advice: str) -> dict[str, Any]:
    try:
        value = json.loads(read_file(filesystem, path))
    except (*_READ_ERRORS, ValueError) as error:
        raise RunError(f"{path}: cannot be read ({one_line(error)}); {advice}") from error
    if not isinstance(value, dict):
        raise RunError(f"{path}: not a JSON object; {advice}")
    return value


def _read_manifest(filesystem: pyarrow.fs.FileSystem, path: str, advice: str) -> Manifest:
    try:
        return Manifest.from_json(_read_json(filesystem, path, advice))
    except ValueError as error:
        raise RunError(f"{path}: {error}") from error
