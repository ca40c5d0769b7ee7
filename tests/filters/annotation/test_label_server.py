"""The page over real HTTP: who gets in, what is refused, what is never shown."""

import json
import re
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from filters.annotation import people
from filters.annotation.exchange import read_labels
from filters.annotation.guideline import Guideline
from filters.annotation.log import Log
from filters.annotation.records import AnnotationError
from filters.annotation.security import check_exposure
from filters.annotation.warmup import read_warmup
from schemas.label import LabelItem, LabelValue
from schemas.serving.gate import MAX_BODY_BYTES, Address
from tests.filters.annotation.harness import Client, Server, label_body, make_db, make_items

HOSTILE = {
    "markup": '</p><script>alert(1)</script><img src=x onerror="alert(1)">{{ 7*7 }}',
    "rtl": "\u202egnos yppah\u2066 a \u200bhidden",
    "long": "drum " * 2000,
    "plain": "Soft strings under a hoarse voice.",
}
FORM = "application/x-www-form-urlencoded"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    items = [
        LabelItem(item_id=name, text=text, source="secret-source", stratum="score 0.9-1 · latin")
        for name, text in HOSTILE.items()
    ]
    db = make_db(tmp_path_factory.mktemp("server") / "labels.db", items, 3, ("ada", "ben", "lead"))
    with Server(db) as one:
        yield one


PAGES = (
    *("/", "/history", "/guideline", "/keys", "/warmup", "/api/work"),
    *("/team", "/agreement", "/adjudicate", "/decisions"),
)


def test_without_a_session_there_is_nothing(server: Server) -> None:
    client = Client(server)
    for path in PAGES:
        status, _, body = client.request("GET", path)
        assert status == 401, path
        assert "Soft strings" not in body
    assert client.label("plain", "yes")[0] == 401
    assert client.json("POST", "/api/undo", {"key": "k" * 8})[0] == 401
    for path in ("/adjudicate", "/adjudicate/undo", "/decisions"):
        assert client.form(path, item_id="plain", label="yes", key="k" * 8)[0] == 401, path
    client.cookie = f"{server.address.cookie}=guess"
    assert client.request("GET", "/")[0] == 401


