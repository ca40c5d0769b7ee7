"""Audio Spectrogram Transformer (Gong et al. 2021): the state at [CLS] (section 3.2 of the paper).

A checkpoint brings its normalisation of the log-mel, and its grid of positions is cropped to our frames.
"""

import logging
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from transformers import ASTConfig, ASTModel

from trainer.bodies.body import AudioBody, AudioTowerConfig
from trainer.bodies.pretrained import extractor_settings

log = logging.getLogger(__name__)


class AST(AudioBody):
    architecture = ASTModel

    def configuration(self) -> ASTConfig:
        mel = self.config.log_mel
        return ASTConfig(num_mel_bins=mel.mel_bins, max_length=mel.frames, **self.config.options)

    def said_by_checkpoint(self) -> AudioTowerConfig:
        return with_checkpoint_log_mel(self.config)

    def fitted(self, body: Any) -> Any:
        bins = self.config.log_mel.mel_bins
        if body.config.num_mel_bins != bins:
            raise ValueError(f"{self.config.warm_start}: has {body.config.num_mel_bins} mel bins, the recipe {bins}")
        crop_positions(body, self.config.log_mel.frames)
        return body

    def features(self, body: Any, mel_BFT: Tensor) -> Tensor:
        h_BH: Tensor = body(mel_BFT.transpose(1, 2)).last_hidden_state[:, 0]
        return h_BH


def with_checkpoint_log_mel(config: AudioTowerConfig) -> AudioTowerConfig:
    """With the mean and deviation that the checkpoint was trained with, where it says so."""
    if config.warm_start is None:
        return config
    settings = extractor_settings(config.warm_start)
    try:
        log_mel = replace(config.log_mel, mean=float(settings["mean"]), std=float(settings["std"]))
    except (KeyError, TypeError, ValueError):
        log.warning("%s: says nothing of its normalisation; the recipe's is taken", config.warm_start)
        return config
    return replace(config, log_mel=log_mel)


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
