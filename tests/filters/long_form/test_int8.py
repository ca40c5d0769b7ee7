"""Int8 products: both kernels have the sums of whole numbers, and the slow or the wrong one is not chosen."""

import pytest
import torch
from torch import Tensor

from filters.long_form import int8
from filters.long_form.int8 import EXACT_INNER, MAX_INT8, Kernel, fastest_kernel, product

INNER = (1, 7, 64, EXACT_INNER - 1, EXACT_INNER, EXACT_INNER + 1, 2 * EXACT_INNER, 2_500, 3_072)


def exact(x_NK: Tensor, weight_MK: Tensor) -> Tensor:
    return (x_NK.long() @ weight_MK.long().t()).to(torch.float32)


def extremes(rows: int, inner: int) -> Tensor:
    """Sums as large as they can be and, beside them, ones that all but cancel."""
    value = torch.full((rows, inner), MAX_INT8)
    value[1::2, ::2] = -MAX_INT8
    value[2::3] *= -1
    return value


@pytest.fixture(autouse=True)
def _choose_anew() -> None:
    fastest_kernel.cache_clear()


@pytest.mark.parametrize("inner", INNER)
@pytest.mark.parametrize(("tokens", "outputs"), [(1, 1), (3, 5), (32, 24)])
def test_sums_are_exact(tokens: int, inner: int, outputs: int) -> None:
    generator = torch.Generator().manual_seed(inner)
    limits = (-MAX_INT8, MAX_INT8 + 1)
    for x_NK, weight_MK in (
        (extremes(tokens, inner), extremes(outputs, inner)),
        (torch.full((tokens, inner), MAX_INT8), torch.full((outputs, inner), -MAX_INT8)),
        tuple(torch.randint(*limits, (rows, inner), generator=generator) for rows in (tokens, outputs)),
        # Weights as a model has them: few are large, so that the float kernel takes them in one piece.
        (extremes(tokens, inner), (torch.randn((outputs, inner), generator=generator) * 20).clamp(*limits)),
    ):
        found_NM = product(weight_MK.to(torch.int8), Kernel.FLOAT)(x_NK.to(torch.float32), torch.ones(tokens, 1))
        assert found_NM.dtype == torch.float32
        assert torch.equal(found_NM, exact(x_NK, weight_MK.to(torch.int8)))


@pytest.mark.parametrize("inner", INNER)
def test_both_kernels_round_alike(inner: int) -> None:
    """A half to its even neighbour. The weights are small, since a library's kernel may be wrong here on large ones."""
    generator = torch.Generator().manual_seed(inner)
    x_NK = torch.randn((40, inner), generator=generator)
    x_NK[:8] = torch.arange(inner) % 254 - 127 + 0.5
    x_NK[:8, -1] = MAX_INT8
    scale_N1 = torch.where(torch.arange(40) < 8, 1.0, x_NK.abs().amax(1) / MAX_INT8)[:, None]
    weight_MK = torch.randint(-2, 3, (24, inner), generator=generator, dtype=torch.int8)
    by_integers_NM, by_floats_NM = (product(weight_MK, kernel)(x_NK, scale_N1) for kernel in Kernel)
    assert torch.equal(by_integers_NM, by_floats_NM)
    assert torch.equal(by_floats_NM, exact(x_NK.div(scale_N1).round(), weight_MK))


def test_a_sum_just_above_what_float32_holds_is_not_rounded_before_its_end() -> None:
    """In one piece 2²⁴ + 1 would become 2²⁴ on the way, and stay there."""
    inner = 2 * EXACT_INNER
    x_NK = torch.full((1, inner), MAX_INT8)
    weight_MK = torch.full((1, inner), MAX_INT8)
    weight_MK[0, EXACT_INNER + 200 :] = -1
    found_NM = product(weight_MK.to(torch.int8), Kernel.FLOAT)(x_NK.to(torch.float32), torch.ones(1, 1))
    assert torch.equal(found_NM, exact(x_NK, weight_MK))


def test_where_integers_are_slow_or_torch_has_no_kernel_for_them_float32_is_taken(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    plain = int8.product

    def slow(weight_MK: Tensor, kernel: Kernel) -> int8.Product:
        run = plain(weight_MK, Kernel.FLOAT)
        rounds = 20 if kernel is Kernel.INTEGER else 1
        return lambda x_NK, scale_N1: [run(x_NK, scale_N1) for _ in range(rounds)][-1]

    monkeypatch.setattr(int8, "product", slow)
    assert fastest_kernel(256, 512) is Kernel.FLOAT
    fastest_kernel.cache_clear()
    monkeypatch.setattr(int8, "product", plain)

    def missing(weight_MK: Tensor) -> int8.Product:
        raise NotImplementedError("Could not run 'onednn::qlinear_prepack'")

    monkeypatch.setattr(int8, "_by_integers", missing)
    assert fastest_kernel(256, 512) is Kernel.FLOAT


def test_a_kernel_whose_sums_overflow_is_not_taken_however_fast(monkeypatch: pytest.MonkeyPatch) -> None:
    """What oneDNN does with AVX2 and with AVX-512 before VNNI: pairs of products added in 16 bits."""
    plain = int8.product

    def overflowing(weight_MK: Tensor, kernel: Kernel) -> int8.Product:
        run = plain(weight_MK, Kernel.FLOAT)
        if kernel is Kernel.FLOAT:
            return run
        return lambda x_NK, scale_N1: run(x_NK, scale_N1).clamp(-(2**15), 2**15 - 1)

    monkeypatch.setattr(int8, "product", overflowing)
    monkeypatch.setattr(int8, "fastest", lambda ways: Kernel.INTEGER)
    assert fastest_kernel(64, 128) is Kernel.FLOAT
    fastest_kernel.cache_clear()
    monkeypatch.setattr(int8, "product", lambda weight_MK, kernel: plain(weight_MK, Kernel.FLOAT))
    assert fastest_kernel(64, 128) is Kernel.INTEGER
