"""M-ResNet-50 (6144 pairs) and M-AST (3072 pairs) at full shape, bf16, by GradCache, on one GPU: how fast?

    python -m benchmarks.train_gpu                  # full shape on a GPU, toy size on a CPU
    python -m benchmarks.train_gpu --recipes m_ast --audio_chunk 192

One call, within ten minutes on an H100. Weights and waves are random, which changes no speed; texts have the lengths
that the quotas of 2:2:1:1 give with short forms, sentences, playlist titles and labels of typical lengths (`LENGTHS`).
Prints pairs/s, MFU of useful work (padding and GradCache's second forward pass excluded), MFU with padding, the peak of
memory beside its estimate, and a profile of one step that names what the time goes to.
"""

import argparse
import dataclasses
import sys
import time
from typing import Any

import numpy as np
import torch
from torch.profiler import ProfilerActivity, profile

from benchmarks.machine import write_result
from trainer.estimate import StepFlops, estimate_memory, peak_flops
from trainer.flags import find_recipe
from trainer.gradcache import accumulate_gradients
from trainer.mixture import Mixture, Quotas
from trainer.model import Model
from trainer.recipes import Recipe
from trainer.tokens import TextChunk, text_chunks
from trainer.towers import AudioTower, MuLan, TextTower

NAME = "train_gpu"
# WordPieces with [CLS] and [SEP]: mean and largest, by source.
LENGTHS = {"SF": (6, 32), "LF": (22, 128), "PL": (6, 32), "ASET": (5, 12)}
TOY_BODIES: dict[str, dict[str, Any]] = {
    "resnet": {"embedding_size": 8, "hidden_sizes": [16, 32], "depths": [1, 1]},
    "ast": {"hidden_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 96},
}
TOY_BERT = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 128}
TOY_BATCH, TOY_CHUNK = 32, 16
PROFILE_ROWS = 14


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recipes", nargs="+", default=["m_resnet50", "m_ast"], choices=("m_resnet50", "m_ast"))
    parser.add_argument("--steps", type=int, default=3, help="that are timed, after one that is not")
    parser.add_argument("--audio_chunk", type=int)
    parser.add_argument("--text_chunk", type=int)
    parser.add_argument("--compile", action="store_true")
    given = parser.parse_args()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    torch.backends.cuda.matmul.allow_tf32 = True
    torch.backends.cudnn.benchmark = True
    results = {name: measure(recipe_from(name, given, device), device, given) for name in given.recipes}
    full = device.type == "cuda"
    result = {
        "device": torch.cuda.get_device_name(device) if full else "CPU, toy size: says that the script runs, no more",
        "recipes": results,
    }
    name = NAME if full else f"{NAME}_toy"
    write_result(name, result, packages=("torch", "transformers"), command="python -m benchmarks.train_gpu")
    return 0


def recipe_from(name: str, given: argparse.Namespace, device: torch.device) -> Recipe:
    recipe = find_recipe(name)
    # No checkpoint and no tokenizer are at hand on a bare machine, and neither changes the speed.
    text = dataclasses.replace(recipe.text, warm_start=None, tokenizer="none")
    chunks = {key: value for key in ("audio_chunk", "text_chunk") if (value := getattr(given, key)) is not None}
    compute = dataclasses.replace(recipe.compute, compile=given.compile, **chunks)
    if device.type == "cuda":
        return dataclasses.replace(recipe, text=text, compute=compute)
    body = recipe.audio.body
    audio = dataclasses.replace(recipe.audio, options=TOY_BODIES[body], ghost_batch_size=TOY_CHUNK)
    compute = dataclasses.replace(compute, audio_chunk=TOY_CHUNK, text_chunk=TOY_CHUNK)
    text = dataclasses.replace(text, options=TOY_BERT)
    return dataclasses.replace(recipe, audio=audio, text=text, compute=compute, batch_size=TOY_BATCH)


