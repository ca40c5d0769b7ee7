"""Writes a generation of an index: vectors, names, map and by option windows and a graph, in one pass over recordings.

Memory does not grow with the collection, but for the rows of the map.

Legend: N recordings, D dimensions, W windows.
"""

import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from schemas.version import VERSION
from trainer.search import layout, neighbours
from trainer.search.entries import Entry, EntryWriter
from trainer.search.nearest import ByGraph, Exact, build_graph, open_matrix, recall

_BLOCK = 1 << 16
_RECALL_QUERIES = 200
GRAPH_LEAST = 100  # recordings; below, a graph has nothing to save


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Vectors:
    """Of one recording: its unit row and, where they are kept, those of its windows with where each begins."""

    row: NDArray[np.float32]
    windows_WD: NDArray[np.float32] | None = None
    starts_s: tuple[float, ...] = ()


class GenerationWriter:
    """A context manager; nothing counts before `layout.commit`."""

    def __init__(self, folder: Path, dimension: int, *, windows: bool = False) -> None:
        self.folder, self.dimension = folder, dimension
        folder.mkdir()
        self._entries = EntryWriter(folder / layout.ENTRIES)
        self._vectors = (folder / layout.VECTORS).open("wb", buffering=1 << 20)
        self._windows = (folder / layout.WINDOWS).open("wb") if windows else None
        self._first, self._starts_s = [0], list[float]()
        self._sum_D = np.zeros(dimension)

    def __enter__(self) -> "GenerationWriter":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._entries.close()
        for stream in (self._vectors, self._windows):
            if stream is not None:
                stream.close()

    @property
    def count(self) -> int:
        return self._entries.count

    def add(self, entry: Entry, vectors: Vectors) -> bool:
        """False where a recording of this id is there already."""
        if not self._entries.add(entry):
            return False
        row_D = vectors.row.astype(np.float16)
        self._vectors.write(row_D.tobytes())
        self._sum_D += row_D
        if self._windows is not None:
            if vectors.windows_WD is not None:
                self._windows.write(vectors.windows_WD.astype(np.float16).tobytes())
            self._starts_s += vectors.starts_s
            self._first.append(len(self._starts_s))
        return True

    def finish(self, fields: dict[str, Any], *, hnsw: bool = False, umap: bool = False) -> layout.IndexAbout:
        """What follows from all of the rows. `fields` are the rest of what the index says of itself."""
        self.close()
        matrix_ND = open_matrix(self.folder / layout.VECTORS, self.dimension)
        mean_D = self._sum_D / max(self.count, 1)
        _places(matrix_ND, mean_D).tofile(self.folder / layout.MAP)
        if umap and self.count >= neighbours.LEAST:
            neighbours.rearrange(self.folder / layout.VECTORS, self.dimension, self.folder / layout.MAP)
        if self._windows is not None:
            first, starts_s = np.asarray(self._first, np.int64), np.asarray(self._starts_s, np.float32)
            np.savez(self.folder / layout.WINDOW_PLACES, first=first, starts_s=starts_s)
        graph: dict[str, Any] = {}
        if hnsw and self.count >= GRAPH_LEAST:
            graph = _with_graph(matrix_ND, self.folder / layout.GRAPH)
        return layout.IndexAbout(
            **fields,
            **graph,
            dimension=self.dimension,
            count=self.count,
            windows=len(self._starts_s),
            made_by=f"openmulan {VERSION}",
            mean=tuple(np.round(mean_D, 6).tolist()),
        )


def write_all(writer: GenerationWriter, recordings: Iterable[tuple[Entry, Vectors]]) -> list[str]:
    """Returns the ids that were there already, whose first recording is the one that counts."""
    return [entry.recording_id for entry, vectors in recordings if not writer.add(entry, vectors)]


def _places(matrix_ND: NDArray[np.float16], mean_D: NDArray[np.float64]) -> NDArray[np.float32]:
    """(N, 2): along the first two principal axes, each with the sign that makes its largest component positive."""
    dimension = matrix_ND.shape[1]
    covariance_DD = np.zeros((dimension, dimension))
    for start in range(0, len(matrix_ND), _BLOCK):
        block = matrix_ND[start : start + _BLOCK].astype(np.float64) - mean_D
        covariance_DD += block.T @ block
    _, axes_DD = np.linalg.eigh(covariance_DD)
    axes_D2 = axes_DD[:, [-1, -2]] if dimension > 1 else np.ones((1, 2))
    axes_D2 = axes_D2 * np.sign(axes_D2[np.abs(axes_D2).argmax(axis=0), [0, 1]])
    places_N2 = np.empty((len(matrix_ND), 2), np.float32)
    for start in range(0, len(matrix_ND), _BLOCK):
        block = matrix_ND[start : start + _BLOCK].astype(np.float64) - mean_D
        places_N2[start : start + _BLOCK] = block @ axes_D2
    return places_N2


def _with_graph(matrix_ND: NDArray[np.float16], path: Path) -> dict[str, Any]:
    """Build the graph, and measure its recall at 10 on vectors of this index that are moved a little."""
    began = time.monotonic()
    build_graph(matrix_ND, path)
    graph_s = time.monotonic() - began
    rng = np.random.default_rng(0)
    chosen = rng.choice(len(matrix_ND), min(_RECALL_QUERIES, len(matrix_ND)), replace=False)
    queries = matrix_ND[np.sort(chosen)].astype(np.float32)
    queries += 0.5 * rng.standard_normal(queries.shape).astype(np.float32) / np.sqrt(queries.shape[1])
    queries /= np.maximum(np.linalg.norm(queries, axis=1, keepdims=True), 1e-12)
    return {"recall": recall(Exact(matrix_ND), ByGraph(path), queries), "graph_s": round(graph_s, 2)}
