"""Who reads a run: the record that a training leaves in the run's own folder, `readers/<id>.json`.

With it `mulan remove` names the models that a recording went into, and `mulan prune` leaves the manifest that a
training still reads. It is written at the start and at each checkpoint. No shard and no manifest depends on it, so it
may say what time it is and where the model lies.
"""

import dataclasses
import json
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.fs

from schemas.digest import canonical_json, digest_json
from schemas.one_line import one_line
from schemas.record import record_of
from schemas.run import Run, RunError, asked, read_file

FOLDER = "readers"
FORMAT_VERSION = 1
_SUFFIX, _PARTIAL_SUFFIX = ".json", ".tmp"


class ReaderState(StrEnum):
    RUNNING = "running"  # or broken off: `last_seen` says since when
    DONE = "done"


@dataclass(frozen=True, kw_only=True)
class ReaderRecord:
    """One training that reads, or has read, one manifest of a run. `output` is where its model lies."""

    output: str
    recipe: str
    manifest: int
    manifest_digest: str
    started: datetime
    last_seen: datetime
    state: ReaderState
    format_version: int = field(default=FORMAT_VERSION)

    def __post_init__(self) -> None:
        if self.started.utcoffset() is None or self.last_seen.utcoffset() is None:
            raise ValueError("the times of a reader need their offset from UTC")

    @property
    def id(self) -> str:
        """One training has one record for each manifest, however often it is resumed."""
        return digest_json([self.output, self.manifest_digest])

    def needs_manifest(self, now: datetime, within: timedelta) -> bool:
        """Whether the training goes on, or may: it is not done, and was seen within that time."""
        return self.state is ReaderState.RUNNING and now - self.last_seen <= within

    def to_json(self) -> dict[str, Any]:
        return {
            **dataclasses.asdict(self),
            "started": self.started.astimezone(UTC).isoformat(timespec="seconds"),
            "last_seen": self.last_seen.astimezone(UTC).isoformat(timespec="seconds"),
            "state": str(self.state),
        }

    @classmethod
    def from_json(cls, value: Any) -> "ReaderRecord":
        """Raises ValueError where it is no such record."""
        if not isinstance(value, dict) or value.get("format_version") != FORMAT_VERSION:
            raise ValueError(f"not a reader's record of format_version {FORMAT_VERSION}")
        texts = ("output", "recipe", "manifest_digest", "started", "last_seen", "state")
        if wrong := [n for n in texts if n in value and not isinstance(value[n], str)]:
            raise ValueError(f"{', '.join(wrong)} of the reader's record must be text")
        if not isinstance(value.get("manifest"), int):
            raise ValueError("the reader's record names no manifest by its number")
        times = {n: datetime.fromisoformat(value[n]) for n in ("started", "last_seen") if n in value}
        state = {"state": ReaderState(value["state"])} if "state" in value else {}
        return record_of(cls, {**value, **times, **state}, "the reader's record")


def read_readers(run: Run) -> list[ReaderRecord]:
    """Every training that left its record in the run's folder, whatever manifest it read, the first to start first.

    Raises RunError where the folder or a record cannot be read: who reads the run is then not known, and what a reader
    may need has to stay.
    """
    folder = f"{run.root}/{FOLDER}"
    try:
        selector = pyarrow.fs.FileSelector(folder, allow_not_found=True)
        found = asked(run.filesystem, lambda: run.filesystem.get_file_info(selector))
    except (OSError, pa.ArrowException) as error:
        raise RunError(f"{folder}: cannot be listed ({one_line(error)})") from error
    paths = [info.path for info in found if info.base_name.endswith(_SUFFIX)]
    return sorted((_read(run.filesystem, path) for path in paths), key=lambda record: (record.started, record.id))


def write_reader(run: Run, record: ReaderRecord) -> None:
    """Put the record in the run's folder, in place of this training's earlier one. Raises OSError."""
    folder = f"{run.root}/{FOLDER}"
    path = f"{folder}/{record.id}{_SUFFIX}"
    content = canonical_json(record.to_json()).encode() + b"\n"
    run.filesystem.create_dir(folder)
    # An object appears when it is whole; a file has to be made to.
    local = run.filesystem.type_name == "local"
    partial = f"{path}{_PARTIAL_SUFFIX}" if local else path
    try:
        with run.filesystem.open_output_stream(partial) as stream:
            stream.write(content)
    except BaseException:
        if local:
            Path(partial).unlink(missing_ok=True)
        raise
    if local:
        run.filesystem.move(partial, path)


def _read(filesystem: pyarrow.fs.FileSystem, path: str) -> ReaderRecord:
    try:
        return ReaderRecord.from_json(json.loads(read_file(filesystem, path)))
    except (OSError, pa.ArrowException, ValueError) as error:
        raise RunError(
            f"{path}: not a readable record of a training ({one_line(error)}); delete it where nothing reads this run"
        ) from error