def test_a_link_shows_a_page_first_and_works_once(server: Server) -> None:
    client = Client(server)
    path = server.link("ada").removeprefix(server.address.url)
    for _ in range(2):
        assert client.request("GET", path)[0] == 200, "a messenger that looks at the link must not use it up"
    token = path.partition("token=")[2]
    status, headers, _ = client.form("/enter", token=token)
    assert status == 303
    cookie = headers["set-cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=strict" in cookie
    assert client.form("/enter", token=token)[0] == 401
    assert client.request("GET", path)[0] == 401


def test_requests_from_elsewhere_are_refused(server: Server) -> None:
    client = Client(server, "ada")
    body = '{"key": "12345678", "item_id": "plain", "label": "yes"}'
    kind = {"Content_Type": "application/json"}
    for origin in ("http://evil.example", "null", "https://" + server.address.url.partition("//")[2], ""):
        assert client.request("POST", "/api/label", body, Origin=origin, **kind)[0] == 403, origin
    for host in ("evil.example", f"127.0.0.1:{server.address.port + 1}", "127.0.0.1"):
        assert client.request("GET", "/", Host=host)[0] == 421, host
    assert client.request("PUT", "/api/label", body, **kind)[0] == 405
    assert read_labels(server.db)[1] == []


def test_bodies_are_limited_with_and_without_a_length(server: Server) -> None:
    client = Client(server, "ada")
    huge = "x" * (MAX_BODY_BYTES + 1)
    assert client.request("POST", "/api/label", huge, Content_Type="application/json")[0] == 413
    client.close()
    client.connection.putrequest("POST", "/api/label")
    for name, value in {
        "Origin": server.address.url,
        "Cookie": client.cookie,
        "Content-Type": "application/json",
        "Transfer-Encoding": "chunked",
    }.items():
        client.connection.putheader(name, value)
    client.connection.endheaders()
    try:
        for _ in range(20):
            client.connection.send(b"2000\r\n" + b"x" * 0x2000 + b"\r\n")
        client.connection.send(b"0\r\n\r\n")
    except ConnectionError:
        pass  # answered before all of it was sent
    answer = client.connection.getresponse()
    assert (answer.status, answer.read().decode()) == (413, f"At most {MAX_BODY_BYTES} bytes are taken.")
    client.close()
    assert client.request("GET", "/")[0] == 200, "the server is still there"


def test_a_chunked_body_is_taken_like_any_other(fresh: Server) -> None:
    client = Client(fresh, "ada")
    body = json.dumps(label_body("i00000", "yes")).encode()
    head = f"POST /api/label HTTP/1.1\r\nHost: {fresh.address.url[7:]}\r\nOrigin: {fresh.address.url}\r\n"
    head += f"Cookie: {client.cookie}\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
    with socket.create_connection(("127.0.0.1", fresh.address.port)) as connection:
        connection.sendall(head.encode())
        for start in range(0, len(body), 10):
            part = body[start : start + 10]
            connection.sendall(b"%x\r\n%b\r\n" % (len(part), part))
        connection.sendall(b"0\r\n\r\n")
        assert connection.recv(4096).startswith(b"HTTP/1.1 200")
    assert [label.label for label in read_labels(fresh.db)[1]] == ["yes"]


def test_a_full_disk_is_a_reason_and_leaves_nothing_half_done(fresh: Server) -> None:
    client = Client(fresh, "ada")
    _, work = client.json("GET", "/api/work?ahead=9")
    assert len(work["tasks"]) == 3
    item = work["tasks"][0]["item_id"]
    fresh.limit_files(1)
    for _ in range(2):
        status, said = client.label(item, "yes", "key-00001")
        assert (status, "cannot write to its disk" in said["error"]) == (503, True)
    fresh.limit_files(None)
    assert client.label(item, "yes", "key-00001")[1]["taken"] == "saved"
    assert len(read_labels(fresh.db)[1]) == 1


def test_every_answer_carries_the_headers_and_no_page_has_anything_inline(server: Server) -> None:
    client = Client(server, "lead")
    for path in (*PAGES, "/static/label.js", "/nowhere"):
        status, headers, body = client.request("GET", path)
        policy = headers["content-security-policy"]
        assert "default-src 'none'" in policy, path
        assert "unsafe" not in policy
        assert headers["x-content-type-options"] == "nosniff"
        if headers.get("content-type", "").startswith("text/html"):
            assert headers["cache-control"] == "no-store"
            assert not re.search(r"<script(?![^>]*\bsrc=)|<style|\sstyle=|\son[a-z]+=[\"']|javascript:", body), path
            assert not re.search(r"(src|href)=\"(https?:)?//", body), f"{path} loads from elsewhere"
        assert status in (200, 303, 404)


def test_hostile_sentences_are_text_and_isolated(server: Server) -> None:
    client = Client(server, "ben")
    for name in HOSTILE:
        status, answer = client.label(name, "no", note="<b>note</b>\u202e")
        assert status == 200, answer
    page = client.request("GET", "/history")[2]
    assert "<script>alert" not in page
    assert "&lt;script&gt;alert(1)" in page
    assert "{{ 7*7 }}" in page, "a sentence is no template"
    assert '<bdi dir="auto">\u202egnos' in page
    assert "&lt;b&gt;note" in page
    status, work = Client(server, "ada").json("GET", "/api/work")
    assert {task["text"] for task in work["tasks"]} == set(HOSTILE.values()), "texts arrive unchanged"
    for name in HOSTILE:
        client.json("POST", "/api/undo", {"key": f"undo-hostile-{name}"})


def test_nothing_of_the_sample_is_shown_before_a_label(server: Server) -> None:
    client = Client(server, "ada")
    shown = "".join(client.request("GET", path)[2] for path in ("/", "/api/work", "/history"))
    assert "score" not in shown.replace("no score", "")
    assert "secret-source" not in shown
    assert client.json("GET", "/api/work")[1]["tasks"][0].keys() == {"item_id", "text"}


def test_annotators_see_their_own_labels_only(server: Server) -> None:
    ada, ben, lead = (Client(server, name) for name in ("ada", "ben", "lead"))
    assert ada.label("plain", "yes", note="adas-own-note")[0] == 200
    assert "adas-own-note" in ada.request("GET", "/history")[2]
    assert "adas-own-note" not in ben.request("GET", "/history")[2]
    for path in ("/agreement", "/agreement/table", "/adjudicate", "/decisions"):
        assert ben.request("GET", path)[0] == 403
        assert lead.request("GET", path)[0] == 200
    for path in ("/adjudicate", "/adjudicate/undo", "/decisions"):
        assert ben.form(path, item_id="plain", label="no", key="12345678")[0] == 403, path
    form = {"item_id": "plain", "label": "no", "key": "abcdefgh"}
    assert ben.form("/history", **form)[0] == 404, "nobody corrects what is not his"
    assert ben.label("plain", "no", note="bens-own-note")[0] == 200
    page = lead.request("GET", "/adjudicate")[2]
    assert "adas-own-note" in page
    assert not re.search(r"\b(ada|ben)\b", page), "adjudication is blind to names"
    assert lead.form("/adjudicate", item_id="plain", label="yes", key="12345678", note="")[0] == 303
    assert "bens-own-note" not in lead.request("GET", "/adjudicate")[2]
    said = {label.annotator: label.label for label in read_labels(server.db)[1] if label.item_id == "plain"}
    assert said == {"ada": LabelValue.YES, "ben": LabelValue.NO, "adjudicated": LabelValue.YES}


def test_a_correction_keeps_its_predecessor_in_the_log(server: Server) -> None:
    ada = Client(server, "ada")
    assert ada.label("rtl", "yes")[0] == 200
    fields = {"item_id": "rtl", "label": "skip:abusive", "unsure": "on", "note": "a\r\nb", "key": "c" * 8}
    assert ada.form("/history", **fields)[0] == 303
    mine = [label for label in read_labels(server.db)[1] if (label.item_id, label.annotator) == ("rtl", "ada")]
    assert [(one.label, one.skip_reason, one.unsure, one.note) for one in mine] == [
        (LabelValue.SKIP, "abusive", True, "a\nb")
    ]
    assert mine[0].guideline is not None


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ({"item_id": "nothing"}, 400),
        ({"label": "maybe"}, 400),
        ({"label": "skip"}, 400),
        ({"label": "yes", "skip_reason": "broken"}, 400),
        ({"label": "skip", "skip_reason": "because"}, 400),
        ({"key": "short"}, 400),
        ({"key": "'; DROP TABLE events; --"}, 400),
        ({"note": "x" * 3000}, 400),
        ({"note": "\ud800"}, 400),
        ({"score": 1}, 400),
    ],
)
def test_bad_labels_are_refused_with_a_reason(server: Server, change: dict[str, str], status: int) -> None:
    client = Client(server, "ada")
    before = read_labels(server.db)
    got, answer = client.json("POST", "/api/label", label_body("markup", "yes") | change)
    assert (got, bool(answer["error"])) == (status, True)
    assert read_labels(server.db) == before


