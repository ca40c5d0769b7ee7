"""Products of int8 matrices as exact integer sums, by two kernels whose results are equal to the bit.

`torch._int_mm` is several times as fast as float32 where a processor has instructions for it and hundreds of times
slower where torch has no kernel; and where oneDNN has one for AVX2 or AVX-512 without VNNI, that adds pairs of products
in 16 bits, which overflow, and its sums are wrong. The other kernel is a product of float32 matrices that hold the same
whole numbers: as long as no sum can pass 2²⁴ it is exact in whatever order it is made, also where a library rounds its
operands to bfloat16 (on some ARM), since 127 needs seven bits. `fastest_kernel` tries and times both.

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

Product = Callable[[Tensor], Tensor]


class Kernel(StrEnum):
    INTEGER = "integer"
    FLOAT = "float"


def product(weight_MK: Tensor, kernel: Kernel) -> Product:
    """x_NK, whole numbers within ±127 in float32, to x_NK · weight_MKᵀ in float32; `weight_MK` is int8.

    The sums are exact and rounded once, where they are above 2²⁴.
    """
    if kernel is Kernel.INTEGER:
        weight_KM = weight_MK.t().contiguous()
        return lambda x_NK: torch._int_mm(x_NK.to(torch.int8), weight_KM).to(torch.float32)
    floats_MK = weight_MK.to(torch.float32)
    # No sum of a channel, nor of a part of it, is above 127 times its absolute weights.
    if MAX_INT8 * float(floats_MK.abs().sum(1).max()) < _EXACT_BELOW:
        return lambda x_NK: functional.linear(x_NK, floats_MK)
    return lambda x_NK: _in_parts(x_NK, floats_MK)


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
        ways = _ways(hidden, hidden)
        if fastest(ways) is Kernel.INTEGER and _agree(ways) and _agree(_ways(hidden, inner)):
            return Kernel.INTEGER
    return Kernel.FLOAT


def _ways(outputs: int, inner: int) -> dict[Kernel, Callable[[], Tensor]]:
    """Each kernel on the largest numbers there are, of random signs and, in one channel and one token, of the same."""
    generator = torch.Generator().manual_seed(0)
    weight_MK, x_NK = (
        torch.randint(0, 2, (rows, inner), generator=generator, dtype=torch.float32).sub_(0.5).mul_(2 * MAX_INT8)
        for rows in (outputs, _TRIED_TOKENS)
    )
    weight_MK[0] = x_NK[0] = MAX_INT8
    products = {kernel: product(weight_MK.to(torch.int8), kernel) for kernel in Kernel}
    return {kernel: partial(run, x_NK) for kernel, run in products.items()}


def _agree(ways: dict[Kernel, Callable[[], Tensor]]) -> bool:
    return torch.equal(ways[Kernel.INTEGER](), ways[Kernel.FLOAT]())
