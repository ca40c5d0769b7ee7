"""`mulan lf-filter fit` beside a bare loop of the same optimizer steps.

    python -m benchmarks.fit_speed

The command is whole: the interpreter's start, its trial of precisions and its estimate of the time, frozen features,
the run that leaves a fold out, the run on everything, calibration and files. The bare loop is `transformers` and
`torch.optim` alone on batches that were tokenized and padded before: forward, loss, backward, clipping, step, as many
times, in the precision that the command chose. They take turns, so that both see the same machine.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.fine_tuned import packaged_minilm
from benchmarks.machine import children_cpu_s, write_result
from filters.long_form.augment import augment
from filters.long_form.data import grouped_folds, read_seed
from filters.long_form.finetune import Tokenize, collate, load_encoder, random_batches
from filters.long_form.fit import FitConfig
from filters.long_form.tuning import FineTuneConfig

ROOT = Path(__file__).resolve().parent.parent
Batch = tuple[Tensor, Tensor, Tensor]


def product(encoder: str, threads: int) -> tuple[dict[str, float], bool]:
    """What the command takes, and whether it trained in bfloat16."""
    with tempfile.TemporaryDirectory() as work:
        output = Path(work) / "model"
        command = [sys.executable, "-m", "filters.long_form.cli", "fit", "--output", str(output), "--encoder", encoder]
        command += ["--seeds", "1", "--no_cross_validation", "--threads", str(threads)]
        started_s, cpu_s = time.perf_counter(), children_cpu_s()
        subprocess.run(command, check=True, cwd=ROOT, stdout=subprocess.DEVNULL)
        taken = {"clock_s": time.perf_counter() - started_s, "cpu_s": children_cpu_s() - cpu_s}
        record = json.loads((output / "classifier.json").read_text(encoding="utf-8"))
    return taken, record["training"]["precision"] == "bfloat16"


def batches_of_the_command(tokenizer_json: str, config: FineTuneConfig) -> list[Batch]:
    """Of the run that leaves the first fold out and of the run on everything, one after the other."""
    examples = read_seed()
    fold_of = grouped_folds(examples, FitConfig().folds, seed=0)
    tokenize = Tokenize(tokenizer_json, config.max_tokens)
    found = []
    for train in ([one for one, fold in zip(examples, fold_of, strict=True) if fold != 0], examples):
        for epoch in range(config.epochs):
            seen = augment(train, count=len(train), seed=epoch)
            ids = tokenize([one.text for one in seen])
            for chosen in random_batches([len(tokens) for tokens in ids], config.batch_size, epoch):
                targets_B = torch.tensor([float(seen[i].is_music) for i in chosen])
                found.append((*collate([ids[i] for i in chosen]), targets_B))
    return found


def bare(encoder: nn.Module, batches: list[Batch], config: FineTuneConfig, *, half: bool) -> dict[str, float]:
    width = int(encoder.config.hidden_size)  # type: ignore[union-attr, arg-type]
    head, dropout = nn.Linear(width, 1), nn.Dropout(config.dropout)
    # Embeddings are frozen in the command too.
    encoder.embeddings.requires_grad_(False)
    trained = [one for one in (*encoder.parameters(), *head.parameters()) if one.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=config.rate(width), weight_decay=config.weight_decay)
    encoder.train()
    started_s, cpu_s = time.perf_counter(), time.process_time()
    for ids_BT, mask_BT, targets_B in batches:
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=half):
            hidden_BTH = encoder(input_ids=ids_BT, attention_mask=mask_BT).last_hidden_state
            weights_BT1 = mask_BT.unsqueeze(-1).to(hidden_BTH.dtype)
            logits_B = head(dropout((hidden_BTH * weights_BT1).sum(1) / weights_BT1.sum(1))).squeeze(-1)
        optimizer.zero_grad(set_to_none=True)
        nn.functional.binary_cross_entropy_with_logits(logits_B.float(), targets_B).backward()
        nn.utils.clip_grad_norm_(trained, config.max_gradient_norm)
        optimizer.step()
    return {"clock_s": time.perf_counter() - started_s, "cpu_s": time.process_time() - cpu_s}


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--encoder", help="folder or name on the hub (default: the packaged MiniLM)")
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="of both (default: %(default)s)")
    parser.add_argument("--turns", type=int, default=1, help="default: %(default)s")
    arguments = parser.parse_args(argv)
    torch.set_num_threads(arguments.threads)
    encoder = arguments.encoder or packaged_minilm()
    config = FineTuneConfig()
    network, tokenizer_json = load_encoder(encoder)
    batches = batches_of_the_command(tokenizer_json, config)
    turns: list[dict[str, Any]] = []
    for _ in range(arguments.turns):
        command, half = product(encoder, arguments.threads)
        loop = bare(network, batches, config, half=half)
        turns.append({"command": command, "bare_loop": loop, "bfloat16": half})
        print(json.dumps(turns[-1]), file=sys.stderr, flush=True)
    result = {
        "optimizer_steps": len(batches),
        "threads": arguments.threads,
        "turns": turns,
        **{
            f"command_over_bare_{name}": round(
                median(turn["command"][name] / turn["bare_loop"][name] for turn in turns), 3
            )
            for name in ("clock_s", "cpu_s")
        },
    }
    write_result(
        "fit_speed",
        result,
        packages=("torch", "transformers"),
        command=f"python -m benchmarks.fit_speed --turns {arguments.turns}",
    )
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
