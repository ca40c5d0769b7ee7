"""The losses against a plain numpy version that is written from the formula, in every way they can be computed."""

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from trainer.loss import LossConfig, chance_loss, contrastive_loss

pytestmark = pytest.mark.slow

Array = NDArray[np.float64]


def unit_rows(rows: int, columns: int, seed: int) -> Array:
    values = np.random.default_rng(seed).normal(size=(rows, columns))
    return np.asarray(values / np.linalg.norm(values, axis=1, keepdims=True), np.float64)


def formula_mulan(audio: Array, text: Array, tau: float, names: list[int] | None = None) -> float:
    """The paper's formula, term by term; pairs whose text has the same name are left out where names are given."""
    total = 0.0
    for i in range(len(audio)):
        below = 0.0
        for j in range(len(audio)):
            if j != i and (names is None or names[j] != names[i]):
                below += math.exp(audio[i] @ text[j] / tau) + math.exp(audio[j] @ text[i] / tau)
        total += -math.log(math.exp(audio[i] @ text[i] / tau) / below)
    return total / len(audio)


def gradient_mulan(audio: Array, text: Array, tau: float) -> tuple[Array, Array, float]:
    """Derived by hand: dL/dS = −I + P, where P_ij is the share of h(x_i, t_j) in the denominators of i and of j."""
    scores = audio @ text.T / tau
    h = np.exp(scores)
    np.fill_diagonal(h, 0.0)
    below = h.sum(axis=1) + h.sum(axis=0)
    d_scores = (h / below[:, None] + h / below[None, :] - np.eye(len(audio))) / len(audio)
    return d_scores @ text / tau, d_scores.T @ audio / tau, float(-(d_scores * scores).sum())  # d/d(log tau)


def formula_clip(audio: Array, text: Array, tau: float, names: list[int] | None = None) -> float:
    """Pairs whose text has the same name are left out where names are given; a pair is always among its own."""
    scores = audio @ text.T / tau
    if names is not None:
        same = np.equal.outer(names, names) & ~np.eye(len(names), dtype=bool)
        scores[same] = -np.inf
    rows = np.log(np.exp(scores).sum(axis=1)) - np.diag(scores)
    columns = np.log(np.exp(scores).sum(axis=0)) - np.diag(scores)
    return float((rows + columns).mean() / 2)


def difference(ours: NDArray[np.floating], theirs: Array) -> float:
    return float(np.linalg.norm(np.asarray(ours, np.float64) - theirs) / np.linalg.norm(theirs))


@pytest.mark.parametrize(("dtype", "bar"), [(torch.float64, 1e-10), (torch.float32, 1e-5)])
@pytest.mark.parametrize("block_rows", [5, 12, 1000])
@pytest.mark.parametrize("tau", [0.01, 0.1, 1.0])
def test_mulan_loss_and_gradients_are_the_formula(dtype: torch.dtype, bar: float, block_rows: int, tau: float) -> None:
    audio, text = unit_rows(24, 16, seed=1), unit_rows(24, 16, seed=2)
    audio_t, text_t = (torch.tensor(z, dtype=dtype, requires_grad=True) for z in (audio, text))
    log_tau = torch.tensor(math.log(tau), dtype=dtype, requires_grad=True)
    result = contrastive_loss(audio_t, text_t, log_tau, torch.arange(24), LossConfig(block_rows=block_rows))
    result.loss.backward()
    d_audio, d_text, d_log_tau = gradient_mulan(audio, text, tau)
    assert abs(result.loss.item() - formula_mulan(audio, text, tau)) <= bar * formula_mulan(audio, text, tau)
    assert audio_t.grad is not None
    assert text_t.grad is not None
    assert log_tau.grad is not None
    assert difference(audio_t.grad.numpy(), d_audio) <= bar
    assert difference(text_t.grad.numpy(), d_text) <= bar
    assert abs(log_tau.grad.item() - d_log_tau) <= bar * abs(d_log_tau)


def test_clip_loss_is_its_formula() -> None:
    audio, text = unit_rows(20, 8, seed=3), unit_rows(20, 8, seed=4)
    result = contrastive_loss(
        torch.tensor(audio),
        torch.tensor(text),
        torch.tensor(math.log(0.07), dtype=torch.float64),
        torch.arange(20),
        LossConfig(kind="clip", block_rows=7),
    )
    assert result.loss.item() == pytest.approx(formula_clip(audio, text, 0.07), rel=1e-12)


@pytest.mark.parametrize("kind", ["mulan", "clip"])
def test_chance_is_where_all_embeddings_are_equal(kind: str) -> None:
    same = torch.ones(64, 4, dtype=torch.float64) / 2
    result = contrastive_loss(
        same, same, torch.tensor(-1.0, dtype=torch.float64), torch.arange(64), LossConfig(kind=kind)
    )
    assert result.loss.item() == pytest.approx(chance_loss(kind, 64), rel=1e-12)
    assert chance_loss("mulan", 64) == math.log(2 * 63)
    assert chance_loss("clip", 64) == math.log(64)


