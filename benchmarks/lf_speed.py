"""How fast sentences are scored on one core, against `transformers` on the same weights.

    python -m benchmarks.lf_speed [--model DIR]

BERT-base shape with random weights, one thread. The reference is `transformers` in float32, batches of 32, padded to
the longest of each batch. Two inputs: sentences of exactly 16 tokens, and lengths drawn around a mean of 16. All take
turns, and the fastest round counts; what is four times slower than the reference has only 32 sentences of 16 tokens.
With `--model`, that model's scores are compared over batch orders and precisions as well (|Δp| is promised to stay
within 1e-3 for batch orders).

A processor with AVX2 alone is imitated by what its libraries would choose there:

    ATEN_CPU_CAPABILITY=avx2 ONEDNN_MAX_CPU_ISA=AVX2 MKL_ENABLE_INSTRUCTIONS=AVX2 python -m benchmarks.lf_speed

Its result is `lf_speed_avx2.json`. Seconds are those of CPU time.
"""

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers

from benchmarks.machine import write_result
from filters.long_form.bert_scorer import BertScorer
from filters.long_form.data import read_seed
from filters.long_form.encoder import Precision
from filters.long_form.finetune import collate
from filters.long_form.int8 import MAX_INT8, Kernel, fastest_kernel, product
from filters.long_form.model_files import save

BATCH = 32
REFERENCE = "transformers_float32"
HOPELESS = 4
# How a processor with fewer instructions is imitated.
LIMITS = ("ATEN_CPU_CAPABILITY", "ONEDNN_MAX_CPU_ISA", "MKL_ENABLE_INSTRUCTIONS")

Ids = list[list[int]]
Way = Callable[[Ids], Any]


def random_bert_base(folder: Path) -> transformers.BertModel:
    """A classifier folder in BERT-base shape; returns the encoder as `transformers` runs it."""
    from tokenizers import Tokenizer, models

    torch.manual_seed(0)
    encoder: transformers.BertModel = transformers.BertModel(transformers.BertConfig(), add_pooling_layer=False)
    encoder.eval()  # type: ignore[no-untyped-call]
    tokenizer = Tokenizer(models.WordPiece({"[UNK]": 0, "[CLS]": 1, "[SEP]": 2}, unk_token="[UNK]"))
    save(
        folder,
        encoder_config=encoder.config.to_dict(),
        state={
            **{f"encoder.{name}": value for name, value in encoder.state_dict().items()},
            "head.weight": torch.randn(1, 768) * 0.02,
            "head.bias": torch.zeros(1),
        },
        tokenizer_json=tokenizer.to_str(),
        record={
            "name": "random-bert-base",
            "pooling": "cls",
            "max_tokens": 128,
            "precision": "int8",
            "calibration": {"slope": 1.0, "offset": 0.0, "label_share": 0.5, "base_rate": 0.5},
            "threshold": None,
        },
        card="",
    )
    return encoder


def reference(encoder: transformers.BertModel, ids: Ids) -> None:
    with torch.inference_mode():
        for start in range(0, len(ids), BATCH):
            ids_BT, mask_BT = collate(ids[start : start + BATCH])
            encoder(input_ids=ids_BT, attention_mask=mask_BT)


def sentences_per_s(ways: dict[str, Way], ids: Ids, repeats: int) -> dict[str, float]:
    """Of the fastest round: what else the machine does only slows down."""
    few = ids[:BATCH]
    rates = {name: len(few) / _seconds(lambda run=run: run(few)) for name, run in ways.items()}  # type: ignore[misc]
    quick = [name for name, rate in rates.items() if rate > rates[REFERENCE] / HOPELESS]
    for _ in range(repeats):
        for name in quick:
            rates[name] = max(rates[name], len(ids) / _seconds(lambda run=ways[name]: run(ids)))  # type: ignore[misc]
    return rates


def _seconds(run: Callable[[], Any]) -> float:
    """Of CPU: with one thread as much as by the clock, but for what else the machine does."""
    start_s = time.process_time()
    run()
    return time.process_time() - start_s


