"""The server of the page over real HTTP: who gets in, what is refused, what is played and saved, and no 500."""

import contextlib
import csv
import io
import json
import os
import re
import shutil
import urllib.parse
import xml.etree.ElementTree as ElementTree
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import requests
import schemathesis
import soundfile
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis.core.result import Ok
from schemathesis.generation import GenerationMode
from starlette.testclient import TestClient

from pipeline.media.encode import encode
from schemas.run import Run
from schemas.serving.gate import Address
from schemas.shard import AudioEncoding
from tests.filters.annotation.harness import Client
from tests.trainer.fixture_runs import shard_row, write_run
from tests.trainer.search.page_server import LENGTH_S, MARKUP, RATE_HZ, STRANGE_ID, PageServer, write_collection
from tests.trainer.search.worlds import KnowingModel, near, write_index
from trainer.search.entries import Entry as Indexed
from trainer.search.entries import ShardPlace
from trainer.search.index import Index
from trainer.search.page.app import create_app
from trainer.search.page.playlists import FORMATS, Entry
from trainer.search.page.ranges import OutOfRangeError, part_of
from trainer.search.page.site import PageSettings

HOSTILE_TEXTS = (
    MARKUP,
    "x" * 10_000,
    "\u202eabc\u2066",
    '"* OR NEAR(',
    "' OR 1=1 --",
    "\0",
    "%00%ff",
    "ड\u200d🎵" * 500,
)


@pytest.fixture
def client(server: PageServer) -> Iterator[Client]:
    one = Client(server.address)
    yield one
    one.close()


def in_process(index: Path, settings: PageSettings) -> TestClient:
    url = settings.address.url
    return TestClient(create_app(Index.open(index, model=KnowingModel()), settings), url, headers={"origin": url})


def address(path: str, **parameters: str | float) -> str:
    return f"{path}?{urllib.parse.urlencode(parameters)}"


@pytest.mark.slow
def test_every_answer_carries_the_headers_and_no_page_has_anything_inline(client: Client) -> None:
    for path in (
        "/",
        "/enter",
        "/nowhere",
        "/api/about",
        "/api/nowhere",
        "/static/main.js",
        "/static/look.css",
        "/openapi.json",
    ):
        status, headers, body = client.request("GET", path)
        assert status == {"/nowhere": 404, "/api/nowhere": 404, "/enter": 401}.get(path, 200), path
        policy = headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "media-src 'self'" in policy
        assert "unsafe" not in policy
        assert headers["x-content-type-options"] == "nosniff"
        if headers["content-type"].startswith("text/html"):
            assert not re.search(r"<script(?![^>]*\bsrc=)|<style|\sstyle=|\son[a-z]+=[\"']|javascript:", body), path
            assert not re.search(r"(src|href)=\"(https?:)?//", body), f"{path} loads from elsewhere"
    assert "tiny, trained for 90 steps" in client.request("GET", "/")[2]
    # A page of interactive documentation would load its scripts from elsewhere.
    assert client.request("GET", "/docs")[0] == 404


def test_requests_from_elsewhere_are_refused(client: Client) -> None:
    order = json.dumps({"format": "csv", "recording_ids": ["id 1"]})
    kind = {"Content_Type": "application/json"}
    assert client.request("POST", "/api/playlist", order, **kind)[0] == 200
    for origin in ("http://evil.example", "null", ""):
        assert client.request("POST", "/api/playlist", order, Origin=origin, **kind)[0] == 403, origin
    for host in ("evil.example", f"127.0.0.1:{client.address.port + 1}"):
        assert client.request("GET", "/api/about", Host=host)[0] == 421, host
    assert client.request("DELETE", "/api/playlist")[0] == 405


def test_search_finds_steers_and_tells_what_is_wrong(client: Client) -> None:
    def found(**parameters: str) -> list[str]:
        status, answer = client.json("GET", address("/api/search", k=4, **parameters))
        assert status == 200, answer
        return [hit["recording_id"] for hit in answer["hits"]]

    first = found(text="slow piano")
    assert set(first) == {"id 0", "id 3", "id 6", "id 9"}
    assert first[0] not in found(text="slow piano", unlike=first[0])
    assert set(found(text="slow piano", where="year >= 1996")) >= {"id 6", "id 9"}
    assert found(text="slow piano", where="year >= 3000") == []
    assert "id 1" not in found(like="id 1")
    for parameters, status in (({"text": "x", "where": "colour = 1"}, 400), ({}, 400), ({"text": "x", "k": "0"}, 422)):
        answer = client.json("GET", address("/api/search", **parameters))
        assert answer[0] == status
        assert list(answer[1]) == ["error"]
    assert client.json("GET", address("/api/similar", recording_id="no such"))[0] == 404


