"""`mulan remove RUN --ids FILE`: a rights request. What is to go leaves the plan, the shards and the manifest.

The ids go on the run's suppression list first; from then on no command takes these recordings again, and whichever
comes next goes on with the removal where this one was killed. What was removed is still in files that older manifests
name, until `mulan prune` deletes them.
"""

import argparse
import json
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import pyarrow.parquet as pq

from pipeline import storage
from pipeline.catalogue import Reject, Table, read_table
from pipeline.manifest import read_manifest
from pipeline.mine import RunPipeline
from pipeline.options import local_absolute
from pipeline.report import write_report
from pipeline.run_folder import layout
from pipeline.run_folder.lock import locked
from pipeline.run_folder.suppression import lift, read_suppression, suppress
from pipeline.run_folder.withdraw import RunFolder, live_recordings, publish, withdraw
from pipeline.settings import LockConfig
from schemas.catalogue import MAX_ID_BYTES, required_name
from schemas.cells import RowError
from schemas.exits import DONE, InputError
from schemas.readers import FOLDER as READERS
from schemas.readers import ReaderRecord
from schemas.suppression import SuppressionList

STDIN = "-"
TABLE_SUFFIXES = (".jsonl", ".ndjson", ".json", ".csv", ".tsv", ".parquet")
IDS = Table(
    kind="ids",
    fields=("recording_id",),
    list_fields=(),
    number_fields=(),
    parse=lambda value: required_name(value, "recording_id", MAX_ID_BYTES),
)


class UnknownIdsError(InputError):
    """Ids that the run does not know; nothing was removed."""

    def __init__(self, run_dir: str, asked: int, unknown: list[str]) -> None:
        super().__init__(
            f"{run_dir} does not know {len(unknown)} of {asked} ids, which are listed above; nothing was removed. Mend "
            "them, or give --suppress_unknown, and no later mine will take them"
        )
        self.unknown = unknown


@dataclass(frozen=True, kw_only=True)
class Reader:
    """A training, and whether it is known that it had a removed recording: its manifest may be gone."""

    record: ReaderRecord
    surely: bool


@dataclass(frozen=True, kw_only=True)
class Found:
    """What a request comes to."""

    live: dict[str, str]  # recording -> plan part
    before: int  # removed by an earlier request
    elsewhere: int  # named in lists of what was not used, and not mined
    unknown: list[str]
    duplicates: list[tuple[str, str]]  # (recording that stays, removed one with the same audio)
    readers: list[Reader]


def run_command(
    arguments: argparse.Namespace, run_dir: str, lock: LockConfig, pipeline: RunPipeline
) -> tuple[str, int]:
    """What to print, and the exit code."""
    ids = read_ids(arguments.ids if arguments.ids == STDIN else local_absolute(arguments.ids))
    if arguments.lift:
        lifted = allow_again(run_dir, ids, lock=lock)
        return f"{lifted} of {len(ids)} ids were removed before; the next mine may have them again\n", DONE
    try:
        found = remove(
            run_dir,
            ids,
            pipeline=pipeline,
            lock=lock,
            suppress_unknown=arguments.suppress_unknown,
            dry_run=arguments.dry_run,
        )
    except UnknownIdsError as error:
        sys.stdout.write("".join(f"{name}\n" for name in error.unknown))
        raise
    return render(found, run_dir, dry_run=arguments.dry_run), DONE


def read_ids(path: str) -> frozenset[str]:
    """Raises InputError that names the line."""
    if path == STDIN:
        return _ids_of_lines("standard input", sys.stdin.buffer)
    if storage.stat(path) is None:
        raise InputError(f"--ids {path}: there is no such file")
    if path.lower().removesuffix(".gz").endswith(TABLE_SUFFIXES):
        ids = set()
        for item in read_table(IDS, path, {}):
            if isinstance(item, Reject):
                raise InputError(f"--ids {path}:{item.line}: {item.detail}")
            ids.add(item[1])
    else:
        with storage.open_file(path) as stream:
            ids = set(_ids_of_lines(path, stream))
    if not ids:
        raise InputError(f"--ids {path}: has no ids")
    return frozenset(ids)


def _ids_of_lines(name: str, lines: Iterable[bytes]) -> frozenset[str]:
    ids = set()
    for number, line in enumerate(lines, 1):
        try:
            text = line.decode("utf-8-sig" if number == 1 else "utf-8").rstrip("\r\n")
            if text.strip():
                ids.add(required_name({"recording_id": text}, "recording_id", MAX_ID_BYTES))
        except UnicodeDecodeError as error:
            raise InputError(f"--ids {name}:{number}: byte {error.start} is not UTF-8") from error
        except RowError as error:
            raise InputError(f"--ids {name}:{number}: {error.detail}") from error
    return frozenset(ids)


def remove(
    run_dir: str,
    ids: frozenset[str],
    *,
    pipeline: RunPipeline,
    lock: LockConfig | None = None,
    suppress_unknown: bool = False,
    dry_run: bool = False,
) -> Found:
    """Remove recordings from a run. Raises UnknownIdsError and InputError before anything is done; LockedError,
    LostLockError, DamagedError."""
    with locked(run_dir, lock) as hold:
        run = RunFolder.read(run_dir)
        found = find(run, ids)
        if found.unknown and not suppress_unknown:
            raise UnknownIdsError(run_dir, len(ids), found.unknown)
        if dry_run:
            return found
        suppress(hold, ids)
        withdraw(run, hold, pipeline)
        publish(run, hold)
        hold.check()
        write_report(run_dir)
        return found