def test_shared_texts_are_counted_and_masked_on_request() -> None:
    audio, text = unit_rows(10, 8, seed=5), unit_rows(10, 8, seed=6)
    names = [0, 1, 2, 0, 3, 4, 5, 6, 0, 7]
    arguments = (
        torch.tensor(audio),
        torch.tensor(text),
        torch.tensor(math.log(0.2), dtype=torch.float64),
        torch.tensor(names),
    )
    plain = contrastive_loss(*arguments, LossConfig(block_rows=3))
    masked = contrastive_loss(*arguments, LossConfig(block_rows=3, mask_shared_texts=True))
    assert plain.shared_text_rate == masked.shared_text_rate == pytest.approx(0.3)
    assert plain.loss.item() == pytest.approx(formula_mulan(audio, text, 0.2), rel=1e-12)
    assert masked.loss.item() == pytest.approx(formula_mulan(audio, text, 0.2, names), rel=1e-12)
    clip = contrastive_loss(*arguments, LossConfig(kind="clip", block_rows=3, mask_shared_texts=True))
    assert clip.loss.item() == pytest.approx(formula_clip(audio, text, 0.2, names), rel=1e-12)


def test_texts_that_two_pairs_share_are_masked_only_on_request() -> None:
    assert not LossConfig().mask_shared_texts


def test_two_pairs_are_the_fewest() -> None:
    audio, text, tau = (
        torch.tensor(unit_rows(2, 8, seed=10)),
        torch.tensor(unit_rows(2, 8, seed=11)),
        torch.tensor(-1.0),
    )
    loss = contrastive_loss(audio, text, tau, torch.arange(2), LossConfig()).loss
    assert loss.item() == pytest.approx(formula_mulan(audio.numpy(), text.numpy(), math.exp(-1)), rel=1e-6)
    with pytest.raises(ValueError, match="at least two pairs"):
        contrastive_loss(audio[:1], text[:1], tau, torch.arange(1), LossConfig())


def test_temperatures_stay_between_their_bounds() -> None:
    """A tenth at first, and never below a hundredth or above one."""
    config = LossConfig()
    assert (config.min_temperature, config.initial_temperature, config.max_temperature) == (0.01, 0.1, 1.0)
    LossConfig(initial_temperature=0.01)
    LossConfig(initial_temperature=1.0)
    for initial, least in ((0.009, 0.01), (1.001, 0.01), (0.5, 0.0), (0.5, -0.1)):
        with pytest.raises(ValueError, match="must lie in"):
            LossConfig(initial_temperature=initial, min_temperature=least)


def test_losses_that_cannot_be_are_refused() -> None:
    assert LossConfig(block_rows=1).block_rows == 1
    with pytest.raises(ValueError, match="must be positive"):
        LossConfig(block_rows=0)
    with pytest.raises(ValueError, match="mulan or clip"):
        LossConfig(kind="triplet")


def test_a_batch_of_one_text_has_no_negatives_when_masked() -> None:
    audio = torch.tensor(unit_rows(4, 8, seed=7), requires_grad=True)
    result = contrastive_loss(
        audio, audio, torch.tensor(-1.0), torch.zeros(4, dtype=torch.int64), LossConfig(mask_shared_texts=True)
    )
    result.loss.backward()
    assert result.loss.item() == 0.0
    assert audio.grad is not None
    assert torch.isfinite(audio.grad).all()


def test_scores_are_float32_under_autocast() -> None:
    audio, text = (torch.tensor(unit_rows(16, 8, seed=s), dtype=torch.float32) for s in (8, 9))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = contrastive_loss(audio, text, torch.tensor(-2.0), torch.arange(16), LossConfig()).loss
    outside = contrastive_loss(audio, text, torch.tensor(-2.0), torch.arange(16), LossConfig()).loss
    assert inside.dtype == torch.float32
    assert inside.item() == outside.item()


def test_memory_grows_with_the_batch_and_not_with_its_square() -> None:
    def saved_bytes(pairs: int) -> int:
        sizes: dict[int, int] = {}

        def note(tensor: torch.Tensor) -> torch.Tensor:
            sizes[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
            return tensor

        audio, text = (torch.randn(pairs, 32, requires_grad=True) for _ in range(2))
        with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
            loss = contrastive_loss(audio, text, torch.tensor(0.0), torch.arange(pairs), LossConfig(block_rows=64)).loss
        del loss
        return sum(sizes.values())

    small, large = saved_bytes(512), saved_bytes(2048)
    assert large < 5 * small  # 16 times where scores were kept


RANKS_SCRIPT = """
import numpy as np, torch
from trainer import dist
from trainer.loss import LossConfig, contrastive_loss
from tests.trainer.test_loss import difference, formula_mulan, gradient_mulan, unit_rows
ranks = dist.start("cpu")
audio, text, tau = unit_rows(24, 16, 1), unit_rows(24, 16, 2), 0.1
mine = slice(12 * ranks.rank, 12 * ranks.rank + 12)
for dtype, bar in ((torch.float64, 1e-10), (torch.float32, 1e-5)):
    a, t = (torch.tensor(z[mine], dtype=dtype, requires_grad=True) for z in (audio, text))
    log_tau = torch.nn.Parameter(torch.tensor(np.log(tau), dtype=dtype))
    loss = contrastive_loss(a, t, log_tau, torch.arange(24)[mine], LossConfig(block_rows=5)).loss
    loss.backward()
    dist.GradientSum([log_tau]).finish()
    da, dt, dtau = gradient_mulan(audio, text, tau)
    whole = dist.sum_over_ranks(loss.detach().clone()).item()
    assert abs(whole / formula_mulan(audio, text, tau) - 1) <= bar
    assert difference(a.grad.numpy(), da[mine]) <= bar and difference(t.grad.numpy(), dt[mine]) <= bar
    assert abs(log_tau.grad.item() / dtau - 1) <= bar
dist.stop()
"""


def test_two_processes_equal_the_formula(torchrun: Callable[[str], None]) -> None:
    """Loss, gradients through the gather, and the gradient of τ: two gloo ranks against the formula."""
    torchrun(RANKS_SCRIPT)
