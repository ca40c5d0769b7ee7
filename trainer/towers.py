"""The two towers (sections 3.1 to 3.3 of the paper): audio to 128 dimensions, text to 128 dimensions.

The bodies are `transformers` models, so checkpoints of the ecosystem load; a tower adds what stands before (the front
end, SpecAugment) and after (one linear head, l2 normalisation). `trainer/bodies` has those of the audio tower. No
weights are shared.

Legend: B examples, S samples, L WordPieces, H width of the body, D embedding size.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import BertConfig, BertModel

from trainer.augment import apply_masks
from trainer.bodies.body import AudioTowerConfig, checkpoint_gradients
from trainer.bodies.pretrained import pretrained

EMBEDDING_SIZE = 128


@dataclass(frozen=True, kw_only=True)
class TextTowerConfig:
    """`warm_start` is a directory or hub name of a BERT checkpoint, which then fixes the body; without one, `options`
    go to a `BertConfig` and the weights are random. `tokenizer` is None where the checkpoint brings it."""

    warm_start: str | None = "bert-base-uncased"
    tokenizer: str | None = None
    options: dict[str, Any] = field(default_factory=dict)
    max_tokens: int = 512

    def __post_init__(self) -> None:
        if self.warm_start is None and self.tokenizer is None:
            raise ValueError("a text tower without a checkpoint needs a tokenizer (a directory or a hub name)")
        if self.max_tokens < 3:
            raise ValueError("max_tokens must leave room for [CLS], a WordPiece and [SEP]")


class AudioTower(nn.Module):
    """wave_BS at 16 kHz to unit z_BD. `config` has what a checkpoint says of its own front end; `saved` is the body's
    configuration where its weights are loaded afterwards. Raises ValueError."""

    def __init__(self, config: AudioTowerConfig, saved: dict[str, Any] | None = None) -> None:
        super().__init__()
        self.config = config = config.kind.said_by_checkpoint()
        self.front_end = config.kind.front_end()
        self.body: Any = config.kind.build(saved)
        self.width = config.kind.width(self.body)
        self.head = nn.Linear(self.width, EMBEDDING_SIZE)

    def forward(self, wave_BS: Tensor, masks_B4: Tensor | None = None) -> Tensor:
        return unit(self.head(self.features(self.inputs(wave_BS, masks_B4))))

    def inputs(self, wave_BS: Tensor, masks_B4: Tensor | None = None) -> Tensor:
        """What the body takes; SpecAugment's masks are applied where it is a log-mel."""
        inputs: Tensor = self.front_end(wave_BS)
        if masks_B4 is not None and self.config.augment is not None:
            inputs = apply_masks(inputs, masks_B4)
        return inputs.to(self.head.weight.dtype)

    def features(self, inputs: Tensor) -> Tensor:
        """h_BH, what the head sees."""
        return self.config.kind.features(self.body, inputs)

    def checkpoint_gradients(self) -> None:
        """Less memory for a forward pass more. Raises ValueError where the body cannot."""
        self.config.kind.checkpoint_gradients(self.body)


class TextTower(nn.Module):
    """WordPieces to unit z_BD, by the state at [CLS]. `saved` is as of the audio tower."""

    def __init__(self, config: TextTowerConfig, saved: dict[str, Any] | None = None) -> None:
        super().__init__()
        self.config = config
        self.body: Any = _bert(config, saved)
        if config.max_tokens > self.body.config.max_position_embeddings:
            raise ValueError(
                f"max_tokens is {config.max_tokens}, the checkpoint has "
                f"{self.body.config.max_position_embeddings} positions"
            )
        self.head = nn.Linear(self.body.config.hidden_size, EMBEDDING_SIZE)

    def forward(self, tokens_BL: Tensor, attention_BL: Tensor) -> Tensor:
        outputs = self.body(input_ids=tokens_BL, attention_mask=attention_BL, use_cache=False)
        state_BLH = outputs.last_hidden_state
        return unit(self.head(state_BLH[:, 0]))

    def checkpoint_gradients(self) -> None:
        checkpoint_gradients(self.body, "text tower")


class MuLan(nn.Module):
    """Both towers and the temperature, which is kept as its logarithm."""

    def __init__(self, audio: AudioTower, text: TextTower, initial_temperature: float) -> None:
        super().__init__()
        self.audio, self.text = audio, text
        self.log_temperature = nn.Parameter(torch.tensor(math.log(initial_temperature)))
        self._locked: tuple[str, ...] = ()

    def lock(self, names: Sequence[str]) -> None:
        """Parts that learn no more, as `audio` or `text.body` (LiT, Zhai et al. 2022): they stay in evaluation mode."""
        self._locked = tuple(names)
        for name in names:
            self.get_submodule(name).requires_grad_(False)

    def train(self, mode: bool = True) -> Self:
        super().train(mode)
        for name in self._locked:
            self.get_submodule(name).eval()
        return self

    @torch.no_grad()
    def clamp_temperature(self, low: float, high: float) -> None:
        self.log_temperature.clamp_(math.log(low), math.log(high))


def unit(z_BD: Tensor) -> Tensor:
    """l2-normalised, in float32 at least."""
    return functional.normalize(z_BD if z_BD.dtype == torch.float64 else z_BD.float(), dim=1)


def _bert(config: TextTowerConfig, saved: dict[str, Any] | None) -> Any:
    if saved is not None:
        return BertModel(BertConfig.from_dict(saved), add_pooling_layer=False)
    if config.warm_start is not None:
        return pretrained(BertModel, config.warm_start, add_pooling_layer=False)
    return BertModel(BertConfig(**config.options), add_pooling_layer=False)