def test_hostile_queries_find_or_are_refused_and_change_nothing(client: Client) -> None:
    for text in HOSTILE_TEXTS:
        for parameters in ({"text": text}, {"text": "a", "where": text[:1_000]}, {"like": text[:1_000]}):
            status, answer = client.json("GET", address("/api/search", **parameters))
            assert status in (200, 400, 404), answer
    status, about = client.json("GET", "/api/about")
    assert (status, about["recordings"]) == (200, 16)


def test_a_strange_id_and_its_texts_arrive_unchanged(client: Client) -> None:
    status, recording = client.json("GET", address("/api/recordings", recording_id=STRANGE_ID))
    assert (status, recording["recording_id"], recording["title"]) == (200, STRANGE_ID, MARKUP)
    assert client.json("GET", address("/api/tags", recording_id=STRANGE_ID))[0] == 200
    points = client.json("GET", "/api/map")[1]
    assert points["recordings"] == len(points["points"]) == 16
    assert client.json("GET", address("/api/path", from_id=STRANGE_ID, to_id="id 3", n=3))[0] == 200


def raw(client: Client, path: str, range_: str = "") -> tuple[int, dict[str, str], bytes]:
    client.connection.request("GET", path, headers={"Range": range_} if range_ else {})
    answer = client.connection.getresponse()
    return answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read()


def test_sound_is_given_whole_by_range_and_as_an_excerpt(client: Client, collection: Path) -> None:
    content = (collection.parent / "music" / "1.flac").read_bytes()
    path = address("/audio", recording_id="id 1")
    status, headers, body = raw(client, path)
    assert (status, body, headers["accept-ranges"], headers["content-type"]) == (200, content, "bytes", "audio/flac")
    status, headers, body = raw(client, path, "bytes=100-199")
    assert (status, body) == (206, content[100:200])
    assert headers["content-range"] == f"bytes 100-199/{len(content)}"
    assert raw(client, path, "bytes=-7")[2] == content[-7:]
    assert raw(client, path, f"bytes={len(content)}-")[0] == 416
    excerpt = raw(client, address("/audio/excerpt", recording_id="an aiff", start_s=10.0))[2]
    decoded, rate_hz = soundfile.read(io.BytesIO(excerpt), dtype="int16")
    whole = soundfile.read(collection.parent / "music" / "tape.aiff", dtype="int16")[0]
    assert rate_hz == RATE_HZ
    np.testing.assert_array_equal(decoded, whole[10 * RATE_HZ :])
    assert raw(client, address("/audio/excerpt", recording_id="an aiff", start_s=LENGTH_S + 1.0))[0] == 404


@pytest.mark.parametrize("encoding", [AudioEncoding.FLAC, AudioEncoding.PCM16])
def test_a_clip_of_a_run_plays(encoding: AudioEncoding, tmp_path: Path) -> None:
    pcm_T = (8_000 * np.sin(np.arange(2 * RATE_HZ) * 0.1)).astype(np.int16)
    row = shard_row("a clip", sf=["slow"], audio=encode(pcm_T, encoding), encoding=encoding, duration_s=2.0)
    run = write_run(tmp_path / "run", [row], shards=1, audio_encoding=encoding)
    (shard,) = Run.open(run).manifest.shards
    place = ShardPlace(run=str(run), shard=shard.path, row_group=0, row=0)
    index = write_index(tmp_path / "index", [(Indexed(recording_id="a clip", place=place), near("slow", 0))])
    client = in_process(index, PageSettings(address=Address(host="127.0.0.1", port=1)))
    for route in ("/audio", "/audio/excerpt"):
        answer = client.get(route, params={"recording_id": "a clip"})
        assert answer.headers["content-type"].startswith("audio/")
        np.testing.assert_array_equal(soundfile.read(io.BytesIO(answer.content), dtype="int16")[0], pcm_T)
    part = client.get("/audio", params={"recording_id": "a clip"}, headers={"range": "bytes=4-9"})
    assert (part.status_code, len(part.content)) == (206, 6)


