"""How good a classifier is after how many labels, on sentences that none of the rounds was trained on.

A quarter of all sentences, by the hash of their text, is labelled and never trained on by the loop, so that all rounds
are judged by the same ones. Each counts by one over its inclusion probability, so that a draw that prefers doubts does
not make the task look harder than it is. Intervals are percentiles of a bootstrap over sentences, within each label.

Shapes: N sentences.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from schemas.digest import hash64
from schemas.label import LabelItem, LabelValue

Array = npt.NDArray[np.float64]
TEST_EVERY = 4
RESAMPLES = 1_000
_SALT = "openmulan-loop-test-v1"


@dataclass(frozen=True, kw_only=True)
class Figure:
    """A figure with the ends of its 95 % interval; NaN where a label is absent."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return "-" if self.value != self.value else f"{self.value:.3f} [{self.low:.3f}, {self.high:.3f}]"


@dataclass(frozen=True, kw_only=True)
class Point:
    """One round: how many labels it was trained on, and how well it ranks the `tested` sentences."""

    labels: int
    positive: int
    tested: int
    tested_positive: int
    roc_auc: Figure
    average_precision: Figure


def is_test(text: str) -> bool:
    """Whether the loop leaves the sentence out of training. The frozen fold is another one, and not drawn at all."""
    return hash64(f"{_SALT}\n{text}") % TEST_EVERY == 0


def point(
    trained: Mapping[str, LabelValue],
    items: Sequence[LabelItem],
    values: Mapping[str, LabelValue],
    scores: Mapping[str, float],
) -> Point:
    """`trained` are the values that the round saw, `scores` its own by text; `values` what is settled by now."""
    judged = [
        item
        for item in items
        if is_test(item.text) and item.text in scores and values.get(item.item_id) in (LabelValue.YES, LabelValue.NO)
    ]
    is_music_N = np.array([values[item.item_id] is LabelValue.YES for item in judged], dtype=bool)
    scores_N = np.array([scores[item.text] for item in judged])
    weights_N = np.array([1 / (item.inclusion_probability or 1.0) for item in judged])
    return Point(
        labels=len(trained),
        positive=sum(value is LabelValue.YES for value in trained.values()),
        tested=len(judged),
        tested_positive=int(is_music_N.sum()),
        roc_auc=_figure(is_music_N, scores_N, weights_N, roc_auc),
        average_precision=_figure(is_music_N, scores_N, weights_N, average_precision),
    )


def roc_auc(is_music_N: npt.NDArray[np.bool_], scores_N: Array, weights_N: Array) -> float:
    """The weighted share of pairs in which the positive scores above the negative; ties count half."""
    above = scores_N[is_music_N][:, None] - scores_N[~is_music_N][None]
    pairs = weights_N[is_music_N][:, None] * weights_N[~is_music_N][None]
    return float((pairs * ((above > 0) + 0.5 * (above == 0))).sum() / pairs.sum())


def average_precision(is_music_N: npt.NDArray[np.bool_], scores_N: Array, weights_N: Array) -> float:
    """Weighted area under precision over recall by steps; equal scores are one step."""
    order = np.argsort(-scores_N, kind="stable")
    weights, ranked = weights_N[order], scores_N[order]
    hits = np.cumsum(weights * is_music_N[order])
    ends = np.flatnonzero(np.diff(ranked, append=-np.inf))
    recall, precision = hits[ends] / hits[-1], hits[ends] / np.cumsum(weights)[ends]
    return float(np.sum(np.diff(recall, prepend=0.0) * precision))


def _figure(
    is_music_N: npt.NDArray[np.bool_],
    scores_N: Array,
    weights_N: Array,
    metric: Callable[[npt.NDArray[np.bool_], Array, Array], float],
) -> Figure:
    positives, negatives = np.flatnonzero(is_music_N), np.flatnonzero(~is_music_N)
    if not len(positives) or not len(negatives):
        return Figure(value=np.nan, low=np.nan, high=np.nan)
    dice = np.random.default_rng(0)
    drawn = []
    for _ in range(RESAMPLES):
        index = np.concatenate([dice.choice(part, len(part)) for part in (positives, negatives)])
        drawn.append(metric(is_music_N[index], scores_N[index], weights_N[index]))
    low, high = np.quantile(drawn, [0.025, 0.975])
    return Figure(value=metric(is_music_N, scores_N, weights_N), low=float(low), high=float(high))


def to_json(points: Sequence[Point]) -> list[dict[str, Any]]:
    """NaN is no JSON: null."""

    def plain(figure: Figure) -> dict[str, float | None]:
        return {name: None if value != value else round(value, 4) for name, value in vars(figure).items()}

    return [
        {name: plain(value) if isinstance(value, Figure) else value for name, value in vars(one).items()}
        for one in points
    ]


def table(points: Sequence[Point]) -> list[tuple[str, ...]]:
    """For people, the heads first."""
    heads = ("labels", "positive", "tested on", "positive", "ROC-AUC", "average precision")
    return [
        heads,
        *(
            (
                str(one.labels),
                str(one.positive),
                str(one.tested),
                str(one.tested_positive),
                str(one.roc_auc),
                str(one.average_precision),
            )
            for one in points
        ),
    ]
