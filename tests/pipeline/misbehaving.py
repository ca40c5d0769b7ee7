"""A web server that does wrong on purpose, for real sockets in tests. It counts what it was asked for."""

import collections
import contextlib
import gzip
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self
from urllib.parse import unquote, unquote_to_bytes


class Misbehaving:
    """`server.url("/name")`; what a path does is a method of the handler, or a body given in `files`."""

    def __init__(self, files: dict[str, bytes] | None = None, address: str = "127.0.0.1") -> None:
        self.files = files or {}
        self.requests: collections.Counter[str] = collections.Counter()
        self.in_flight = 0
        self.most_in_flight = 0
        self.lock = threading.Lock()
        self.before: Callable[[str], None] = lambda path: None
        server = self

        class Handler(_Handler):
            owner = server

        self._http = _QuietServer((address, 0), Handler)
        self.port: int = self._http.server_address[1]
        self.host_and_port = f"{address}:{self.port}"
        self._thread = threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)

    def url(self, path: str) -> str:
        return f"http://{self.host_and_port}{path}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._http.shutdown()
        self._http.server_close()

    @contextlib.contextmanager
    def counted(self, path: str) -> Iterator[None]:
        with self.lock:
            self.requests[path] += 1
            self.in_flight += 1
            self.most_in_flight = max(self.most_in_flight, self.in_flight)
        try:
            yield
        finally:
            with self.lock:
                self.in_flight -= 1


class _QuietServer(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients break off here all the time."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    owner: Misbehaving

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def do_GET(self) -> None:
        path, _, query = self.path.partition("?")
        kind = path.strip("/").split("/")[0]
        with self.owner.counted(path):
            self.owner.before(path)
            if path in self.owner.files:
                kind = "audio/ogg" if "watch" in path else "text/html" if path == "/page" else "audio/mpeg"
                self._send(200, self.owner.files[path], Content_Type=kind)
                return
            method = getattr(self, f"do_{kind}", None)
            if method is None:
                self._send(404, b"nothing here")
                return
            with contextlib.suppress(OSError):
                method(query)

    def do_HEAD(self) -> None:
        self.do_GET()

    def _send(self, status: int, body: bytes, **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            with contextlib.suppress(OSError):
                self.wfile.write(body)

    def _head(self, **headers: str) -> None:
        self.close_connection = True
        self.send_response(200)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.flush()

    def do_status(self, query: str) -> None:
        """/status?503 or /status?429&Retry-After=1"""
        status, _, header = query.partition("&")
        name, _, value = header.partition("=")
        self._send(int(status), b"no", **({name: value} if name else {}))

    def do_once(self, query: str) -> None:
        """Fails the first time, and has the file of that name afterwards."""
        if self.owner.requests[self.path.partition("?")[0]] == 1:
            self.do_status(query)
        else:
            self._send(200, self.owner.files["/good"])

    def do_reset(self, query: str) -> None:
        self.close_connection = True
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.close()

    def do_resetbody(self, query: str) -> None:
        self._head(Content_Length="1000000")
        self.wfile.write(b"x" * 1000)
        self.wfile.flush()
        self.do_reset(query)

    def do_stall(self, query: str) -> None:
        self.close_connection = True
        time.sleep(30)

    def do_stallbody(self, query: str) -> None:
        self._head(Content_Length="1000000")
        self.wfile.write(b"x" * 1000)
        self.wfile.flush()
        time.sleep(30)

    def do_dribblehead(self, query: str) -> None:
        """Bytes of a header for ever, each in time for a socket's timeout."""
        self.close_connection = True
        self.connection.sendall(b"HTTP/1.1 200 OK\r\nX: ")
        while True:
            self.connection.sendall(b"y")
            time.sleep(0.1)

    def do_dribble(self, query: str) -> None:
        self._head(Content_Length="1000000")
        while True:
            self.wfile.write(b"y")
            self.wfile.flush()
            time.sleep(0.05)

    def do_dribblenolength(self, query: str) -> None:
        self._head()
        while True:
            self.wfile.write(b"y")
            self.wfile.flush()
            time.sleep(0.05)

    def do_endless(self, query: str) -> None:
        self._head()
        while True:
            self.wfile.write(b"z" * 65536)

    def do_endlesschunks(self, query: str) -> None:
        self._head(Transfer_Encoding="chunked")
        while True:
            self.wfile.write(b"10000\r\n" + b"z" * 65536 + b"\r\n")

    def do_short(self, query: str) -> None:
        """Announces more than it sends."""
        self._head(Content_Length="5000")
        self.wfile.write(b"x" * 100)

    def do_shortchunk(self, query: str) -> None:
        self._head(Transfer_Encoding="chunked")
        self.wfile.write(b"1000\r\nshort")

    def do_long(self, query: str) -> None:
        """Sends more than it announces."""
        self._head(Content_Length="100")
        self.wfile.write(b"x" * 5000)

    def do_huge(self, query: str) -> None:
        self._head(Content_Length=str(1 << 50))

    def do_nonsense(self, query: str) -> None:
        self.close_connection = True
        self.connection.sendall(b"SSH-2.0-nothing\r\n\r\n")

    def do_manyheaders(self, query: str) -> None:
        self.close_connection = True
        self.connection.sendall(b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * 5000 + b"\r\n")

    def do_html(self, query: str) -> None:
        self._send(200, b"<!DOCTYPE html><html><body>Sign in</body></html>", Content_Type="audio/ogg")

    def do_empty(self, query: str) -> None:
        self._send(200, b"")

    def do_gzip(self, query: str) -> None:
        self._send(200, b"\x1f\x8b", Content_Encoding="gzip")

    def do_says(self, query: str) -> None:
        """/says?CODING for a body that is plain"""
        self._send(200, self.owner.files["/good"], Content_Encoding=unquote(query))

    def do_packed(self, query: str) -> None:
        """/packed?MEBIBYTES: so many zeros by gzip, or the good file"""
        body = bytes(int(query) << 20) if query else self.owner.files["/good"]
        self._send(200, gzip.compress(body), Content_Encoding="gzip")

    def do_part(self, query: str) -> None:
        """/part?0-9/10: what nobody asked for"""
        self._send(206, self.owner.files["/good"], Content_Range=f"bytes {query}")

    def do_loop(self, query: str) -> None:
        self._send(302, b"", Location="/loop")

    def do_nowhere(self, query: str) -> None:
        self._send(302, b"")

    def do_to(self, query: str) -> None:
        """/to?URL"""
        self._send(302, b"elsewhere", Location=query)

    def do_rawto(self, query: str) -> None:
        """/rawto?PERCENT-ENCODED: a Location of any bytes"""
        location = unquote_to_bytes(query)
        self.wfile.write(b"HTTP/1.1 302 Found\r\nLocation: " + location + b"\r\nContent-Length: 0\r\n\r\n")
