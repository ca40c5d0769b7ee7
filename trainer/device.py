"""How the device computes: set once, before anything is built, the same for training and for what measures it."""

import torch

from trainer.recipes import ComputeConfig


def prepare(device: torch.device, compute: ComputeConfig) -> None:
    """On a GPU, the fastest convolutions are tried out, and float32 is float32 unless `precision` is tf32.

    bfloat16 leaves log-mel and loss in float32, which rounded products would change and hardly speed up; so it does not
    bring TF32 along. Elsewhere nothing is set.
    """
    if device.type != "cuda":
        return
    torch.backends.cudnn.benchmark = True
    rounded = compute.precision == "tf32"
    torch.backends.cuda.matmul.allow_tf32 = rounded
    torch.backends.cudnn.allow_tf32 = rounded  # torch would round convolutions by default


def pins(device: torch.device) -> bool:
    """Whether what is read goes to pinned memory, from which a copy to the device waits for nothing."""
    return device.type == "cuda"
