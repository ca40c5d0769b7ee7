"""The demo without the packages that training needs."""

from pathlib import Path

import pytest

import openmulan
from pipeline.demo import command as demo


def test_the_demo_says_what_it_lacks_and_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(demo, "TRAINING_PACKAGES", ("torch_that_nobody_has",))
    assert demo._train(openmulan.main, tmp_path, steps=3) == 0
    assert "No model is trained: torch_that_nobody_has is not installed" in capsys.readouterr().out
    assert not (tmp_path / "trained").exists()
