"""SpecAugment (Park et al. 2019) with the parameters of AST (section 3.2 of the paper): one frequency mask and one time
mask. That they hide cells of the normalised log-mel is ours; AST's code hides them before.

The masks are drawn per example by name, on the host, and travel with it: both passes of GradCache, any split over ranks
and any resume hide the same cells.
"""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from trainer.draw import Part, draw_below


class Masks(NamedTuple):
    """Hidden bins [first_bin, first_bin + bins) and frames [first_frame, first_frame + frames)."""

    first_bin: int = 0
    bins: int = 0
    first_frame: int = 0
    frames: int = 0


@dataclass(frozen=True, kw_only=True)
class SpecAugment:
    """Widths are uniform from 0 to these maxima; `mel_bins` and `mel_frames` are the size of the log-mel."""

    mel_bins: int
    mel_frames: int
    max_bins: int
    max_frames: int

    def __post_init__(self) -> None:
        if not 0 <= self.max_bins <= self.mel_bins or not 0 <= self.max_frames <= self.mel_frames:
            raise ValueError("a SpecAugment mask may not be larger than the log-mel")

    def draw(self, *name: Part) -> Masks:
        bins = draw_below(self.max_bins + 1, *name, "mask bins")
        frames = draw_below(self.max_frames + 1, *name, "mask frames")
        return Masks(
            first_bin=draw_below(self.mel_bins - bins + 1, *name, "mask first bin"),
            bins=bins,
            first_frame=draw_below(self.mel_frames - frames + 1, *name, "mask first frame"),
            frames=frames,
        )


def apply_masks(mel_BFT: Tensor, masks_B4: Tensor) -> Tensor:
    """Zero (the mean of a normalised log-mel) in the hidden bins F and frames T; `masks_B4` holds `Masks` as rows."""
    bin_F = torch.arange(mel_BFT.shape[1], device=mel_BFT.device)
    frame_T = torch.arange(mel_BFT.shape[2], device=mel_BFT.device)
    hidden_BF = _inside(bin_F, masks_B4[:, 0], masks_B4[:, 1])
    hidden_BT = _inside(frame_T, masks_B4[:, 2], masks_B4[:, 3])
    return mel_BFT.masked_fill(hidden_BF[:, :, None] | hidden_BT[:, None, :], 0.0)


def _inside(place: Tensor, first_B: Tensor, width_B: Tensor) -> Tensor:
    return (place >= first_B[:, None]) & (place < (first_B + width_B)[:, None])
