"""Blocked retrieval equals the dense computation and scikit-learn, ties included."""

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, ndcg_score, roc_auc_score

from trainer.evaluation.model import FloatArray
from trainer.evaluation.ranking import ndcg, query_scores, rank_relevant


def coarse(rng: np.random.Generator, rows: int, levels: int) -> FloatArray:
    """Rows whose dot products are exact in float32 whatever the order of summing, so that ties are real ties."""
    return (rng.integers(-levels, levels + 1, (rows, 16)) / 64).astype(np.float32)


@pytest.mark.parametrize("levels", [0, 1, 2, 40])
@pytest.mark.parametrize("block_rows", [1, 7, 64])
def test_equals_scikit_learn_and_dense(levels: int, block_rows: int) -> None:
    rng = np.random.default_rng(levels)
    queries, items = coarse(rng, 20, levels), coarse(rng, 5003, levels)
    relevant = [sorted(rng.choice(5003, rng.integers(1, 100), replace=False).tolist()) for _ in range(20)]
    ranks = rank_relevant(queries, items, relevant, block_rows=block_rows)
    scores = query_scores(ranks, recall_at=(1, 10, 100))
    dense = queries @ items.T
    for q, wanted in enumerate(relevant):
        positive = np.zeros(5003, bool)
        positive[wanted] = True
        assert scores.roc_auc[q] == pytest.approx(roc_auc_score(positive, dense[q]), abs=1e-12)
        assert scores.average_precision[q] == pytest.approx(average_precision_score(positive, dense[q]), abs=1e-12)
        worst_order = np.lexsort((positive, -dense[q]))
        places = 1 + np.flatnonzero(positive[worst_order])
        assert scores.first_rank[q] == places[0]
        for k in (1, 10, 100):
            assert scores.recall[k][q] == (places <= k).mean()


def test_real_directions_equal_dense() -> None:
    rng = np.random.default_rng(3)
    queries, items = (rng.standard_normal((n, 128)).astype(np.float32) for n in (9, 3000))
    relevant = [[int(i) for i in rng.choice(3000, 30, replace=False)] for _ in range(9)]
    scores = query_scores(rank_relevant(queries, items, relevant, block_rows=4))
    for q, wanted in enumerate(relevant):
        positive = np.zeros(3000, bool)
        positive[wanted] = True
        exact = (queries[q].astype(np.float64) @ items.T.astype(np.float64)).astype(np.float32)
        assert scores.roc_auc[q] == pytest.approx(roc_auc_score(positive, exact), abs=1e-5)


def test_one_score_for_all_gets_no_credit() -> None:
    ranks = rank_relevant(np.ones((1, 4), np.float32), np.ones((50, 4), np.float32), [[3, 4]])
    scores = query_scores(ranks, recall_at=(1, 49, 50))
    assert scores.roc_auc[0] == 0.5
    assert scores.first_rank[0] == 49
    assert scores.average_precision[0] == pytest.approx(2 / 50)
    assert [scores.recall[k][0] for k in (1, 49, 50)] == [0, 0.5, 1]


def test_the_best_alone_is_first() -> None:
    """One query, one relevant item, and nothing scores as much."""
    items = np.array([[0.1], [0.9], [0.5]], np.float32)
    ranks = rank_relevant(np.ones((1, 1), np.float32), items, [[1]])
    assert (ranks.above.tolist(), ranks.at_least.tolist(), ranks.items) == ([0], [1], 3)
    scores = query_scores(ranks)
    assert scores.first_rank[0] == scores.roc_auc[0] == scores.average_precision[0] == 1
    assert {k: share.tolist() for k, share in scores.recall.items()} == {k: [1.0] for k in (1, 5, 10, 50, 100)}


def test_threads_do_not_change_a_rank() -> None:
    rng = np.random.default_rng(5)
    queries, items = coarse(rng, 30, 3), coarse(rng, 400, 3)
    relevant = [sorted(rng.choice(400, 7, replace=False).tolist()) for _ in range(30)]
    one = rank_relevant(queries, items, relevant, block_rows=4, threads=1)
    for threads in (2, 5):
        other = rank_relevant(queries, items, relevant, block_rows=4, threads=threads)
        assert np.array_equal(one.above, other.above)
        assert np.array_equal(one.at_least, other.at_least)


