"""What a run folder was begun with, so that a resumed run goes on with the same recipe on the same data, or is refused.

Kept in `run.json`: the recipe without what only decides when a run ends and how it is computed, and the digest of each
manifest; beside them where the runs lay, which may change. A run goes on with the manifests that it began with, even
where mining has added newer ones since.
"""

import errno
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from schemas.digest import canonical_json, digest_json
from trainer.checkpoint import checkpoints, replace_text
from trainer.data import Corpus
from trainer.recipes import Recipe
from trainer.training import Training

_NAME = "run.json"
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_NOT_LEARNED = ("epochs", "compute")


def identity(recipe: Recipe, corpus: Corpus) -> dict[str, Any]:
    """Plain values, as they are read back."""
    learned = {name: value for name, value in recipe.to_json().items() if name not in _NOT_LEARNED}
    value = {
        "recipe": learned,
        "manifests": [run.manifest.number for run in corpus.runs],
        "data_digests": [run.manifest.digest() for run in corpus.runs],
        "data": [run.location for run in corpus.runs],
    }
    plain: dict[str, Any] = json.loads(canonical_json(value))
    return plain


@dataclass(frozen=True, kw_only=True)
class RunFolder:
    """An output folder that fits recipe and data; `last` is the checkpoint to go on from, where there is one."""

    checkpoints: Path
    last: Path | None
    corpus: Corpus
    identity: dict[str, Any]

    def training(self, recipe: Recipe) -> Training:
        """What the model that is trained here will know of it."""
        manifests, runs = tuple(self.identity["data_digests"]), tuple(self.identity["data"])
        return Training(data=recipe.data, manifests=manifests, runs=runs)


def open_run(output: Path, recipe: Recipe, data: tuple[str, ...]) -> RunFolder:
    """Raises ValueError where the folder holds another run, RunError where the data cannot be read."""
    folder = output / "checkpoints"
    last = next(reversed(checkpoints(folder)), None)
    known = read_identity(output) if last is not None else None
    corpus = Corpus.open(data, recipe.data, known["manifests"] if known else None)
    now = identity(recipe, corpus)
    if known is not None:
        check_same(known, now, output)
    return RunFolder(checkpoints=folder, last=last, corpus=corpus, identity=now)


def write_identity(output: Path, value: dict[str, Any]) -> None:
    """Raises ValueError where the folder cannot be written, OSError where it has no room."""
    content, path = canonical_json(value) + "\n", output / _NAME
    try:
        output.mkdir(parents=True, exist_ok=True)
        if not path.exists() or path.read_text(encoding="utf-8") != content:
            replace_text(path, content)
    except OSError as error:
        if error.errno in _NO_ROOM:
            raise
        raise ValueError(f"{output}: cannot be written ({error}); give another --output") from error


def read_identity(output: Path) -> dict[str, Any]:
    """Raises ValueError where the folder has lost it."""
    try:
        value: dict[str, Any] = json.loads((output / _NAME).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ValueError(f"{output / _NAME}: cannot be read ({error}); give another --output or remove it") from error
    return value


def check_same(known: dict[str, Any], now: dict[str, Any], output: Path) -> None:
    """Raises ValueError that names what has changed."""
    if digest_json(known["recipe"]) != digest_json(now["recipe"]):
        changed = ", ".join(_differences(known["recipe"], now["recipe"]))
        raise ValueError(f"{output} holds a run with other settings ({changed}); give another --output or remove it")
    if known["data_digests"] != now["data_digests"]:
        raise ValueError(f"{output} holds a run on other data; give another --output or remove it")


def _differences(before: dict[str, Any], now: dict[str, Any], prefix: str = "") -> Iterator[str]:
    for name in sorted(before.keys() | now.keys()):
        old, new = before.get(name), now.get(name)
        if isinstance(old, dict) and isinstance(new, dict):
            yield from _differences(old, new, f"{prefix}{name}.")
        elif old != new:
            yield f"{prefix}{name} was {old!r}, is {new!r}"
