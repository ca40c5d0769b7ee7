"""Losses that are no number any more: a training stops before they get into its weights, and says so in JSON."""

import math
from collections.abc import Mapping
from pathlib import Path

import torch

from trainer import dist


def as_json(value: float | None) -> float | None:
    """JSON has neither NaN nor infinity: both become null."""
    return value if value is None or math.isfinite(value) else None


def is_lost(values: Mapping[str, float | None], device: torch.device) -> bool:
    """Whether loss or gradient norm of a step is not finite on any rank; all ranks have to ask."""
    numbers = [values["loss"], values["gradient_norm"]]
    return dist.any_rank(not all(n is not None and math.isfinite(n) for n in numbers), device)


@torch.no_grad()
def has_lost_weights(model: torch.nn.Module, device: torch.device) -> bool:
    """Whether a weight or a running statistic is not finite on any rank; all ranks have to ask."""
    tensors = (value for value in model.state_dict().values() if value.is_floating_point())
    return dist.any_rank(not all(bool(value.isfinite().all()) for value in tensors), device)


def what_to_do(last: Path | None) -> str:
    """The end of the line that such a run ends with."""
    good = f"{last} is the last good checkpoint" if last is not None else "there is no checkpoint yet"
    return (
        f"{good}; go on from it with --precision float32 where it was bfloat16, or begin anew in another --output with "
        "a lower --learning_rate"
    )
