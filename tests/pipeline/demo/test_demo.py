"""The demo without the packages that training needs."""

import json
import re
from pathlib import Path

import pytest

import openmulan
from pipeline.demo import command as demo
from tests.trainer.fixture_runs import tone_rows, write_run
from tests.trainer.test_recordings import FOLDER


def test_the_demo_says_what_it_lacks_and_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(demo, "TRAINING_PACKAGES", ("torch_that_nobody_has",))
    assert demo._train(openmulan.main, tmp_path, steps=3) == 0
    assert "No model is trained: torch_that_nobody_has is not installed" in capsys.readouterr().out
    assert not (tmp_path / "trained").exists()


def test_the_demo_ends_with_queries_and_says_how_to_open_the_page(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("usearch", reason="USearch is not installed")
    write_run(tmp_path / "run", tone_rows(6, duration_s=0.7))
    (tmp_path / "trained").mkdir()
    (tmp_path / "trained" / "model").symlink_to(FOLDER)
    (tmp_path / "corpus").mkdir()
    row = {"recording_id": "rec0003", "audio_uri": "x.flac", "title": "Dawn", "album": "Harbour Songs"}
    (tmp_path / "corpus" / "catalog.jsonl").write_text(json.dumps(row) + "\n", encoding="utf-8")
    assert demo._search(openmulan.main, tmp_path) == 0
    said = capsys.readouterr().out
    assert said.count("$ mulan search query") == len(demo.QUERIES) == 3
    assert "The model is tiny, trained for 2 steps" in said
    assert re.search(r"  1 .* (name|both) +Dawn  \[rec0003\]", said)
    assert f"mulan search serve {tmp_path / 'index'}" in said
