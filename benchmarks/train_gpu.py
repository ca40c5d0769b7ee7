"""M-ResNet-50 (6144 pairs) and M-AST (3072 pairs) at full shape by `mulan train`'s own loop, on one GPU: how fast?

    python -m benchmarks.train_gpu                  # full shape on a GPU, toy size on a CPU
    python -m benchmarks.train_gpu --variants       # smaller batches: precision, compilation, chunks, no GradCache
    python -m benchmarks.train_gpu --cases m_ast --set compute.audio_chunk=192
    python -m benchmarks.train_gpu --pairs 7        # toy size: beside `mulan train`, in turns

The recipes take some minutes on an H100. It writes a run of made-up clips by the writer of the shards, calls the
trainer (`trainer.tasks.contrastive.train`) on it and looks at the clock after each step, as an evaluator: there is no
other step and no other loader here. Weights are random, which changes no speed; texts have the lengths that short
forms, sentences, playlist titles and labels typically have (`LENGTHS`), by a tokenizer of made-up words.

Prints pairs/s, MFU of useful work (padding and GradCache's second forward pass excluded), MFU with padding, the
share of time that waits for data, the peak of memory beside its estimate, and a profile of one step. Each case has a
process of its own, so that one which does not fit says so and leaves the others alone; a case is a recipe with other
settings (`CASES`). Needs torch, transformers, pyarrow, soundfile and safetensors, and no network.
"""

import argparse
import dataclasses
import itertools
import json
import logging
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch._C._autograd import DeviceType
from torch.profiler import ProfilerActivity, profile
from transformers.models.bert import BertTokenizer

from benchmarks.machine import write_result
from tests.trainer.fixture_runs import shard_row, tone_flac, write_run
from trainer.estimate import MemoryEstimate
from trainer.flags import find_recipe
from trainer.logs import read_metrics
from trainer.loop import Ending, TrainOptions
from trainer.model import Model
from trainer.recipes import Recipe
from trainer.settings import with_settings
from trainer.tasks.contrastive import train
from trainer.train import main as mulan_train

NAME = "train_gpu"
# WordPieces with [CLS] and [SEP]: mean and largest, by source.
LENGTHS = {"sf": (6, 32), "lf": (22, 128), "pl": (6, 32), "aset": (5, 12)}
WORDS = 30_000
TEXTS = {"sf": 3, "lf": 3, "pl": 1, "aset": 1}  # of a recording
TOY_BODIES: dict[str, dict[str, Any]] = {
    "resnet": {"embedding_size": 8, "hidden_sizes": [16, 32], "depths": [1, 1]},
    "ast": {"hidden_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 96},
}
TOY_BERT = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 128}
TOY_BATCH, TOY_CHUNK, TOY_WINDOW_S = 32, 16, 2.0
UNTIMED = 2  # first steps: convolutions are tried out, and the loader starts
PROFILE_ROWS = 14
RECIPES = ("m_resnet50", "m_ast")


