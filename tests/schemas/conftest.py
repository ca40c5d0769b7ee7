"""An object store that answers badly when a test tells it to."""

import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest


class FlakyStore:
    """A real S3 server in which the first `failures` requests for each object, of each kind, get 503."""

    def __init__(self, application: Callable[..., Iterable[bytes]]) -> None:
        self._application = application
        self._seen: Counter[tuple[str, str]] = Counter()
        self.failures = 0
        self.port = 0

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        key = (environ["REQUEST_METHOD"], environ["PATH_INFO"])
        self._seen[key] += 1
        if self._seen[key] <= self.failures:
            start_response("503 Slow Down", [("Content-Type", "application/xml")])
            return [b"<Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>"]
        return self._application(environ, start_response)

    def fail(self, times: int) -> None:
        self._seen.clear()
        self.failures = times

    def uri(self, path: str) -> str:
        options = f"endpoint_override=127.0.0.1:{self.port}&scheme=http&region=us-east-1"
        return f"s3://key:secret@{path}?{options}"

    def upload(self, folder: Path, path: str) -> None:
        import boto3

        client = boto3.client(
            "s3",
            endpoint_url=f"http://127.0.0.1:{self.port}",
            aws_access_key_id="key",
            aws_secret_access_key="secret",
            region_name="us-east-1",
        )
        bucket, _, prefix = path.partition("/")
        client.create_bucket(Bucket=bucket)
        for file in sorted(folder.rglob("*")):
            if file.is_file():
                client.upload_file(str(file), bucket, f"{prefix}/{file.relative_to(folder).as_posix()}")


@pytest.fixture
def store() -> Iterator[FlakyStore]:
    server = pytest.importorskip("moto.server", reason="moto's S3 server is not installed")
    from werkzeug.serving import make_server

    flaky = FlakyStore(server.DomainDispatcherApplication(server.create_backend_app))
    running = make_server("127.0.0.1", 0, flaky, threaded=True)
    flaky.port = running.port
    thread = threading.Thread(target=running.serve_forever, daemon=True)
    thread.start()
    yield flaky
    running.shutdown()
    thread.join()
