"""Training end to end: exact resume after a kill, two ranks equal one, checkpoints, logs, refusals."""

import dataclasses
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

import openmulan
from tests.trainer.fixture_runs import shard_row, tone_flac, write_run
from trainer.bodies.resnet import MuLanResNet
from trainer.checkpoint import checkpoints
from trainer.cuts import to_int16
from trainer.data import DataConfig
from trainer.estimate import estimate_memory
from trainer.logs import loss_table, read_metrics
from trainer.loop import Ending, TrainOptions
from trainer.model import Model
from trainer.recipes import Recipe, tiny
from trainer.tasks import contrastive
from trainer.tasks.contrastive import train
from trainer.train import main

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]


def smallest(tokenizer: Path, **changes: Any) -> Recipe:
    """`tiny()` cut to what a test needs: one second, eight pairs a chunk."""
    recipe = tiny(str(tokenizer))
    options = {"layer_type": "basic", "embedding_size": 8, "hidden_sizes": [8, 16], "depths": [1, 1]}
    mel = dataclasses.replace(recipe.audio.log_mel, frames=100, mel_bins=32)
    bert = {**recipe.text.options, "hidden_size": 32, "intermediate_size": 64}
    return dataclasses.replace(
        recipe,
        audio=dataclasses.replace(
            recipe.audio, options=options, log_mel=mel, ghost_batch_size=6, max_masked_bins=8, max_masked_frames=20
        ),
        text=dataclasses.replace(recipe.text, options=bert, max_tokens=16),
        data=DataConfig(window_s=1.0, buffer_rows=24, validation_fraction=0.15),
        batch_size=24,
        lanes=4,
        compute=dataclasses.replace(recipe.compute, audio_chunk=6, text_tokens=128),
        **changes,
    )


def options(run: Path, output: Path, **changes: Any) -> TrainOptions:
    defaults: dict[str, Any] = {"steps": 12, "workers": 1, "checkpoint_every": 4, "keep": 2, "validate_every": 6}
    return TrainOptions(data=(str(run),), output=output, **(defaults | changes))


def losses(output: Path) -> list[float]:
    lines = read_metrics(output, "train")
    assert [line["step"] for line in lines] == list(range(len(lines)))
    return [line["loss"] for line in lines]


SCRIPT = """
import sys
from pathlib import Path
from tests.trainer.test_loop import options, smallest
from trainer.loop import Ending
from trainer.tasks.contrastive import train
if __name__ == "__main__":
    run, tokenizer, output, workers = sys.argv[1:]
    outcome = train(smallest(Path(tokenizer)), options(Path(run), Path(output), workers=int(workers)))
    sys.exit(0 if outcome == Ending.DONE else 3)
"""


class Trainings:
    """Runs in processes of their own: to the bit, even what other tests have loaded into this one tells."""

    def __init__(self, folder: Path, run: Path, tokenizer: Path) -> None:
        self._script = folder / "script.py"
        self._script.write_text(SCRIPT)
        self._inputs = [str(run), str(tokenizer)]
        # A pipe would stay open until the last worker has seen that its parent is gone.
        self.errors = folder / "errors.txt"

    def start(self, output: Path, *, workers: int) -> "subprocess.Popen[bytes]":
        command = [sys.executable, str(self._script), *self._inputs, str(output), str(workers)]
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
        with self.errors.open("wb") as stream:
            return subprocess.Popen(command, env=environment, stderr=stream)

    def finish(self, output: Path, *, workers: int) -> None:
        assert self.start(output, workers=workers).wait(timeout=300) == 0, self.errors.read_text()[-2000:]


