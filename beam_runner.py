"""`mulan mine`: catalogue to shards, manifest and report.

    mulan mine --catalog 'data/*.jsonl' --output runs/one
    python beam_runner.py --catalog 'data/*.jsonl' --output runs/one --direct_num_workers 2
    mulan mine --catalog gs://bucket/catalogue.parquet --output gs://bucket/run --runner DataflowRunner --project …

The front door of the mining job: arguments in, exit code out. Run the same command again and it resumes. Any option of
Beam and of its runners can be given beside these; one that nobody knows is an error.
"""

import argparse
import atexit
import contextlib
import json
import logging
import os
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filters.long_form.language import check_languages
from filters.long_form.scorer import describe_scorer
from filters.music.detector import BUILTIN, TFHUB_YAMNET, DetectorError, MusicGateConfig, load_detector
from filters.short_form.rules import RULES_DIGEST
from filters.tokens import DEFAULT_TOKENIZER, NO_TOKENIZER, load_tokenizer
from pipeline.media.clip import DecodeConfig, ShortPolicy
from pipeline.media.fetching.config import FetchConfig, YouTubeConfig
from pipeline.settings import (
    DEFAULT_PASS_BYTES,
    KEEP,
    NONE,
    REFUSE,
    TOMBSTONE,
    InputError,
    JobSettings,
    LockConfig,
    MineConfig,
    TextConfig,
)
from pipeline.workers.watch import Watch, WorkerLostError, hush, job_folder, readers_hushed
from pipeline.workers.worker import HOOK, HOOK_NAME, JOB_FOLDER
from schemas.digest import digest_json
from schemas.exclusion import ExclusionList, read_exclusions
from schemas.exits import BAD_INPUT, DONE, FAILURES, INTERRUPTED, check_output, fault, leave
from schemas.manifest import DetectorEntry
from schemas.shard import AudioEncoding
from schemas.shard_reader import FORMATS, PARQUET
from schemas.signals import held_back
from schemas.sources import SOURCES

if TYPE_CHECKING:
    from pipeline.mine import Mined

# Named in full, since the short name `DirectRunner` may pick, and try to download, another one.
LOCAL_RUNNER = "FnApiRunner"
# As Beam reads them: in any case, the word "runner" left out or not.
LOCAL_RUNNERS = ("fnapi", "direct", "bundlebaseddirect", "switchingdirect")
# Loggers of Beam that tell at length, and several times over, of an exception which the launcher gets in the end.
SAID_AT_THE_END = (
    "apache_beam.runners.common",
    "apache_beam.runners.portability.local_job_service",
    "apache_beam.runners.worker.sdk_worker",
)

