"""A real server in a process of its own, and clients that speak to it as the page does.

Servers are forked from a process that has imported everything already, so that starting one takes milliseconds.
"""

import http.client
import json
import multiprocessing
import os
import random
import resource
import signal
import socket
import time
import urllib.parse
import uuid
from multiprocessing.synchronize import Event
from pathlib import Path
from typing import Any

from filters.annotation import guideline, people, warmup
from filters.annotation.context import Contexts, When
from filters.annotation.log import Log
from filters.annotation.work import add_items
from schemas.label import LabelItem
from schemas.run import Run
from schemas.serving.gate import Address

_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(["filters.annotation.server", "uvicorn", "tests.filters.annotation.harness"])
START_TIMEOUT_S = 60.0


def make_items(count: int, text: str = "sentence number {number} has a slow drum in it") -> list[LabelItem]:
    return [LabelItem(item_id=f"i{number:05d}", text=text.format(number=number)) for number in range(count)]


def make_db(path: Path, items: list[LabelItem], overlap: int = 2, names: tuple[str, ...] = ("ada", "ben")) -> Path:
    """A database with annotators who have read the welcome page; the last one adjudicates as well."""
    with Log(path, create=True) as log, log.transaction():
        add_items(log, items, overlap)
        for name in names:
            person = people.ensure_person(log, name, adjudicator=name == names[-1])
            log.append("joined", {"guideline": "test"}, person=person.id)
    return path


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


def _run(
    db: Path, address: Address, started: Event, exercises: list[warmup.Exercise], run: Path | None, when: When
) -> None:
    from filters.annotation.server import ServerSettings, serve

    settings = ServerSettings(
        address=address,
        guideline=guideline.read_guideline(),
        exercises=exercises,
        contexts=Contexts(Run.open(run), when) if run else None,
    )
    with Log(db) as log:
        serve(log, settings, started.set)


class Server:
    """`with Server(db) as server:` serves; `kill` is SIGKILL; `start` begins again on the same port."""

    def __init__(
        self,
        db: Path,
        *,
        exercises: list[warmup.Exercise] | None = None,
        public_url: str | None = None,
        port: int | None = None,
        run: Path | None = None,
        when: When = When.AFTER,
    ) -> None:
        self.db = db
        self.address = Address(host="127.0.0.1", port=port or free_port(), public_url=public_url)
        self._exercises = exercises or []
        self._run, self._when = run, when
        self.start()

    def start(self) -> None:
        started = _CONTEXT.Event()
        self.process = _CONTEXT.Process(
            target=_run, args=(self.db, self.address, started, self._exercises, self._run, self._when), daemon=True
        )
        self.process.start()
        if not started.wait(START_TIMEOUT_S):
            raise TimeoutError("the server did not start")

    def kill(self) -> None:
        self.process.kill()
        self.process.join()

    def signal(self, number: signal.Signals) -> None:
        assert self.process.pid is not None
        os.kill(self.process.pid, number)

    def limit_files(self, limit_bytes: int | None) -> None:
        """What a full disk is like: no file of the server grows beyond that; None takes it back."""
        assert self.process.pid is not None
        soft = resource.RLIM_INFINITY if limit_bytes is None else limit_bytes
        resource.prlimit(self.process.pid, resource.RLIMIT_FSIZE, (soft, resource.RLIM_INFINITY))

    def join(self) -> None:
        self.process.join()

    def __enter__(self) -> "Server":
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    def link(self, name: str) -> str:
        """A fresh link for a person of the database."""
        with Log(self.db) as log:
            return people.link(log, people.find_person(log, name), self.address.url)


class Client:
    """One browser's worth of HTTP: a connection that is kept, a cookie, an Origin."""

    def __init__(
        self, server: Server | Address, name: str | None = None, *, token: str | None = None, through: int | None = None
    ) -> None:
        """Signed in as a person of the server's database, or by the token of a link; `through` a port in front."""
        self.address = server if isinstance(server, Address) else server.address
        self.cookie = ""
        self.connection = http.client.HTTPConnection("127.0.0.1", through or self.address.port, timeout=30)
        if name is not None:
            assert isinstance(server, Server)
            token = urllib.parse.parse_qs(urllib.parse.urlsplit(server.link(name)).query)["token"][0]
        if token is not None:
            _, headers, _ = self.form("/enter", token=token)
            self.cookie = headers["set-cookie"].partition(";")[0]

    def request(
        self, method: str, path: str, body: str | None = None, **headers: str
    ) -> tuple[int, dict[str, str], str]:
        """(status, headers, body); a header given as `Content_Type` is sent as Content-Type."""
        address = self.address
        given = {"Origin": address.url, "Cookie": self.cookie}
        if address.public_url is not None:
            # What a proxy in front passes on.
            given["Host"] = address.url.partition("//")[2]
        given |= {name.replace("_", "-"): value for name, value in headers.items()}
        self.connection.request(method, path, body, {name: value for name, value in given.items() if value})
        answer = self.connection.getresponse()
        return answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read().decode()

    def form(self, path: str, **fields: str) -> tuple[int, dict[str, str], str]:
        kind = "application/x-www-form-urlencoded"
        return self.request("POST", path, urllib.parse.urlencode(fields), Content_Type=kind)

    def json(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        text = None if body is None else json.dumps(body)
        status, _, answer = self.request(method, path, text, Content_Type="application/json")
        return status, json.loads(answer)

    def label(self, item_id: str, label: str, key: str | None = None, **more: Any) -> tuple[int, Any]:
        return self.json("POST", "/api/label", label_body(item_id, label, key, **more))

    def close(self) -> None:
        self.connection.close()


def label_body(item_id: str, label: str, key: str | None = None, **more: Any) -> dict[str, Any]:
    return {"key": key or str(uuid.uuid4()), "item_id": item_id, "label": label, **more}


def annotate(client: Client, seed: str) -> dict[str, str]:
    """Work until nothing is left, sometimes sending twice, sometimes taking back; returns what was said."""
    dice = random.Random(seed)
    said: dict[str, str] = {}
    status, work = client.json("GET", "/api/work")
    while status == 200 and work["progress"]["open"]:
        if not work["tasks"]:
            time.sleep(0.02)
            status, work = client.json("GET", "/api/work")
            continue
        item_id, label, key = (
            work["tasks"][0]["item_id"],
            dice.choice(["yes", "no"]),
            str(uuid.UUID(int=dice.getrandbits(128))),
        )
        assert item_id not in said, "a sentence was shown again after it was labelled"
        for _ in range(2 if dice.random() < 0.05 else 1):
            status, work = client.label(item_id, label, key)
        assert status == 200
        assert work["taken"] in ("saved", "repeated")
        said[item_id] = label
        if dice.random() < 0.02:
            status, work = client.json("POST", "/api/undo", {"key": str(uuid.uuid4())})
            assert work["again"]["item_id"] == item_id
            del said[item_id]
    assert status == 200
    return said
