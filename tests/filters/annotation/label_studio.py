"""A real Label Studio in a process of its own, and accounts in it that sign up and work over its API as people do."""

import http.cookiejar
import json
import os
import re
import signal
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.filters.annotation.harness import free_port

# The program, in an environment that `make test-exchange` makes.
PROGRAM = "LABEL_STUDIO"
START_TIMEOUT_S = 300
_PAGE = Path(__file__).resolve().parents[3] / "docs" / "annotating.md"
_PASSWORD = "Long-enough-1"


def labelling_config() -> str:
    """The one that docs/annotating.md tells people to give a project."""
    block = re.search(r"^```xml\n(<View>.*?)^```$", _PAGE.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
    assert block is not None
    return block[1]


class Account:
    """One person's account: its session in a browser, and the token that the account page gives."""

    def __init__(self, url: str, email: str) -> None:
        """Sign up, as somebody who was sent the address."""
        self.email = email
        self._url = url
        browser = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(http.cookiejar.CookieJar()))
        address = f"{url}/user/signup/"
        with browser.open(address) as page:
            token = re.search(r'name="csrfmiddlewaretoken" value="([^"]+)"', page.read().decode())
        assert token is not None
        form = {"csrfmiddlewaretoken": token[1], "email": email, "password": _PASSWORD}
        browser.open(
            urllib.request.Request(address, urllib.parse.urlencode(form).encode(), {"Referer": address})
        ).close()
        with browser.open(f"{url}/api/current-user/token") as answer:
            self._token = json.load(answer)["token"]

    def call(self, method: str, path: str, body: Any = None) -> Any:
        """The answer's JSON; what is refused raises with the reason."""
        headers = {"Authorization": f"Token {self._token}", "Content-Type": "application/json"}
        content = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self._url + path, content, headers, method=method)
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as error:
            raise AssertionError(f"{method} {path}: {error.code} {error.read()[:1000]!r}") from error

    def answer(self, task: int, value: str | None) -> None:
        """Yes or no to a task; None skips it."""
        result = {"from_name": "label", "to_name": "text", "type": "choices", "value": {"choices": [value]}}
        body = {"result": [result] if value else [], "was_cancelled": value is None}
        self.call("POST", f"/api/tasks/{task}/annotations", body)


@contextmanager
def label_studio(folder: Path) -> Iterator[str]:
    """Its address, from when it answers until the block is left."""
    port = free_port()
    environment = os.environ | {
        "HOME": str(folder),
        "LABEL_STUDIO_BASE_DATA_DIR": str(folder),
        "LABEL_STUDIO_ENABLE_LEGACY_API_TOKEN": "true",
        "COLLECT_ANALYTICS": "false",
        "LATEST_VERSION_CHECK": "false",
    }
    command = [os.environ[PROGRAM], "start", "--no-browser", "--internal-host", "127.0.0.1", "--port", str(port)]
    url = f"http://127.0.0.1:{port}"
    with (folder / "label-studio.log").open("wb") as log:
        process = subprocess.Popen(
            [*command, "--data-dir", str(folder)],
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        deadline = time.monotonic() + START_TIMEOUT_S
        while not _answers(f"{url}/api/version"):
            said = (folder / "label-studio.log").read_text(errors="replace")[-3000:]
            assert process.poll() is None, f"Label Studio ended: {said}"
            assert time.monotonic() < deadline, f"Label Studio does not answer: {said}"
            time.sleep(0.5)
        yield url
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False
