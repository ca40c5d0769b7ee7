"""AudioSet: the ontology, the 527 classes, the segment files, and the paper's three class sets.

- `gen25`: the 25 children of *Music genre*
- `mu150`: the Music subtree that is among the 527 classes
- `mu141`: `mu150` without the Bell subtree (9 classes). The paper has 141 classes and does not list them; this is the
  one subtree whose removal gives that number, and `mu150` stands beside it.

A clip is a 10 s segment; its file is found in the audio folder as `YTID.ext`, `YYTID.ext` or with the start in
milliseconds or seconds behind it (`YTID_30000.ext`, `YTID_30.000.ext`), the names that the usual downloaders give.
The label's text is its display name. Labels are propagated: a clip has a class if it is labelled with the class or
any descendant of it, since AudioSet's own labels are only partly propagated.
"""

import csv
import dataclasses
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from trainer.evaluation.clips import EvaluationDataError, FileClip
from trainer.evaluation.readers.tagged import TaggedSet, digest_of, existing, file_split

ClassSet = Literal["gen25", "mu141", "mu150"]
CLASS_SETS: tuple[ClassSet, ...] = ("gen25", "mu141", "mu150")

_MUSIC, _MUSIC_GENRE, _BELL = "Music", "Music genre", "Bell"
_AUDIO_SUFFIXES = frozenset({".wav", ".flac", ".mp3", ".m4a", ".opus", ".ogg", ".webm", ".mp4", ".aac"})


@dataclass(frozen=True, kw_only=True)
class Node:
    """One class of the ontology."""

    mid: str
    name: str
    description: str
    children: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Ontology:
    nodes: dict[str, Node]

    @classmethod
    def read(cls, path: Path) -> "Ontology":
        existing(path, "AudioSet's ontology.json")
        try:
            entries = json.loads(path.read_text(encoding="utf-8"))
            nodes = {
                entry["id"]: Node(
                    mid=entry["id"],
                    name=entry["name"],
                    description=entry["description"].strip(),
                    children=tuple(entry["child_ids"]),
                )
                for entry in entries
            }
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise EvaluationDataError(f"{path}: not AudioSet's ontology ({error!r})") from error
        strange = [child for node in nodes.values() for child in node.children if child not in nodes]
        if strange:
            raise EvaluationDataError(f"{path}: {strange[0]} is a child but not a class")
        return cls(nodes=nodes)

    def by_name(self, name: str) -> Node:
        found = [node for node in self.nodes.values() if node.name == name]
        if len(found) != 1:
            raise EvaluationDataError(f"the ontology has {len(found)} classes named {name!r}")
        return found[0]

    def subtree(self, mid: str) -> set[str]:
        """The class and all below it; the ontology is a graph, so a class is met more than once."""
        seen: set[str] = set()
        waiting = [mid]
        while waiting:
            current = waiting.pop()
            if current not in seen:
                seen.add(current)
                waiting.extend(self.nodes[current].children)
        return seen


def read_labelled_classes(path: Path) -> list[str]:
    """The 527 mids of class_labels_indices.csv, in index order."""
    existing(path, "AudioSet's class_labels_indices.csv")
    with path.open(encoding="utf-8", newline="") as stream:
        reader = csv.DictReader(stream)
        if reader.fieldnames != ["index", "mid", "display_name"]:
            raise EvaluationDataError(f"{path}:1: the header must be index,mid,display_name")
        return [row["mid"] for row in reader]


def class_set(which: ClassSet, ontology: Ontology, labelled: Iterable[str]) -> list[str]:
    """The mids of a class set, in the order of the 527 classes."""
    if which == "gen25":
        wanted = set(ontology.by_name(_MUSIC_GENRE).children)
    else:
        wanted = ontology.subtree(ontology.by_name(_MUSIC).mid)
        if which == "mu141":
            wanted -= ontology.subtree(ontology.by_name(_BELL).mid)
    return [mid for mid in labelled if mid in wanted]


@dataclass(frozen=True, kw_only=True)
class Segment:
    """One line of a segment file."""

    ytid: str
    start_s: float
    end_s: float
    mids: frozenset[str]


def read_segments(path: Path) -> list[Segment]:
    """`YTID, start, end, "mid,mid"`, with comment lines that begin with #. Raises on a line that is not of the form."""
    existing(path, "an AudioSet segment file")
    segments = []
    with path.open(encoding="utf-8", newline="") as stream:
        for line, row in enumerate(csv.reader(stream, skipinitialspace=True), start=1):
            if not row or row[0].startswith("#"):
                continue
            try:
                ytid, start, end, mids = row
                segment = Segment(ytid=ytid, start_s=float(start), end_s=float(end), mids=frozenset(mids.split(",")))
            except ValueError as error:
                raise EvaluationDataError(f'{path}:{line}: not YTID, start, end, "mid,mid"') from error
            if not segment.ytid or not 0 <= segment.start_s < segment.end_s:
                raise EvaluationDataError(f"{path}:{line}: the segment has no id or ends before it starts")
            segments.append(segment)
    return segments


