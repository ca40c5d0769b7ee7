"""The example that mines, as a user starts it; those that need torch are tried in tests/trainer/test_examples.py."""

from pathlib import Path

import pytest

from examples import mine_a_folder
from tests.pipeline.mining import write_chord

OPTIONS = ("--short_policy", "from_end", "--music_threshold", "0.01", "--tokenizer", "none", "--quiet")


@pytest.mark.slow
def test_a_folder_is_mined_and_looked_at(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    music = tmp_path / "music"
    music.mkdir()
    write_chord(music / "Ana Castelo - Slow River.flac", 0, seconds=31)
    write_chord(music / "Ana Castelo - Too Short.flac", 1, seconds=2)
    assert mine_a_folder.main([str(music), str(tmp_path / "run"), *OPTIONS]) == 0
    told = capsys.readouterr().out
    assert "music  Ana Castelo - Slow River.flac\n" in told
    assert "\n1 recordings kept; the texts that most of them have:\n" in told
    assert "    1  ana castelo\n" in told
    assert told.endswith("    1  dropped: the recording ends before the clip does\n")


def test_a_folder_that_is_not_there_is_the_commands_own_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert mine_a_folder.main([str(tmp_path / "none"), str(tmp_path / "run")]) == 2
    assert "none" in capsys.readouterr().err
