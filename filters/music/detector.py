"""The contract of music detectors: a waveform in, a music score for each frame out.

The paper keeps a clip when a music detector finds that at least half of it is music. Which detector, and what "half"
counts, it leaves open; here that is stated once, for every detector: a `FrameGrid` says which seconds a score stands
for, and `filters.music.gate` counts them. How to write a detector: docs/extending.md.

Shape suffixes: T samples, F frames, W samples of a window.
"""

import math
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from schemas.digest import digest_bytes, digest_json
from schemas.one_line import one_line
from schemas.shard import CLIP_SAMPLE_RATE_HZ


class DetectorError(Exception):
    """A detector that cannot be loaded: one line that says which, why, and what to do."""


@dataclass(frozen=True, kw_only=True)
class FrameGrid:
    """Where frames stand in a clip, and which seconds each of them speaks for.

    Frame k looks at `window_s` seconds from `k * hop_s`. There are as many frames as it takes for every sample to be
    looked at, at least one; the last window, which may run over the end, sees zeros there. A frame *owns* the samples
    that are nearer to its centre than to any other's: `hop_s` in the middle, more at the head, and whatever is left at
    the tail. Owned samples are a partition of the clip, so a fraction of them can be neither above 1 nor below 0.
    """

    window_s: float
    hop_s: float

    def __post_init__(self) -> None:
        for name, seconds in (("window_s", self.window_s), ("hop_s", self.hop_s)):
            samples = seconds * CLIP_SAMPLE_RATE_HZ
            if not samples >= 1 or not math.isclose(samples, round(samples), abs_tol=1e-6):
                raise ValueError(f"{name}={seconds} is not a whole number of samples at {CLIP_SAMPLE_RATE_HZ} Hz")
        if self.hop_s > self.window_s:
            raise ValueError(f"hop_s={self.hop_s} is above window_s={self.window_s}: some sound would not be looked at")

    @property
    def window_samples(self) -> int:
        return round(self.window_s * CLIP_SAMPLE_RATE_HZ)

    @property
    def hop_samples(self) -> int:
        return round(self.hop_s * CLIP_SAMPLE_RATE_HZ)

    def frames(self, samples: int) -> int:
        """How many frames a clip of so many samples has: 61 for 30 s on YAMNet's grid."""
        if samples < 1:
            raise ValueError("a clip without samples has no frames")
        return max(0, -(-(samples - self.window_samples) // self.hop_samples)) + 1

    def owned_samples(self, samples: int) -> NDArray[np.int64]:
        """(F,) samples that each frame speaks for; they sum to `samples`."""
        boundaries = np.arange(self.frames(samples) + 1, dtype=np.int64) * self.hop_samples
        boundaries += (self.window_samples - self.hop_samples) // 2
        boundaries[0], boundaries[-1] = 0, samples
        return np.diff(boundaries)

    def windows(self, wave_T: NDArray[np.float32]) -> NDArray[np.float32]:
        """(F, W) the samples that each frame looks at, zeros beyond the end."""
        frames = self.frames(len(wave_T))
        padded_T = np.zeros((frames - 1) * self.hop_samples + self.window_samples, dtype=np.float32)
        padded_T[: len(wave_T)] = wave_T
        views = np.lib.stride_tricks.sliding_window_view(padded_T, self.window_samples)
        return views[:: self.hop_samples]


class MusicDetector(Protocol):
    """What the pipeline asks of a detector.

    `version` is of the code around the weights, raised when the same weights would score otherwise; `digest` names
    everything that a score depends on: weights, version, grid. `demo_grade` detectors are named as such in every
    report. A frame's score depends on that frame's window alone, or at most on its own clip, never on
    what else a worker has seen. One object belongs to one thread.
    """

    @property
    def name(self) -> str: ...
    @property
    def version(self) -> int: ...
    @property
    def digest(self) -> str: ...
    @property
    def grid(self) -> FrameGrid: ...
    @property
    def demo_grade(self) -> bool: ...

    def scores(self, wave_T: NDArray[np.float32]) -> NDArray[np.float32]:
        """(F,) music scores in [0, 1] of a 16 kHz mono clip in [-1, 1]; F is `grid.frames(len(wave_T))`.

        Raises ValueError for a wave that is not `judgeable`.
        """
        ...


def judgeable(wave_T: NDArray[np.float32]) -> NDArray[np.float32]:
    """The wave as it came. Raises ValueError for what no detector can judge, and some would score all the same."""
    if wave_T.ndim != 1 or not len(wave_T):
        raise ValueError(f"a clip is one row of samples, at least one, not an array of shape {wave_T.shape}")
    if not np.isfinite(wave_T).all():
        raise ValueError("a sample is not a finite number")
    return wave_T


def detector_digest(*, adapter: str, version: int, grid: FrameGrid, files: list[bytes]) -> str:
    """One name for weights, adapter version and grid; `files` are the contents that scores depend on."""
    return digest_json(
        {
            "adapter": adapter,
            "version": version,
            "window_samples": grid.window_samples,
            "hop_samples": grid.hop_samples,
            "files": [digest_bytes(content) for content in files],
        }
    )


def named_line(error: Exception) -> str:
    """An error of a library, of which the message alone may say too little."""
    return f"{type(error).__name__}: {one_line(error)}"