def test_forms_that_are_no_forms_are_refused(server: Server) -> None:
    client = Client(server, "lead")
    assert client.request("POST", "/adjudicate", "{}", Content_Type="application/json")[0] == 415
    assert client.request("POST", "/adjudicate", "a=%ff", Content_Type=FORM)[0] == 400
    assert client.form("/adjudicate", item_id="plain", label="perhaps", key="12345678")[0] == 400
    assert client.form("/adjudicate", item_id="plain", label="yes")[0] == 400, "a form without a key is no form of ours"


@pytest.mark.slow
def test_the_first_visit_warns_warms_up_and_only_then_works(tmp_path: Path) -> None:
    exercises = read_warmup()
    db = make_db(tmp_path / "labels.db", [LabelItem(item_id="a", text="x y z")], 1, ("ada",))
    with Server(db, exercises=exercises) as server:
        client = Client(server, "ada")
        assert client.request("GET", "/")[1]["location"] == "/warmup"
        for number, exercise in enumerate(exercises):
            page = client.request("GET", "/warmup")[2]
            assert f"Warm-up {number + 1} of {len(exercises)}" in page
            assert exercise.why not in page, "no answer before the question"
            wrong = "no" if exercise.label is LabelValue.YES else "yes"
            said = wrong if number % 2 else exercise.label.value
            answer = client.form("/warmup", exercise=exercise.exercise_id, label=said)[2]
            assert ("Right" in answer) == (said == exercise.label)
            assert exercise.why.split(",")[0] in answer.replace("&#39;", "'")
        assert client.request("GET", "/warmup")[0] == 303
        assert 'id="sentence"' in client.request("GET", "/")[2]
    assert read_labels(db)[1] == [], "the warm-up is no label"


