"""Mine: the whole job, in the order in which data flows: survey, plan, build, finish.

Each step first looks for what an earlier attempt has committed, so the same command resumes after any kill, and a
catalogue that has grown or shrunk adds a generation. How a Beam pipeline is run is the caller's business.
"""

import dataclasses
import json
import logging
import tempfile
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

from pipeline import manifest, storage, task_file
from pipeline.build import BuildTask, build
from pipeline.catalogue import CATALOGUE, COMMENTS, PLAYLISTS
from pipeline.duplicates.fingerprints import Joined, fingerprint_run
from pipeline.exchange import Exchange
from pipeline.plan import ORPHANS, plan, rewrite_parts
from pipeline.progress.snapshot import PLAN, SURVEY
from pipeline.progress.watching import Progress, View
from pipeline.report import write_report
from pipeline.run_folder import exclusions, layout
from pipeline.run_folder.generations import NO_PLAN, Plan, RunState
from pipeline.run_folder.lock import Hold, LostLockError, locked
from pipeline.run_folder.records import Donor, read_part_records, wants_retry
from pipeline.run_folder.suppression import suppress, suppression_path
from pipeline.settings import (
    GZIP_RATIO,
    KEEP,
    NONE,
    REFUSE,
    TOMBSTONE,
    JobSettings,
    MineConfig,
    RunRecord,
    ShardSettings,
)
from pipeline.storage import DamagedError
from pipeline.survey import CUTOFF, catalogue_digest, survey
from pipeline.table_steps import Attempt, write_known
from pipeline.workers.memory import give_back_freed
from schemas.accounting import Account
from schemas.commit import PartRecord
from schemas.digest import digest_json
from schemas.exits import InputError
from schemas.manifest import DetectorEntry
from schemas.reasons import Reason
from schemas.sources import SOURCES, TextSource


class RunPipeline(Protocol):
    """Runs a pipeline to its end: what it is for, and a function that adds the steps to the pipeline's beginning.

    `small` says that the work is not worth starting worker processes on this machine for; `view` is told where what is
    done can be seen.
    """

    def __call__(
        self, name: str, steps: Callable[[Any], None], *, small: bool = False, view: View | None = None
    ) -> None: ...


# Table of text → (file, bytes, time of change), as a plan names them.
Inputs = dict[str, list[list[Any]]]

# Less text than this is joined sooner than a worker process has started.
SMALL_BYTES = 64 << 20
# At least so many where there is more: Beam gives each worker as many of them, and of three one would have two.
SHARED_PARTITIONS = 64

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Call:
    """One call of `mine`: what is asked, the run as it was found and is added to, and who does and watches it.

    `tokenizer` is a serialised TokenCounter, or empty.
    """

    config: MineConfig
    job: JobSettings
    tokenizer: str
    state: RunState
    inputs: Inputs
    run: RunPipeline
    hold: Hold
    progress: Progress

    @property
    def asked(self) -> str:
        """The digest of what decides a plan beside the files that it is made of."""
        return digest_json([self.config.digest(), self.job.reading, self.job.on_removed])


@dataclass(frozen=True, kw_only=True)
class Mined:
    """What a call of `mine` has come to."""

    report: dict[str, Any]
    plan: Plan
    built: bool


def mine(
    config: MineConfig,
    job: JobSettings,
    *,
    tokenizer: str,
    detector: DetectorEntry,
    run: RunPipeline,
    prepare: Callable[[], object] | None = None,
    progress: Progress | None = None,
) -> Mined:
    """Mine a catalogue into `job.output`. `tokenizer` is a serialised TokenCounter, or empty; `prepare` is called first
    once the folder is locked, to write there what the job reads.

    Raises InputError for what the user has to settle, DamagedError where a file of the run is not whole, LockedError
    where another job writes to the folder, and LostLockError where another has taken it over.
    """
    with locked(job.output, job.lock) as hold:
        if prepare is not None:
            prepare()
        published = manifest.Published.read(job.output)
        state = RunState.read(job.output)
        _check_whole(job.output, state, published)
        call = Call(
            config=config,
            job=job,
            tokenizer=tokenizer,
            state=state,
            inputs=_inputs(job),
            run=run,
            hold=hold,
            progress=progress or Progress(),
        )
        return _mine(call, published, detector)


