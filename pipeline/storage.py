"""Files of a run, wherever it lies.

A path is literal; the one function that takes a pattern is `find`, for the options that are documented as one. What a
store fails at for the moment is tried again; what stays unreadable is an error and never taken for absent.
"""

import contextlib
import glob
import hashlib
import json
import logging
import os
import re
import tempfile
import uuid
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

from apache_beam.io.filesystem import FileSystem

from pipeline.stores.object_stores import object_store
from pipeline.stores.store import (
    AT_ONCE,
    COPY_BYTES,
    READ_BYTES,
    BeamStore,
    FileInfo,
    LocalStore,
    Result,
    Store,
    StoreError,
    tried,
)
from pipeline.workers.faults import MachineFaultError
from schemas.commit import FileEntry

TMP_FOLDER = "tmp"
TMP_NAME = re.compile(r"mulan-[0-9a-f]{32}")

log = logging.getLogger(__name__)
Asked = TypeVar("Asked")
_LOCAL, _BEAM = LocalStore(), BeamStore()


class DamagedError(MachineFaultError):
    """A file of a run is there and is not what it should be, or is gone although the run names it. One line for a
    person: what to do is to bring the file back, since to go on without it would lose what it says."""


def no_op(name: str) -> None:
    """The default of `on_commit_point`."""


# Called with a name at each point where a kill must be survived, so that a test can kill the process right there.
on_commit_point: Callable[[str], None] = no_op


def failpoint(name: str) -> None:
    on_commit_point(name)


def is_local(path: str) -> bool:
    return "://" not in path


def join(folder: str, *names: str) -> str:
    return "/".join([folder.rstrip("/"), *names])


def parent(path: str) -> str:
    return path.rsplit("/", 1)[0] if "/" in path else "."


def _store(path: str) -> Store:
    if is_local(path):
        return _LOCAL
    return object_store(path.partition("://")[0].lower()) or _BEAM


def _tried(path: str, call: Callable[[Store], Result]) -> Result:
    """What a store answers. A local disk that fails is not asked again: it would fail again."""
    store = _store(path)
    return call(store) if is_local(path) else tried(lambda: call(store))


def stat(path: str) -> FileInfo | None:
    """The file of this very name, or None."""
    return _tried(path, lambda store: store.stat(path))


def exists(path: str) -> bool:
    return stat(path) is not None


def list_folder(folder: str, *, deep: bool = False) -> list[FileInfo]:
    """The files of a folder (`deep`: and below it), in the order of their paths; none where there is no folder."""
    found = _tried(folder, lambda store: store.files(folder, deep=deep))
    return sorted(found, key=lambda info: info.path)


def list_folders(folder: str) -> list[str]:
    """Names of the folders in a folder, in order."""
    return sorted(_tried(folder, lambda store: store.folders(folder)))


def name_of(path: str) -> str:
    return path.rsplit("/", 1)[-1]


def find(pattern: str) -> list[FileInfo]:
    """The files that a user's pattern names, in the order of their paths. A name that exists as it stands wins, and so
    does the name of a local folder on the way there: `Album [FLAC]/*.jsonl` is what it looks like."""
    pattern = os.path.abspath(pattern) if is_local(pattern) else pattern
    as_it_stands = stat(pattern)
    if as_it_stands is not None and not (is_local(pattern) and os.path.isdir(pattern)):
        return [as_it_stands]
    folder, rest = _literal_part(pattern)
    if not rest:
        return []
    if is_local(pattern):
        list_folder(folder)  # glob takes a folder that cannot be read for an empty one
        paths = glob.glob(join(glob.escape(folder), *rest), recursive=True)
        found = [stat(path) for path in paths if not os.path.isdir(path)]
        return sorted((info for info in found if info is not None), key=lambda info: info.path)
    fits = re.compile(FileSystem.translate_pattern("/".join(rest)))
    inside = list_folder(folder, deep=len(rest) > 1 or "**" in rest[0])
    return [info for info in inside if fits.fullmatch(info.path.removeprefix(f"{folder}/"))]


