"""An S3 of the tests' own: moto's server, what lies in it, and a gate in front of it that fails on request."""

import hashlib
import http.client
import http.server
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import boto3
from moto.server import ThreadedMotoServer

BUCKET = "music"
KEYS = {"aws_access_key_id": "test", "aws_secret_access_key": "test", "region_name": "us-east-1"}


class Bucket:
    """One bucket of a server, as the tests look at it."""

    def __init__(self, endpoint: str) -> None:
        self.endpoint = endpoint
        self.client: Any = boto3.client("s3", endpoint_url=endpoint, **KEYS)

    def options(self, endpoint: str | None = None) -> tuple[str, ...]:
        """What `mulan mine` needs to get there."""
        return (
            f"--s3_endpoint_url={endpoint or self.endpoint}",
            "--s3_access_key_id=test",
            "--s3_secret_access_key=test",
            "--s3_region_name=us-east-1",
        )

    def upload_folder(self, folder: Path, prefix: str) -> None:
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                self.client.upload_file(str(path), BUCKET, f"{prefix}/{path.relative_to(folder).as_posix()}")

    def keys(self, prefix: str) -> list[str]:
        pages = self.client.get_paginator("list_objects_v2").paginate(Bucket=BUCKET, Prefix=f"{prefix}/")
        return [entry["Key"] for page in pages for entry in page.get("Contents", ())]

    def download(self, prefix: str, folder: Path) -> Path:
        """A copy on disk, to be looked at by what looks at local runs."""
        for key in self.keys(prefix):
            target = folder / key.removeprefix(f"{prefix}/")
            target.parent.mkdir(parents=True, exist_ok=True)
            self.client.download_file(BUCKET, key, str(target))
        return folder

    def hashes(self, prefix: str) -> dict[str, str]:
        return {
            key: hashlib.sha256(self.client.get_object(Bucket=BUCKET, Key=key)["Body"].read()).hexdigest()
            for key in self.keys(prefix)
        }

    def open_uploads(self) -> list[Any]:
        found: list[Any] = self.client.list_multipart_uploads(Bucket=BUCKET).get("Uploads", [])
        return found


@contextmanager
def server() -> Iterator[Bucket]:
    moto = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    moto.start()
    host, port = moto.get_host_and_port()
    bucket = Bucket(f"http://{host}:{port}")
    bucket.client.create_bucket(Bucket=BUCKET)
    try:
        yield bucket
    finally:
        moto.stop()


class Gate:
    """Answers 503 in place of the store while `refuses` says so of a request (method, path with query)."""

    def __init__(self, endpoint: str) -> None:
        self.refuses: Callable[[str, str], bool] = lambda method, path: False
        self.refused = 0
        gate = self
        host, _, port = endpoint.removeprefix("http://").partition(":")

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def handle_one(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                if gate.refuses(self.command, self.path):
                    gate.refused += 1
                    self._answer(503, {}, b"<Error><Code>SlowDown</Code><Message>slow down</Message></Error>")
                    return
                behind = http.client.HTTPConnection(host, int(port), timeout=60)
                behind.request(self.command, self.path, body, dict(self.headers))
                answer = behind.getresponse()
                content = answer.read()
                kept = {name: value for name, value in answer.getheaders() if name.lower() not in _HOP}
                self._answer(answer.status, kept, content, length=answer.getheader("Content-Length"))
                behind.close()

            def _answer(self, status: int, headers: dict[str, str], body: bytes, length: str | None = None) -> None:
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                # Of HEAD the length is that of what is not sent.
                self.send_header("Content-Length", length if self.command == "HEAD" and length else str(len(body)))
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(body)

            do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = handle_one

            def log_message(self, *_: Any) -> None:
                pass

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.endpoint = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


_HOP = {"connection", "content-length", "transfer-encoding", "date", "server"}
