"""What a step costs: floating-point operations (for MFU) and memory, known before it starts.

MFU is the share of the device's peak that useful work takes: three forward passes' worth a pair (forward and backward),
real WordPieces only. GradCache's second forward pass and padding are work, but not useful; `padded` counts padding too.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from trainer.logmel import FRAME_SAMPLES, HOP_SAMPLES
from trainer.model import Model
from trainer.recipes import Recipe
from trainer.towers import EMBEDDING_SIZE

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
    """Bytes on the device of one rank."""

    parameters: int  # weights, gradients and Adam's two moments, float32
    activations: int  # of the largest chunk of either tower
    batch: int  # embeddings with their gradients, and a block of scores

    @property
    def total(self) -> int:
        return self.parameters + self.activations + self.batch

    def __str__(self) -> str:
        parts = (("weights and optimizer", self.parameters), ("activations", self.activations), ("batch", self.batch))
        detail = ", ".join(f"{name} {size / 2**30:.2f}" for name, size in parts)
        return f"{self.total / 2**30:.2f} GiB ({detail})"


def estimate_memory(model: Model, recipe: Recipe, ranks: int, text_tokens: int = 64) -> MemoryEstimate:
    """From the shapes: what one example saves for its backward pass, measured once, times the chunk.

    `text_tokens` is the padded length that is assumed for the longest chunk of texts.
    """
    towers, device = model.towers, model.device
    inputs = example_inputs(model, 2)
    tokens_BL = torch.zeros(2, min(text_tokens, recipe.text.max_tokens), dtype=torch.int64, device=device)
    was_training = towers.training
    towers.eval()  # statistics must not move; what is saved is the same
    audio = _saved_bytes(lambda: towers.audio.features(inputs), towers) / 2
    text = _saved_bytes(lambda: towers.text(tokens_BL, torch.ones_like(tokens_BL)), towers) / 2
    towers.train(was_training)
    scale = 0.5 if recipe.compute.precision == "bfloat16" else 1.0
    mine = recipe.batch_size // ranks
    frames = 4 * recipe.data.window_samples * FRAME_SAMPLES / HOP_SAMPLES  # of the short-time transform, a few copies
    per_chunk = (
        min(recipe.compute.audio_chunk, mine) * (audio * scale + 4 * frames),
        min(recipe.compute.text_chunk, mine) * text * scale,
    )
    parameters = sum(p.numel() for p in towers.parameters())
    block = min(recipe.loss.block_rows, mine) * recipe.batch_size * 4 * 6
    return MemoryEstimate(
        parameters=16 * parameters,
        activations=round(max(per_chunk)),
        batch=recipe.batch_size * EMBEDDING_SIZE * 4 * 6 + block,
    )


def example_inputs(model: Model, count: int) -> torch.Tensor:
    """What the audio body sees of as many silent windows."""
    wave_BS = torch.zeros(count, model.recipe.data.window_samples, device=model.device)
    return model.towers.audio.inputs(wave_BS)


def _saved_bytes(forward: Any, module: torch.nn.Module) -> int:
    weights = {p.untyped_storage().data_ptr() for p in module.parameters()}
    saved: dict[int, int] = {}
    kept = []

    def note(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            saved[storage.data_ptr()] = storage.nbytes()
            kept.append(tensor)  # an address must not be used again while we count
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        forward()
    return sum(saved.values())