@pytest.fixture(scope="module")
def trainings(tone_run: Path, text_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Trainings:
    return Trainings(tmp_path_factory.mktemp("trainings"), tone_run, text_checkpoint)


@pytest.fixture(scope="module")
def straight(trainings: Trainings, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that nothing disturbed."""
    output = tmp_path_factory.mktemp("straight") / "run"
    trainings.finish(output, workers=1)
    return output


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_killed_run_resumes_to_the_bit(
    number: signal.Signals, straight: Path, trainings: Trainings, tmp_path: Path
) -> None:
    """Killed at a random step with workers and shuffling on, the same command gives the same losses and weights."""
    output = tmp_path / "run"
    victim = trainings.start(output, workers=2)
    wanted = random.Random(time.time_ns()).randint(5, 9)
    deadline = time.monotonic() + 300
    while not (output / "metrics.jsonl").exists() or _lines(output) < wanted:
        assert victim.poll() is None, trainings.errors.read_text()[-2000:]
        assert time.monotonic() < deadline
        time.sleep(0.005)
    victim.send_signal(number)
    assert victim.wait(timeout=300) == (3 if number == signal.SIGTERM else -signal.SIGKILL)
    if number == signal.SIGTERM:  # the emergency checkpoint holds what was done
        last = json.loads((checkpoints(output / "checkpoints")[-1] / "state.json").read_text())
        assert last["step"] == _lines(output)
    trainings.finish(output, workers=0)
    assert losses(output) == losses(straight)
    ours, theirs = (load_file(folder / "model" / "model.safetensors") for folder in (output, straight))
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def _lines(output: Path) -> int:
    return (output / "metrics.jsonl").read_text().count('"kind": "train"')


RANKS_SCRIPT = """
import os
from pathlib import Path
from tests.trainer.test_loop import options, smallest
from trainer.tasks.contrastive import train
train(smallest(Path({tokenizer!r})), options(Path({run!r}), Path({output!r}), workers=0, steps=8))
"""


def test_two_ranks_have_the_loss_curve_of_one(
    straight: Path, tone_run: Path, text_checkpoint: Path, tmp_path: Path, torchrun: Callable[[str], None]
) -> None:
    output = tmp_path / "two"
    torchrun(RANKS_SCRIPT.format(tokenizer=str(text_checkpoint), run=str(tone_run), output=str(output)))
    assert losses(output) == pytest.approx(losses(straight)[:8], rel=2e-4)
    assert losses(output)[0] == pytest.approx(losses(straight)[0], rel=1e-6)
    ours, theirs = (read_metrics(folder, "validation")[0]["loss"] for folder in (output, straight))
    assert ours == pytest.approx(theirs, rel=1e-3)


@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler here")
def test_compiled_towers_learn_the_same(straight: Path, tone_run: Path, text_checkpoint: Path, tmp_path: Path) -> None:
    plain = smallest(text_checkpoint)
    compiled = dataclasses.replace(plain, compute=dataclasses.replace(plain.compute, compile=True))
    assert train(compiled, options(tone_run, tmp_path, steps=2)) == Ending.DONE
    assert losses(tmp_path) == pytest.approx(losses(straight)[:2], rel=1e-4)


def test_the_loss_leaves_chance_and_the_log_says_so(straight: Path) -> None:
    lines = read_metrics(straight, "train")
    assert len(lines) == 12
    assert lines[0]["chance"] == pytest.approx(np.log(2 * 23))
    assert {"loss", "temperature", "gradient_norm", "pairs_per_s", "wait_share", "shared_text_rate"} <= lines[0].keys()
    assert [line["step"] for line in read_metrics(straight, "validation")] == [5, 11]
    events = list((straight / "tensorboard").iterdir())
    from tensorboard.backend.event_processing.event_file_loader import EventFileLoader

    tags = {value.tag for event in EventFileLoader(str(events[0])).Load() for value in event.summary.value}
    assert {"train/loss", "train/chance", "validation/loss"} <= tags
    head, *rows = loss_table(straight, rows=4).splitlines()
    assert head.split() == ["steps", "loss", "chance"]
    assert [row.split()[0] for row in rows] == ["0–2", "3–5", "6–8", "9–11"]
    assert float(rows[0].split()[1]) == pytest.approx(np.mean(losses(straight)[:3]), abs=1e-3)


def test_checkpoints_are_whole_few_and_safe(straight: Path) -> None:
    found = checkpoints(straight / "checkpoints")
    assert [path.name for path in found] == ["step-00000008", "step-00000012"]
    suffixes = {path.suffix for folder in [*found, straight / "model"] for path in folder.iterdir()}
    assert suffixes <= {".safetensors", ".json", ".md", ".txt"}
    assert openmulan.load(found[-1]).embed_text(["x"]).shape == (1, 128)


def test_other_settings_or_data_are_not_mixed_into_a_run(
    straight: Path, tone_run: Path, text_checkpoint: Path, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match="seed was 0, is 1"):
        train(smallest(text_checkpoint, seed=1), options(tone_run, straight))
    other = write_run(tmp_path / "other", [shard_row(f"r{i}", sf=["x"], pl=["y"]) for i in range(9)])
    with pytest.raises(ValueError, match="other data"):
        train(smallest(text_checkpoint), options(other, straight))


def test_a_finished_run_has_nothing_to_do(straight: Path, tone_run: Path, text_checkpoint: Path) -> None:
    before = losses(straight)
    assert train(smallest(text_checkpoint), options(tone_run, straight)) == Ending.DONE
    assert losses(straight) == before


class Count:
    """The smallest evaluator."""

    name = "count"

    def __init__(self) -> None:
        self.calls = 0

    def run(self, model: Model) -> list[tuple[str, float]]:
        self.calls += 1
        return [("width", float(model.embed_text(["a", "b"]).shape[1]))]


def test_evaluators_run_every_k_steps(tone_run: Path, text_checkpoint: Path, tmp_path: Path) -> None:
    evaluator = Count()
    run = options(tone_run, tmp_path / "run", steps=5, evaluate_every=2, evaluators=(evaluator,), workers=0)
    train(smallest(text_checkpoint), run)
    assert evaluator.calls == 3
    assert [(line["step"], line["width"]) for line in read_metrics(run.output, "count")] == [
        (1, 128),
        (3, 128),
        (4, 128),
    ]
    assert "count/width: 128" in (run.output / "model" / "README.md").read_text()


def test_embeddings_of_waves_files_and_texts(straight: Path, tmp_path: Path) -> None:
    model = openmulan.load(straight / "model")
    path = tmp_path / "tone.flac"
    path.write_bytes(tone_flac(440, 3.4))
    wave = np.sin(np.arange(48_000) * 0.1).astype(np.float32)
    tone, short = path.read_bytes(), to_int16(wave[:5000])
    rows = model.embed_audio([wave, torch.tensor(wave), str(path), path, short, tone])
    assert rows.shape == (6, 128)
    assert rows.dtype == np.float32
    assert np.allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-5)
    assert np.allclose(rows[0], rows[1])
    assert np.allclose(rows[2], rows[3])
    assert np.allclose(rows[2], rows[5])
    assert not np.allclose(rows[0], rows[2])
    parts = model.embed_audio([wave[:16_000], wave[16_000:32_000], wave[32_000:]])
    assert np.allclose(rows[0], parts.sum(axis=0) / np.linalg.norm(parts.sum(axis=0)), atol=1e-5)
    texts = model.embed_text(["low tone", "a much longer text about a shrill steady tone", "low tone"])
    assert texts.shape == (3, 128)
    assert np.allclose(texts[0], texts[2], atol=1e-6)
    assert model.embed_text([]).shape == (0, 128)
    broken = tmp_path / "broken.mp3"
    broken.write_bytes(b"not audio")
    with pytest.raises(ValueError, match=r"broken\.mp3"):
        model.embed_audio([broken])
    with pytest.raises(ValueError, match="item 0"):
        model.embed_audio([np.zeros((2, 2), np.float32)])


def test_a_folder_that_is_no_model_is_one_clear_line(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not a model folder"):
        openmulan.load(tmp_path)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--data", "/nowhere", "--output", "o"], "is it the output of a finished `mulan mine`"),
        (["--data", "RUN", "--output", "o", "--batch_size", "50"], "is not 8 lanes of whole ghost batches of 6"),
        (["--data", "RUN", "--output", "o", "--text_checkpoint", "/nowhere"], "no tokenizer could be loaded"),
        (["--data", "RUN", "--output", "o", "--hold_out", "/nowhere"], "should be a list of recording ids"),
        (["--data", "RUN", "--output", "o", "--initial_temperature", "3"], "must lie in"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(
    arguments: list[str], message: str, tone_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert main(["--recipe", "tiny", *(str(tone_run) if a == "RUN" else a for a in arguments)]) == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith("mulan train: ")
    assert message in error


def test_a_body_that_looks_at_its_numbers_trains_without_an_estimate(
    tone_run: Path,
    text_checkpoint: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    forward = MuLanResNet.forward

    def looking(body: MuLanResNet, *given: Any, **named: Any) -> Any:
        assert given[0].sum().item() == given[0].sum().item()
        return forward(body, *given, **named)

    monkeypatch.setattr(MuLanResNet, "forward", looking)
    monkeypatch.setattr(contrastive, "estimate_memory", estimate_memory)  # not the one of another body of this shape
    assert train(smallest(text_checkpoint), options(tone_run, tmp_path, steps=1, workers=0)) == Ending.DONE
    assert "the memory of a step cannot be estimated for this model" in caplog.text
