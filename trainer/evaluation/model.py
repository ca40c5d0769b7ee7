"""What can be evaluated: anything that embeds audio and text into one space.

`openmulan.load(dir)` returns such an object; a peer's model needs a few lines around it. Rows are l2-normalised by
`unit_rows` again here, so that a model that forgets it is still compared by cosine.
"""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol, TypeAlias, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from schemas.digest import hash64
from trainer.data import DataConfig
from trainer.settings import from_plain
from trainer.trained_on import Training

FloatArray: TypeAlias = NDArray[np.float32]

EMBEDDING_DIM = 128
CLAP = "clap:"  # before the folder of a checkpoint, where a model is named


class TextModel(Protocol):
    """Embeds text: what the text triplets need."""

    def embed_text(self, texts: list[str], /) -> FloatArray:
        """(N, D) float32, one row a text."""
        ...


class JointModel(TextModel, Protocol):
    """Embeds audio and text into one space.

    One that has `window_s` is given windows of that many seconds, any other of 10. `cut_into(wave, samples)` may make
    the windows itself. In zero-shot tagging one may be Prompted.
    """

    def embed_audio(self, waves: Sequence[Any], /) -> FloatArray:
        """(N, D) float32 of N mono waves: float32 arrays at 16 kHz, or paths of files."""
        ...


@runtime_checkable
class Prompted(Protocol):
    """A model whose publishers put something around the name of a class in zero-shot tagging, `{}` being the name."""

    prompt: str


def prompt_of(model: TextModel) -> str:
    """The name alone where the model says nothing. Raises ValueError where its prompt has no place for the name."""
    prompt = model.prompt if isinstance(model, Prompted) else "{}"
    if not isinstance(prompt, str) or prompt.count("{}") != 1:
        raise ValueError(f"the model's prompt is {prompt!r}; it needs one {{}}, where the name of a class stands")
    return prompt


class EmbeddingError(ValueError):
    """A model returned something that cannot be ranked."""


def unit_rows(rows: NDArray[Any], what: str, expected: int) -> FloatArray:
    """(N, D) float32 with rows of length 1.

    Raises EmbeddingError where the shape is wrong, a value is not finite or a row is zero: such rows would be ranked
    by accident and give a figure that means nothing.
    """
    array = np.asarray(rows, dtype=np.float32)
    if array.ndim != 2 or array.shape[0] != expected:
        raise EmbeddingError(f"{what}: the model returned shape {array.shape} for {expected} inputs; (N, D) is needed")
    if not np.isfinite(array).all():
        bad = int(np.flatnonzero(~np.isfinite(array).all(axis=1))[0])
        raise EmbeddingError(f"{what}: row {bad} of the embedding is not finite")
    lengths = np.linalg.norm(array, axis=1, keepdims=True)
    if (lengths == 0).any():
        bad = int(np.flatnonzero(lengths[:, 0] == 0)[0])
        raise EmbeddingError(f"{what}: row {bad} of the embedding is zero, so it has no direction")
    unit: FloatArray = (array / lengths).astype(np.float32)
    return unit


def embed_texts(model: TextModel, texts: Sequence[str], batch_size: int = 256) -> FloatArray:
    """(N, D) unit rows; every distinct text is embedded once."""
    # By length, so that a batch is padded little.
    distinct = sorted(set(texts), key=lambda text: (len(text), text))
    rows = [
        unit_rows(model.embed_text(batch), "embed_text", len(batch))
        for batch in (distinct[start : start + batch_size] for start in range(0, len(distinct), batch_size))
    ]
    if not rows:
        raise ValueError("there is no text to embed")
    table = np.concatenate(rows)
    place = {text: row for row, text in enumerate(distinct)}
    return table[[place[text] for text in texts]]


class RandomModel:
    """The control that every table carries: a direction at random for each input, the same for the same input."""

    def __init__(self, seed: int = 0, dim: int = EMBEDDING_DIM) -> None:
        self._seed = seed
        self._dim = dim

    def embed_audio(self, waves: Sequence[Any]) -> FloatArray:
        return self._rows([str(w) if isinstance(w, str | Path) else _wave_key(w) for w in waves])

    def embed_text(self, texts: list[str]) -> FloatArray:
        return self._rows(texts)

    def embed_names(self, names: Sequence[str]) -> FloatArray:
        """Of clips, by what is as different as they are."""
        return self._rows(names)

    def _rows(self, keys: Sequence[str]) -> FloatArray:
        rows = [np.random.default_rng([self._seed, hash64(key)]).standard_normal(self._dim) for key in keys]
        return unit_rows(np.stack(rows), "random", len(keys))


def _wave_key(wave: NDArray[np.float32]) -> str:
    return hashlib.sha256(np.ascontiguousarray(wave, dtype=np.float32).tobytes()).hexdigest()


# A card, or how training stood, is not the model: a checkpoint has the digest of the model that was saved from it.
_NOT_THE_MODEL = frozenset({"README.md", "optimizer.safetensors", "state.json"})


def digest_folder(folder: Path) -> str:
    """SHA-256 over the names and contents of a model directory's files: the checkpoint's name in a result."""
    digest = hashlib.sha256()
    for path in sorted(p for p in folder.rglob("*") if p.is_file() and p.name not in _NOT_THE_MODEL):
        digest.update(f"{path.relative_to(folder).as_posix()}\0".encode())
        with path.open("rb") as stream:
            while chunk := stream.read(1 << 20):
                digest.update(chunk)
    return digest.hexdigest()


def trained_on(folder: Path) -> tuple[str, ...]:
    """Digests of the manifests that a model directory or a checkpoint was trained on; empty where nothing says so.

    `mulan train` leaves them in the `run.json` of its output, of which the model and the checkpoints are parts.
    """
    return _said(folder, "trained_on", "data_digests")


def read_training(folder: Path, model: str) -> Training:
    """What a model directory or a checkpoint says of its training. Raises ValueError where it is none."""
    path = folder / "config.json"
    try:
        data = from_plain(DataConfig, json.loads(path.read_text(encoding="utf-8"))["recipe"]["data"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path}: not the configuration of a model of `mulan train` ({error!r})") from error
    return Training(data=data, manifests=trained_on(folder), runs=_said(folder, None, "data"), model=model)


def _said(folder: Path, in_config: str | None, in_run: str) -> tuple[str, ...]:
    path = folder.resolve()
    places = [(path / "config.json", in_config)] if in_config else []
    for place, key in (*places, *((parent / "run.json", in_run) for parent in list(path.parents)[:2])):
        try:
            if found := tuple(str(v) for v in json.loads(place.read_text(encoding="utf-8")).get(key, ())):
                return found
        except (OSError, ValueError, AttributeError, TypeError):
            continue
    return ()
