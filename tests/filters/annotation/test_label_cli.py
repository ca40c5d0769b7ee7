"""`mulan label` as a user types it: each sub-command in a process of its own, on real files."""

import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from filters.annotation import cli, trouble
from filters.annotation.exchange import add_bundle, read_labels
from filters.annotation.frozen import is_frozen
from filters.annotation.log import Log
from filters.annotation.records import Bundle
from schemas.label import Label, LabelValue
from schemas.serving.gate import Address
from tests.filters.annotation.harness import Client, Server, free_port, make_db, make_items
from tests.shared_files import SharedFolder

ROOT = Path(__file__).resolve().parents[3]


def mulan_label(*arguments: str | Path, given: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "openmulan.py", "label", *map(str, arguments)],
        cwd=ROOT,
        input=given,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.mark.slow
def test_the_shared_labels_are_imported_and_agree(shared_folder: SharedFolder, tmp_path: Path) -> None:
    """700 items, two annotators, Cohen's kappa 0.948: two commands."""
    folder = shared_folder.need("data/labels")
    db = tmp_path / "labels.db"
    files = [folder / name for name in ("sentences.jsonl", "annotator_1.jsonl", "annotator_2.jsonl")]
    dry = mulan_label("import", db, *files, "--dry_run")
    assert "700 sentences and 1400 labels would be added" in dry.stdout
    assert not db.exists(), "a dry run leaves nothing behind"
    assert mulan_label("import", db, *files).returncode == 0
    again = mulan_label("import", db, *files)
    assert "0 sentences and 0 labels added" in again.stdout
    agree = mulan_label("agree", db, "--json")
    whole = json.loads(agree.stdout)[0]
    assert whole["units"] == 700
    assert whole["cohen"]["value"] == pytest.approx(0.948, abs=5e-4)
    captions = next(row for row in json.loads(agree.stdout) if row["name"] == "musiccaps_a")
    assert captions["cohen"]["value"] is None, "all said yes: undefined, and JSON without NaN"
    items, labels = read_labels(db)
    assert (len(items), len(labels), len({label.annotator for label in labels})) == (700, 1400, 2)


