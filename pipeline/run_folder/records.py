"""Commit records as they are read: which plan parts and which shards of a run are whole.

A record that is there says so only where the files that it names are there too.
"""

import logging
from dataclasses import dataclass

from pipeline import storage
from pipeline.run_folder import layout
from pipeline.storage import DamagedError
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
    records = []
    for info in storage.list_folder(storage.join(attempt.folder, layout.COMMITS)):
        record = PartRecord.from_json(storage.parse_json(info.path, storage.read_bytes(info.path)))
        if storage.is_whole(attempt.run_dir, record.file):
            records.append(record)
    return sorted(records, key=lambda record: record.index)


def committed_shard(run_dir: str, part: PartRecord, config_digest: str) -> ShardRecord | None:
    """The record of a shard that is whole and built from this very part, or None."""
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
    is_there = all(storage.is_whole(run_dir, entry) for entry in files)
    return record if is_there and all(storage.exists(storage.join(run_dir, path)) for path in beside) else None


def wants_retry(record: ShardRecord) -> bool:
    """Whether a shard has recordings that failed for now."""
    return record.recordings.total(Outcome.FAILED_TRANSIENT) > 0
