"""`mulan pretrain`: learns to name the classes, resumes exactly, and its body starts a MuLan."""

import dataclasses
import math
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from schemas.sources import TextSource
from tests.trainer.test_loop import options, smallest
from trainer.logs import read_metrics
from trainer.loop import Ending
from trainer.mixture import Mixture
from trainer.pretrain import main
from trainer.recipes import Recipe
from trainer.tasks.classification import guessing_loss, pretrain, read_classes
from trainer.towers import AudioTower

pytestmark = pytest.mark.slow


def only_aset() -> Recipe:
    recipe = smallest(Path("none"))
    return dataclasses.replace(
        recipe,
        data=dataclasses.replace(recipe.data, mixture=Mixture.of({TextSource.ASET: 1})),
        optimizer=dataclasses.replace(recipe.optimizer, learning_rate=3e-3),
    )


def test_it_learns_the_classes_and_its_body_starts_a_tower(tone_run: Path, tmp_path: Path) -> None:
    recipe, run = only_aset(), options(tone_run, tmp_path / "whole", steps=30, workers=0, checkpoint_every=10)
    assert pretrain(recipe, run) == Ending.DONE
    lines = read_metrics(run.output, "train")
    assert lines[-1]["loss"] < 0.85 * lines[0]["chance"]
    assert lines[0]["loss"] > lines[0]["chance"]
    assert read_metrics(run.output, "validation")[-1]["loss"] < lines[0]["chance"]
    names = (run.output / "model" / "classes.txt").read_text().splitlines()
    assert names == ["high sine", "low sine", "middle sine", "shrill sine"]

    tower = AudioTower(dataclasses.replace(recipe.audio, warm_start=str(run.output / "model")))
    saved = load_file(run.output / "model" / "model.safetensors")
    assert saved
    assert all(torch.equal(tower.body.state_dict()[name], value) for name, value in saved.items())
    assert tower.body.embedder.embedder.convolution.stride == (1, 1)


def test_a_run_in_two_parts_is_one_run(tone_run: Path, tmp_path: Path) -> None:
    recipe = only_aset()
    for output, ends in ((tmp_path / "whole", (6,)), (tmp_path / "parts", (4, 6))):
        for end in ends:
            run = options(tone_run, output, steps=end, workers=0, checkpoint_every=2)
            assert pretrain(recipe, run, ["high sine", "low sine", "never"]) == Ending.DONE
    whole, parts = ([line["loss"] for line in read_metrics(tmp_path / name, "train")] for name in ("whole", "parts"))
    assert whole == parts
    ours, theirs = (load_file(tmp_path / name / "model" / "model.safetensors") for name in ("whole", "parts"))
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_guessing_is_the_entropy_of_the_classes() -> None:
    assert guessing_loss(torch.tensor([0.5, 0.5])) == pytest.approx(math.log(2))
    assert guessing_loss(torch.tensor([0.0, 1.0])) == pytest.approx(0, abs=1e-4)


def test_classes_come_from_audioset_s_file(tmp_path: Path) -> None:
    path = tmp_path / "classes.csv"
    path.write_text('index,mid,display_name\n0,/m/09x0r,"Speech"\n1,/m/05zppz,"Male speech, man speaking"\n')
    assert read_classes(path) == ["Speech", "Male speech, man speaking"]
    path.write_text("a,b\n1,2\n")
    with pytest.raises(ValueError, match="class_labels_indices"):
        read_classes(path)


def test_a_run_without_labels_is_refused_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from tests.trainer.fixture_runs import shard_row, write_run

    run = write_run(tmp_path / "run", [shard_row(f"r{i}", sf=["x"]) for i in range(9)])
    assert main(["--recipe", "tiny", "--data", str(run), "--output", str(tmp_path / "out")]) == 2
    assert "no training row has text of ASET" in capsys.readouterr().err
