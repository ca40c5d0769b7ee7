"""Models in tasks of the `mteb` package, which are made here. Run by `make test-peers`, which installs it."""

import contextlib
import json
import sqlite3
import sys
from pathlib import Path

import pytest

import openmulan
from tests.trainer.evaluation.clap_world import write_clap
from trainer.evaluation.kept import NAME as KEPT_NAME

CLIPS = 24  # of each set, and the same in all
HERE = "tests.trainer.evaluation.mteb_tasks"


def test_without_the_package_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "mteb", None)
    assert openmulan.main(["evaluate", "mteb", "random", "--tasks", "GTZANGenre", "--output", str(tmp_path)]) == 2
    said = capsys.readouterr().err
    assert "needs the package mteb, which is not installed" in said
    assert said.count("\n") == 1


def scores(folder: Path) -> dict[str, float]:
    found = {}
    for path in folder.rglob("Tone*.json"):
        (row,) = json.loads(path.read_text())["scores"]["test"]
        found[path.stem] = row["main_score"]
    return found


@pytest.mark.peers
def test_an_oracle_and_a_checkpoint(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("mteb", reason="needs the package mteb: run `make test-peers`")
    tasks = [f"{HERE}:Tone{kind}" for kind in ("ZeroShot", "Classification", "Retrieval")]
    words = ["evaluate", "mteb", f"{HERE}:oracle", "--tasks", *tasks, "--output", str(tmp_path / "oracle")]
    assert openmulan.main(words) == 0
    assert scores(tmp_path / "oracle") == {"ToneZeroShot": 1.0, "ToneClassification": 1.0, "ToneRetrieval": 1.0}
    assert "ToneZeroShot  accuracy 1.0000\n" in capsys.readouterr().out
    words[2] = "random"
    words[-1] = str(tmp_path / "random")
    assert openmulan.main(words) == 0
    assert scores(tmp_path / "random")["ToneZeroShot"] < 0.7
    # One whose weights have a digest keeps what it embeds: a clip of several tasks and a second command cost nothing.
    clap = write_clap(tmp_path / "clap")
    words = ["evaluate", "mteb", f"clap:{clap}", "--tasks", *tasks, "--output", str(tmp_path / "out")]
    assert openmulan.main([*words, "--device", "cpu"]) == 0
    assert set(scores(tmp_path / "out")) == {"ToneZeroShot", "ToneClassification", "ToneRetrieval"}
    with contextlib.closing(sqlite3.connect(tmp_path / "out" / KEPT_NAME)) as kept:
        assert kept.execute("SELECT count(*) FROM embeddings").fetchone() == (CLIPS,)


@pytest.mark.peers
def test_what_cannot_be_measured_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("mteb", reason="needs the package mteb: run `make test-peers`")
    for task, said in (
        (f"{HERE}:BrokenZeroShot", f"1 of {CLIPS} clips cannot be used, row 3 first"),
        ("NoSuchTask", "NoSuchTask: neither a task of mteb"),
        (f"{HERE}:absent", "has no 'absent'"),
    ):
        assert openmulan.main(["evaluate", "mteb", "random", "--tasks", task, "--output", str(tmp_path / "out")]) == 2
        assert said in capsys.readouterr().err
