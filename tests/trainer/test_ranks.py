"""Ranks of one training: equal to one process whatever their number, agreed at every start, and gone with a word."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.trainer.fixture_runs import tone_rows, write_run
from trainer.logs import read_metrics

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]

# All in float64, where adding up in another order is far below what is to be seen.
SCRIPT = """
import dataclasses, json, os, shutil, sys
from pathlib import Path
import torch
from tests.trainer.test_loop import options, smallest
from tests.trainer.worlds import world
from trainer import dist
from trainer.commands import exit_code, start_logging
from trainer.tasks import contrastive

run, tokenizer, out = map(Path, sys.argv[1:])
torch.set_default_dtype(torch.float64)
small = smallest(tokenizer)
recipe = dataclasses.replace(
    small,
    batch_size=16,
    lanes=4,
    audio=dataclasses.replace(small.audio, ghost_batch_size=2),
    compute=dataclasses.replace(small.compute, audio_chunk=16, text_tokens=256),
)
start_logging()

def training(output, steps, recipe=recipe, run=run, **changes):
    asked = options(run, output, steps=steps, **({"workers": 0, "checkpoint_every": 5, "validate_every": 50} | changes))
    return exit_code("mulan train", lambda: contrastive.train(recipe, asked))

class Where:
    def __init__(self, name):
        self.name = name
    def run(self, model):
        return [("rank", float(dist.rank()))]

def everywhere(rank):
    return training(out / "two", 10, evaluators=(Where("a"), Where("b"), Where("c")))

def apart(rank):
    return training(out / f"disk{rank}", 4)

def apart_again(rank):
    return training(out / f"disk{rank}", 6)

def swapped(rank):
    return training(out / f"disk{1 - rank}", 8)

def other_seed(rank):
    return training(out / "seed", 2, recipe=dataclasses.replace(recipe, seed=rank))

def other_data(rank):
    os.chdir(out.parent / ("theirs" if rank else "ours"))
    return training(out / "data", 2, run=Path("run"))

def other_weights(rank):
    build = contrastive.build
    def spoiled(*given):
        model = build(*given)
        if rank:
            with torch.no_grad():
                for value in [*model.towers.parameters(), *model.towers.buffers()]:
                    value.add_(1)
        return model
    contrastive.build = spoiled
    return training(out / "weights", 2)

def dying(rank):
    step = contrastive.Contrastive.step
    def last(task, batch, number):
        if number == 2 and rank:
            os._exit(9)
        return step(task, batch, number)
    contrastive.Contrastive.step = last
    return training(out / "dying", 4, checkpoint_every=1)

def alone(rank):
    return training(out / "alone", 2, timeout_s=2.0)

codes = {"one": world(1, lambda rank: training(out / "one", 20), out / "said/one")}
codes["two"] = world(2, everywhere, out / "said/two")
for count in (1, 4):
    shutil.copytree(out / "two", out / f"two_{count}")
    codes[f"two_{count}"] = world(count, lambda rank: training(out / f"two_{count}", 20), out / f"said/two_{count}")
codes["four"] = world(4, lambda rank: training(out / "four", 20), out / "said/four")
for work in (apart, apart_again, swapped, other_seed, other_data, other_weights, dying):
    codes[work.__name__] = world(2, work, out / "said" / work.__name__)
codes["alone"] = world(2, alone, out / "said/alone", started=[0])
print(json.dumps(codes))
"""


class Worlds:
    """What all of `SCRIPT`'s trainings came to."""

    def __init__(self, folder: Path, codes: dict[str, list[int]]) -> None:
        self.folder, self.codes = folder, codes

    def losses(self, name: str) -> list[float]:
        return [line["loss"] for line in read_metrics(self.folder / name, "train")]

    def lines(self, name: str, rank: int) -> list[str]:
        """What a rank ended with."""
        text = (self.folder / "said" / name / f"{rank}.txt").read_text()
        return [line for line in text.splitlines() if line.startswith("mulan train: ")]