log = logging.getLogger("mulan.mine")


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(
        prog="mulan mine",
        description="Mine a catalogue of recordings into shards. Run the same command again and it resumes.",
        epilog="Options of Beam (--runner, --direct_num_workers, --project …) can be given as well; "
        "`--runner` without anything else is a local run in this process.",
        allow_abbrev=False,
    )
    gate, decode = MusicGateConfig(), DecodeConfig()
    data = made.add_argument_group("what to read and where to write")
    data.add_argument("--catalog", action="append", default=[], metavar="GLOB", help="recordings; may be repeated")
    data.add_argument("--output", required=True, metavar="DIR", help="run folder, local or in an object store")
    data.add_argument("--comments", action="append", default=[], metavar="GLOB", help="table recording_id, text")
    data.add_argument(
        "--playlists", action="append", default=[], metavar="GLOB", help="table playlist_id, title, recording_ids"
    )
    data.add_argument(
        "--map",
        action="append",
        default=[],
        metavar="FIELD=COLUMN",
        help="where a column has another name; comments.FIELD= and playlists.FIELD= for the side tables",
    )
    data.add_argument(
        "--exclude",
        action="append",
        default=[],
        metavar="FILE",
        help="what evaluation sets have (`mulan evaluate --write_exclude`): its recordings and titles are left out",
    )
    data.add_argument("--limit", type=int, metavar="N", help="only N recordings, those with the smallest hashes")
    data.add_argument(
        "--allow_root", action="append", default=[], metavar="DIR", help="absolute audio paths under DIR may be read"
    )
    data.add_argument(
        "--on_removed",
        choices=(REFUSE, TOMBSTONE, KEEP),
        default=REFUSE,
        help="what to do with recordings of the run that the catalogue no longer has (default: %(default)s)",
    )
    _add_audioset_options(made)
    _add_fetch_options(made)
    shards = made.add_argument_group("what the shards hold (fixed by the first command of a run)")
    shards.add_argument(
        "--rows_per_shard", type=int, default=MineConfig().rows_per_shard, metavar="N", help="default: %(default)s"
    )
    shards.add_argument("--format", choices=FORMATS, default=PARQUET, help="default: %(default)s")
    shards.add_argument(
        "--audio", choices=[str(encoding) for encoding in AudioEncoding], default="flac", help="default: %(default)s"
    )
    shards.add_argument(
        "--short_policy",
        choices=[str(policy) for policy in ShortPolicy],
        default=str(decode.short_policy),
        help="recordings that end before their clip does: drop, cut from the end, or pad (default: %(default)s)",
    )
    shards.add_argument(
        "--music_detector",
        default=BUILTIN,
        metavar="D",
        help=f"builtin (demo-grade), FILE.tflite, SAVEDMODEL_DIR or a TF-Hub handle (YAMNet's: {TFHUB_YAMNET}; "
        "default: %(default)s)",
    )
    shards.add_argument("--music_threshold", type=float, default=gate.threshold, help="default: %(default)s")
    shards.add_argument("--min_music_fraction", type=float, default=gate.min_fraction, help="default: %(default)s")
    shards.add_argument(
        "--lf_model",
        default=NONE,
        metavar="DIR",
        help="sentence classifier of `mulan lf-filter fit`, or none: sentences stay unscored (default: %(default)s)",
    )
    shards.add_argument(
        "--tokenizer",
        default=DEFAULT_TOKENIZER,
        metavar="T",
        help=f"what Table 2 counts with: a name on the hub, a vocab.txt or tokenizer.json, or {NO_TOKENIZER} "
        "(default: %(default)s)",
    )
    for source in SOURCES:
        if source.cap is not None:
            shards.add_argument(
                f"--{source.cap_name}",
                type=int,
                default=source.cap,
                help=f"{source.texts} a recording (default: %(default)s)",
            )
    shards.add_argument(
        "--lf_languages",
        type=lambda codes: tuple(sorted(set(codes.split(",")))),
        default=(),
        metavar="en,de",
        help="leave out sentences that are surely in another language (default: keep all)",
    )
    limits = made.add_argument_group("how the job goes about it")
    limits.add_argument("--dry_run", action="store_true", help="plan only: print shards, bytes and estimated work")
    limits.add_argument(
        "--max_failure_rate",
        type=float,
        default=0.05,
        metavar="R",
        help="exit with 1 above this (default: %(default)s)",
    )
    limits.add_argument(
        "--pass_bytes",
        type=int,
        default=DEFAULT_PASS_BYTES,
        metavar="N",
        help="local runner: text that one pass of the plan may hold (default: %(default)s)",
    )
    add_lock_options(limits)
    limits.add_argument("--quiet", action="store_true", help="warnings and the report only")
    return made


def add_lock_options(group: argparse._ActionsContainer) -> None:
    lock = LockConfig()
    group.add_argument(
        "--take_over", action="store_true", help="take the run folder from a job that you know to be dead"
    )
    group.add_argument(
        "--lock_lease_s",
        type=float,
        default=lock.lease_s,
        metavar="S",
        help="a job that gave no sign of life for so long has lost its run folder (default: %(default)g)",
    )
    group.add_argument(
        "--lock_renew_s", type=float, default=lock.renew_s, metavar="S", help="between two signs (default: %(default)g)"
    )


def _add_audioset_options(made: argparse.ArgumentParser) -> None:
    group = made.add_argument_group("AudioSet in place of --catalog, in a run folder of its own (see docs/audioset.md)")
    group.add_argument("--audioset", action="append", default=[], metavar="GLOB", help="AudioSet's segment files (csv)")
    group.add_argument(
        "--audioset_ontology",
        metavar="FILE",
        help="ontology.json or class_labels_indices.csv, for the names",
    )
    group.add_argument(
        "--audioset_audio",
        action="append",
        default=[],
        metavar="DIR",
        help="its recordings: YTID.* or YTID_START.*",
    )
    group.add_argument("--audioset_by_id", action="store_true", help="ask YouTube for segments that have no local copy")


