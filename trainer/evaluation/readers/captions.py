"""Captioned clips: MusicCaps, Song Describer, and any csv of (path, caption), graded or not; a clip may have several
captions."""

import csv
import dataclasses
import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol, get_args

from trainer.evaluation.clips import EvaluationDataError, FileClip, FileClips
from trainer.evaluation.readers.audioset import AudioIs, Segment, segment_clips
from trainer.evaluation.readers.tagged import digest_of, existing, safe_join

MusicCapsSubset = Literal["all", "eval", "balanced"]
SongDescriberSubset = Literal["valid", "all"]


@dataclass(frozen=True, kw_only=True)
class CaptionedSet:
    """`captions` are (position of the clip, text); `grades`, of a graded set, says how well each text fits its clip."""

    name: str
    clips: FileClips
    captions: tuple[tuple[int, str], ...]
    sources: dict[str, str]
    notes: dict[str, str] = field(default_factory=dict)
    grades: tuple[float, ...] = ()


class CaptionReader(Protocol):
    def read(self) -> CaptionedSet:
        """Raises EvaluationDataError."""
        ...


@dataclass(frozen=True, kw_only=True)
class CaptionTable:
    """A csv of the reader's own user: `path` (relative to it), `caption`, optionally `clip_id`; a row a caption.
    `name` tells it from others, by default that of the file."""

    file: Path
    name: str | None = None

    def read(self) -> CaptionedSet:
        path = existing(self.file, "a csv of captions")
        captioned = [(_clip_of(path, where, row), row["caption"]) for where, row in _rows(path, ("path", "caption"))]
        return _captioned_set(
            f"captions/{self.name or path.stem}", path, captioned, {"text": "the caption as it stands there"}
        )


@dataclass(frozen=True, kw_only=True)
class GradedTable:
    """The same with `grade`, a number of at least 0: how well a caption (a query, a playlist's title) fits the clip. A
    pair that has no row has the grade 0."""

    file: Path

    def read(self) -> CaptionedSet:
        path = existing(self.file, "a csv of graded captions")
        captioned, grades, seen = [], [], set()
        for where, row in _rows(path, ("path", "caption", "grade")):
            try:
                grade = float(row["grade"])
            except ValueError:
                grade = math.nan
            if not 0 <= grade < math.inf:
                raise EvaluationDataError(f"{where}: grade is {row['grade'][:20]!r}, not a number of at least 0")
            clip = _clip_of(path, where, row)
            if (clip.clip_id, row["caption"]) in seen:
                raise EvaluationDataError(f"{where}: {clip.clip_id} has a second grade for the same caption")
            seen.add((clip.clip_id, row["caption"]))
            captioned.append((clip, row["caption"]))
            grades.append(grade)
        found = _captioned_set(f"graded/{path.stem}", path, captioned, {"text": "the caption as it stands there"})
        return dataclasses.replace(found, grades=tuple(grades))


@dataclass(frozen=True, kw_only=True)
class MusicCaps:
    """`musiccaps-public.csv` (`ytid, start_s, end_s, …, caption, …, is_balanced_subset, is_audioset_eval`) and a folder
    of the clips; files are found as AudioSet's are. `subset` is all 5,521 clips, AudioSet's evaluation clips among
    them, or the genre-balanced 1,000."""

    file: Path
    audio_folder: Path
    subset: MusicCapsSubset = "all"
    audio_is: AudioIs = "told"

    def __post_init__(self) -> None:
        if self.subset not in get_args(MusicCapsSubset) or self.audio_is not in get_args(AudioIs):
            raise ValueError("musiccaps: subset is all, eval or balanced, audio_is is told, segment or recording")

    def read(self) -> CaptionedSet:
        path = existing(self.file, "MusicCaps's musiccaps-public.csv")
        wanted = {"eval": "is_audioset_eval", "balanced": "is_balanced_subset"}.get(self.subset)
        columns = ("ytid", "start_s", "end_s", "caption", *((wanted,) if wanted else ()))
        segments, texts = [], []
        for where, row in _rows(path, columns):
            if wanted is not None and row[wanted] != "True":
                continue
            try:
                start_s, end_s = float(row["start_s"]), float(row["end_s"])
            except ValueError as error:
                raise EvaluationDataError(f"{where}: start_s and end_s are seconds") from error
            segments.append(Segment(ytid=row["ytid"], start_s=start_s, end_s=end_s, mids=frozenset()))
            texts.append(row["caption"])
        clips = segment_clips(segments, self.audio_folder, self.audio_is)
        notes = {"subset": self.subset, "text": "the caption as published"}
        return _captioned_set("musiccaps", path, list(zip(clips, texts, strict=True)), notes)


