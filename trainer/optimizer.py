"""The optimizer of a recipe: Adam under the paper's steps of the learning rate, and what is asked for beside them.

A tower may learn at a rate of its own or stay as it is, and weight decay spares biases, norms and the temperature, so
parameters go to the optimizer in groups; where nothing of that is asked for, there is one.
"""

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

SCHEDULES = ("step", "cosine", "constant")
LOCKABLE = ("audio", "audio.body", "text", "text.body")


@dataclass(frozen=True, kw_only=True)
class OptimizerConfig:
    """Adam, or AdamW where `weight_decay` is positive; gradients are clipped to a norm.

    The learning rate rises over `warmup_steps`; by the schedule `step` (the paper's) it falls to `decay` of itself
    every `decay_every_steps`, by `cosine` to nothing at the last step. `audio_rate` and `text_rate` multiply that of a
    tower. `locked` parts keep their weights and batch norm's statistics, without dropout: a tower, or its body alone.
    """

    learning_rate: float = 5e-5
    schedule: str = "step"
    warmup_steps: int = 0
    decay: float = 0.9
    decay_every_steps: int = 40_000
    clip_norm: float = 1.0
    beta1: float = 0.9
    beta2: float = 0.999
    weight_decay: float = 0.0
    audio_rate: float = 1.0
    text_rate: float = 1.0
    locked: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.learning_rate <= 0 or self.clip_norm <= 0 or self.decay_every_steps < 1 or not 0 < self.decay <= 1:
            raise ValueError("learning rate, clip norm and decay must be positive (decay at most 1)")
        if self.schedule not in SCHEDULES:
            raise ValueError(f"schedule is {self.schedule!r}; it may be {', '.join(SCHEDULES)}")
        if self.warmup_steps < 0 or self.weight_decay < 0:
            raise ValueError("warmup_steps and weight_decay may not be negative")
        if min(self.audio_rate, self.text_rate) <= 0:
            raise ValueError("audio_rate and text_rate must be positive; what is not to learn is locked")
        if unknown := sorted(set(self.locked) - set(LOCKABLE)):
            raise ValueError(f"{unknown[0]!r} cannot be locked; these can: {', '.join(LOCKABLE)}")

    def rate(self, step: int, steps: int) -> float:
        """Of a step, of so many in all."""
        rise = min(1.0, (step + 1) / self.warmup_steps) if self.warmup_steps else 1.0
        return self.learning_rate * rise * self._fallen(step, steps)

    def _fallen(self, step: int, steps: int) -> float:
        if self.schedule == "step":
            return self.decay ** (step // self.decay_every_steps)
        if self.schedule == "constant":
            return 1.0
        done = max(0, step - self.warmup_steps) / max(1, steps - self.warmup_steps)
        return 0.5 * (1 + math.cos(math.pi * min(1.0, done)))

    def tower_rate(self, name: str) -> float:
        """What multiplies the learning rate of a parameter of this name."""
        return {"audio": self.audio_rate, "text": self.text_rate}.get(name.split(".")[0], 1.0)


def optimizer_of(module: nn.Module, config: OptimizerConfig) -> torch.optim.Adam:
    """For all of a module that learns; `factor` of a group multiplies the learning rate."""
    groups: dict[tuple[float, bool], dict[str, Any]] = {}
    for name, parameter in module.named_parameters():
        if parameter.requires_grad:
            # Biases, norms and the temperature have no more than one dimension.
            factor, decays = config.tower_rate(name), config.weight_decay > 0 and parameter.dim() > 1
            new = {"params": [], "factor": factor, "weight_decay": config.weight_decay if decays else 0.0}
            groups.setdefault((factor, decays), new)["params"].append((name, parameter))
    kind = torch.optim.AdamW if config.weight_decay else torch.optim.Adam
    return kind(list(groups.values()), lr=config.learning_rate, betas=(config.beta1, config.beta2), fused=True)


def named_parameters(optimizer: torch.optim.Optimizer) -> dict[str, torch.nn.Parameter]:
    """Those that it moves, by name."""
    return {
        name: parameter
        for group in optimizer.param_groups
        for name, parameter in zip(group["param_names"], group["params"], strict=True)
    }