def _mine(call: Call, published: manifest.Published, detector: DetectorEntry) -> Mined:
    config, job, state, hold = call.config, call.job, call.state, call.hold
    _settle_dry_run(call)
    settings, detector = _fixed_settings(config, job.output, detector, state, published)
    _plan_generation(call)
    newest = state.newest
    assert newest is not None
    _warn_of_unfiltered(config, state)
    give_back_freed()  # a local runner has joined the text in this process
    if not job.dry_run:
        _build_pending(call, settings)
        call.progress.finishing()
        if job.fingerprint or Joined.read(job.output) is not None:
            built = [record for _, record in state.committed(settings.config_digest) if record is not None]
            fingerprint_run(job.output, built, hold, call.run)
        manifest.finish(state, published, settings, detector, hold)
    hold.check()
    return Mined(report=write_report(job.output), plan=newest, built=not job.dry_run)


def _warn_of_unfiltered(config: MineConfig, state: RunState) -> None:
    """Before hours are spent on a corpus whose sentences are whatever people write under videos."""
    key = TextSource.LF.key
    sentences = sum(plan.annotations[key].kept for plan in state.plans if key in plan.annotations)
    if config.lf_model == NONE and sentences:
        log.warning(
            "no --lf_model: %s sentences are kept and trained on unfiltered, spam included; `mulan lf-filter fit` "
            "makes a model (docs/long-form-filter.md)",
            f"{sentences:,}",
        )


def _inputs(job: JobSettings) -> Inputs:
    tables = {"catalogue": job.catalogues, "comments": job.comments, "playlists": job.playlists}
    return {name: describe(paths) for name, paths in tables.items()} | describe_suppression(job.output)


def _check_whole(run_dir: str, state: RunState, published: manifest.Published) -> None:
    """Raises DamagedError where settings or a plan are gone, InputError where there never were any."""
    path = storage.join(run_dir, layout.RUN)
    planned = len(state.plans)
    built = max((shard.generation for shard in published.newest.shards), default=0) if published.newest else 0
    if not storage.exists(path):
        if planned:
            raise DamagedError(f"{path} is gone, although the run has plans; restore it from a copy")
        if published.numbers:
            raise InputError(
                f"{run_dir} holds a run without its plan, as `mulan lf-filter score RUN --output` writes it: it can be "
                "read and trained on, not mined into; use another --output, with the --lf_model that you want"
            )
    elif built > planned:
        raise DamagedError(
            f"{layout.plan_path(run_dir, built)} is gone, although the manifest has its shards; restore it from a copy"
        )


def _settle_dry_run(call: Call) -> None:
    """The plan that a dry run has left is gone on from by the same command alone, and else given up.

    By that of a dry run itself it stays a dry run's. One that removes recordings is given up as well: only a job that
    builds may put them on the list of those that do not come back.
    """
    state = call.state
    newest = state.newest
    if newest is None or not newest.dry_run:
        return
    same = newest.dry_run == call.asked and newest.inputs == call.inputs
    if same and call.job.dry_run:
        return
    adopted = dataclasses.replace(newest, dry_run="") if same and not newest.removed else None
    path = layout.plan_path(state.run_dir, newest.generation)
    content = storage.json_bytes(adopted.to_json()) if adopted else NO_PLAN
    call.hold.check()
    storage.failpoint("dry_run_checked")
    found = storage.read_version(path)
    if found is None or found[0] != storage.json_bytes(newest.to_json()) or not storage.swap(path, content, found[1]):
        raise LostLockError(f"{path} was written by another job meanwhile; this job stops")
    storage.failpoint("dry_run_settled")
    state.plans[-1:] = [adopted] if adopted else []


def _fixed_settings(
    config: MineConfig, run_dir: str, detector: DetectorEntry, state: RunState, published: manifest.Published
) -> tuple[ShardSettings, DetectorEntry]:
    """A run folder keeps the settings of its first command that was no dry run, since shards of different settings do
    not mix. Raises InputError where this command has others."""
    path = storage.join(run_dir, layout.RUN)
    made = RunRecord(config=config.to_json(), config_digest=config.digest(), detector=dataclasses.asdict(detector))
    content = storage.json_bytes(dataclasses.asdict(made))
    found = storage.read_version(path)
    if found is None:
        written = storage.create(path, content)
    else:
        fixed = RunRecord.from_json(storage.parse_json(path, found[0]), path)
        changes = config.differences(fixed.config)
        if not changes:
            return fixed.of_shards(path)
        if state.plans or published.numbers:
            said = "; ".join(f"{name} {before!r} → {now!r}" for name, (before, now) in changes.items())
            advice = _advice(changes, fixed.detector, detector)
            raise InputError(f"{run_dir} was mined with other settings ({said}); {advice}, or another --output")
        written = storage.swap(path, content, found[1])
    if written is None:
        raise LostLockError(f"{path} was written by another job meanwhile; this job stops")
    return made.of_shards(path)


