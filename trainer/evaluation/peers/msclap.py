"""MS-CLAP: Microsoft's `msclap` package (MIT) and its weights, `CLAP_weights_2022.pth` or `CLAP_weights_2023.pth`.

Windows are of 5 s (2022) or 7 s (2023) at 44.1 kHz, and what is shorter is repeated until it fills one, as the package
does; it would draw one window of a longer recording at random, where here the mean of all is taken. Of the 14 kHz that
2022 hears it is given 8; 2023 hears no more than that. Weights are read by torch as weights alone, which runs no code
of theirs. The text encoder's configuration and tokenizer (`bert-base-uncased`, `gpt2`) come from the hub or its cache.

The published weights were never run here: tests make some at random, of the same names and shapes.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from schemas.hub import check_answers
from schemas.one_line import one_line
from trainer.evaluation.model import FloatArray
from trainer.evaluation.peers.peer import Peer, device_of

_TEXT_ENCODERS = {"2022": "bert-base-uncased", "2023": "gpt2"}
# microsoft/CLAP: dataset_inference.py, as it was with the weights of 2022, and examples/zero_shot_classification.py.
_PROMPTS = {"2022": "this is a sound of {}", "2023": "this is the sound of {}"}


class MsClap(Peer):
    """Raises ValueError where a folder has not the weights of one version, or not all of them, and ModuleNotFoundError
    where the package is not installed."""

    def __init__(self, folder: Path, device: str | None = None) -> None:
        from msclap import CLAP

        found = [v for v in _TEXT_ENCODERS if (folder / _weights(v)).is_file()]
        if len(found) != 1:
            raise ValueError(f"{folder}: holds not one of {' and '.join(map(_weights, _TEXT_ENCODERS))}")
        (version,) = found
        self.prompt = _PROMPTS[version]
        path = folder / _weights(version)
        try:
            check_answers(_TEXT_ENCODERS[version])
            made: Any = CLAP(model_fp=path, version=version)
            weights = torch.load(path, map_location="cpu", weights_only=True)["model"]
            missing = sorted(made.clap.load_state_dict(weights, strict=False).missing_keys)
            self._device = device_of(device)
            self._model = made.clap.to(self._device).eval()
        except Exception as error:  # a package and a file of others may fail in any way
            raise ValueError(f"{path}: cannot be read as MS-CLAP's weights ({one_line(error)})") from error
        if missing:
            raise ValueError(f"{path}: has no weights for {missing[0]}, one of {len(missing)} that are missing")
        self._tokenizer, self._text_length = made.tokenizer, int(made.args.text_len)
        self._token_keys, self._ends = made.token_keys, " <|endoftext|>" if version == "2023" else ""
        self.rate_hz, self.window_s = int(made.args.sampling_rate), float(made.args.duration)
        self.dimension = int(made.args.d_proj)

    def embed_some_texts(self, texts: list[str]) -> FloatArray:
        tokens = self._tokenizer(
            [text + self._ends for text in texts],
            padding="max_length",
            truncation=True,
            max_length=self._text_length,
            return_tensors="pt",
        )
        rows = self._model.caption_encoder({key: tokens[key].to(self._device) for key in self._token_keys})
        return np.asarray(rows.float().cpu().numpy())

    def embed_at_rate(self, waves: Sequence[FloatArray]) -> FloatArray:
        windows = torch.from_numpy(np.stack(waves).astype(np.float32)).to(self._device)
        rows, _ = self._model.audio_encoder(windows)  # and the probabilities of AudioSet's classes
        return np.asarray(rows.float().cpu().numpy())


def _weights(version: str) -> str:
    return f"CLAP_weights_{version}.pth"
