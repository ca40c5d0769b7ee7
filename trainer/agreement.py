"""What the ranks of a training have in common, or else all stop, before the first step.

The first rank alone reads the folder that a run is kept in: what it finds (`from_first`) and what it has loaded
(`spread`) goes to the others, so that ranks without its disk go on from the same step. What each finds by itself is
compared (`agree`). Texts and tensors travel, nothing is pickled.
"""

import hashlib
import json
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from schemas.digest import canonical_json, digest_json
from trainer import dist
from trainer.checkpoint import optimizer_tensors, placed
from trainer.optimizer import named_parameters
from trainer.settings import differences

_SHOWN = 120  # characters of a value


def from_first(make: Callable[[], Any]) -> Any:
    """What the first rank makes, as plain JSON, on every rank; all ranks have to ask. Its RunError or ValueError ends
    all."""
    return json.loads(dist.from_first(lambda: canonical_json(make()).encode()))


def agree(facts: Mapping[str, Any]) -> None:
    """Raises SaidByFirst, which names the first rank that has something else, and what; all ranks have to ask."""
    first, *others = (json.loads(text) for text in dist.gather_texts(canonical_json(dict(facts))))
    for rank, other in enumerate(others, 1):
        for name, here, there in differences(first, other):
            raise dist.SaidByFirst(
                f"rank {rank} differs from rank 0 in {name}: it has {_short(there)}, rank 0 has {_short(here)}; start "
                "all ranks by the same command, on the same data and with the same versions"
            )


def spread(module: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    """The first rank's weights, buffers and optimizer on every rank; all ranks have to ask."""
    if dist.rank_count() == 1:
        return
    agree({"the model": {name: list(value.shape) for name, value in module.state_dict().items()}})
    parameters = named_parameters(optimizer)
    shapes = from_first(
        lambda: {
            name: {k: [list(v.shape), str(v.dtype).split(".")[1]] for k, v in optimizer.state[parameter].items()}
            for name, parameter in parameters.items()
            if parameter in optimizer.state
        }
    )
    for name, kinds in shapes.items():
        state = optimizer.state[parameters[name]]
        for kind, (shape, dtype) in kinds.items():
            state.setdefault(kind, placed(torch.zeros(shape, dtype=getattr(torch, dtype)), parameters[name]))
    dist.broadcast([*module.parameters(), *module.buffers(), *optimizer_tensors(optimizer).values()])


def agree_on_start(step: int, module: nn.Module, optimizer: torch.optim.Optimizer, batches: Any) -> None:
    """That all ranks go on after the same step, from the same numbers; `batches` is the state of the data."""
    if dist.rank_count() > 1:
        weights = {"weights": digest(module.state_dict()), "optimizer": digest(optimizer_tensors(optimizer))}
        # Megabytes, where there are many lanes.
        state = digest_json([batches])
        agree({"the step to go on after": step, "the state of the batches": state, **weights})


def digest(tensors: Mapping[str, Tensor]) -> str:
    """Of names, shapes and numbers."""
    found = hashlib.blake2b(digest_size=16)
    for name, value in sorted(tensors.items()):
        found.update(f"{name} {list(value.shape)} {value.dtype} ".encode())
        found.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return found.hexdigest()


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]} …"