def _add_fetch_options(made: argparse.ArgumentParser) -> None:
    fetch = FetchConfig()
    group = made.add_argument_group("how media is fetched (see docs/fetching.md)")
    group.add_argument("--cache_dir", metavar="DIR", help="keep what was fetched from elsewhere here")
    group.add_argument(
        "--cache_bytes", type=int, default=fetch.cache_bytes, metavar="N", help="its bound (default: %(default)s)"
    )
    group.add_argument(
        "--fetch_lanes",
        type=int,
        default=fetch.lanes_per_host,
        metavar="N",
        help="requests in flight to one host, over the whole job (default: %(default)s)",
    )
    group.add_argument(
        "--fetch_machines",
        type=int,
        default=1,
        metavar="N",
        help="machines that share these lanes; each gets its part (default: %(default)s)",
    )
    group.add_argument(
        "--fetch_deadline_s", type=float, default=fetch.deadline_s, help="for one recording (default: %(default)s)"
    )
    group.add_argument(
        "--fetch_attempts", type=int, default=fetch.attempts, metavar="N", help="requests (default: %(default)s)"
    )
    group.add_argument(
        "--allow_private_hosts",
        action="append",
        default=[],
        metavar="HOST:PORT",
        help="this host may be at a private or loopback address",
    )
    group.add_argument("--youtube_cookies", metavar="FILE", help="cookies.txt (Netscape format) for yt-dlp")
    group.add_argument("--youtube_proxy", metavar="URL", help="proxy for yt-dlp")
    group.add_argument("--youtube_bytes_per_s", type=int, metavar="N", help="speed limit of one video")
    group.add_argument(
        "--youtube_interval_s",
        type=float,
        default=fetch.youtube.interval_s,
        help="rest of a lane between two videos (default: %(default)s)",
    )


def fetch_config(arguments: argparse.Namespace) -> FetchConfig:
    if arguments.fetch_machines < 1 or arguments.fetch_lanes < arguments.fetch_machines:
        raise InputError(
            f"--fetch_lanes {arguments.fetch_lanes} cannot be shared by --fetch_machines {arguments.fetch_machines}: "
            "each machine needs a lane of its own"
        )
    cookies = arguments.youtube_cookies
    if cookies is not None and not os.path.isfile(cookies):
        raise InputError(f"--youtube_cookies {cookies}: there is no such file")
    return FetchConfig(
        deadline_s=arguments.fetch_deadline_s,
        attempts=arguments.fetch_attempts,
        lanes_per_host=arguments.fetch_lanes // arguments.fetch_machines,
        allow_private_hosts=tuple(arguments.allow_private_hosts),
        cache_dir=os.path.abspath(arguments.cache_dir) if arguments.cache_dir else None,
        cache_bytes=arguments.cache_bytes,
        youtube=YouTubeConfig(
            cookies=os.path.abspath(cookies) if cookies else None,
            proxy=arguments.youtube_proxy,
            bytes_per_s=arguments.youtube_bytes_per_s,
            interval_s=arguments.youtube_interval_s,
        ),
    )


def main(argv: list[str] | None = None) -> int:
    """Exit code: 0 done, 1 done with more failures than allowed, 2 bad input, 3 broken off (run it again)."""
    arguments, beam_arguments = parser().parse_known_args(sys.argv[1:] if argv is None else argv)
    set_up_logging(quiet=arguments.quiet)

    def work(run: Callable[..., None], is_local: bool) -> Callable[[], int]:
        from pipeline.mine import mine

        try:
            if "://" not in arguments.output:
                check_output(arguments.output)
            job = job_settings(arguments, is_local)
            config, tokenizer, detector = mine_config(arguments, job.exclude)
        except ValueError as error:
            raise InputError(str(error)) from error
        mined = mine(config, job, tokenizer=tokenizer, detector=detector, run=run, prepare=catalogue_maker(arguments))
        return partial(say_mined, arguments, config, job, mined)

    return carry_out("mulan mine", arguments.output, beam_arguments, work)