def _advice(changes: Collection[str], recorded: Mapping[str, Any], detector: DetectorEntry) -> str:
    """How to go on in a run that has other settings."""
    of_detector = {"detector_digest", "versions.detector"}.issuperset(changes)
    hop_s = recorded.get("hop_s", detector.hop_s)
    if of_detector and recorded.get("name") == detector.name and hop_s != detector.hop_s:
        return f"give --music_hop {hop_s:g}"
    of_code = any(name.startswith("versions.") for name in changes)
    return "use the openmulan that it was mined with" if of_code else "use those"


def _plan_generation(call: Call) -> None:
    """Plan what the catalogue has that no generation has planned yet, if there is anything."""
    job, newest = call.job, call.state.newest
    if newest is not None and newest.inputs == call.inputs:
        if newest.reading not in (None, job.reading):
            raise InputError(
                f"{job.output}: these tables were read by {newest.reading or 'no --map and no --tags_separator'} when "
                "they were planned; use the same, or another --output"
            )
        log.info("plan: generation %d is whole", newest.generation)
        return
    text_bytes = _text_bytes(call.inputs)
    attempt = Attempt(run_dir=job.output, generation=len(call.state.plans) + 1, name=call.hold.attempt)
    call = dataclasses.replace(call, run=partial(call.run, small=text_bytes < SMALL_BYTES))
    with _exchange(job, attempt, text_bytes) as exchange, exclusions.written(job.output, job.exclude) as exclude:
        _plan_attempt(call, attempt, exchange, exclude)


