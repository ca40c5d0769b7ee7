"""Checkpoints: a model folder with the optimizer and the state of the run beside it, as safetensors and JSON.

A checkpoint is written under another name and renamed when it is whole, so a folder named `step-…` can be trusted; the
last K are kept, and one that cannot be written leaves nothing behind. Nothing is pickled, so reading one runs no code.
"""

import json
import logging
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from trainer.optimizer import named_parameters

log = logging.getLogger(__name__)

STATE_NAME, WEIGHTS_NAME, OPTIMIZER_NAME = "state.json", "model.safetensors", "optimizer.safetensors"
_PREFIX, _PARTIAL_SUFFIX = "step-", ".tmp"


class CheckpointError(Exception):
    """A checkpoint that cannot be written; the ones before it are whole."""


def step_of(checkpoint: Path) -> int:
    """Of a folder that `checkpoints` names."""
    return int(checkpoint.name.removeprefix(_PREFIX))


def checkpoints(folder: Path) -> list[Path]:
    """Whole checkpoints, oldest first."""
    return sorted(path for path in folder.glob(f"{_PREFIX}*") if path.is_dir() and path.suffix != _PARTIAL_SUFFIX)


@contextmanager
def partial_checkpoint(folder: Path, step: int) -> Iterator[Path]:
    """An empty folder for the model's files of a checkpoint, of which nothing stays unless `save_checkpoint` takes it.

    Raises CheckpointError where a file of it cannot be written.
    """
    for left in folder.glob(f"{_PREFIX}*{_PARTIAL_SUFFIX}"):  # by a kill
        shutil.rmtree(left)
    partial = folder / f"{_PREFIX}{step:08d}{_PARTIAL_SUFFIX}"
    try:
        partial.mkdir(parents=True)
        yield partial
    except (OSError, SafetensorError) as error:
        last = next(reversed(checkpoints(folder)), None)
        kept = f"{last} is whole" if last is not None else "there is none before it"
        raise CheckpointError(
            f"{partial.with_suffix('')}: the checkpoint cannot be written ({error}); {kept}; make room, and the same "
            "command goes on"
        ) from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def save_checkpoint(
    folder: Path, model_files: Path, optimizer: torch.optim.Optimizer, state: dict[str, Any], *, keep: int
) -> Path:
    """`model_files` is a folder of `partial_checkpoint` with the model's files, which becomes the checkpoint; `state`
    must hold `step`."""
    save_file(
        {name: value.contiguous() for name, value in optimizer_tensors(optimizer).items()}, model_files / OPTIMIZER_NAME
    )
    (model_files / STATE_NAME).write_text(json.dumps(state, allow_nan=False), encoding="utf-8")
    for path in model_files.iterdir():
        _sync(path)
    target = folder / f"{_PREFIX}{state['step']:08d}"
    if target.exists():  # the emergency checkpoint of a step that has one
        shutil.rmtree(target)
    model_files.rename(target)
    _sync(folder)
    for old in checkpoints(folder)[:-keep]:
        shutil.rmtree(old)
    return target


def load_checkpoint(path: Path, model: torch.nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    """Put weights and optimizer back; returns the state. Raises ValueError where the files do not fit the model."""
    try:
        model.load_state_dict(load_file(path / WEIGHTS_NAME))
        tensors = load_file(path / OPTIMIZER_NAME)
        state: dict[str, Any] = json.loads((path / STATE_NAME).read_text(encoding="utf-8"))
    except (OSError, RuntimeError, ValueError) as error:
        reason = str(error).strip().splitlines()[0]
        raise ValueError(
            f"{path}: not a checkpoint of this model ({reason}); remove it to go on from an earlier one"
        ) from error
    parameters = named_parameters(optimizer)
    for key, value in tensors.items():
        name, _, kind = key.rpartition(".")
        if (parameter := parameters.get(name)) is not None:  # or it learns no more
            optimizer.state[parameter][kind] = placed(value, parameter)
    return state


def optimizer_tensors(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """All numbers that it keeps of its parameters, by name."""
    return {
        f"{name}.{kind}": value
        for name, parameter in named_parameters(optimizer).items()
        for kind, value in sorted(optimizer.state.get(parameter, {}).items())
    }


def placed(value: Tensor, parameter: Tensor) -> Tensor:
    """A number of the optimizer where its parameter is, and laid out like it."""
    if value.shape == parameter.shape and parameter.dim() == 4:
        # Convolutions of a channels_last model have moments in the same layout.
        return value.to(parameter.device).contiguous(memory_format=torch.channels_last)
    return value.to(parameter.device)


def replace_text(path: Path, content: str) -> None:
    """As `replace_file`."""
    replace_file(path, content.encode())


def replace_file(path: Path, content: bytes) -> None:
    """The file has its old content or the new one, whatever happens meanwhile."""
    partial = path.with_name(f"{path.name}{_PARTIAL_SUFFIX}")
    try:
        with naming(path):
            partial.write_bytes(content)
            partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """A write that fails does not say by itself which file it was."""
    try:
        yield
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from error


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