def say_mined(arguments: argparse.Namespace, config: MineConfig, job: JobSettings, mined: "Mined") -> int:
    """Print what a job has come to; returns its exit code."""
    from pipeline.catalogues import audioset
    from pipeline.dry_run import estimate, render
    from pipeline.report import render_text

    if arguments.audioset:
        sys.stdout.write(audioset.render(audioset.write_report(job.output)))
    if job.dry_run:
        sys.stdout.write(render(estimate(job.output, mined.plan, config, job.allow_roots)))
        return DONE
    sys.stdout.write(render_text(mined.report))
    return FAILURES if mined.report["failure_rate"] > job.max_failure_rate else DONE


def carry_out(
    command: str, where: str, beam_arguments: list[str], work: Callable[[Callable[..., None], bool], Callable[[], int]]
) -> int:
    """Do the work of a command on the run folder `where`: one line and a code for whatever it ends by.

    `work` is given how to run a pipeline, and whether it runs on this machine; what it returns says what has come of it
    and with which code.
    """
    # Beam takes seconds to import; --help and bad arguments need not wait for it.
    from pipeline.run_folder.lock import LockedError, LostLockError
    from pipeline.storage import DamagedError
    from pipeline.stores.store import StoreError
    from pipeline.workers.faults import told_fault
    from pipeline.workers.scratch import NoScratchError, scratch_folder

    is_local = False
    try:
        with scratch_folder(), beam_run(beam_arguments) as (run, is_local):
            say = work(run, is_local)
    except (InputError, LockedError, DetectorError, DamagedError, NoScratchError) as error:
        sys.stderr.write(f"{command}: {error}\n")
        return BAD_INPUT
    except (StoreError, LostLockError) as error:
        found = fault(error)
        advice = (found.advice if found is not None else "") or "run the same command to go on"
        sys.stderr.write(f"{command}: {error}; {advice}\n")
        return INTERRUPTED
    except (KeyboardInterrupt, WorkerLostError) as stop:
        ended_by = stop if isinstance(stop, WorkerLostError) else "interrupted"
        sys.stderr.write(f"{command}: {ended_by}; what is committed is safe, run the same command to go on\n")
        sys.stderr.flush()
        if not is_local:
            atexit._run_exitfuncs()  # by these Beam ends a job server that it has started
        # Threads of the runner may wait for ever, or be in the middle of a shard, so nobody waits for them.
        os._exit(INTERRUPTED)
    except Exception as error:
        found = fault(error, where=where)
        what = told_fault(error) or (found.what if found is not None else None)
        if what is None:
            log.exception("the job broke off; what is committed is safe, and the same command goes on from there")
        else:
            advice = (found.advice if found is not None else "") or "run the same command to go on"
            sys.stderr.write(f"{command}: the job broke off ({what}); what is committed is safe, {advice}\n")
        return INTERRUPTED
    return say()


def remove(argv: list[str]) -> int:
    """`mulan remove RUN --ids FILE`. Exit code: 0 done, 2 bad input or unknown ids (nothing is done), 3 broken off."""
    from pipeline.run_folder import remove as command

    made = argparse.ArgumentParser(
        prog="mulan remove",
        description="Remove recordings from a run, for good: no later mine takes them again. See docs/removal.md.",
        epilog="Options of Beam can be given as well, as to `mulan mine`.",
        allow_abbrev=False,
    )
    command.add_arguments(made)

    def work(
        arguments: argparse.Namespace, run_dir: str, lock: LockConfig, run: Callable[..., None]
    ) -> tuple[str, int]:
        ids = command.read_ids(arguments.ids if arguments.ids == command.STDIN else local_absolute(arguments.ids))
        if arguments.lift:
            lifted = command.allow_again(run_dir, ids, lock=lock)
            return f"{lifted} of {len(ids)} ids were removed before; the next mine may have them again\n", DONE
        try:
            found = command.remove(
                run_dir,
                ids,
                pipeline=run,
                lock=lock,
                suppress_unknown=arguments.suppress_unknown,
                dry_run=arguments.dry_run,
            )
        except command.UnknownIdsError as error:
            sys.stdout.write("".join(f"{name}\n" for name in error.unknown))
            raise
        return command.render(found, run_dir, dry_run=arguments.dry_run), DONE

    return on_run_folder(made, argv, work)


