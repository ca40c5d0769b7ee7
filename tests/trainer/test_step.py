"""A step's memory and its order: estimates, gradient checkpointing, sums over ranks, dropout; M-AST at full size."""

import argparse
import dataclasses
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from benchmarks import train_gpu
from tests.trainer.test_gradcache import (
    PAIRS,
    batch,
    distance,
    gradients,
    small_model,
    statistics,
)
from trainer.bodies.body import checkpoint_gradients
from trainer.devices import prepare
from trainer.draw import torch_seed
from trainer.estimate import MemoryEstimate, estimate_memory
from trainer.gradcache import StepResult, _seeded, accumulate_gradients
from trainer.live_bytes import LiveBytes
from trainer.loss import LossConfig, contrastive_loss, shared_rate
from trainer.model import Model
from trainer.recipes import ComputeConfig, Recipe, m_ast, tiny
from trainer.tokens import text_chunks
from trainer.towers import AudioTower, MuLan, TextTower

pytestmark = pytest.mark.slow

CPU = torch.device("cpu")


def model_of(recipe: Recipe) -> Model:
    """With random weights of the recipe's shape, and no tokenizer."""
    text = dataclasses.replace(recipe.text, warm_start=None, tokenizer="none")
    towers = MuLan(AudioTower(recipe.audio), TextTower(text), recipe.loss.initial_temperature)
    return Model(towers, None, recipe)  # type: ignore[arg-type]


def real_peak(model: Model, recipe: Recipe, tokens: int, device: torch.device = CPU) -> int:
    """What a step on real tensors holds at its peak."""
    towers, pairs = model.towers.train(), recipe.batch_size
    optimizer = torch.optim.Adam(towers.parameters(), fused=True)
    chunks = text_chunks(
        [[1] * tokens] * pairs,
        budget=recipe.compute.text_tokens,
        bucket=recipe.compute.text_bucket,
        max_tokens=recipe.text.max_tokens,
        pad_id=0,
    )
    wave_RS, ids_R = torch.zeros(pairs, recipe.data.window_samples, dtype=torch.int16), torch.zeros(pairs).long()
    live = LiveBytes(device)
    live.count([*towers.parameters(), *towers.buffers()])
    with live:
        for step in range(2):  # the first makes the optimizer's moments
            optimizer.zero_grad(set_to_none=True)
            accumulate_gradients(
                towers, wave_RS, torch.zeros(pairs, 4).long(), chunks, ids_R, ids_R,
                loss=recipe.loss, compute=recipe.compute, seed=0, step=step,
            )  # fmt: skip
            optimizer.step()
    return live.peak


@pytest.mark.parametrize(("audio_chunk", "text_tokens", "blocks"), [(12, 512, 2), (48, 512, 2), (12, 3072, 12)])
def test_the_estimate_is_the_peak_of_a_real_step(audio_chunk: int, text_tokens: int, blocks: int) -> None:
    """Where the audio tower holds most, where its only chunk is held below the texts', and where texts hold most."""
    recipe = tiny("none")
    compute = dataclasses.replace(recipe.compute, audio_chunk=audio_chunk, text_tokens=text_tokens)
    text = dataclasses.replace(recipe.text, options={**recipe.text.options, "num_hidden_layers": blocks})
    recipe = dataclasses.replace(recipe, compute=compute, text=text)
    model = model_of(recipe)
    state = torch.get_rng_state()
    estimate = estimate_memory(model, recipe, ranks=1, text_tokens=64)
    assert torch.equal(torch.get_rng_state(), state)
    assert all(p.grad is None for p in model.towers.parameters())
    assert estimate.peak == pytest.approx(real_peak(model, recipe, 64), rel=0.1)
    assert estimate.kept == pytest.approx(16 * sum(p.numel() for p in model.towers.parameters()), rel=0.05)


def test_the_estimate_grows_with_the_chunks_and_not_with_the_batch() -> None:
    recipe = tiny("none")

    def peak(audio_chunk: int, batch_size: int = 192, ranks: int = 1) -> MemoryEstimate:
        compute = dataclasses.replace(recipe.compute, audio_chunk=audio_chunk, text_tokens=512)
        changed = dataclasses.replace(recipe, compute=compute, batch_size=batch_size)
        return estimate_memory(model, changed, ranks)

    model = model_of(recipe)
    small, large = peak(12), peak(36)
    assert large.peak - large.kept == pytest.approx(3 * (small.peak - small.kept), rel=0.1)
    assert peak(12, batch_size=384).peak == pytest.approx(small.peak, rel=0.02)
    gradients_in_copies = 4 * sum(p.numel() for p in model.towers.parameters())
    assert peak(12, ranks=2).peak == pytest.approx(small.peak + gradients_in_copies, rel=0.02)


