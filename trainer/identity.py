"""What a run folder was begun with, so that a resumed run goes on with the same recipe on the same data, or is refused.

Kept in `run.json`: the recipe without what only decides when a run ends and how it is computed, the digest of each
manifest, and the shards that were left out; beside them where the runs lay, which may change. A run goes on with the
manifests that it began with, even where mining has added newer ones since.
"""

import copy
import errno
import functools
import json
import logging
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from schemas.digest import canonical_json
from schemas.run import Run, RunError
from trainer import dist
from trainer.agreement import agree, from_first
from trainer.checkpoint import checkpoints, replace_text, step_of
from trainer.data import Corpus
from trainer.recipes import Recipe
from trainer.settings import differences, from_plain
from trainer.trained_on import Training

_NAME, _INDEX_NAME = "run.json", "rows.parquet"
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
# How a run is computed and read, and when it ends.
_NOT_LEARNED = ("epochs", "compute", "loss.block_rows", "data.verify_shards", "data.skip_corrupt")
# A folder, however it is spelled, or a name on the hub.
_PLACES = ("audio.warm_start", "text.warm_start", "text.tokenizer")

# What a fork of a run may change beside them, `began` being what tells it from a resumed run.
_FORKED = ("optimizer", "loss", "init_from", "fork")
_CHECKPOINTS = "checkpoints"

log = logging.getLogger(__name__)


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
        if field in section:
            section[field] = _place(section[field])
    return learned


def _where(value: dict[str, Any], name: str) -> tuple[dict[str, Any], str]:
    """The section that a dotted name leads to, and the name of the field in it."""
    *sections, field = name.split(".")
    return functools.reduce(lambda section, part: section.get(part, {}), sections, value), field


@dataclass(frozen=True, kw_only=True)
class RunFolder:
    """An output folder that fits recipe and data; `last` is the checkpoint to go on from, where there is one: its own,
    or that of the run that it is forked from. Only the first rank may look into it."""

    checkpoints: Path
    last: Path | None
    forked: bool
    corpus: Corpus
    identity: dict[str, Any]

    def training(self, recipe: Recipe) -> Training:
        """What the model that is trained here will know of it."""
        manifests, runs = tuple(self.identity["data_digests"]), tuple(self.identity["data"])
        return Training(data=recipe.data, manifests=manifests, runs=runs)


def open_run(
    output: Path, recipe: Recipe, data: tuple[str, ...], *, init_from: str | None = None, fork: str | None = None
) -> RunFolder:
    """All ranks have to ask. Raises ValueError where the folder holds another run, RunError where the data cannot be
    read."""
    last, known = _begun(output)
    if forked := last is None and fork is not None:
        last, known = _plain_run(from_first(functools.partial(_fork, fork, output)))
    numbers = known["manifests"] if known else [None] * len(data)
    if dist.rank_count() > 1:
        agree({"manifest": {folder: _digest(folder, number) for folder, number in zip(data, numbers, strict=False)}})
    corpus = Corpus.open(
        data,
        recipe.data,
        known["manifests"] if known else None,
        index_at=output / _INDEX_NAME,
        keep_index=known is None,
    )
    began = from_first(lambda: {"init_from": _place(init_from), "fork": _place(fork)})
    now = identity(recipe, corpus) | {"began": began}
    if known is not None and forked:
        check_same(known, now, f"{fork} is a run", "a fork may change optimizer and loss", free=_FORKED)
    elif known is not None:
        check_same(known, now, f"{output} holds a run", "give another --output or remove it")
    return RunFolder(checkpoints=output / _CHECKPOINTS, last=last, forked=forked, corpus=corpus, identity=now)


def _begun(output: Path) -> tuple[Path | None, dict[str, Any] | None]:
    """The checkpoint to go on from, and what its run was begun with: the first rank's, whatever other disks hold."""
    last = next(reversed(checkpoints(output / _CHECKPOINTS)), None)
    steps = [int(text) for text in dist.gather_texts(str(step_of(last) if last is not None else 0))]
    if (furthest := max(steps)) > steps[0]:
        raise dist.SaidByFirst(
            f"rank {steps.index(furthest)} would go on from step {furthest}, rank 0 from step {steps[0]}: {output} is "
            "not one folder; share it, or let the machine with the later checkpoint have rank 0"
        )
    if min(steps) < steps[0] and dist.rank() == 0:
        behind = steps.index(min(steps))
        log.warning(
            "rank %d has %s of its own in %s: it takes weights, optimizer and data position of rank 0, step %d",
            behind,
            f"step {steps[behind]}" if steps[behind] else "no checkpoint",
            output,
            steps[0],
        )
    return _plain_run(from_first(lambda: [str(last), read_identity(output)] if last is not None else [None, None]))


def _digest(folder: str, number: int | None) -> str:
    """Of the manifest that a rank would read, or why it cannot."""
    try:
        return Run.open(folder, number).manifest.digest()
    except RunError as error:
        return str(error)


def _fork(origin: str, output: Path) -> list[Any]:
    """The checkpoint that `RUN[@STEP]` names, and what the run was begun with; its index is copied. Raises
    ValueError."""
    folder, _, step = origin.rpartition("@") if origin.rpartition("@")[2].isdigit() else (origin, "", "")
    found = {step_of(path): path for path in checkpoints(Path(folder) / _CHECKPOINTS)}
    if not found:
        raise ValueError(f"--fork {origin}: {folder} has no checkpoint")
    if (wanted := int(step) if step else max(found)) not in found:
        raise ValueError(f"--fork {origin}: {folder} has no step {wanted}; it has {', '.join(map(str, found))}")
    known = read_identity(Path(folder))
    output.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(Path(folder) / _INDEX_NAME, output / _INDEX_NAME)
    return [str(found[wanted]), known]


def _plain_run(value: Sequence[Any]) -> tuple[Path | None, dict[str, Any] | None]:
    last, known = value
    return Path(last) if last is not None else None, known


def _place(name: str | None) -> str | None:
    """A folder, however it is spelled, or a name on the hub."""
    return str(Path(name).resolve()) if name is not None and Path(name).exists() else name


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


def check_same(known: dict[str, Any], now: dict[str, Any], what: str, advice: str, *, free: Sequence[str] = ()) -> None:
    """Raises ValueError that names what has changed, in the words given; what is `free` may."""
    before = {**_completed(known["recipe"]), **known.get("began", {})}
    changed = differences(before, {**now["recipe"], **(now["began"] if "began" in known else {})})
    if told := ", ".join(f"{n} was {old!r}, is {new!r}" for n, old, new in changed if n.split(".")[0] not in free):
        raise ValueError(f"{what} with other settings ({told}); {advice}")
    if known["data_digests"] != now["data_digests"]:
        raise ValueError(f"{what} on other data; {advice}")
    # An older version let a run begin without broken shards, and did not write down which.
    if (left_out := known.get("left_out", now["left_out"])) != now["left_out"]:
        shard = min(set(left_out).symmetric_difference(now["left_out"]))
        raise ValueError(
            f"{what} that began {'without' if shard in left_out else 'with'} {shard}, which is "
            f"{'whole again' if shard in left_out else 'broken now'}; repair the run, or give another --output"
        )
    if known.get("rows", now["rows"]) != now["rows"]:
        raise ValueError(
            f"{what} whose {_INDEX_NAME} is gone, and a new scan finds other rows than it began with; put it back, or "
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
