"""Mine: the whole job, in the order in which data flows: survey, plan, build, finish.

Each step first looks for what an earlier attempt has committed, so the same command resumes after any kill, and a
catalogue that has grown or shrunk adds a generation. How a Beam pipeline is run is the caller's business.
"""

import dataclasses
import logging
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

from pipeline import layout, manifest, storage
from pipeline.build import BuildTask, Donor, build, wants_retry
from pipeline.catalogue import COMMENTS, PLAYLISTS
from pipeline.generations import Plan, RunState, forget_parts, read_part_records
from pipeline.lock import locked
from pipeline.memory import give_back_freed
from pipeline.plan import plan, rewrite_parts
from pipeline.progress import watching
from pipeline.report import write_report
from pipeline.settings import GZIP_RATIO, KEEP, REFUSE, TOMBSTONE, InputError, JobSettings, MineConfig, RunFile
from pipeline.survey import catalogue_digest, find_cutoff, survey
from pipeline.tables import Selection
from schemas.accounting import Account, sum_counts
from schemas.commit import PartRecord
from schemas.exclusion import ExclusionList
from schemas.manifest import POINTER_NAME, DetectorEntry
from schemas.reasons import Reason


class RunPipeline(Protocol):
    """Runs a pipeline to its end: what it is for, and a function that adds the steps to the pipeline's beginning.

    `small` says that the work is not worth starting worker processes on this machine for.
    """

    def __call__(self, name: str, steps: Callable[[Any], None], *, small: bool = False) -> None: ...


# Less text than this is joined sooner than a worker process has started.
SMALL_BYTES = 64 << 20

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Mined:
    """What a call of `mine` has come to."""

    report: dict[str, Any]
    plan: Plan
    built: bool


def mine(config: MineConfig, job: JobSettings, *, tokenizer: str, detector: DetectorEntry, run: RunPipeline) -> Mined:
    """Mine a catalogue into `job.output`. `tokenizer` is a serialised TokenCounter, or empty.

    Raises InputError for what the user has to settle, LockedError where another job writes to the folder.
    """
    with locked(job.output):
        _check_settings(config, job.output, detector)
        state = RunState.read(job.output)
        _plan_generation(config, job, state, tokenizer, run)
        newest = state.newest
        assert newest is not None
        give_back_freed()  # a local runner has joined the text in this process
        if not job.dry_run:
            _build_pending(config, job, state, run)
            manifest.finish(state, config, detector)
        return Mined(report=write_report(job.output), plan=newest, built=not job.dry_run)


def _check_settings(config: MineConfig, run_dir: str, detector: DetectorEntry) -> None:
    """A run folder keeps the settings of its first command, since shards of different settings do not mix."""
    path = storage.join(run_dir, layout.RUN)
    fixed = storage.read_json(path)
    if fixed is None:
        if storage.read_json(storage.join(run_dir, POINTER_NAME)) is not None:
            raise InputError(
                f"{run_dir} holds a run without its plan, as `mulan lf-filter score RUN --output` writes it: it can be "
                "read and trained on, not mined into; use another --output, with the --lf_model that you want"
            )
        storage.write_json(
            path,
            {"config": config.to_json(), "config_digest": config.digest(), "detector": dataclasses.asdict(detector)},
        )
        return
    RunFile.from_json(fixed, path)
    if fixed["config_digest"] != config.digest():
        before, now = fixed["config"], config.to_json()
        changes = [f"{name} {before.get(name)!r} → {now[name]!r}" for name in now if before.get(name) != now[name]]
        raise InputError(
            f"{run_dir} was mined with other settings ({'; '.join(changes)}); use those, or another --output"
        )


