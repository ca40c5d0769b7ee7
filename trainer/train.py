"""`mulan train`: mined runs in, a model out. The same command again goes on where a run stopped."""

import argparse
import dataclasses
import logging
import math
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import transformers.utils.logging
from safetensors import SafetensorError

from schemas.exits import check_output
from schemas.run import RunError
from trainer import dist
from trainer.checkpoint import CheckpointError
from trainer.evaluation.declare import read_evaluators
from trainer.logs import loss_table
from trainer.loop import MODEL_NAME, Ending, TrainOptions, train
from trainer.loss import KINDS
from trainer.mixture import NAMES, Mixture
from trainer.recipes import RECIPES, Recipe

_EXIT = {Ending.DONE: 0, Ending.LOST: 1, Ending.INTERRUPTED: 3}
_BAD_INPUT, _BROKEN_OFF = 2, 3


def main(argv: list[str] | None = None) -> int:
    """Exit codes: 0 done, 1 the loss is no number any more, 2 bad arguments or data, 3 interrupted or broken off (run
    the same command to go on)."""
    arguments = _parser().parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", stream=sys.stderr)
    quiet_libraries()

    def run() -> Ending:
        recipe = recipe_from(arguments)
        options = dataclasses.replace(
            options_from(arguments),
            evaluate_every=arguments.evaluate_every,
            evaluators=tuple(read_evaluators(arguments.evaluators)) if arguments.evaluators else (),
        )
        outcome = train(recipe, options)
        if outcome == Ending.DONE and dist.is_first():
            sys.stdout.write(f"{loss_table(options.output)}\nThe model: {options.output / MODEL_NAME}\n")
        return outcome

    return exit_code("mulan train", run)


def exit_code(command: str, run: Callable[[], Ending]) -> int:
    """What a training ends with; where it cannot begin or go on, one line says why."""
    try:
        return _EXIT[run()]
    except (ValueError, RunError) as error:
        sys.stderr.write(f"{command}: {error}\n")
        return _BAD_INPUT
    except CheckpointError as error:
        sys.stderr.write(f"{command}: {error}\n")
        return _BROKEN_OFF
    except (OSError, SafetensorError) as error:  # a full disk, mostly
        sys.stderr.write(f"{command}: {error}; the same command goes on from the last checkpoint\n")
        return _BROKEN_OFF
    except KeyboardInterrupt:  # before the first step or after the last
        sys.stderr.write(f"{command}: interrupted; run the same command again\n")
        return _BROKEN_OFF


def options_from(arguments: argparse.Namespace) -> TrainOptions:
    """From the arguments that `add_recipe_arguments` adds. Raises ValueError."""
    check_output(arguments.output)
    return TrainOptions(
        data=tuple(arguments.data),
        output=Path(arguments.output),
        steps=arguments.steps,
        device=arguments.device,
        workers=arguments.workers,
        checkpoint_every=arguments.checkpoint_every,
        keep=arguments.keep,
        validate_every=arguments.validate_every,
        log_every=arguments.log_every,
    )


def recipe_from(arguments: argparse.Namespace) -> Recipe:
    """The named recipe with what the command line changes. Raises ValueError."""
    recipe = RECIPES[arguments.recipe]()
    audio, text, data = recipe.audio, recipe.text, recipe.data
    if arguments.audio_checkpoint is not None:
        audio = dataclasses.replace(audio, warm_start=arguments.audio_checkpoint)
    if arguments.freeze_batch_norm:
        audio = dataclasses.replace(audio, freeze_batch_norm=True)
    if arguments.ghost_batch_size is not None:
        audio = dataclasses.replace(audio, ghost_batch_size=arguments.ghost_batch_size)
    if arguments.text_checkpoint is not None:
        text = dataclasses.replace(text, warm_start=arguments.text_checkpoint, tokenizer=None)
    if arguments.tokenizer is not None:
        text = dataclasses.replace(text, tokenizer=arguments.tokenizer)
    data = dataclasses.replace(
        data,
        mixture=arguments.mixture or data.mixture,
        missing_sources=arguments.missing_sources,
        filtered=not arguments.unfiltered,
        lf_threshold=arguments.lf_threshold,
        held_out_ids=_read_ids(arguments.hold_out) if arguments.hold_out else (),
        verify_shards=arguments.verify_shards,
        skip_corrupt=arguments.skip_corrupt,
        **given(arguments, "validation_fraction", "buffer_rows"),
    )
    loss = dataclasses.replace(
        recipe.loss,
        kind=arguments.loss,
        mask_shared_texts=arguments.mask_shared_texts,
        **given(arguments, "initial_temperature"),
    )
    compute = dataclasses.replace(
        recipe.compute, compile=arguments.compile, **given(arguments, "audio_chunk", "text_chunk", "precision")
    )
    optimizer = dataclasses.replace(recipe.optimizer, **given(arguments, "learning_rate"))
    return dataclasses.replace(
        recipe,
        audio=audio,
        text=text,
        data=data,
        loss=loss,
        compute=compute,
        optimizer=optimizer,
        **given(arguments, "batch_size", "epochs", "seed"),
    )


