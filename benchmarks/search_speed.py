"""How long a query takes beside a bare exact search of USearch over the same memory map, and whether both agree.

    nice python -m benchmarks.search_speed --rows 1000000 --folder /tmp/speed
    nice python -m benchmarks.search_speed --rows 10000000 --cold 5 --graph_rows 0 --folder /tmp/speed

Random unit vectors, which is the worst that a graph (HNSW) can be given: nothing is near to anything. A query of the
product has its text embedded (here by a table), looks for names, compares, and reads titles of the answers. Both kinds
of query take turns, so that what else the machine does falls on both. Cold: the pages of the vectors are given back to
the system and the index is opened anew before each query.

Legend: N rows, D dimensions.
"""

import argparse
import os
import sqlite3
import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from numpy.typing import NDArray
from usearch.compiled import MetricKind
from usearch.index import search

from benchmarks.machine import write_result
from trainer.search import layout
from trainer.search.entries import EntryWriter
from trainer.search.index import Index
from trainer.search.layout import IndexAbout
from trainer.search.nearest import ByGraph, Exact, build_graph, open_matrix, recall

DIMENSION, K = 128, 10
_BLOCK = 1 << 16
_GAP = 1e-3
_NAMED = 2_000_000  # beyond it, entries have no titles, which take the longest to write
_SLOW_TRIALS = 3


class TableModel:
    """Embeds a text as a direction at random, so that no model's time is in the figures."""

    def embed_text(self, texts: list[str]) -> NDArray[np.float32]:
        return np.stack([unit(np.random.default_rng(len(text)).standard_normal(DIMENSION)) for text in texts])


def unit(row_D: NDArray[Any]) -> NDArray[np.float32]:
    return np.asarray(row_D / np.linalg.norm(row_D), np.float32)


def blocks(rows: int) -> Iterator[tuple[int, NDArray[np.float16]]]:
    rng = np.random.default_rng(0)
    for start in range(0, rows, _BLOCK):
        block_ND = rng.standard_normal((min(_BLOCK, rows - start), DIMENSION), dtype=np.float32)
        block_ND /= np.linalg.norm(block_ND, axis=1, keepdims=True)
        yield start, block_ND.astype(np.float16)


def written(folder: Path, rows: int, *, named: bool) -> None:
    """The files of an index, in blocks; without `named` recordings have ids and no titles, which take longest."""
    if (folder / layout.POINTER).exists():
        return
    identity = f"{rows:032d}"
    generation = folder / layout.generation_name(identity[::-1])
    generation.mkdir(parents=True)
    EntryWriter(generation / layout.ENTRIES).close()
    base = sqlite3.connect(generation / layout.ENTRIES)
    base.executescript("PRAGMA journal_mode=OFF; PRAGMA synchronous=OFF;")
    with (generation / layout.VECTORS).open("wb") as vectors:
        for start, block_ND in blocks(rows):
            vectors.write(block_ND.tobytes())
            numbers = range(start, start + len(block_ND))
            entries = ((number, f"r{number}", f"Song {number}" if named else None) for number in numbers)
            base.executemany(
                "INSERT INTO entries (row, recording_id, title, tags, start_s) VALUES (?, ?, ?, '[]', 0.0)", entries
            )
            if named:
                titles = ((number, f"Song {number}") for number in numbers)
                base.executemany("INSERT INTO names (rowid, title) VALUES (?, ?)", titles)
    base.commit()
    base.close()
    np.zeros((rows, 2), np.float32).tofile(generation / layout.MAP)
    about = IndexAbout(
        model="random",
        model_digest="0" * 64,
        kind="mulan",
        recipe=None,
        trained_steps=None,
        window_s=10.0,
        dimension=DIMENSION,
        count=rows,
        windows=0,
        made_by="benchmark",
        made_of=(),
        identity=identity,
        mean=(0.0,) * DIMENSION,
    )
    layout.commit(folder, generation.name, about)


def timed(run: Callable[[], object]) -> float:
    began = time.perf_counter()
    run()
    return time.perf_counter() - began


def forget(path: Path) -> None:
    """Give the file's pages back, which only pages that nobody maps are."""
    descriptor = os.open(path, os.O_RDONLY)
    os.fsync(descriptor)
    os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
    os.close(descriptor)


def text_of(number: int) -> str:
    return f"query {'x' * number}"


def query_of(number: int) -> NDArray[np.float32]:
    (row,) = TableModel().embed_text([text_of(number)])
    return np.asarray(row, np.float32)


def bare(matrix_ND: NDArray[np.float16], number: int) -> Any:
    return search(matrix_ND, query_of(number).astype(np.float16), K, MetricKind.IP, exact=True)


def products(matrix_ND: NDArray[np.float16], query_D: NDArray[np.float32]) -> NDArray[np.float32]:
    """float32 products of the float16 values, block by block."""
    query = query_D.astype(np.float16).astype(np.float32)
    parts = (matrix_ND[start : start + _BLOCK].astype(np.float32) for start in range(0, len(matrix_ND), _BLOCK))
    scores: NDArray[np.float32] = np.concatenate([block @ query for block in parts])
    return scores


