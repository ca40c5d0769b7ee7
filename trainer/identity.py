"""What a run folder was begun with, so that a resumed run goes on with the same recipe on the same data, or is refused.

Kept in `run.json`: the recipe without what only decides when a run ends and how it is computed, the digest of each
manifest, and the shards that were left out; beside them where the runs lay, which may change. A run goes on with the
manifests that it began with, even where mining has added newer ones since.
"""

import copy
import errno
import functools
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from schemas.digest import canonical_json
from trainer.checkpoint import checkpoints, replace_text
from trainer.data import Corpus
from trainer.recipes import Recipe
from trainer.settings import from_plain
from trainer.trained_on import Training

_NAME, _INDEX_NAME = "run.json", "rows.parquet"
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
# How a run is computed and read, and when it ends.
_NOT_LEARNED = ("epochs", "compute", "loss.block_rows", "data.verify_shards", "data.skip_corrupt")
# A folder, however it is spelled, or a name on the hub.
_PLACES = ("audio.warm_start", "text.warm_start", "text.tokenizer")


def identity(recipe: Recipe, corpus: Corpus) -> dict[str, Any]:
    """Plain values, as they are read back."""
    value = {
        "recipe": _learned(recipe.to_json()),
        "manifests": [run.manifest.number for run in corpus.runs],
        "data_digests": [run.manifest.digest() for run in corpus.runs],
        "left_out": list(corpus.left_out),
        "rows": corpus.index.digest(),
        "data": [run.location for run in corpus.runs],
    }
    plain: dict[str, Any] = json.loads(canonical_json(value))
    return plain


def _learned(recipe: dict[str, Any]) -> dict[str, Any]:
    """The plain values of a recipe without those that do not count, and places spelled in the one way."""
    learned = copy.deepcopy(recipe)
    for name in _NOT_LEARNED:
        section, field = _where(learned, name)
        section.pop(field, None)
    for name in _PLACES:
        section, field = _where(learned, name)
        if (place := section.get(field)) is not None and Path(place).exists():
            section[field] = str(Path(place).resolve())
    return learned


def _where(value: dict[str, Any], name: str) -> tuple[dict[str, Any], str]:
    """The section that a dotted name leads to, and the name of the field in it."""
    *sections, field = name.split(".")
    return functools.reduce(lambda section, part: section.get(part, {}), sections, value), field


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
    corpus = Corpus.open(
        data,
        recipe.data,
        known["manifests"] if known else None,
        index_at=output / _INDEX_NAME,
        keep_index=known is None,
    )
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
    if changed := ", ".join(_differences(_completed(known["recipe"]), now["recipe"])):
        raise ValueError(f"{output} holds a run with other settings ({changed}); give another --output or remove it")
    if known["data_digests"] != now["data_digests"]:
        raise ValueError(f"{output} holds a run on other data; give another --output or remove it")
    # An older version let a run begin without broken shards, and did not write down which.
    if (left_out := known.get("left_out", now["left_out"])) != now["left_out"]:
        shard = min(set(left_out).symmetric_difference(now["left_out"]))
        raise ValueError(
            f"{output} holds a run that began {'without' if shard in left_out else 'with'} {shard}, which is "
            f"{'whole again' if shard in left_out else 'broken now'}; repair the run, or give another --output"
        )
    if known.get("rows", now["rows"]) != now["rows"]:
        raise ValueError(
            f"{output / _INDEX_NAME} is gone, and a new scan finds other rows than the run began with; put it back, or "
            "give another --output"
        )


def _completed(known: dict[str, Any]) -> dict[str, Any]:
    """An older version's recipe with the settings that have come since, at their defaults; as it is, where that is no
    recipe any more."""
    try:
        # Chunks have no part in it, and have to fit the batch.
        recipe = from_plain(Recipe, {**known, "compute": {"audio_chunk": known["batch_size"]}}).to_json()
    except (KeyError, TypeError, ValueError):
        return _learned(known)
    plain: dict[str, Any] = json.loads(canonical_json(_learned(recipe)))
    return plain


def _differences(before: dict[str, Any], now: dict[str, Any], prefix: str = "") -> Iterator[str]:
    for name in sorted(before.keys() | now.keys()):
        old, new = before.get(name), now.get(name)
        if isinstance(old, dict) and isinstance(new, dict):
            yield from _differences(old, new, f"{prefix}{name}.")
        elif old != new:
            yield f"{prefix}{name} was {old!r}, is {new!r}"
