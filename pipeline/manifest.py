"""Finish: the manifest and the groups of a run, from what is committed and from nothing else.

A manifest is never changed: where the committed shards differ from those of the newest manifest, the next number is
written and the pointer is moved. Files that no manifest and no commit record names are leftovers of killed attempts
and are swept.
"""

import dataclasses
import logging
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline import layout, storage
from pipeline.generations import RunState
from pipeline.settings import InputError, MineConfig
from pipeline.shard_file import open_shard
from schemas.accounting import Account
from schemas.commit import FileEntry, ShardRecord
from schemas.manifest import POINTER_NAME, DetectorEntry, LongFormEntry, Manifest, ShardEntry, manifest_name
from schemas.shard import CLIP_SAMPLE_RATE_HZ
from schemas.shard_reader import companions

GROUPS_SCHEMA = pa.schema(
    [pa.field("recording_id", pa.string(), nullable=False), pa.field("group", pa.string(), nullable=False)]
)
GROUP_HEX_CHARS = 32  # of the hash of the decoded audio
log = logging.getLogger(__name__)


def finish(state: RunState, config: MineConfig, detector: DetectorEntry) -> Manifest:
    """Write groups and manifest where they are not there yet, and sweep. Every live part must be committed."""
    records = []
    for part, record in state.committed(config.digest()):
        if record is None:
            raise RuntimeError(f"shard {part.key} is not committed; run the same command again to build it")
        records.append(record)
    newest = state.newest
    assert newest is not None
    before = read_newest(state.run_dir)
    groups = _write_groups(state.run_dir, records)
    manifest = Manifest(
        number=before.number + 1 if before else 1,
        shard_format=config.shard_format,
        audio_encoding=str(config.audio_encoding),
        sample_rate_hz=CLIP_SAMPLE_RATE_HZ,
        config_digest=config.digest(),
        catalogue_digest=newest.catalogue_digest,
        detector=detector,
        # The folder's name, not its path: a manifest says the same wherever the model lies.
        long_form=LongFormEntry(
            model=config.lf_model.rstrip("/").rpartition("/")[2],
            digest=config.lf_digest,
            threshold=config.lf_threshold,
        ),
        shards=tuple(
            ShardEntry(
                path=record.shard.path,
                sha256=record.shard.sha256,
                bytes=record.shard.bytes,
                rows=record.shard.rows,
                generation=record.generation,
                index=record.index,
            )
            for record in records
            if record.shard is not None
        ),
        groups_path=groups.path,
        accounting=accounting(state, records),
        tombstones=_tombstones(state),
    )
    if before is not None and before.digest() == manifest.digest():
        log.info("manifest: %s stands", manifest_name(before.number))
        manifest = before
    else:
        storage.write_json(storage.join(state.run_dir, manifest_name(manifest.number)), manifest.to_json())
        storage.reached("manifest_written")
    storage.write_json(storage.join(state.run_dir, POINTER_NAME), {"manifest": manifest_name(manifest.number)})
    storage.reached("pointer_written")
    _sweep(state.run_dir, manifest.number, records)
    return manifest


def read_newest(run_dir: str) -> Manifest | None:
    """The manifest with the largest number, whether or not the pointer has been moved to it."""
    number = 0
    newest = None
    while (value := storage.read_json(storage.join(run_dir, manifest_name(number + 1)))) is not None:
        number += 1
        try:
            newest = Manifest.from_json(value)
        except (KeyError, TypeError, ValueError) as error:
            path = storage.join(run_dir, manifest_name(number))
            raise InputError(f"{path}: not a manifest that this openmulan reads ({error})") from error
    return newest


def accounting(state: RunState, records: list[ShardRecord]) -> dict[str, Any]:
    """Recordings, and annotations by source, by outcome and reason, over the whole run."""
    recordings = Account()
    newest = state.newest
    if newest is not None:
        recordings.add(dataclasses.replace(newest.rows, kept=0))
    for record in records:
        recordings.add(record.recordings)
    annotations: dict[str, Account] = {}
    for plan in state.plans:
        for source, account in plan.annotations.items():
            annotations.setdefault(source, Account()).add(account)
    return {
        "recordings": recordings.to_json(),
        "annotations": {source: account.to_json() for source, account in sorted(annotations.items())},
    }


def _write_groups(run_dir: str, records: list[ShardRecord]) -> FileEntry:
    """Recordings whose decoded audio is the same share a group; it is named by the hash of that audio."""
    rows = 0
    with storage.staged(run_dir) as staged:
        with pq.ParquetWriter(staged, GROUPS_SCHEMA, compression="zstd") as writer:
            for record in records:
                if record.shard is None:
                    continue
                shard = open_shard(run_dir, record.shard.path)
                groups = range(shard.metadata.num_row_groups)
                table = pa.concat_tables(shard.read(group, ["recording_id", "audio_sha256"]) for group in groups)
                group = pa.array([sha256[:GROUP_HEX_CHARS] for sha256 in table["audio_sha256"].to_pylist()])
                ids = table["recording_id"].combine_chunks()
                writer.write_table(pa.Table.from_arrays([ids, group], schema=GROUPS_SCHEMA))
                rows += table.num_rows
        entry = storage.file_entry(staged, "groups-{}.parquet", rows)
        storage.publish(staged, storage.join(run_dir, entry.path))
    storage.reached("groups_published")
    return entry


def _tombstones(state: RunState) -> tuple[str, ...]:
    return tuple(
        str(metadata.path).removeprefix(f"{state.run_dir}/")
        for plan in state.plans
        if plan.removed
        for metadata in storage.match(layout.removed_pattern(state.run_dir, plan.generation))
    )


def _sweep(run_dir: str, manifests: int, records: list[ShardRecord]) -> None:
    """Delete what no manifest and no commit record names."""
    named = {entry.path for record in records for entry in (record.shard, record.rejects) if entry is not None}
    for number in range(1, manifests + 1):
        manifest = Manifest.from_json(storage.read_json(storage.join(run_dir, manifest_name(number))) or {})
        named.update(shard.path for shard in manifest.shards)
        named.add(manifest.groups_path)
    named.update(beside for path in list(named) for beside in companions(path))
    patterns = (
        f"{layout.SHARDS}/*",
        f"{layout.REJECTS}/*.jsonl",
        "groups-*.parquet",
        f"{storage.TMP_FOLDER}/*",
    )
    found = [str(metadata.path) for pattern in patterns for metadata in storage.match(storage.join(run_dir, pattern))]
    leftovers = [path for path in found if path.removeprefix(f"{run_dir}/") not in named]
    if leftovers:
        log.info("sweep: %d files that no manifest names", len(leftovers))
        storage.delete(leftovers)
