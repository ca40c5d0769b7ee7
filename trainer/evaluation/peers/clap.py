"""CLAP: any `ClapModel` checkpoint of `transformers`, from a folder with its weights in safetensors.

Windows are of the length and the rate (48 kHz) of the checkpoint's own processor. A recording below one window is
repeated, as the checkpoint was trained to see it, not padded with zeros.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from numpy.typing import NDArray

from schemas.one_line import one_line
from trainer.cuts import cut
from trainer.evaluation.model import FloatArray
from trainer.evaluation.peers.peer import Peer, device_of


class Clap(Peer):
    """Raises ValueError where a folder has no such checkpoint, or not all of its weights: what is missing would be
    drawn at random."""

    prompt = "This is a sound of {}"  # LAION-AI/CLAP, src/laion_clap/evaluate/eval_zeroshot_classification.py

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
            self._device = device_of(device)
            self._model.to(self._device).eval()
        except (OSError, ValueError, KeyError, TypeError, RuntimeError, AssertionError) as error:
            raise ValueError(f"{folder}: not a CLAP checkpoint of transformers ({one_line(error)})") from error
        if missing := sorted(said["missing_keys"]):
            raise ValueError(f"{folder}: has no weights for {missing[0]}, one of {len(missing)} that are missing")
        self.rate_hz = int(self._features.sampling_rate)
        self.window_s = self._features.nb_max_samples / self.rate_hz
        self.dimension = int(self._model.config.projection_dim)
        self._fuses = bool(self._model.config.audio_config.enable_fusion)

    @staticmethod
    def cut_into(wave_T: NDArray[Any], window: int) -> list[NDArray[Any]]:
        """As `cut`, but a recording below one window goes on with itself, as often as it fits whole."""
        return cut(np.tile(wave_T, window // len(wave_T)) if 0 < len(wave_T) < window else wave_T, window)

    def embed_some_texts(self, texts: list[str]) -> FloatArray:
        tokens = self._tokenizer(
            texts,
            padding=True,
            truncation=True,
            max_length=self._model.config.text_config.max_position_embeddings - 2,
            return_tensors="pt",
        ).to(self._device)
        found = self._model.get_text_features(input_ids=tokens["input_ids"], attention_mask=tokens["attention_mask"])
        rows: FloatArray = found.pooler_output.float().cpu().numpy()
        return rows

    def embed_at_rate(self, waves: Sequence[FloatArray]) -> FloatArray:
        inputs = self._features(
            list(waves),
            sampling_rate=self.rate_hz,
            truncation="fusion" if self._fuses else "rand_trunc",
            return_tensors="pt",
        )
        found = self._model.get_audio_features(
            input_features=inputs["input_features"].to(self._device),
            # No window is longer than the model's; its processor would call one of them longer at random.
            is_longer=torch.zeros((len(waves), 1), dtype=torch.bool, device=self._device),
        )
        rows: FloatArray = found.pooler_output.float().cpu().numpy()
        return rows