@pytest.mark.slow
def test_sample_label_export_import_backup_erase(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The whole way but for the browser, in one process."""
    texts = tmp_path / "comments.txt"
    texts.write_text("".join(f"comment number {number} about drums\n" for number in range(80)), encoding="utf-8")
    db = tmp_path / "labels.db"
    assert cli.main(["sample", str(texts), "--db", str(db), "--count", "20"]) == 0
    assert "20 of" in capsys.readouterr().out
    assert cli.main(["sample", str(texts), "--db", str(db), "--count", "20", "--overlap", "1"]) == 0
    items, _ = read_labels(db)
    assert len({item.text for item in items}) == 40, "a second draw brings new sentences only"
    assert not any(is_frozen(item.text) for item in items)
    labels = tmp_path / "labels.jsonl"
    rows = [
        {"item_id": item.item_id, "annotator": name, "label": "yes" if (number % 3 or name == "ada") else "no"}
        for number, item in enumerate(items)
        for name in ("ada", "ben")
    ]
    labels.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    assert cli.main(["import", str(db), str(labels)]) == 0
    for name in ("csv", "argilla"):
        out = tmp_path / f"out.{name}"
        assert cli.main(["export", str(db), str(out), "--format", name]) == 0
        assert cli.main(["import", str(tmp_path / f"{name}.db"), str(out), "--format", name]) == 0
        assert sorted(map(str, read_labels(tmp_path / f"{name}.db")[1])) == sorted(map(str, read_labels(db)[1]))
    copy = tmp_path / "copy.db"
    assert cli.main(["backup", str(db), str(copy)]) == 0
    assert cli.main(["erase", str(copy), "ben"]) == 0
    assert cli.main(["check", str(copy)]) == 0
    assert {label.annotator.partition("-")[0] for label in read_labels(copy)[1]} == {"ada", "erased"}
    assert {label.annotator for label in read_labels(db)[1]} == {"ada", "ben"}


@pytest.mark.slow
def test_adjudication_in_the_terminal_is_blind_and_safe_for_it(tmp_path: Path) -> None:
    labels = tmp_path / "in.jsonl"
    lines = [
        {"item_id": "a", "text": "loud \x1b[31mred\u202e drums"},
        {"item_id": "b", "text": "soft drums"},
        {"item_id": "a", "annotator": "ada", "label": "yes"},
        {"item_id": "a", "annotator": "ben", "label": "no"},
        {"item_id": "b", "annotator": "ada", "label": "no"},
        {"item_id": "b", "annotator": "ben", "label": "yes"},
    ]
    labels.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    db = tmp_path / "labels.db"
    assert mulan_label("import", db, labels).returncode == 0
    listed = mulan_label("adjudicate", db, "--list").stdout
    assert "2 to settle" in listed
    assert not re.search(r"ada|ben|\x1b|\u202e", listed)
    done = mulan_label("adjudicate", db, "--by", "lead", given="maybe\n0\nu\n1\n\n")
    assert "taken back: a no" in done.stdout
    assert done.returncode == 0
    assert "1 to settle" in done.stdout
    decided = [label for label in read_labels(db)[1] if label.annotator == "adjudicated"]
    assert [(label.item_id, label.label.value) for label in decided] == [("a", "yes")]
    past = mulan_label("adjudicate", db, "--decided").stdout
    assert past.startswith("a  yes\n")
    assert not re.search(r"\x1b|\u202e", past)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["agree", "nothing.db"], "no such database"),
        (["sample", "nothing.txt", "--db", "x.db"], "no such file or run"),
        (["sample", "nothing.txt"], "either --db or --out"),
        (["sample", "x.txt", "--db", "x.db", "--count", "0"], "at least one"),
        (["import", "x.db", "nothing.jsonl"], "no such file"),
        (["import", "x.db", "labels.json"], "--format"),
        (["import", "x.db", "a.jsonl", "--value", "Music"], "THEIRS=OURS"),
        (["import", "x.db", "a.jsonl", "--value", "Music=good"], "good"),
        (["serve", "x.db", "--host", "192.0.2.1"], "--annotator"),
        (["serve", "x.db", "--host", "0.0.0.0", "--annotator", "ada"], "--public_url"),
        (["serve", "x.db", "--public_url", "example.org"], "public_url"),
        (["erase", "x.db", "ada"], "no such database"),
    ],
)
def test_mistakes_are_one_line_and_exit_code_2(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    reason: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert cli.main(arguments) == 2
    message = capsys.readouterr().err
    assert reason in message
    assert message.count("\n") == 1
    assert not (tmp_path / "x.db").exists()


def test_a_damaged_database_is_one_line_that_names_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    db = make_db(tmp_path / "labels.db", make_items(400), 1, ("ada",))
    content = bytearray(db.read_bytes())
    # All pages but the first, which says whose file it is.
    content[4096:] = random.Random(0).randbytes(len(content) - 4096)
    db.write_bytes(content)
    for command in ("agree", "check", "people"):
        assert cli.main([command, str(db)]) == 2
        message = capsys.readouterr().err
        assert message == f"mulan label: {db}: {trouble.DAMAGED.words}\n", command
    db.write_bytes(content[:100])
    assert cli.main(["agree", str(db)]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_a_bad_file_is_reported_line_by_line_and_changes_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bad = tmp_path / "bad.jsonl"
    bad.write_text('{"text": "fine"}\n' + "{oops\n" * 30, encoding="utf-8")
    assert cli.main(["import", str(tmp_path / "x.db"), str(bad)]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert "bad.jsonl:2: not JSON" in lines[0]
    assert lines[-1].endswith("and 10 more")
    assert not (tmp_path / "x.db").exists()


@pytest.mark.slow
def test_serve_prints_links_and_ends_with_ctrl_c(tmp_path: Path) -> None:
    texts = tmp_path / "comments.txt"
    texts.write_text("one\ntwo\nthree\nfour\n", encoding="utf-8")
    db = tmp_path / "labels.db"
    assert mulan_label("sample", texts, "--db", db, "--count", "4").returncode == 0
    assert os.stat(db).st_mode & 0o077 == 0, "the database is for its owner"
    port = str(free_port())
    process = subprocess.Popen(
        [sys.executable, "openmulan.py", "label", "serve", str(db), "--port", port, "--annotator", "ada"],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    shown = [process.stdout.readline() for _ in range(3)]
    assert re.match(rf"  ada: http://127\.0\.0\.1:{port}/enter\?token=[\w-]{{40,}}", shown[1])
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=30) == 0


@pytest.mark.slow
def test_a_served_database_is_whole_after_sigterm_and_sighup(tmp_path: Path) -> None:
    """A label over HTTP, then the signal: the process ends with 0 and a copy of the one file has the label."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        db = make_db(tmp_path / f"{number.name}.db", make_items(3), 1, ("ada",))
        port = free_port()
        process = subprocess.Popen(
            [sys.executable, "openmulan.py", "label", "serve", str(db), "--port", str(port), "--annotator", "ada"],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert process.stdout is not None
        shown = "".join(process.stdout.readline() for _ in range(3))
        token = re.search(r"token=([\w-]+)", shown)
        assert token is not None
        client = Client(Address(host="127.0.0.1", port=port), token=token[1])
        assert client.label("i00000", "yes")[0] == 200
        process.send_signal(number)
        _, errors = process.communicate(timeout=60)
        assert (process.returncode, errors) == (0, "")
        assert not list(tmp_path.glob(f"{number.name}.db-*"))
        shutil.copy(db, tmp_path / "copy.db")
        assert [label.item_id for label in read_labels(tmp_path / "copy.db")[1]] == ["i00000"]


def test_a_terminal_that_closes_leaves_the_decisions_in_the_file(tmp_path: Path) -> None:
    db = make_db(tmp_path / "labels.db", make_items(2), 2, ("ada", "ben"))
    with Log(db) as log:
        pairs = (
            (item.item_id, name, value) for item in make_items(2) for name, value in (("ada", "yes"), ("ben", "no"))
        )
        labels = [Label(item_id=one, annotator=name, label=LabelValue(value)) for one, name, value in pairs]
        add_bundle(log, Bundle(items=[], labels=labels), 2)
    process = subprocess.Popen(
        [sys.executable, "openmulan.py", "label", "adjudicate", str(db)],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write("1\n")
    process.stdin.flush()
    while "2/2" not in process.stdout.readline():
        pass
    process.send_signal(signal.SIGHUP)
    process.communicate(timeout=60)
    assert process.returncode == 3
    assert not list(tmp_path.glob("labels.db-*"))
    decided = [label for label in read_labels(db)[1] if label.annotator == "adjudicated"]
    assert [label.item_id for label in decided] == ["i00000"]


@pytest.mark.slow
def test_check_says_when_the_wal_was_not_brought_along(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    db = make_db(tmp_path / "labels.db", make_items(3), 1, ("ada",))
    copy = tmp_path / "elsewhere" / "labels.db"
    copy.parent.mkdir()
    with Server(db) as server:
        assert Client(server, "ada").label("i00000", "yes")[0] == 200
        shutil.copy(db, copy)
    assert cli.main(["check", str(copy)]) == 2
    message = capsys.readouterr().err
    assert "without labels.db-wal" in message
    assert message.count("\n") == 1
    assert cli.main(["serve", str(copy)]) == 2
    assert cli.main(["check", str(copy), "--accept"]) == 0
    assert cli.main(["check", str(copy)]) == 0
    # Killed, and copied with both files: nothing is lacking.
    for name in ("labels.db", "labels.db-wal"):
        shutil.copy(tmp_path / name, copy.parent / name)
    assert cli.main(["check", str(copy)]) == 0
    assert len(read_labels(copy)[1]) == 1


@pytest.mark.slow
def test_people_come_and_go_while_the_server_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    db = make_db(tmp_path / "labels.db", make_items(3), 2, ("ada", "lead"))
    assert cli.main(["invite", str(db), "ben"]) == 2
    assert "--url" in capsys.readouterr().err, "no server has said where it is"
    with Server(db) as server:
        assert cli.main(["invite", str(db), "ben", "cleo", "--url", f"{server.address.url}/"]) == 0
        links = dict(line.split(": ") for line in capsys.readouterr().out.splitlines())
        ben = Client(server, token=links["ben"].partition("token=")[2])
        assert ben.form("/join")[0] == 303
        assert ben.label("i00000", "yes")[0] == 200
        assert ben.request("GET", "/adjudicate")[0] == 403
        assert cli.main(["invite", str(db), "ben", "--adjudicator", "--url", server.address.url]) == 0
        assert ben.request("GET", "/adjudicate")[0] == 200
        assert cli.main(["revoke", str(db), "ben", "--role"]) == 0
        assert ben.request("GET", "/adjudicate")[0] == 403
        assert ben.request("GET", "/api/work")[0] == 200
        capsys.readouterr()
        assert cli.main(["people", str(db)]) == 0
        table = [line.split() for line in capsys.readouterr().out.splitlines()[1:]]
        assert ["ben", "annotator", "1", "0", "1", "1"] in table
        assert cli.main(["revoke", str(db), "ben"]) == 0
        assert ben.request("GET", "/api/work")[0] == 401
        assert cli.main(["revoke", str(db), "cleo"]) == 0
        used_up = Client(server)
        assert used_up.request("GET", links["cleo"].removeprefix(server.address.url))[0] == 401
        assert cli.main(["revoke", str(db), "nobody"]) == 2
    assert [label.annotator for label in read_labels(db)[1]] == ["ben"]
