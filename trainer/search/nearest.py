"""The nearest vectors of an index: all of them compared (USearch, exact), or by a graph (HNSW).

A score is the dot product of float16 values, summed up in float32: a cosine, since rows have unit length.

Legend: N rows, D dimensions, K nearest.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from usearch.compiled import MetricKind
from usearch.index import Index as Graph
from usearch.index import search

# So many rows are gathered at once where a condition leaves only some of them.
_GATHERED = 1 << 18
# Rows that a query of the graph keeps in sight: USearch's own 64 find a third of what is nearest among random vectors.
_LOOKED_AT = 512


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Nearest:
    """The best first; of equal scores the earlier row."""

    rows_K: NDArray[np.int64]
    scores_K: NDArray[np.float32]


class Searcher(Protocol):
    def __call__(self, query_D: NDArray[np.float32], k: int, /) -> Nearest: ...


def open_matrix(path: Path, dimension: int) -> NDArray[np.float16]:
    """(N, D) of a file, mapped and not read. Raises ValueError where it is no whole number of rows."""
    size = path.stat().st_size
    if size % (2 * dimension):
        raise ValueError(f"{path}: has {size} bytes, which are no rows of {dimension} float16")
    if not size:
        return np.zeros((0, dimension), np.float16)
    return np.memmap(path, dtype=np.float16, mode="r", shape=(size // (2 * dimension), dimension))


class Exact:
    """Compares with every row, or with those that are `allowed`."""

    def __init__(self, matrix_ND: NDArray[np.float16]) -> None:
        self.matrix_ND = matrix_ND

    def __call__(self, query_D: NDArray[np.float32], k: int, allowed: NDArray[np.int64] | None = None) -> Nearest:
        query = query_D.astype(np.float16)
        if allowed is None:
            return _searched(self.matrix_ND, query, k)
        parts = []
        for start in range(0, len(allowed), _GATHERED):
            rows = allowed[start : start + _GATHERED]
            found = _searched(self.matrix_ND[rows], query, k)
            parts.append(Nearest(rows_K=rows[found.rows_K], scores_K=found.scores_K))
        return _best(parts, k)


class ByGraph:
    def __init__(self, path: Path) -> None:
        found = Graph.restore(path, view=True)
        if found is None:
            raise ValueError(f"{path}: is no graph of USearch")
        found.expansion_search = _LOOKED_AT  # type: ignore[misc] # has a setter that its types hide
        self._graph = found

    def __call__(self, query_D: NDArray[np.float32], k: int) -> Nearest:
        return _nearest(self._graph.search(query_D.astype(np.float16), k))


def build_graph(matrix_ND: NDArray[np.float16], path: Path) -> None:
    graph = Graph(ndim=matrix_ND.shape[1], metric=MetricKind.IP, dtype="f16", expansion_add=128)
    for start in range(0, len(matrix_ND), _GATHERED):
        rows = matrix_ND[start : start + _GATHERED]
        graph.add(np.arange(start, start + len(rows)), np.ascontiguousarray(rows))
    graph.save(path)


def recall(exact: Searcher, other: Searcher, queries: NDArray[np.float32], k: int = 10) -> float:
    """The share of the exact nearest that another way finds, over some queries."""
    found = [len(set(exact(query, k).rows_K.tolist()) & set(other(query, k).rows_K.tolist())) / k for query in queries]
    return float(np.mean(found))


def scores_of(
    matrix_ND: NDArray[np.float16], rows: NDArray[np.int64], query_D: NDArray[np.float32]
) -> NDArray[np.float32]:
    """The scores of some rows, of the same float16 values that a search compares."""
    query = query_D.astype(np.float16).astype(np.float32)
    scores: NDArray[np.float32] = matrix_ND[rows].astype(np.float32) @ query
    return scores


def _searched(matrix_ND: NDArray[np.float16], query_D: NDArray[np.float16], k: int) -> Nearest:
    k = min(k, len(matrix_ND))
    if not k:
        return Nearest(rows_K=np.zeros(0, np.int64), scores_K=np.zeros(0, np.float32))
    return _nearest(search(matrix_ND, query_D, k, MetricKind.IP, exact=True))


def _nearest(found: Any) -> Nearest:
    return best_first(np.asarray(found.keys, np.int64), 1.0 - np.asarray(found.distances, np.float32))


def best_first(rows: NDArray[np.int64], scores: NDArray[np.float32], k: int | None = None) -> Nearest:
    """Of equal scores the earlier row first."""
    order = np.lexsort((rows, -scores))[:k]
    return Nearest(rows_K=rows[order], scores_K=scores[order].astype(np.float32))


def _best(parts: list[Nearest], k: int) -> Nearest:
    if not parts:
        return Nearest(rows_K=np.zeros(0, np.int64), scores_K=np.zeros(0, np.float32))
    rows = np.concatenate([part.rows_K for part in parts])
    return best_first(rows, np.concatenate([part.scores_K for part in parts]), k)