def measure(count: int, repeats: int) -> dict[str, Any]:
    rng = np.random.default_rng(0)
    fixed = [rng.integers(1_000, 30_000, 16).tolist() for _ in range(count)]
    lengths = np.clip(np.round(rng.lognormal(2.6, 0.6, count)), 4, 64).astype(int)
    mixed = [rng.integers(1_000, 30_000, length).tolist() for length in lengths]
    figures: dict[str, Any] = {"mean_mixed_length": round(float(lengths.mean()), 2)}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        encoder = random_bert_base(folder)
        scorers = {precision: BertScorer.load(folder, precision=precision) for precision in Precision}
        ways: dict[str, Way] = {REFERENCE: lambda ids: reference(encoder, ids)}
        ways.update({str(precision): scorer.logits_of_ids for precision, scorer in scorers.items()})
        for label, ids in (("exactly_16_tokens", fixed), ("mixed_lengths", mixed)):
            rates = sentences_per_s(ways, ids, repeats)
            figures[label] = {
                name: {"sentences_per_s": round(rate, 2), "speedup": round(rate / rates[REFERENCE], 2)}
                for name, rate in rates.items()
            }
            ways = {name: run for name, run in ways.items() if rates[name] > rates[REFERENCE] / HOPELESS}
        by_float = BertScorer.load(folder, kernel=Kernel.FLOAT).logits_of_ids(mixed[:BATCH])
        figures["scores_of_float_kernel_equal"] = bool(
            (by_float == scorers[Precision.INT8].logits_of_ids(mixed[:BATCH])).all()
        )
    return figures


def kernels(config: transformers.BertConfig) -> dict[str, Any]:
    """Which kernel of int8 is chosen here, in how long, and whether each has the sums of torch's plain loop."""
    hidden, inner = config.hidden_size, config.intermediate_size
    choice_s = _seconds(lambda: fastest_kernel(hidden, inner))
    equal = {str(kernel): True for kernel in Kernel}
    generator = torch.Generator().manual_seed(0)
    for outputs, inputs in ((hidden, hidden), (3 * hidden, hidden), (inner, hidden), (hidden, inner)):
        weight_MK, x_NK = (
            torch.randint(-MAX_INT8, MAX_INT8 + 1, (rows, inputs), generator=generator) for rows in (outputs, 64)
        )
        with torch.backends.mkldnn.flags(enabled=False):
            loop_NM = torch._int_mm(x_NK.to(torch.int8), weight_MK.to(torch.int8).t()).to(torch.float32)
        for kernel in Kernel:
            found_NM = product(weight_MK.to(torch.int8), kernel)(x_NK.to(torch.float32), torch.ones(64, 1))
            equal[str(kernel)] &= torch.equal(found_NM, loop_NM)
    return {
        "chosen": str(fastest_kernel(hidden, inner)),
        "choice_s": round(choice_s, 3),
        "equal_to_the_plain_loop": equal,
    }


def invariance(model: Path) -> dict[str, Any]:
    """Largest difference of a probability between batch orders, and between precisions."""
    texts = [example.text for example in read_seed()]
    scores = {p: BertScorer.load(model, precision=p).score(texts) for p in Precision}
    rng = np.random.default_rng(1)
    worst = {}
    for precision in Precision:
        differences = []
        for _ in range(3):
            order = rng.permutation(len(texts))[: len(texts) // 2]
            again = BertScorer.load(model, precision=precision).score([texts[i] for i in order])
            differences.append(float(np.abs(again - scores[precision][order]).max()))
        worst[str(precision)] = max(differences)
    return {
        "batch_order_max_difference": worst,
        "max_difference_from_float32": {
            str(p): float(np.abs(scores[p] - scores[Precision.FLOAT32]).max()) for p in Precision
        },
    }


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, metavar="DIR", help="a trained classifier, for the invariance figures")
    parser.add_argument("--sentences", type=int, default=512)
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args(argv)
    torch.set_num_threads(1)
    limits = {name: os.environ[name] for name in LIMITS if name in os.environ}
    result: dict[str, Any] = {
        "threads": 1,
        "torch_uses": torch.backends.cpu.get_cpu_capability(),
        "limited_by": limits,
        "kernels": kernels(transformers.BertConfig()),
        "speed": measure(arguments.sentences, arguments.repeats),
    }
    if arguments.model:
        result["invariance"] = invariance(arguments.model)
    command = " ".join(
        [*(f"{name}={value}" for name, value in limits.items()), "python -m benchmarks.lf_speed"]
        + (["--model DIR"] if arguments.model else [])
    )
    name = "lf_speed" if arguments.model else f"lf_speed_{torch.backends.cpu.get_cpu_capability().lower()}"
    write_result(name, result, packages=("torch", "transformers"), command=command)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
