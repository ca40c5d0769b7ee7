"""The estimate of a step's memory against the peak of a real step, at full size, on a CPU.

    python -m benchmarks.memory                       # both recipes, two chunk sizes each; about 8 GiB of memory
    python -m benchmarks.memory --recipes m_ast --chunks 2 4
    python -m benchmarks.memory --estimates           # of the recipes as they are, no real step; little memory

Weights are random, of the full shape. Each step runs in a process of its own under torch's profiler, whose count of
what the allocator holds is the real peak: weights, gradients, the optimizer's moments, saved and passing tensors. The
largest resident size of the process stands beside it; it has the program itself and what a kernel takes for its own in
it. A batch is two chunks, of one ghost batch each, so that GradCache repeats its forward passes as in training.
"""

import argparse
import dataclasses
import json
import resource
import subprocess
import sys
import time
from typing import Any

import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.profiler import ProfilerActivity, profile

from benchmarks.machine import write_result
from trainer.estimate import estimate_memory
from trainer.flags import find_recipe
from trainer.gradcache import accumulate_gradients, autocast
from trainer.live_bytes import LiveBytes
from trainer.model import Model
from trainer.recipes import Recipe
from trainer.tokens import text_chunks
from trainer.towers import AudioTower, MuLan, TextTower, TextTowerConfig

