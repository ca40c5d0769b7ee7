"""AudioSet: the ontology, the 527 classes, the segment files, and the paper's three class sets.

- `gen25`: the 25 children of *Music genre*
- `mu150`: the Music subtree that is among the 527 classes
- `mu141`: `mu150` without the Bell subtree (9 classes). The paper has 141 classes and does not list them; this is the
  one subtree whose removal gives that number, and `mu150` stands beside it.

A clip is a 10 s segment; its file is found in the audio folder by the names that the usual downloaders give, as `mulan
mine` finds it (schemas/segment_files.py).
The label's text is its display name. Labels are propagated: a clip has a class if it is labelled with the class or
any descendant of it, since AudioSet's own labels are only partly propagated.
"""

import csv
import dataclasses
import json
import logging
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from pipeline.media.protocol import MEDIA_SUFFIXES
from schemas.segment_files import SegmentFiles
from trainer.evaluation.clips import EvaluationDataError, FileClip, UndecodableError, is_cut_out
from trainer.evaluation.readers.tagged import TaggedSet, digest_of, distinct_names, existing, file_split

ClassSet = Literal["gen25", "mu141", "mu150"]
CLASS_SETS: tuple[ClassSet, ...] = ("gen25", "mu141", "mu150")

AudioIs = Literal["told", "segment", "recording"]

_MUSIC, _MUSIC_GENRE, _BELL = "Music", "Music genre", "Bell"
_LOOKED_AT = 8
_THREE_FILES = "train, validation and test are three files, so that no clip is in two of them"
logger = logging.getLogger(__name__)


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
    """`classes` is one of the paper's class sets. `audio_is` says what the files are: `told` by name and duration, all
    of them a `segment` that was cut out, or all of them a whole `recording`.

    `pool` states which clips are ranked: `labelled` (the default) those with at least one class of the set, `all`
    every segment of the file. `validation_segments` and `train_segments` are needed for probes only.
    """

    ontology: Path
    class_labels: Path
    segments: Path
    audio_folder: Path
    classes: ClassSet = "mu141"
    pool: Literal["labelled", "all"] = "labelled"
    audio_is: AudioIs = "told"
    propagate: bool = True
    train_segments: Path | None = None
    validation_segments: Path | None = None

    def __post_init__(self) -> None:
        if self.classes not in CLASS_SETS or self.pool not in ("labelled", "all"):
            raise ValueError(f"audioset: classes is one of {', '.join(CLASS_SETS)}, pool is labelled or all")
        if self.audio_is not in get_args(AudioIs):
            raise ValueError(f"audioset: audio_is is one of {', '.join(get_args(AudioIs))}")
        files = [path.resolve() for path in (self.segments, self.train_segments, self.validation_segments) if path]
        if len(set(files)) < len(files):
            raise ValueError(f"audioset: {_THREE_FILES}")

    def read(self) -> TaggedSet:
        ontology = Ontology.read(self.ontology)
        mids = class_set(self.classes, ontology, read_labelled_classes(self.class_labels))
        carriers = {mid: ontology.subtree(mid) if self.propagate else {mid} for mid in mids}
        given = {"test": self.segments, "train": self.train_segments, "validation": self.validation_segments}
        files = {split: existing(path, "an AudioSet segment file") for split, path in given.items() if path is not None}
        digests = {split: digest_of(path) for split, path in files.items()}
        if len(set(digests.values())) < len(digests):
            raise EvaluationDataError(f"{', '.join(map(str, files.values()))}: {_THREE_FILES}; two have one content")
        splits = {}
        for split, path in files.items():
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
                **{path.name: digest_of(path) for path in (self.ontology, self.class_labels)},
                **{name: digests[split] for split, name in zip(files, distinct_names([*files.values()]), strict=True)},
            },
            notes={
                "split": "test: the segment file as published",
                "clip_pool": "segments with at least one class of the set" if self.pool == "labelled" else "all",
                "label_text": "the class's display name",
                "propagation": "a class holds for clips of its descendants" if self.propagate else "none",
            },
        )


def segment_clips(segments: Sequence[Segment], folder: Path, audio_is: AudioIs) -> list[FileClip]:
    """The clip of each segment, in the folder's file that is named after it; one that is not there has a name that
    could be."""
    files = _segment_files(folder)
    clips = []
    for segment in segments:
        found = files.find(segment.ytid, segment.start_s)
        path = folder / f"{segment.ytid}.wav" if found is None else Path(found.path)
        clip = FileClip(clip_id=f"{segment.ytid}_{segment.start_s:g}", path=path, recording_ids=(segment.ytid,))
        told = audio_is == "told" and found is not None and not found.cut
        if told or audio_is == "recording":
            length_s = segment.end_s - segment.start_s
            clip = dataclasses.replace(clip, start_s=segment.start_s, duration_s=length_s, or_cut_out=told)
        clips.append(clip)
    _say_what_they_are(clips)
    return clips


def _segment_files(folder: Path) -> SegmentFiles:
    if not folder.is_dir():
        raise EvaluationDataError(f"{folder}: not a folder; it should hold the AudioSet audio")
    files = SegmentFiles(MEDIA_SUFFIXES)
    for path in folder.rglob("*"):
        files.add(path.as_posix())
    return files


def _say_what_they_are(clips: Sequence[FileClip]) -> None:
    """A warning where files whose names do not tell are segments by their duration, of a few that are looked at."""
    unclear = [clip for clip in clips if clip.or_cut_out and clip.start_s and clip.path.is_file()]
    looked_at = unclear[:: math.ceil(len(unclear) / _LOOKED_AT)] if unclear else []
    cut_out = []
    for clip in looked_at:
        try:
            if is_cut_out(clip):
                cut_out.append(clip.path.name)
        except UndecodableError:
            continue
    if cut_out:
        logger.warning(
            "%s and %d more of %d files that were looked at are no longer than their segment: such files are taken for "
            "segments that were cut out, longer ones for whole recordings",
            cut_out[0],
            len(cut_out) - 1,
            len(looked_at),
        )
