"""Verify: every committed file of a run, read to its end and compared with what names it.

A resumed job looks at sizes alone, since reading everything would take as long as mining did; what a disk has changed
under a file of the right size is found here. `mulan report DIR --verify` prints a line for each bad file: what is wrong
with it, and how it comes back.
"""

import json
import logging
import re
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from tqdm import tqdm

from pipeline import storage
from pipeline.duplicates.fingerprints import Joined, Made
from pipeline.run_folder import layout
from pipeline.run_folder.generations import RunState
from pipeline.shard_file import open_shard
from pipeline.storage import DamagedError
from schemas.commit import FileEntry, ShardRecord
from schemas.exits import DONE, FAILURES
from schemas.manifest import POINTER_NAME, Manifest
from schemas.one_line import one_line
from schemas.shard_format import LIGHT_COLUMNS, sidecars

LINE_EVERY_S = 30.0
_GROUPS_NAME = re.compile(r"groups-(?P<sha256>[0-9a-f]+)\.parquet")
# How a bad file comes back.
BUILT_AGAIN = "delete it and run the same `mulan mine` again, which builds it anew"
WRITTEN_AGAIN = "delete it and run the same `mulan mine` again, which writes it anew"
FINGERPRINTED_AGAIN = "delete it and run the same `mulan mine` with --fingerprint, which makes it anew"
FROM_A_COPY = "bring it back from a copy; it cannot be made again"
PLANNED_ONCE = "bring it back from a copy, or mine into another --output: a plan is made once"

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Named:
    """A file that the run names. `sha256` may be its beginning; `bytes` is None where nothing says how many."""

    path: str
    sha256: str
    bytes: int | None
    advice: str


@dataclass(frozen=True, kw_only=True)
class Damage:
    path: str
    what: str
    advice: str

    def __str__(self) -> str:
        return f"{self.path}: {self.what}; {self.advice}"


def report_damage(run_dir: str) -> int:
    """Print what is damaged. Exit code 0 where nothing is, 1 otherwise.

    Raises FileNotFoundError where there is no run, InputError where it is not one that this openmulan reads.
    """
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    found, named = verify(run_dir)
    for damage in found:
        sys.stdout.write(f"{damage}\n")
    bad = len(found)
    with _progress(named) as step:
        for file in named:
            for damage in check_file(run_dir, file):
                bad += 1
                sys.stdout.write(f"{damage}\n")
                sys.stdout.flush()
            step(file)
    size = sum(file.bytes or 0 for file in named)
    verdict = f"{bad} damaged" if bad else "all as their records say"
    sys.stdout.write(f"{len(named)} files, {size / 1e6:,.1f} MB: {verdict}\n")
    return FAILURES if bad else DONE


def verify(run_dir: str) -> tuple[list[Damage], list[Named]]:
    """What is wrong with the small files that name others, and all that is named, by path."""
    damage: list[Damage] = []
    named: dict[str, Named] = {}

    def name(entry: FileEntry, advice: str) -> None:
        named.setdefault(entry.path, Named(path=entry.path, sha256=entry.sha256, bytes=entry.bytes, advice=advice))

    state = RunState.read(run_dir)
    live = {part.key for part in state.live_parts()}
    for part in (part for plan in state.plans for part in plan.parts):
        # `mulan prune` deletes those that are replaced.
        if part.key in live or storage.exists(storage.join(run_dir, part.file.path)):
            name(part.file, PLANNED_ONCE)
        path = layout.shard_commit_path(run_dir, part.key)
        relative = path.removeprefix(f"{run_dir}/")
        if part.key not in live or not storage.exists(path):
            continue  # replaced, so that older manifests alone name its shard; or not built yet
        try:
            record = ShardRecord.from_json(storage.read_json(path) or {})
        except (DamagedError, KeyError, TypeError, ValueError) as error:
            damage.append(Damage(path=relative, what=f"is no whole record ({error})", advice=BUILT_AGAIN))
            continue
        if record.part_sha256 != part.file.sha256:
            damage.append(Damage(path=relative, what="is of another plan part", advice=BUILT_AGAIN))
        made = Made.read(run_dir, record)
        for entry in (record.shard, record.rejects):
            if entry is not None:
                name(entry, BUILT_AGAIN)
        if made is not None:
            name(made.file, FINGERPRINTED_AGAIN)
    try:
        joined = Joined.read(run_dir)
    except DamagedError as error:
        path = layout.joined_path(run_dir).removeprefix(f"{run_dir}/")
        damage.append(Damage(path=path, what=f"is no whole record ({error})", advice=FINGERPRINTED_AGAIN))
    else:
        for entry in joined.pairs if joined is not None else ():
            name(entry, FINGERPRINTED_AGAIN)
    for entry in (entry for plan in state.plans for entry in (*plan.rejects, *plan.removed_lists)):
        name(entry, PLANNED_ONCE)
    manifests = _manifests(run_dir)
    if not state.plans and not manifests:
        raise FileNotFoundError(f"{run_dir}: not the output folder of `mulan mine` (it has neither plan nor manifest)")
    try:
        pointer = storage.read_json(layout.pointer_path(run_dir))
    except DamagedError:
        pointer = None
    if manifests and (pointer is None or pointer.get("manifest") not in manifests):
        what = "is gone or not whole" if pointer is None else f"names {pointer.get('manifest')}, which is not here"
        damage.append(Damage(path=POINTER_NAME, what=what, advice=WRITTEN_AGAIN))
    for number in sorted(manifests):
        try:
            manifest = Manifest.from_json(storage.read_json(storage.join(run_dir, number)) or {})
        except (DamagedError, KeyError, TypeError, ValueError) as error:
            damage.append(Damage(path=number, what=f"is no whole manifest ({error})", advice=FROM_A_COPY))
            continue
        is_newest = number == max(manifests)
        for shard in manifest.shards:
            known = named.get(shard.path)
            if known is not None and (known.sha256, known.bytes) != (shard.sha256, shard.bytes):
                damage.append(Damage(path=number, what=f"differs from the record of {shard.path}", advice=FROM_A_COPY))
            entry = FileEntry(path=shard.path, sha256=shard.sha256, bytes=shard.bytes, rows=shard.rows)
            name(entry, BUILT_AGAIN if is_newest and state.plans else FROM_A_COPY)
        groups = _GROUPS_NAME.fullmatch(manifest.groups_path)
        named.setdefault(
            manifest.groups_path,
            Named(
                path=manifest.groups_path,
                sha256=groups["sha256"] if groups else "",
                bytes=None,
                advice=WRITTEN_AGAIN if is_newest and state.plans else FROM_A_COPY,
            ),
        )
        damage += _bad_tombstones(run_dir, manifest)
    return damage, sorted(named.values(), key=lambda file: file.path)