def _variants(recipe: str, lane: int, chunk: int, direct: tuple[int, ...]) -> dict[str, dict[str, Any]]:
    """Of batches of sixteen lanes in chunks that fit in float32 too; `direct` are batches of one chunk."""
    base: dict[str, Any] = {"recipe": recipe, "lanes": 16, "batch_size": 16 * lane, "compute.audio_chunk": chunk}
    changes: dict[str, dict[str, Any]] = {
        "bfloat16": {},
        "bfloat16, compiled": {"compute.compile": True},
        "bfloat16, checkpointed": {"compute.gradient_checkpointing": True},
        "tf32": {"compute.precision": "tf32"},
        "float32": {"compute.precision": "float32"},
    }
    changes["bfloat16, larger chunks"] = {"compute.audio_chunk": 3 * chunk}
    found = {f"{recipe}: {name}": base | change for name, change in changes.items()}
    for pairs in direct:
        sizes: dict[str, Any] = {"lanes": pairs // lane, "batch_size": pairs, "compute.audio_chunk": pairs}
        found[f"{recipe}: {pairs} pairs without GradCache"] = {"recipe": recipe} | sizes
    return found


VARIANTS = _variants("m_resnet50", 96, 96, (288, 384)) | _variants("m_ast", 48, 48, (96, 192))
CASES: dict[str, dict[str, Any]] = {recipe: {"recipe": recipe} for recipe in RECIPES} | VARIANTS


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", nargs="+", choices=CASES)
    parser.add_argument("--variants", action="store_true")
    parser.add_argument("--set", dest="settings", nargs="+", default=[], metavar="NAME=VALUE", help="of every recipe")
    parser.add_argument("--steps", type=int, default=4, help=f"that are timed, after {UNTIMED} that are not")
    parser.add_argument("--workers", type=int, default=max(1, (os.cpu_count() or 2) - 2))
    parser.add_argument("--rows", type=int, help="recordings of the made-up run")
    parser.add_argument("--pairs", type=int, default=0, help="at toy size, so many turns of this and `mulan train`")
    parser.add_argument("--result", help="its name in benchmarks/results")
    parser.add_argument("--one", nargs=2, metavar=("CASE", "WORK"), help=argparse.SUPPRESS)
    given = parser.parse_args()
    full = torch.cuda.is_available() and not given.pairs
    device = "cuda" if full else "cpu"
    if given.one:
        case, work = given.one[0], Path(given.one[1])
        recipe = recipe_from(CASES[case], given.settings, work / "tokenizer", full=full)
        sys.stdout.write(
            json.dumps(measure(recipe, work / "run", work / "output", device, given, look_closer=case in RECIPES))
        )
        return 0
    name = given.result or (f"{NAME}_pairs" if given.pairs else f"{NAME}_toy" if not full else NAME)
    command = " ".join(["python -m benchmarks.train_gpu", *(f"'{a}'" if " " in a else a for a in sys.argv[1:])])
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        tokenizer = make_tokenizer(work / "tokenizer")
        run = make_run(work / "run", given.rows or (2048 if full else 64), clip_s=30.0 if full else 4.0)
        if given.pairs:
            result = beside_mulan_train(given, run, tokenizer, work)
        else:
            said = torch.cuda.get_device_name() if full else "CPU, toy size: says that the script runs, no more"
            result = {"device": said, "workers": given.workers, "cases": {}}
        for case in [] if given.pairs else given.cases or (VARIANTS if given.variants else RECIPES):
            result["cases"][case] = in_its_own_process(case, work, given)
            write_result(name, result, packages=("torch", "transformers"), command=command)
    if given.pairs:
        write_result(name, result, packages=("torch", "transformers"), command=command)
    return 0


def in_its_own_process(case: str, work: Path, given: argparse.Namespace) -> dict[str, Any]:
    """What it measured, or how it ended."""
    shutil.rmtree(work / "output", ignore_errors=True)
    command = [sys.executable, "-m", "benchmarks.train_gpu", "--one", case, str(work)]
    command += ["--steps", str(given.steps), "--workers", str(given.workers)]
    done = subprocess.run([*command, *(["--set", *given.settings] if given.settings else [])], stdout=subprocess.PIPE)
    found: dict[str, Any] = json.loads(done.stdout) if done.returncode == 0 else {"exit_code": done.returncode}
    return CASES[case] | found


def recipe_from(case: dict[str, Any], settings: list[str], tokenizer: Path, *, full: bool) -> Recipe:
    recipe = find_recipe(case["recipe"]) if full else toy(case["recipe"])
    # No checkpoint is at hand on a bare machine, and it does not change the speed.
    text = dataclasses.replace(recipe.text, warm_start=None, tokenizer=str(tokenizer))
    changed = [(key, str(value).lower()) for key, value in case.items() if key != "recipe" and full]
    return with_settings(
        dataclasses.replace(recipe, text=text),
        [*changed, *((name, value) for name, _, value in (setting.partition("=") for setting in settings))],
    )


def toy(name: str) -> Recipe:
    recipe = find_recipe(name)
    audio = dataclasses.replace(
        recipe.audio,
        options=TOY_BODIES[recipe.audio.body],
        log_mel=dataclasses.replace(recipe.audio.log_mel, frames=round(100 * TOY_WINDOW_S)),
        max_masked_frames=20,
        ghost_batch_size=TOY_CHUNK,
    )
    return dataclasses.replace(
        recipe,
        audio=audio,
        text=dataclasses.replace(recipe.text, warm_start=None, tokenizer="none", options=TOY_BERT),
        compute=dataclasses.replace(recipe.compute, audio_chunk=TOY_CHUNK, text_tokens=512),
        data=dataclasses.replace(recipe.data, validation_fraction=0.0, window_s=TOY_WINDOW_S),
        batch_size=TOY_BATCH,
        lanes=TOY_BATCH // TOY_CHUNK,
    )


def toy_resnet() -> Recipe:
    """For `mulan train --recipe benchmarks.train_gpu:toy_resnet`."""
    return toy("m_resnet50")


def make_tokenizer(folder: Path) -> Path:
    folder.mkdir()
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *(f"w{i}" for i in range(WORDS))]
    (folder / "vocab.txt").write_text("\n".join(words), encoding="utf-8")
    BertTokenizer(vocab=str(folder / "vocab.txt")).save_pretrained(folder)
    return folder


