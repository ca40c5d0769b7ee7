"""GradCache, batch norm and text chunks: the same gradients however the batch is cut, against the formula."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.trainer.test_loss import formula_mulan, gradient_mulan
from trainer.batchnorm import GhostBatchNorm2d, recorded
from trainer.bodies.body import AudioTowerConfig
from trainer.gradcache import accumulate_gradients
from trainer.logmel import LogMelConfig
from trainer.loss import LossConfig
from trainer.recipes import ComputeConfig, Recipe, tiny
from trainer.settings import with_settings
from trainer.tokens import text_chunks
from trainer.towers import AudioTower, MuLan, TextTower, TextTowerConfig

pytestmark = pytest.mark.slow

PAIRS = 24
ALL_TOKENS = PAIRS * 24  # of one chunk, however it is padded
WAV2VEC2: dict[str, Any] = {
    "model_type": "wav2vec2", "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2,
    "intermediate_size": 32, "conv_dim": [8, 8], "conv_kernel": [40, 8], "conv_stride": [20, 8],
    "num_feat_extract_layers": 2, "num_conv_pos_embeddings": 4, "num_conv_pos_embedding_groups": 2,
    "hidden_dropout": 0.0, "attention_dropout": 0.0,
    "feat_proj_dropout": 0.0, "activation_dropout": 0.0, "layerdrop": 0.0, "initializer_range": 0.3,
    # Masks of its own, which must not be drawn.
    "apply_spec_augment": True, "mask_time_prob": 0.5, "mask_time_length": 2,
}  # fmt: skip


def small_model(
    *, freeze: bool, body: str = "resnet", dtype: torch.dtype = torch.float64, dropout: float = 0.0
) -> MuLan:
    torch.manual_seed(0)
    options: dict[str, Any] = {"layer_type": "basic", "embedding_size": 8, "hidden_sizes": [8, 16], "depths": [1, 1]}
    if body == "ast":
        options = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
        options |= {"intermediate_size": 64, "initializer_range": 0.3}
    if body == "auto_waves":
        options = WAV2VEC2
    masked = body != "auto_waves"
    audio = AudioTower(
        AudioTowerConfig(
            body=body,
            options=options,
            log_mel=LogMelConfig(mel_bins=32, frames=48),
            max_masked_bins=4 if masked else 0,
            max_masked_frames=8 if masked else 0,
            ghost_batch_size=4,
            freeze_batch_norm=freeze,
        )
    )
    bert = {"vocab_size": 50, "hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    text = TextTower(
        TextTowerConfig(
            warm_start=None,
            tokenizer="none",
            options={
                **bert,
                "intermediate_size": 64,
                "initializer_range": 0.3,
                "hidden_dropout_prob": dropout,
                "attention_probs_dropout_prob": dropout,
            },
            max_tokens=24,
        )
    )
    model = MuLan(audio, text, 0.1).double()
    # Random towers map everything to nearly one point, where a gradient is a small difference of large numbers and
    # float32 can show little. Heads that take the mean away spread the embeddings, as training does.
    wave, _, tokens = batch()
    (chunk,) = text_chunks(tokens, budget=ALL_TOKENS, bucket=4, max_tokens=24, pad_id=0)
    with torch.no_grad():
        model.eval()
        features = audio.features(audio.inputs(wave))
        states = text.body(input_ids=chunk.tokens_BL, attention_mask=chunk.attention_BL).last_hidden_state[:, 0]
        audio.head.bias.copy_(-audio.head.weight @ features.mean(dim=0))
        text.head.bias.copy_(-text.head.weight @ states.mean(dim=0))
    return model.to(dtype).train()


def batch() -> tuple[Tensor, Tensor, list[list[int]]]:
    generator = torch.Generator().manual_seed(1)
    wave = torch.randn(PAIRS, 8000, generator=generator) * 0.1
    masks = torch.tensor([[i % 5, 3, i % 9, 6] for i in range(PAIRS)])
    tokens = [[2, *(((7 * i + k) % 40 + 5) for k in range(i % 11 + 1)), 3] for i in range(PAIRS)]
    return wave, masks, tokens


def gradients(
    model: MuLan, *, audio_chunk: int, text_tokens: int, by_length: bool = True, rows: list[int] | None = None
) -> tuple[float, list[Tensor]]:
    wave, masks, tokens = batch()
    mine = rows if rows is not None else list(range(PAIRS))
    compute = ComputeConfig(audio_chunk=audio_chunk, text_tokens=text_tokens)
    chunks = text_chunks(
        [tokens[i] for i in mine], budget=text_tokens, bucket=4, max_tokens=24, pad_id=0, by_length=by_length
    )
    model.zero_grad()
    result = accumulate_gradients(
        model,
        wave[mine],
        masks[mine],
        chunks,
        torch.tensor(mine),
        torch.tensor(mine),
        loss=LossConfig(block_rows=7),
        compute=compute,
        seed=0,
        step=3,
    )
    return float(result.loss), [p.grad.clone() for p in model.parameters() if p.grad is not None]


def distance(ours: list[Tensor], theirs: list[Tensor]) -> float:
    apart = sum(float((a - b).double().square().sum()) for a, b in zip(ours, theirs, strict=True))
    return float(np.sqrt(apart / sum(float(b.double().square().sum()) for b in theirs)))


def statistics(model: MuLan) -> list[Tensor]:
    return [value.clone() for name, value in model.state_dict().items() if "running" in name]


@pytest.mark.parametrize(("dtype", "bar"), [(torch.float64, 1e-10), (torch.float32, 1e-5)])
@pytest.mark.parametrize("body", ["resnet", "ast", "auto_waves"])
def test_gradcache_equals_the_formula_through_both_towers(body: str, dtype: torch.dtype, bar: float) -> None:
    """Batch norm frozen: the gradient at the embeddings by hand, carried back through one dense pass, is the truth."""
    model = small_model(freeze=True, body=body, dtype=dtype)
    wave, masks, tokens = batch()
    (chunk,) = text_chunks(tokens, budget=ALL_TOKENS, bucket=4, max_tokens=24, pad_id=0)
    audio, text = model.audio(wave, masks), model.text(chunk.tokens_BL, chunk.attention_BL)[chunk.order_B.argsort()]
    tau = float(model.log_temperature.detach().exp())
    audio_z, text_z = audio.detach().double().numpy(), text.detach().double().numpy()
    d_audio, d_text, d_log_tau = gradient_mulan(audio_z, text_z, tau)
    torch.autograd.backward([audio, text], [torch.tensor(d_audio, dtype=dtype), torch.tensor(d_text, dtype=dtype)])
    model.log_temperature.grad = torch.tensor(d_log_tau, dtype=dtype)
    truth = [p.grad.clone() for p in model.parameters() if p.grad is not None]
    loss = formula_mulan(audio_z, text_z, tau)

    model = small_model(freeze=True, body=body, dtype=dtype)
    for audio_chunk, text_tokens in ((PAIRS, ALL_TOKENS), (8, ALL_TOKENS), (5, 84)):
        ours, grads = gradients(model, audio_chunk=audio_chunk, text_tokens=text_tokens)
        assert abs(ours / loss - 1) <= bar
        assert distance(grads, truth) <= bar


def test_ghost_batches_do_not_depend_on_chunks() -> None:
    model = small_model(freeze=False)
    dense_loss, dense = gradients(model, audio_chunk=PAIRS, text_tokens=ALL_TOKENS)
    dense_statistics = statistics(model)
    for chunk in (4, 8, 12):
        model = small_model(freeze=False)
        loss, grads = gradients(model, audio_chunk=chunk, text_tokens=72)
        assert abs(loss / dense_loss - 1) < 1e-12
        assert distance(grads, dense) < 1e-12
        assert distance(statistics(model), dense_statistics) < 1e-12


def test_ghost_batch_norm_is_batch_norm_where_one_ghost_is_the_batch() -> None:
    torch.manual_seed(0)
    x = torch.randn(6, 3, 4, 5, dtype=torch.float64)
    plain, ghost = torch.nn.BatchNorm2d(3).double(), GhostBatchNorm2d(3, ghost_size=6).double()
    with recorded(ghost) as statistics:
        statistics.record(True)
        ours = ghost(x)
    assert torch.equal(ours, plain(x))
    assert plain.running_mean is not None
    assert torch.allclose(ghost.running_mean, plain.running_mean)  # type: ignore[arg-type]
    assert torch.allclose(ghost.running_var, plain.running_var)  # type: ignore[arg-type]
    assert not torch.allclose(GhostBatchNorm2d(3, ghost_size=2).double()(x), ours)


def test_dropout_is_the_same_in_both_passes() -> None:
    """With dropout, a finite difference along the text tower's gradient agrees only where both passes dropped the same
    units. (The audio tower has none, and ReLUs that stand at exactly zero under SpecAugment's masks.)"""
    model = small_model(freeze=True, dropout=0.3)
    loss, grads = gradients(model, audio_chunk=8, text_tokens=72)
    named = zip(model.named_parameters(), grads, strict=True)
    text = [(parameter, grad) for (name, parameter), grad in named if name.startswith("text.")]
    squared = sum(float(grad.square().sum()) for _, grad in text)
    step = 1e-7 / squared**0.5
    with torch.no_grad():
        for parameter, grad in text:
            parameter.add_(grad, alpha=step)
    moved, _ = gradients(model, audio_chunk=8, text_tokens=72)
    assert (moved - loss) / step == pytest.approx(squared, rel=1e-5)


def test_bucketing_equals_padding_to_the_full_length() -> None:
    model = small_model(freeze=True)
    loss, grads = gradients(model, audio_chunk=PAIRS, text_tokens=60)
    padded_loss, padded = gradients(model, audio_chunk=PAIRS, text_tokens=60, by_length=False)
    assert abs(loss / padded_loss - 1) < 1e-12
    assert distance(grads, padded) < 1e-10


def test_text_chunks_are_sorted_and_padded_to_their_bucket() -> None:
    _, _, tokens = batch()
    chunks = text_chunks(tokens, budget=80, bucket=4, max_tokens=24, pad_id=0)
    assert sorted(int(i) for chunk in chunks for i in chunk.order_B) == list(range(PAIRS))
    assert [chunk.tokens_BL.shape for chunk in chunks] == [(10, 8), (6, 12), (6, 12), (2, 16)]
    for chunk in chunks:
        for row, i in enumerate(chunk.order_B.tolist()):
            assert chunk.tokens_BL[row][chunk.attention_BL[row].bool()].tolist() == tokens[i]


def test_one_long_text_does_not_make_a_large_chunk() -> None:
    """The text of 200 WordPieces among 1,000 titles has a chunk of few, and no chunk is above its budget."""
    texts = [[1] * 200, *([1] * (3 + i % 6) for i in range(1000)), [1] * 500]
    chunks = text_chunks(texts, budget=4096, bucket=16, max_tokens=512, pad_id=0)
    assert all(chunk.tokens_BL.numel() <= 4096 for chunk in chunks)
    assert [chunk.tokens_BL.shape for chunk in chunks] == [*[(256, 16)] * 3, (232, 16), (2, 512)]


def test_a_budget_below_one_text_is_refused() -> None:
    recipe = tiny("x")
    assert recipe.compute.text_tokens >= recipe.text.max_tokens
    with pytest.raises(ValueError, match="text_tokens 63 is less than one text may have: max_tokens is 64"):
        with_settings(recipe, [("compute.text_tokens", "63")])
    with_settings(recipe, [("compute.text_tokens", "64")])


def test_a_chunk_of_texts_of_an_older_recipe_is_passed_over() -> None:
    value = tiny("x").to_json()
    value["compute"]["text_chunk"] = 6
    del value["compute"]["text_tokens"]
    assert Recipe.from_json(value).compute.text_tokens == ComputeConfig().text_tokens


def test_a_bucket_is_not_wider_than_the_longest_text_may_be() -> None:
    """The body has positions for `max_tokens`, and that need not be a multiple of the bucket."""
    for by_length in (True, False):
        (chunk,) = text_chunks([[1] * 9, [1] * 10], budget=20, bucket=8, max_tokens=10, pad_id=0, by_length=by_length)
        assert chunk.tokens_BL.shape == chunk.attention_BL.shape == (2, 10)


RANKS_SCRIPT = """
from tests.trainer.test_gradcache import PAIRS, distance, gradients, small_model, statistics
from trainer import dist
alone = {}
for freeze in (True, False):
    model = small_model(freeze=freeze)
    alone[freeze] = (*gradients(model, audio_chunk=4, text_tokens=72), statistics(model))
ranks = dist.start("cpu")
mine = [i for i in range(PAIRS) if i // 4 % ranks.count == ranks.rank]  # whole ghost batches
for freeze, (loss, grads, running) in alone.items():
    model = small_model(freeze=freeze)
    loss_N, grads_N = gradients(model, audio_chunk=8, text_tokens=60, rows=mine)
    assert abs(loss_N / loss - 1) <= 1e-10, (loss_N, loss)
    assert distance(grads_N, grads) <= 1e-10, distance(grads_N, grads)
    assert distance(statistics(model), running) <= 1e-10
dist.stop()
"""


def test_two_processes_equal_one(torchrun: Callable[[str], None]) -> None:
    torchrun(RANKS_SCRIPT)
