"""Finish: the manifest and the groups of a run, from what is committed and from nothing else.

A manifest is never changed: where the committed shards differ from those of the newest manifest, the next number is
written and the pointer is moved. Both are conditional writes, so that a job that was overtaken moves nothing.
"""

import dataclasses
import logging
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline import storage
from pipeline.duplicates.fingerprints import GROUP_HEX_CHARS, leaders, named_files
from pipeline.run_folder import layout
from pipeline.run_folder.generations import Plan, RunState
from pipeline.run_folder.lock import Hold, LostLockError
from pipeline.run_folder.records import wants_retry
from pipeline.settings import ShardSettings
from pipeline.shard_file import LITTLE_BYTES, open_shard
from pipeline.storage import DamagedError
from pipeline.stores.store import FileInfo
from schemas.accounting import Account
from schemas.commit import FileEntry, PartRecord, ShardRecord, part_key
from schemas.manifest import DetectorEntry, LongFormEntry, Manifest, ShardEntry, manifest_name
from schemas.shard import CLIP_SAMPLE_RATE_HZ
from schemas.shard_format import sidecars

GROUPS_SCHEMA = pa.schema(
    [pa.field("recording_id", pa.string(), nullable=False), pa.field("group", pa.string(), nullable=False)]
)
_OLD_REMOVED_NAME = re.compile(r"removed-\d{3,}\.jsonl")
log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Published:
    """The manifests of a run and its pointer, as they were found.

    `newest` has the largest number, whether or not the pointer has been moved to it; older ones may have been deleted.
    """

    numbers: tuple[int, ...]
    newest: Manifest | None
    pointer: tuple[bytes, str] | None  # content and version

    @classmethod
    def read(cls, run_dir: str) -> "Published":
        """Raises DamagedError where a manifest is not whole, or the pointer names none that is there."""
        matches = [layout.MANIFEST_NAME.fullmatch(storage.name_of(info.path)) for info in storage.list_folder(run_dir)]
        numbers = tuple(sorted(int(match[1]) for match in matches if match is not None))
        path = layout.pointer_path(run_dir)
        pointer = storage.read_version(path)
        if pointer is not None:
            named = storage.parse_json(path, pointer[0]).get("manifest")
            if named not in [manifest_name(number) for number in numbers]:
                raise DamagedError(f"{path} names {named}, which is not there; restore that manifest from a copy")
        newest = read_manifest(run_dir, numbers[-1]) if numbers else None
        return cls(numbers=numbers, newest=newest, pointer=pointer)


def read_manifest(run_dir: str, number: int) -> Manifest:
    """Raises DamagedError."""
    path = storage.join(run_dir, manifest_name(number))
    try:
        return Manifest.from_json(storage.parse_json(path, storage.read_bytes(path)))
    except (KeyError, TypeError, ValueError) as error:
        raise DamagedError(f"{path}: not a manifest that this version of openmulan reads ({error})") from error


def finish(
    state: RunState, published: Published, settings: ShardSettings, detector: DetectorEntry, hold: Hold
) -> Manifest:
    """Write groups and manifest where they are not there yet, and sweep. Every live part must be committed.

    `published` is what was found when the folder was locked. Raises LostLockError.
    """
    records = []
    for part, record in state.committed(settings.config_digest):
        if record is None:
            raise RuntimeError(f"shard {part.key} is not committed; run the same command again to build it")
        records.append(record)
    made = _publish(state, published, records, settings, detector, hold)
    sweep(state, records, hold)
    return made


def finish_so_far(
    state: RunState, published: Published, settings: ShardSettings, detector: DetectorEntry, hold: Hold
) -> Manifest | None:
    """As `finish`, of a run that may not be built to its end: its manifest has what is built of the generations that
    the newest one has, and there is none where there was none. Raises LostLockError.
    """
    committed = state.committed(settings.config_digest)
    records = [record for _, record in committed if record is not None]
    if len(records) == len(committed):
        return finish(state, published, settings, detector, hold)
    made = None
    if published.newest is not None:
        last = max((shard.generation for shard in published.newest.shards), default=0)
        of_before = [
            record for part, record in committed if record is not None and _first(state, part).generation <= last
        ]
        made = _publish(state, published, of_before, settings, detector, hold)
    sweep(state, records, hold)
    return made


