"""Class-balanced ROC-AUC and average precision of a tagging task, with bootstrap intervals.

Values equal scikit-learn's `roc_auc_score` and `average_precision_score` with `sample_weight`; what is ours is that
all resamples of a class are computed from one sort. A class without a positive or without a negative has no AUC: it is
left out of the mean and named.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trainer.evaluation.model import FloatArray

BoolArray = NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True)
class Bootstrap:
    """How intervals are drawn: percentile bootstrap, over clips, queries or anchors."""

    resamples: int = 200
    confidence: float = 0.95
    seed: int = 0

    def __post_init__(self) -> None:
        if self.resamples < 0 or not 0 < self.confidence < 1:
            raise ValueError("bootstrap: resamples must not be negative and confidence lies between 0 and 1")


@dataclass(frozen=True, kw_only=True)
class Value:
    """A figure with its interval; `low` and `high` are None where there was no resampling. `draws` are the resamples,
    for as long as the command lasts: those of two models on the same clips are of the same clips, one by one."""

    value: float
    low: float | None = None
    high: float | None = None
    draws: NDArray[np.float64] | None = field(default=None, compare=False, repr=False)

    def less(self, other: "Value", confidence: float) -> "Value | None":
        """This figure less another of the same clips, with the difference's interval; None where that is unknown."""
        if self.draws is None or other.draws is None or len(self.draws) != len(other.draws):
            return None
        tail = (1 - confidence) / 2
        low, high = np.quantile(self.draws - other.draws, [tail, 1 - tail])
        return Value(value=self.value - other.value, low=float(low), high=float(high))


@dataclass(frozen=True, kw_only=True)
class ClassScore:
    """What one class got. `prevalence` is the average precision of a random order; `low` and `high` are the interval of
    its ROC-AUC, None where nothing was resampled."""

    name: str
    positives: int
    roc_auc: float
    average_precision: float
    prevalence: float
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True, kw_only=True)
class TaggingScores:
    """`skipped` maps a class to why it has no figure."""

    metrics: dict[str, Value]
    classes: tuple[ClassScore, ...]
    skipped: dict[str, str] = field(default_factory=dict)


def d_prime(auc: float) -> float:
    """√2 · Φ⁻¹(AUC), AudioSet's measure; infinite at 0 and 1."""
    if auc in (0.0, 1.0):
        return math.copysign(math.inf, auc - 0.5)
    return math.sqrt(2) * NormalDist().inv_cdf(auc)


