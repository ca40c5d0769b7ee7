"""`mulan prune RUN`: give the space of older generations back, and with it the last bytes of what was removed.

What stays is what the newest manifests name, by default one. A training that still reads an older one keeps it, for a
stated time after its last sign of life. Lists that name removed recordings, and excerpts that may mention them, go from
the plans; plan parts, shards and records that later ones have replaced are deleted.
"""

import argparse
import dataclasses
import json
import logging
import os
import re
import sys
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline import manifest, storage
from pipeline.catalogues import audioset, in_run
from pipeline.duplicates.fingerprints import forget
from pipeline.media.fetch import cached_as
from pipeline.media.fetching.cache import MediaCache
from pipeline.media.fetching.config import FetchConfig
from pipeline.mine import RunPipeline
from pipeline.report import write_report
from pipeline.run_folder import layout
from pipeline.run_folder.generations import Plan, RunState
from pipeline.run_folder.lock import Hold, LostLockError, locked
from pipeline.run_folder.options import DEFAULT_GRACE_HOURS, DEFAULT_KEEP
from pipeline.run_folder.remove import describe, read_reader_records
from pipeline.run_folder.suppression import quiet_reject, read_suppression
from pipeline.run_folder.withdraw import RunFolder, publish, withdraw
from pipeline.settings import LockConfig
from pipeline.stores.store import FileInfo
from pipeline.table_steps import publish_lines
from schemas.commit import FileEntry
from schemas.exits import DONE, INTERRUPTED, InputError
from schemas.manifest import manifest_name
from schemas.readers import ReaderRecord
from schemas.suppression import SuppressionList

# Of version 0.1, whose plans do not name these files.
_OLD_LISTS = re.compile(r"(rejects-(?:catalogue|comments|playlists)(?:-\d{3,})?|removed-\d{3,})\.jsonl")
log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Pruned:
    """What was given back, and whom the rest waits for."""

    manifests: tuple[int, ...]  # that stay
    files: int
    bytes_before: int
    bytes_after: int
    cached: int | None  # entries deleted from the media cache; None where none was named
    waits_for: tuple[ReaderRecord, ...]


def run_command(
    arguments: argparse.Namespace, run_dir: str, lock: LockConfig, pipeline: RunPipeline
) -> tuple[str, int]:
    """What to print, and the exit code."""
    if arguments.now:
        sys.stderr.write("mulan prune: --now: a training that reads an older manifest will stop\n")
    pruned = prune(
        run_dir,
        pipeline=pipeline,
        lock=lock,
        keep=arguments.keep,
        grace_hours=arguments.grace_hours,
        now=arguments.now,
        cache_dir=os.path.abspath(arguments.cache_dir) if arguments.cache_dir else None,
    )
    return render(pruned, arguments.grace_hours), INTERRUPTED if pruned.waits_for else DONE


def prune(
    run_dir: str,
    *,
    pipeline: RunPipeline,
    lock: LockConfig | None = None,
    keep: int = DEFAULT_KEEP,
    grace_hours: float = DEFAULT_GRACE_HOURS,
    now: bool = False,
    cache_dir: str | None = None,
) -> Pruned:
    """Raises InputError before anything is done; LockedError, LostLockError, DamagedError."""
    if keep < 1:
        raise InputError(f"--keep is {keep}; the newest manifest always stays, so it must be 1 or more")
    if not 0 <= grace_hours < float("inf"):
        raise InputError(f"--grace_hours is {grace_hours:g}; it must be 0 or more")
    if cache_dir is not None and not os.path.isdir(cache_dir):
        raise InputError(f"--cache_dir {cache_dir}: there is no such folder")
    with locked(run_dir, lock) as hold:
        run = RunFolder.read(run_dir)
        _readers(run_dir, now)  # one that cannot be read is said before anything is done
        before = storage.list_folder(run_dir, deep=True)
        withdraw(run, hold, pipeline)
        suppressed = read_suppression(run_dir) or SuppressionList.new()
        cached = _forget_media(run.state, suppressed, cache_dir) if cache_dir is not None else None
        audioset.withdraw(suppressed, hold)
        in_run.withdraw(suppressed, hold)
        _quiet_plans(run.state, suppressed, hold)
        publish(run, hold)
        built = [record for _, record in run.state.committed(run.settings.config_digest) if record is not None]
        forget(run_dir, (name for _, audio in manifest.audio_names(run_dir, built) for name in audio), hold)
        # A training that starts from here on reads the manifest that stays.
        kept, waits_for = _old_manifests(run_dir, keep, _readers(run_dir, now), timedelta(hours=grace_hours))
        hold.check()
        storage.delete([storage.join(run_dir, manifest_name(number)) for number in kept.gone])
        storage.failpoint("manifests_deleted")
        manifest.sweep(run.state, built, hold, replaced=True)
        hold.check()
        write_report(run_dir)
        if storage.exists(layout.audioset_path(run_dir, "input.json")):
            audioset.write_report(run_dir)
        after = storage.list_folder(run_dir, deep=True)
    return Pruned(
        manifests=kept.stay,
        files=len({info.path for info in before} - {info.path for info in after}),
        bytes_before=sum(info.size for info in before),
        bytes_after=sum(info.size for info in after),
        cached=cached,
        waits_for=waits_for,
    )


def _readers(run_dir: str, now: bool) -> list[ReaderRecord]:
    return [] if now else read_reader_records(run_dir)