def quiet_libraries() -> None:
    """Leave stderr to this project's lines."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    for name in ("transformers", "httpx", "huggingface_hub"):
        logging.getLogger(name).setLevel(logging.ERROR)
    transformers.utils.logging.disable_progress_bar()  # type: ignore[no-untyped-call]


def given(arguments: argparse.Namespace, *names: str) -> dict[str, Any]:
    """Those of the arguments that were given."""
    return {name: getattr(arguments, name) for name in names if getattr(arguments, name) is not None}


def _read_ids(path: str) -> tuple[str, ...]:
    try:
        lines = Path(path).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: no list of recording ids ({error})") from error
    return tuple(sorted({line.strip() for line in lines if line.strip()}))


def _number(text: str) -> float:
    """argparse's own `float` takes `nan` and `inf`, which no setting can be."""
    value = float(text)
    if not math.isfinite(value):
        raise argparse.ArgumentTypeError(f"{text} is not a finite number")
    return value


def _mixture(text: str) -> Mixture:
    try:
        return Mixture.parse(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def add_recipe_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments that `mulan train` and `mulan pretrain` share."""
    parser.add_argument("--recipe", choices=sorted(RECIPES), required=True)
    parser.add_argument("--data", action="append", required=True, metavar="RUN", help="a mined run; may be repeated")
    parser.add_argument("--output", required=True, metavar="DIR")
    parser.add_argument("--steps", type=int, help="end after so many steps (default: the recipe's epochs)")
    parser.add_argument("--epochs", type=_number, help="an epoch is recordings ÷ batch size, in steps")
    parser.add_argument("--batch_size", type=int, help="pairs of a global mini-batch, over all ranks")
    parser.add_argument("--learning_rate", type=_number)
    parser.add_argument("--seed", type=int)
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    parser.add_argument("--workers", type=int, default=1, help="processes that decode audio (default 1)")
    parser.add_argument("--audio_chunk", type=int, help="windows that go through the tower at once")
    parser.add_argument("--precision", choices=("float32", "bfloat16"))
    parser.add_argument("--ghost_batch_size", type=int, help="examples that batch norm sees together")
    parser.add_argument("--buffer_rows", type=int, help="rows of a stream that are shuffled at once")
    parser.add_argument("--checkpoint_every", type=int, default=1000, metavar="STEPS")
    parser.add_argument("--keep", type=int, default=3, help="checkpoints that are kept (default 3)")
    parser.add_argument("--validate_every", type=int, default=500, metavar="STEPS")
    parser.add_argument("--log_every", type=int, default=10, metavar="STEPS")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="mulan train", description=__doc__)
    add_recipe_arguments(parser)
    data = parser.add_argument_group("data")
    data.add_argument("--mixture", type=_mixture, metavar=NAMES, help=f"of every batch (default {Mixture().text})")
    data.add_argument("--missing_sources", choices=("refuse", "reweight"), default="refuse")
    data.add_argument("--unfiltered", action="store_true", help="train on the texts before rules and classifier")
    data.add_argument("--lf_threshold", type=_number, help="score a sentence needs (default: each manifest's)")
    data.add_argument("--validation_fraction", type=_number)
    data.add_argument("--hold_out", metavar="FILE", help="recording ids, one a line, that are never trained on")
    data.add_argument("--verify_shards", action="store_true", help="check every shard's hash before the first step")
    data.add_argument("--skip_corrupt", action="store_true", help="leave broken shards out instead of refusing")
    towers = parser.add_argument_group("towers")
    towers.add_argument("--text_checkpoint", metavar="DIR|NAME", help="a BERT to start from (directory or hub)")
    towers.add_argument("--tokenizer", metavar="DIR|NAME", help="for a text tower that starts at random")
    towers.add_argument("--audio_checkpoint", metavar="DIR|NAME", help="a body to start from (directory or hub)")
    towers.add_argument("--freeze_batch_norm", action="store_true")
    loss = parser.add_argument_group("loss")
    loss.add_argument("--loss", choices=KINDS, default="mulan")
    loss.add_argument("--initial_temperature", type=_number)
    loss.add_argument("--mask_shared_texts", action="store_true", help="leave pairs of one text out of denominators")
    compute = parser.add_argument_group("computing")
    compute.add_argument("--text_chunk", type=int, help="texts that go through the tower at once")
    compute.add_argument("--compile", action="store_true", help="torch.compile the towers")
    evaluation = parser.add_argument_group("evaluation")
    evaluation.add_argument("--evaluators", type=Path, metavar="FILE", help="what to measure, see docs/evaluation.md")
    evaluation.add_argument(
        "--evaluate_every", type=int, default=5000, metavar="STEPS", help="and at the end (default 5000)"
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