@pytest.mark.slow
def test_the_welcome_page_warns_before_anything_else(tmp_path: Path) -> None:
    db = make_db(tmp_path / "labels.db", [LabelItem(item_id="a", text="x y z")], 1, ("ada",))
    with Log(db) as log, log.transaction():
        people.ensure_person(log, "newcomer")
    with Server(db) as server:
        client = Client(server, "newcomer")
        page = client.request("GET", "/")[2]
        assert "Some sentences are unpleasant" in page
        assert 'id="sentence"' not in page
        assert client.form("/join")[0] == 303
        assert 'id="sentence"' in client.request("GET", "/")[2]


def test_a_guideline_is_shown_without_its_markup_and_its_tables_name_their_columns() -> None:
    table = "| case | yes |\n|---|---|\n| a | b |\n\n| one |\n|---|\n| two |\n"
    html = Guideline(version="x", markdown=f"# Title\n\n<script>alert(1)</script>\n\n{table}").html()
    assert "<h1>Title</h1>" in html
    assert "<script>" not in html
    assert [f'data-head="{head}"' in html for head in ("case", "yes", "one", "two")] == [True, True, True, False]


def test_leaving_ends_the_session(server: Server) -> None:
    client = Client(server, "ada")
    assert client.form("/leave")[0] == 200
    assert client.request("GET", "/")[0] == 401


def test_others_reach_the_server_only_with_links_of_their_own() -> None:
    for address in (
        Address(host="0.0.0.0", port=1, public_url="http://localhost:1"),
        Address(host="192.0.2.1", port=1),
        Address(host="127.0.0.1", port=1, public_url="https://label.example.org"),
    ):
        with pytest.raises(AnnotationError, match="--annotator"):
            check_exposure(address, named_annotators=False)
        check_exposure(address, named_annotators=True)
    check_exposure(Address(host="127.0.0.1", port=1), named_annotators=False)


@pytest.mark.slow
def test_the_page_works_behind_a_proxy_under_its_public_name(tmp_path: Path) -> None:
    db = make_db(tmp_path / "labels.db", [LabelItem(item_id="a", text="x y z")], 1, ("ada",))
    with Server(db, public_url="https://label.example.org") as server:
        client = Client(server, "ada")
        assert client.cookie.startswith("__Host-")
        assert client.request("GET", "/")[0] == 200
        assert client.label("a", "yes")[0] == 200
        body = '{"key": "12345678"}'
        inside = f"http://127.0.0.1:{server.address.port + 1}"
        assert client.request("POST", "/api/undo", body, Origin=inside, Content_Type="application/json")[0] == 403
    assert len(read_labels(db)[1]) == 1


def test_behind_tls_the_cookie_is_secure_and_the_name_is_allowed() -> None:
    address = Address(host="127.0.0.1", port=8765, public_url="https://label.example.org")
    assert address.secure
    assert address.cookie.startswith("__Host-")
    assert "label.example.org" in address.hosts
    assert "https://label.example.org" in address.origins
    assert Address(host="0.0.0.0", port=80, public_url="https://a.example:8443").hosts == {"a.example:8443"}
    for bad in ("label.example.org", "ftp://x", "https://x/path", "https://"):
        with pytest.raises(ValueError, match="public_url"):
            Address(host="127.0.0.1", port=1, public_url=bad)
    for every in ("0.0.0.0", "::", ""):
        with pytest.raises(ValueError, match="--public_url http://NAME:1"):
            Address(host=every, port=1)


@pytest.fixture
def fresh(quick_path: Path) -> Iterator[Server]:
    with Server(make_db(quick_path / "labels.db", make_items(3), 2, ("ada", "ben", "lead"))) as one:
        yield one


def test_what_was_given_for_another_project_or_person_is_not_taken(fresh: Server) -> None:
    ada, ben = Client(fresh, "ada"), Client(fresh, "ben")
    mine, his = (client.json("GET", "/api/work")[1]["owner"] for client in (ada, ben))
    assert mine != his
    for owner in (his, f"{'0' * 16}.1"):
        status, answer = ada.label("i00000", "yes", owner=owner)
        assert (status, answer["owner"], answer["error"]) == (409, "", "This browser is signed in as ada by now.")
        assert ada.json("POST", "/api/undo", {"key": "k" * 8, "owner": owner})[0] == 409
    assert read_labels(fresh.db)[1] == []
    assert ada.label("i00000", "yes", owner=mine)[0] == 200