def measure(recipe: Recipe, device: torch.device, given: argparse.Namespace) -> dict[str, Any]:
    torch.manual_seed(0)
    towers = MuLan(AudioTower(recipe.audio), TextTower(recipe.text), recipe.loss.initial_temperature).to(device).train()
    model = Model(towers, None, recipe)  # type: ignore[arg-type]  # tokens are made here
    flops, peak = StepFlops(model), peak_flops(device)
    estimate = estimate_memory(model, recipe, ranks=1)
    if recipe.compute.compile:
        towers.audio.body.compile()
        towers.text.body.compile()
    optimizer = torch.optim.Adam(towers.parameters(), lr=recipe.optimizer.learning_rate, fused=True)
    tokens = texts(recipe)
    chunks = text_chunks(
        tokens,
        chunk=recipe.compute.text_chunk,
        bucket=recipe.compute.text_bucket,
        max_tokens=recipe.text.max_tokens,
        pad_id=0,
    )
    wave_RS = torch.randint(-3000, 3000, (recipe.batch_size, recipe.data.window_samples), dtype=torch.int16)
    if device.type == "cuda":
        wave_RS = wave_RS.pin_memory()
        torch.cuda.reset_peak_memory_stats()

    def step(number: int) -> float:
        optimizer.zero_grad(set_to_none=True)
        result = one_step(towers, recipe, wave_RS, chunks, number)
        torch.nn.utils.clip_grad_norm_(towers.parameters(), recipe.optimizer.clip_norm)
        optimizer.step()
        towers.clamp_temperature(recipe.loss.min_temperature, recipe.loss.max_temperature)
        return result

    step(0)
    synchronize(device)
    started = time.perf_counter()
    losses = [step(1 + i) for i in range(given.steps)]
    synchronize(device)
    step_s = (time.perf_counter() - started) / given.steps
    with profile(
        activities=[ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if device.type == "cuda" else [])]
    ) as profiler:
        step(given.steps + 1)
        synchronize(device)
    key = "self_device_time_total" if device.type == "cuda" else "self_cpu_time_total"
    rows = sorted(profiler.key_averages(), key=lambda row: -getattr(row, key))[:PROFILE_ROWS]
    total = sum(getattr(row, key) for row in profiler.key_averages())
    padded = [chunk.tokens_BL.shape[1] for chunk in chunks for _ in range(len(chunk.order_B))]
    useful = flops.training(recipe.batch_size, [len(text) for text in tokens])
    padded_work = flops.training(recipe.batch_size, padded)
    return {
        "batch_size": recipe.batch_size,
        "audio_chunk": recipe.compute.audio_chunk,
        "text_chunk": recipe.compute.text_chunk,
        "precision": recipe.compute.precision,
        "steps": given.steps,
        "loss": losses,
        "step_s": round(step_s, 3),
        "pairs_per_s": round(recipe.batch_size / step_s, 1),
        "useful_tflop_a_step": round(useful / 1e12, 3),
        "mfu_useful": round(useful / step_s / peak, 4) if peak else None,
        "mfu_padded": round(padded_work / step_s / peak, 4) if peak else None,
        "peak_memory_gib": round(torch.cuda.max_memory_allocated() / 2**30, 2) if device.type == "cuda" else None,
        "estimated_memory_gib": round(estimate.total / 2**30, 2),
        "profile": {row.key[:80]: round(getattr(row, key) / total, 4) for row in rows},
        "profile_is": "share of the time on the device" if device.type == "cuda" else "share of the time on the CPU",
    }


def one_step(towers: MuLan, recipe: Recipe, wave_RS: torch.Tensor, chunks: list[TextChunk], number: int) -> float:
    return accumulate_gradients(
        towers,
        wave_RS,
        torch.zeros(len(wave_RS), 4, dtype=torch.int64),
        chunks,
        torch.arange(len(wave_RS)),
        loss=recipe.loss,
        compute=recipe.compute,
        seed=0,
        step=number,
    ).loss


def texts(recipe: Recipe) -> list[list[int]]:
    rng = np.random.default_rng(0)
    made = []
    for source, seats in Quotas(Mixture(), recipe.batch_size).of(0).items():
        mean, largest = LENGTHS[str(source.name)]
        for length in np.clip(3 + rng.poisson(mean - 3, seats), 3, largest):
            made.append([101, *rng.integers(1000, 30_000, length - 2).tolist(), 102])
    return [made[i] for i in rng.permutation(len(made))]


def synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


if __name__ == "__main__":
    sys.exit(main())
