"""A tagging set: clips, classes and which clip has which class, whatever file it came from."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from trainer.evaluation.clips import (
    ClipSource,
    EvaluationDataError,
    FileClip,
    FileClips,
    missing_clips,
    require_audio,
)
from trainer.evaluation.evaluator import Unmeasured
from trainer.evaluation.metrics import BoolArray

SPLITS = ("train", "validation", "test")


@dataclass(frozen=True, kw_only=True)
class TaggedSplit:
    """One split. `labels` is clips × classes; `unmeasured` are those of which not even the labels could be read, or
    whose files are missing."""

    clips: ClipSource
    labels: BoolArray
    unmeasured: tuple[Unmeasured, ...] = ()

    def __post_init__(self) -> None:
        if len(self.clips.ids) != self.labels.shape[0]:
            raise ValueError(f"{len(self.clips.ids)} clips have labels of shape {self.labels.shape}")

    def present(self, name: str, skip_missing: bool) -> "TaggedSplit":
        """The split without clips whose file is missing. Raises EvaluationDataError unless they may be."""
        if not isinstance(self.clips, FileClips):
            return self
        keep = require_audio(name, self.clips, skip_missing)
        if len(keep) == len(self.clips.clips):
            return self
        return TaggedSplit(
            clips=FileClips(clips=tuple(self.clips.clips[i] for i in keep)),
            labels=self.labels[keep],
            unmeasured=(*self.unmeasured, *missing_clips(self.clips, keep)),
        )

    @property
    def missing(self) -> int:
        return sum(entry.missing for entry in self.unmeasured)


@dataclass(frozen=True, kw_only=True)
class TaggedSet:
    """`class_texts` is what the text tower reads for each class; `notes` states the choices a table must carry.

    Of a `single_label` set every clip has exactly one class. `fold` is which of several published splits it is.
    `synonyms` are classes that the literature takes for one.
    """

    name: str
    class_names: tuple[str, ...]
    class_texts: tuple[str, ...]
    splits: dict[str, TaggedSplit]
    sources: dict[str, str]  # file name → sha256
    notes: dict[str, str] = field(default_factory=dict)
    single_label: bool = False
    fold: str = ""
    synonyms: tuple[tuple[str, ...], ...] = ()

    def __post_init__(self) -> None:
        if len(self.class_names) != len(self.class_texts) or len(set(self.class_names)) != len(self.class_names):
            raise ValueError(f"{self.name}: class names must be distinct and have one text each")
        if self.single_label and any((split.labels.sum(axis=1) != 1).any() for split in self.splits.values()):
            raise ValueError(f"{self.name}: every clip of a single-label set has one class")

    def split(self, name: str) -> TaggedSplit:
        if name not in self.splits or not self.splits[name].clips.ids:
            raise EvaluationDataError(f"{self.name}: there is no {name} split; there are {', '.join(self.splits)}")
        return self.splits[name]


def label_matrix(tags_of_clips: Sequence[set[str]], classes: Sequence[str]) -> BoolArray:
    """(clips, classes): whether a clip has a class."""
    column = {name: i for i, name in enumerate(classes)}
    labels = np.zeros((len(tags_of_clips), len(classes)), dtype=bool)
    for row, tags in enumerate(tags_of_clips):
        for tag in tags:
            if tag in column:
                labels[row, column[tag]] = True
    return labels


def file_split(clips: Sequence[FileClip], tags: Sequence[set[str]], classes: Sequence[str]) -> TaggedSplit:
    return TaggedSplit(clips=FileClips(clips=tuple(clips)), labels=label_matrix(tags, classes))


def digest_of(path: Path) -> str:
    """SHA-256 of a file, read in pieces."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while chunk := stream.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def distinct_names(paths: Sequence[Path]) -> list[str]:
    """A name a path: its own, with as many folders before it as tell it from the others. Raises EvaluationDataError
    where one is there twice."""
    whole = [path.resolve() for path in paths]
    if len(set(whole)) < len(whole):
        raise EvaluationDataError(f"{next(path for path in whole if whole.count(path) > 1)}: is given twice")
    names = []
    for path in whole:
        others = [other for other in whole if other != path]
        length = 1
        while any(other.parts[-length:] == path.parts[-length:] for other in others):
            length += 1
        names.append("/".join(path.parts[-length:]))
    return names


def existing(path: Path, what: str) -> Path:
    """Raises EvaluationDataError where the file is not there."""
    if not path.is_file():
        raise EvaluationDataError(f"{path}: not found; it should be {what}")
    return path


def safe_join(folder: Path, relative: str, where: str) -> Path:
    """`relative` under `folder`; a path that leaves it (a set is a stranger's file) raises EvaluationDataError."""
    path = Path(relative)
    if path.is_absolute() or ".." in path.parts or not relative.strip():
        raise EvaluationDataError(f"{where}: the audio path {relative!r} is not a path inside {folder}")
    return folder / path