@dataclass(frozen=True, kw_only=True)
class AudioSet:
    """`classes` is one of the paper's class sets; `audio_is` says whether the files are cut to the segment already.

    `pool` states which clips are ranked: `labelled` (the default) those with at least one class of the set, `all`
    every segment of the file. `validation_segments` and `train_segments` are needed for probes only.
    """

    ontology: Path
    class_labels: Path
    segments: Path
    audio_folder: Path
    classes: ClassSet = "mu141"
    pool: Literal["labelled", "all"] = "labelled"
    audio_is: Literal["segment", "recording"] = "segment"
    propagate: bool = True
    train_segments: Path | None = None
    validation_segments: Path | None = None

    def __post_init__(self) -> None:
        if self.classes not in CLASS_SETS or self.pool not in ("labelled", "all"):
            raise ValueError(f"audioset: classes is one of {', '.join(CLASS_SETS)}, pool is labelled or all")
        if self.audio_is not in ("segment", "recording"):
            raise ValueError("audioset: audio_is is segment or recording")
        files = [path.resolve() for path in (self.segments, self.train_segments, self.validation_segments) if path]
        if len(set(files)) < len(files):
            raise ValueError("audioset: train, validation and test are three files, so that no clip is in two of them")

    def read(self) -> TaggedSet:
        ontology = Ontology.read(self.ontology)
        mids = class_set(self.classes, ontology, read_labelled_classes(self.class_labels))
        carriers = {mid: ontology.subtree(mid) if self.propagate else {mid} for mid in mids}
        files = {"test": self.segments, "train": self.train_segments, "validation": self.validation_segments}
        splits = {}
        for split, path in files.items():
            if path is None:
                continue
            segments, tags = [], []
            for segment in read_segments(path):
                present = {mid for mid, wanted in carriers.items() if wanted & segment.mids}
                if present or self.pool == "all":
                    segments.append(segment)
                    tags.append(present)
            splits[split] = file_split(segment_clips(segments, self.audio_folder, self.audio_is), tags, mids)
        return TaggedSet(
            name=f"audioset/{self.classes}",
            class_names=tuple(mids),
            class_texts=tuple(ontology.nodes[mid].name for mid in mids),
            splits=splits,
            sources={
                path.name: digest_of(path)
                for path in (self.ontology, self.class_labels, *files.values())
                if path is not None
            },
            notes={
                "split": "test: the segment file as published",
                "clip_pool": "segments with at least one class of the set" if self.pool == "labelled" else "all",
                "label_text": "the class's display name",
                "propagation": "a class holds for clips of its descendants" if self.propagate else "none",
            },
        )


def segment_clips(
    segments: Sequence[Segment], folder: Path, audio_is: Literal["segment", "recording"]
) -> list[FileClip]:
    """The clip of each segment, in the folder's file that is named after it; one that is not there has a name that
    could be."""
    index = _index_audio(folder)
    clips = []
    for segment in segments:
        path = next((index[key] for key in _file_keys(segment) if key in index), folder / f"{segment.ytid}.wav")
        clip = FileClip(clip_id=f"{segment.ytid}_{segment.start_s:g}", path=path, recording_ids=(segment.ytid,))
        if audio_is == "recording":
            clip = dataclasses.replace(clip, start_s=segment.start_s, duration_s=segment.end_s - segment.start_s)
        clips.append(clip)
    return clips


def _index_audio(folder: Path) -> dict[str, Path]:
    """Stem → file, for every audio file below the folder."""
    if not folder.is_dir():
        raise EvaluationDataError(f"{folder}: not a folder; it should hold the AudioSet audio")
    return {p.stem: p for p in sorted(folder.rglob("*")) if p.suffix.lower() in _AUDIO_SUFFIXES}


def _file_keys(segment: Segment) -> list[str]:
    start_ms = round(segment.start_s * 1000)
    end_ms = round(segment.end_s * 1000)
    names = [segment.ytid, f"Y{segment.ytid}"]
    suffixes = [
        f"_{start_ms}_{end_ms}",
        f"_{start_ms}",
        f"_{segment.start_s:.3f}_{segment.end_s:.3f}",
        f"_{segment.start_s:.3f}",
        f"_{segment.start_s:g}",
        "",
    ]
    return [name + suffix for suffix in suffixes for name in names]
