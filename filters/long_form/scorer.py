"""What the mining job asks of a sentence classifier, whichever it is."""

import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from schemas.lookup import UnknownNameError, find_factory, is_factory, lacking


class SentenceScorer(Protocol):
    """Gives each sentence a calibrated probability of being music-descriptive.

    A score depends on the sentence alone, not on what else is in the call. `digest` names everything that the scores
    depend on: weights, calibration, precision, shapes.
    """

    @property
    def model(self) -> str: ...

    @property
    def digest(self) -> str: ...

    @property
    def threshold(self) -> float | None:
        """The model's own threshold, or None where it states none."""

    def score(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Shape (len(texts),), values in [0, 1]."""


@dataclass(frozen=True, kw_only=True)
class ScorerEntry:
    """A classifier as settings and manifest name it."""

    model: str
    digest: str | None
    threshold: float | None


# What scoring needs beside this project, on the launcher of the job and on every worker.
_PACKAGES = ("safetensors", "tokenizers", "torch")

NO_SCORER = ScorerEntry(model="none", digest=None, threshold=None)


def load_scorer(spec: str, *, precision: str | None = None) -> SentenceScorer:
    """The classifier that `--lf_model` names: a folder of `mulan lf-filter fit`, whose scores `precision` may change,
    or `package.module:factory`, which is called without arguments. Raises ModelError.
    """
    if not is_factory(spec):
        require_packages()
        from filters.long_form.bert_scorer import BertScorer

        return BertScorer.load(spec, precision=precision)
    from filters.long_form.model_files import ModelError

    what = f"sentence classifier {spec!r}"
    try:
        scorer = find_factory(spec, {}, "sentence classifier")()
        if missing := lacking(scorer, SentenceScorer):
            raise ModelError(f"{what}: what it makes has no {', '.join(missing)}, as a SentenceScorer has")
        (score,) = np.asarray(scorer.score(["A slow tune."]), np.float32)
    except (ModelError, UnknownNameError) as error:
        raise ModelError(str(error)) from error
    # What code of the user's does wrong is said as shortly as what is known of.
    except Exception as error:
        raise ModelError(f"{what}: cannot be used ({' '.join(f'{type(error).__name__}: {error}'.split())})") from error
    if not 0 <= score <= 1 or not isinstance(scorer.digest, str) or not scorer.digest:
        raise ModelError(f"{what}: a score lies in [0, 1] and its digest is a text, not {score} and {scorer.digest!r}")
    found: SentenceScorer = scorer
    return found


def describe_scorer(spec: str) -> ScorerEntry:
    """What `--lf_model` names; a folder is described without loading torch. `none` is none. Raises ModelError."""
    if spec == NO_SCORER.model:
        return NO_SCORER
    if is_factory(spec):
        scorer = load_scorer(spec)
        return ScorerEntry(model=scorer.model, digest=scorer.digest, threshold=scorer.threshold)
    require_packages()
    from filters.long_form.model_files import load

    files = load(Path(spec))
    return ScorerEntry(model=files.name, digest=files.digest, threshold=files.threshold)


def require_packages() -> None:
    """Raises ModelError where this machine cannot score."""
    from filters.long_form.model_files import ModelError

    for name in _PACKAGES:
        if importlib.util.find_spec(name) is None:
            raise ModelError(
                f"{name} is not installed here, which a sentence classifier needs on the launcher and on every worker: "
                "pip install 'openmulan[mine,lf]'"
            )