def find_folders(pattern: str) -> list[str]:
    """The folders that a user's pattern names, in order. In an object store that is one with something below it."""
    if not is_local(pattern):
        folder, rest = _literal_part(pattern)
        if not rest:
            return [pattern] if list_folder(pattern, deep=True) else []
        fits = re.compile(FileSystem.translate_pattern("/".join(rest)))
        if len(rest) == 1 and "**" not in rest[0]:
            names = set(list_folders(folder))
        else:
            inside = [info.path.removeprefix(f"{folder}/") for info in list_folder(folder, deep=True)]
            names = {name[: slash.start()] for name in inside for slash in re.finditer("/", name)}
        return sorted(join(folder, name) for name in names if fits.fullmatch(name))
    pattern = os.path.abspath(pattern)
    if os.path.isdir(pattern):
        return [pattern]
    folder, rest = _literal_part(pattern)
    paths = glob.glob(join(glob.escape(folder), *rest), recursive=True) if rest else []
    return sorted(path for path in paths if os.path.isdir(path))


def _literal_part(pattern: str) -> tuple[str, list[str]]:
    """The folder that a pattern begins with, and its other parts, from the first that has a wildcard on."""
    scheme, separator, path = pattern.rpartition("://")
    parts = path.split("/")
    taken = 1
    while taken < len(parts) and (
        not glob.has_magic(parts[taken]) or (not separator and os.path.lexists("/".join(parts[: taken + 1])))
    ):
        taken += 1
    return f"{scheme}{separator}{'/'.join(parts[:taken])}" or "/", parts[taken:]


def open_file(path: str, *, ahead_bytes: int = READ_BYTES) -> Any:
    """A seekable binary stream, which may read so far ahead. Raises DamagedError where there is no such file."""
    try:
        return _tried(path, lambda store: store.open(path, ahead_bytes=ahead_bytes))
    except FileNotFoundError as error:
        raise DamagedError(f"{path}: there is no such file") from error


def read_version(path: str) -> tuple[bytes, str] | None:
    """Content and version of a file, or None where there is none."""
    return _tried(path, lambda store: store.read(path))


def read_bytes(path: str) -> bytes:
    """Raises DamagedError where there is no such file."""
    found = read_version(path)
    if found is None:
        raise DamagedError(f"{path}: there is no such file")
    return found[0]


def parse_json(path: str, content: bytes) -> dict[str, Any]:
    """Raises DamagedError where the content is no JSON object."""
    try:
        value = json.loads(content)
    except ValueError as error:
        raise DamagedError(f"{path}: not whole JSON ({error}); restore this file from a copy") from error
    if not isinstance(value, dict):
        raise DamagedError(f"{path}: not a JSON object; restore this file from a copy")
    return value


def read_json(path: str) -> dict[str, Any] | None:
    """The JSON object in a file; None only where there is no file. Raises DamagedError where it is not whole."""
    found = read_version(path)
    return None if found is None else parse_json(path, found[0])


def json_bytes(value: dict[str, Any]) -> bytes:
    text = json.dumps(value, sort_keys=True, ensure_ascii=False, indent=1, allow_nan=False)
    return f"{text}\n".encode()


def write_bytes(path: str, content: bytes) -> None:
    """Replace a file's content as one step."""
    _tried(path, lambda store: store.write(path, content))


def write_json(path: str, value: dict[str, Any]) -> None:
    write_bytes(path, json_bytes(value))


def create(path: str, content: bytes) -> str | None:
    """Write a file that must not be there yet; its version, or None where another wrote something else there."""
    return _tried(path, lambda store: store.create(path, content)) or _same_already(path, content)


def swap(path: str, content: bytes, version: str) -> str | None:
    """Replace a file that must still have `version`; its new one, or None where another was there in the meantime."""
    return _tried(path, lambda store: store.swap(path, content, version)) or _same_already(path, content)


def _same_already(path: str, content: bytes) -> str | None:
    """The version where the file has this content: a request that was repeated finds what it has written itself."""
    found = read_version(path)
    return found[1] if found is not None and found[0] == content else None