def test_an_index_of_nothing_is_served(tmp_path: Path) -> None:
    client = in_process(write_index(tmp_path / "index", []), PageSettings(address=Address(host="127.0.0.1", port=1)))
    assert "0 recordings to search" in client.get("/").text
    assert client.get("/api/search", params={"text": "a"}).json() == {"hits": []}
    assert client.get("/api/map").json() == {"recordings": 0, "points": []}


def test_no_id_and_no_path_leads_out_of_the_index(client: Client, collection: Path) -> None:
    for name in (
        "/etc/passwd",
        "../../../etc/passwd",
        "file:///etc/passwd",
        str(collection),
        "music/1.flac",
        "id 1\0",
        "",
    ):
        for route in ("/audio", "/audio/excerpt"):
            status, _, body = raw(client, address(route, recording_id=name))
            assert status == 404, name
            assert b"root:" not in body
    for path in (
        "/static/../app.py",
        "/static/%2e%2e/app.py",
        "/static//etc/passwd",
        "/static/..%2f..%2fserve.py",
        "/audio/../../x",
    ):
        assert raw(client, path)[0] == 404, path
    assert raw(client, address("/audio", recording_id="gone"))[0] == 404


def test_what_was_put_in_the_place_of_a_file_is_not_played(tmp_path: Path) -> None:
    index = write_collection(tmp_path)
    secret = tmp_path / "secret.flac"
    shutil.copy(tmp_path / "music" / "1.flac", secret)
    client = in_process(index, PageSettings(address=Address(host="127.0.0.1", port=1)))
    assert client.get("/audio", params={"recording_id": "id 1"}).status_code == 200
    put: dict[str, Callable[[Path], None]] = {
        "1": lambda path: path.symlink_to(secret),
        "2": os.mkfifo,
        "3": Path.mkdir,
    }
    for number, make in put.items():
        path = tmp_path / "music" / f"{number}.flac"
        path.unlink()
        make(path)
        for route in ("/audio", "/audio/excerpt"):
            answer = client.get(route, params={"recording_id": f"id {number}"})
            assert (answer.status_code, list(answer.json())) == (404, ["error"]), number
    # A folder on the way is a link by now.
    (tmp_path / "music").rename(tmp_path / "moved")
    (tmp_path / "music").symlink_to(tmp_path / "moved")
    assert client.get("/audio", params={"recording_id": "id 4"}).status_code == 404


def test_beyond_this_machine_a_link_lets_in_and_nothing_else(collection: Path) -> None:
    public = Address(host="127.0.0.1", port=1, public_url="http://music.example:1")
    client = in_process(collection, PageSettings(address=public, token="t0ken"))
    paths = (
        "/",
        "/api/about",
        "/api/map",
        "/api/search?text=a",
        "/audio?recording_id=id+1",
        "/enter",
        "/enter?token=t",
    )
    assert {path: client.get(path).status_code for path in paths} == dict.fromkeys(paths, 401)
    order = {"format": "m3u8", "recording_ids": ["id 1"]}
    assert client.post("/api/playlist", json=order).status_code == 401
    assert client.post("/enter", data={"token": "t0ke"}).status_code == 401
    # A messenger that looks at the link, or a page that leads to it, signs nobody in.
    assert client.get("/enter?token=t0ken").status_code == 200
    assert client.get("/").status_code == 401
    answer = client.post("/enter", data={"token": "t0ken"}, follow_redirects=False)
    assert answer.status_code == 303
    assert {"httponly", "samesite=strict"} <= set(answer.headers["set-cookie"].lower().split("; "))
    assert client.get("/").status_code == 200
    # Where files lie on the server is nobody's business there.
    saved = client.post("/api/playlist", json=order).text
    assert "http://music.example:1/audio?recording_id=id+1" in saved
    assert str(collection.parent) not in saved


ENTRIES = [
    Entry(
        recording_id="=1+1",
        location="file:///a%0Ab.flac",
        title="@SUM(A1)\r\n#EXTINF:1,more\n/etc/passwd",
        artist="\t-x",
    ),
    Entry(
        recording_id="b", location="http://h/audio?a=b&c=d", title=f"{MARKUP}\u2028\0", artist="&amp;", duration_s=61.4
    ),
]


