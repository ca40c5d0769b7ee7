"""The music gate: what share of a clip is music by a detector's scores, and whether that is enough.

Shape suffixes: F frames.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from filters.music.detector import FrameGrid
from schemas.shard import CLIP_SAMPLE_RATE_HZ


@dataclass(frozen=True, kw_only=True)
class MusicGateConfig:
    """Keep a clip when at least `min_fraction` of it (the paper's half) scores `threshold` or above.

    0.3 is the threshold for every detector here: YAMNet's Music class is cautious, and the builtin's scores are shifted
    so that its own balance point lies there too.
    """

    threshold: float = 0.3
    min_fraction: float = 0.5

    def __post_init__(self) -> None:
        if not 0.0 < self.threshold <= 1.0:
            raise ValueError(f"threshold={self.threshold} must be above 0 and at most 1")
        if not 0.0 <= self.min_fraction <= 1.0:
            raise ValueError(f"min_fraction={self.min_fraction} must be between 0 and 1")

    def keeps(self, fraction: float) -> bool:
        return fraction >= self.min_fraction


def music_fraction(scores_F: NDArray[np.float32], grid: FrameGrid, *, threshold: float, duration_s: float) -> float:
    """Music seconds over clip seconds, in [0, 1]: the share of the clip owned by frames at or above the threshold.

    Raises ValueError where the scores are not those of a clip of `duration_s`, or not finite.
    """
    samples = round(duration_s * CLIP_SAMPLE_RATE_HZ)
    owned_F = grid.owned_samples(samples)
    if scores_F.shape != owned_F.shape:
        raise ValueError(f"{scores_F.shape} scores for a clip of {duration_s} s, which has {len(owned_F)} frames")
    if not np.isfinite(scores_F).all():
        raise ValueError("a score is not a finite number")
    return int(owned_F[scores_F >= threshold].sum()) / samples