@pytest.mark.slow
def test_two_projects_on_one_port_do_not_log_each_other_out(quick_path: Path) -> None:
    first = make_db(quick_path / "first.db", make_items(2), 1, ("ada",))
    second = make_db(quick_path / "second.db", make_items(2), 1, ("ben",))
    with Server(first) as server:
        client = Client(server, "ada")
    with Server(second, port=server.address.port) as other:
        client.close()
        assert client.request("GET", "/api/work")[0] == 401
        ben = Client(other, "ben")
        assert ben.cookie.partition("=")[0] != client.cookie.partition("=")[0]
        both = f"{client.cookie}; {ben.cookie}"
        ben.cookie = both
        assert ben.request("GET", "/api/work")[0] == 200


@pytest.mark.slow
def test_a_session_from_before_goes_on(fresh: Server) -> None:
    """Until 2026-11 the cookie did not name the project."""
    client = Client(fresh, "ada")
    client.cookie = f"{fresh.address.cookie}={client.cookie.partition('=')[2]}"
    assert client.request("GET", "/api/work")[0] == 200
    assert client.label("i00000", "yes")[0] == 200, "and so does the page that was open"
    assert client.label("i00000", "no")[0] == 200
    assert client.form("/leave")[0] == 200
    assert client.request("GET", "/api/work")[0] == 401


@pytest.mark.slow
def test_a_second_window_overwrites_nothing_unseen(fresh: Server) -> None:
    ada = Client(fresh, "ada")
    assert ada.label("i00000", "yes", over=None)[0] == 200
    status, answer = ada.label("i00000", "no", over=None)
    assert (status, answer["standing"]["value"]) == (409, "yes")
    page = ada.request("GET", "/history")[2]
    fields = {"item_id": "i00000", "over": str(answer["standing"]["seq"]), "note": "by the bridge"}
    assert f'name="over" value="{fields["over"]}"' in page
    assert ada.form("/history", **fields, label="skip:broken", key="a" * 8)[0] == 303
    status, _, page = ada.form("/history", **fields, label="no", unsure="on", key="b" * 8)
    assert status == 409
    assert "changed meanwhile" in page
    again = dict(re.findall(r'name="(\w+)" value="([^"]*)"', page.partition('id="clash"')[2].partition("</form>")[0]))
    assert (again["label"], again["unsure"], again["note"]) == ("no", "on", "by the bridge"), "what was sent is kept"
    assert [label.label.value for label in read_labels(fresh.db)[1]] == ["skip"]
    assert ada.form("/history", **again)[0] == 303
    assert [(label.label.value, label.unsure) for label in read_labels(fresh.db)[1]] == [("no", True)]


@pytest.mark.slow
def test_a_second_adjudicator_overwrites_nothing_unseen(fresh: Server) -> None:
    with Log(fresh.db) as log, log.transaction():
        people.ensure_person(log, "ben", adjudicator=True)
    lead, ben = Client(fresh, "lead"), Client(fresh, "ben")
    decision = {"item_id": "i00000", "note": "a drum"}
    assert lead.form("/adjudicate", **decision, label="yes", key="a" * 8)[0] == 303
    status, _, page = ben.form("/adjudicate", item_id="i00000", label="no", note="no drum", key="b" * 8)
    assert status == 409
    assert "is yes by now" in page
    again = dict(re.findall(r'name="(\w+)" value="([^"]*)"', page.partition('id="clash"')[2].partition("</form>")[0]))
    assert [label.label.value for label in read_labels(fresh.db)[1]] == ["yes"]
    assert ben.form("/decisions", **again)[0] == 303
    assert [(label.label.value, label.note) for label in read_labels(fresh.db)[1]] == [("no", "no drum")]
    assert "Not by you" in lead.request("GET", "/decisions")[2]
    over = re.search(r'name="over" value="(\d+)"', lead.request("GET", "/decisions")[2])
    assert over is not None
    taken_back = {"item_id": "i00000", "over": over[1], "take_back": "1"}
    assert lead.form("/decisions", **taken_back, key="c" * 8)[0] == 303
    assert [label.label.value for label in read_labels(fresh.db)[1]] == ["yes"], "the one before stands again"
    assert lead.form("/decisions", **taken_back, key="d" * 8)[0] == 409
    assert ben.form("/adjudicate/undo", key="e" * 8)[1]["location"] == "/decisions", "Ben has no decision left"
    assert lead.form("/adjudicate/undo", key="f" * 8)[0] == 303
    assert read_labels(fresh.db)[1] == []
    with Log(fresh.db) as log:
        assert log.verify().problems == []
