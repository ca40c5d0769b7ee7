"""A map by UMAP, made in a process of its own: umap-learn loads TensorFlow where that is installed, and in one process
with it torch has aborted.

This file is run as a script, and imports nothing of ours:

    python -I neighbours.py VECTORS.f16 DIMENSION MAP.f32
"""

import importlib.util
import subprocess
import sys
from pathlib import Path

import numpy as np

LEAST = 50  # recordings; below, there are not enough neighbours to keep together
_EXTENT = 10.0  # of the map that UMAP begins with, as it makes its own


def rearrange(vectors: Path, dimension: int, places: Path) -> None:
    """Replace the places of a map, from which it begins, by UMAP's. Raises ModuleNotFoundError where it is not
    installed, ValueError where it fails."""
    if importlib.util.find_spec("umap") is None:
        raise ModuleNotFoundError("No module named 'umap'", name="umap")
    command = [sys.executable, "-I", __file__, str(vectors), str(dimension), str(places)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        said = (done.stderr.strip().splitlines() or [f"it ended with code {done.returncode}"])[-1]
        raise ValueError(f"--umap: no map was made ({said})")


def make(vectors: str, dimension: str, places: str) -> None:
    """All rows are held, in float32. One seed gives one map."""
    from umap import UMAP

    matrix_ND = np.fromfile(vectors, np.float16).reshape(-1, int(dimension)).astype(np.float32)
    begin_N2 = np.fromfile(places, np.float32).reshape(-1, 2)
    begin_N2 = begin_N2 / max(float(np.abs(begin_N2).max()), 1e-12) * _EXTENT
    mapper = UMAP(n_components=2, metric="cosine", init=begin_N2, random_state=0, n_jobs=1)
    np.asarray(mapper.fit_transform(matrix_ND), np.float32).tofile(places)


if __name__ == "__main__":
    make(*sys.argv[1:])
