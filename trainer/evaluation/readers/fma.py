"""FMA small: 8,000 clips of 30 s of 8 genres, balanced, in the split that `fma_metadata/tracks.csv` has.

Its rows with `set.subset` small have their genre in `track.genre_top` and their split in `set.split` (training,
validation, test: 6,400, 800 and 800 clips, no artist in two of them); the audio is `fma_small/000/000002.mp3`
(github.com/mdeff/fma; the file's layout: schemas/fma.py). Three of the published files have no audio (99134, 108925,
133297: github.com/mdeff/fma/issues/8); they are clips that cannot be decoded, and counted as such.
"""

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from schemas.fma import HEADER_LINES, TRACKS, audio_name, column_places
from trainer.evaluation.clips import EvaluationDataError, FileClip
from trainer.evaluation.readers.tagged import SPLITS, TaggedSet, digest_of, existing, file_split

GENRES = ("Electronic", "Experimental", "Folk", "Hip-Hop", "Instrumental", "International", "Pop", "Rock")
_COLUMNS = {"genre": ("track", "genre_top"), "split": ("set", "split"), "subset": ("set", "subset")}
_SPLITS = {"training": "train", "validation": "validation", "test": "test"}
_LONGEST_CELL = 10_000_000  # characters; an artist's biography is a cell


@dataclass(frozen=True, kw_only=True)
class FmaSmall:
    """`folder` has `fma_metadata` and `fma_small`."""

    folder: Path

    def read(self) -> TaggedSet:
        named = next((name for name in TRACKS if (self.folder / name).is_file()), TRACKS[-1])
        path = existing(self.folder / named, "FMA's tracks.csv, of fma_metadata.zip")
        clips: dict[str, list[FileClip]] = {split: [] for split in SPLITS}
        tags: dict[str, list[set[str]]] = {split: [] for split in SPLITS}
        seen: set[str] = set()
        for where, track_id, row in _rows(path):
            if row["subset"] != "small":
                continue
            name, split, genre = audio_name(track_id), _SPLITS.get(row["split"]), row["genre"]
            if name is None or name in seen:
                raise EvaluationDataError(
                    f"{where}: track_id {track_id[:20]!r} is no number of a track, or not its first"
                )
            if split is None:
                raise EvaluationDataError(f"{where}: set.split is {row['split']!r}, not {', '.join(_SPLITS)}")
            if genre not in GENRES:
                raise EvaluationDataError(f"{where}: {genre!r} is none of the genres {', '.join(GENRES)}")
            seen.add(name)
            number = str(int(track_id))
            audio = self.folder / "fma_small" / name
            # As `mulan catalog` names it, and as its file is named.
            clips[split].append(FileClip(clip_id=number, path=audio, recording_ids=(f"fma:{number}", audio.stem)))
            tags[split].append({genre})
        return TaggedSet(
            name="fma_small",
            class_names=GENRES,
            class_texts=GENRES,
            splits={split: file_split(clips[split], tags[split], GENRES) for split in SPLITS},
            sources={path.name: digest_of(path)},
            notes={
                "split": "set.split of tracks.csv, of its rows of subset small",
                "label_text": "the genre as published",
            },
            single_label=True,
        )


def _rows(path: Path) -> Iterator[tuple[str, str, dict[str, str]]]:
    """file:line, track_id and the columns that are read. Raises EvaluationDataError."""
    csv.field_size_limit(_LONGEST_CELL)
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            reader = csv.reader(stream)
            places = column_places([next(reader, []) for _ in range(HEADER_LINES)], _COLUMNS, tuple(_COLUMNS))
            if places is None:
                raise EvaluationDataError(
                    f"{path}:1: not FMA's tracks.csv, which has three header rows with set.split, set.subset and "
                    "track.genre_top"
                )
            for cells in reader:
                where = f"{path}:{reader.line_num}"
                if len(cells) <= max(places.values()):
                    raise EvaluationDataError(f"{where}: the row has not as many fields as the header")
                yield where, cells[0], {name: cells[place] for name, place in places.items()}
    except (csv.Error, UnicodeDecodeError) as error:
        raise EvaluationDataError(f"{path}: not a csv in UTF-8 ({error})") from error
