"""Hearing the recording behind a sentence: whether, when, what is shown, and what the log keeps of it."""

import io
import json
import wave
from pathlib import Path

import pytest

from filters.annotation import lead
from filters.annotation.context import When
from filters.annotation.log import Log
from filters.annotation.records import item_id_of
from schemas.label import LabelItem
from tests.filters.annotation.harness import Client, Server, make_db
from tests.filters.annotation.runs import make_run, sentence

SAMPLES = bytes(range(256)) * 100
TEXTS = ("a slow drum", "a nice day", "<b>said</b> of two")


@pytest.fixture
def run(tmp_path: Path) -> Path:
    rows = [
        {"lf": [sentence(TEXTS[0], 0.93), sentence(TEXTS[2], 0.5)], "source": "fma", "audio": SAMPLES,
         "audio_encoding": "pcm16", "sf_unfiltered": ["Night <Train>", "The Trio", "jazz"]},
        {"lf": [sentence(TEXTS[2], 0.5)], "audio": b"fLaC", "sf_unfiltered": ["Other"]},
        {"lf": [sentence(TEXTS[1], 0.01)], "audio": b"fLaC"},
    ]  # fmt: skip
    return make_run(tmp_path / "run", rows)


@pytest.fixture
def db(quick_path: Path) -> Path:
    items = [LabelItem(item_id=item_id_of(text), text=text) for text in (*TEXTS, "from elsewhere")]
    return make_db(quick_path / "labels.db", items, 2)


def events(db: Path, kind: str) -> list[dict[str, object]]:
    with Log(db) as log:
        rows = log.connection.execute("SELECT body FROM events WHERE kind = ? ORDER BY seq", (kind,))
        return [json.loads(row["body"]) for row in rows]


@pytest.mark.slow
def test_a_project_shows_no_recordings_unless_it_chose_to(db: Path) -> None:
    with Server(db) as server:
        client = Client(server, "ada")
        assert client.request("GET", f"/recording/{item_id_of(TEXTS[0])}")[0] == 404
        assert "media-src" not in client.request("GET", "/")[1]["content-security-policy"]
        assert 'data-recordings=""' in client.request("GET", "/")[2]
    assert events(db, "contexts") == []


@pytest.mark.slow
def test_after_ones_own_label_alone(db: Path, run: Path) -> None:
    drum, place = item_id_of(TEXTS[0]), f"/recording/{item_id_of(TEXTS[0])}"
    with Server(db, run=run) as server:
        client, other = Client(server, "ada"), Client(server, "ben")
        for path in (place, f"{place}/part", f"{place}/audio"):
            status, _, page = client.request("GET", path)
            assert (status, "after your own answer" in page, "Night" in page) == (400, True, False)
        assert client.label(drum, "yes")[0] == 200
        assert other.request("GET", place)[0] == 400, "that was another one's label"
        _, headers, page = client.request("GET", place)
        assert "media-src 'self'" in headers["content-security-policy"]
        for shown in ("Night &lt;Train&gt;", "The Trio", "fma", "r0", "30 s from 30 s on"):
            assert shown in page, shown
        assert "0.93" not in page, "the score is no part of it"
        client.connection.request("GET", f"{place}/audio", headers={"Cookie": client.cookie})
        answer = client.connection.getresponse()
        assert answer.getheader("content-type") == "audio/wav"
        with wave.open(io.BytesIO(answer.read())) as heard:
            assert (heard.getframerate(), heard.readframes(heard.getnframes())) == (16_000, SAMPLES)
        assert f"/recording/{drum}" in client.request("GET", "/history")[2]
    assert events(db, "contexts") == [{"when": "after"}]
    assert events(db, "context") == [{"before": False}], "the first look of each kind, once"


@pytest.mark.slow
def test_by_a_key_before_the_label_which_the_log_keeps(db: Path, run: Path) -> None:
    with Server(db, run=run, when=When.KEY) as server:
        client = Client(server, "ada")
        status, _, page = client.request("GET", f"/recording/{item_id_of(TEXTS[2])}/part")
        assert (status, "Night" in page, "Other" in page) == (200, True, False), "of two recordings the first"
        assert "not from the run" in client.request("GET", f"/recording/{item_id_of('from elsewhere')}/part")[2]
        assert client.request("GET", "/recording/nothing")[0] == 400
    assert events(db, "context") == [{"before": True}], "a look at nothing is none"
    with Log(db) as log:
        assert [one.heard for one in lead.shares(log)] == [1, 0]
        assert log.verify().problems == []
    with Server(db) as server:
        Client(server, "ada")
    assert events(db, "contexts") == [{"when": "key"}, {"when": None}], "what the project chose, and when it ended"
