"""Media over http and https.

The server is not trusted: not its addresses (`pipeline.media.fetching.addresses`), not its lengths, not its pace. Each
item has one deadline for all redirects and repeats, kept by cutting the connection, since a timeout of a socket starts
anew with every byte that a server dribbles.
"""

import contextlib
import email.utils
import logging
import re
import socket
import ssl
import string
import time
from collections.abc import Iterator
from dataclasses import dataclass
from http.client import HTTPException, IncompleteRead
from typing import Any
from urllib.parse import quote, urljoin, urlsplit

import urllib3
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import HTTPError, LocationParseError, ProtocolError

from pipeline.media.fetching.addresses import connect
from pipeline.media.fetching.config import FetchConfig
from pipeline.media.fetching.encodings import unpacked
from pipeline.media.fetching.errors import FetchError, shown
from pipeline.workers.awake import AwakeTimer, awake
from schemas.reasons import Outcome, Reason

READ_BYTES = 1 << 16
IDLE_CONNECTIONS = 8
DRAINED_BYTES = 1 << 16  # of an answer that is not used, to keep its connection
REDIRECTS = (301, 302, 303, 307, 308)
# What a path and a query may hold as it is; anything else is percent-encoded.
_SAFE = "!$%&'()*+,/:;=?@~"
log = logging.getLogger(__name__)

_BY_STATUS = {
    401: Reason.ACCESS_DENIED,
    402: Reason.ACCESS_DENIED,
    403: Reason.ACCESS_DENIED,
    451: Reason.ACCESS_DENIED,
    404: Reason.NOT_FOUND,
    410: Reason.NOT_FOUND,
    408: Reason.SERVER_ERROR,
    425: Reason.SERVER_ERROR,
    429: Reason.RATE_LIMITED,
}


@dataclass(frozen=True, kw_only=True)
class _Target:
    """A URL taken apart: `origin` is scheme, host and port, `path` is ready for the wire, `shown` for a person."""

    origin: tuple[str, str, int]
    path: str
    shown: str


class _Lifeline:
    """Mixed into urllib3's connections: connects to checked addresses only, and can be cut from another thread."""

    host: str
    port: int
    config: FetchConfig
    deadline: float
    _cord: socket.socket | None = None

    def _new_conn(self) -> socket.socket:
        connection = connect(
            self.host.strip("[]"),
            self.port,
            allow_private_hosts=self.config.allow_private_hosts,
            timeout_s=self.config.connect_timeout_s,
            deadline=self.deadline,
        )
        # TLS takes the socket over; a second descriptor reaches the same connection at any time.
        self._cord = connection.dup()
        return connection

    def cut(self) -> None:
        if self._cord is not None:
            with contextlib.suppress(OSError):
                self._cord.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        super().close()  # type: ignore[misc]  # of the connection that this is mixed into
        if self._cord is not None:
            self._cord.close()
            self._cord = None


class _PlainConnection(_Lifeline, HTTPConnection):
    pass


class _TlsConnection(_Lifeline, HTTPSConnection):
    pass


