"""Where a rank computes, and how: `cpu`, `cuda` (each rank of a machine its own GPU), `cuda:1` (a rank that is alone),
`mps`."""

import logging
import os

import torch

from schemas.fastest import bfloat16_is_faster

log = logging.getLogger(__name__)

_TOWER_WIDTH = 768  # of BERT-base and M-AST


def device_of(name: str) -> torch.device:
    """That of this process, by the ranks that `torchrun` says there are. Raises ValueError, one line."""
    try:
        asked = torch.device(name)
    except RuntimeError:
        asked = torch.device("meta")
    if asked.type not in ("cpu", "cuda", "mps") or (asked.type != "cuda" and asked.index is not None):
        raise ValueError(f"device {name!r}: it may be cpu, cuda, cuda:N or mps")
    several = int(os.environ.get("WORLD_SIZE", "1")) > 1
    if asked.type == "mps" and (several or not torch.backends.mps.is_available()):
        raise ValueError("device mps: it takes one rank alone" if several else "device mps: this machine has none")
    if asked.type != "cuda":
        return asked
    if several and asked.index is not None:
        raise ValueError(f"device {name}: ranks cannot share one GPU; give cuda, and each takes its own")
    index, there = (
        int(os.environ.get("LOCAL_RANK", "0")) if asked.index is None else asked.index,
        torch.cuda.device_count(),
    )
    if index >= there:
        advice = f"; start at most {there} ranks on it" if there and asked.index is None else ""
        raise ValueError(f"device {name}: this machine has {there} GPUs, and number {index} is asked for{advice}")
    return torch.device("cuda", index)


def prepare(device: torch.device, precision: str) -> None:
    """On a GPU, the fastest convolutions are tried out, and float32 is float32 unless `precision` is tf32.

    bfloat16 leaves log-mel and loss in float32, which rounded products would change and hardly speed up; so it does not
    bring TF32 along. Elsewhere nothing is set; on a CPU that is slower in bfloat16 a line says so.
    """
    if device.type == "cpu" and precision == "bfloat16" and not bfloat16_is_faster(_TOWER_WIDTH):
        log.warning("bfloat16 is slower than float32 on this CPU: with --precision float32 the run is faster")
    if device.type != "cuda":
        return
    torch.backends.cudnn.benchmark = True
    rounded = precision == "tf32"
    torch.backends.cuda.matmul.allow_tf32 = rounded
    torch.backends.cudnn.allow_tf32 = rounded  # torch would round convolutions by default
