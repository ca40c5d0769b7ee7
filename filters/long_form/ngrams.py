"""Hashed n-grams with a linear model: the plain baseline, and by option a first stage before the encoder.

Words and pairs of words, and pieces of three to five characters, each hashed to one of 2^18 columns: there is no
vocabulary to keep. Scoring needs the hashing of scikit-learn, numpy, and nothing learnt but two rows of numbers.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

HASH_BITS = 18


def hashed_counts(texts: Sequence[str]) -> Any:
    """Sparse counts, (texts, 2 * 2^18)."""
    from scipy.sparse import hstack
    from sklearn.feature_extraction.text import HashingVectorizer

    options = {"n_features": 1 << HASH_BITS, "alternate_sign": False, "norm": None}
    words = HashingVectorizer(ngram_range=(1, 2), **options)
    characters = HashingVectorizer(analyzer="char_wb", ngram_range=(3, 5), **options)
    return hstack([words.transform(texts), characters.transform(texts)]).tocsr()


@dataclass(frozen=True)
class NgramModel:
    """Log odds = weight · tf-idf (of length 1) + bias. Both rows have 2 * 2^18 numbers."""

    idf: NDArray[np.float32]
    weight: NDArray[np.float32]
    bias: float

    @classmethod
    def fit(cls, texts: Sequence[str], is_music: NDArray[Any]) -> "NgramModel":
        from sklearn.feature_extraction.text import TfidfTransformer
        from sklearn.linear_model import LogisticRegression

        counts = hashed_counts(texts)
        weigher = TfidfTransformer(sublinear_tf=True).fit(counts)
        # The weight of a column that no sentence has stays 0, and with many more columns than sentences Newton's steps
        # take a fraction of L-BFGS's time.
        seen = np.flatnonzero(counts.getnnz(0))
        model = LogisticRegression(C=10.0, solver="newton-cg", tol=1e-6, max_iter=2_000, class_weight="balanced").fit(
            weigher.transform(counts)[:, seen], is_music
        )
        weight = np.zeros(counts.shape[1], np.float32)
        weight[seen] = model.coef_[0]
        return cls(weigher.idf_.astype(np.float32), weight, float(model.intercept_[0]))

    def log_odds(self, texts: Sequence[str]) -> NDArray[np.float64]:
        """Shape (len(texts),)."""
        counts = hashed_counts(texts)
        if not counts.nnz:
            return np.full(len(texts), self.bias)
        counts.data = (1.0 + np.log(counts.data)) * self.idf[counts.indices]
        length = np.sqrt(np.asarray(counts.multiply(counts).sum(1)).ravel())
        products = np.asarray(counts @ self.weight.astype(np.float64)).ravel()
        result: NDArray[np.float64] = products / np.maximum(length, 1e-12) + self.bias
        return result


@dataclass(frozen=True)
class FirstStage:
    """Sentences with log odds below `threshold` are not shown to the encoder and get the probability 0."""

    model: NgramModel
    threshold: float

    def passes(self, texts: Sequence[str]) -> NDArray[np.bool_]:
        result: NDArray[np.bool_] = self.model.log_odds(texts) >= self.threshold
        return result


def threshold_for_recall(log_odds: NDArray[Any], is_music: NDArray[Any], recall: float) -> float:
    """The highest threshold that at least this share of the positives passes."""
    positives = np.sort(log_odds[is_music])
    return float(positives[int(np.floor((1 - recall) * len(positives)))])
