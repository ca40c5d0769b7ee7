"""What lies in the folder of an index, and how a reader never meets half of one.

INDEX/index.json     names the generation that counts; replaced in one step
INDEX/g-…/           a generation, whole before it is named: vectors.f16, map.f32, entries.sqlite and, by option,
                     windows.f16 with windows.npz, and graph.usearch
INDEX/work.sqlite    what was embedded, so that a command goes on where one stopped (trainer/search/work.py)
INDEX/lock           held by the one writer

Whoever has a generation open keeps it, after its folder is gone too.
"""

import contextlib
import dataclasses
import fcntl
import json
import os
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from schemas.digest import canonical_json
from schemas.exits import check_output

FORMAT_VERSION = 1
POINTER = "index.json"
VECTORS, WINDOWS, WINDOW_PLACES = "vectors.f16", "windows.f16", "windows.npz"
MAP, ENTRIES, GRAPH, FAILURES = "map.f32", "entries.sqlite", "graph.usearch", "failures.jsonl"
WORK, _LOCK = "work.sqlite", "lock"
_GENERATION = "g-"
# What a command makes, and may delete, in a folder that has its lock.
_GENERATION_NAME = re.compile(r"g-[0-9a-f]{16}")
_OURS = re.compile(rf"{_GENERATION_NAME.pattern}|{POINTER}(\.tmp)?|{_LOCK}|{WORK}(-journal|-wal|-shm)?")


class IndexError_(ValueError):
    """An index that cannot be used as asked; one line says why, and what to do."""


@dataclass(frozen=True, kw_only=True)
class IndexAbout:
    """What an index is. `model` is how the model was named, `model_digest` which it is; `trained_steps` is None where
    nothing says it. `recall` is that of the graph (HNSW), measured on this index, None where search is exact.
    `mean` is the mean of all vectors, which says how far they stand on one side."""

    model: str
    model_digest: str
    kind: str
    recipe: str | None
    trained_steps: int | None
    window_s: float
    dimension: int
    count: int
    windows: int
    made_by: str
    made_of: tuple[str, ...]
    identity: str
    mean: tuple[float, ...]
    store: str | None = None
    recall: float | None = None
    graph_s: float | None = None

    @property
    def has_windows(self) -> bool:
        return self.windows > 0

    @property
    def is_tiny(self) -> bool:
        return self.recipe == "tiny"

    @property
    def caution(self) -> str | None:
        """One sentence that whoever is shown an answer should read, where the model is no model to trust."""
        if self.trained_steps == 0:
            return "The model was never trained: its answers are chance."
        if self.is_tiny:
            steps = "" if self.trained_steps is None else f" for {self.trained_steps} steps"
            return f"The model is tiny, trained{steps} to show the way: its answers say little of music."
        return None


def read_pointer(folder: Path) -> tuple[Path, IndexAbout]:
    """The generation that counts, and what it is. Raises IndexError_."""
    path = folder / POINTER
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError) as error:
        raise IndexError_(f"{folder}: there is no index; `mulan search index` makes one") from error
    except (OSError, ValueError) as error:
        raise IndexError_(f"{path}: cannot be read ({error}); make the index again") from error
    try:
        if value["format_version"] != FORMAT_VERSION:
            raise IndexError_(
                f"{path}: format_version {value['format_version']!r}, this openmulan reads {FORMAT_VERSION}"
            )
        about = {**value["about"], "made_of": tuple(value["about"]["made_of"]), "mean": tuple(value["about"]["mean"])}
        name = value["generation"]
        if not _GENERATION_NAME.fullmatch(str(name)):
            raise KeyError("generation")
        return folder / name, IndexAbout(**about)
    except (KeyError, TypeError) as error:
        raise IndexError_(f"{path}: not the record of an index ({error}); make the index again") from error


def current_name(folder: Path) -> str | None:
    """Of the generation that counts, where there is one."""
    try:
        return read_pointer(folder)[0].name
    except IndexError_:
        return None


def generation_name(identity: str) -> str:
    return f"{_GENERATION}{identity[:16]}"


def commit(folder: Path, generation: str, about: IndexAbout) -> None:
    """Let a generation count, whose files are all there, and take the others away."""
    record = {"format_version": FORMAT_VERSION, "generation": generation, "about": dataclasses.asdict(about)}
    for path in (folder / generation).iterdir():
        _synced(path)
    partial = folder / f"{POINTER}.tmp"
    partial.write_text(canonical_json(record) + "\n", encoding="utf-8")
    _synced(partial)
    os.replace(partial, folder / POINTER)
    _synced(folder)
    sweep(folder, generation)


def sweep(folder: Path, keep: str | None) -> None:
    """Delete generations that do not count: those of before, and what a kill has left."""
    for path in list(folder.iterdir()):
        if path.name != keep and _GENERATION_NAME.fullmatch(path.name):
            shutil.rmtree(path)


@contextlib.contextmanager
def one_writer(folder: Path) -> Iterator[None]:
    """Raises ValueError where another command writes this index, or the folder is something else."""
    check_output(folder)
    names = sorted(path.name for path in folder.iterdir())
    foreign = names if _LOCK not in names else [name for name in names if not _OURS.fullmatch(name)]
    if foreign:
        raise ValueError(f"{folder}: has {foreign[0]} in it, so it is no index; give another --output")
    with (folder / _LOCK).open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise ValueError(f"{folder}: another `mulan search index` is writing it") from error
        yield


def _synced(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
