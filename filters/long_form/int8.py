"""Products of int8 matrices as exact integer sums, by two kernels whose results are equal to the bit.

oneDNN's product of integers, whose weights it orders once for the processor's instructions, is several times as fast as
float32 with VNNI or AMX. Without, on AVX2 and AVX-512, it adds pairs of products in 16 bits, which overflow, and its
sums are wrong. The other kernel is a product of float32 matrices that hold the same whole numbers: as long as no sum
can pass 2²⁴ it is exact in whatever order it is made, also where a library rounds its operands to bfloat16 (on some
ARM), since 127 needs seven bits. `fastest_kernel` tries and times both.

Shapes: N tokens, K inner, M output channels.
"""

from collections.abc import Callable
from enum import StrEnum
from functools import cache, partial

import torch
from torch import Tensor
from torch.nn import functional

from schemas.fastest import fastest

MAX_INT8 = 127
# The longest inner dimension whose sums stay below 2²⁴ whatever the numbers: 127² · 1,024 < 2²⁴.
EXACT_INNER = 1_024
_EXACT_BELOW = 2**24
# Tokens of a trial: enough for a kernel's own speed, few enough for a missing kernel to show in two tenths of a second.
_TRIED_TOKENS = 64

# Added to a number within ±2²², it leaves that number rounded to a whole one, in two's complement, in the lowest bits.
_ROUNDING = 1.5 * 2**23

Product = Callable[[Tensor, Tensor], Tensor]


class Kernel(StrEnum):
    INTEGER = "integer"
    FLOAT = "float"


def product(weight_MK: Tensor, kernel: Kernel) -> Product:
    """x_NK and scale_N1 to round(x_NK / scale_N1), all within ±127, · weight_MKᵀ in float32; `weight_MK` is int8.

    The sums are exact and rounded once, where they are above 2²⁴.
    """
    if kernel is Kernel.INTEGER:
        return _by_integers(weight_MK)
    floats_MK = weight_MK.to(torch.float32)
    # No sum of a channel, nor of a part of it, is above 127 times its absolute weights.
    if MAX_INT8 * float(floats_MK.abs().sum(1).max()) < _EXACT_BELOW:
        return lambda x_NK, scale_N1: functional.linear(x_NK.div(scale_N1).round_(), floats_MK)
    return lambda x_NK, scale_N1: _in_parts(x_NK.div(scale_N1).round_(), floats_MK)


def _by_integers(weight_MK: Tensor) -> Product:
    outputs, inner = weight_MK.shape
    packed = torch.ops.onednn.qlinear_prepack(weight_MK, None)
    ones_M, zeros_M = torch.ones(outputs), torch.zeros(outputs, dtype=torch.int32)
    rounding_K = torch.full((inner,), _ROUNDING)

    def run(x_NK: Tensor, scale_N1: Tensor) -> Tensor:
        bits_NK = torch.addcdiv(rounding_K, x_NK, scale_N1).view(torch.int32)
        sums_NM: Tensor = torch.ops.onednn.qlinear_pointwise(
            bits_NK.to(torch.int8), 1.0, 0, packed, ones_M, zeros_M, None, 1.0, 0, torch.float32, "none", [], ""
        )
        return sums_NM

    return run


def _in_parts(x_NK: Tensor, weight_MK: Tensor) -> Tensor:
    parts = zip(x_NK.split(EXACT_INNER, 1), weight_MK.split(EXACT_INNER, 1), strict=True)
    sums_NM = functional.linear(*next(parts)).to(torch.int32)
    for x_NP, weight_MP in parts:
        sums_NM += functional.linear(x_NP, weight_MP).to(torch.int32)
    return sums_NM.to(torch.float32)


@cache
def fastest_kernel(hidden: int, inner: int) -> Kernel:
    """The one to use in this process for an encoder of this width, `inner` in its feed-forward layers."""
    with torch.inference_mode():
        try:
            if fastest(_ways(hidden, hidden)) is Kernel.INTEGER and integers_are_right(hidden, inner):
                return Kernel.INTEGER
        except (AttributeError, RuntimeError):
            pass  # A torch without this product of integers, or without one for this processor.
    return Kernel.FLOAT


def integers_are_right(hidden: int, inner: int) -> bool:
    """Whether the integer kernel of this processor has the sums of the float kernel at such widths."""
    return _agree(_ways(hidden, hidden)) and _agree(_ways(hidden, inner))


def _ways(outputs: int, inner: int) -> dict[Kernel, Callable[[], Tensor]]:
    """Each kernel on the largest numbers there are, of random signs and, in one channel and one token, of the same."""
    generator = torch.Generator().manual_seed(0)
    weight_MK, x_NK = (
        torch.randint(0, 2, (rows, inner), generator=generator, dtype=torch.float32).sub_(0.5).mul_(2 * MAX_INT8)
        for rows in (outputs, _TRIED_TOKENS)
    )
    weight_MK[0] = x_NK[0] = MAX_INT8
    products = {kernel: product(weight_MK.to(torch.int8), kernel) for kernel in Kernel}
    return {kernel: partial(run, x_NK, torch.ones(_TRIED_TOKENS, 1)) for kernel, run in products.items()}


def _agree(ways: dict[Kernel, Callable[[], Tensor]]) -> bool:
    return torch.equal(ways[Kernel.INTEGER](), ways[Kernel.FLOAT]())