def allow_again(run_dir: str, ids: frozenset[str], *, lock: LockConfig | None = None) -> int:
    """Take ids off the suppression list; how many were on it."""
    with locked(run_dir, lock) as hold:
        RunFolder.read(run_dir)
        suppressed = read_suppression(run_dir)
        known = [name for name in ids if suppressed is not None and name in suppressed]
        if known:
            lift(hold, known)
        return len(known)


def find(run: RunFolder, ids: frozenset[str]) -> Found:
    """What the run has of these recordings."""
    suppressed = read_suppression(run.run_dir) or SuppressionList.new()
    live = {
        recording_id: part.key
        for part, table in live_recordings(run.state)
        for recording_id in table["recording_id"].to_pylist()
        if recording_id in ids
    }
    before = {recording_id for recording_id in ids - live.keys() if recording_id in suppressed}
    missing = ids - live.keys() - before
    elsewhere = missing & set(_named(run.run_dir)) if missing else set()
    had, duplicates = _groups(run, ids)
    return Found(
        live=live,
        before=len(before),
        elsewhere=len(elsewhere),
        unknown=sorted(missing - elsewhere),
        duplicates=duplicates,
        readers=[
            Reader(record=record, surely=record.manifest in had)
            for record in read_reader_records(run.run_dir)
            if had.get(record.manifest, True)
        ],
    )


def _named(run_dir: str) -> Iterator[str]:
    """Ids in the lists of what was not used, or has left."""
    folders = [storage.join(run_dir, layout.PLANS, name) for name in storage.list_folders(f"{run_dir}/{layout.PLANS}")]
    for info in [info for folder in (*folders, layout.audioset_path(run_dir, "")) for info in _lists(folder)]:
        with storage.open_file(info) as stream:
            for line in stream:
                if (recording_id := json.loads(line).get("recording_id")) is not None:
                    yield recording_id


def _lists(folder: str) -> list[str]:
    return [info.path for info in storage.list_folder(folder.rstrip("/")) if info.path.endswith(".jsonl")]


def _groups(run: RunFolder, ids: frozenset[str]) -> tuple[dict[int, bool], list[tuple[str, str]]]:
    """Whether each manifest that is there has a recording of `ids`, and who shares a group with one of them."""
    had: dict[int, bool] = {}
    tables: dict[str, bool] = {}
    others: dict[str, str] = {}
    for number in reversed(run.published.numbers):
        path = read_manifest(run.run_dir, number).groups_path
        if path not in tables:
            groups = {group: name for name, group in _rows(run.run_dir, path) if name in ids}
            tables[path] = bool(groups)
            for name, group in _rows(run.run_dir, path) if groups else ():
                if group in groups and name not in ids:
                    others.setdefault(name, groups[group])
        had[number] = tables[path]
    stay = {
        name
        for _, table in (live_recordings(run.state) if others else ())
        for name in table["recording_id"].to_pylist()
        if name in others
    }
    return had, sorted((name, others[name]) for name in stay)


def _rows(run_dir: str, groups_path: str) -> Iterator[tuple[str, str]]:
    with storage.open_file(storage.join(run_dir, groups_path)) as stream:
        for batch in pq.ParquetFile(stream).iter_batches(columns=["recording_id", "group"]):
            yield from zip(*(column.to_pylist() for column in batch.columns), strict=True)


def read_reader_records(run_dir: str) -> list[ReaderRecord]:
    """The trainings that have left a record in the run folder. Raises InputError where one cannot be read: who needs
    what is then not known."""
    records = []
    for info in storage.list_folder(storage.join(run_dir, READERS)):
        if info.path.endswith(".json"):
            try:
                records.append(ReaderRecord.from_json(storage.parse_json(info.path, storage.read_bytes(info.path))))
            except ValueError as error:
                raise InputError(f"{info.path}: {error}; delete it if that training is over") from error
    return sorted(records, key=lambda record: (record.started, record.id))


def render(found: Found, run_dir: str, *, dry_run: bool) -> str:
    """For the terminal."""
    shards = len(set(found.live.values()))
    lines = [f"{'would remove' if dry_run else 'removed':12} {len(found.live)} recordings from {shards} shards"]
    if found.before:
        lines.append(f"{'before':12} {found.before} recordings were removed by an earlier request")
    if found.elsewhere:
        lines.append(f"{'not mined':12} {found.elsewhere} ids are known from rows that were not used")
    if found.unknown:
        lines.append(f"{'unknown':12} {len(found.unknown)} ids")
        lines += [f"  {name}" for name in found.unknown]
    if found.duplicates:
        lines.append(
            f"{'duplicates':12} {len(found.duplicates)} recordings with this audio or a copy stay; are they meant too?"
        )
        lines += [f"  {name} has the audio of {removed}" for name, removed in found.duplicates]
    for reader in found.readers:
        lines.append(f"{'trained on' if reader.surely else 'maybe trained':12} {describe(reader.record)}")
    if not dry_run:
        lines.append(f"{'next':12} `mulan prune {run_dir}` deletes what older manifests still have of them")
    return "\n".join(lines) + "\n"


def describe(record: ReaderRecord) -> str:
    """One training, for a line."""
    return (
        f"{record.output} ({record.recipe}, manifest {record.manifest}, {record.state}, "
        f"last seen {record.last_seen:%Y-%m-%d %H:%M} UTC)"
    )
