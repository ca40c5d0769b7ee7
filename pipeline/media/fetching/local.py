"""Local files.

A path is relative to its catalogue's folder, or absolute; where it ends up, links resolved, must lie in that folder or
under an allowed root, so that a catalogue from elsewhere cannot reach into the machine. Where the catalogue is a folder
itself, of parts, a path is relative to the part or to what the folder lies in.

One name may be written in two Unicode normal forms: disks that came from a Mac have é as two characters and most
catalogues have it as one. The name as it stands is taken where it is there, else its composed and then its decomposed
form.
"""

import contextlib
import errno
import os
import stat
import unicodedata
from collections.abc import Iterator, Sequence

from pipeline.media.fetching.errors import FetchError
from pipeline.table_folders import table_folder
from schemas.reasons import Reason

_REASONS = {
    errno.ENOENT: Reason.NOT_FOUND,
    errno.ENOTDIR: Reason.NOT_FOUND,
    errno.ELOOP: Reason.NOT_FOUND,
    errno.ENAMETOOLONG: Reason.NOT_FOUND,
    errno.EACCES: Reason.PERMISSION_DENIED,
    errno.EPERM: Reason.PERMISSION_DENIED,
    errno.EISDIR: Reason.NOT_A_FILE,
    errno.ENXIO: Reason.NOT_A_FILE,
}


def _as_stored(path: str) -> bytes:
    """A path as the disk has it. Catalogues are UTF-8; a worker's locale may have no word for what they name."""
    return path.encode("utf-8", "surrogateescape")


def _as_named(base: str, audio_uri: str) -> bytes:
    """The path as the disk has it: of its names in either normal form, where the one that stands there is not there."""
    path = os.path.join(base, audio_uri)
    stored = _as_stored(path)
    if audio_uri.isascii() or os.path.lexists(stored):
        return stored
    found = ["" if os.path.isabs(audio_uri) else base]
    for name in audio_uri.strip("/").split("/"):
        forms = dict.fromkeys((name, unicodedata.normalize("NFC", name), unicodedata.normalize("NFD", name)))
        paths = (f"{folder}/{form}" for folder in found for form in forms)
        found = [path for path in paths if os.path.lexists(_as_stored(path))]
    return _as_stored(found[0]) if found else stored


def resolve(audio_uri: str, *, base_uri: str, allow_roots: Sequence[str]) -> bytes:
    """The real path of a local `audio_uri`, as the disk has it. Raises FetchError where it lies outside of what is
    allowed.
    """
    if "\0" in audio_uri:
        raise FetchError(Reason.UNSUPPORTED_URI, "the path holds a NUL")
    bases = [base_uri]
    if (table := table_folder(base_uri)) is not None:
        bases.append(os.path.dirname(table))
    named = [_as_named(base, audio_uri) for base in bases]
    path = os.path.realpath(next((path for path in named if os.path.lexists(path)), named[0]))
    # An absolute path is refused even in the catalogue's own folder, so that a catalogue can be moved.
    roots = allow_roots if os.path.isabs(audio_uri) else (*bases, *allow_roots)
    for root in roots:
        if "://" in root:
            continue
        real_root = os.path.realpath(_as_stored(root))
        if os.path.commonpath([path, real_root]) == real_root:
            return path
    raise FetchError(Reason.OUTSIDE_ROOT, f"{audio_uri} is under neither the catalogue's folder nor an --allow_root")


@contextlib.contextmanager
def opened(path: bytes, max_bytes: int) -> Iterator[tuple[int, int]]:
    """A descriptor of a regular file, and its size. Raises FetchError, also for what fails within."""
    shown = path.decode("utf-8", "replace")
    try:
        # Without O_NONBLOCK a named pipe would wait for a writer for ever.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError as error:
        raise FetchError(_REASONS.get(error.errno or 0, Reason.READ_FAILED), f"{shown}: {error.strerror}") from error
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise FetchError(Reason.NOT_A_FILE, shown)
        if status.st_size > max_bytes:
            raise FetchError(Reason.MEDIA_TOO_LARGE, f"{shown}: {status.st_size} bytes; the limit is {max_bytes}")
        yield descriptor, status.st_size
    except OSError as error:
        raise FetchError(Reason.READ_FAILED, f"{shown}: {error.strerror}") from error
    finally:
        os.close(descriptor)


def read(path: bytes, max_bytes: int) -> bytes:
    """The bytes of a regular file. Raises FetchError."""
    with opened(path, max_bytes) as (descriptor, _), open(descriptor, "rb", closefd=False) as stream:
        media = stream.read(max_bytes + 1)
    if len(media) > max_bytes:
        raise FetchError(Reason.MEDIA_TOO_LARGE, f"{path.decode('utf-8', 'replace')}: grew beyond {max_bytes} bytes")
    return media