def same_ids(index: Index, matrix_ND: NDArray[np.float16], queries: int) -> dict[str, Any]:
    """Places of the answers whose score stands apart from the next ones, and how many of them have the same id."""
    apart = equal = 0
    worst = 0.0
    for number in range(queries):
        scores = products(matrix_ND, query_of(number))
        order = np.argpartition(-scores, K + 1)[: K + 1]
        order = order[np.argsort(-scores[order], kind="stable")]
        hits = index.search(text_of(number), k=K)
        for place, hit in enumerate(hits):
            row = int(hit.recording_id[1:])
            worst = max(worst, abs(float(scores[row] - scores[order[place]])))
            gaps = [
                abs(float(scores[order[place]] - scores[order[other]]))
                for other in (place - 1, place + 1)
                if other >= 0
            ]
            if min(gaps) > _GAP:
                apart += 1
                equal += int(row == order[place])
    return {"places apart": apart, "of which equal": equal, "largest difference of scores": worst}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--folder", type=Path, required=True, help="where the index is made, and kept")
    parser.add_argument("--trials", type=int, default=20)
    parser.add_argument("--cold", type=int, default=20, help="trials with cold pages")
    parser.add_argument("--graph_rows", type=int, default=200_000, help="rows of a graph (HNSW); 0 makes none")
    arguments = parser.parse_args()
    folder = arguments.folder / str(arguments.rows)
    named = arguments.rows <= _NAMED
    written(folder, arguments.rows, named=named)
    generation, about = layout.read_pointer(folder)
    path = generation / layout.VECTORS

    cold: dict[str, list[float]] = {"product": [], "bare": []}
    for number in range(arguments.cold):
        forget(path)
        index = Index.open(folder, model=TableModel())
        cold["product"].append(timed(lambda index=index, number=number: index.search(text_of(number), k=K)))  # type: ignore[misc]
        index.close()
        del index
        forget(path)
        matrix_ND = open_matrix(path, DIMENSION)
        cold["bare"].append(timed(lambda matrix=matrix_ND, number=number: bare(matrix, number)))  # type: ignore[misc]
        del matrix_ND

    index = Index.open(folder, model=TableModel())
    matrix_ND = open_matrix(path, DIMENSION)
    index.search(text_of(0), k=K)
    bare(matrix_ND, 0)
    warm: dict[str, list[float]] = {"product": [], "bare": [], "named": [], "numpy blocks": [], "numpy float32": []}
    for number in range(arguments.trials):
        warm["product"].append(timed(lambda: index.search(text_of(number), k=K)))  # noqa: B023
        warm["bare"].append(timed(lambda: bare(matrix_ND, number)))  # noqa: B023
        if named:
            warm["named"].append(timed(lambda: index.search(f"song {number}", k=K)))  # noqa: B023
    memory = psutil.Process().memory_info()
    for number in range(_SLOW_TRIALS):
        warm["numpy blocks"].append(timed(lambda: products(matrix_ND, query_of(number)).argpartition(-K)))  # noqa: B023
    if arguments.rows <= _NAMED:
        floats_ND = matrix_ND.astype(np.float32)
        for number in range(arguments.trials):
            warm["numpy float32"].append(timed(lambda: (floats_ND @ query_of(number)).argpartition(-K)))  # noqa: B023
        del floats_ND
    result: dict[str, Any] = {
        "rows": about.count,
        "dimension": DIMENSION,
        "names": named,
        "warm_ms": {name: _median_ms(times) for name, times in warm.items() if times},
        "cold_ms": {name: _median_ms(times) for name, times in cold.items() if times},
        "trials": {"warm": arguments.trials, "cold": arguments.cold, "numpy blocks": _SLOW_TRIALS},
        "load": os.getloadavg()[0],
        "ratio_warm": round(statistics.median(warm["product"]) / statistics.median(warm["bare"]), 3),
        # The vectors are mapped twice: by the index, and by the bare search beside it.
        "memory_mib": {"own": round((memory.rss - memory.shared) / 2**20), "mapped": round(memory.shared / 2**20)},
        "same_ids": same_ids(index, matrix_ND, 20 if arguments.rows <= _NAMED else _SLOW_TRIALS),
    }
    if arguments.cold:
        result["ratio_cold"] = round(statistics.median(cold["product"]) / statistics.median(cold["bare"]), 3)
    if arguments.graph_rows:
        rows = min(arguments.graph_rows, arguments.rows)
        result["graph"] = graph(matrix_ND[:rows], folder.with_name(f"graph-{rows}.usearch"))
    name = f"search_speed_{arguments.rows // 1_000_000}m"
    write_result(
        name,
        result,
        packages=("usearch", "numkong", "numpy"),
        command=f"python -m benchmarks.search_speed --rows {arguments.rows} --cold {arguments.cold} "
        f"--graph_rows {arguments.graph_rows} --folder FOLDER",
    )


def graph(matrix_ND: NDArray[np.float16], path: Path) -> dict[str, Any]:
    """Recall at 10 of random queries, and of rows that are moved a little, as a query near its answer is."""
    built_s = timed(lambda: build_graph(matrix_ND, path))
    rng = np.random.default_rng(1)
    random_ND = np.stack([unit(row) for row in rng.standard_normal((100, DIMENSION))])
    chosen = matrix_ND[rng.choice(len(matrix_ND), 100, replace=False)].astype(np.float32)
    near_ND = np.stack([unit(row + 0.5 * unit(rng.standard_normal(DIMENSION))) for row in chosen])
    by_graph, exact = ByGraph(path), Exact(matrix_ND)
    times = [timed(lambda query=query: by_graph(query, K)) for query in random_ND]  # type: ignore[misc]
    return {
        "rows": len(matrix_ND),
        "built_s": round(built_s, 1),
        "query_ms": _median_ms(times),
        "recall_random": recall(exact, by_graph, random_ND),
        "recall_near": recall(exact, by_graph, near_ND),
    }


def _median_ms(times: list[float]) -> float:
    return round(statistics.median(times) * 1e3, 2)


if __name__ == "__main__":
    main()
