"""Batch norm whose statistics come from ghost batches of a stated size.

Plain batch norm sees whatever happens to be in one forward pass, so its result would depend on how a mini-batch is
cut into chunks and spread over ranks. Here each run of `ghost_size` examples is normalised by its own statistics;
chunks and ranks hold whole ghost batches, so neither changes anything. The running statistics take one step per
training step, with the mean over all ghost batches of the global mini-batch.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from trainer import dist


class GhostBatchNorm2d(nn.BatchNorm2d):
    """State and evaluation are those of `nn.BatchNorm2d`, so checkpoints of the ecosystem load."""

    ghost_size: int
    frozen: bool
    recording: bool

    def __init__(self, features: int, *, ghost_size: int, frozen: bool = False) -> None:
        super().__init__(features)
        self.ghost_size, self.frozen, self.recording = ghost_size, frozen, False
        self._forget()

    def forward(self, input: Tensor) -> Tensor:
        if self.frozen or not self.training:
            return functional.batch_norm(
                input, self.running_mean, self.running_var, self.weight, self.bias, training=False, eps=self.eps
            )
        ghosts = [self._normalise(ghost) for ghost in input.split(self.ghost_size)]
        return ghosts[0] if len(ghosts) == 1 else torch.cat(ghosts)

    def _normalise(self, ghost: Tensor) -> Tensor:
        # With a momentum of 1, the "running" statistics that come back are those of this ghost batch.
        mean = torch.zeros(self.num_features, dtype=self.weight.dtype, device=ghost.device)
        variance = torch.ones_like(mean)
        result = functional.batch_norm(
            ghost, mean, variance, self.weight, self.bias, training=True, momentum=1.0, eps=self.eps
        )
        if self.recording:
            self._sums[0] += mean
            self._sums[1] += variance
            self._ghosts += 1.0
        return result

    def _forget(self) -> None:
        self._sums = torch.zeros(2, self.num_features, dtype=self.weight.dtype, device=self.weight.device)
        self._ghosts = torch.zeros((), device=self.weight.device)

    @torch.no_grad()
    def _take_step(self, sums: Tensor, ghosts: Tensor) -> None:
        momentum = self.momentum if self.momentum is not None else 0.1
        assert self.running_mean is not None
        assert self.running_var is not None
        self.running_mean.lerp_(sums[0] / ghosts, momentum)
        self.running_var.lerp_(sums[1] / ghosts, momentum)


def use_ghost_batches(module: nn.Module, ghost_size: int, *, frozen: bool) -> None:
    """Replace every `nn.BatchNorm2d` below `module`, keeping its parameters and statistics."""
    for name, child in module.named_children():
        if type(child) is nn.BatchNorm2d:
            ghost = GhostBatchNorm2d(child.num_features, ghost_size=ghost_size, frozen=frozen)
            ghost.eps, ghost.momentum = child.eps, child.momentum
            ghost.load_state_dict(child.state_dict())
            setattr(module, name, ghost)
        else:
            use_ghost_batches(child, ghost_size, frozen=frozen)


class recorded:
    """Within it, forward passes add to the step's statistics; on leaving, all layers take one step together."""

    def __init__(self, module: nn.Module) -> None:
        self._layers = [m for m in module.modules() if isinstance(m, GhostBatchNorm2d) and m.training and not m.frozen]

    def record(self, on: bool) -> None:
        """Switched on for one of GradCache's two passes, and off where gradient checkpointing repeats a forward pass in
        the backward one, so that nothing is counted twice."""
        for layer in self._layers:
            layer.recording = on

    def __enter__(self) -> "recorded":
        for layer in self._layers:
            layer._forget()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self.record(False)
        if kind is not None or not self._layers:
            return
        flat = torch.cat([layer._sums.flatten() for layer in self._layers])
        dist.sum_over_ranks(flat)
        ghosts = dist.sum_over_ranks(self._layers[0]._ghosts)
        sizes = [layer._sums.numel() for layer in self._layers]
        for layer, sums in zip(self._layers, flat.split(sizes), strict=True):
            layer._take_step(sums.view(2, -1), ghosts)
