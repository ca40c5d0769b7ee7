"""The two towers (section 3.1 and appendix A of the paper): audio to 128 dimensions, text to 128 dimensions.

The bodies are `transformers` models, so checkpoints of the ecosystem load; a tower adds what stands before (log-mel,
SpecAugment) and after (one linear head, l2 normalisation). No weights are shared.

Legend: B examples, S samples, F mel bins, T frames, L WordPieces, H width of the body, D embedding size.
"""

import logging
import math
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import ASTConfig, ASTFeatureExtractor, ASTModel, BertConfig, BertModel, ResNetConfig, ResNetModel

from trainer.augment import SpecAugment, apply_masks
from trainer.batchnorm import use_ghost_batches
from trainer.logmel import LogMel, LogMelConfig

log = logging.getLogger(__name__)

EMBEDDING_SIZE = 128


@dataclass(frozen=True, kw_only=True)
class AudioTowerConfig:
    """`body` is resnet or ast; `options` go to its `transformers` configuration.

    Batch norm (ResNet) takes its statistics from ghost batches of `ghost_batch_size`, or stays as it was loaded where
    `freeze_batch_norm` is set. SpecAugment's maxima are in bins and frames of the log-mel.
    """

    body: str
    options: dict[str, Any] = field(default_factory=dict)
    log_mel: LogMelConfig
    max_masked_bins: int
    max_masked_frames: int
    ghost_batch_size: int = 16
    freeze_batch_norm: bool = False
    warm_start: str | None = None

    def __post_init__(self) -> None:
        if self.body not in ("resnet", "ast"):
            raise ValueError(f"audio body is {self.body!r}; it may be resnet or ast")
        if self.ghost_batch_size < 2:
            raise ValueError("ghost_batch_size must be at least 2")

    @property
    def block_size(self) -> int:
        """Examples that must stay together in chunks and on ranks."""
        return self.ghost_batch_size if self.body == "resnet" and not self.freeze_batch_norm else 1

    @property
    def augment(self) -> SpecAugment:
        """Raises ValueError where a mask is larger than the log-mel."""
        return SpecAugment(
            mel_bins=self.log_mel.mel_bins,
            mel_frames=self.log_mel.frames,
            max_bins=self.max_masked_bins,
            max_frames=self.max_masked_frames,
        )


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
    """wave_BS at 16 kHz to unit z_BD."""

    def __init__(self, config: AudioTowerConfig) -> None:
        super().__init__()
        self.config = config
        self.log_mel = LogMel(config.log_mel)
        self.body: Any = _resnet(config) if config.body == "resnet" else _ast(config)
        self.width: int = self.body.config.hidden_sizes[-1] if config.body == "resnet" else self.body.config.hidden_size
        self.head = nn.Linear(self.width, EMBEDDING_SIZE)

    def forward(self, wave_BS: Tensor, masks_B4: Tensor | None = None) -> Tensor:
        return unit(self.head(self.features(self.mel(wave_BS, masks_B4))))

    def mel(self, wave_BS: Tensor, masks_B4: Tensor | None = None) -> Tensor:
        """The normalised log-mel_BFT, SpecAugment's masks applied."""
        mel_BFT: Tensor = self.log_mel(wave_BS)
        if masks_B4 is not None:
            mel_BFT = apply_masks(mel_BFT, masks_B4)
        return mel_BFT.to(self.head.weight.dtype)

    def features(self, mel_BFT: Tensor) -> Tensor:
        """h_BH, what the head sees: the mean over time and mel, or AST's [CLS]."""
        h_BH: Tensor
        if self.config.body == "resnet":
            image = mel_BFT[:, None].contiguous(memory_format=torch.channels_last)
            h_BH = self.body(image).pooler_output.flatten(1)
        else:
            h_BH = self.body(mel_BFT.transpose(1, 2)).last_hidden_state[:, 0]
        return h_BH


class TextTower(nn.Module):
    """WordPieces to unit z_BD, by the state at [CLS]."""

    def __init__(self, config: TextTowerConfig) -> None:
        super().__init__()
        self.config = config
        self.body: Any = _bert(config)
        if config.max_tokens > self.body.config.max_position_embeddings:
            raise ValueError(
                f"max_tokens is {config.max_tokens}, the checkpoint has "
                f"{self.body.config.max_position_embeddings} positions"
            )
        self.head = nn.Linear(self.body.config.hidden_size, EMBEDDING_SIZE)

    def forward(self, tokens_BL: Tensor, attention_BL: Tensor) -> Tensor:
        state_BLH = self.body(input_ids=tokens_BL, attention_mask=attention_BL).last_hidden_state
        return unit(self.head(state_BLH[:, 0]))


