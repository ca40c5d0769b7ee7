"""The gate in front of every page: who may speak to the server, from where, and how much.

A page in another tab may send requests to a loopback server, and a name may be re-pointed at it (DNS rebinding). So the
Host must be one of ours, a POST must carry our Origin, the session cookie is HttpOnly and SameSite=Strict, and the
content security policy allows scripts, styles and connections from this server alone, nothing inline.
"""

import ipaddress
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

MAX_BODY_BYTES = 64 * 1024
POLICY = (
    "default-src 'none'",
    "script-src 'self'",
    "style-src 'self'",
    "img-src 'self'",
    "connect-src 'self'",
    "form-action 'self'",
    "base-uri 'none'",
    "frame-ancestors 'none'",
)
_EVERYWHERE = ("0.0.0.0", "::", "")  # noqa: S104 - refused without a name
_TOO_LARGE = (413, f"At most {MAX_BODY_BYTES} bytes are taken.")
HEADERS: dict[bytes, bytes] = {
    b"x-content-type-options": b"nosniff",
    b"x-frame-options": b"DENY",
    b"referrer-policy": b"same-origin",
    b"cross-origin-opener-policy": b"same-origin",
    b"cross-origin-resource-policy": b"same-origin",
    b"permissions-policy": b"camera=(), microphone=(), geolocation=(), interest-cohort=()",
}


@dataclass(frozen=True, kw_only=True)
class Address:
    """Where the server listens, and the address that visitors see (`public_url`, behind a proxy with TLS)."""

    host: str
    port: int
    public_url: str | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.port <= 65535:
            raise ValueError(f"port {self.port} is not in 0..65535")
        if self.public_url is None:
            if self.host in _EVERYWHERE:
                raise ValueError(
                    f"--host {self.host}: give the address that visitors type by --public_url "
                    f"http://NAME:{self.port}; requests under other names are refused"
                )
        else:
            parts = urlsplit(self.public_url)
            if parts.scheme not in ("http", "https") or not parts.hostname or parts.path.strip("/") or parts.query:
                raise ValueError(f"public_url {self.public_url!r}: expected https://NAME or https://NAME:PORT")

    @property
    def loopback(self) -> bool:
        if self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False

    @property
    def url(self) -> str:
        """The address to put into links, without a slash at the end."""
        if self.public_url is not None:
            return self.public_url.rstrip("/")
        return f"http://{_bracketed(self.host)}:{self.port}"

    @property
    def secure(self) -> bool:
        return self.url.startswith("https:")

    @property
    def hosts(self) -> frozenset[str]:
        """Values of the Host header that are ours."""
        names = {urlsplit(self.url).netloc.lower()}
        if self.loopback:
            names |= {f"{name}:{self.port}" for name in ("localhost", "127.0.0.1", "[::1]")}
        return frozenset(names)

    @property
    def origins(self) -> frozenset[str]:
        return frozenset({f"http://{host}" for host in self.hosts} if self.loopback else set()) | {self.url.lower()}

    @property
    def cookie(self) -> str:
        """Cookies ignore ports: two servers on one machine must not log each other out."""
        return "__Host-mulan_session" if self.secure else f"mulan_session_{self.port}"


class Gate:
    """ASGI middleware: refuses by Host, Origin and size, and adds the headers."""

    def __init__(self, app: App, address: Address, also_allowed: tuple[str, ...] = ()) -> None:
        """`also_allowed`: directives of the content security policy that this server's pages need besides."""
        self._app = app
        self._headers = {b"content-security-policy": "; ".join((*POLICY, *also_allowed)).encode(), **HEADERS}
        self._hosts = {host.encode() for host in address.hosts}
        self._origins = {origin.encode() for origin in address.origins}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            return await self._app(scope, receive, send)
        if scope["type"] != "http":
            return None
        headers: dict[bytes, bytes] = dict(scope["headers"])
        refusal = self._refusal(scope["method"], headers)
        if refusal is not None:
            return await self._refuse(send, *refusal)
        waiting: Message | None = None
        if scope["method"] == "POST":
            # What comes in chunks says its size only at the end.
            waiting = await _whole(receive)
            if waiting is None:
                return await self._refuse(send, *_TOO_LARGE)
            if waiting["type"] != "http.request":
                return None

        async def body_first() -> Message:
            nonlocal waiting
            message, waiting = waiting, None
            return await receive() if message is None else message

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                given = {name for name, _ in message["headers"]}
                extra = dict(self._headers)
                if not scope["path"].startswith("/static/"):
                    extra[b"cache-control"] = b"no-store"
                message["headers"] = [*message["headers"], *((k, v) for k, v in extra.items() if k not in given)]
            await send(message)

        await self._app(scope, body_first, with_headers)
        return None

    def _refusal(self, method: str, headers: dict[bytes, bytes]) -> tuple[int, str] | None:
        if headers.get(b"host", b"").lower() not in self._hosts:
            return 421, "This address is not served here."
        if method not in ("GET", "HEAD", "POST"):
            return 405, "Not allowed."
        if method == "POST" and headers.get(b"origin", b"").lower() not in self._origins:
            return 403, "The request did not come from this page."
        length = headers.get(b"content-length", b"0")
        if not length.isdigit() or int(length) > MAX_BODY_BYTES:
            return _TOO_LARGE
        return None

    async def _refuse(self, send: Send, status: int, reason: str) -> None:
        body = reason.encode()
        headers = [
            *self._headers.items(),
            (b"content-type", b"text/plain; charset=utf-8"),
            (b"content-length", b"%d" % len(body)),
        ]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})


async def _whole(receive: Receive) -> Message | None:
    """All chunks of a body as one message, or that the client has gone; None where they are too many bytes."""
    body = b""
    while True:
        message = await receive()
        if message["type"] != "http.request":
            return message
        body += message.get("body", b"")
        if len(body) > MAX_BODY_BYTES:
            return None
        if not message.get("more_body", False):
            return {"type": "http.request", "body": body, "more_body": False}


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host
