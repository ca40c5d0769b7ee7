"""CLAP: any `ClapModel` checkpoint of `transformers`, from a folder with its weights in safetensors.

Audio is cut as every other recording is (trainer/cuts.py), into windows of the checkpoint's own length, and brought to
the rate of its own processor: 48 kHz, of which what the decoder leaves, at 16 kHz, has nothing above 8 kHz. A recording
below one window is repeated, as the checkpoint was trained to see it, not padded with zeros.

Legend: N windows, S samples at 16 kHz, D dimensions.
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from numpy.typing import NDArray
from scipy.signal import resample_poly

from schemas.shard import CLIP_SAMPLE_RATE_HZ
from trainer.cuts import cut, to_float
from trainer.evaluation.model import FloatArray
from trainer.model import Embedded, embed_windows
from trainer.recordings import Item, Reader, UnusableAudioError, Wave

_TEXTS_AT_ONCE = 64


class Clap:
    """Raises ValueError where a folder has no such checkpoint, or not all of its weights: what is missing would be
    drawn at random."""

    def __init__(self, folder: Path, device: str | None = None) -> None:
        if not folder.is_dir():
            raise ValueError(f"{folder}: there is no such folder, so no CLAP checkpoint")
        try:
            loaded: Any = transformers.ClapModel.from_pretrained(
                folder, use_safetensors=True, local_files_only=True, output_loading_info=True
            )
            self._model, said = loaded
            self._features: Any = transformers.ClapFeatureExtractor.from_pretrained(folder, local_files_only=True)
            self._tokenizer: Any = transformers.AutoTokenizer.from_pretrained(folder, local_files_only=True)
            self._device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
            self._model.to(self._device).eval()
        except (OSError, ValueError, KeyError, TypeError, RuntimeError, AssertionError) as error:
            line = (str(error).strip() or type(error).__name__).splitlines()[0]
            raise ValueError(f"{folder}: not a CLAP checkpoint of transformers ({line})") from error
        if missing := sorted(said["missing_keys"]):
            raise ValueError(f"{folder}: has no weights for {missing[0]}, one of {len(missing)} that are missing")
        self._rate_hz = int(self._features.sampling_rate)
        self.window_s = self._features.nb_max_samples / self._rate_hz
        self._window = round(self.window_s * CLIP_SAMPLE_RATE_HZ)
        self.dimension = int(self._model.config.projection_dim)
        self._fuses = bool(self._model.config.audio_config.enable_fusion)

    @torch.inference_mode()
    def embed_text(self, texts: Sequence[str]) -> FloatArray:
        rows = [np.zeros((0, self.dimension), np.float32)]
        longest = self._model.config.text_config.max_position_embeddings - 2
        for start in range(0, len(texts), _TEXTS_AT_ONCE):
            tokens = self._tokenizer(
                list(texts[start : start + _TEXTS_AT_ONCE]),
                padding=True,
                truncation=True,
                max_length=longest,
                return_tensors="pt",
            ).to(self._device)
            found = self._model.get_text_features(
                input_ids=tokens["input_ids"], attention_mask=tokens["attention_mask"]
            )
            rows.append(found.pooler_output.float().cpu().numpy())
        return np.concatenate(rows)

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
        return embed_windows(waves, self._embed, self._window, self.dimension, cut_into=_repeated)

    @torch.inference_mode()
    def _embed(self, pcm_NS: NDArray[np.int16]) -> NDArray[np.float32]:
        common = math.gcd(self._rate_hz, CLIP_SAMPLE_RATE_HZ)
        up, down = self._rate_hz // common, CLIP_SAMPLE_RATE_HZ // common
        waves = [resample_poly(to_float(pcm_S), up, down) for pcm_S in pcm_NS]
        inputs = self._features(
            [wave[: self._features.nb_max_samples] for wave in waves],
            sampling_rate=self._rate_hz,
            truncation="fusion" if self._fuses else "rand_trunc",
            return_tensors="pt",
        )
        found = self._model.get_audio_features(
            input_features=inputs["input_features"].to(self._device),
            # No window is longer than the model's; its processor would call one of them longer at random.
            is_longer=torch.zeros((len(waves), 1), dtype=torch.bool, device=self._device),
        )
        z_ND: NDArray[np.float32] = found.pooler_output.float().cpu().numpy()
        return z_ND


def _repeated(pcm_T: NDArray[np.int16], window: int) -> list[NDArray[np.int16]]:
    """As `cut`, but a recording below one window goes on with itself, as often as it fits whole."""
    if 0 < len(pcm_T) < window:
        pcm_T = np.tile(pcm_T, window // len(pcm_T))
    return cut(pcm_T, window)
