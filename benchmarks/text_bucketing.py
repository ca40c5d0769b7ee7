"""Padding texts to their bucket against padding them to 512: the speed of a step, and whether the results are equal.

    python -m benchmarks.text_bucketing --run RUN --tokenizer DIR

One batch of texts is drawn from a mined run in the mixture of its sources. A step is `tiny()` with a text tower that
takes 512 WordPieces (4 blocks, 256 wide), forward and backward, in chunks; the text tower's operations are also given
for BERT-base, by formula.
"""

import argparse
import dataclasses
import statistics
import sys
import time
from pathlib import Path

import torch

from benchmarks.machine import write_result
from trainer.data import Corpus
from trainer.gradcache import accumulate_gradients
from trainer.mixture import Mixture
from trainer.model import build, pad_id
from trainer.recipes import Recipe, tiny
from trainer.streams import Lanes
from trainer.tokens import text_chunks, tokenize

NAME = "text_bucketing"
MAX_TOKENS = 512
BASE_LAYERS, BASE_WIDTH, BASE_INNER = 12, 768, 3072


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path, required=True)
    parser.add_argument("--tokenizer", required=True, metavar="DIR|NAME")
    parser.add_argument("--batch_size", type=int, default=48)
    parser.add_argument("--text_tokens", type=int, default=8192, help="padded, of a chunk")
    parser.add_argument("--mixture", type=Mixture.parse, default=Mixture())
    parser.add_argument("--repeats", type=int, default=3)
    given = parser.parse_args()
    torch.set_num_threads(1)
    recipe = recipe_from(given)
    corpus = Corpus.open([given.run], recipe.data)
    lanes = Lanes(corpus, corpus.mixture(), given.batch_size, 1, 0)
    batch = lanes.next()
    lanes.close()
    model = build(recipe, torch.device("cpu"))
    model.towers.train()
    tokens = tokenize(model.tokenizer, [example.text for example in batch], MAX_TOKENS)
    wave_RS = torch.randint(-3000, 3000, (len(tokens), recipe.data.window_samples), dtype=torch.int16)
    ids = torch.arange(len(tokens))
    seconds: dict[str, list[float]] = {"bucketed": [], "padded": []}
    loss, gradients, padded_tokens = {}, {}, {}
    for _ in range(given.repeats):
        for name in seconds:
            chunks = text_chunks(
                tokens,
                budget=recipe.compute.text_tokens,
                bucket=recipe.compute.text_bucket,
                max_tokens=MAX_TOKENS,
                pad_id=pad_id(model.tokenizer),
                by_length=name == "bucketed",
            )
            model.towers.zero_grad()
            started = time.perf_counter()
            result = accumulate_gradients(
                model.towers, wave_RS, None, chunks, ids, ids, loss=recipe.loss, compute=recipe.compute, seed=0, step=0
            )
            seconds[name].append(time.perf_counter() - started)
            loss[name] = float(result.loss)
            gradients[name] = torch.cat([p.grad.flatten() for p in model.towers.parameters() if p.grad is not None])
            padded_tokens[name] = [chunk.tokens_BL.shape[1] for chunk in chunks for _ in range(len(chunk.order_B))]
    difference = (gradients["bucketed"] - gradients["padded"]).norm() / gradients["padded"].norm()
    flops = {name: sum(map(base_flops, widths)) for name, widths in padded_tokens.items()}
    lengths = sorted(map(len, tokens))
    result_values = {
        "texts": len(tokens),
        "wordpieces": {"median": statistics.median(lengths), "largest": lengths[-1], "sum": sum(lengths)},
        "padded_to": {name: sum(widths) for name, widths in padded_tokens.items()},
        "step_s": {name: round(statistics.median(values), 3) for name, values in seconds.items()},
        "step_speed_up": round(statistics.median(seconds["padded"]) / statistics.median(seconds["bucketed"]), 2),
        "bert_base_operations_ratio": round(flops["padded"] / flops["bucketed"], 1),
        "loss_relative_difference": abs(loss["bucketed"] / loss["padded"] - 1),
        "gradient_relative_difference": float(difference),
        "dtype": "float32",
    }
    command = f"python -m benchmarks.text_bucketing --run RUN --tokenizer DIR --mixture {given.mixture.text}"
    write_result(NAME, result_values, packages=("torch", "transformers"), command=command)
    return 0


def recipe_from(given: argparse.Namespace) -> Recipe:
    recipe = tiny(given.tokenizer)
    body = {"hidden_size": 256, "num_hidden_layers": 4, "num_attention_heads": 4, "intermediate_size": 1024}
    return dataclasses.replace(
        recipe,
        audio=dataclasses.replace(recipe.audio, freeze_batch_norm=True),
        text=dataclasses.replace(recipe.text, options={**recipe.text.options, **body}, max_tokens=MAX_TOKENS),
        data=dataclasses.replace(
            recipe.data, mixture=given.mixture, missing_sources="reweight", validation_fraction=0.0
        ),
        batch_size=given.batch_size,
        compute=dataclasses.replace(recipe.compute, audio_chunk=given.batch_size, text_tokens=given.text_tokens),
    )


def base_flops(tokens: int) -> float:
    """Forward operations of BERT-base over so many WordPieces."""
    dense = tokens * (8 * BASE_WIDTH**2 + 4 * BASE_WIDTH * BASE_INNER)
    return float(BASE_LAYERS * (dense + 4 * tokens**2 * BASE_WIDTH))


if __name__ == "__main__":
    sys.exit(main())
