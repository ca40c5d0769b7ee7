"""What exact retrieval metrics cost, in CPU time and memory, beside the bare matrix product of the same block size.

    python -m benchmarks.retrieval_ranking --queries 7000 --items 100000

Directions at random, so relevant items stand anywhere: the costly case, in which no part of a row can be left out.
"""

import argparse
import multiprocessing
import resource
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped] # it has neither stubs nor py.typed

from benchmarks.machine import write_result
from trainer.evaluation.model import FloatArray
from trainer.evaluation.ranking import query_scores, rank_relevant

# A caption has one clip to find, an evaluation playlist ten to a hundred.
RELEVANT = {"captions": (1, 1), "playlists": (10, 100)}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--queries", type=int, default=7000)
    parser.add_argument("--items", type=int, default=100_000)
    parser.add_argument("--block_rows", type=int, default=64)
    parser.add_argument("--repeats", type=int, default=5)
    given = parser.parse_args()
    result: dict[str, Any] = {"queries": given.queries, "items": given.items, "block_rows": given.block_rows}
    for case, least_and_most in RELEVANT.items():
        size = (given.queries, given.items, least_and_most, given.block_rows)
        # Each in a process of its own, so that the peak of one is not that of the other.
        with multiprocessing.get_context("spawn").Pool(1, maxtasksperchild=1) as pool:
            both = pool.apply(alternate, (*size, given.repeats))
            bare_mib, ours_mib = (pool.apply(peak_mib, (which, *size)) for which in ("bare", "ours"))
        result[case] = {
            "relevant_per_query": list(least_and_most),
            "bare_product_cpu_s": both["bare"],
            "metrics_cpu_s": both["ours"],
            "ratio_of_best": round(min(both["ours"]) / min(both["bare"]), 3),
            "ratio_of_median": round(float(np.median(both["ours"]) / np.median(both["bare"])), 3),
            "bare_product_peak_mib": bare_mib,
            "metrics_peak_mib": ours_mib,
            "mean_roc_auc": both["auc"],
        }
    command = "python -m benchmarks.retrieval_ranking " + " ".join(sys.argv[1:])
    write_result("retrieval_ranking", result, packages=("numpy", "numba"), command=command.strip())
    return 0


def data(
    queries: int, items: int, relevant_per_query: tuple[int, int]
) -> tuple[FloatArray, FloatArray, list[list[int]]]:
    rng = np.random.default_rng(0)

    def rows(count: int) -> FloatArray:
        drawn = rng.standard_normal((count, 128), dtype=np.float32)
        unit: FloatArray = drawn / np.linalg.norm(drawn, axis=1, keepdims=True)
        return unit

    least, most = relevant_per_query
    relevant = [rng.choice(items, rng.integers(least, most + 1), replace=False).tolist() for _ in range(queries)]
    return rows(queries), rows(items), relevant


def bare(queries: FloatArray, items: FloatArray, block_rows: int) -> None:
    buffer = np.empty((block_rows, len(items)), np.float32)
    for start in range(0, len(queries), block_rows):
        block = queries[start : start + block_rows]
        np.matmul(block, items.T, out=buffer[: len(block)])


def alternate(
    queries: int, items: int, relevant_per_query: tuple[int, int], block_rows: int, repeats: int
) -> dict[str, Any]:
    """Seconds of CPU of both, in turns, after one round that compiles and warms. Both have one thread: BLAS's others
    would spin while they wait, which is CPU time and no work."""
    text, audio, relevant = data(queries, items, relevant_per_query)
    seconds: dict[str, list[float]] = {"bare": [], "ours": []}
    scores = None

    def ours() -> None:
        nonlocal scores
        scores = query_scores(rank_relevant(text, audio, relevant, block_rows, threads=1))

    rank_relevant(text[:1], audio, relevant[:1], threads=1)
    bare(text[:block_rows], audio, block_rows)
    runs: list[tuple[str, Callable[[], None]]] = [("bare", lambda: bare(text, audio, block_rows)), ("ours", ours)]
    with threadpool_limits(1, user_api="blas"):
        for _ in range(repeats):
            for name, run in runs:
                started = time.process_time()
                run()
                seconds[name].append(round(time.process_time() - started, 3))
    assert scores is not None
    return {**seconds, "auc": round(float(scores.roc_auc.mean()), 5)}


def peak_mib(which: str, queries: int, items: int, relevant_per_query: tuple[int, int], block_rows: int) -> int:
    """What the process took at most beyond the inputs themselves."""
    text, audio, relevant = data(queries, items, relevant_per_query)
    rank_relevant(text[:1], audio[:1000], [list(range(len(relevant[0])))])  # compiles
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    if which == "bare":
        bare(text, audio, block_rows)
    else:
        query_scores(rank_relevant(text, audio, relevant, block_rows))
    return round((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024)


if __name__ == "__main__":
    sys.exit(main())
