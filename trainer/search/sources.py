"""What an index is made of: files and folders, mined runs, and tables that `mulan embed` wrote.

Of files and runs it is first listed what there is, without its sound; only what is not embedded yet is read.
"""

import dataclasses
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from schemas.digest import digest_json
from schemas.manifest import POINTER_NAME
from schemas.run import RowGroup, Run, RunError
from trainer.embed_inputs import files_of, path_text
from trainer.recordings import Audio, ShardClip
from trainer.search.entries import Entry, ShardPlace
from trainer.search.generation import Vectors
from trainer.search.known import Catalogue

_TABLE = ".parquet"
_LISTED = ["recording_id", "start_s", "duration_s", "audio_sha256", "sf_unfiltered", "licence", "source"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Listed:
    """A recording that is there. `key` changes with its sound; `detail` says why it cannot be read, if so."""

    key: str
    entry: Entry
    where: str
    detail: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Sound:
    """A recording to embed."""

    key: str
    where: str
    audio: Audio


class Inputs:
    """All that a command names, in its order. Raises ValueError and RunError."""

    def __init__(self, names: Sequence[str], catalogue: Catalogue) -> None:
        self._catalogue = catalogue
        self._runs: list[Run] = []
        self._tables: list[Path] = []
        self._files: list[tuple[str, str]] = []
        self.kinds: list[str] = []
        for name in names:
            if "://" in name or (Path(name) / POINTER_NAME).is_file():
                self._runs.append(Run.open(name))
                self.kinds.append(f"run {self._runs[-1].location}")
            elif name.lower().endswith(_TABLE) and Path(name).is_file():
                self._tables.append(Path(name))
                self.kinds.append(f"vectors {Path(name).resolve()}")
            else:
                self._files += [(name, path) for path in files_of(name)]
                self.kinds.append(f"files {path_text(str(Path(name).resolve()))}")

    def listed(self) -> Iterator[Listed]:
        """Files, then rows of runs."""
        yield from self._listed_files()
        for run in self._runs:
            yield from self._listed_rows(run)

    def sounds(self, missing: set[str]) -> Iterator[Sound]:
        """Of what is missing, read when its turn comes."""
        for one in self._listed_files():
            if one.key in missing and one.entry.path is not None:
                yield Sound(key=one.key, where=one.where, audio=one.entry.path)
        for run in self._runs:
            for group in run.row_groups():
                yield from _sounds(run, group, missing)

    def vectors(self, digest: str, dimension: int) -> Iterator[tuple[Entry, Vectors]]:
        """Of the tables. Raises ValueError where another model made them."""
        for path in self._tables:
            try:
                for batch in pq.ParquetFile(path).iter_batches(batch_size=8_192):
                    yield from self._of_batch(path, batch, digest, dimension)
            except (OSError, KeyError, pa.ArrowException) as error:
                raise ValueError(f"{path}: not a table of `mulan embed` ({error})") from error

    def table_names(self) -> list[Any]:
        """What says whether a table is the same as before."""
        stats = [(path, path.stat()) for path in self._tables]
        return [[str(path.resolve()), stat.st_size, stat.st_mtime_ns] for path, stat in stats]

    def _of_batch(
        self, path: Path, batch: pa.RecordBatch, digest: str, dimension: int
    ) -> Iterator[tuple[Entry, Vectors]]:
        column = batch.column("vector")
        if not pa.types.is_fixed_size_list(column.type) or column.type.list_size != dimension:
            raise ValueError(f"{path}: its vectors are {column.type}; the model's have {dimension} numbers")
        if set(batch.column("model").to_pylist()) - {digest}:
            raise ValueError(f"{path}: was embedded with another model than the one that is given")
        rows_ND = column.flatten().to_numpy(zero_copy_only=False).astype(np.float32).reshape(-1, dimension)
        others = batch.select(["path", "recording_id", "start_s", "duration_s"]).to_pylist()
        for value, row in zip(others, rows_ND, strict=True):
            if not np.isfinite(row).all():
                raise ValueError(f"{path}: the vector of {value['recording_id'] or value['path']} is not finite")
            times = {"start_s": value["start_s"] or 0.0, "duration_s": value["duration_s"]}
            if value["recording_id"] is None:
                entry = self._of_file(value["path"], str(Path(value["path"]).resolve()), times)
            else:
                entry = self._of_row(value["recording_id"], {**times, "path": None})
                entry = dataclasses.replace(entry, path=self._catalogue.path_of(entry.recording_id))
            yield entry, Vectors(row=row)

    def _listed_files(self) -> Iterator[Listed]:
        seen, ids = set[str](), set[str]()
        for name, path in self._files:
            absolute = str(Path(path).resolve())
            if absolute in seen:
                continue
            seen.add(absolute)
            inner = path_text(os.path.relpath(path, name) if os.path.isdir(name) else os.path.basename(path))
            inner = inner if inner not in ids else path_text(absolute)  # two folders may have a name in common
            ids.add(inner)
            text = path_text(path)
            try:
                stat = os.stat(path)
            except OSError as error:
                entry = Entry(recording_id=text, path=absolute)
                yield Listed(key=text, entry=entry, where=text, detail=f"cannot be read ({error.strerror})")
                continue
            key = digest_json([path_text(absolute), stat.st_size, stat.st_mtime_ns])
            yield Listed(key=key, entry=self._of_file(inner, absolute, {}), where=text)

    def _of_file(self, recording_id: str, path: str, times: dict[str, Any]) -> Entry:
        known = self._catalogue.at(path)
        if known is None:
            return Entry(recording_id=recording_id, title=path_text(Path(path).stem), path=path, **times)
        fields = {**known.fields, "title": known.fields["title"] or path_text(Path(path).stem)}
        return Entry(recording_id=known.recording_id, path=path, **fields, **times)

    def _listed_rows(self, run: Run) -> Iterator[Listed]:
        for group in run.row_groups():
            where = f"{run.location}/{group.shard.path}"
            try:
                rows = run.read(group, columns=_LISTED).to_pylist()
            except RunError as error:
                entry = Entry(recording_id=where)
                yield Listed(key=f"{where}:{group.index}", entry=entry, where=where, detail=str(error))
                continue
            for number, row in enumerate(rows):
                place = ShardPlace(run=run.location, shard=group.shard.path, row_group=group.index, row=number)
                fields = {"start_s": row["start_s"], "duration_s": row["duration_s"], "place": place}
                said = {"licence": row["licence"], "source": row["source"], "tags": tuple(row["sf_unfiltered"])}
                entry = self._of_row(row["recording_id"], fields, said)
                yield Listed(key=_row_key(row), entry=entry, where=f"{where}: {row['recording_id']}")

    def _of_row(self, recording_id: str, fields: dict[str, Any], said: dict[str, Any] | None = None) -> Entry:
        known = self._catalogue.of(recording_id)
        return Entry(recording_id=recording_id, **fields, **(known.fields if known is not None else said or {}))


def _row_key(row: dict[str, Any]) -> str:
    return digest_json([row["recording_id"], row["audio_sha256"]])


def _sounds(run: Run, group: RowGroup, missing: set[str]) -> Iterator[Sound]:
    where = f"{run.location}/{group.shard.path}"
    try:
        keys = [_row_key(row) for row in run.read(group, columns=["recording_id", "audio_sha256"]).to_pylist()]
        rows = [number for number, key in enumerate(keys) if key in missing]
        columns = ["recording_id", "audio", "audio_encoding"]
        found = run.read(group, columns, rows).to_pylist() if rows else []
    except RunError:
        return  # listed as what cannot be read
    for number, row in zip(rows, found, strict=True):
        clip = ShardClip(audio=row["audio"], encoding=row["audio_encoding"])
        yield Sound(key=keys[number], where=f"{where}: {row['recording_id']}", audio=clip)
