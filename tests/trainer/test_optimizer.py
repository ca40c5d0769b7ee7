"""Schedules, groups of parameters and what stays locked; devices and trackers that there are not."""

import dataclasses
import math
import sqlite3
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.trainer.test_loop import options, smallest
from trainer.devices import device_of
from trainer.logs import read_metrics
from trainer.loop import Ending, TrainOptions
from trainer.model import build
from trainer.optimizer import OptimizerConfig, named_parameters, optimizer_of
from trainer.recipes import Recipe, tiny
from trainer.tasks.contrastive import train
from trainer.trackers import find_tracker

pytestmark = pytest.mark.slow


def with_optimizer(recipe: Recipe, **changes: Any) -> Recipe:
    return dataclasses.replace(recipe, optimizer=dataclasses.replace(recipe.optimizer, **changes))


def test_schedules() -> None:
    paper = OptimizerConfig(learning_rate=2.0)
    assert [paper.rate(step, 9) for step in (0, 39_999, 40_000, 80_000)] == [2.0, 2.0, 1.8, 2.0 * 0.9**2]
    warm = OptimizerConfig(learning_rate=2.0, schedule="constant", warmup_steps=4)
    assert [warm.rate(step, 9) for step in range(6)] == [0.5, 1.0, 1.5, 2.0, 2.0, 2.0]
    cosine = OptimizerConfig(learning_rate=2.0, schedule="cosine", warmup_steps=2)
    assert [cosine.rate(step, 10) for step in (0, 1, 2)] == [1.0, 2.0, 2.0]
    assert cosine.rate(6, 10) == pytest.approx(1.0)
    assert cosine.rate(9, 10) == pytest.approx(1 + math.cos(math.pi * 7 / 8))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"schedule": "linear"}, "it may be step, cosine, constant"),
        ({"warmup_steps": -1}, "may not be negative"),
        ({"audio_rate": 0.0}, "what is not to learn is locked"),
        ({"locked": ("head",)}, "'head' cannot be locked; these can: audio, audio.body, text, text.body"),
    ],
)
def test_what_an_optimizer_cannot_be(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        OptimizerConfig(**changes)


def test_what_decays_and_how_fast_a_tower_learns(text_checkpoint: Path) -> None:
    towers = build(smallest(text_checkpoint), torch.device("cpu")).towers
    (group,) = optimizer_of(towers, OptimizerConfig()).param_groups
    assert group["params"] == list(towers.parameters())
    optimizer = optimizer_of(towers, OptimizerConfig(weight_decay=0.1, text_rate=0.5))
    assert isinstance(optimizer, torch.optim.AdamW)
    told = {
        name: (group["factor"], group["weight_decay"])
        for group in optimizer.param_groups
        for name in group["param_names"]
    }
    assert told.keys() == named_parameters(optimizer).keys() == dict(towers.named_parameters()).keys()
    assert told["log_temperature"] == told["audio.head.bias"] == (1.0, 0.0)
    assert told["audio.head.weight"] == (1.0, 0.1)
    assert told["text.head.weight"] == (0.5, 0.1)
    assert told["text.body.embeddings.LayerNorm.weight"] == (0.5, 0.0)


def test_what_is_locked_stays_to_the_bit(tone_run: Path, text_checkpoint: Path, tmp_path: Path) -> None:
    source = smallest(text_checkpoint)
    run = options(tone_run, tmp_path / "source", steps=1, workers=0)
    assert train(source, run) == Ending.DONE
    weights = {}
    # Fine-tuned with a locked tower; only the head of the other learns.
    locked = with_optimizer(source, locked=("audio", "text.body"), weight_decay=0.1)
    with pytest.raises(ValueError, match="audio is locked at random weights; give --init_from, or --audio_checkpoint"):
        train(locked, options(tone_run, tmp_path / "random", steps=1, workers=0))
    tuned = options(tone_run, tmp_path / "tuned", steps=3, workers=0, init_from=str(tmp_path / "source/model"))
    assert train(locked, tuned) == Ending.DONE
    from safetensors.torch import load_file

    for name in ("source", "tuned"):
        weights[name] = load_file(tmp_path / name / "model" / "model.safetensors")
    changed = {name for name, value in weights["source"].items() if not torch.equal(value, weights["tuned"][name])}
    assert changed == {"text.head.weight", "text.head.bias", "log_temperature"}


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("gpu", "'gpu': it may be cpu, cuda, cuda:N or mps"),
        ("cpu:1", "it may be cpu, cuda, cuda:N or mps"),
        ("cuda:97", "device cuda:97: this machine has .* GPUs, and number 97 is asked for"),
    ],
)
def test_a_device_that_there_is_not(name: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=message):
        TrainOptions(data=("x",), output=tmp_path, device=name)


def test_ranks_take_a_gpu_each(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert device_of("cuda:1") == torch.device("cuda:1")
    monkeypatch.setenv("WORLD_SIZE", "4")
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert device_of("cuda") == torch.device("cuda:1")
    with pytest.raises(ValueError, match="ranks cannot share one GPU; give cuda, and each takes its own"):
        device_of("cuda:1")
    with pytest.raises(ValueError, match="device mps: it takes one rank alone"):
        device_of("mps")
    monkeypatch.setenv("LOCAL_RANK", "2")
    with pytest.raises(ValueError, match="number 2 is asked for; start at most 2 ranks on it"):
        device_of("cuda")


def test_a_tracker_has_the_numbers_of_the_log(
    tone_run: Path, text_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    utils = pytest.importorskip("trackio.utils", reason="trackio is not installed")
    storage = pytest.importorskip("trackio.sqlite_storage")
    for module in (utils, storage):
        monkeypatch.setattr(module, "TRACKIO_DIR", tmp_path / "trackio")
    run = options(tone_run, tmp_path / "mine", steps=2, workers=0, tracker="trackio", validate_every=1)
    assert train(smallest(text_checkpoint), run) == Ending.DONE
    assert not capsys.readouterr().out
    (database,) = (tmp_path / "trackio").glob("*.db")
    with sqlite3.connect(database) as connection:
        rows = connection.execute("select run_name, step, metrics from metrics order by step").fetchall()
    assert {name for name, _, _ in rows} == {"mine"}
    written = "".join(str(metrics) for _, _, metrics in rows)
    for line in read_metrics(run.output, "train"):
        assert repr(line["loss"])[:12] in written


def test_a_tracker_that_there_is_not(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="trackio"):
        find_tracker("unheard")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r'it is not installed; pip install "openmulan\[trackio\]"'):
        TrainOptions(data=("x",), output=tmp_path, tracker="trackio")


def test_settings_of_an_optimizer_by_name() -> None:
    from trainer.settings import with_settings

    settings = [
        ("optimizer.schedule", "cosine"),
        ("optimizer.warmup_steps", "7"),
        ("optimizer.locked", '["text"]'),
        ("optimizer.weight_decay", "0.2"),
        ("optimizer.audio_rate", "0.1"),
    ]
    found = with_settings(tiny("words"), settings).optimizer
    assert (found.schedule, found.warmup_steps, found.locked) == ("cosine", 7, ("text",))
    assert (found.weight_decay, found.audio_rate, found.learning_rate) == (0.2, 0.1, 1e-3)
