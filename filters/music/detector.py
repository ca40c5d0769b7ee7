"""The music detector's protocol: a waveform in, a music score for each frame out, and what the gate makes of them.

The paper keeps a clip when a music detector finds that at least half of it is music. Which detector, and what "half"
counts, it leaves open; here that is stated once, for every detector: a `FrameGrid` says which seconds a score stands
for, and `music_fraction` is music seconds over clip seconds. How to write a detector: docs/music-detection.md.

Shape suffixes: T samples, F frames, W samples of a window.
"""

import importlib
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from schemas.digest import digest_bytes, digest_json
from schemas.shard import CLIP_SAMPLE_RATE_HZ

BUILTIN = "builtin"
TFHUB_YAMNET = "https://tfhub.dev/google/yamnet/1"
MUSIC_MID = "/m/04rlf"  # "Music" in AudioSet's ontology


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


# YAMNet's patch of 96 log-mel frames takes 0.975 s of sound; half of it is the hop.
YAMNET_GRID = FrameGrid(window_s=0.975, hop_s=0.4875)


class MusicDetector(Protocol):
    """What the pipeline asks of a detector.

    `digest` names everything that a score depends on: weights, adapter version, grid. `demo_grade` detectors are named
    as such in every report. A frame's score depends on that frame's window alone, or at most on its own clip, never on
    what else a worker has seen. One object belongs to one thread.
    """

    @property
    def name(self) -> str: ...
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


def one_line(error: BaseException) -> str:
    """An error of a library, whose message may run over many lines."""
    return " ".join(f"{type(error).__name__}: {error}".split())


def import_or_explain(module: str, extra: str) -> Any:
    """An optional dependency, or a DetectorError that names the extra to install."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise DetectorError(f"this detector needs {module} ({error}): pip install 'openmulan[{extra}]'") from error


def load_detector(spec: str) -> MusicDetector:
    """The detector that `--music_detector` names; each adapter's dependencies are imported only when it is asked for.

    `builtin`, a `.tflite` file of YAMNet, a folder with YAMNet as a SavedModel, or a TF-Hub handle such as
    https://tfhub.dev/google/yamnet/1. Raises DetectorError.
    """
    if spec == BUILTIN:
        from filters.music.builtin.detector import BuiltinDetector

        return BuiltinDetector.load()
    if spec.startswith(("https://", "http://")):
        from filters.music.yamnet_savedmodel import YamnetSavedModel

        return YamnetSavedModel.from_handle(spec)
    path = Path(spec)
    if path.is_dir():
        from filters.music.yamnet_savedmodel import YamnetSavedModel

        return YamnetSavedModel.from_folder(path)
    if path.suffix == ".tflite":
        from filters.music.yamnet_tflite import YamnetTflite

        return YamnetTflite.load(path)
    raise DetectorError(
        f"music detector {spec!r}: neither '{BUILTIN}', nor a .tflite file, nor a folder that is there, "
        f"nor a TF-Hub handle such as {TFHUB_YAMNET}"
    )
