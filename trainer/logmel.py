"""Log-mel on the device, from 16 kHz audio: 25 ms Hann window, 10 ms hop (section 3.2 of the paper).

One definition with the few switches that tell the field's two conventions apart: `kaldi` is Kaldi's fbank as AST was
trained with (whole frames, mean removed, pre-emphasis, triangles in mel), `htk` is what librosa computes with
`htk=True` (no mean removal, no pre-emphasis, triangles in Hz).

Legend: B clips, S samples, T frames, W samples of a frame, K frequency bins, F mel bins.
"""

import warnings
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from transformers.audio_utils import mel_filter_bank

from schemas.shard import CLIP_SAMPLE_RATE_HZ
from trainer.cuts import INT16_SCALE

FRAME_SAMPLES = 400
HOP_SAMPLES = 160
FFT_SAMPLES = 512
_FLOOR = 1.192092955078125e-07  # Kaldi's: the float32 epsilon


@dataclass(frozen=True, kw_only=True)
class LogMelConfig:
    """`mean` and `std` normalise as (x − mean) / (2·std), AST's convention; the defaults are AST's for AudioSet."""

    mel_bins: int = 128
    frames: int = 1000
    convention: str = "kaldi"
    min_frequency_hz: float = 20.0
    max_frequency_hz: float = CLIP_SAMPLE_RATE_HZ / 2
    mean: float = -4.2677393
    std: float = 4.5689974

    def __post_init__(self) -> None:
        if self.convention not in ("kaldi", "htk"):
            raise ValueError(f"log-mel convention is {self.convention!r}; it may be kaldi or htk")
        if self.mel_bins < 1 or self.frames < 1 or self.std <= 0:
            raise ValueError("mel_bins, frames and std must be positive")
        if not 0 <= self.min_frequency_hz < self.max_frequency_hz <= CLIP_SAMPLE_RATE_HZ / 2:
            raise ValueError("mel frequencies must rise from 0 to at most half the sample rate")


class LogMel(nn.Module):
    """wave_BS (float in [−1, 1], or int16) to normalised log-mel_BFT, in float32 whatever the autocast."""

    window_W: Tensor
    filters_KF: Tensor

    def __init__(self, config: LogMelConfig) -> None:
        super().__init__()
        self.config = config
        periodic = config.convention == "htk"
        window = torch.hann_window(FRAME_SAMPLES, periodic=periodic, dtype=torch.float64)
        self.register_buffer("window_W", window.float(), persistent=False)
        self.register_buffer("filters_KF", torch.tensor(mel_filters(config), dtype=torch.float32), persistent=False)

    @torch.no_grad()
    def forward(self, wave_BS: Tensor) -> Tensor:
        with torch.autocast(wave_BS.device.type, enabled=False):
            log_mel_BTF = self.raw(wave_BS)[:, : self.config.frames]
            missing = self.config.frames - log_mel_BTF.shape[1]
            # AST pads its fbank with zeros before it normalises; a 10 s window has 998 whole frames.
            padded_BTF = nn.functional.pad(log_mel_BTF, (0, 0, 0, missing))
            return ((padded_BTF - self.config.mean) / (2 * self.config.std)).transpose(1, 2)

    def extra_repr(self) -> str:
        return f"{self.config.mel_bins} mel bins"

    def raw(self, wave_BS: Tensor) -> Tensor:
        """Log-mel_BTF of the whole frames, not normalised."""
        frames_BTW = float_wave(wave_BS, self.window_W.dtype).unfold(1, FRAME_SAMPLES, HOP_SAMPLES)
        if self.config.convention == "kaldi":
            frames_BTW = frames_BTW - frames_BTW.mean(dim=2, keepdim=True)
            before_BTW = torch.cat([frames_BTW[..., :1], frames_BTW[..., :-1]], dim=2)
            frames_BTW = frames_BTW - 0.97 * before_BTW
        spectrum_BTK = torch.fft.rfft(frames_BTW * self.window_W, n=FFT_SAMPLES)
        power_BTK = spectrum_BTK.real.square() + spectrum_BTK.imag.square()  # abs() would take a root first
        mel_BTF: Tensor = power_BTK @ self.filters_KF
        return mel_BTF.clamp_min(_FLOOR).log()


def float_wave(wave_BS: Tensor, dtype: torch.dtype) -> Tensor:
    """In [−1, 1], of floats or int16."""
    return wave_BS.to(dtype) / (INT16_SCALE if wave_BS.dtype == torch.int16 else 1.0)


def mel_filters(config: LogMelConfig) -> NDArray[np.float64]:
    """Triangles, K × F, of height 1; Kaldi draws their sides straight in mel, HTK in Hz."""
    with warnings.catch_warnings():
        # Kaldi's lowest filters are narrower than a frequency bin, and stay empty there too.
        warnings.filterwarnings("ignore", message="At least one mel filter has all zero values")
        filters_KF = mel_filter_bank(
            num_frequency_bins=FFT_SAMPLES // 2 + 1,
            num_mel_filters=config.mel_bins,
            min_frequency=config.min_frequency_hz,
            max_frequency=config.max_frequency_hz,
            sampling_rate=CLIP_SAMPLE_RATE_HZ,
            mel_scale=config.convention,
            triangularize_in_mel_space=config.convention == "kaldi",
        )
    return np.asarray(filters_KF, np.float64)