def _forget_media(state: RunState, suppressed: SuppressionList, cache_dir: str) -> int:
    """By the rows of the plan parts that are about to be deleted: they alone still say where a recording came from."""
    cache = MediaCache(cache_dir, FetchConfig().cache_bytes)
    live = {part.key for part in state.live_parts()}
    count = 0
    for part in [part for plan in state.plans for part in plan.parts if part.key not in live]:
        found = storage.read_version(storage.join(state.run_dir, part.file.path))
        if found is None:
            continue
        table = pq.read_table(pa.BufferReader(found[0]), columns=["recording_id", "audio_uri", "base_uri"])
        for row in table.to_pylist():
            if row["recording_id"] in suppressed:
                uri = cached_as(row["audio_uri"], base_uri=row["base_uri"])
                count += uri is not None and cache.forget(uri)
    return count


def _quiet_plans(state: RunState, suppressed: SuppressionList, hold: Hold) -> None:
    """No plan names a removed recording. Only the newest survey's rejects stay: it read the whole catalogue."""
    surveyed = max((i for i, plan in enumerate(state.plans) if _rejects(state.run_dir, plan)), default=-1)
    for i, plan in enumerate(state.plans):
        lists = _rejects(state.run_dir, plan) if i == surveyed else ()
        rejects = tuple(_quiet(state.run_dir, plan, entry, suppressed) for entry in lists)
        removed = tuple(entry for entry in plan.removed_lists if not _names_any(state.run_dir, entry, suppressed))
        quiet = dataclasses.replace(plan, rejects=rejects, removed_lists=removed)
        if quiet != plan:
            path = layout.plan_path(state.run_dir, plan.generation)
            found = storage.read_version(path)
            hold.check()
            storage.failpoint("quiet_checked")
            if found is None or storage.swap(path, storage.json_bytes(quiet.to_json()), found[1]) is None:
                raise LostLockError(f"{path} was written by another job meanwhile; this job stops")
            storage.failpoint("plan_quieted")
            state.plans[i] = quiet
        hold.check()
        storage.delete([info.path for info in _old_lists(state.run_dir, plan)])


def _rejects(run_dir: str, plan: Plan) -> tuple[FileEntry, ...]:
    """The lists of rows that a plan did not use, also where it does not name them."""
    return plan.rejects or tuple(
        FileEntry(path=info.path.removeprefix(f"{run_dir}/"), sha256="", bytes=info.size, rows=0)
        for info in _old_lists(run_dir, plan)
        if storage.name_of(info.path).startswith("rejects-")
    )


def _old_lists(run_dir: str, plan: Plan) -> list[FileInfo]:
    files = storage.list_folder(layout.plan_dir(run_dir, plan.generation))
    return [info for info in files if _OLD_LISTS.fullmatch(storage.name_of(info.path))]


def _quiet(run_dir: str, plan: Plan, entry: FileEntry, suppressed: SuppressionList) -> FileEntry:
    """The same list without anything about removed recordings."""
    # As bytes: the texts may hold U+2028 and its like.
    lines = [line.decode() for line in storage.read_bytes(storage.join(run_dir, entry.path)).splitlines()]
    if suppressed:
        quiet = (quiet_reject(json.loads(line), suppressed) for line in lines)
        lines = [json.dumps(value, sort_keys=True, ensure_ascii=False) for value in quiet]
    name = storage.name_of(entry.path).removesuffix(".jsonl").removesuffix(f"-{entry.sha256[:12]}")
    return publish_lines(run_dir, plan.generation, name, lines)


def _names_any(run_dir: str, entry: FileEntry, suppressed: SuppressionList) -> bool:
    """Whether a list of removed recordings names one that is not to be named any more; others have changed only."""
    lines = storage.read_bytes(storage.join(run_dir, entry.path)).splitlines()
    return any(json.loads(line)["recording_id"] in suppressed for line in lines)


@dataclass(frozen=True, kw_only=True)
class _Manifests:
    stay: tuple[int, ...]
    gone: tuple[int, ...]


def _old_manifests(
    run_dir: str, keep: int, readers: list[ReaderRecord], grace: timedelta
) -> tuple[_Manifests, tuple[ReaderRecord, ...]]:
    """Which manifests stay, and the trainings because of which something stays that else would go."""
    published = manifest.Published.read(run_dir)
    stay = set(published.numbers[-keep:])
    needed = {shard.path for number in stay for shard in manifest.read_manifest(run_dir, number).shards}
    time = datetime.now(UTC)
    waits_for = []
    for reader in readers:
        if reader.manifest not in published.numbers or reader.manifest in published.numbers[-keep:]:
            continue
        if reader.needs_manifest(time, grace):
            stay.add(reader.manifest)
            if {shard.path for shard in manifest.read_manifest(run_dir, reader.manifest).shards} - needed:
                waits_for.append(reader)
    gone = tuple(number for number in published.numbers if number not in stay)
    return _Manifests(stay=tuple(sorted(stay)), gone=gone), tuple(waits_for)


def render(pruned: Pruned, grace_hours: float) -> str:
    """For the terminal."""
    freed = pruned.bytes_before - pruned.bytes_after
    names = ", ".join(manifest_name(number) for number in pruned.manifests) or "no manifest yet"
    lines = [
        f"{'given back':12} {freed / 1e6:,.1f} MB in {pruned.files:,} files; {pruned.bytes_after / 1e6:,.1f} MB stay",
        f"{'readable':12} {names}",
    ]
    if pruned.cached is not None:
        lines.append(f"{'media cache':12} {pruned.cached} recordings deleted")
    for reader in pruned.waits_for:
        until = reader.last_seen + timedelta(hours=grace_hours)
        lines.append(f"{'waits for':12} {describe(reader)}, at most until {until:%Y-%m-%d %H:%M} UTC")
    if pruned.waits_for:
        lines.append(
            f"{'next':12} run this again then, or give --now, which makes these trainings stop: what was removed is "
            "still in the shards that they read"
        )
    return "\n".join(lines) + "\n"
