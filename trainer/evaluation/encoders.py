"""Text encoders that the text triplets compare with: mean-pooled BERT, SBERT, SimCSE, and USE.

Each has `embed_text` alone. Weights are read from safetensors only, and no code of a model repository is run.
"""

import json
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

import numpy as np

from schemas.hub import check_answers
from schemas.native import before_tensorflow
from trainer.evaluation.clips import EvaluationDataError
from trainer.evaluation.model import FloatArray


class Pooling(StrEnum):
    """How tokens become one row; `auto` is what a sentence-transformers directory states, or the mean."""

    AUTO = "auto"
    MEAN = "mean"
    CLS = "cls"


@dataclass(frozen=True, kw_only=True)
class EncoderConfig:
    """`name_or_folder` is a directory or a hub name.

    Mean-pooled BERT is `bert-base-uncased` with `mean`; SimCSE's published checkpoints want `cls`.
    """

    name_or_folder: str
    pooling: Pooling = Pooling.AUTO
    max_tokens: int = 512
    batch_size: int = 64

    def __post_init__(self) -> None:
        if self.max_tokens < 1 or self.batch_size < 1:
            raise ValueError("encoder: max_tokens and batch_size are at least 1")


class TransformersEncoder:
    """A sentence encoder of `transformers`: mean over the attended tokens, or the first token."""

    def __init__(self, config: EncoderConfig) -> None:
        import transformers

        name = config.name_or_folder
        if name.startswith((".", "/")) and not Path(name).is_dir():
            raise EvaluationDataError(f"{name}: no such sentence encoder; there is no such directory")
        self.config = config
        self.pooling = _pooling(config)
        try:
            check_answers(config.name_or_folder)
            self._tokenizer: Any = transformers.AutoTokenizer.from_pretrained(config.name_or_folder)
            self._model: Any = transformers.AutoModel.from_pretrained(config.name_or_folder, use_safetensors=True)
        except (OSError, ValueError) as error:
            raise EvaluationDataError(
                f"{config.name_or_folder}: no such sentence encoder ({str(error).splitlines()[0]}); "
                "give a directory with safetensors, or a hub name while online"
            ) from error
        self._model.eval()
        limit = getattr(self._model.config, "max_position_embeddings", config.max_tokens)
        self._max_tokens = min(config.max_tokens, limit)

    def embed_text(self, texts: list[str]) -> FloatArray:
        import torch

        rows = []
        for start in range(0, len(texts), self.config.batch_size):
            tokens = self._tokenizer(
                texts[start : start + self.config.batch_size],
                padding=True,
                truncation=True,
                max_length=self._max_tokens,
                return_tensors="pt",
            )
            with torch.inference_mode():
                states = self._model(**tokens).last_hidden_state
            if self.pooling is Pooling.CLS:
                rows.append(states[:, 0].numpy())
            else:
                mask = tokens["attention_mask"].unsqueeze(-1).to(states.dtype)
                rows.append(((states * mask).sum(dim=1) / mask.sum(dim=1)).numpy())
        return np.concatenate(rows).astype(np.float32)


class UniversalSentenceEncoder:
    """USE by tensorflow-hub: a handle or a SavedModel directory."""

    def __init__(self, handle: str) -> None:
        before_tensorflow()
        try:
            import tensorflow_hub
        except ImportError as error:
            raise EvaluationDataError(
                "USE needs tensorflow and tensorflow-hub: pip install tensorflow tensorflow-hub"
            ) from error
        try:
            self._model: Any = tensorflow_hub.load(handle)
        except (OSError, ValueError, RuntimeError) as error:
            raise EvaluationDataError(f"{handle}: cannot be loaded ({str(error).splitlines()[0]})") from error

    def embed_text(self, texts: list[str]) -> FloatArray:
        return np.asarray(self._model(texts), dtype=np.float32)


def _pooling(config: EncoderConfig) -> Pooling:
    """The asked pooling; for `auto`, the one that a sentence-transformers directory states, or the mean."""
    folder = Path(config.name_or_folder)
    if config.pooling is not Pooling.AUTO:
        return config.pooling
    modules = folder / "modules.json"
    if not modules.is_file():
        return Pooling.MEAN
    kinds = {str(module["type"]).rpartition(".")[2]: str(module["path"]) for module in json.loads(modules.read_text())}
    unread = set(kinds) - {"Transformer", "Pooling", "Normalize"}
    if unread:
        raise EvaluationDataError(f"{folder}: has the layers {', '.join(sorted(unread))}, which are not read here")
    modes = json.loads((folder / kinds["Pooling"] / "config.json").read_text())
    asked = [name for name, on in modes.items() if name.startswith("pooling_mode_") and on is True]
    known = {"pooling_mode_mean_tokens": Pooling.MEAN, "pooling_mode_cls_token": Pooling.CLS}
    if len(asked) != 1 or asked[0] not in known:
        raise EvaluationDataError(f"{folder}: pools by {', '.join(asked)}; mean and cls are read here")
    return known[asked[0]]
