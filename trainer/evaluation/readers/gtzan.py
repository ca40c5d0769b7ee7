"""GTZAN: 10 genres × 100 clips of 30 s as `GENRE/GENRE.00000.wav` (or `.au`), in the fault-filtered split.

The split of Kereliuk, Sturm and Larsen 2015 (arXiv 1507.04761) has no artist, repetition or distortion in two of its
parts: 443 clips for training, 197 for validation, 290 for testing. It is read from its published lists,
`train_filtered.txt`, `valid_filtered.txt` and `test_filtered.txt`, in both forms that people have:
`blues/blues.00029.wav` a line (github.com/jongpillee/music_dataset_split, GTZAN_split) or the clip's number among the
thousand in order, from 1 (github.com/coreyker/dnn-mgr). The archive's jazz.00054 is corrupt and in the training part:
it is a clip that cannot be decoded, and counted as one.
"""

import re
from dataclasses import dataclass
from pathlib import Path

from trainer.evaluation.clips import EvaluationDataError, FileClip
from trainer.evaluation.readers.tagged import SPLITS, TaggedSet, digest_of, existing, file_split

GENRES = ("blues", "classical", "country", "disco", "hiphop", "jazz", "metal", "pop", "reggae", "rock")
CLIPS_A_GENRE = 100
CLIPS = CLIPS_A_GENRE * len(GENRES)
LISTS = {"train": "train_filtered.txt", "validation": "valid_filtered.txt", "test": "test_filtered.txt"}
_TEXTS = {"hiphop": "hip hop"}  # the one genre whose folder is no word
# The publisher's archive has `genres`, the widespread copy with wav files `genres_original`, or `Data` around it.
_FOLDERS = ("", "genres", "genres_original", "Data/genres_original")
_SUFFIXES = (".wav", ".au")
_NAMED = re.compile(r"(?:[\w-]+/)*([a-z]+)\.([0-9]{5})(?:\.\w+)?")


@dataclass(frozen=True, kw_only=True)
class Gtzan:
    """`folder` has the genres' folders (or `genres`, `genres_original` with them); `lists` the three lists, by default
    `folder`."""

    folder: Path
    lists: Path | None = None

    def read(self) -> TaggedSet:
        places: dict[str, str] = {}
        splits, sources = {}, {}
        for split in SPLITS:
            path = existing((self.lists or self.folder) / LISTS[split], f"the {split} list of the fault-filtered split")
            clips, tags = [], []
            for number, line in enumerate(path.read_text(encoding="utf-8", errors="replace").splitlines(), start=1):
                if not line.strip():
                    continue
                where = f"{path}:{number}"
                genre, name = _clip_of(line.strip(), where)
                if name in places:
                    raise EvaluationDataError(f"{where}: {name} stands in {places[name]} too")
                places[name] = where
                clips.append(FileClip(clip_id=name, path=self._audio(genre, name), recording_ids=(name,)))
                tags.append({genre})
            splits[split] = file_split(clips, tags, GENRES)
            sources[path.name] = digest_of(path)
        return TaggedSet(
            name="gtzan",
            class_names=GENRES,
            class_texts=tuple(_TEXTS.get(genre, genre) for genre in GENRES),
            splits=splits,
            sources=sources,
            notes={"split": "the published fault-filtered lists", "label_text": "the genre as published, and hip hop"},
            single_label=True,
        )

    def _audio(self, genre: str, name: str) -> Path:
        """The first of its places that is there, or the first."""
        found = [self.folder / at / genre / f"{name}{suffix}" for at in _FOLDERS for suffix in _SUFFIXES]
        return next((path for path in found if path.is_file()), found[0])


def _clip_of(line: str, where: str) -> tuple[str, str]:
    """Genre and name of a clip: `blues.00029`. Raises EvaluationDataError."""
    if line.isdecimal():
        place = int(line) - 1
        if not 0 <= place < len(GENRES) * CLIPS_A_GENRE:
            raise EvaluationDataError(
                f"{where}: {line[:20]} is no number of a clip, 1 to {len(GENRES) * CLIPS_A_GENRE}"
            )
        genre = GENRES[place // CLIPS_A_GENRE]
        return genre, f"{genre}.{place % CLIPS_A_GENRE:05d}"
    matched = _NAMED.fullmatch(line)
    if matched is None:
        raise EvaluationDataError(f"{where}: {line[:60]!r} is neither blues/blues.00029.wav nor a clip's number")
    genre, digits = matched.groups()
    if genre not in GENRES:
        raise EvaluationDataError(f"{where}: {genre} is none of the genres {', '.join(GENRES)}")
    return genre, f"{genre}.{digits}"
