"""The builtin detector: a small network on hand-made features, trained on synthesised sound alone. Demo-grade.

It needs no download and nothing but numpy, so that a first run and the demo work anywhere; for a corpus that matters
use YAMNet. Its weights, a JSON file beside this one, are made by `python -m filters.music.builtin.training`.
"""

import json
from dataclasses import dataclass
from importlib import resources
from typing import Any

import numpy as np
from numpy.typing import NDArray

from filters.music.builtin import NAME
from filters.music.builtin.features import GRID, features, names
from filters.music.detector import DetectorError, FrameGrid, detector_digest, judgeable

WEIGHTS_NAME = "builtin_weights.json"
INPUT_CLIP = 3.0  # standard deviations: real sound may lie far outside of what was synthesised

Array = NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class Weights:
    """One hidden layer of tanh. `shift` moves the balance point of the output to the gate's threshold."""

    centre_I: Array
    scale_I: Array
    hidden_IH: Array
    hidden_bias_H: Array
    output_H: Array
    output_bias: float
    shift: float

    def logits(self, features_FI: Array) -> Array:
        """(F,) log odds of music, before the shift."""
        standard_FI = np.clip((features_FI - self.centre_I) / self.scale_I, -INPUT_CLIP, INPUT_CLIP)
        hidden_FH = np.tanh(standard_FI @ self.hidden_IH + self.hidden_bias_H)
        logits_F: Array = hidden_FH @ self.output_H + np.float32(self.output_bias)
        return logits_F

    def to_json(self, training: dict[str, Any]) -> str:
        """Seven digits a number, as much as float32 has; `training` says where the weights come from."""

        def plain(value: Any) -> Any:
            return np.vectorize(lambda number: float(f"{number:.7g}"))(value).tolist()

        entries = {name: plain(getattr(self, name)) for name in self.__dataclass_fields__}
        content = {"training": training, "features": names(), **entries}
        return json.dumps(content, indent=None, separators=(",", ":")) + "\n"

    @classmethod
    def from_json(cls, text: str) -> "Weights":
        """Raises ValueError where the weights belong to other features."""
        value = json.loads(text)
        del value["training"]
        if value.pop("features") != names():
            raise ValueError("made for other features; run `python -m filters.music.builtin.training`")
        arrays = {name: np.array(entry, dtype=np.float32) for name, entry in value.items() if isinstance(entry, list)}
        return cls(**{**value, **arrays})


class BuiltinDetector:
    """A `MusicDetector`: the probability that a window of three seconds is music."""

    name = NAME
    version = 1  # raised when the same weights score otherwise (tests/test_versions.py)
    demo_grade = True
    grid: FrameGrid = GRID

    def __init__(self, weights: Weights, digest: str) -> None:
        self._weights = weights
        self.digest = digest

    def scores(self, wave_T: Array) -> Array:
        logits_F = self._weights.logits(features(judgeable(wave_T))) + np.float32(self._weights.shift)
        scores_F: Array = (1.0 / (1.0 + np.exp(-logits_F))).astype(np.float32)
        return scores_F


def load() -> BuiltinDetector:
    """Raises DetectorError where the package lacks its weights."""
    try:
        content = resources.files("filters.music.builtin").joinpath(WEIGHTS_NAME).read_bytes()
        weights = Weights.from_json(content.decode("utf-8"))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DetectorError(f"{WEIGHTS_NAME}: {error}; reinstall openmulan") from error
    kind = BuiltinDetector
    return kind(weights, detector_digest(adapter=kind.name, version=kind.version, grid=kind.grid, files=[content]))
