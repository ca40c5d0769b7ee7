"""What a step costs: floating-point operations (for MFU) and memory, known before it starts.

MFU is the share of the device's peak that useful work takes: three forward passes' worth a pair (forward and backward),
real WordPieces only. GradCache's second forward pass and padding are work, but not useful; `padded` counts padding too.
"""

import copy
import math
from dataclasses import dataclass

import torch
from torch._subclasses.fake_tensor import FakeCopyMode, FakeTensorMode
from torch.utils.flop_counter import FlopCounterMode

from trainer import dist
from trainer.gradcache import accumulate_gradients
from trainer.live_bytes import LiveBytes
from trainer.model import Model
from trainer.recipes import Recipe
from trainer.tokens import padded_width, text_chunks

# Dense bfloat16 peaks from the vendors' data sheets, by a part of the device's name.
_PEAK_FLOPS = {"H100": 989e12, "H200": 989e12, "GH200": 989e12, "A100": 312e12, "L40S": 362e12, "L4": 121e12}


def peak_flops(device: torch.device) -> float | None:
    """Peak of a known GPU; None elsewhere, where MFU says nothing."""
    if device.type != "cuda":
        return None
    name = torch.cuda.get_device_name(device)
    return next((peak for part, peak in _PEAK_FLOPS.items() if part in name), None)


class StepFlops:
    """Forward operations of an example, by tower."""

    def __init__(self, model: Model) -> None:
        audio, inputs = model.towers.audio, example_inputs(model, 1)
        was_training = audio.training
        audio.eval()
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            audio.head(audio.features(inputs))
        audio.train(was_training)
        self.audio = float(counter.get_total_flops())
        self._bert = model.towers.text.body.config

    def text(self, tokens: int) -> float:
        """A BERT of this shape over a text of so many WordPieces."""
        bert = self._bert
        dense = tokens * (8 * bert.hidden_size**2 + 4 * bert.hidden_size * bert.intermediate_size)
        return float(bert.num_hidden_layers * (dense + 4 * tokens**2 * bert.hidden_size))

    def training(self, pairs: int, tokens: list[int]) -> float:
        """Forward and backward of a step."""
        return 3 * (pairs * self.audio + sum(self.text(length) for length in tokens))


@dataclass(frozen=True, kw_only=True)
class MemoryEstimate:
    """Bytes on the device of one rank, at the peak of a step; `kept` of them are there between steps."""

    peak: int
    kept: int

    def __str__(self) -> str:
        return f"{self.peak / 2**30:.2f} GiB, {self.kept / 2**30:.2f} of them weights, gradients and optimizer"


def estimate_memory(model: Model, recipe: Recipe, ranks: int, text_tokens: int | None = None) -> MemoryEstimate:
    """By the step itself, on tensors that have a size and no memory, with the largest chunks that it may have.

    Two chunks of windows stand for all of a rank's; the rest of its pairs are another rank's, so that the loss is that
    of the whole batch. One chunk is full of texts of `text_tokens` WordPieces, as many as they may have where it is
    None: those hold most, where attention keeps its scores. What `torch.compile` saves is not known.
    """
    compute, length = recipe.compute, text_tokens or recipe.text.max_tokens
    longest = compute.text_tokens // padded_width(length, compute.text_bucket, recipe.text.max_tokens)
    chunks = max(2, math.ceil(longest / compute.audio_chunk))
    pairs = min(recipe.batch_size // ranks, chunks * compute.audio_chunk)
    live = LiveBytes(model.device)
    fake = FakeTensorMode()
    with FakeCopyMode(fake):
        towers = copy.deepcopy(model.towers).train()
    with fake, dist.pretended(recipe.batch_size // pairs):
        texts = text_chunks(
            [[0] * length] * min(longest, pairs) + [[0]] * max(0, pairs - longest),
            budget=compute.text_tokens,
            bucket=compute.text_bucket,
            max_tokens=recipe.text.max_tokens,
            pad_id=0,
            by_length=compute.sort_texts,
        )
        optimizer = torch.optim.Adam(towers.parameters(), fused=True)
        live.count([*towers.parameters(), *towers.buffers()])
        with live:
            for parameter in towers.parameters():
                parameter.grad = torch.zeros_like(parameter) if parameter.requires_grad else None
            optimizer.step()
            kept = live.now
            optimizer.zero_grad(set_to_none=True)
            live.peak = live.now
            accumulate_gradients(
                towers,
                torch.zeros(pairs, recipe.data.window_samples, dtype=torch.int16),
                torch.zeros(pairs, 4, dtype=torch.int64),
                texts,
                torch.zeros(pairs, dtype=torch.int64),
                torch.zeros(pairs, dtype=torch.int64),
                loss=recipe.loss,
                compute=compute,
                seed=0,
                step=0,
            )
            optimizer.step()
    # Ranks sum gradients in copies.
    copies = 4 * sum(p.numel() for p in model.towers.parameters() if p.requires_grad) if ranks > 1 else 0
    return MemoryEstimate(peak=live.peak + copies, kept=kept)


def example_inputs(model: Model, count: int) -> torch.Tensor:
    """What the audio body sees of as many silent windows."""
    wave_BS = torch.zeros(count, model.recipe.data.window_samples, device=model.device)
    return model.towers.audio.inputs(wave_BS)