def _plan_attempt(call: Call, attempt: Attempt, exchange: Exchange, exclude: str) -> None:
    config, job, state, inputs = call.config, call.job, call.state, call.inputs
    newest, generation = state.newest, attempt.generation
    known = write_known(attempt, state.live_parts())
    tokenizer_path = attempt.tokenizer_path if call.tokenizer else ""
    if call.tokenizer:
        storage.write_bytes(tokenizer_path, call.tokenizer.encode())
    totals, cutoff = _survey(call, known, attempt, exchange)
    digest = catalogue_digest(totals)
    if newest is not None:
        # Rows of removed recordings are no part of the digest, and yet have to be accounted for.
        removed_rows = totals.get(f"reason:{Reason.REMOVED}", 0)
        if newest.catalogue_digest == digest and removed_rows == newest.rows.left_out.get(Reason.REMOVED, 0):
            log.info("plan: the catalogue is the same as that of generation %d", newest.generation)
            if any(newest.inputs[kind] != inputs[kind] for kind in (COMMENTS.kind, PLAYLISTS.kind)):
                log.warning(
                    "plan: comments or playlists have changed since generation %d was planned; recordings that are "
                    "mined already keep their text (mine into another --output to join it anew)",
                    newest.generation,
                )
            return
        gone = totals.get("gone", 0)
        unreadable = totals.get(f"reason:{Reason.UNREADABLE_FILE}", 0)
        if gone and unreadable and job.on_removed == TOMBSTONE:
            raise InputError(
                f"{unreadable} files of the catalogue could not be read to their end, and {gone} recordings of "
                f"{job.output} are not in what was read: nothing is removed; mend the files, see "
                + ", ".join(storage.join(job.output, entry.path) for entry in attempt.lines("rejects-catalogue"))
            )
        if gone and job.on_removed == REFUSE:
            raise InputError(
                f"{gone} recordings of {job.output} are not in this catalogue any more: "
                f"--on_removed={TOMBSTONE} removes them from the run, --on_removed={KEEP} keeps them"
            )
    if not totals.get("recordings"):
        raise InputError(_no_row(job, attempt, totals.get("rows", 0)))
    fresh = totals.get("new", 0) + totals.get("changed", 0)
    shards = -(-fresh // config.rows_per_shard)
    removed = totals.get("changed", 0) + totals.get("removed", 0)
    if job.on_removed == TOMBSTONE:
        removed += totals.get("gone", 0)
    step = partial(
        plan,
        catalogues=list(job.catalogues),
        comments=list(job.comments),
        playlists=list(job.playlists),
        columns=job.columns,
        tags_separator=job.tags_separator,
        cutoff=cutoff,
        shards=max(shards, 1),
        known=known,
        keep_gone=job.on_removed == KEEP,
        attempt=attempt,
        exchange=exchange,
        tokenizer=tokenizer_path,
        text=config.text,
        lf_model=config.lf_model,
        exclude=exclude,
    )
    # What an exchange keeps of the catalogue is not read again.
    read = (COMMENTS.kind, PLAYLISTS.kind, *((CATALOGUE.kind,) if exchange.folder is None else ()))
    with call.progress.reading(PLAN, _table_bytes(inputs, *read), fresh) as view:
        call.run(f"plan: text of the recordings, joined (generation {generation})", step, view=view)
    if removed and known is not None:
        step = partial(
            rewrite_parts,
            removed=[storage.join(job.output, entry.path) for entry in attempt.lines("removed-")],
            known=known,
            attempt=attempt,
            first_index=shards,
        )
        call.run(f"rewrite of plan parts without what is removed, generation {generation}", step)
        if not job.dry_run:
            suppress(call.hold, _gone(job.output, attempt))
    storage.failpoint("plan_parts_committed")
    parts = read_part_records(attempt)
    made = Plan(
        generation=generation,
        shards=shards,
        recordings=fresh,
        catalogue_digest=digest,
        inputs=inputs | describe_suppression(job.output),
        rows=_row_account(totals),
        annotations=_annotations(parts),
        orphans=storage.read_json(attempt.totals_path(ORPHANS)) or {},
        removed=removed,
        parts=tuple(parts),
        rejects=attempt.lines("rejects-"),
        removed_lists=attempt.lines("removed-"),
        reading=job.reading,
        dry_run=call.asked if job.dry_run else "",
    )
    planned = sum(part.file.rows for part in parts if part.replaces is None)
    if planned != fresh:
        raise RuntimeError(f"generation {generation} planned {planned} of {fresh} recordings; run the command again")
    commit_plan(state, made, call.hold)


def _no_row(job: JobSettings, attempt: Attempt, rows: int) -> str:
    """Why there is nothing to mine: in the first row of the first file, which most of the others share."""
    tables = ", ".join(job.catalogues[:3]) + (f" and {more} more" if (more := len(job.catalogues) - 3) > 0 else "")
    lists = [storage.join(job.output, entry.path) for entry in attempt.lines("rejects-catalogue")]
    first = min((reject for path in lists for reject in _rejects(path)), default=None)
    if first is None:
        return f"{tables}: no row can be used ({rows} read)"
    (file, line), reason, detail = first
    return f"{tables}: no row can be used ({rows} read); the first: {file}:{line}: {reason}: {detail}; see {lists[0]}"


def _rejects(path: str) -> Iterator[tuple[tuple[str, int], str, str]]:
    with storage.open_file(path) as stream:
        for content in stream:
            value = json.loads(content)
            yield (value["file"], value["line"]), value["reason"], value["detail"]


def commit_plan(state: RunState, made: Plan, hold: Hold) -> None:
    """Raises LostLockError."""
    hold.check()
    storage.failpoint("plan_checked")
    path, content = layout.plan_path(state.run_dir, made.generation), storage.json_bytes(made.to_json())
    found = storage.read_version(path)
    is_free = found is not None and found[0] == NO_PLAN
    if (storage.swap(path, content, found[1]) if found and is_free else storage.create(path, content)) is None:
        raise LostLockError(f"{path} was written by another job meanwhile; this job stops")
    storage.failpoint("plan_committed")
    state.plans.append(made)


def _gone(run_dir: str, attempt: Attempt) -> Iterator[str]:
    """Recordings of earlier generations that this one removes; what was removed once does not come back unasked."""
    for entry in attempt.lines("removed-"):
        for line in storage.read_bytes(storage.join(run_dir, entry.path)).splitlines():
            value = json.loads(line)
            if value["gone"]:
                yield value["recording_id"]


def _survey(call: Call, known: str | None, attempt: Attempt, exchange: Exchange) -> tuple[dict[str, int], int | None]:
    """Totals of the catalogue, and the largest hash within --limit."""
    step = partial(
        survey,
        paths=list(call.job.catalogues),
        columns=call.job.columns,
        tags_separator=call.job.tags_separator,
        limit=call.config.limit,
        known=known,
        attempt=attempt,
        exchange=exchange,
    )
    with call.progress.reading(SURVEY, _table_bytes(call.inputs, CATALOGUE.kind)) as view:
        call.run(f"survey of the catalogue (generation {attempt.generation})", step, view=view)
    storage.failpoint("survey_written")
    totals = storage.read_json(attempt.totals_path("survey")) or {}
    return totals, (storage.read_json(attempt.totals_path(CUTOFF)) or {})[CUTOFF]


def _build_pending(call: Call, settings: ShardSettings) -> None:
    """Build what is not committed, and try again what failed for now."""
    job, state = call.job, call.state
    tasks = []
    committed = state.committed(settings.config_digest)
    for part, record in committed:
        if record is None:
            tasks.append(BuildTask(part=part, donor=state.donor(part, settings.config_digest)))
        elif wants_retry(record):
            tasks.append(BuildTask(part=part, donor=Donor.of(record)))
    _check_parts(job.output, [task.part for task in tasks])
    with call.progress.building(job.output, committed, settings.config_digest) as view:
        if not tasks:
            log.info("build: all %d shards are committed", len(committed))
            return
        log.info("build: %d of %d shards", len(tasks), len(committed))
        with (
            task_file.written(job.output, (task.to_json() for task in tasks)) as path,
            exclusions.written(job.output, job.exclude) as exclude,
        ):
            step = partial(
                build,
                tasks=path,
                hold=call.hold,
                config=call.config,
                shards=settings,
                allow_roots=job.allow_roots,
                fetch=job.fetch,
                exclude=exclude,
            )
            call.run(f"build {len(tasks)} shards", step, view=view)


def _check_parts(run_dir: str, parts: list[PartRecord]) -> None:
    """That the plan parts are there, before any worker is sent to them. Raises DamagedError."""
    sizes: dict[str, int] = {}
    for generation in sorted({part.generation for part in parts}):
        files = storage.list_folder(layout.plan_dir(run_dir, generation))
        sizes.update((info.path, info.size) for info in files)
    for part in parts:
        path = storage.join(run_dir, part.file.path)
        if sizes.get(path) != part.file.bytes:
            state = "is gone" if path not in sizes else f"has {sizes[path]} bytes instead of {part.file.bytes}"
            raise DamagedError(f"{path} {state}; restore it from a copy, or mine into another --output")


def _table_bytes(inputs: Inputs, *kinds: str) -> int:
    """Of the files of these tables, or of all."""
    return sum(size for kind in kinds or (CATALOGUE.kind, COMMENTS.kind, PLAYLISTS.kind) for _, size, _ in inputs[kind])


def _text_bytes(inputs: dict[str, list[list[Any]]]) -> int:
    """Bytes of text in the tables, about."""
    return sum(
        size * (GZIP_RATIO if path.lower().endswith((".gz", ".parquet")) else 1)
        for files in inputs.values()
        for path, size, _ in files
    )


@contextmanager
def _exchange(job: JobSettings, attempt: Attempt, text_bytes: int) -> Iterator[Exchange]:
    """Where the text of a recording meets. On this machine in files, beside what else the attempt writes or, where the
    run lies elsewhere, among what is temporary; they go with the attempt, those of killed ones with the next."""
    if job.pass_bytes is None:
        yield Exchange()
        return
    name = storage.name_of(attempt.folder)
    is_local = storage.is_local(job.output)
    folder = storage.join(attempt.folder if is_local else tempfile.gettempdir(), layout.EXCHANGE)
    plan_dir = layout.plan_dir(job.output, attempt.generation)
    if is_local:
        for other in storage.list_folders(plan_dir):
            if layout.ATTEMPT_NAME.fullmatch(other) and other != name:
                storage.delete_folder(storage.join(plan_dir, other, layout.EXCHANGE))
    try:
        fewest = 1 if text_bytes < SMALL_BYTES else SHARED_PARTITIONS
        yield Exchange(folder=folder, partitions=max(fewest, -(-text_bytes // job.pass_bytes)))
    finally:
        storage.delete_folder(folder)


def describe(paths: tuple[str, ...]) -> list[list[Any]]:
    """What tells at a look whether input files have changed. Raises InputError where one is gone."""
    described = []
    for path in paths:
        info = storage.stat(path)
        if info is None:
            raise InputError(f"{path}: there is no such file any more")
        described.append([path, info.size, info.modified_s])
    return described


def describe_suppression(run_dir: str) -> dict[str, list[list[Any]]]:
    """The suppression list as one of a plan's inputs, once there is one."""
    path = suppression_path(run_dir)
    return {"suppressed": describe((path,))} if storage.exists(path) else {}


def _row_account(totals: dict[str, int]) -> Account:
    account = Account(kept=totals.get("recordings", 0))
    for name, count in totals.items():
        if name.startswith("reason:"):
            account.leave_out(Reason.named(name.removeprefix("reason:")), count)
    if account.read != totals.get("rows", 0):
        raise RuntimeError(f"survey does not close: {totals.get('rows', 0)} rows, accounted for {account.read}")
    return account


def _annotations(parts: list[PartRecord]) -> dict[str, Account]:
    accounts: dict[str, Account] = {source.key: Account() for source in SOURCES}
    for part in parts:
        for source, account in part.annotations.items():
            accounts[source].add(account)
    return accounts
