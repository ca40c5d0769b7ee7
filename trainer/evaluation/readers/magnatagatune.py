"""MagnaTagATune: `annotations_final.csv` (tab-separated: clip_id, 188 tags of 0 or 1, mp3_path) and the mp3 files.

Standard split: by the first hexadecimal digit of `mp3_path`, 0-b train, c validation, d-f test, every clip. The
"minz" split keeps the clips that have one of the 50 most frequent tags and more than 29.1 s of audio; it is read from
its own lists (`train.npy`, `valid.npy`, `test.npy` of github.com/minzwon/sota-music-tagging-models, `split/mtat`, one
`index<TAB>mp3_path` each). The label's text is the tag as it stands in the header: "female vocal", "no vocals".

Its players wrote freely, so that several tags say one thing: `SYNONYMS` is how the literature merges them.
"""

import csv
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from trainer.evaluation.clips import EvaluationDataError, FileClip
from trainer.evaluation.readers.tagged import TaggedSet, digest_of, existing, file_split, safe_join

ANNOTATIONS = "annotations_final.csv"
TAG_COUNT = 188

# The 50 most frequent tags, as every paper on the set uses them, in order of frequency.
TOP_50 = (
    *("guitar", "classical", "slow", "techno", "strings", "drums", "electronic", "rock", "fast", "piano"),
    *("ambient", "beat", "violin", "vocal", "synth", "female", "indian", "opera", "male", "singing"),
    *("vocals", "no vocals", "harpsichord", "loud", "quiet", "flute", "woman", "male vocal", "no vocal", "pop"),
    *("soft", "sitar", "solo", "man", "classic", "choir", "voice", "new age", "dance", "male voice"),
    *("female vocal", "beats", "harp", "cello", "no voice", "weird", "country", "metal", "female voice", "choral"),
)

# github.com/keunwoochoi/magnatagatune-list, README.md, "Proposed tag preprocessing", as it stands there but for "female
# vocal", which that list forgets beside "male vocal". Its author doubts opera/operatic and hard/hard rock himself.
SYNONYMS = (
    ("beat", "beats"),
    ("chant", "chanting"),
    ("choir", "choral"),
    ("classical", "clasical", "classic"),
    ("drum", "drums"),
    ("electro", "electronic", "electronica", "electric"),
    ("fast", "fast beat", "quick"),
    (
        *("female", "female singer", "female singing", "female vocal", "female vocals", "female voice"),
        *("woman", "woman singing", "women"),
    ),
    ("flute", "flutes"),
    ("guitar", "guitars"),
    ("hard", "hard rock"),
    ("harpsichord", "harpsicord"),
    ("heavy", "heavy metal", "metal"),
    ("horn", "horns"),
    ("india", "indian"),
    ("jazz", "jazzy"),
    ("male", "male singer", "male vocal", "male vocals", "male voice", "man", "man singing", "men"),
    ("no beat", "no drums"),
    ("no singer", "no singing", "no vocal", "no vocals", "no voice", "no voices", "instrumental"),
    ("opera", "operatic"),
    ("orchestra", "orchestral"),
    ("quiet", "silence"),
    ("singer", "singing"),
    ("space", "spacey"),
    ("string", "strings"),
    ("synth", "synthesizer"),
    ("violin", "violins"),
    ("vocal", "vocals", "voice", "voices"),
    ("strange", "weird"),
)

_SPLIT_OF_DIGIT = {
    **dict.fromkeys("0123456789ab", "train"),
    "c": "validation",
    **dict.fromkeys("def", "test"),
}
_MINZ_FILES = {"train": "train.npy", "validation": "valid.npy", "test": "test.npy"}


