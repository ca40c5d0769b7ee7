"""Withdraw: take every recording of the suppression list out of what is live in a run.

The plan parts that have one are written anew without it, as a generation of their own; the shards of these parts are
written anew from the old ones, so that no catalogue is read, no media fetched and nothing decoded; a new manifest names
them. Each step first looks what is there, so that whoever comes next goes on where this was killed.
"""

import collections
import dataclasses
import json
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import apache_beam as beam
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline import manifest, storage, task_file
from pipeline.build import BuildTask, OfEachTask, Stopwatch, build_shard
from pipeline.mine import RunPipeline, commit_plan, describe_suppression
from pipeline.plan import removed_line, rewrite_parts
from pipeline.run_folder import layout
from pipeline.run_folder.generations import Plan, RunState
from pipeline.run_folder.lock import Hold
from pipeline.run_folder.records import committed_shard, read_part_records
from pipeline.run_folder.suppression import read_suppression
from pipeline.settings import RunRecord, ShardSettings
from pipeline.storage import DamagedError
from pipeline.survey import catalogue_digest, digest_counts
from pipeline.table_steps import Attempt, publish_lines, write_known
from schemas.commit import PartRecord
from schemas.exits import InputError
from schemas.manifest import DetectorEntry, Manifest
from schemas.reasons import Reason
from schemas.suppression import SuppressionList

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class RunFolder:
    """A run as it was found when it was locked."""

    state: RunState
    published: manifest.Published
    settings: ShardSettings
    detector: DetectorEntry

    @classmethod
    def read(cls, run_dir: str) -> "RunFolder":
        """Raises InputError where this is no run that can be changed, DamagedError."""
        value = storage.read_json(path := storage.join(run_dir, layout.RUN))
        published = manifest.Published.read(run_dir)
        if value is None and published.numbers:
            raise InputError(
                f"{run_dir} holds a run without its plan, as `mulan lf-filter score RUN --output` writes it: remove "
                "from the run that was scored, score that one again into a new folder, and delete this one"
            )
        if value is None:
            raise InputError(f"{run_dir}: not the output folder of `mulan mine` (it has no {layout.RUN})")
        settings, detector = RunRecord.from_json(value, path).of_shards(path)
        return cls(state=RunState.read(run_dir), published=published, settings=settings, detector=detector)

    @property
    def run_dir(self) -> str:
        return self.state.run_dir


def withdraw(run: RunFolder, hold: Hold, pipeline: RunPipeline) -> None:
    """Rewrite plan parts and shards; `publish` comes after it. Raises LostLockError."""
    suppressed = read_suppression(run.run_dir)
    if run.state.plans:
        if suppressed:
            _rewrite_plan(run.state, suppressed, hold, pipeline)
        _rewrite_shards(run, hold, pipeline)


def publish(run: RunFolder, hold: Hold) -> Manifest | None:
    """The manifest of what is built; None where the run has none yet. Raises LostLockError."""
    if not run.state.plans:
        return None
    return manifest.finish_so_far(run.state, run.published, run.settings, run.detector, hold)


def live_recordings(state: RunState) -> Iterator[tuple[PartRecord, pa.Table]]:
    """Each live part with its `recording_id` and `row_digest`."""

    def read(part: PartRecord) -> tuple[PartRecord, pa.Table]:
        content = pa.BufferReader(storage.read_bytes(storage.join(state.run_dir, part.file.path)))
        return part, pq.read_table(content, columns=["recording_id", "row_digest"])

    return storage.side_by_side(state.run_dir, read, state.live_parts())


def _rewrite_plan(state: RunState, suppressed: SuppressionList, hold: Hold, pipeline: RunPipeline) -> None:
    """A generation of plan parts without the suppressed recordings, if any live part has one."""
    newest = state.newest
    assert newest is not None
    lines: list[str] = []
    changed: set[str] = set()
    digest: collections.Counter[str] = collections.Counter()
    for part, table in live_recordings(state):
        for recording_id, row_digest in zip(*(column.to_pylist() for column in table.columns), strict=True):
            if recording_id in suppressed:
                value = removed_line(recording_id, part.key, gone=True)
                lines.append(json.dumps(value, sort_keys=True, ensure_ascii=False))
                changed.add(part.key)
            else:
                digest.update(digest_counts(recording_id, row_digest))
    if not lines:
        return
    generation = newest.generation + 1
    attempt = Attempt(run_dir=state.run_dir, generation=generation, name=hold.attempt)
    removed = publish_lines(state.run_dir, generation, "removed-000", sorted(lines))
    storage.failpoint("removed_listed")
    known = write_known(attempt, [part for part in state.live_parts() if part.key in changed])
    assert known is not None
    step = partial(
        rewrite_parts,
        removed=[storage.join(state.run_dir, removed.path)],
        known=known,
        attempt=attempt,
        first_index=0,
    )
    pipeline(f"rewrite {len(changed)} plan parts", step, small=True)
    parts = read_part_records(attempt)
    if {part.replaces for part in parts} != changed:
        raise RuntimeError(f"generation {generation} rewrote {len(parts)} of {len(changed)} parts; run it again")
    storage.failpoint("plan_parts_committed")
    rows = dataclasses.replace(
        newest.rows, kept=max(0, newest.rows.kept - len(lines)), left_out={**newest.rows.left_out}
    )
    rows.leave_out(Reason.REMOVED, len(lines))
    made = Plan(
        generation=generation,
        shards=0,
        recordings=0,
        # As the survey of a catalogue has it that no longer lists them, or lists them as suppressed.
        catalogue_digest=catalogue_digest(digest),
        inputs=newest.inputs | describe_suppression(state.run_dir),
        rows=rows,
        annotations={},
        orphans={},
        removed=len(lines),
        parts=tuple(parts),
        removed_lists=(removed,),
    )
    commit_plan(state, made, hold)


def _rewrite_shards(run: RunFolder, hold: Hold, pipeline: RunPipeline) -> None:
    """Every shard that is not built and whose rows an earlier one has."""
    tasks = []
    for part, record in run.state.committed(run.settings.config_digest):
        donor = None if record is not None else run.state.donor(part, run.settings.config_digest)
        if donor is not None:
            tasks.append(BuildTask(part=part, donor=donor, again=False))
    if tasks:
        with task_file.written(run.run_dir, (task.to_json() for task in tasks)) as path:
            step = partial(rewrite_shards, tasks=path, hold=hold, settings=run.settings)
            pipeline(f"rewrite {len(tasks)} shards", step, small=len(tasks) == 1)


def rewrite_shards(begin: Any, *, tasks: str, hold: Hold, settings: ShardSettings) -> None:
    """Write every shard of a file of tasks anew, from its donor alone."""
    _ = begin | "rewrite" >> OfEachTask(tasks, _RewriteShard(hold, settings))


class _RewriteShard(beam.DoFn):
    def __init__(self, hold: Hold, settings: ShardSettings) -> None:
        self._hold = hold
        self._settings = settings

    def process(self, task: BuildTask) -> Iterator[str]:
        if committed_shard(self._hold.run_dir, task.part, self._settings.config_digest) is None:
            build_shard(self._hold, task, self._settings, _NothingNew())
        yield task.part.key


class _NothingNew:
    """In place of what fetches and decodes: all that a rewritten part has stands in its donor."""

    def __init__(self) -> None:
        self.stopwatch = Stopwatch()

    def make(self, row: dict[str, Any]) -> dict[str, Any]:
        raise DamagedError(
            f"recording {row['recording_id']} is in a plan part and neither in the shard nor among the rejects of the "
            "part that it comes from; `mulan report --verify` says which file is damaged"
        )