@pytest.mark.parametrize("body", ["resnet", "ast", "auto_waves"])
def test_gradient_checkpointing_changes_no_gradient_and_no_statistic(body: str) -> None:
    found = {}
    for on in (False, True):
        model = small_model(freeze=False, body=body, dropout=0.2)
        if on:
            model.audio.checkpoint_gradients()
            model.text.checkpoint_gradients()
        found[on] = (*gradients(model, audio_chunk=8, text_tokens=72), statistics(model))
    assert found[True][0] == found[False][0]
    assert all(torch.equal(ours, theirs) for ours, theirs in zip(found[True][1], found[False][1], strict=True))
    assert all(torch.equal(ours, theirs) for ours, theirs in zip(found[True][2], found[False][2], strict=True))


def test_gradient_checkpointing_takes_less_memory() -> None:
    recipe = tiny("none")
    model = model_of(recipe)
    plain = estimate_memory(model, recipe, ranks=1)
    model.towers.audio.checkpoint_gradients()
    model.towers.text.checkpoint_gradients()
    assert estimate_memory(model, recipe, ranks=1).peak < 0.9 * plain.peak


def test_a_body_without_gradient_checkpointing_is_refused() -> None:
    class Plain(nn.Module):
        supports_gradient_checkpointing = False

    with pytest.raises(ValueError, match="audio body x: Plain of transformers has no gradient checkpointing"):
        checkpoint_gradients(Plain(), "audio body x")


def test_gradcache_with_dropout_equals_one_plain_pass_with_the_same_masks() -> None:
    """Both towers drop units: one graph over all chunks, each with its seed, is the truth."""
    expected, truth = plain_pass(with_dropout(), CPU)
    loss, ours = gradients(with_dropout(), audio_chunk=8, text_tokens=72)
    assert abs(loss / expected - 1) < 1e-12
    assert distance(ours, truth) < 1e-12
    without, _ = gradients(small_model(freeze=True, body="ast"), audio_chunk=8, text_tokens=72)
    assert abs(loss / without - 1) > 1e-6


def plain_pass(model: MuLan, device: torch.device) -> tuple[float, list[torch.Tensor]]:
    """Loss and gradients of the chunks of `gradients(model, audio_chunk=8, text_tokens=72)` in one graph."""
    wave, masks, tokens = batch()
    chunks = [chunk.to(device) for chunk in text_chunks(tokens, budget=72, bucket=4, max_tokens=24, pad_id=0)]
    audio = []
    for k in range(3):
        rows = slice(8 * k, 8 * k + 8)
        with _seeded(device, torch_seed(0, "dropout", 3, 0, "audio", k)):
            audio.append(model.audio(wave[rows].to(device), masks[rows].to(device)))
    text = torch.empty(PAIRS, 128, dtype=torch.float64, device=device)
    for k, chunk in enumerate(chunks):
        with _seeded(device, torch_seed(0, "dropout", 3, 0, "text", k)):
            text = text.index_put((chunk.order_B,), model.text(chunk.tokens_BL, chunk.attention_BL))
    ids_R = torch.arange(PAIRS, device=device)
    result = contrastive_loss(torch.cat(audio), text, model.log_temperature, ids_R, LossConfig(block_rows=7))
    result.loss.backward()
    return result.loss.item(), [p.grad.clone() for p in model.parameters() if p.grad is not None]


def with_dropout() -> MuLan:
    model = small_model(freeze=True, body="ast", dropout=0.3)
    for module in model.audio.body.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.3
    return model


def test_recordings_that_two_pairs_share_are_counted() -> None:
    assert float(shared_rate(torch.tensor([4, 1, 4, 2, 4, 3, 1, 9, 8, 7]))) == pytest.approx(0.5)
    assert float(shared_rate(torch.arange(5))) == 0.0
    assert float(shared_rate(torch.zeros(3))) == 1.0