class HttpFetcher:
    """Fetches one item after another and keeps idle connections between them. For one thread at a time."""

    def __init__(self, config: FetchConfig) -> None:
        self._config = config
        self._idle: dict[tuple[str, str, int], _PlainConnection | _TlsConnection] = {}
        self._headers = {
            "User-Agent": "openmulan",
            "Accept": "audio/*, video/*;q=0.8, */*;q=0.5",
            "Accept-Encoding": "identity",
        }

    def close(self) -> None:
        for connection in self._idle.values():
            connection.close()
        self._idle.clear()

    def fetch(self, url: str, max_bytes: int) -> bytes:
        """The body. Raises FetchError, transient failures after `attempts` or where the deadline leaves no more."""
        deadline = awake() + self._config.deadline_s
        for attempt in range(1, self._config.attempts + 1):
            try:
                return self._follow(url, max_bytes, deadline)
            except FetchError as error:
                if error.reason.outcome != Outcome.FAILED_TRANSIENT or attempt == self._config.attempts:
                    raise
                pause_s = error.retry_after_s
                if pause_s is None:
                    pause_s = self._config.backoff_s * 2 ** (attempt - 1)
                if awake() + pause_s >= deadline:
                    raise
                log.debug("%s: %s; again in %.1f s", shown(url), error, pause_s)
                time.sleep(pause_s)
        raise AssertionError("unreachable")

    def _follow(self, url: str, max_bytes: int, deadline: float) -> bytes:
        for _ in range(self._config.max_redirects + 1):
            with self._answer(_checked(url), deadline) as response:
                if response.status not in REDIRECTS:
                    return self._body(response, max_bytes, deadline)
                target = response.headers.get("Location")
                if not target:
                    raise FetchError(Reason.BAD_RESPONSE, f"{shown(url)}: status {response.status} without a Location")
                with contextlib.suppress(HTTPError, OSError):
                    response.read(DRAINED_BYTES)
            try:
                url = urljoin(url, _as_sent(target))
            except ValueError as error:
                raise FetchError(Reason.BAD_RESPONSE, f"{shown(url)}: redirected to what is no URL") from error
        raise FetchError(Reason.TOO_MANY_REDIRECTS, f"more than {self._config.max_redirects}, the last to {shown(url)}")

    @contextlib.contextmanager
    def _answer(self, target: _Target, deadline: float) -> Iterator[Any]:
        """The response to a GET; its connection is kept where the body was read to its end, and closed otherwise."""
        kept = self._idle.pop(target.origin, None)
        for connection in (kept, None) if kept is not None else (None,):
            if connection is None:
                connection = self._new_connection(target.origin)
            connection.deadline = deadline
            left_s = deadline - awake()
            cutter = AwakeTimer(left_s, connection.cut)
            cutter.start()
            response = None
            try:
                with _failures_of(target.shown, deadline):
                    if connection.sock is not None:
                        connection.sock.settimeout(max(0.001, min(self._config.idle_timeout_s, left_s)))
                    connection.timeout = max(0.001, min(self._config.idle_timeout_s, left_s))
                    connection.request(
                        "GET", target.path, headers=self._headers, preload_content=False, decode_content=False
                    )
                    response = connection.getresponse()
                    yield response
                    return
            except FetchError as error:
                # A server may close a kept connection just as it is used; that says nothing of the item.
                if connection is not kept or response is not None or error.reason != Reason.CONNECTION_FAILED:
                    raise
            finally:
                cutter.cancel()
                self._put_back(target.origin, connection, response)

    def _new_connection(self, origin: tuple[str, str, int]) -> _PlainConnection | _TlsConnection:
        scheme, host, port = origin
        connection: _PlainConnection | _TlsConnection
        if scheme == "https":
            connection = _TlsConnection(host, port, ssl_context=ssl.create_default_context())
        else:
            connection = _PlainConnection(host, port)
        connection.config = self._config
        return connection

    def _put_back(self, origin: tuple[str, str, int], connection: Any, response: Any) -> None:
        whole = response is not None and response.length_remaining == 0
        if not whole or response.headers.get("Connection", "").lower() == "close" or response.version < 11:
            connection.close()
            return
        self._idle[origin] = connection
        while len(self._idle) > IDLE_CONNECTIONS:
            self._idle.pop(next(iter(self._idle))).close()

    def _body(self, response: Any, max_bytes: int, deadline: float) -> bytes:
        status = response.status
        if status not in (200, 203) and not (status == 206 and _is_whole(response.headers.get("Content-Range", ""))):
            reason = _BY_STATUS.get(status, Reason.SERVER_ERROR if status >= 500 else Reason.BAD_RESPONSE)
            retry_after_s = _retry_after_s(response.headers.get("Retry-After"))
            if retry_after_s is not None and status == 503:
                reason = Reason.RATE_LIMITED
            raise FetchError(reason, f"status {status}", retry_after_s)
        announced = response.headers.get("Content-Length", "")
        if announced.isdigit() and int(announced) > max_bytes:
            raise FetchError(Reason.MEDIA_TOO_LARGE, f"{announced} bytes are announced; the limit is {max_bytes}")
        config = self._config
        chunks: list[bytes] = []
        got = window_bytes = 0
        window_start = awake()
        while chunk := response.read1(READ_BYTES):
            chunks.append(chunk)
            got += len(chunk)
            window_bytes += len(chunk)
            if got > max_bytes:
                raise FetchError(Reason.MEDIA_TOO_LARGE, f"more than {max_bytes} bytes come")
            now = awake()
            if now >= deadline:
                raise FetchError(Reason.FETCH_TIMEOUT, f"{got} bytes came in {config.deadline_s:g} s")
            if (window_s := now - window_start) >= config.speed_window_s:
                if window_bytes < config.min_bytes_per_s * window_s:
                    raise FetchError(Reason.TOO_SLOW, f"{window_bytes / window_s:.0f} bytes/s; {got} bytes came")
                window_start, window_bytes = now, 0
        # A connection that is cut looks like an end to a body that has no length.
        if awake() >= deadline:
            raise FetchError(Reason.FETCH_TIMEOUT, f"{got} bytes came in {config.deadline_s:g} s")
        if announced.isdigit() and got < int(announced) and not response.chunked:
            raise FetchError(Reason.TRUNCATED_BODY, f"{got} bytes came of {announced}")
        said = response.headers.get("Content-Encoding", "")
        whole = response.chunked or announced.isdigit()
        return unpacked(b"".join(chunks), said, max_bytes=max_bytes, deadline=deadline, whole=whole)


