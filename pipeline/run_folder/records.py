"""Commit records as they are read: which plan parts and which shards of a run are whole.

A record that is there says so only where the files that it names are there too.
"""

import logging
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from pipeline import storage
from pipeline.run_folder import layout
from pipeline.storage import DamagedError
from pipeline.stores.store import FileInfo
from pipeline.table_steps import Attempt
from schemas.commit import PartRecord, ShardRecord
from schemas.reasons import Outcome
from schemas.shard_format import sidecars

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Donor:
    """What an earlier attempt has settled: rows of its shard, and rejects that need no second try. Both are paths in
    the run folder."""

    shard: str | None
    rejects: str | None

    @classmethod
    def of(cls, record: ShardRecord) -> "Donor":
        return cls(
            shard=record.shard.path if record.shard is not None else None,
            rejects=record.rejects.path if record.rejects is not None else None,
        )


def read_part_records(attempt: Attempt) -> list[PartRecord]:
    """Plan parts that an attempt has committed, in order."""

    def read(info: FileInfo) -> PartRecord:
        return PartRecord.from_json(storage.parse_json(info.path, storage.read_bytes(info.path)))

    commits = storage.list_folder(storage.join(attempt.folder, layout.COMMITS))
    listed = _sizes(attempt.run_dir, storage.parent(layout.part_name_pattern(attempt.generation, 0)))
    records = [
        record
        for record in storage.side_by_side(attempt.run_dir, read, commits)
        if listed.get(record.file.path) == record.file.bytes
    ]
    return sorted(records, key=lambda record: record.index)


def _sizes(run_dir: str, *folders: str) -> dict[str, int]:
    """Of the files in folders of a run, by their path in it."""
    return {
        storage.join(folder, storage.name_of(info.path)): info.size
        for folder in folders
        for info in storage.list_folder(storage.join(run_dir, folder))
    }


def committed_shards(
    run_dir: str, parts: Iterable[PartRecord], config_digest: str
) -> Iterator[tuple[PartRecord, ShardRecord | None]]:
    """Each part with the record of its shard. The folders are listed: of fifty million recordings there are 100,000
    shards, and a store takes as long to say that a file is there as to send a record."""
    listed = _sizes(run_dir, layout.COMMITS, layout.SHARDS, layout.REJECTS)

    def read(part: PartRecord) -> tuple[PartRecord, ShardRecord | None]:
        is_built = storage.join(layout.COMMITS, f"{part.key}.json") in listed
        return part, committed_shard(run_dir, part, config_digest, listed) if is_built else None

    return storage.side_by_side(run_dir, read, parts)


def committed_shard(
    run_dir: str, part: PartRecord, config_digest: str, listed: Mapping[str, int] = MappingProxyType({})
) -> ShardRecord | None:
    """The record of a shard that is whole and built from this very part, or None. `listed` are sizes of files by their
    path in the run; what is not there may have come since, and is looked at."""
    try:
        value = storage.read_json(layout.shard_commit_path(run_dir, part.key))
        if value is None:
            return None
        record = ShardRecord.from_json(value)
    except (DamagedError, KeyError, TypeError, ValueError) as error:
        # Built again from the same part it says the same, so nothing is lost.
        log.warning("commit record of shard %s is not whole and is ignored: %s", part.key, error)
        return None
    if record.part_sha256 != part.file.sha256 or record.config_digest != config_digest:
        return None
    files = [entry for entry in (record.shard, record.rejects) if entry is not None]
    beside = sidecars(record.shard.path) if record.shard is not None else []
    are_whole = all(listed.get(entry.path) == entry.bytes or storage.is_whole(run_dir, entry) for entry in files)
    is_there = all(path in listed or storage.exists(storage.join(run_dir, path)) for path in beside)
    return record if are_whole and is_there else None


def wants_retry(record: ShardRecord) -> bool:
    """Whether a shard has recordings that failed for now."""
    return record.recordings.total(Outcome.FAILED_TRANSIENT) > 0
