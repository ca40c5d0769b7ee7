"""How a training begins that is no plain one: fine-tuned, forked, gone on with after a kill, or done already."""

import dataclasses
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.trainer.test_endings import spoil
from tests.trainer.test_loop import ROOT, losses, options, smallest
from tests.trainer.test_optimizer import with_optimizer
from trainer.checkpoint import checkpoints
from trainer.logs import read_metrics
from trainer.loop import Ending
from trainer.model import load
from trainer.tasks.contrastive import train
from trainer.train import main

pytestmark = pytest.mark.slow

ONE_BY_ONE: dict[str, Any] = {"workers": 0, "checkpoint_every": 1, "keep": 9, "validate_every": 100}


@pytest.fixture(scope="module")
def trained(tone_run: Path, text_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("trained") / "run"
    assert train(smallest(text_checkpoint), options(tone_run, output, steps=4, **ONE_BY_ONE)) == Ending.DONE
    return output


def test_a_model_is_fine_tuned(trained: Path, tone_run: Path, text_checkpoint: Path, tmp_path: Path) -> None:
    """From its weights, with a new optimizer; its tokenizer and what it has seen come along."""
    model = trained / "model"
    recipe = with_optimizer(smallest(text_checkpoint), learning_rate=1e-9)
    recipe = dataclasses.replace(recipe, text=dataclasses.replace(recipe.text, tokenizer="nowhere"))
    run = options(tone_run, tmp_path / "tuned", steps=2, init_from=str(model), **ONE_BY_ONE)
    assert train(recipe, run) == Ending.DONE
    before, after = (load_file(folder / "model.safetensors") for folder in (model, run.output / "model"))
    assert all(torch.allclose(before[name], after[name], atol=1e-6) for name in before if "running" not in name)
    assert load(run.output / "model").training.manifests == load(model).training.manifests
    # The same command goes on; another model is another run.
    further = dataclasses.replace(run, steps=3)
    assert train(recipe, further) == Ending.DONE
    with pytest.raises(ValueError, match=r"with other settings \(init_from was '.*/model', is None\)"):
        train(recipe, dataclasses.replace(further, init_from=None))


def test_a_model_of_other_towers_is_refused(
    trained: Path, tone_run: Path, text_checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["--recipe", "tiny", "--data", str(tone_run), "--output", str(tmp_path / "o"), "--workers", "0"]
    assert main([*command, "--tokenizer", str(text_checkpoint), "--init_from", str(trained / "model")]) == 2
    line = capsys.readouterr().err.splitlines()[-1]
    assert line.startswith(
        f"mulan train: --init_from {trained}/model: its audio.log_mel.frames is 100, that of recipe "
    )
    assert "tiny is 500; give the recipe that it was trained by" in line
    assert main([*command, "--tokenizer", str(text_checkpoint), "--init_from", str(tmp_path)]) == 2
    assert "not a model folder" in capsys.readouterr().err.splitlines()[-1]


def test_a_fork_goes_on_with_another_rate(trained: Path, tone_run: Path, text_checkpoint: Path, tmp_path: Path) -> None:
    """From a checkpoint in the middle: the same settings give the same numbers, others those of others."""
    recipe = smallest(text_checkpoint)
    run = options(tone_run, tmp_path / "same", steps=4, fork=f"{trained}@2", **ONE_BY_ONE)
    assert train(recipe, run) == Ending.DONE
    lines = read_metrics(run.output, "train")
    assert [line["step"] for line in lines] == [2, 3]
    assert [line["loss"] for line in lines] == pytest.approx(losses(trained)[2:], rel=1e-6)
    other = dataclasses.replace(run, output=tmp_path / "other", steps=5, fork=str(trained))
    assert train(with_optimizer(recipe, learning_rate=1e-5, schedule="cosine", weight_decay=0.1), other) == Ending.DONE
    (line,) = read_metrics(other.output, "train")
    assert (line["step"], line["learning_rate"]) == (4, pytest.approx(1e-5 * 0.5 * (1 + np_cos(4 / 5))))
    refused = dataclasses.replace(run, output=tmp_path / "refused")
    with pytest.raises(ValueError, match=r"other settings \(seed was 0, is 1\); a fork may change optimizer and loss"):
        train(dataclasses.replace(recipe, seed=1), refused)
    with pytest.raises(ValueError, match="has no step 9; it has 1, 2, 3, 4"):
        train(recipe, dataclasses.replace(refused, fork=f"{trained}@9"))
    assert not checkpoints(tmp_path / "refused" / "checkpoints")


def np_cos(part: float) -> float:
    return float(torch.cos(torch.tensor(torch.pi * part, dtype=torch.float64)))


def test_a_cosine_keeps_its_end(tone_run: Path, text_checkpoint: Path, tmp_path: Path) -> None:
    recipe = with_optimizer(smallest(text_checkpoint), schedule="cosine")
    run = options(tone_run, tmp_path, steps=2, **ONE_BY_ONE)
    assert train(recipe, run) == Ending.DONE
    with pytest.raises(ValueError, match="ends at step 2, that of this command at 3; give --steps 2, or"):
        train(recipe, dataclasses.replace(run, steps=3))


def test_a_finished_run_starts_no_loader(
    trained: Path,
    tone_run: Path,
    text_checkpoint: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO")
    monkeypatch.setattr("trainer.loop.Loader", None)
    before = (trained / "model" / "README.md").read_bytes()
    assert train(smallest(text_checkpoint), options(tone_run, trained, steps=4, **ONE_BY_ONE)) == Ending.DONE
    assert f"done already, after step 4 of 4; the model is {trained}/model" in caplog.text
    assert (trained / "model" / "README.md").read_bytes() == before


def test_who_is_at_fault_is_named_and_so_many_are_skipped(
    tone_run: Path, text_checkpoint: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """One word is spoiled: the recordings are named whose text has it."""
    recipe, run = smallest(text_checkpoint), options(tone_run, tmp_path, steps=1, **ONE_BY_ONE)
    assert train(recipe, run) == Ending.DONE
    (last,) = checkpoints(tmp_path / "checkpoints")
    weights = load_file(last / "model.safetensors")
    shrill = load(last).tokenizer.convert_tokens_to_ids("shrill")
    weights["text.body.embeddings.word_embeddings.weight"][shrill] = 1e38
    save_file(weights, last / "model.safetensors")
    further = dataclasses.replace(run, steps=9, skip_nonfinite=2, checkpoint_every=2)
    assert train(recipe, further) == Ending.LOST
    said = [record.getMessage() for record in caplog.records if "not finite: " in record.getMessage()]
    assert [line.partition("; skipped")[2] for line in said] == [", 1 of at most 2", ", 2 of at most 2", ""]
    named = {int(name[3:7]) % 4 for line in said for name in line.partition("recording ")[2].split(";")[0].split(", ")}
    assert named == {3}  # the shrill ones
    lines = read_metrics(tmp_path, "train")
    assert [(line["step"], line["loss"] is None, line.get("skipped")) for line in lines] == [
        (0, False, None),
        (1, True, 1),
        (2, True, 2),
        (3, True, 3),
    ]
    assert "stopped before the weights took it" in said[-1]


def test_skipped_steps_leave_no_trace_in_the_weights(tone_run: Path, text_checkpoint: Path, tmp_path: Path) -> None:
    """Nor in batch norm's statistics, which a forward pass has reached before the loss is known."""
    recipe, run = smallest(text_checkpoint), options(tone_run, tmp_path, steps=1, **ONE_BY_ONE)
    assert train(recipe, run) == Ending.DONE
    first = checkpoints(tmp_path / "checkpoints")[0]
    spoil(first, "audio.body.embedder.embedder.normalization.weight")
    assert train(recipe, dataclasses.replace(run, steps=2, skip_nonfinite=1)) == Ending.DONE
    before, after = (load_file(path / "model.safetensors") for path in checkpoints(tmp_path / "checkpoints"))
    assert all(torch.equal(before[name], after[name]) for name in before)


KILLED = """
import os, signal, sys
from pathlib import Path
from tests.trainer.test_beginnings import ONE_BY_ONE
from tests.trainer.test_loop import options, smallest
from tests.trainer.worlds import world
from trainer import checkpoint
from trainer.tasks.contrastive import train
run, tokenizer, output = map(Path, sys.argv[1:])
sync = checkpoint._sync

def killed(point):
    calls = []
    def fatal(path):
        calls.append(path)
        if len(calls) == point:
            os.kill(os.getpid(), signal.SIGKILL)
        sync(path)
    checkpoint._sync = fatal
    train(smallest(tokenizer), options(run, output / str(point), steps=2, **ONE_BY_ONE))

for point in map(int, os.environ["POINTS"].split()):
    assert world(1, lambda rank: killed(point), output / f"said{point}") == [-signal.SIGKILL]
"""


def test_killed_while_a_checkpoint_is_written(
    trained: Path, tone_run: Path, text_checkpoint: Path, tmp_path: Path
) -> None:
    """Before the folder has its name it does not count, after that it does; either way the same command goes on."""
    files = len(list(checkpoints(trained / "checkpoints")[0].iterdir()))
    points = {files + 1 + files: ["step-00000001"], files + 1 + files + 1: ["step-00000001", "step-00000002"]}
    script = tmp_path / "script.py"
    script.write_text(KILLED)
    command = [sys.executable, str(script), str(tone_run), str(text_checkpoint), str(tmp_path)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "POINTS": " ".join(map(str, points))}
    done = subprocess.run(command, env=environment, stderr=subprocess.PIPE, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    for point, whole in points.items():
        output = tmp_path / str(point)
        assert [path.name for path in checkpoints(output / "checkpoints")] == whole
        assert (output / "checkpoints/step-00000002.tmp").exists() == (len(whole) == 1)
        assert train(smallest(text_checkpoint), options(tone_run, output, steps=3, **ONE_BY_ONE)) == Ending.DONE
        assert losses(output) == pytest.approx(losses(trained)[:3], rel=1e-6)
        assert not list(output.rglob("*.tmp"))
