"""MTG-Jamendo: `autotagging_*.tsv`, one row a track (TRACK_ID, ARTIST_ID, ALBUM_ID, PATH, DURATION, then its tags).

The tags stand in as many further tab-separated fields as a track has, each `category---tag` with the category genre,
instrument or mood/theme. Each of the five published splits is files of the same form
(`data/splits/split-0/autotagging_genre-train.tsv` …; `autotagging-train.tsv` has all tags:
github.com/MTG/mtg-jamendo-dataset). The label's text is the tag without its category; where all categories are in, a
few tags of two of them have the same text.
"""

import csv
import dataclasses
from dataclasses import dataclass
from pathlib import Path

from trainer.evaluation.arguments import JAMENDO_SUBSETS
from trainer.evaluation.clips import EvaluationDataError, FileClip
from trainer.evaluation.readers.tagged import SPLITS, TaggedSet, digest_of, existing, file_split, safe_join

_HEADER = ["TRACK_ID", "ARTIST_ID", "ALBUM_ID", "PATH", "DURATION", "TAGS"]
_CATEGORIES = ("genre", "instrument", "mood/theme")


@dataclass(frozen=True, kw_only=True)
class Jamendo:
    """`folder` is the dataset's repository (or its `data`), `audio_folder` where `NN/NNNNN.mp3` were unpacked.

    `excerpt_s` takes that many seconds from the middle of each track instead of the whole. Files of the dataset's
    audio-low download (`NNNNN.low.mp3`) are taken where the others are not there, with `low_quality` always.
    """

    folder: Path
    audio_folder: Path
    subset: str = "top50tags"
    split_number: int = 0
    excerpt_s: float | None = None
    low_quality: bool = False

    def __post_init__(self) -> None:
        if self.subset not in JAMENDO_SUBSETS or not 0 <= self.split_number <= 4:
            raise ValueError(f"jamendo: subset is one of {', '.join(JAMENDO_SUBSETS)}, split_number is 0 to 4")
        if self.excerpt_s is not None and self.excerpt_s <= 0:
            raise ValueError("jamendo: excerpt_s must be above 0")

    def read(self) -> TaggedSet:
        data = self.folder / "data" if (self.folder / "data").is_dir() else self.folder
        fold = f"split-{self.split_number}"
        stem = "autotagging" if self.subset == "all" else f"autotagging_{self.subset}"
        files = {split: data / "splits" / fold / f"{stem}-{split}.tsv" for split in SPLITS}
        read = {split: self._rows(existing(path, f"MTG-Jamendo's {split} split")) for split, path in files.items()}
        found = {tag for _, tags in read.values() for present in tags for tag in present}
        classes = sorted(found)
        return TaggedSet(
            name=f"mtg_jamendo/{self.subset}",
            class_names=tuple(classes),
            class_texts=tuple(tag.partition("---")[2] for tag in classes),
            splits={split: file_split(clips, tags, classes) for split, (clips, tags) in read.items()},
            sources={path.name: digest_of(path) for path in files.values()},
            notes={
                "split": f"the published {fold}",
                "label_text": "the tag without its category",
                "propagation": "none",
                "excerpt": "whole tracks" if self.excerpt_s is None else f"the middle {self.excerpt_s:g} s",
            },
            fold=fold,
        )

    def _rows(self, path: Path) -> tuple[list[FileClip], list[set[str]]]:
        clips, tags = [], []
        with path.open(encoding="utf-8", newline="") as stream:
            reader = csv.reader(stream, delimiter="\t")
            if next(reader, []) != _HEADER:
                raise EvaluationDataError(f"{path}:1: the header must be {', '.join(_HEADER)}, tab-separated")
            for line, row in enumerate(reader, start=2):
                where = f"{path}:{line}"
                if len(row) < 6:
                    raise EvaluationDataError(f"{where}: a track has five fields and at least one tag")
                if any(tag.partition("---")[0] not in _CATEGORIES or not tag.partition("---")[2] for tag in row[5:]):
                    raise EvaluationDataError(f"{where}: tags are genre---, instrument--- or mood/theme--- and a name")
                clips.append(self._clip(row, where))
                tags.append(set(row[5:]))
        return clips, tags

    def _clip(self, row: list[str], where: str) -> FileClip:
        try:
            duration_s = float(row[4])
        except ValueError as error:
            raise EvaluationDataError(f"{where}: DURATION {row[4]!r} is not a number") from error
        audio = safe_join(self.audio_folder, row[3], where)
        low = audio.with_suffix(".low.mp3")
        if self.low_quality or (low.is_file() and not audio.is_file()):
            audio = low
        whole = FileClip(clip_id=row[0], path=audio, recording_ids=(row[0], Path(row[3]).stem))
        if self.excerpt_s is None or self.excerpt_s >= duration_s:
            return whole
        return dataclasses.replace(whole, start_s=(duration_s - self.excerpt_s) / 2, duration_s=self.excerpt_s)