def check_file(run_dir: str, file: Named) -> Iterator[Damage]:
    """What is wrong with one file and with what it cannot be read without."""
    path = storage.join(run_dir, file.path)
    what = _difference(path, file)
    if what is not None:
        yield Damage(path=file.path, what=what, advice=file.advice)
        return
    for beside in sidecars(file.path):
        if (what := _sidecar_difference(run_dir, file.path, beside)) is not None:
            yield Damage(path=beside, what=what, advice=file.advice)


def _difference(path: str, file: Named) -> str | None:
    info = storage.stat(path)
    if info is None:
        return "is gone"
    if file.bytes is not None and info.size != file.bytes:
        return f"has {info.size} bytes instead of {file.bytes}"
    with storage.open_file(path) as stream:
        is_same = storage.sha256_of(stream).startswith(file.sha256)
    return None if is_same else "its content has changed (sha256)"


def _sidecar_difference(run_dir: str, shard_path: str, path: str) -> str | None:
    """A sidecar has no hash of its own: what is read with its help must be what the records of its shard say."""
    if not storage.exists(storage.join(run_dir, path)):
        return "is gone"
    try:
        shard = open_shard(run_dir, shard_path)
        for group in range(len(shard.groups())):
            if not shard.read(group).select(list(LIGHT_COLUMNS)).equals(shard.read(group, LIGHT_COLUMNS)):
                return "differs from the records of its shard"
    except Exception as error:
        return f"cannot be read or does not fit its shard ({one_line(error)})"
    return None


def _manifests(run_dir: str) -> set[str]:
    """Names of the manifests that are here."""
    names = {storage.name_of(info.path) for info in storage.list_folder(run_dir)}
    return {name for name in names if layout.MANIFEST_NAME.fullmatch(name)}


def _bad_tombstones(run_dir: str, manifest: Manifest) -> Iterator[Damage]:
    for path in manifest.tombstones:
        if not storage.exists(storage.join(run_dir, path)):
            yield Damage(path=path, what="is gone", advice=FROM_A_COPY)
            continue
        try:
            for line in storage.read_bytes(storage.join(run_dir, path)).splitlines():
                json.loads(line)["recording_id"]
        except (ValueError, KeyError, TypeError):
            yield Damage(path=path, what="is not whole", advice=FROM_A_COPY)


class _Step:
    def __init__(self, bar: "tqdm[Any]", files: int) -> None:
        self._bar, self._files = bar, files
        self._done = 0
        self._last_line = time.monotonic()

    def __call__(self, file: Named) -> None:
        self._done += 1
        self._bar.update(file.bytes or 0)
        if self._bar.disable and time.monotonic() - self._last_line >= LINE_EVERY_S:
            self._last_line = time.monotonic()
            log.info("verify: %d of %d files", self._done, self._files)


@contextmanager
def _progress(named: list[Named]) -> Iterator[_Step]:
    """A bar on a terminal, a plain line now and then elsewhere."""
    total = sum(file.bytes or 0 for file in named)
    bar: tqdm[Any]
    with tqdm(
        total=total, unit="B", unit_scale=True, desc="verify", disable=not sys.stderr.isatty(), file=sys.stderr
    ) as bar:
        yield _Step(bar, len(named))
