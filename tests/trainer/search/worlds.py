"""Small indexes of vectors whose nearest are known."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from schemas.digest import hash64
from trainer.search import layout
from trainer.search.entries import Entry
from trainer.search.generation import GenerationWriter, Vectors, write_all

DIMENSION = 128


def direction(text: str) -> NDArray[np.float32]:
    row = np.random.default_rng(hash64(text)).standard_normal(DIMENSION).astype(np.float32)
    unit: NDArray[np.float32] = row / np.linalg.norm(row)
    return unit


class KnowingModel:
    """Gives each text the direction of its name: a recording that has it is found by it."""

    def embed_text(self, texts: list[str]) -> NDArray[np.float32]:
        return np.stack([direction(text) for text in texts])


def near(text: str, seed: int, noise: float = 0.5) -> NDArray[np.float32]:
    row = direction(text) + noise * direction(f"{text} {seed}")
    unit: NDArray[np.float32] = row / np.linalg.norm(row)
    return unit


def write_index(
    folder: Path,
    recordings: Sequence[tuple[Entry, NDArray[np.float32]]],
    *,
    windows: bool = False,
    hnsw: bool = False,
    umap: bool = False,
    **fields: Any,
) -> Path:
    """An index as `mulan search index` leaves it; of windows, the first is the recording's opposite."""
    folder.mkdir(parents=True, exist_ok=True)
    about: dict[str, Any] = {
        "model": "a model of the tests",
        "model_digest": "0" * 64,
        "kind": "mulan",
        "recipe": "test",
        "trained_steps": 1_000,
        "window_s": 10.0,
        "made_of": ("tests",),
        "identity": "1" * 32,
    }
    about |= fields
    generation = layout.generation_name(about["identity"])
    with GenerationWriter(folder / generation, DIMENSION, windows=windows) as writer:
        write_all(
            writer,
            (
                (entry, Vectors(row=row, windows_WD=np.stack([-row, row]), starts_s=(0.0, 10.0)))
                for entry, row in recordings
            ),
        )
        layout.commit(folder, generation, writer.finish(about, hnsw=hnsw, umap=umap))
    return folder