def prune(argv: list[str]) -> int:
    """`mulan prune RUN`. Exit code: 0 done, 2 bad input, 3 broken off, or a training is waited for: run it again."""
    from pipeline.run_folder import prune as command

    made = argparse.ArgumentParser(
        prog="mulan prune",
        description="Delete what only older manifests of a run name, and the last bytes of what was removed from it.",
        epilog="Options of Beam can be given as well, as to `mulan mine`.",
        allow_abbrev=False,
    )
    command.add_arguments(made)

    def work(
        arguments: argparse.Namespace, run_dir: str, lock: LockConfig, run: Callable[..., None]
    ) -> tuple[str, int]:
        if arguments.now:
            sys.stderr.write("mulan prune: --now: a training that reads an older manifest will stop\n")
        pruned = command.prune(
            run_dir,
            pipeline=run,
            lock=lock,
            keep=arguments.keep,
            grace_hours=arguments.grace_hours,
            now=arguments.now,
            cache_dir=os.path.abspath(arguments.cache_dir) if arguments.cache_dir else None,
        )
        return command.render(pruned, arguments.grace_hours), INTERRUPTED if pruned.waits_for else DONE

    return on_run_folder(made, argv, work)


def on_run_folder(
    made: argparse.ArgumentParser,
    argv: list[str],
    work: Callable[[argparse.Namespace, str, LockConfig, Callable[..., None]], tuple[str, int]],
) -> int:
    """A command on a run folder that is there; `work` returns what to print and the exit code."""
    add_lock_options(made)
    made.add_argument("--quiet", action="store_true", help="warnings and the result only")
    arguments, beam_arguments = made.parse_known_args(argv)
    set_up_logging(quiet=arguments.quiet)
    run_dir = local_absolute(arguments.run)

    def on_folder(run: Callable[..., None], is_local: bool) -> Callable[[], int]:
        from pipeline import storage

        try:
            lock = lock_config(arguments)
        except ValueError as error:
            raise InputError(str(error)) from error
        # To lock a folder makes it.
        if not storage.list_folder(run_dir):
            raise InputError(f"{run_dir}: there is no such folder, or nothing is in it")
        text, code = work(arguments, run_dir, lock, run)
        return partial(_say, text, code)

    return carry_out(made.prog, run_dir, beam_arguments, on_folder)


def _say(text: str, code: int) -> int:
    sys.stdout.write(text)
    return code


def set_up_logging(*, quiet: bool) -> None:
    """Our own lines, and of Beam what a user can do something about."""
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s", stream=sys.stderr)
    for name in ("mulan", "pipeline", "filters"):
        logging.getLogger(name).setLevel(logging.WARNING if quiet else logging.INFO)
    for name in SAID_AT_THE_END:
        logging.getLogger(name).setLevel(logging.CRITICAL)


@contextlib.contextmanager
def beam_run(arguments: list[str]) -> Iterator[tuple[Callable[..., None], bool]]:
    """How to run a pipeline with these options, and whether it runs on this machine. Raises InputError."""
    import apache_beam as beam
    from apache_beam.io.filesystems import FileSystems
    from apache_beam.options.pipeline_options import DirectOptions, PipelineOptions, SetupOptions, StandardOptions

    known = argparse.ArgumentParser(add_help=False, allow_abbrev=False, argument_default=argparse.SUPPRESS)
    for options_class in PipelineOptions.__subclasses__():
        options_class._add_argparse_args(known)
    _, unknown = known.parse_known_args(arguments)
    if unknown:
        raise InputError(f"unknown argument {unknown[0]} (see --help)")
    options = PipelineOptions(arguments)
    runner = options.view_as(StandardOptions).runner or LOCAL_RUNNER
    is_local = runner.lower().removesuffix("runner") in LOCAL_RUNNERS
    options.view_as(StandardOptions).runner = LOCAL_RUNNER if is_local else runner
    options.view_as(SetupOptions).save_main_session = False
    try:
        beam.Pipeline(options=options)
    except (ImportError, ValueError) as error:
        raise InputError(f"--runner {runner}: {' '.join(str(error).split())}") from error
    direct = options.view_as(DirectOptions)
    if is_local and direct.direct_num_workers != 1 and direct.direct_running_mode == "in_memory":
        direct.direct_running_mode = "multi_processing"
    in_process = PipelineOptions(arguments)
    in_process.view_as(StandardOptions).runner = LOCAL_RUNNER
    in_process.view_as(DirectOptions).direct_running_mode = "in_memory"
    in_process.view_as(DirectOptions).direct_num_workers = 1

    has_workers = is_local and direct.direct_running_mode == "multi_processing"
    if has_workers and " " in sys.executable:
        raise InputError(f"Beam cannot start worker processes by {sys.executable}: its path has a space")

    def run(name: str, steps: Callable[[Any], None], *, small: bool = False) -> None:
        log.info("%s", name)
        if not is_local:
            run_on_engine(beam.Pipeline(options=options), steps)
            return

        def to_end() -> None:
            with beam.Pipeline(options=in_process if small else options) as pipeline:
                steps(pipeline)

        if small or not has_workers:
            Watch(None).run(to_end)
            return
        with job_folder() as folder, local_workers(options, folder):
            Watch(folder).run(to_end)

    # Input is looked at before the first pipeline, which would hand them over itself.
    FileSystems.set_options(options)
    with contextlib.nullcontext() if is_local else readers_hushed():
        yield run, is_local


