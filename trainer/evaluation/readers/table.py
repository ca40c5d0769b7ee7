"""Any set as one csv of clips × tags: `path`, optionally `clip_id` and `split`, then one column a tag with 0 or 1.

Audio paths are relative to the csv. Without a `split` column every clip is a test clip. The label's text is the
column's name.
"""

import csv
from dataclasses import dataclass
from pathlib import Path

from trainer.evaluation.clips import EvaluationDataError, FileClip
from trainer.evaluation.readers.tagged import SPLITS, TaggedSet, digest_of, existing, file_split, safe_join

_RESERVED = ("clip_id", "path", "split")


@dataclass(frozen=True, kw_only=True)
class ClipTable:
    """A csv of the reader's own user. `name` tells it from others, by default that of the file."""

    file: Path
    name: str | None = None

    def read(self) -> TaggedSet:
        path = existing(self.file, "a csv of clips × tags")
        with path.open(encoding="utf-8-sig", newline="") as stream:
            reader = csv.DictReader(stream, strict=True)
            header = list(reader.fieldnames or [])
            classes = [name for name in header if name not in _RESERVED]
            if "path" not in header or not classes or len(set(header)) != len(header):
                raise EvaluationDataError(f"{path}:1: the header needs `path` and at least one tag, each name once")
            clips: dict[str, list[FileClip]] = {split: [] for split in SPLITS}
            tags: dict[str, list[set[str]]] = {split: [] for split in SPLITS}
            split_of: dict[Path, str] = {}
            for line, row in enumerate(reader, start=2):
                where = f"{path}:{line}"
                split = row.get("split") or "test"
                if None in row or split not in SPLITS or any(row[name] not in ("0", "1") for name in classes):
                    raise EvaluationDataError(
                        f"{where}: every tag is 0 or 1, and split is one of {', '.join(SPLITS)}, with no further fields"
                    )
                audio = safe_join(path.parent, row["path"], where)
                if (other := split_of.setdefault(audio, split)) != split:
                    raise EvaluationDataError(f"{where}: {row['path']} is in {split} and in {other}")
                clip_id = row.get("clip_id") or row["path"]
                clips[split].append(FileClip(clip_id=clip_id, path=audio, recording_ids=(clip_id, audio.stem)))
                tags[split].append({name for name in classes if row[name] == "1"})
        return TaggedSet(
            name=f"table/{self.name or path.stem}",
            class_names=tuple(classes),
            class_texts=tuple(classes),
            splits={split: file_split(clips[split], tags[split], classes) for split in SPLITS if clips[split]},
            sources={path.name: digest_of(path)},
            notes={"split": "the table's own", "label_text": "the column's name", "propagation": "none"},
        )
