"""Media in object stores (`gs://`, `s3://`), by Beam's file systems and the credentials of the job.

Because they are read with the job's credentials, such a URI must lie in its catalogue's folder or under an
`--allow_root`, like an absolute path: a catalogue from elsewhere must not choose what a worker reads.
"""

import errno
from collections.abc import Sequence

from apache_beam.io.filesystem import BeamIOError, CompressionTypes
from apache_beam.io.filesystems import FileSystems

from pipeline.media.fetching.errors import FetchError, shown
from pipeline.media.fetching.within import within
from pipeline.workers.awake import awake
from pipeline.workers.faults import is_fault_of_machine
from schemas.reasons import Reason

SCHEMES = ("gs", "s3")
READ_BYTES = 1 << 20
LONGEST_CALL_S = 300.0


def resolve(audio_uri: str, *, base_uri: str, allow_roots: Sequence[str]) -> str:
    """The full URI of an object. Raises FetchError where it lies outside of what is allowed."""
    uri = full_uri(audio_uri, base_uri=base_uri)
    scheme, _, path = uri.partition("://")
    if any(name in ("", ".", "..") for name in path.split("/")):
        raise FetchError(Reason.OUTSIDE_ROOT, f"{shown(uri)} holds empty, . or .. parts")
    for root in (base_uri, *allow_roots):
        if "://" in root and uri.startswith(root.rstrip("/") + "/"):
            return uri
    raise FetchError(
        Reason.OUTSIDE_ROOT, f"{shown(uri)} is under neither the catalogue's folder nor an --allow_root {scheme}://…"
    )


def full_uri(audio_uri: str, *, base_uri: str) -> str:
    uri = audio_uri if "://" in audio_uri else f"{base_uri.rstrip('/')}/{audio_uri}"
    scheme, _, path = uri.partition("://")
    return f"{scheme.lower()}://{path}"


def read(uri: str, max_bytes: int, deadline_s: float) -> bytes:
    """The bytes of an object. Raises FetchError."""
    deadline = awake() + deadline_s
    try:
        with FileSystems.open(uri, compression_type=CompressionTypes.UNCOMPRESSED) as stream:
            pieces = iter(lambda: stream.read(READ_BYTES), b"")
            return within(pieces, shown(uri), max_bytes=max_bytes, deadline=deadline)
    except FetchError:
        raise
    # The clients of the stores raise what they like, from their own modules, which are not always installed.
    except Exception as error:
        if is_fault_of_machine(error):
            raise
        raise FetchError(_reason_of(error), f"{shown(uri)}: {type(error).__name__}: {error}") from error


def _reason_of(error: BaseException) -> Reason:
    if isinstance(error, BeamIOError) and error.exception_details:
        inner = next(iter(error.exception_details.values()))
        if isinstance(inner, BaseException):
            return _reason_of(inner)
    # Beam's way of saying that a package is not installed: an assertion, or a ValueError that finds no file system.
    if isinstance(error, ImportError | AssertionError) or "required dependency" in str(error):
        return Reason.CLIENT_MISSING
    if isinstance(error, ValueError):
        return Reason.UNSUPPORTED_URI  # the name is none that the store can have
    if isinstance(error, OSError) and error.errno == errno.ENOENT:
        return Reason.NOT_FOUND
    code = getattr(error, "code", None) or getattr(error, "status_code", None)
    if code == 404:
        return Reason.NOT_FOUND
    if code in (401, 403):
        return Reason.PERMISSION_DENIED
    if code == 429:
        return Reason.RATE_LIMITED
    if isinstance(code, int) and code >= 500:
        return Reason.SERVER_ERROR
    if isinstance(error, TimeoutError):
        return Reason.FETCH_TIMEOUT
    return Reason.READ_FAILED