def run_on_engine(pipeline: Any, steps: Callable[[Any], None]) -> None:
    """Run to the end; a job that is interrupted here is cancelled there."""
    steps(pipeline)
    job: Any = None
    try:
        with held_back():  # until the job has a name by which it can be cancelled
            job = pipeline.run()
        job.wait_until_finish()
    except KeyboardInterrupt:
        hush()
        if job is not None:
            job.cancel()
        raise


@contextlib.contextmanager
def local_workers(options: Any, folder: Path) -> Iterator[None]:
    """Give the local runner's worker processes what it does not: the options, quiet logs, a way to this project, and
    what makes them end with this process (`pipeline.workers.worker`).
    """
    path = folder / "options.json"
    given = options.get_all_options(drop_default=True)
    given["default_sdk_harness_log_level"] = "WARNING"
    given["sdk_harness_log_level_overrides"] = {"__main__": "ERROR", **dict.fromkeys(SAID_AT_THE_END, "CRITICAL")}
    path.write_text(json.dumps(given, default=str), encoding="utf-8")
    (folder / HOOK_NAME).write_text(HOOK, encoding="utf-8")
    # Workers import this project from here, whatever folder the job is started in.
    project = str(Path(__file__).resolve().parent)
    python_path = [project, str(folder), *filter(None, [os.environ.get("PYTHONPATH")])]
    changes = {
        "PIPELINE_OPTIONS_FILE": str(path),
        "PYTHONPATH": os.pathsep.join(python_path),
        JOB_FOLDER: str(folder),
    }
    before = {name: os.environ.get(name) for name in changes}
    os.environ.update(changes)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def job_settings(arguments: argparse.Namespace, is_local: bool) -> JobSettings:
    from pipeline.catalogue import CATALOGUE, COMMENTS, PLAYLISTS, Table, find_tables
    from pipeline.run_folder.layout import audioset_path

    columns: dict[str, dict[str, str]] = {}
    tables: dict[str, Table[Any]] = {"": CATALOGUE, COMMENTS.kind: COMMENTS, PLAYLISTS.kind: PLAYLISTS}
    for mapping in arguments.map:
        target, separator, column = mapping.partition("=")
        kind, _, field = target.rpartition(".")
        table = tables.get(kind)
        if not separator or not column or table is None or field not in table.fields:
            known = ", ".join(table.fields if table is not None else CATALOGUE.fields)
            raise InputError(f"--map {mapping}: must be FIELD=COLUMN, where FIELD is one of {known}")
        columns.setdefault(table.kind, {})[field] = column
    roots = [local_absolute(root) for root in arguments.allow_root]
    if bool(arguments.catalog) == bool(arguments.audioset):
        raise InputError("name either --catalog or --audioset; an AudioSet run has a folder of its own")
    if arguments.audioset:
        catalogues = [audioset_path(local_absolute(arguments.output), "catalog.jsonl")]
        roots += map(local_absolute, arguments.audioset_audio)
    else:
        catalogues = find_tables(map(local_absolute, arguments.catalog), "--catalog")
    return JobSettings(
        output=local_absolute(arguments.output),
        catalogues=tuple(catalogues),
        comments=tuple(find_tables(map(local_absolute, arguments.comments), "--comments")),
        playlists=tuple(find_tables(map(local_absolute, arguments.playlists), "--playlists")),
        columns=columns,
        allow_roots=tuple(roots),
        fetch=fetch_config(arguments),
        exclude=exclusions(arguments),
        on_removed=arguments.on_removed,
        max_failure_rate=arguments.max_failure_rate,
        dry_run=arguments.dry_run,
        lock=lock_config(arguments),
        pass_bytes=arguments.pass_bytes if is_local else None,
    )


