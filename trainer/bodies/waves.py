"""Waves as a body takes them that learns its own filters, at 16 kHz: scaled, and normalised where it was trained so.

Legend: B clips, S samples.
"""

import torch
from torch import Tensor, nn

from trainer.logmel import float_wave

_VARIANCE_FLOOR = 1e-7  # that of `Wav2Vec2FeatureExtractor`


class Waves(nn.Module):
    """wave_BS (float in [−1, 1], or int16) in float32, of zero mean and unit variance a clip where `normalise`."""

    def __init__(self, *, normalise: bool) -> None:
        super().__init__()
        self.normalise = normalise

    @torch.no_grad()
    def forward(self, wave_BS: Tensor) -> Tensor:
        wave_BS = float_wave(wave_BS, torch.float32)
        if not self.normalise:
            return wave_BS
        variance_B1, mean_B1 = torch.var_mean(wave_BS, dim=1, correction=0, keepdim=True)
        return (wave_BS - mean_B1) / (variance_B1 + _VARIANCE_FLOOR).sqrt()

    def extra_repr(self) -> str:
        return "normalised waves" if self.normalise else "waves"