def test_m_ast_at_full_size_has_a_gradient_everywhere() -> None:
    recipe = dataclasses.replace(m_ast(), batch_size=2, lanes=1, compute=ComputeConfig(audio_chunk=2))
    towers = model_of(recipe).towers.train()
    generator = torch.Generator().manual_seed(0)
    wave_RS = torch.randint(-3000, 3000, (2, 160_000), dtype=torch.int16, generator=generator)
    result = accumulate_gradients(
        towers,
        wave_RS,
        torch.tensor([[3, 48, 5, 192], [0, 0, 0, 0]]),
        text_chunks([[101, 2000, 102], [101, 2001, 2002, 102]], budget=512, bucket=16, max_tokens=512, pad_id=0),
        torch.arange(2),
        torch.arange(2),
        loss=recipe.loss,
        compute=recipe.compute,
        seed=0,
        step=0,
    )
    assert torch.isfinite(result.loss)
    shapes = {tuple(p.shape) for p in towers.audio.parameters()}
    assert (1, 12 * 99 + 2, 768) in shapes  # the positions: 12 rows, 99 columns, and two of their own
    silent = [name for name, p in towers.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    # Biases of keys move every score of a query alike, so softmax hides them; two texts use few positions.
    assert all("key.bias" in name or "k_proj.bias" in name for name in silent), silent


SUMS_SCRIPT = """
import torch
from benchmarks import train_gpu
from tests.trainer.test_gradcache import PAIRS, gradients, small_model
from trainer import dist
ranks = dist.start("cpu")
mine = [i for i in range(PAIRS) if i // 4 % ranks.count == ranks.rank]  # whole ghost batches
order = []

def watched(parameters):
    for name, parameter in parameters:
        parameter.register_post_accumulate_grad_hook(lambda _, name=name: order.append(name))

def plainly(model):
    '''Every gradient of this rank, and then their sums one by one.'''
    class Later(dist.GradientSum):
        def last(self):
            from contextlib import nullcontext
            return nullcontext()
        def finish(self):
            for parameter in model.parameters():
                torch.distributed.all_reduce(parameter.grad)
    ours, dist.GradientSum = dist.GradientSum, Later
    try:
        return gradients(model, audio_chunk=4, text_tokens=60, rows=mine)
    finally:
        dist.GradientSum = ours

loss, truth = plainly(small_model(freeze=False))
dist._BUCKET_ELEMENTS = 3000
send = dist.GradientSum._send
def noted(self):
    order.append(f"send {len(self._sent)}")
    send(self)
dist.GradientSum._send = noted
model = small_model(freeze=False)
watched(model.named_parameters())
loss_2, grads = gradients(model, audio_chunk=4, text_tokens=60, rows=mine)
assert loss == loss_2
assert all(torch.equal(a, b) for a, b in zip(grads, truth, strict=True))
sent = [event for event in order if event.startswith("send")]
assert len(sent) > 5 and sent == [f"send {k}" for k in range(len(sent))], sent
# The text tower's sums are under way before the audio tower's backward passes begin, and only the last piece is late.
first_audio = next(i for i, name in enumerate(order) if name.startswith("audio."))
assert order.index("send 0") < first_audio, order
last_gradient = max(i for i, name in enumerate(order) if not name.startswith("send"))
assert sum(event.startswith("send") for event in order[last_gradient:]) <= 1, order[last_gradient:]
# No piece goes before its last gradient is final: its parameters get none after it.
gathered = [None, None]
torch.distributed.all_gather_object(gathered, sent)
assert gathered[0] == gathered[1]
dist.stop()
"""


def test_sums_over_ranks_go_on_below_the_backward_pass(torchrun: Callable[[str], None]) -> None:
    """The same bits as summing at the end, and most of the pieces sent before the last gradient is there."""
    torchrun(SUMS_SCRIPT)


def test_a_slower_step_slows_the_benchmark(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`benchmarks.train_gpu` has no step of its own: what is added to the trainer's shows in what it measures."""
    tokenizer = train_gpu.make_tokenizer(tmp_path / "tokenizer")
    run = train_gpu.make_run(tmp_path / "run", 64, clip_s=4.0)
    recipe = train_gpu.toy_resnet()
    recipe = dataclasses.replace(recipe, text=dataclasses.replace(recipe.text, tokenizer=str(tokenizer)))
    given = argparse.Namespace(steps=2, workers=0)

    def seconds(name: str) -> float:
        clock = train_gpu.Clock("cpu", 4, look_closer=False)
        return train_gpu.timed(recipe, run, tmp_path / name, "cpu", given, clock, steps=4)

    plain = seconds("plain")

    def slow(*arguments: Any, **named: Any) -> StepResult:
        time.sleep(2 * plain + 1)
        return accumulate_gradients(*arguments, **named)

    monkeypatch.setattr("trainer.tasks.contrastive.accumulate_gradients", slow)
    assert seconds("slow") > 2 * plain + 1


def test_float32_stays_float32_on_a_gpu() -> None:
    """The switches are there without a GPU; torch's own default rounds convolutions."""
    cudnn, matmul = torch.backends.cudnn, torch.backends.cuda.matmul
    before = cudnn.benchmark, cudnn.allow_tf32, matmul.allow_tf32
    try:
        cudnn.benchmark = False
        prepare(CPU, "tf32")
        assert not cudnn.benchmark
        for precision, rounded in (("float32", False), ("bfloat16", False), ("tf32", True), ("float32", False)):
            prepare(torch.device("cuda"), precision)
            assert matmul.allow_tf32 == cudnn.allow_tf32 == rounded
            assert cudnn.benchmark
    finally:
        cudnn.benchmark, cudnn.allow_tf32, matmul.allow_tf32 = before
