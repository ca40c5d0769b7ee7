"""Text-to-music retrieval metrics in blocks: every query against every item, without the score matrix.

For an exact AUC, average precision and rank of a relevant item it is enough to know how many items of the whole
collection score above it and how many score at least as much. A sort of each row would give that too, but costs more
than the scores themselves. Where few items are relevant, as to a caption, all scores are compared with each of theirs.
Else each score is put into one of equal bins, and only the items that share a bin with a relevant one are compared: a
higher score never has a lower bin, so bins decide about all others, wherever their limits are. So memory is one block
of scores a thread, time stays close to the bare matrix product, and ties and order are those of the float32 scores,
exactly.
"""

import functools
import itertools
import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trainer.evaluation.model import FloatArray

IntArray = NDArray[np.int64]

# What one row is counted in: bins of all items, how many each bin has, the last wanted item of each, groups of items
# near a wanted one, and those items.
Counters = tuple[NDArray[np.int16], NDArray[np.int32], NDArray[np.int32], NDArray[np.int32], NDArray[np.int32]]

DEFAULT_BLOCK_ROWS = 64
_HIGHEST = 4_095  # bin; the lowest is as far below 0: as many counters as stay in a core's nearest cache
_SAMPLED = 251  # one score of so many says how wide the bins are
_INT16S = 1 << 16
_TOGETHER = 4  # items of which one look says whether any shares a bin with a relevant one
_MARK = np.int32(-(1 << 30))  # of a bin with a relevant item, below 0 whatever is counted in it
_FEW = 8  # relevant items, up to which comparing all scores with each costs less than the bins
DEFAULT_RECALL_AT = (1, 5, 10, 50, 100)


@dataclass(frozen=True, kw_only=True)
class RelevantRanks:
    """Where each relevant item of each query stands.

    The relevant items of query q are `offsets[q]:offsets[q+1]` of the other arrays. `above` counts the items of the
    whole collection that score more, `at_least` those that score as much or more, itself included.
    """

    offsets: IntArray
    above: IntArray
    at_least: IntArray
    items: int


def rank_relevant(
    queries: FloatArray,
    items: FloatArray,
    relevant: Sequence[Sequence[int]],
    block_rows: int = DEFAULT_BLOCK_ROWS,
    threads: int | None = None,
) -> RelevantRanks:
    """Ranks of the `relevant[q]` items of every query q among all items, by the dot product.

    `queries` (Q, D) and `items` (N, D) are float32; an item may be relevant to any number of queries. Raises
    ValueError where shapes or indices do not fit, and where a query has no relevant item or an item twice.
    """
    if queries.ndim != 2 or items.ndim != 2 or queries.shape[1] != items.shape[1]:
        raise ValueError(f"queries {queries.shape} and items {items.shape} do not share a dimension")
    if len(relevant) != queries.shape[0]:
        raise ValueError(f"{queries.shape[0]} queries have {len(relevant)} lists of relevant items")
    flat = np.fromiter(itertools.chain.from_iterable(relevant), dtype=np.int64)
    if not all(relevant) or len(flat) != sum(map(len, map(set, relevant))):
        row = next(row for row, wanted in enumerate(relevant) if not wanted or len(set(wanted)) != len(wanted))
        raise ValueError(f"query {row} has {'an item twice' if relevant[row] else 'no relevant item'}")
    if flat.min(initial=0) < 0 or flat.max(initial=0) >= items.shape[0]:
        row = next(row for row, wanted in enumerate(relevant) if min(wanted) < 0 or max(wanted) >= items.shape[0])
        raise ValueError(f"query {row} names an item outside 0 to {items.shape[0] - 1}")
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped] # it has neither stubs nor py.typed

    offsets = np.concatenate([[0], np.cumsum([len(wanted) for wanted in relevant])]).astype(np.int64)
    above, at_least = np.zeros_like(flat), np.zeros_like(flat)
    rank_rows = _compiled()
    own = threading.local()

    def rank_block(start: int) -> None:
        block = queries[start : start + block_rows]
        if not hasattr(own, "scratch"):
            own.scratch = _Scratch(min(block_rows, len(queries)), len(items))
        scratch: _Scratch = own.scratch
        scores = scratch.scores[: len(block)]
        np.matmul(block, items.T, out=scores)
        rank_rows(scores, offsets[start : start + len(block) + 1], flat, above, at_least, scratch.counters)

    # Each thread multiplies for itself: threads of BLAS would wait for each other, and spin meanwhile.
    with threadpool_limits(1, user_api="blas"), ThreadPoolExecutor(threads or os.cpu_count()) as pool:
        for done in [pool.submit(rank_block, start) for start in range(0, len(queries), block_rows)]:
            done.result()
    return RelevantRanks(offsets=offsets, above=above, at_least=at_least, items=items.shape[0])