def keeps_writers_apart(run_dir: str) -> bool:
    """Whether the store refuses a conditional write whose condition fails; some that speak S3 take it all the same."""
    if is_local(run_dir):
        return True
    if not _store(run_dir).conditional:
        return False
    path = temporary_path(run_dir)
    try:
        return create(path, b"1") is not None and _store(path).create(path, b"2") is None
    except StoreError as error:
        log.debug("no conditional writes: %s", error)
        return False
    finally:
        delete([path])


def make_folder(path: str) -> None:
    """Raises StoreError. Object stores have no folders."""
    if is_local(path):
        try:
            os.makedirs(path, exist_ok=True)
        except OSError as error:
            raise StoreError(f"{path}: cannot be made ({error.strerror})") from error


def temporary_path(run_dir: str) -> str:
    """Where a file may lie that a sweep deletes if its writer does not."""
    return join(run_dir, TMP_FOLDER, f"mulan-{uuid.uuid4().hex}")


@contextlib.contextmanager
def temporary_file(run_dir: str, content: bytes) -> Iterator[str]:
    """The path of a file for the workers, which is there as long as the body lasts."""
    path = temporary_path(run_dir)
    write_bytes(path, content)
    try:
        yield path
    finally:
        delete([path])


@contextlib.contextmanager
def staged(run_dir: str) -> Iterator[str]:
    """The path of a local file to be written and then `publish`ed; what is not published is deleted."""
    folder = join(run_dir, TMP_FOLDER) if is_local(run_dir) else tempfile.gettempdir()
    make_folder(folder)
    path = os.path.join(folder, f"mulan-{uuid.uuid4().hex}")
    try:
        yield path
    finally:
        Path(path).unlink(missing_ok=True)


def file_entry(path: str, name_pattern: str, rows: int) -> FileEntry:
    """Describe a staged file; `name_pattern` has one `{}` for the start of its hash."""
    with open(path, "rb") as stream:
        sha256 = sha256_of(stream)
    return FileEntry(path=name_pattern.format(sha256[:12]), sha256=sha256, bytes=os.path.getsize(path), rows=rows)


def sha256_of(stream: Any) -> str:
    """Of what a binary stream still has, which is read a block at a time."""
    digest = hashlib.sha256()
    while chunk := stream.read(COPY_BYTES):
        digest.update(chunk)
    return digest.hexdigest()


def publish(staged_path: str, target: str, *, durable: bool = True) -> None:
    """Give a staged file its final name. One that is not `durable` may be torn by a power cut, and costs no wait."""
    if is_local(target) and not durable:
        _LOCAL.move(staged_path, target)
    else:
        _tried(target, lambda store: store.upload(staged_path, target))


def is_whole(run_dir: str, entry: FileEntry) -> bool:
    """Whether a committed file is there with the size that its record names."""
    info = stat(join(run_dir, entry.path))
    return info is not None and info.size == entry.bytes


def side_by_side(place: str, call: Callable[[Asked], Result], values: Iterable[Asked]) -> Iterator[Result]:
    """What `call`, which asks the store that `place` is in, gives for each value, in their order. A store keeps each
    caller waiting, and answers many at once; no more than `AT_ONCE` answers are held. A disk answers at once, and
    threads would only wait for one another."""
    if is_local(place):
        yield from map(call, values)
        return
    with ThreadPoolExecutor(AT_ONCE, thread_name_prefix="store") as pool:
        asked: deque[Future[Result]] = deque()
        for value in values:
            if len(asked) == AT_ONCE:
                yield asked.popleft().result()
            asked.append(pool.submit(call, value))
        while asked:
            yield asked.popleft().result()


def delete_folder(folder: str) -> None:
    """Everything in a folder that this code has made, and the folder."""
    delete([info.path for info in list_folder(folder, deep=True)])
    if is_local(folder):
        for inner, _, _ in os.walk(folder, topdown=False):
            with contextlib.suppress(OSError):  # not empty: somebody else's file stays
                os.rmdir(inner)


def delete(paths: list[str]) -> None:
    """These very files, and nothing that only looks like them; one that is gone already is no error."""

    def one(path: str) -> None:
        _tried(path, lambda store: store.delete(path))

    if paths:
        deque(side_by_side(paths[0], one, paths), maxlen=0)