@contextlib.contextmanager
def _failures_of(url: str, deadline: float) -> Iterator[None]:
    """What goes wrong on the way, as a FetchError."""
    try:
        yield
    except FetchError:
        raise
    except Exception as error:
        late = awake() >= deadline
        if late or isinstance(error, TimeoutError | urllib3.exceptions.TimeoutError):
            raise FetchError(Reason.FETCH_TIMEOUT, f"{url}: no answer in time") from error
        if isinstance(error, LocationParseError):
            raise FetchError(Reason.UNSUPPORTED_URI, f"{url}: not a URL") from error
        if isinstance(error.args[-1] if isinstance(error, ProtocolError) else error, IncompleteRead):
            raise FetchError(Reason.TRUNCATED_BODY, f"{url}: {error}") from error
        if isinstance(error, OSError | HTTPError):
            raise FetchError(Reason.CONNECTION_FAILED, f"{url}: {error}") from error
        if isinstance(error, ValueError | HTTPException):
            raise FetchError(Reason.BAD_RESPONSE, f"{url}: {type(error).__name__}: {error}") from error
        raise


def _checked(url: str) -> _Target:
    """A URL that may be asked for. Raises FetchError."""
    try:
        parts = urlsplit(url)
        host = (parts.hostname or "").encode("idna").decode()
        port = parts.port if parts.port is not None else {"https": 443, "http": 80}.get(parts.scheme, 0)
    except ValueError as error:
        raise FetchError(Reason.UNSUPPORTED_URI, f"{shown(url)}: not a URL") from error
    if parts.scheme not in ("http", "https") or not host or not port:
        raise FetchError(Reason.UNSUPPORTED_URI, f"{shown(url)}: not an http(s) URL")
    if "@" in parts.netloc:
        raise FetchError(Reason.CREDENTIALS_IN_URI, f"{shown(url)}: give no user name or password in an audio_uri")
    path = quote(parts.path or "/", safe=_SAFE) + (f"?{quote(parts.query, safe=_SAFE)}" if parts.query else "")
    return _Target(origin=(parts.scheme, host, port), path=path, shown=shown(url))


def _as_sent(location: str) -> str:
    """A Location header as the server wrote it: in UTF-8, or else its bytes percent-encoded. http.client reads headers
    as Latin-1.
    """
    sent = location.encode("latin-1")
    try:
        return sent.decode()
    except UnicodeDecodeError:
        return quote(sent, safe=string.printable)


def _is_whole(content_range: str) -> bool:
    """Whether a part that nobody asked for is the whole."""
    match = re.fullmatch(r"bytes 0-(\d{1,18})/(\d{1,18})", content_range.strip())
    return match is not None and int(match[1]) + 1 == int(match[2])


def _retry_after_s(value: str | None) -> float | None:
    """Seconds from now; the header has a number or a date."""
    if value is None:
        return None
    if value.strip().isdigit():
        return float(value)
    try:
        return max(0.0, email.utils.parsedate_to_datetime(value).timestamp() - time.time())
    except (ValueError, TypeError, OverflowError):
        return None