def make_run(folder: Path, rows: int, *, clip_s: float) -> Path:
    """Every recording has text of every source; some share their sound, which no one reads faster for it."""
    rng = np.random.default_rng(0)
    clips = [tone_flac(float(rng.uniform(80, 6000)), clip_s, seed=i) for i in range(min(rows, 64))]

    def texts(source: str) -> list[str]:
        mean, largest = LENGTHS[source]
        lengths = np.clip(3 + rng.poisson(mean - 3, TEXTS[source]), 3, largest)
        return [" ".join(f"w{word}" for word in rng.integers(0, WORDS, length - 2)) for length in lengths]

    made = [
        shard_row(
            f"rec{i:06d}",
            sf=texts("sf"),
            lf=[(text, 0.9) for text in texts("lf")],
            pl=texts("pl"),
            aset=texts("aset"),
            audio=clips[i % len(clips)],
            duration_s=clip_s,
        )
        for i in range(rows)
    ]
    return write_run(folder, made, shards=min(64, rows // 8))


class Clock:
    """The time after each step, the peaks of memory, and a profile of the last step."""

    name = "clock"

    def __init__(self, device: str, steps: int, *, look_closer: bool = True) -> None:
        self._cuda, self._steps, self._look_closer = device == "cuda", steps, look_closer
        self.times: list[float] = []
        self.peaks: dict[str, float] = {}
        self.profile: dict[str, float] = {}
        self._profiler: Any = None

    def run(self, model: Model) -> Iterable[tuple[str, float]]:
        if self._cuda:
            torch.cuda.synchronize()
        self.times.append(time.perf_counter())
        if self._cuda and len(self.times) == UNTIMED:
            self.peaks["with_trials_gib"] = gib(torch.cuda.max_memory_allocated())
            torch.cuda.reset_peak_memory_stats()
        if self._cuda and len(self.times) == self._steps - 1:
            self.peaks["peak_memory_gib"] = gib(torch.cuda.max_memory_allocated())
            self.peaks["reserved_gib"] = gib(torch.cuda.max_memory_reserved())
        if self._look_closer and len(self.times) == self._steps - 1:
            activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if self._cuda else [])]
            self._profiler = profile(activities=activities)
            self._profiler.start()
        elif self._profiler is not None:
            self._profiler.stop()
            self.profile = shares(self._profiler.key_averages(), self._cuda)
        return ()

    def step_s(self, timed: int) -> float:
        ends = self.times[UNTIMED - 1 : UNTIMED + timed]
        return statistics.median(end - start for start, end in itertools.pairwise(ends))


class Estimated(logging.Handler):
    """What the trainer says that a step will take."""

    found: MemoryEstimate | None = None

    def emit(self, record: logging.LogRecord) -> None:
        if isinstance(record.args, tuple) and record.args and isinstance(record.args[0], MemoryEstimate):
            self.found = record.args[0]


def gib(size: int) -> float:
    return round(size / 2**30, 2)


def shares(rows: Any, cuda: bool) -> dict[str, float]:
    """The largest shares of the time on the device, by kernel, or by operation on a CPU."""
    key = "self_device_time_total" if cuda else "self_cpu_time_total"
    # An operation has the time of its kernels too, which have rows of their own.
    rows = [row for row in rows if not cuda or row.device_type != DeviceType.CPU]
    total = sum(getattr(row, key) for row in rows)
    largest = sorted(rows, key=lambda row: -getattr(row, key))[:PROFILE_ROWS]
    return {row.key[:80]: round(getattr(row, key) / total, 4) for row in largest}