def auc_and_ap(
    scores: FloatArray, positive: BoolArray, weights: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """ROC-AUC and average precision of one class under each of R weightings of its N clips.

    `scores` (N,), `positive` (N,), `weights` (R, N) not negative. Ties count half in the AUC and, as in scikit-learn,
    share one threshold in the average precision. A weighting without positives or negatives gives NaN.
    """
    order = np.argsort(-scores, kind="stable")
    ends = np.flatnonzero(np.append(np.diff(scores[order]) != 0, True))
    ordered = weights[:, order]
    taken = np.cumsum(ordered, axis=1)[:, ends]
    hits = np.cumsum(ordered * positive[order], axis=1)[:, ends]
    new_hits = np.diff(hits, axis=1, prepend=0.0)
    new_misses = np.diff(taken - hits, axis=1, prepend=0.0)
    positives, negatives = hits[:, -1], taken[:, -1] - hits[:, -1]
    with np.errstate(invalid="ignore", divide="ignore"):
        auc = (new_misses * (hits - new_hits / 2)).sum(axis=1) / (positives * negatives)
        precision = np.where(taken > 0, hits / taken, 0.0)
        ap = (new_hits * precision).sum(axis=1) / positives
    ap[negatives == 0] = np.nan
    return auc, ap


def tagging_scores(
    scores: FloatArray,
    labels: BoolArray,
    names: Sequence[str],
    bootstrap: Bootstrap,
    known: BoolArray | None = None,
) -> TaggingScores:
    """Macro means over the classes of `scores` (clips × classes) against `labels` of the same shape. `known`, of that
    shape too, says of which clips it is known whether they have a class; it is judged by these alone."""
    if scores.shape != labels.shape or scores.shape[1] != len(names):
        raise ValueError(f"scores {scores.shape}, labels {labels.shape} and {len(names)} class names do not fit")
    clips = scores.shape[0]
    rng = np.random.default_rng(bootstrap.seed)
    drawn = rng.multinomial(clips, np.full(clips, 1 / clips), size=bootstrap.resamples) if clips else np.ones((0, 0))
    weights = np.concatenate([np.ones((1, clips)), drawn.astype(np.float64)])
    classes, skipped = [], {}
    aucs, aps = [], []
    for column, name in enumerate(names):
        judged = slice(None) if known is None else known[:, column]
        positive = labels[judged, column]
        positives = int(positive.sum())
        if positives in (0, len(positive)):
            skipped[name] = "no positive" if positives == 0 else "no negative"
            continue
        auc, ap = auc_and_ap(scores[judged, column], positive, weights[:, judged])
        aucs.append(auc)
        aps.append(ap)
        interval = _with_interval(float(auc[0]), auc[1:][~np.isnan(auc[1:])], bootstrap)
        classes.append(
            ClassScore(
                name=name,
                positives=positives,
                roc_auc=float(auc[0]),
                average_precision=float(ap[0]),
                prevalence=positives / len(positive),
                low=interval.low,
                high=interval.high,
            )
        )
    if not classes:
        return TaggingScores(metrics={}, classes=(), skipped=skipped)
    roc_auc = _macro(np.stack(aucs), bootstrap)
    prime = {
        "d_prime": Value(
            value=d_prime(roc_auc.value),
            low=None if roc_auc.low is None else d_prime(roc_auc.low),
            high=None if roc_auc.high is None else d_prime(roc_auc.high),
        )
    }
    metrics = {"roc_auc": roc_auc, "average_precision": _macro(np.stack(aps), bootstrap), **prime}
    return TaggingScores(metrics=metrics, classes=tuple(classes), skipped=skipped)


def accuracy(scores: FloatArray, labels: BoolArray, bootstrap: Bootstrap) -> Value:
    """Share of clips whose one class (`labels`, clips × classes) has the highest score; of a tie of n, 1/n of it."""
    highest = scores == scores.max(axis=1, keepdims=True)
    hits = (highest & labels).sum(axis=1) / highest.sum(axis=1)
    return mean_with_interval(hits.astype(np.float64), bootstrap)


def _macro(per_class: NDArray[np.float64], bootstrap: Bootstrap) -> Value:
    """Mean over classes (rows); column 0 is the sample itself, the others are resamples.

    A resample has some clips twice, and a positive that is drawn twice stands beside itself, which flatters the average
    precision of rare classes. So the resamples are centred on the sample's own figure: their spread is what they tell.
    """
    # A resample of a small set may have no positive of any class; it says nothing.
    means = np.nanmean(per_class[:, ~np.isnan(per_class).all(axis=0)], axis=0)
    value, resampled = float(means[0]), means[1:]
    if resampled.size:
        resampled = np.clip(resampled + (value - resampled.mean()), 0.0, 1.0)
    return _with_interval(value, resampled, bootstrap)


def _with_interval(value: float, resampled: NDArray[np.float64], bootstrap: Bootstrap) -> Value:
    if not resampled.size:
        return Value(value=value)
    tail = (1 - bootstrap.confidence) / 2
    low, high = np.quantile(resampled, [tail, 1 - tail])
    return Value(value=value, low=float(low), high=float(high), draws=resampled)


def mean_with_interval(
    values: NDArray[np.float64],
    bootstrap: Bootstrap,
    statistic: Callable[..., Any] = np.mean,
) -> Value:
    """`statistic` of independent `values` (queries, anchors) with the interval from resampling them."""
    if not values.size:
        raise ValueError("there is nothing to average")
    rng = np.random.default_rng(bootstrap.seed)
    drawn = [float(statistic(values[rng.integers(0, values.size, values.size)])) for _ in range(bootstrap.resamples)]
    return _with_interval(float(statistic(values)), np.asarray(drawn, dtype=np.float64), bootstrap)
