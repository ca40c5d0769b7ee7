"""`mulan embed` on a GPU: clips/s of a mined run, and how far its vectors are from those of a CPU.

    python -m benchmarks.embed_gpu                      # on a GPU at full shape, on a CPU at toy size
    python -m benchmarks.embed_gpu --recipes m_ast --rows 4096

The command itself (`trainer.embed.main`) over a run of made-up clips of 30 s, three windows each, by models of random
weights. It is called with few clips and with many, and the rate is that of the difference, since loading a model takes
the same both times. Vectors are compared on the clips of the first call, embedded by a CPU too.
"""

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import torch

from benchmarks.machine import write_result
from benchmarks.train_gpu import make_run, make_tokenizer, recipe_from
from trainer.embed import main as mulan_embed
from trainer.model import build

NAME = "embed_gpu"
FEW = 8


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recipes", nargs="+", default=["m_resnet50", "m_ast"], choices=("m_resnet50", "m_ast"))
    parser.add_argument("--rows", type=int)
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    given = parser.parse_args()
    full = torch.cuda.is_available()
    rows = given.rows or (2048 if full else 64)
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        tokenizer = make_tokenizer(work / "tokenizer")
        runs = {count: make_run(work / f"run-{count}", count, clip_s=30.0) for count in (FEW, rows)}
        recipes: dict[str, Any] = {}
        for name in given.recipes:
            recipe = recipe_from({"recipe": name}, [], tokenizer, full=full)
            model = build(recipe, torch.device("cpu"))
            model.save(work / name)
            device = "cuda" if full else "cpu"
            seconds = {count: embedded(work, name, run, device, given.workers)[0] for count, run in runs.items()}
            here, there = (embedded(work, name, runs[FEW], each, given.workers)[1] for each in ("cpu", device))
            recipes[name] = {
                "rows": rows,
                "command_s": round(seconds[rows], 2),
                "clips_per_s": round((rows - FEW) / (seconds[rows] - seconds[FEW]), 1),
                "largest_difference": float(np.abs(there - here).max()),
                "least_cosine": float((there * here).sum(axis=1).min()),
            }
    said = torch.cuda.get_device_name() if full else "CPU, toy size: says that the script runs, no more"
    result = {"device": said, "workers": given.workers, "recipes": recipes}
    command = " ".join(["python -m benchmarks.embed_gpu", *sys.argv[1:]])
    write_result(NAME if full else f"{NAME}_toy", result, packages=("torch", "transformers"), command=command)
    return 0


def embedded(work: Path, name: str, run: Path, device: str, workers: int) -> tuple[float, np.ndarray[Any, Any]]:
    """Seconds of the command, and the vectors."""
    output = work / f"{name}-{device}-{run.name}-{time.monotonic_ns()}.parquet"
    words = [str(run), "--model", str(work / name), "--output", str(output), "--device", device]
    started = time.perf_counter()
    if mulan_embed([*words, "--workers", str(workers)]):
        raise RuntimeError(f"mulan embed {' '.join(words)} did not end well")
    return time.perf_counter() - started, np.array(pq.read_table(output)["vector"].to_pylist(), np.float32)


if __name__ == "__main__":
    sys.exit(main())