def measure(
    recipe: Recipe, run: Path, output: Path, device: str, given: argparse.Namespace, *, look_closer: bool
) -> dict[str, Any]:
    steps = UNTIMED + given.steps + 1  # the last one has validation after it, and perhaps a profile around it
    clock, estimated = Clock(device, steps, look_closer=look_closer), Estimated()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", stream=sys.stderr)
    logging.getLogger("trainer").addHandler(estimated)
    found = {
        "batch_size": recipe.batch_size,
        "audio_chunk": recipe.compute.audio_chunk,
        "text_tokens": recipe.compute.text_tokens,
        "precision": recipe.compute.precision,
        "compile": recipe.compute.compile,
        "gradient_checkpointing": recipe.compute.gradient_checkpointing,
    }
    try:
        step_s = timed(recipe, run, output, device, given, clock, steps)
    except torch.OutOfMemoryError as error:
        found |= {"out_of_memory": str(error).partition(". Of")[0]}
    else:
        lines = read_metrics(output, "train")[UNTIMED : UNTIMED + given.steps]

        def median(name: str) -> float | None:
            return round(statistics.median(line[name] for line in lines), 4) if name in lines[0] else None

        found |= {
            "steps": given.steps,
            "loss": [line["loss"] for line in lines],
            "step_s": round(step_s, 3),
            "pairs_per_s": round(recipe.batch_size / step_s, 1),
            "mfu_useful": median("mfu_useful"),
            "mfu_padded": median("mfu_padded"),
            "wait_share": median("wait_share"),
            **clock.peaks,
        }
    return found | {
        "estimated_gib": gib(estimated.found.peak) if estimated.found is not None else None,
        "profile": clock.profile,
        "profile_is": "share of the time on the device" if device == "cuda" else "share of the time on the CPU",
    }


def timed(
    recipe: Recipe, run: Path, output: Path, device: str, given: argparse.Namespace, clock: Clock, steps: int
) -> float:
    """Seconds a step, of the trainer."""
    options = TrainOptions(
        data=(str(run),), output=output, steps=steps, device=device, workers=given.workers,
        checkpoint_every=steps, validate_every=steps, evaluate_every=1, evaluators=(clock,),
    )  # fmt: skip
    if train(recipe, options) != Ending.DONE:
        raise RuntimeError(f"{recipe.name}: the training did not end well")
    return clock.step_s(given.steps)


def beside_mulan_train(given: argparse.Namespace, run: Path, tokenizer: Path, work: Path) -> dict[str, Any]:
    """This and the command, in turns: the seconds of a step by our clock, and by what the command logs."""
    recipe = dataclasses.replace(toy_resnet(), text=dataclasses.replace(toy_resnet().text, tokenizer=str(tokenizer)))
    steps, turns = UNTIMED + given.steps, []
    for k in range(given.pairs):
        clock = Clock("cpu", steps, look_closer=False)
        ours = timed(recipe, run, work / f"ours-{k}", "cpu", given, clock, steps)
        output = work / f"mulan-{k}"
        arguments = ["--data", str(run), "--output", str(output), "--tokenizer", str(tokenizer), "--steps", str(steps)]
        arguments += ["--recipe", "benchmarks.train_gpu:toy_resnet", "--workers", str(given.workers)]
        if mulan_train(arguments):
            raise RuntimeError("mulan train did not end well")
        lines = read_metrics(output, "train")[UNTIMED:]
        theirs = statistics.median(recipe.batch_size / line["pairs_per_s"] for line in lines)
        turns.append({"train_gpu_step_s": round(ours, 4), "mulan_train_step_s": round(theirs, 4)})
        sys.stderr.write(f"{turns[-1]}\n")
    ratios = [turn["train_gpu_step_s"] / turn["mulan_train_step_s"] for turn in turns]
    return {"steps": given.steps, "median_ratio": round(statistics.median(ratios), 3), "turns": turns}


if __name__ == "__main__":
    sys.exit(main())
