"""What the models of others have in common here: windows of their own length at their own sampling rate.

Audio is cut as every other recording is (trainer/cuts.py) and brought to the model's rate; of what the decoder leaves,
at 16 kHz, it has nothing above 8 kHz.

Legend: N windows, S samples at 16 kHz, D dimensions.
"""

import abc
import math
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.signal import resample_poly

from schemas.shard import CLIP_SAMPLE_RATE_HZ
from trainer.cuts import cut, to_float
from trainer.evaluation.model import FloatArray
from trainer.model import Embedded, embed_windows
from trainer.recordings import Item, Reader, UnusableAudioError, Wave

TEXTS_AT_ONCE = 64


class Peer(abc.ABC):
    """Subclasses set the fields when they are made, and say how windows and texts become rows.

    `prompt` is what its publishers put around a class's name in zero-shot tagging, `{}` being the name.
    """

    rate_hz: int
    window_s: float
    dimension: int
    prompt: str = "{}"

    @abc.abstractmethod
    def embed_at_rate(self, waves: Sequence[FloatArray]) -> FloatArray:
        """(N, D) of N windows at `rate_hz`."""

    @abc.abstractmethod
    def embed_some_texts(self, texts: list[str]) -> FloatArray:
        """(N, D) of no more than TEXTS_AT_ONCE."""

    @staticmethod
    def cut_into(wave_T: NDArray[Any], window: int) -> list[NDArray[Any]]:
        """As `cut`, but a recording below one window begins again until it is filled."""
        return cut(np.resize(wave_T, window) if 0 < len(wave_T) < window else wave_T, window)

    def embed_text(self, texts: Sequence[str]) -> FloatArray:
        batches = [list(texts[start : start + TEXTS_AT_ONCE]) for start in range(0, len(texts), TEXTS_AT_ONCE)]
        with torch.inference_mode():
            rows = [self.embed_some_texts(batch) for batch in batches]
        return np.concatenate([np.zeros((0, self.dimension), np.float32), *rows])

    def embed_audio(self, waves: Sequence[Any]) -> FloatArray:
        """Raises UnusableAudioError, a ValueError that names the recording."""
        rows = [np.zeros(self.dimension, np.float32)][:0]
        with Reader() as reader:
            for _, found in self.embed_waves(reader.waves(waves, lambda item: item)):
                if isinstance(found, UnusableAudioError):
                    raise found
                rows.append(found.row)
        return np.stack(rows) if rows else np.zeros((0, self.dimension), np.float32)

    def embed_waves(
        self, waves: Iterable[tuple[Item, Wave | UnusableAudioError]]
    ) -> Iterator[tuple[Item, Embedded | UnusableAudioError]]:
        window = round(self.window_s * CLIP_SAMPLE_RATE_HZ)
        return embed_windows(waves, self._embed, window, self.dimension, cut_into=self.cut_into)

    @torch.inference_mode()
    def _embed(self, pcm_NS: NDArray[np.int16]) -> NDArray[np.float32]:
        common = math.gcd(self.rate_hz, CLIP_SAMPLE_RATE_HZ)
        up, down = self.rate_hz // common, CLIP_SAMPLE_RATE_HZ // common
        longest = round(self.window_s * self.rate_hz)
        return self.embed_at_rate([resample_poly(to_float(pcm_S), up, down)[:longest] for pcm_S in pcm_NS])


def device_of(name: str | None) -> torch.device:
    return torch.device(name or ("cuda" if torch.cuda.is_available() else "cpu"))