@pytest.fixture(scope="module")
def worlds(tone_run: Path, text_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Worlds:
    folder = tmp_path_factory.mktemp("worlds")
    write_run(folder / "theirs/run", tone_rows(48), shards=2)
    (folder / "ours").mkdir()
    (folder / "ours/run").symlink_to(tone_run)
    script, out = folder / "script.py", folder / "out"
    script.write_text(SCRIPT)
    command = [sys.executable, str(script), *map(str, (tone_run, text_checkpoint, out))]
    environment: dict[str, Any] = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-4000:]
    return Worlds(out, json.loads(done.stdout.splitlines()[-1]))


def test_any_number_of_ranks_has_the_losses_of_one(worlds: Worlds) -> None:
    assert worlds.codes["one"] == [0]
    assert worlds.codes["four"] == [0] * 4
    one = worlds.losses("one")
    assert len(one) == 20
    assert worlds.losses("four") == pytest.approx(one, rel=1e-6)
    assert one[-1] != pytest.approx(one[0], rel=1e-3)


@pytest.mark.parametrize("count", [1, 4])
def test_a_run_of_two_ranks_goes_on_with_another_number(count: int, worlds: Worlds) -> None:
    assert worlds.codes["two"] == [0, 0]
    assert worlds.codes[f"two_{count}"] == [0] * count
    assert "going on after step 10" in (worlds.folder / f"said/two_{count}/0.txt").read_text()
    assert worlds.losses(f"two_{count}") == pytest.approx(worlds.losses("one"), rel=1e-6)


def test_evaluators_are_shared_over_ranks(worlds: Worlds) -> None:
    assert [read_metrics(worlds.folder / "two", name)[0]["rank"] for name in ("a", "b", "c")] == [0.0, 1.0, 0.0]


def test_a_rank_without_the_disk_goes_on_from_the_same_step(worlds: Worlds) -> None:
    assert worlds.codes["apart"] == worlds.codes["apart_again"] == [0, 0]
    said = (worlds.folder / "said/apart_again/0.txt").read_text()
    assert "rank 1 has no checkpoint of its own in" in said
    assert "going on after step 4" in said
    assert worlds.losses("disk0") == pytest.approx(worlds.losses("one")[:6], rel=1e-6)
    assert not (worlds.folder / "disk1").exists()


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("swapped", "rank 1 would go on from step 6, rank 0 from step 0: "),
        ("other_seed", "rank 1 differs from rank 0 in recipe.seed: it has 1, rank 0 has 0; start all ranks by"),
        ("other_data", "rank 1 differs from rank 0 in manifest.run: it has "),
    ],
)
def test_ranks_that_differ_stop_with_one_line(name: str, line: str, worlds: Worlds) -> None:
    assert worlds.codes[name] == [2, 2]
    (said,) = worlds.lines(name, 0)
    assert said.startswith(f"mulan train: {line}")
    assert not worlds.lines(name, 1)
    assert "Traceback" not in (worlds.folder / "said" / name / "1.txt").read_text()


def test_all_ranks_begin_with_the_weights_of_the_first(worlds: Worlds) -> None:
    assert worlds.codes["other_weights"] == [0, 0]
    assert worlds.losses("weights") == pytest.approx(worlds.losses("one")[:2], rel=1e-6)


def test_a_rank_that_dies_is_said_and_the_checkpoint_stays(worlds: Worlds) -> None:
    assert worlds.codes["dying"] == [3, 9]
    (said,) = worlds.lines("dying", 0)
    assert "another rank did not come, ended, or did not answer for 1800 s" in said
    assert [path.name for path in sorted((worlds.folder / "dying/checkpoints").iterdir())] == [
        "step-00000001",
        "step-00000002",
    ]


def test_a_rank_that_never_comes_is_said(worlds: Worlds) -> None:
    assert worlds.codes["alone"] == [3]
    (said,) = worlds.lines("alone", 0)
    assert said.startswith("mulan train: rank 0 of 2: another rank did not come")
    assert "for 2 s" in said