NAME = "memory"
CHUNKS = {"m_resnet50": (8, 16), "m_ast": (2, 4)}
TEXT_WORDPIECES = 32
GIB = 2**30


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recipes", nargs="+", default=sorted(CHUNKS), choices=sorted(CHUNKS))
    parser.add_argument("--chunks", nargs="+", type=int)
    parser.add_argument("--estimates", action="store_true")
    parser.add_argument("--one", nargs=2, metavar=("RECIPE", "CHUNK"), help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.one:
        sys.stdout.write(json.dumps(measure(recipe_of(given.one[0], int(given.one[1])))))
        return 0
    if given.estimates:
        result = {
            "recipes": {name: estimates(find_recipe(name)) for name in given.recipes},
            "texts_hold_gib": {
                "attention keeps its scores (a CPU with dropout)": texts_hold(0.1),
                "attention keeps none (no dropout)": texts_hold(0.0),
            },
        }
        command = "python -m benchmarks.memory --estimates"
        write_result(f"{NAME}_estimates", result, packages=("torch", "transformers"), command=command)
        return 0
    results: dict[str, Any] = {}
    for name in given.recipes:
        rows = [in_its_own_process(name, chunk) for chunk in given.chunks or CHUNKS[name]]
        results[name] = {"steps": rows, "bytes_a_window": slopes(rows)}
    result = {
        "text_wordpieces": TEXT_WORDPIECES,
        "precision": "that of the recipe (bfloat16)",
        "real_peak_gib": "of torch's allocator, by its profiler",
        "recipes": results,
    }
    write_result(NAME, result, packages=("torch", "transformers"), command="python -m benchmarks.memory")
    return 0


def estimates(recipe: Recipe) -> dict[str, Any]:
    """By a full chunk of texts of so many WordPieces, without gradient checkpointing and with it."""
    recipe = dataclasses.replace(recipe, text=dataclasses.replace(recipe.text, warm_start=None, tokenizer="none"))
    found: dict[str, Any] = {"audio_chunk": recipe.compute.audio_chunk, "text_tokens": recipe.compute.text_tokens}
    for checkpointed in (False, True):
        towers = MuLan(AudioTower(recipe.audio), TextTower(recipe.text), recipe.loss.initial_temperature)
        if checkpointed:
            towers.audio.checkpoint_gradients()
            towers.text.checkpoint_gradients()
        model = Model(towers, None, recipe)  # type: ignore[arg-type]
        found["checkpointed_gib" if checkpointed else "plain_gib"] = {
            length: round(estimate_memory(model, recipe, 1, length).peak / GIB, 2) for length in (128, 512)
        }
    return found


def texts_hold(dropout: float) -> dict[int, float]:
    """What BERT-base keeps for its backward pass of texts of 49,152 padded WordPieces in all, by their length."""
    options = {"hidden_dropout_prob": dropout, "attention_probs_dropout_prob": dropout}
    held = {}
    for length in (32, 128, 512):
        live = LiveBytes(torch.device("cpu"))
        with FakeTensorMode(), autocast(torch.device("cpu"), "bfloat16"):
            tower = TextTower(TextTowerConfig(warm_start=None, tokenizer="none", options=options)).train()
            tokens_BL = torch.zeros(49_152 // length, length, dtype=torch.int64)
            with live:
                z_BD = tower(tokens_BL, torch.ones_like(tokens_BL))
                held[length] = round(live.now / GIB, 2)
            del z_BD
    return held


def in_its_own_process(name: str, chunk: int) -> dict[str, float]:
    command = [sys.executable, "-m", "benchmarks.memory", "--one", name, str(chunk)]
    row: dict[str, float] = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
    sys.stderr.write(f"{name}, {chunk} windows: {row}\n")
    return row


def slopes(rows: list[dict[str, float]]) -> dict[str, float]:
    """What a window more takes, by the estimate and by the real steps."""
    first, last = rows[0], rows[-1]
    windows = last["audio_chunk"] - first["audio_chunk"]
    if not windows:
        return {}
    return {key: round((last[key] - first[key]) * GIB / windows) for key in ("estimate_gib", "real_peak_gib")}


def recipe_of(name: str, chunk: int) -> Recipe:
    recipe = find_recipe(name)
    text = dataclasses.replace(recipe.text, warm_start=None, tokenizer="none", max_tokens=TEXT_WORDPIECES)
    return dataclasses.replace(
        recipe,
        audio=dataclasses.replace(recipe.audio, ghost_batch_size=chunk),
        text=text,
        batch_size=2 * chunk,
        lanes=2,
        compute=dataclasses.replace(recipe.compute, audio_chunk=chunk, text_tokens=chunk * TEXT_WORDPIECES),
    )


def measure(recipe: Recipe) -> dict[str, float]:
    torch.manual_seed(0)
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        towers = MuLan(AudioTower(recipe.audio), TextTower(recipe.text), recipe.loss.initial_temperature).train()
        estimate, estimate_s = timed_estimate(Model(towers, None, recipe), recipe)  # type: ignore[arg-type]
        step(towers, recipe)
    return {
        "audio_chunk": recipe.compute.audio_chunk,
        "estimate_gib": round(estimate / GIB, 3),
        "real_peak_gib": round(allocator_peak(profiler) / GIB, 3),
        "ratio": round(estimate / allocator_peak(profiler), 3),
        "resident_gib": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20, 3),
        "estimate_s": round(estimate_s, 1),
    }


def timed_estimate(model: Model, recipe: Recipe) -> tuple[int, float]:
    started = time.perf_counter()
    estimate = estimate_memory(model, recipe, ranks=1)
    return estimate.peak, time.perf_counter() - started


def step(towers: MuLan, recipe: Recipe) -> None:
    """As in training, once the optimizer has its moments."""
    pairs = recipe.batch_size
    optimizer = torch.optim.Adam(towers.parameters(), fused=True)
    for parameter in towers.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    accumulate_gradients(
        towers,
        torch.zeros(pairs, recipe.data.window_samples, dtype=torch.int16),
        torch.zeros(pairs, 4, dtype=torch.int64),
        text_chunks(
            [[101] * TEXT_WORDPIECES] * pairs,
            budget=recipe.compute.text_tokens,
            bucket=recipe.compute.text_bucket,
            max_tokens=TEXT_WORDPIECES,
            pad_id=0,
        ),
        torch.arange(pairs),
        torch.arange(pairs),
        loss=recipe.loss,
        compute=recipe.compute,
        seed=0,
        step=0,
    )
    optimizer.step()


def allocator_peak(profiler: Any) -> int:
    """The most that torch's allocator held, of what was taken while the profiler looked on."""
    held = peak = 0
    events = (event for event in profiler.profiler.kineto_results.events() if event.name() == "[memory]")
    for event in sorted(events, key=lambda event: int(event.start_ns())):
        held += event.nbytes()
        peak = max(peak, held)
    return peak


if __name__ == "__main__":
    sys.exit(main())
