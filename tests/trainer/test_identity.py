"""What a run folder was begun with: what counts, and what is only how a run is computed, read or spelled."""

import dataclasses
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.trainer.fixture_runs import shard_row, write_run
from trainer.data import Corpus
from trainer.identity import identity, open_run, write_identity
from trainer.logs import read_metrics
from trainer.recipes import Recipe, tiny
from trainer.train import main

pytestmark = pytest.mark.slow

ROWS = [shard_row(f"r{i}", sf=["x"], lf=[("y", 0.9)], pl=["z"], aset=["w"]) for i in range(12)]


def change(recipe: Recipe, section: str, **fields: Any) -> Recipe:
    return dataclasses.replace(recipe, **{section: dataclasses.replace(getattr(recipe, section), **fields)})


def skipping(recipe: Recipe) -> Recipe:
    return change(recipe, "data", skip_corrupt=True)


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return write_run(tmp_path / "run", ROWS, shards=3)


def begin(output: Path, recipe: Recipe, run: Path) -> None:
    """As a training leaves it that has saved a checkpoint."""
    write_identity(output, identity(recipe, Corpus.open([run], recipe.data)))
    (output / "checkpoints" / "step-00000001").mkdir(parents=True)


@pytest.mark.parametrize(
    "changed",
    [
        lambda recipe: dataclasses.replace(recipe, epochs=99.0),
        lambda recipe: change(recipe, "compute", audio_chunk=12, precision="bfloat16", compile=True),
        lambda recipe: change(recipe, "loss", block_rows=7),
        lambda recipe: change(recipe, "data", verify_shards=True),
        lambda recipe: change(recipe, "data", skip_corrupt=True),
        lambda recipe: change(recipe, "data", held_out_ids=["r1"]),
    ],
    ids=["epochs", "compute", "block_rows", "verify_shards", "skip_corrupt", "a list for a tuple"],
)
def test_how_a_run_is_computed_is_no_part_of_it(changed: Callable[[Recipe], Recipe], run: Path, tmp_path: Path) -> None:
    recipe = change(tiny(), "data", held_out_ids=("r1",))
    begin(tmp_path / "out", recipe, run)
    assert open_run(tmp_path / "out", changed(recipe), (str(run),)).last is not None


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        (lambda recipe: dataclasses.replace(recipe, batch_size=96), "(batch_size was 48, is 96)"),
        (lambda recipe: change(recipe, "data", buffer_rows=9), "(data.buffer_rows was 256, is 9)"),
        (
            lambda recipe: change(recipe, "text", tokenizer="other"),
            "(text.tokenizer was 'bert-base-uncased', is 'other')",
        ),
    ],
)
def test_what_is_learned_is(changed: Callable[[Recipe], Recipe], message: str, run: Path, tmp_path: Path) -> None:
    begin(tmp_path / "out", tiny(), run)
    with pytest.raises(ValueError, match="other settings") as caught:
        open_run(tmp_path / "out", changed(tiny()), (str(run),))
    assert message in str(caught.value)


def test_a_setting_that_is_newer_than_the_run_has_its_default(run: Path, tmp_path: Path) -> None:
    begin(tmp_path / "out", tiny(), run)
    path = tmp_path / "out" / "run.json"
    known = json.loads(path.read_text())
    del known["recipe"]["optimizer"]["beta2"], known["left_out"]
    path.write_text(json.dumps(known))
    assert open_run(tmp_path / "out", skipping(tiny()), (str(run),)).last is not None
    with pytest.raises(ValueError, match=r"optimizer\.beta2 was 0\.999, is 0\.5"):
        open_run(tmp_path / "out", change(tiny(), "optimizer", beta2=0.5), (str(run),))
    known["recipe"]["loss"]["margin"] = 1
    path.write_text(json.dumps(known))
    with pytest.raises(ValueError, match=r"loss\.margin was 1, is None"):
        open_run(tmp_path / "out", tiny(), (str(run),))


def test_the_shards_in_use_stay_the_same(run: Path, tmp_path: Path) -> None:
    whole = tmp_path / "whole"
    shutil.copytree(run, whole)
    broken = sorted((run / "shards").iterdir())[1]
    begin(tmp_path / "all", tiny(), run)
    broken.write_bytes(b"")
    begin(tmp_path / "some", skipping(tiny()), run)
    assert open_run(tmp_path / "some", skipping(tiny()), (str(run),)).last is not None
    named = f"shards/{broken.name} of data 1, which is"
    with pytest.raises(ValueError, match=f"a run that began with {named} broken now; repair the run"):
        open_run(tmp_path / "all", skipping(tiny()), (str(run),))
    with pytest.raises(ValueError, match=f"a run that began without {named} whole again; repair the run"):
        open_run(tmp_path / "some", tiny(), (str(whole),))


@pytest.mark.slow
def test_a_run_goes_on_however_its_places_are_spelled(
    tone_run: Path, text_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its recipe too, which may be found in a file of one's own; and what `--set` says is kept in it."""
    (tmp_path / "data").symlink_to(tone_run)
    (tmp_path / "words").symlink_to(text_checkpoint)
    (tmp_path / "own_tiny.py").write_text("from trainer.recipes import tiny\ndef same():\n    return tiny()\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.chdir(tmp_path)
    settings = ["--workers", "0", "--checkpoint_every", "1", "--batch_size", "48", "--set", "audio.log_mel.mel_bins=32"]
    common = ["--recipe", "tiny", *settings, "--set", "data.window_s=1", "--set", "audio.log_mel.frames=100"]
    common += ["--set", "audio.max_masked_frames=10", "--set", "compute.audio_chunk=12"]
    beta = ["--set", "optimizer.beta2=0.98"]
    first = ["--data", "data/", "--output", "out", "--tokenizer", "words", "--steps", "1"]
    assert main([*common, *beta, *first]) == 0
    assert json.loads(Path("out/run.json").read_text())["recipe"]["optimizer"]["beta2"] == 0.98
    uri, output, words = f"file://{tone_run}", str(tmp_path / "out") + "/", str(text_checkpoint) + "/"
    then = ["--data", uri, "--output", output, "--tokenizer", words, "--steps", "2", "--verify_shards"]
    assert main([*common, *then]) == 2
    assert main([*common, *beta, *then, "--skip_corrupt", "--recipe", "own_tiny:same"]) == 0
    assert [line["step"] for line in read_metrics(tmp_path / "out", "train")] == [0, 1]
