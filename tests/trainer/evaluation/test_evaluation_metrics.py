"""ROC-AUC and average precision equal scikit-learn's, and the intervals hold what they promise."""

import math

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score

from trainer.evaluation.metrics import Bootstrap, Value, auc_and_ap, d_prime, mean_with_interval, tagging_scores

NO_RESAMPLES = Bootstrap(resamples=0)


@pytest.mark.parametrize("levels", [2, 5, 1000])
@pytest.mark.parametrize("seed", range(5))
def test_equals_scikit_learn_with_ties_and_weights(levels: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    scores = (rng.integers(0, levels, 300) / levels).astype(np.float32)
    positive = rng.random(300) < 0.1
    weights = np.concatenate([np.ones((1, 300)), rng.integers(0, 4, (3, 300)).astype(float)])
    aucs, aps = auc_and_ap(scores, positive, weights)
    for auc, ap, weight in zip(aucs, aps, weights, strict=True):
        assert auc == pytest.approx(roc_auc_score(positive, scores, sample_weight=weight), abs=1e-12)
        assert ap == pytest.approx(average_precision_score(positive, scores, sample_weight=weight), abs=1e-12)


@pytest.mark.parametrize(
    ("scores", "positive"),
    [
        ([0.5, 0.5, 0.5, 0.5], [1, 0, 0, 1]),  # one tie
        ([3, 2, 1], [1, 0, 0]),  # perfect
        ([1, 2, 3], [1, 0, 0]),  # worst
        ([1, 2], [0, 1]),  # the smallest case
        ([-1e30, 1e30, 0], [0, 1, 1]),
    ],
)
def test_degenerate_cases_equal_scikit_learn(scores: list[float], positive: list[int]) -> None:
    auc, ap = auc_and_ap(np.array(scores, np.float32), np.array(positive, bool), np.ones((1, len(scores))))
    assert auc[0] == pytest.approx(roc_auc_score(positive, scores), abs=1e-12)
    assert ap[0] == pytest.approx(average_precision_score(positive, scores), abs=1e-12)


def test_class_without_positive_or_negative_is_left_out_and_counted() -> None:
    scores = np.array([[0.9, 0.1, 0.3], [0.2, 0.4, 0.3]], np.float32)
    labels = np.array([[True, False, True], [False, False, True]])
    result = tagging_scores(scores, labels, ["a", "b", "c"], NO_RESAMPLES)
    assert result.metrics["roc_auc"] == Value(value=1.0)
    assert [c.name for c in result.classes] == ["a"]
    assert result.skipped == {"b": "no positive", "c": "no negative"}


def test_clips_of_which_nothing_is_known_are_as_if_they_were_not_there() -> None:
    rng = np.random.default_rng(0)
    scores, labels, known = rng.random((60, 3)).astype(np.float32), rng.random((60, 3)) < 0.3, rng.random((60, 3)) < 0.5
    known[:, 2] &= labels[:, 2]
    result = tagging_scores(scores, labels, ["a", "b", "c"], Bootstrap(resamples=50), known)
    for column, found in enumerate(result.classes):
        judged = known[:, column]
        expected = roc_auc_score(labels[judged, column], scores[judged, column])
        assert found.roc_auc == pytest.approx(expected)
        assert found.prevalence == labels[judged, column].mean()
    assert (len(result.classes), result.skipped) == (2, {"c": "no negative"})


def test_mean_is_over_classes_not_over_clips() -> None:
    rng = np.random.default_rng(0)
    scores = rng.random((100, 2)).astype(np.float32)
    labels = np.zeros((100, 2), bool)
    labels[:2, 0] = True
    labels[:50, 1] = True
    expected = roc_auc_score(labels, scores, average="macro")
    assert tagging_scores(scores, labels, ["a", "b"], NO_RESAMPLES).metrics["roc_auc"].value == pytest.approx(expected)


def test_no_usable_class_gives_no_figure() -> None:
    result = tagging_scores(np.zeros((2, 1), np.float32), np.zeros((2, 1), bool), ["a"], NO_RESAMPLES)
    assert result.metrics == {}


def test_interval_covers_chance_as_often_as_it_says() -> None:
    covered = 0
    for seed in range(40):
        rng = np.random.default_rng(seed)
        scores = rng.standard_normal((200, 10)).astype(np.float32)
        labels = rng.random((200, 10)) < 0.2
        auc = tagging_scores(scores, labels, [str(i) for i in range(10)], Bootstrap(seed=seed)).metrics["roc_auc"]
        assert auc.low is not None
        assert auc.high is not None
        assert auc.low < auc.value < auc.high
        covered += auc.low <= 0.5 <= auc.high
    assert 34 <= covered <= 40


def test_interval_of_average_precision_holds_the_figure_of_rare_classes() -> None:
    rng = np.random.default_rng(0)
    scores = rng.standard_normal((46, 60)).astype(np.float32)
    labels = np.zeros((46, 60), bool)
    labels[rng.integers(0, 46, (2, 60)), np.arange(60)] = True  # drawn twice, a positive lifts its class
    found = tagging_scores(scores, labels, [str(i) for i in range(60)], Bootstrap(seed=1)).metrics
    for name in ("roc_auc", "average_precision"):
        value = found[name]
        assert value.low is not None
        assert value.high is not None
        assert value.low < value.value < value.high


def test_resample_without_any_positive_is_left_out() -> None:
    scores, labels = np.arange(8, dtype=np.float32)[:, None], np.arange(8)[:, None] == 3
    auc = tagging_scores(scores, labels, ["a"], Bootstrap()).metrics["roc_auc"]
    assert auc.value == pytest.approx(3 / 7)
    assert auc.low is not None
    assert auc.high is not None
    assert auc.low < auc.value < auc.high


def test_mean_with_interval_shrinks_with_more_values() -> None:
    rng = np.random.default_rng(0)
    few, many = (mean_with_interval(rng.random(n), Bootstrap()) for n in (30, 3000))
    assert few.low is not None
    assert few.high is not None
    assert many.low is not None
    assert many.high is not None
    assert many.high - many.low < (few.high - few.low) / 5


def test_d_prime() -> None:
    assert d_prime(0.5) == pytest.approx(0)
    assert d_prime(0.9) == pytest.approx(1.8124, abs=1e-4)
    assert d_prime(1.0) == math.inf
    assert d_prime(0.0) == -math.inf


@pytest.mark.parametrize("bad", [{"resamples": -1}, {"confidence": 1.0}])
def test_bootstrap_is_checked(bad: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="bootstrap"):
        Bootstrap(**bad)  # type: ignore[arg-type] # what a caller without a type checker may write