def _plan_generation(config: MineConfig, job: JobSettings, state: RunState, tokenizer: str, run: RunPipeline) -> None:
    """Plan what the catalogue has that no generation has planned yet, if there is anything."""
    inputs = {
        "catalogue": _describe(job.catalogues),
        "comments": _describe(job.comments),
        "playlists": _describe(job.playlists),
    }
    newest = state.newest
    if newest is not None and newest.inputs == inputs:
        log.info("plan: generation %d is whole", newest.generation)
        return
    generation = len(state.plans) + 1
    text_bytes = _text_bytes(inputs)
    passes = _passes(job, text_bytes)
    run = partial(run, small=text_bytes < SMALL_BYTES)
    totals, cutoff = _survey(config, job, state, generation, passes, run)
    digest = catalogue_digest(totals)
    if newest is not None:
        if newest.catalogue_digest == digest:
            log.info("plan: the catalogue is the same as that of generation %d", newest.generation)
            if any(newest.inputs[kind] != inputs[kind] for kind in (COMMENTS.kind, PLAYLISTS.kind)):
                log.warning(
                    "plan: comments or playlists have changed since generation %d was planned; recordings that are "
                    "mined already keep their text (mine into another --output to join it anew)",
                    newest.generation,
                )
            return
        gone = totals.get("gone", 0)
        if gone and job.on_removed == REFUSE:
            raise InputError(
                f"{gone} recordings of {job.output} are not in this catalogue any more: "
                f"--on_removed={TOMBSTONE} removes them from the run, --on_removed={KEEP} keeps them"
            )
    if not totals.get("recordings"):
        raise InputError(
            f"{', '.join(job.catalogues)}: no row can be used ({totals.get('rows', 0)} read); see "
            f"{layout.table_rejects_path(job.output, generation, 'catalogue')}"
        )
    fresh = totals.get("new", 0) + totals.get("changed", 0)
    shards = -(-fresh // config.rows_per_shard)
    known = state.live_parts()
    removed = totals.get("changed", 0) + (totals.get("gone", 0) if job.on_removed == TOMBSTONE else 0)
    forget_parts(job.output, generation)
    for index in range(passes):
        step = partial(
            plan,
            catalogues=list(job.catalogues),
            comments=list(job.comments),
            playlists=list(job.playlists),
            columns=job.columns,
            selection=Selection(cutoff=cutoff, shards=max(shards, 1), passes=passes, index=index),
            known=known,
            keep_gone=job.on_removed == KEEP,
            run_dir=job.output,
            generation=generation,
            tokenizer=tokenizer,
            text=config.text,
            lf_model=config.lf_model,
            excluded_titles=ExclusionList(title_keys=job.exclude.title_keys),
        )
        run(f"plan {generation}.{index + 1}", step)
    if removed:
        step = partial(
            rewrite_parts,
            removed=[layout.removed_path(job.output, generation, index) for index in range(passes)],
            known=known,
            run_dir=job.output,
            generation=generation,
            first_index=shards,
        )
        run(f"rewrite {generation}", step)
    storage.reached("plan_parts_committed")
    parts = read_part_records(job.output, generation)
    made = Plan(
        generation=generation,
        shards=shards,
        recordings=fresh,
        catalogue_digest=digest,
        inputs=inputs,
        rows=_row_account(totals),
        annotations=_annotations(parts),
        orphans=_orphans(job.output, generation, passes),
        removed=removed,
        parts=tuple(parts),
    )
    planned = sum(part.file.rows for part in parts if part.replaces is None)
    if planned != fresh:
        raise RuntimeError(f"generation {generation} planned {planned} of {fresh} recordings; run the command again")
    storage.write_json(layout.plan_path(job.output, generation), made.to_json())
    storage.reached("plan_committed")
    state.plans.append(made)


def _survey(
    config: MineConfig, job: JobSettings, state: RunState, generation: int, passes: int, run: RunPipeline
) -> tuple[dict[str, int], int | None]:
    """Totals of the catalogue, and the largest hash within --limit."""
    cutoff = None
    paths = list(job.catalogues)
    if config.limit is not None:
        limit, cutoff_path = config.limit, layout.survey_path(job.output, generation, "cutoff")
        run("find limit", partial(find_cutoff, paths=paths, columns=job.columns, limit=limit, path=cutoff_path))
        cutoff = (storage.read_json(cutoff_path) or {})["cutoff"]
    totals = []
    for index in range(passes):
        suffix = f"-{index:03d}" if passes > 1 else ""
        totals_path = layout.survey_path(job.output, generation, f"survey{suffix}")
        step = partial(
            survey,
            paths=paths,
            columns=job.columns,
            selection=Selection(cutoff=cutoff, passes=passes, index=index),
            known=state.live_parts(),
            run_dir=job.output,
            totals_path=totals_path,
            rejects_path=layout.table_rejects_path(job.output, generation, f"catalogue{suffix}"),
        )
        run(f"survey {generation}.{index + 1}", step)
        totals.append(storage.read_json(totals_path) or {})
    storage.reached("survey_written")
    return sum_counts(totals), cutoff


def _build_pending(config: MineConfig, job: JobSettings, state: RunState, run: RunPipeline) -> None:
    """Build what is not committed, and try again what failed for now."""
    tasks = []
    committed = state.committed(config.digest())
    for part, record in committed:
        if record is None:
            tasks.append(BuildTask(part=part, donor=_donor(state, part, config.digest())))
        elif wants_retry(record):
            tasks.append(BuildTask(part=part, donor=Donor.of(record)))
    if not tasks:
        log.info("build: all %d shards are committed", len(committed))
        return
    log.info("build: %d of %d shards", len(tasks), len(committed))
    with watching(state, [task.part for task in tasks], config.digest()):
        step = partial(
            build,
            tasks=tasks,
            run_dir=job.output,
            config=config,
            allow_roots=job.allow_roots,
            fetch=job.fetch,
            exclude=job.exclude,
        )
        run(f"build {len(tasks)} shards", step)


def _donor(state: RunState, part: PartRecord, config_digest: str) -> Donor | None:
    """The shard of the part that this one replaces, if that was built."""
    if part.replaces is None:
        return None
    record = state.shard_record(part.replaces, config_digest)
    return Donor.of(record) if record is not None else None


def _text_bytes(inputs: dict[str, list[list[Any]]]) -> int:
    """Bytes of text in the tables, about."""
    return sum(
        size * (GZIP_RATIO if path.lower().endswith((".gz", ".parquet")) else 1)
        for files in inputs.values()
        for path, size, _ in files
    )


def _passes(job: JobSettings, text_bytes: int) -> int:
    if job.pass_bytes is None:
        return 1
    passes = max(1, -(-text_bytes // job.pass_bytes))
    if passes > 1:
        log.info("plan: about %d MiB of text, taken in %d passes", text_bytes >> 20, passes)
    return passes


def _describe(paths: tuple[str, ...]) -> list[list[Any]]:
    described = []
    for path in paths:
        (metadata,) = storage.match(path)
        described.append([path, metadata.size_in_bytes, metadata.last_updated_in_seconds])
    return described


def _row_account(totals: dict[str, int]) -> Account:
    account = Account(kept=totals.get("recordings", 0))
    for name, count in totals.items():
        if name.startswith("reason:"):
            account.leave_out(Reason.named(name.removeprefix("reason:")), count)
    if account.read != totals.get("rows", 0):
        raise RuntimeError(f"survey does not close: {totals.get('rows', 0)} rows, accounted for {account.read}")
    return account


def _annotations(parts: list[PartRecord]) -> dict[str, Account]:
    accounts: dict[str, Account] = {source: Account() for source in ("sf", "lf", "pl", "aset")}
    for part in parts:
        for source, account in part.annotations.items():
            accounts[source].add(account)
    return accounts


def _orphans(run_dir: str, generation: int, passes: int) -> dict[str, int]:
    names = ["orphans"] if passes == 1 else [f"orphans-{index:03d}" for index in range(passes)]
    return sum_counts(storage.read_json(layout.survey_path(run_dir, generation, name)) or {} for name in names)
