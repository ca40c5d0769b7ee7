"""The worked example of `docs/extending.md`, "A music detector": one file of the user's own, on a real job."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from filters.music.detector import DetectorError, FrameGrid
from filters.music.load import load_detector
from schemas.run import Run
from tests.extending.document import blocks, run_line
from tests.pipeline.mining import RATE_HZ, manifest, rejects, row, write_catalogue

pytestmark = pytest.mark.slow

SECTION = "A music detector"


@pytest.mark.slow
def test_a_detector_of_ones_own_judges_a_run_and_is_part_of_its_identity(tmp_path: Path) -> None:
    (module,), (command,) = blocks(SECTION, "python"), blocks(SECTION, "sh")
    assert "--direct_num_workers 2" in command
    (tmp_path / "my_detectors.py").write_text(module, encoding="utf-8")
    (tmp_path / "audio").mkdir()
    quiet_T = np.random.default_rng(0).normal(0, 1e-4, 6 * RATE_HZ)
    soundfile.write(tmp_path / "audio" / "002.flac", quiet_T, RATE_HZ)
    write_catalogue(tmp_path, [row(number, music_gate="apply") for number in range(3)])
    done = run_line(command, tmp_path)
    assert done.returncode == 0, done.stderr
    judged = manifest(tmp_path / "run")["detector"]
    assert (judged["name"], judged["window_s"], judged["demo_grade"]) == ("loudness", 1.0, True)
    assert [(line["recording_id"], line["reason"]) for line in rejects(tmp_path / "run")] == [("rec-002", "not_music")]
    mined = Run.open(tmp_path / "run")
    rows = [value for group in mined.row_groups() for value in mined.read(group).to_pylist()]
    assert sorted(value["recording_id"] for value in rows) == ["rec-000", "rec-001"]
    assert all(len(value["music_scores"]) == 7 and min(value["music_scores"]) > 0.3 for value in rows)
    (tmp_path / "my_detectors.py").write_text(module.replace("version = 1", "version = 2"), encoding="utf-8")
    refused = run_line(command, tmp_path)
    assert refused.returncode == 2
    (line,) = [line for line in refused.stderr.splitlines() if line.startswith("mulan mine: ")]
    assert "versions.detector 1 → 2" in line
    assert f"detector_digest {judged['digest']!r} → " in line


class Whole:
    """Keeps the contract, unless a test changes it."""

    name, digest, version, demo_grade = "whole", "d", 1, False
    grid = FrameGrid(window_s=1.0, hop_s=1.0)

    def scores(self, wave_T: Any) -> Any:
        return np.zeros(self.grid.frames(len(wave_T)), np.float32)


def of_spec() -> Any:
    return type("Made", (Whole,), CHANGES)()


SPEC = f"{__name__}:of_spec"
CHANGES: dict[str, Any] = {}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"digest": ""}, "its digest is ''"),
        ({"version": "1"}, "its version is '1', which is no int"),
        ({"grid": 0.5}, "its grid is 0.5, which is no FrameGrid"),
        ({"scores": lambda self, wave_T: [1.0]}, "2 frames of silence give [1.], and not a score in [0, 1] each"),
        ({"scores": lambda self, wave_T: [0.0, np.nan]}, "and not a score in [0, 1] each"),
        ({"scores": lambda self, wave_T: 1 / 0}, "cannot score silence (ZeroDivisionError: division by zero)"),
        ({"__init__": lambda self: 1 / 0}, "cannot be made (ZeroDivisionError: division by zero)"),
    ],
)
def test_what_a_detector_lacks_is_said_in_one_line(
    changes: dict[str, Any], words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert load_detector(SPEC).name == "whole"
    for name, value in changes.items():
        monkeypatch.setitem(CHANGES, name, value)
    with pytest.raises(DetectorError) as caught:
        load_detector(SPEC)
    assert str(caught.value).startswith(f"music detector {SPEC!r}: ")
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ("builtins:dict", "what it makes has no demo_grade, digest, grid, name, scores, version"),
        ("no_module:f", "there is no module 'no_module' on the Python path"),
        ("json:nothing", "json has no 'nothing'"),
        ("nothing", "nor package.module:factory of your own"),
    ],
)
def test_what_is_no_detector_is_said_in_one_line(spec: str, words: str) -> None:
    with pytest.raises(DetectorError, match="music detector") as caught:
        load_detector(spec)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)
