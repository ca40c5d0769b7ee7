"""MuQ-MuLan: Tencent AI Lab's `muq` package (MIT), and a folder with its weights as on the hub.

The weights of MuQ-MuLan-large are CC BY-NC 4.0: for no commercial use. Windows are of 10 s at 24 kHz, and what is
shorter begins again until it fills one, as the package does. The package takes the configuration of both towers from
the hub or its cache by the names that the folder gives, and would run code that lies there; so folders with other names
than the published ones are refused.

The published weights were never run here: tests make some at random, of the same layout and small.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from schemas.hub import check_answers
from schemas.one_line import one_line
from trainer.evaluation.model import FloatArray
from trainer.evaluation.peers.peer import Peer, device_of

_TOWERS = {"audio_model": "OpenMuQ/MuQ-large-msd-iter", "text_model": "xlm-roberta-base"}


class MuqMulan(Peer):
    """Raises ValueError where a folder has no such checkpoint, or not all of its weights, and ModuleNotFoundError where
    the package is not installed."""

    def __init__(self, folder: Path, device: str | None = None) -> None:
        from muq import MuQMuLan

        try:
            config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
            named = {tower: config[tower]["name"] for tower in _TOWERS}
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ValueError(f"{folder / 'config.json'}: not MuQ-MuLan's ({one_line(error)})") from error
        if named != _TOWERS:
            raise ValueError(f"{folder / 'config.json'}: its towers are not {' and '.join(_TOWERS.values())}")
        try:
            for tower in _TOWERS.values():
                check_answers(tower)
            made: Any = MuQMuLan.from_pretrained(str(folder), strict=True)
            self._device = device_of(device)
            self._model = made.to(self._device).eval()
        except Exception as error:  # a package and a file of others may fail in any way
            raise ValueError(f"{folder}: cannot be read as MuQ-MuLan ({one_line(error)})") from error
        self.rate_hz, self.window_s = int(made.sr), float(made.clip_secs)
        self.dimension = int(config["mulan"]["dim_latent"])

    def embed_some_texts(self, texts: list[str]) -> FloatArray:
        return np.asarray(self._model(texts=texts).float().cpu().numpy())

    def embed_at_rate(self, waves: Sequence[FloatArray]) -> FloatArray:
        windows = torch.from_numpy(np.stack(waves).astype(np.float32)).to(self._device)
        return np.asarray(self._model(wavs=windows).float().cpu().numpy())