def lock_config(arguments: argparse.Namespace) -> LockConfig:
    """Raises ValueError."""
    return LockConfig(lease_s=arguments.lock_lease_s, renew_s=arguments.lock_renew_s, take_over=arguments.take_over)


def exclusions(arguments: argparse.Namespace) -> ExclusionList:
    """Of all files of --exclude together. Raises ValueError and InputError that name the file and the line."""
    for path in arguments.exclude:
        if not os.path.isfile(path):
            raise InputError(f"--exclude {path}: there is no such file")
    return ExclusionList.of(line for path in arguments.exclude for line in read_exclusions(Path(path)))


def catalogue_maker(arguments: argparse.Namespace) -> Callable[[], str] | None:
    """Writes the catalogue that --audioset asks for. Raises InputError where its arguments are wrong."""
    if not arguments.audioset:
        return None
    from pipeline.catalogue import find_tables
    from pipeline.catalogues.audioset import AudioSetInput, write_catalogue

    if not arguments.audioset_ontology:
        raise InputError("--audioset needs --audioset_ontology FILE (ontology.json or class_labels_indices.csv)")
    source = AudioSetInput(
        segments=tuple(find_tables(map(local_absolute, arguments.audioset), "--audioset")),
        classes=local_absolute(arguments.audioset_ontology),
        folders=tuple(map(local_absolute, arguments.audioset_audio)),
        by_id=arguments.audioset_by_id,
    )
    return partial(write_catalogue, source, local_absolute(arguments.output))


def local_absolute(path: str) -> str:
    """Workers may stand in another folder than the launcher."""
    return path.rstrip("/") if "://" in path else os.path.abspath(path)


def mine_config(arguments: argparse.Namespace, exclude: ExclusionList) -> tuple[MineConfig, str, DetectorEntry]:
    """Configuration, serialised tokenizer, detector. Loads both once, so that what is wrong with them is said here."""
    counter = load_tokenizer(arguments.tokenizer)
    tokenizer = counter.to_str() if counter is not None else ""
    spec = arguments.music_detector
    detector = load_detector(spec if spec == BUILTIN or "://" in spec else os.path.abspath(spec))
    lf_model = arguments.lf_model if arguments.lf_model == NONE else local_absolute(arguments.lf_model)
    scorer = describe_scorer(lf_model)
    if arguments.lf_languages:
        check_languages(frozenset(arguments.lf_languages))
    gate = MusicGateConfig(threshold=arguments.music_threshold, min_fraction=arguments.min_music_fraction)
    config = MineConfig(
        rows_per_shard=arguments.rows_per_shard,
        limit=arguments.limit,
        audio_encoding=AudioEncoding(arguments.audio),
        shard_format=arguments.format,
        text=TextConfig(
            **{s.cap_name: getattr(arguments, s.cap_name) for s in SOURCES if s.cap is not None},
            lf_languages=arguments.lf_languages,
        ),
        gate=gate,
        decode=DecodeConfig(short_policy=ShortPolicy(arguments.short_policy)),
        detector=spec if spec == BUILTIN or "://" in spec else os.path.abspath(spec),
        detector_digest=detector.digest,
        lf_model=lf_model,
        lf_digest=scorer.digest,
        lf_threshold=scorer.threshold,
        tokenizer=arguments.tokenizer,
        tokenizer_digest=digest_json([tokenizer]),
        rules_digest=RULES_DIGEST,
        exclude_digest=exclude.digest(),
    )
    entry = DetectorEntry(
        name=detector.name,
        digest=detector.digest,
        window_s=detector.grid.window_s,
        hop_s=detector.grid.hop_s,
        threshold=gate.threshold,
        min_fraction=gate.min_fraction,
        demo_grade=detector.demo_grade,
    )
    return config, tokenizer, entry


if __name__ == "__main__":
    from openmulan import main as mulan

    leave(mulan(["mine", *sys.argv[1:]]))
