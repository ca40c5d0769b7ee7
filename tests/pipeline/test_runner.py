"""Beam's options: what is wrong with a runner is said before anything is read."""

from pathlib import Path

import pytest

from tests.pipeline.mining import mine

DATAFLOW = ("--runner", "DataflowRunner", "--project", "p", "--region", "r", "--temp_location", "gs://bucket/tmp")


def test_dataflow_without_credentials_is_one_line_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "no-key.json"))
    assert mine(tmp_path / "no-catalogue.jsonl", tmp_path / "run", *DATAFLOW) == 2
    said = capfd.readouterr().err
    assert said.startswith("mulan mine: --runner DataflowRunner: no credentials: ")
    assert said.count("\n") == 1
    assert not (tmp_path / "run").exists()
