"""What `mulan train` and `mulan pretrain` share: where and how long they run, and what they end with."""

import argparse
import logging
import os
import sys
from collections.abc import Callable
from pathlib import Path

import torch
import transformers.utils.logging
from safetensors import SafetensorError

from schemas.exits import BAD_INPUT, DONE, FAILURES, INTERRUPTED, check_output
from schemas.run import RunError
from trainer import dist
from trainer.checkpoint import CheckpointError
from trainer.dist import TIMEOUT_S, RanksError, SaidByFirst
from trainer.logs import loss_table
from trainer.loop import MODEL_NAME, Ending, TrainOptions

_CODES = {Ending.DONE: DONE, Ending.LOST: FAILURES, Ending.INTERRUPTED: INTERRUPTED}


def options_from(arguments: argparse.Namespace) -> TrainOptions:
    """Raises ValueError."""
    check_output(arguments.output)
    return TrainOptions(
        data=tuple(arguments.data),
        output=Path(arguments.output),
        steps=arguments.steps,
        fork=arguments.fork,
        device=arguments.device,
        timeout_s=TIMEOUT_S if arguments.timeout is None else arguments.timeout,
        skip_nonfinite=arguments.skip_nonfinite,
        workers=arguments.workers,
        checkpoint_every=arguments.checkpoint_every,
        keep=arguments.keep,
        validate_every=arguments.validate_every,
        log_every=arguments.log_every,
        tracker=arguments.tracker,
    )


def start_logging() -> None:
    """Lines on stderr, and those of this project alone."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", stream=sys.stderr)
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    for name in ("transformers", "httpx", "huggingface_hub"):
        logging.getLogger(name).setLevel(logging.ERROR)
    transformers.utils.logging.disable_progress_bar()  # type: ignore[no-untyped-call]


def show(ending: Ending, options: TrainOptions, what: str) -> None:
    """On stdout, how the loss fell and where the model lies."""
    if ending == Ending.DONE and dist.is_first():
        sys.stdout.write(f"{loss_table(options.output)}\n{what}: {options.output / MODEL_NAME}\n")


def exit_code(command: str, run: Callable[[], Ending]) -> int:
    """What a training ends with; where it cannot begin or go on, one line says why."""
    try:
        return _CODES[run()]
    except (ValueError, RunError) as error:
        if dist.is_first() or not isinstance(error, SaidByFirst):
            sys.stderr.write(f"{command}: {error}\n")
        return BAD_INPUT
    except torch.OutOfMemoryError as error:
        # Torch says first how much was asked for and is there, and then advises on its own settings.
        reason = ". ".join(str(error).split(". ")[:2])
        sys.stderr.write(
            f"{command}: {reason}. Less is taken with a smaller --audio_chunk or --set compute.text_tokens, or with "
            "--set compute.gradient_checkpointing=true; a run that has begun goes on with them\n"
        )
        return BAD_INPUT
    except (CheckpointError, RanksError) as error:
        sys.stderr.write(f"{command}: {error}\n")
        return INTERRUPTED
    except (OSError, SafetensorError) as error:  # a full disk, mostly
        sys.stderr.write(f"{command}: {error}; the same command goes on from the last checkpoint\n")
        return INTERRUPTED
    except KeyboardInterrupt:  # before the first step or after the last
        sys.stderr.write(f"{command}: interrupted; run the same command again\n")
        return INTERRUPTED
