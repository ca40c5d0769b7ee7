"""A model goes to a hub and comes back by its name: a local server answers what huggingface_hub asks."""

import base64
import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.trainer.test_recordings import FOLDER

ROOT = Path(__file__).resolve().parents[2]
COMMIT = "c" * 40


class Hub(BaseHTTPRequestHandler):
    """One repository, `ada/mulan`, of one commit. Everything else is 404, as is what comes without the token."""

    protocol_version = "HTTP/1.1"
    files: dict[str, bytes]
    asked: list[str]

    def do_HEAD(self) -> None:
        self.answer()

    def do_GET(self) -> None:
        self.answer()

    def do_POST(self) -> None:
        self.answer()

    def answer(self) -> None:
        content = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        path = self.path.partition("?")[0]
        self.asked.append(f"{self.command} {path}")
        if self.headers.get("Authorization") != "Bearer hf_test":
            return self.send(404, b"", {"X-Error-Code": "RepoNotFound"})
        if path == "/api/repos/create":
            asked = json.loads(content)
            name = f"{asked['organization']}/{asked['name']}" if asked.get("organization") else asked["name"]
            return self.send_json({"url": f"http://{self.headers['Host']}/{name}", "name": name})
        if path == "/api/validate-yaml":  # of the card's head
            return self.send_json({"errors": [], "warnings": []})
        if path == "/api/models/ada/mulan/preupload/main":
            files = json.loads(content)["files"]
            modes = [{"path": f["path"], "uploadMode": "regular", "shouldIgnore": False} for f in files]
            return self.send_json({"files": modes})
        if path == "/api/models/ada/mulan/commit/main":
            for line in map(json.loads, content.splitlines()):
                if line["key"] == "file":
                    self.files[line["value"]["path"]] = base64.b64decode(line["value"]["content"])
            self.files["code.py"] = b"raise SystemExit('no code of a repository is fetched or run')"
            return self.send_json(
                {
                    "success": True,
                    "commitOid": COMMIT,
                    "commitUrl": f"http://{self.headers['Host']}/ada/mulan/commit/{COMMIT}",
                }
            )
        if path in ("/api/models/ada/mulan/revision/main", f"/api/models/ada/mulan/revision/{COMMIT}"):
            siblings = [{"rfilename": name} for name in self.files]
            return self.send_json({"id": "ada/mulan", "sha": COMMIT, "siblings": siblings, "tags": []})
        if path.startswith("/api/models/ada/mulan/tree/"):
            files = [{"type": "file", "oid": "0" * 40, "path": n, "size": len(c)} for n, c in self.files.items()]
            return self.send_json(files)
        prefix = f"/ada/mulan/resolve/{COMMIT}/"
        if path.startswith(prefix) and (name := path.removeprefix(prefix)) in self.files:
            return self.send(
                200, self.files[name], {"X-Repo-Commit": COMMIT, "ETag": f'"{len(self.files[name])}{name}"'}
            )
        code = "RevisionNotFound" if path.startswith("/api/models/ada/mulan/revision/") else "RepoNotFound"
        return self.send(404, b"", {"X-Error-Code": code})

    def send_json(self, value: Any) -> None:
        self.send(200, json.dumps(value).encode(), {"Content-Type": "application/json"})

    def send(self, code: int, content: bytes, headers: dict[str, str]) -> None:
        self.send_response(code)
        for name, value in {**headers, "Content-Length": str(len(content))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def hub() -> Iterator[tuple[str, type[Hub]]]:
    handler = type("OneHub", (Hub,), {"files": {}, "asked": []})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", handler
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.slow
def test_there_and_back(hub: tuple[str, type[Hub]], tmp_path: Path) -> None:
    address, served = hub
    # The endpoint is read once, when huggingface_hub is imported.
    script = f"""
import numpy as np, openmulan
model = openmulan.load({str(FOLDER)!r})
print(model.push_to_hub("ada/mulan", card="a card"))
again = openmulan.load("ada/mulan", revision="main")
assert np.array_equal(again.embed_text(["slow"]), model.embed_text(["slow"]))
for name, revision in (("ada/mulan", "v9"), ("ada/nothing", None)):
    try:
        openmulan.load(name, revision=revision)
    except ValueError as error:
        print(error)
try:
    model.push_to_hub("ben/mulan")
except ValueError as error:
    print(error)
"""
    environment = {
        "HF_ENDPOINT": address,
        "HF_HOME": str(tmp_path / "cache"),
        "HF_TOKEN": "hf_test",
        "HF_HUB_DISABLE_XET": "1",
        "PYTHONPATH": str(ROOT),
        "OMP_NUM_THREADS": "1",
    }
    done = subprocess.run(
        [sys.executable, "-c", script], env=environment, cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    commit, revision, nothing, refused = done.stdout.splitlines()
    assert commit == f"{address}/ada/mulan/commit/{COMMIT}"
    assert {"README.md", "config.json", "model.safetensors", "tokenizer.json"} <= served.files.keys()
    assert served.files["README.md"] == b"a card"
    assert revision.startswith("ada/mulan at v9: neither a folder here nor a model on the hub")
    assert nothing.startswith("ada/nothing: neither a folder here")
    assert refused.startswith("ben/mulan: cannot be pushed to the hub")
    assert any(line.endswith("model.safetensors") for line in served.asked)
    assert not [line for line in served.asked if "code.py" in line]
