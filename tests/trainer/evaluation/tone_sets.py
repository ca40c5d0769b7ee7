"""Clips that a model can tell apart by ear: tones of their own frequency, and an oracle that knows their texts."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from trainer.evaluation.model import FloatArray, RandomModel, unit_rows

RATE_HZ = 16_000
FIRST_HZ, STEP_HZ = 200, 30
# Options of a training of `tiny` on a few recordings.
IN_SMALL_BATCHES = (
    *("--batch_size", "16", "--set", "lanes=2", "--set", "audio.ghost_batch_size=8"),
    *("--workers", "0"),
)
DIM = 1024  # wide, so that directions at random hardly meet and an oracle can be perfect


def tone(number: int, duration_s: float = 0.5) -> FloatArray:
    t = np.arange(round(duration_s * RATE_HZ)) / RATE_HZ
    return (0.5 * np.sin(2 * np.pi * (FIRST_HZ + STEP_HZ * number) * t)).astype(np.float32)


def heard(wave: FloatArray) -> int:
    """The number of the tone that a wave holds."""
    spectrum = np.abs(np.fft.rfft(wave))
    return round((float(np.argmax(spectrum)) * RATE_HZ / len(wave) - FIRST_HZ) / STEP_HZ)


@dataclass
class Tones:
    """Writes tone files and remembers which texts belong to each, and which texts mean the same."""

    texts_of: dict[int, list[str]] = field(default_factory=dict)
    same_as: dict[str, str] = field(default_factory=dict)

    def write(self, path: Path, texts: Sequence[str], duration_s: float = 0.5) -> int:
        number = len(self.texts_of)
        assert FIRST_HZ + STEP_HZ * number < RATE_HZ / 2 - 200
        self.texts_of[number] = list(texts)
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, tone(number, duration_s), RATE_HZ)
        return number

    def oracle(self) -> "Oracle":
        return Oracle(self)


class Oracle:
    """Hears which clip it is, and embeds it as the sum of the texts that belong to it."""

    def __init__(self, tones: Tones) -> None:
        self._tones = tones
        self._random = RandomModel(seed=1, dim=DIM)

    def embed_text(self, texts: list[str]) -> FloatArray:
        return self._random.embed_text([self._tones.same_as.get(text, text) for text in texts])

    def embed_audio(self, waves: Sequence[Any]) -> FloatArray:
        rows = []
        for wave in waves:
            number = heard(wave)
            texts = self._tones.texts_of[number] or [f"nothing {number}"]
            rows.append(self.embed_text(texts).sum(axis=0))
        return unit_rows(np.stack(rows), "oracle", len(rows))


WriteRun = Callable[[Path, Sequence[dict[str, Any]]], Path]