def test_scores_beyond_what_the_bins_are_made_for_are_ranked_as_all_are() -> None:
    """Bins are as wide as some of the scores ask; here those are the smallest."""
    scores = np.linspace(-1, 1, 500, dtype=np.float32) ** 3
    scores[::251] /= 1000
    wanted = [0, 1, 2, 3, 60, 61, 250, 251, 252, 496, 497, 498, 499]
    ranks = rank_relevant(np.ones((1, 1), np.float32), scores[:, None], [wanted])
    assert ranks.above.tolist() == [int((scores > scores[i]).sum()) for i in wanted]
    assert ranks.at_least.tolist() == [int((scores >= scores[i]).sum()) for i in wanted]


@pytest.mark.parametrize("sampled", [True, False])
def test_what_is_above_all_numbers_is_before_them(sampled: bool) -> None:
    scores = np.linspace(-1, 1, 100, dtype=np.float32)
    scores[0 if sampled else 1] = np.inf
    wanted = [*range(50, 60), 99]
    ranks = rank_relevant(np.ones((1, 1), np.float32), scores[:, None], [wanted])
    assert ranks.above.tolist() == [100 - i for i in wanted]


def test_what_is_no_number_is_behind_all_numbers() -> None:
    scores = np.linspace(-1, 1, 100, dtype=np.float32)
    scores[40] = np.nan
    wanted = [*range(50, 60), 40]
    ranks = rank_relevant(np.ones((1, 1), np.float32), scores[:, None], [wanted])
    assert ranks.above.tolist()[:-1] == [99 - i for i in range(50, 60)]
    assert ranks.above[-1] >= 98


def test_extreme_scores_do_not_break_the_bins() -> None:
    items = np.array([[1e38], [-1e38], [1e-38], [0.0], [2e-38]], np.float32)
    ranks = rank_relevant(np.array([[1.0]], np.float32), items, [[2, 3]])
    assert ranks.above.tolist() == [2, 3]
    assert ranks.at_least.tolist() == [3, 4]


def test_query_to_which_everything_is_relevant_has_no_auc() -> None:
    scores = query_scores(rank_relevant(np.ones((1, 2), np.float32), np.eye(2, dtype=np.float32), [[0, 1]]))
    assert np.isnan(scores.roc_auc[0])
    assert scores.average_precision[0] == 1


@pytest.mark.parametrize(
    ("relevant", "message"),
    [
        ([[0]], "lists"),
        ([[0], []], "no relevant"),
        ([[0], [1, 1]], "twice"),
        ([[0], [5]], "outside 0 to 4"),
        ([[0], [4, -1]], "outside"),
    ],
)
def test_bad_input_is_named(relevant: list[list[int]], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        rank_relevant(np.ones((2, 3), np.float32), np.ones((5, 3), np.float32), relevant)


@pytest.mark.parametrize(
    ("queries", "items"), [((2, 3), (5, 4)), ((2, 3), (3,)), ((3,), (5, 3)), ((2, 3, 1), (5, 3)), ((2, 3), (5, 3, 1))]
)
def test_shapes_that_do_not_fit_are_named(queries: tuple[int, ...], items: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="do not share a dimension"):
        rank_relevant(np.ones(queries, np.float32), np.ones(items, np.float32), [[0], [1]])


@pytest.mark.parametrize("levels", [1, 3, 1000])  # all tied, many ties, none
@pytest.mark.parametrize("k", [1, 5, 10, 60])
def test_ndcg_equals_scikit_learn_ties_included(levels: int, k: int) -> None:
    rng = np.random.default_rng(levels)
    for _ in range(10):
        scores = (rng.integers(0, levels, 60) / levels).astype(np.float32)
        grades = rng.choice([0, 0, 0, 0.5, 1, 3], 60)
        assert ndcg(scores, grades, k) == pytest.approx(ndcg_score([grades], [scores], k=k), abs=1e-12)
    assert ndcg(np.array([2.0, 1.0], np.float32), np.array([3.0, 1.0]), k) == 1.0