@dataclass(frozen=True, kw_only=True)
class SongDescriber:
    """The folder with `song_describer.csv` (`track_id, caption, is_valid_subset, path, …`) and `audio/`, whose files
    end in `.2min.mp3`. `subset` valid is the 746 captions of 546 tracks that its publishers marked so."""

    folder: Path
    subset: SongDescriberSubset = "valid"

    def __post_init__(self) -> None:
        if self.subset not in get_args(SongDescriberSubset):
            raise ValueError("song_describer: subset is valid or all")

    def read(self) -> CaptionedSet:
        path = existing(self.folder / "song_describer.csv", "Song Describer's song_describer.csv")
        captioned = []
        for where, row in _rows(path, ("track_id", "caption", "is_valid_subset", "path")):
            if self.subset == "valid" and row["is_valid_subset"] != "True":
                continue
            given = safe_join(self.folder / "audio", row["path"], where)
            cut = given.with_suffix(".2min.mp3")
            track = row["track_id"]
            audio = given if given.is_file() and not cut.is_file() else cut
            captioned.append((FileClip(clip_id=track, path=audio, recording_ids=(track, given.stem)), row["caption"]))
        notes = {"subset": self.subset, "text": "the caption as published", "clip": "two minutes, whole"}
        return _captioned_set("song_describer", path, captioned, notes)


def _clip_of(path: Path, where: str, row: dict[str, str]) -> FileClip:
    """Of a csv of the reader's own user."""
    audio = safe_join(path.parent, row["path"], where)
    clip_id = row.get("clip_id") or row["path"]
    return FileClip(clip_id=clip_id, path=audio, recording_ids=(clip_id, audio.stem))


def _rows(path: Path, columns: tuple[str, ...]) -> Iterator[tuple[str, dict[str, str]]]:
    """(file:line, row) of a csv that has the columns."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            reader = csv.DictReader(stream, strict=True)
            if lacking := [name for name in columns if name not in (reader.fieldnames or ())]:
                raise EvaluationDataError(f"{path}:1: the header lacks {', '.join(lacking)}")
            for row in reader:
                where = f"{path}:{reader.line_num}"
                if None in row or any(row[name] is None for name in columns):
                    raise EvaluationDataError(f"{where}: the row has not as many fields as the header")
                yield where, row
    except (csv.Error, UnicodeDecodeError) as error:
        raise EvaluationDataError(f"{path}: not a csv in UTF-8 ({error})") from error


def _captioned_set(name: str, path: Path, captioned: list[tuple[FileClip, str]], notes: dict[str, str]) -> CaptionedSet:
    """Rows of a clip are its captions. Raises EvaluationDataError where an id means two clips or a caption is empty."""
    places: dict[str, int] = {}
    clips: list[FileClip] = []
    captions = []
    for clip, text in captioned:
        if not text.strip():
            raise EvaluationDataError(f"{path}: {clip.clip_id} has an empty caption")
        place = places.setdefault(clip.clip_id, len(clips))
        if place == len(clips):
            clips.append(clip)
        elif clips[place] != clip:
            raise EvaluationDataError(f"{path}: {clip.clip_id} names two clips")
        captions.append((place, text))
    if not captions:
        raise EvaluationDataError(f"{path}: there is no caption in it")
    return CaptionedSet(
        name=name,
        clips=FileClips(clips=tuple(clips)),
        captions=tuple(captions),
        sources={path.name: digest_of(path)},
        notes=notes,
    )