class _Scratch:
    """What one thread works in, allocated once."""

    def __init__(self, rows: int, items: int) -> None:
        self.scores = np.empty((rows, items), dtype=np.float32)
        self.counters: Counters = (
            np.empty(items, dtype=np.int16),
            np.zeros(_INT16S, dtype=np.int32),
            np.zeros(_INT16S, dtype=np.int32),
            np.empty(items // _TOGETHER + 1, dtype=np.int32),
            np.empty(items + 1, dtype=np.int32),
        )


def _compare_row(values: FloatArray, wanted: IntArray, above: IntArray, at_least: IntArray) -> None:
    """As `_count_row`, by comparing all with each of the `wanted`."""
    for place in range(len(wanted)):
        own = values[wanted[place]]
        more, as_much = np.int32(0), np.int32(0)  # 32 bits all the way, so that many are counted at once
        for i in range(len(values)):
            more = np.int32(more + np.int32(values[i] > own))
            as_much = np.int32(as_much + np.int32(values[i] >= own))
        above[place] = more
        at_least[place] = as_much


def _count_row(
    values: FloatArray,
    wanted: IntArray,
    above: IntArray,
    at_least: IntArray,
    counters: Counters,
) -> None:
    """Fills `above` and `at_least` of the `wanted` items of one row; compiled, without the interpreter's lock.

    Items of a higher bin score more, those of a lower bin less; only those that share a bin with a wanted item are
    compared with it. Bins are read as uint16, so that those below 0 come behind. `last_of_bin` must be zero, and is
    left so.
    """
    bins, histogram, last_of_bin, groups, candidates = counters
    largest = np.float32(0)
    for i in range(0, len(values), _SAMPLED):
        largest = max(largest, abs(values[i]))
    highest = np.float32(_HIGHEST)
    # Any will do that a score above all numbers can be multiplied by, where the sample says nothing.
    scale = highest / largest if 0 < largest < np.inf else np.float32(1e-38)
    for i in range(len(values)):
        scaled = values[i] * scale
        above_lowest = scaled if scaled > -highest else -highest  # what is no number is among the lowest
        bins[i] = np.int16(above_lowest if above_lowest < highest else highest)
    histogram[: _HIGHEST + 1] = 0
    histogram[_INT16S - _HIGHEST :] = 0
    # The wanted items of a bin are a chain: its last one, and the one before each (0 for none, else place + 1).
    before = np.zeros(len(wanted), np.int32)
    for place in range(len(wanted)):
        own = np.uint16(bins[wanted[place]])
        before[place] = last_of_bin[own]
        last_of_bin[own] = place + 1
        histogram[own] = _MARK
        above[place] = 0
        at_least[place] = 0
    # Which items share a bin cannot be foretold: each is written down, and the next over it where it does not count.
    # In groups, of most of which none does, so that one look is enough. An index without a sign needs no test whether
    # it counts from the end.
    near = 0
    grouped = len(bins) - len(bins) % _TOGETHER
    for start in range(0, grouped, _TOGETHER):
        marks = np.int32(0)
        for j in range(_TOGETHER):
            own = np.uint16(bins[np.uint64(start) + np.uint64(j)])
            counted = histogram[own] + np.int32(1)
            histogram[own] = counted
            marks |= counted
        groups[np.uint64(near)] = start
        near += int(marks < 0)
    found = 0
    for group in groups[:near]:
        for j in range(_TOGETHER):
            item = np.uint64(group) + np.uint64(j)
            candidates[np.uint64(found)] = item
            found += int(last_of_bin[np.uint16(bins[item])] != 0)
    for i in range(grouped, len(bins)):
        histogram[np.uint16(bins[i])] += np.int32(1)
        candidates[found] = i
        found += last_of_bin[np.uint16(bins[i])] != 0
    for c in range(found):
        score = values[candidates[c]]
        place = last_of_bin[np.uint16(bins[candidates[c]])]
        while place:
            other = values[wanted[place - 1]]
            above[place - 1] += score > other
            at_least[place - 1] += score >= other
            place = before[place - 1]
    higher = 0
    for number in range(_HIGHEST, -_HIGHEST - 1, -1):
        own = np.uint16(number & (_INT16S - 1))
        counted = histogram[own]
        if counted < 0:
            counted -= _MARK
            place = last_of_bin[own]
            while place:
                above[place - 1] += higher
                at_least[place - 1] += higher
                place = before[place - 1]
            last_of_bin[own] = 0
        higher += counted


@functools.cache
def _compiled() -> Callable[..., Any]:
    """Ranks the rows of one block of scores; without the interpreter's lock."""
    import numba

    compare, count = (numba.njit(nogil=True)(function) for function in (_compare_row, _count_row))

    @numba.njit(nogil=True)
    def rank_rows(
        scores: FloatArray,
        offsets: IntArray,
        flat: IntArray,
        above: IntArray,
        at_least: IntArray,
        counters: Counters,
    ) -> None:
        for row in range(len(scores)):
            begin, end = offsets[row], offsets[row + 1]
            wanted, more, as_much = flat[begin:end], above[begin:end], at_least[begin:end]
            if end - begin <= _FEW:
                compare(scores[row], wanted, more, as_much)
            else:
                count(scores[row], wanted, more, as_much, counters)

    return rank_rows


@dataclass(frozen=True, kw_only=True)
class QueryScores:
    """One figure a query, all float64 of shape (Q,)."""

    roc_auc: NDArray[np.float64]
    average_precision: NDArray[np.float64]
    first_rank: NDArray[np.float64]
    recall: dict[int, NDArray[np.float64]]
    average_precision_at_10: NDArray[np.float64]


def query_scores(ranks: RelevantRanks, recall_at: Sequence[int] = DEFAULT_RECALL_AT) -> QueryScores:
    """ROC-AUC, average precision, rank of the best relevant item, recall@k and AP@10 of every query.

    Ties count half in the AUC and share one threshold in the average precision, as in scikit-learn. Rank, recall and
    AP@10 (the precision at each relevant item of the first ten, over the most that could be there) take the worst
    order of a tie, the irrelevant first, so that a model that gives every item one score gets no credit. A query to
    which every item is relevant has no AUC (NaN).
    """
    starts = ranks.offsets[:-1]
    relevant = np.diff(ranks.offsets)
    query = np.repeat(np.arange(len(relevant)), relevant)
    # One ascending key over all queries, so that one sort and one search serve them all.
    base = query * (ranks.items + 1)
    key = base + ranks.at_least
    order = np.argsort(key)
    key, above, at_least = key[order], ranks.above[order], ranks.at_least[order]
    ends = np.flatnonzero(np.diff(key, append=-1))  # of each tie
    relevant_at_least = np.repeat(ends + 1, np.diff(ends, prepend=-1)) - starts[query]
    relevant_above = np.searchsorted(key, base + above, side="right") - starts[query]
    negatives_above = above - relevant_above
    negatives_tied = at_least - above - (relevant_at_least - relevant_above)
    with np.errstate(invalid="ignore", divide="ignore"):
        lost = np.add.reduceat(negatives_above + negatives_tied / 2, starts) / (relevant * (ranks.items - relevant))
    ap = np.add.reduceat(relevant_at_least / at_least, starts) / relevant
    rank = np.arange(len(key)) - starts[query] + 1 + negatives_above + negatives_tied
    recall = {k: np.add.reduceat(rank <= k, starts, dtype=np.int64) / relevant for k in recall_at}
    found = np.arange(1, len(key) + 1) - starts[query]
    ap_at_10 = np.add.reduceat(np.where(rank <= 10, found / rank, 0.0), starts) / np.minimum(relevant, 10)
    return QueryScores(
        roc_auc=1 - lost,
        average_precision=ap,
        first_rank=rank[starts].astype(np.float64),
        recall=recall,
        average_precision_at_10=ap_at_10,
    )


def ndcg(scores: NDArray[Any], grades: NDArray[np.float64], k: int) -> float:
    """Normalised discounted cumulative gain of the first k items, one query: each item's gain is its grade, divided by
    log2(1 + rank). Items of one score share the mean of their discounts, which is the mean over their orders. Equals
    scikit-learn's `ndcg_score`. Some grade must be above 0."""
    discounts = 1 / np.log2(np.arange(2, len(scores) + 2))
    discounts[k:] = 0
    order = np.argsort(-scores, kind="stable")
    ends = np.flatnonzero(np.append(np.diff(scores[order]) != 0, True)) + 1  # of each tie
    gains, shares = (np.diff(np.cumsum(values)[ends - 1], prepend=0.0) for values in (grades[order], discounts))
    best = np.sort(grades)[::-1] @ discounts
    return float((gains * shares / np.diff(ends, prepend=0)).sum() / best)