def _first(state: RunState, part: PartRecord) -> PartRecord:
    """The part that the rows of this one were planned in."""
    return part if part.replaces is None else [part, *state.lineage(part)][-1]


def _publish(
    state: RunState,
    published: Published,
    records: list[ShardRecord],
    settings: ShardSettings,
    detector: DetectorEntry,
    hold: Hold,
) -> Manifest:
    """The manifest of these shards, and the pointer to it."""
    newest = state.newest
    assert newest is not None
    before = published.newest
    groups = _write_groups(state.run_dir, records)
    manifest = Manifest(
        number=before.number + 1 if before else 1,
        shard_format=settings.shard_format,
        audio_encoding=settings.audio_encoding,
        sample_rate_hz=CLIP_SAMPLE_RATE_HZ,
        config_digest=settings.config_digest,
        catalogue_digest=newest.catalogue_digest,
        detector=detector,
        # The folder's name, not its path: a manifest says the same wherever the model lies.
        long_form=LongFormEntry(
            model=settings.lf_model.rstrip("/").rpartition("/")[2],
            digest=settings.lf_digest,
            threshold=settings.lf_threshold,
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
        path = storage.join(state.run_dir, manifest_name(manifest.number))
        hold.check()
        storage.failpoint("manifest_checked")
        if storage.create(path, storage.json_bytes(manifest.to_json())) is None:
            raise LostLockError(f"{path} was written by another job meanwhile; this job stops")
        storage.failpoint("manifest_written")
    _move_pointer(state.run_dir, manifest.number, published.pointer, hold)
    storage.failpoint("pointer_written")
    return manifest


def _move_pointer(run_dir: str, number: int, found: tuple[bytes, str] | None, hold: Hold) -> None:
    """Only from where it was when the folder was locked."""
    path, content = layout.pointer_path(run_dir), storage.json_bytes({"manifest": manifest_name(number)})
    if found is not None and found[0] == content:
        return
    hold.check()
    storage.failpoint("pointer_checked")
    moved = storage.create(path, content) if found is None else storage.swap(path, content, found[1])
    if moved is None:
        raise LostLockError(f"{path} was moved by another job meanwhile; this job stops")


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
    """Recordings whose decoded audio is the same share a group, and so do copies of it by their fingerprints, where
    those are joined; it is named by the hash of that audio, of copies by the smallest."""
    leader = leaders(run_dir)
    rows = 0
    with storage.staged(run_dir) as staged:
        with pq.ParquetWriter(staged, GROUPS_SCHEMA, compression="zstd") as writer:
            for ids, audio in audio_names(run_dir, records):
                group = pa.array([leader.get(name, name) for name in audio])
                writer.write_table(pa.Table.from_arrays([ids, group], schema=GROUPS_SCHEMA))
                rows += len(ids)
        entry = storage.file_entry(staged, "groups-{}.parquet", rows)
        storage.publish(staged, storage.join(run_dir, entry.path))
    storage.failpoint("groups_published")
    return entry


def audio_names(run_dir: str, records: Iterable[ShardRecord]) -> Iterator[tuple[pa.Array, list[str]]]:
    """Of each shard the ids of its recordings, and what their audio is called in groups."""

    def read(path: str) -> tuple[pa.Array, list[str]]:
        shard = open_shard(run_dir, path, ahead_bytes=LITTLE_BYTES)
        groups = range(len(shard.groups()))
        table = pa.concat_tables(shard.read(group, ["recording_id", "audio_sha256"]) for group in groups)
        audio = [sha256[:GROUP_HEX_CHARS] for sha256 in table["audio_sha256"].to_pylist()]
        return table["recording_id"].combine_chunks(), audio

    return storage.side_by_side(run_dir, read, (record.shard.path for record in records if record.shard is not None))


def _tombstones(state: RunState) -> tuple[str, ...]:
    found: list[str] = []
    for plan in state.plans:
        if plan.removed_lists:
            found += [entry.path for entry in plan.removed_lists]
        elif plan.removed:
            # A plan of version 0.1 does not list them.
            files = storage.list_folder(layout.plan_dir(state.run_dir, plan.generation))
            found += [
                info.path.removeprefix(f"{state.run_dir}/")
                for info in files
                if _OLD_REMOVED_NAME.fullmatch(storage.name_of(info.path))
            ]
    return tuple(found)


def sweep(state: RunState, records: list[ShardRecord], hold: Hold, *, replaced: bool = False) -> int:
    """Delete what no manifest, plan or commit record names: the rest of killed attempts and of jobs that lost the lock.
    Returns the bytes of it.

    Only names that this code makes, and only what nobody will make again under the same name: a shard that has
    recordings to be tried again may come out as what lies there unnamed. With `replaced`, that goes all the same, and
    so do plan parts and commit records that a later part has taken the place of: nothing is built of them any more.
    """
    run_dir = state.run_dir
    settled = {part_key(record.generation, record.index) for record in records if not wants_retry(record)}
    live = {part_key(record.generation, record.index) for record in records}
    named = {entry.path for record in records for entry in (record.shard, record.rejects) if entry is not None}
    for number in Published.read(run_dir).numbers:
        manifest = read_manifest(run_dir, number)
        named.update(shard.path for shard in manifest.shards)
        named.add(manifest.groups_path)
    named.update(beside for path in list(named) for beside in sidecars(path))
    found: list[FileInfo] = []
    swept = [*layout.SWEPT_NAMES.items(), *(layout.REPLACED_NAMES.items() if replaced else ())]
    for folder, pattern in swept:
        for info in storage.list_folder(storage.join(run_dir, folder) if folder else run_dir):
            match = pattern.fullmatch(storage.name_of(info.path))
            if match is None or info.path.removeprefix(f"{run_dir}/") in named:
                continue
            key = match.groupdict().get("key")
            if key not in live or (folder != layout.COMMITS and (key in settled or replaced)):
                found.append(info)
    folders = []
    of_fingerprints = storage.join(run_dir, layout.FINGERPRINTS)
    names = storage.list_folders(of_fingerprints)
    folders += [storage.join(of_fingerprints, name) for name in names if layout.ATTEMPT_NAME.fullmatch(name)]
    if made := storage.list_folder(of_fingerprints):
        meant = named_files(run_dir, records)
        found += [
            info
            for info in made
            if layout.FINGERPRINT_NAMES.fullmatch(storage.name_of(info.path))
            and info.path.removeprefix(f"{run_dir}/") not in meant
        ]
    parts = state.live_parts()
    live_parts = {part.file.path for part in parts}
    pending = {part.key for part in parts} - live
    for name in storage.list_folders(storage.join(run_dir, layout.PIECES)):
        if (match := layout.PIECES_NAME.fullmatch(name)) is not None and match["key"] not in pending:
            folders.append(storage.join(run_dir, layout.PIECES, name))
    plans = {plan.generation: plan for plan in state.plans}
    for name in storage.list_folders(storage.join(run_dir, layout.PLANS)):
        if (match := layout.GENERATION_NAME.fullmatch(name)) is None:
            continue
        folder = layout.plan_dir(run_dir, int(match[1]))
        found += _plan_leftovers(run_dir, folder, plans.get(int(match[1])), live_parts if replaced else None)
        inner = storage.list_folders(folder)
        folders += [storage.join(folder, name) for name in inner if layout.ATTEMPT_NAME.fullmatch(name)]
    if not found and not folders:
        return 0
    # What is listed was there before a successor could have come, and what it has written since is not on the list.
    storage.failpoint("sweep_listed")
    hold.check()
    if found:
        log.info("sweep: %d files that nothing names", len(found))
    storage.delete([info.path for info in found])
    for folder in folders:
        storage.delete_folder(folder)
    return sum(info.size for info in found)


def _plan_leftovers(run_dir: str, folder: str, plan: Plan | None, live_parts: set[str] | None) -> list[FileInfo]:
    """What attempts at a plan have left beside what it names; all of it where there is no plan after all. Of its parts
    only `live_parts` count, where these are given."""
    named: set[str] = set()
    if plan is not None:
        named = {entry.path for entry in (*(part.file for part in plan.parts), *plan.rejects, *plan.removed_lists)}
        if live_parts is not None:
            named -= {part.file.path for part in plan.parts} - live_parts
    return [
        info
        for info in storage.list_folder(folder)
        if layout.SWEPT_PLAN_NAMES.fullmatch(storage.name_of(info.path))
        and info.path.removeprefix(f"{run_dir}/") not in named
    ]