def test_hostile_titles_make_no_entries_of_their_own() -> None:
    lines = FORMATS["m3u8"].write(ENTRIES).splitlines()
    assert lines[0] == "#EXTM3U"
    assert lines[2::2] == [entry.location for entry in ENTRIES]
    assert [line.partition(",")[0] for line in lines[1::2]] == ["#EXTINF:-1", "#EXTINF:61"]
    root = ElementTree.fromstring(FORMATS["xspf"].write(ENTRIES))
    name = "{http://xspf.org/ns/0/}"
    assert [track.findtext(f"{name}location") for track in root.iter(f"{name}track")] == lines[2::2]
    assert [len(track) for track in root.iter(f"{name}track")] == [3, 4]
    assert MARKUP in str(root.findtext(f".//{name}track[2]/{name}title"))
    rows = list(csv.reader(io.StringIO(FORMATS["csv"].write(ENTRIES))))
    assert len(rows) == 3
    assert rows[1][:3] == ["'=1+1", "'" + ENTRIES[0].title, "'\t-x"]


def test_a_playlist_of_what_is_there(client: Client, collection: Path) -> None:
    def ordered(*names: str) -> tuple[int, str]:
        order = json.dumps({"format": "m3u8", "recording_ids": names})
        status, _, body = client.request("POST", "/api/playlist", order, Content_Type="application/json")
        return status, body

    status, body = ordered("id 2", "long", STRANGE_ID)
    assert status == 200
    files = [line for line in body.splitlines() if not line.startswith("#")]
    assert files == [
        (collection.parent.resolve() / "music" / f"{name}.flac").as_uri() for name in ("2", "long", "strange")
    ]
    for outside in ("/etc/passwd", "../secret", "http://evil.example/a.mp3"):
        status, body = ordered("id 2", outside)
        assert status == 404
        assert "no recording of this index" in body


@pytest.mark.parametrize(
    ("header", "part"),
    [
        (None, None),
        ("bytes=0-", (0, 10)),
        ("bytes=3-5", (3, 6)),
        ("bytes=3-99", (3, 10)),
        ("bytes=-4", (6, 10)),
        ("bytes=-99", (0, 10)),
        ("bytes=5-3", None),
        ("bytes=-", None),
        ("bytes=0-1,3-4", None),
        ("items=0-1", None),
    ],
)
def test_ranges(header: str | None, part: tuple[int, int] | None) -> None:
    assert part_of(header, 10) == part


@pytest.mark.parametrize("header", ["bytes=10-", "bytes=99-100", "bytes=-0"])
def test_ranges_outside(header: str) -> None:
    with pytest.raises(OutOfRangeError):
        part_of(header, 10)


@pytest.mark.slow
def test_nothing_that_the_api_takes_or_does_not_take_is_a_500(server: PageServer) -> None:
    schema = schemathesis.openapi.from_url(f"{server.address.url}/openapi.json")
    statuses = Counter[int]()
    with requests.Session() as session:
        for result in schema.get_all_operations():
            assert isinstance(result, Ok)
            operation = result.ok()
            for mode in GenerationMode:

                @given(case=operation.as_strategy(generation_mode=mode))
                @settings(
                    max_examples=5,
                    deadline=None,
                    derandomize=True,
                    database=None,
                    phases=[Phase.generate],
                    suppress_health_check=list(HealthCheck),
                )
                def ask(case: schemathesis.Case[Any]) -> None:
                    # Invented ids are unknown: every second question is about recordings that there are.
                    if sum(statuses.values()) % 2 and isinstance(case.query, dict):
                        real = {"recording_id": "id 1", "from_id": "id 1", "to_id": STRANGE_ID, "like": ["id 2"]}
                        case.query |= {name: real[name] for name in real.keys() & case.query.keys()}
                    answer = case.call(session=session, headers={"Origin": server.address.url})
                    statuses[answer.status_code] += 1
                    assert answer.status_code < 500, answer.text

                with contextlib.suppress(Unsatisfiable):  # what takes nothing can be given nothing wrong
                    ask()
    assert statuses[200] >= 10
    assert statuses[422] + statuses[404] + statuses[400] >= 30