@dataclass(frozen=True, kw_only=True)
class MagnaTagATune:
    """`folder` holds the annotations and the sixteen audio folders; `tags` and `split` choose the table's column."""

    folder: Path
    tags: Literal["top50", "all188"] = "top50"
    split: Literal["standard", "minz"] = "standard"
    split_folder: Path | None = None  # of the minz lists; by default `folder`

    def __post_init__(self) -> None:
        if self.tags not in ("top50", "all188") or self.split not in ("standard", "minz"):
            raise ValueError("magnatagatune: tags is top50 or all188, split is standard or minz")

    def read(self) -> TaggedSet:
        path = existing(self.folder / ANNOTATIONS, "MagnaTagATune's annotations_final.csv")
        header, rows = self._rows(path)
        classes = list(TOP_50) if self.tags == "top50" else header
        lacking = sorted(set(classes) - set(header))
        if lacking:
            raise EvaluationDataError(f"{path}: the header lacks the tags {', '.join(lacking)}")
        split_of, sources = self._splits([mp3 for _, _, mp3 in rows])
        clips: dict[str, list[FileClip]] = {name: [] for name in _MINZ_FILES}
        tags: dict[str, list[set[str]]] = {name: [] for name in _MINZ_FILES}
        for line, (clip_id, present, mp3) in enumerate(rows, start=2):
            split = split_of.get(mp3)
            if split is None:
                continue
            audio = safe_join(self.folder, mp3, f"{path}:{line}")
            clips[split].append(FileClip(clip_id=clip_id, path=audio, recording_ids=(audio.stem,)))
            tags[split].append(present)
        return TaggedSet(
            name=f"magnatagatune/{self.tags}",
            class_names=tuple(classes),
            class_texts=tuple(classes),
            splits={name: file_split(clips[name], tags[name], classes) for name in clips},
            sources={ANNOTATIONS: digest_of(path), **sources},
            notes={
                "split": "first hex digit of the path: 0-b train, c validation, d-f test; every clip"
                if self.split == "standard"
                else "the published minz lists: clips with a top-50 tag and more than 29.1 s",
                "label_text": "the tag as published",
                "propagation": "none",
            },
            synonyms=SYNONYMS,
        )

    def _rows(self, path: Path) -> tuple[list[str], list[tuple[str, set[str], str]]]:
        with path.open(encoding="utf-8", newline="") as stream:
            reader = csv.reader(stream, delimiter="\t")
            header = next(reader, [])
            if len(header) < 3 or header[0] != "clip_id" or header[-1] != "mp3_path":
                raise EvaluationDataError(f"{path}:1: the header must be clip_id, the tags, mp3_path, tab-separated")
            tags = header[1:-1]
            if self.tags == "all188" and len(tags) != TAG_COUNT:
                raise EvaluationDataError(f"{path}:1: {len(tags)} tags; all188 needs {TAG_COUNT}")
            rows = []
            for line, row in enumerate(reader, start=2):
                if len(row) != len(header) or any(value not in ("0", "1") for value in row[1:-1]):
                    raise EvaluationDataError(f"{path}:{line}: a row is clip_id, {len(tags)} values 0 or 1, mp3_path")
                rows.append(
                    (row[0], {tag for tag, value in zip(tags, row[1:-1], strict=True) if value == "1"}, row[-1])
                )
        return tags, rows

    def _splits(self, mp3_paths: list[str]) -> tuple[dict[str, str], dict[str, str]]:
        """Split of each mp3_path, and the digests of the lists that say so."""
        if self.split == "standard":
            named = {mp3: _SPLIT_OF_DIGIT.get(mp3[:1]) for mp3 in mp3_paths}
            strange = [mp3 for mp3, split in named.items() if split is None]
            if strange:
                raise EvaluationDataError(f"mp3_path {strange[0]!r} does not begin with a hexadecimal digit")
            return {mp3: split for mp3, split in named.items() if split is not None}, {}
        folder = self.split_folder or self.folder
        split_of, sources = {}, {}
        known = set(mp3_paths)
        for split, name in _MINZ_FILES.items():
            path = existing(folder / name, f"the {split} list of the minz split")
            for entry in np.load(path, allow_pickle=False).tolist():
                mp3 = str(entry).split("\t")[-1]
                if mp3 not in known:
                    raise EvaluationDataError(f"{path}: {mp3!r} is not in {ANNOTATIONS}")
                split_of[mp3] = split
            sources[name] = digest_of(path)
        return split_of, sources