class MuLan(nn.Module):
    """Both towers and the temperature, which is kept as its logarithm."""

    def __init__(self, audio: AudioTower, text: TextTower, initial_temperature: float) -> None:
        super().__init__()
        self.audio, self.text = audio, text
        self.log_temperature = nn.Parameter(torch.tensor(math.log(initial_temperature)))

    @torch.no_grad()
    def clamp_temperature(self, low: float, high: float) -> None:
        self.log_temperature.clamp_(math.log(low), math.log(high))


def unit(z_BD: Tensor) -> Tensor:
    """l2-normalised, in float32 at least."""
    return functional.normalize(z_BD if z_BD.dtype == torch.float64 else z_BD.float(), dim=1)


def _resnet(config: AudioTowerConfig) -> Any:
    if config.warm_start is not None:
        body = _pretrained(ResNetModel, config.warm_start)
        if body.config.num_channels != 1:
            raise ValueError(
                f"{config.warm_start}: takes {body.config.num_channels} channels; `mulan pretrain` makes 1"
            )
    else:
        body = ResNetModel(ResNetConfig(num_channels=1, **config.options))
    # The paper takes the stride of 2 out of the first convolution.
    body.embedder.embedder.convolution.stride = (1, 1)
    use_ghost_batches(body, config.ghost_batch_size, frozen=config.freeze_batch_norm)
    return body.to(memory_format=torch.channels_last)


def _ast(config: AudioTowerConfig) -> Any:
    bins, frames = config.log_mel.mel_bins, config.log_mel.frames
    if config.warm_start is None:
        return ASTModel(ASTConfig(num_mel_bins=bins, max_length=frames, **config.options))
    body = _pretrained(ASTModel, config.warm_start)
    if body.config.num_mel_bins != bins:
        raise ValueError(f"{config.warm_start}: has {body.config.num_mel_bins} mel bins, the recipe {bins}")
    crop_positions(body, frames)
    return body


def checkpoint_log_mel(config: AudioTowerConfig) -> LogMelConfig:
    """The log-mel that an AST checkpoint was trained with, where it says so; otherwise the recipe's."""
    if config.body != "ast" or config.warm_start is None:
        return config.log_mel
    try:
        values, _ = ASTFeatureExtractor.get_feature_extractor_dict(config.warm_start)
        mean, std = float(values["mean"]), float(values["std"])
    except (OSError, ValueError, KeyError, TypeError):
        log.warning("%s: says nothing of its normalisation; the recipe's is taken", config.warm_start)
        return config.log_mel
    return replace(config.log_mel, mean=mean, std=std)


@torch.no_grad()
def crop_positions(body: Any, frames: int) -> None:
    """Centre-crop an ASTModel's grid of position embeddings in time (1024 frames, 101 columns to 1000 and 99)."""
    rows, columns = body.embeddings.get_shape(body.config)
    body.config.max_length = frames
    _, wanted = body.embeddings.get_shape(body.config)
    if wanted > columns:
        raise ValueError(f"the AST checkpoint has {columns} positions in time, {wanted} are needed")
    special, grid = body.embeddings.position_embeddings.split([2, rows * columns], dim=1)
    first = (columns - wanted) // 2
    grid = grid.view(1, rows, columns, -1)[:, :, first : first + wanted].reshape(1, rows * wanted, -1)
    body.embeddings.position_embeddings = nn.Parameter(torch.cat([special, grid], dim=1))


def _bert(config: TextTowerConfig) -> Any:
    if config.warm_start is not None:
        return _pretrained(BertModel, config.warm_start, add_pooling_layer=False)
    return BertModel(BertConfig(**config.options), add_pooling_layer=False)


def _pretrained(kind: type[Any], name: str, **arguments: Any) -> Any:
    """A checkpoint of safetensors, from a directory or the hub; every weight of the body must be in it."""
    where = "directory" if Path(name).is_dir() else "hub"
    try:
        body, report = kind.from_pretrained(
            name, use_safetensors=True, trust_remote_code=False, output_loading_info=True, **arguments
        )
    except (OSError, ValueError) as error:
        reason = str(error).strip().splitlines()[0]
        raise ValueError(f"{name}: no {kind.__name__} could be loaded from the {where} ({reason})") from error
    if report["missing_keys"]:
        raise ValueError(f"{name}: not a {kind.__name__} checkpoint, it lacks {sorted(report['missing_keys'])[0]}")
    return body.float()
