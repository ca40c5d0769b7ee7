"""`mulan mine`, `mulan remove` and `mulan prune`: the commands that write into a run folder.

    mulan mine music/ --output runs/one
    mulan mine --catalog 'data/*.jsonl' --output runs/one
    python beam_runner.py --catalog 'data/*.jsonl' --output runs/one --direct_num_workers 2
    mulan mine --catalog gs://bucket/catalogue.parquet --output gs://bucket/run --runner DataflowRunner --project …

The front door of the mining job: arguments in, exit code out. Run the same command again and it resumes. Any option of
Beam and of its runners can be given beside these; one that nobody knows is an error.
"""

import argparse
import atexit
import logging
import os
import sys
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Protocol

import openmulan
from filters.music.detector import DetectorError
from pipeline.options import (
    add_lock_options,
    catalogue_maker,
    job_settings,
    local_absolute,
    lock_config,
    mine_config,
    parse,
)
from pipeline.progress.metrics_file import MetricsFile
from pipeline.run_folder.options import add_prune_options, add_remove_options
from pipeline.settings import JobSettings, LockConfig, MineConfig
from pipeline.workers.watch import WorkerLostError
from schemas.exits import BAD_INPUT, DONE, FAILURES, INTERRUPTED, InputError, check_output, fault, leave

# Beam takes seconds to import; --help and bad arguments need not wait for it, so that it is loaded in functions.
if TYPE_CHECKING:
    from pipeline.mine import Mined, RunPipeline

log = logging.getLogger("mulan.mine")
BEAM = "apache_beam"


def main(argv: list[str] | None = None) -> int:
    """Exit code: 0 done, 1 done with more failures than allowed, 2 bad input, 3 broken off (run it again)."""
    arguments, beam_arguments = parse(sys.argv[1:] if argv is None else argv)
    set_up_logging(quiet=arguments.quiet)
    metrics: MetricsFile | None = None
    try:
        if arguments.metrics_file is not None:
            metrics = MetricsFile(arguments.metrics_file, run=local_absolute(arguments.output))
    except InputError as error:
        sys.stderr.write(f"mulan mine: {error}\n")
        return BAD_INPUT

    def work(run: "RunPipeline", is_local: bool) -> Callable[[], int]:
        from pipeline.mine import mine
        from pipeline.progress.watching import Progress

        try:
            if "://" not in arguments.output:
                check_output(arguments.output)
            job = job_settings(arguments, is_local)
            config, tokenizer, detector = mine_config(arguments, job.exclude)
        except ValueError as error:
            raise InputError(str(error)) from error
        if job.dry_run and arguments.catalog:
            from pipeline.table_preview import previews

            for table in previews(job):
                sys.stdout.write(table.render())
        mined = mine(
            config,
            job,
            tokenizer=tokenizer,
            detector=detector,
            run=run,
            prepare=catalogue_maker(arguments),
            progress=Progress(metrics),
        )
        return partial(_say_mined, arguments, config, job, mined)

    ended = metrics.end if metrics is not None else lambda code: None
    return _carry_out("mulan mine", arguments.output, beam_arguments, work, ended)


def _say_mined(arguments: argparse.Namespace, config: MineConfig, job: JobSettings, mined: "Mined") -> int:
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


def remove(argv: list[str]) -> int:
    """`mulan remove RUN --ids FILE`. Exit code: 0 done, 2 bad input or unknown ids (nothing is done), 3 broken off."""

    def load() -> FolderCommand:
        from pipeline.run_folder import remove as command

        return command

    what = "Remove recordings from a run, for good: no later mine takes them again. See docs/removal.md."
    return _on_run_folder("mulan remove", what, add_remove_options, load, argv)


def prune(argv: list[str]) -> int:
    """`mulan prune RUN`. Exit code: 0 done, 2 bad input, 3 broken off, or a training is waited for: run it again."""

    def load() -> FolderCommand:
        from pipeline.run_folder import prune as command

        return command

    what = "Delete what only older manifests of a run name, and the last bytes of what was removed from it."
    return _on_run_folder("mulan prune", what, add_prune_options, load, argv)


class FolderCommand(Protocol):
    """A module of `pipeline.run_folder` that is a command on a run folder that is there."""

    def run_command(
        self, arguments: argparse.Namespace, run_dir: str, lock: LockConfig, pipeline: "RunPipeline"
    ) -> tuple[str, int]:
        """What to print, and the exit code. Raises InputError."""
        ...


def _on_run_folder(
    prog: str,
    description: str,
    add_options: Callable[[argparse.ArgumentParser], None],
    load: Callable[[], FolderCommand],
    argv: list[str],
) -> int:
    made = argparse.ArgumentParser(
        prog=prog,
        description=description,
        epilog="Options of Beam can be given as well, as to `mulan mine`.",
        allow_abbrev=False,
    )
    made.add_argument("run", metavar="RUN", help="output folder of `mulan mine`")
    add_options(made)
    add_lock_options(made)
    made.add_argument("--quiet", action="store_true", help="warnings and the result only")
    arguments, beam_arguments = made.parse_known_args(argv)
    set_up_logging(quiet=arguments.quiet)
    run_dir = local_absolute(arguments.run)

    command = load()

    def work(run: "RunPipeline", is_local: bool) -> Callable[[], int]:
        from pipeline import storage

        try:
            lock = lock_config(arguments)
        except ValueError as error:
            raise InputError(str(error)) from error
        # To lock a folder makes it.
        if not storage.list_folder(run_dir):
            raise InputError(f"{run_dir}: there is no such folder, or nothing is in it")
        text, code = command.run_command(arguments, run_dir, lock, run)
        return partial(_say, text, code)

    return _carry_out(prog, run_dir, beam_arguments, work)


def _say(text: str, code: int) -> int:
    sys.stdout.write(text)
    return code


def _carry_out(
    command: str,
    where: str,
    beam_arguments: list[str],
    work: Callable[["RunPipeline", bool], Callable[[], int]],
    ended: Callable[[int], None] = lambda code: None,
) -> int:
    """Do the work of a command on the run folder `where`, and tell `ended` the code."""
    code, can_return = _outcome(command, where, beam_arguments, work)
    ended(code)
    if not can_return:
        # Threads of the runner may wait for ever, or be in the middle of a shard, so nobody waits for them.
        os._exit(code)
    return code


def _outcome(
    command: str,
    where: str,
    beam_arguments: list[str],
    work: Callable[["RunPipeline", bool], Callable[[], int]],
) -> tuple[int, bool]:
    """One line and a code for whatever a command ends by, and whether this process can go on after that.

    `work` is given how to run a pipeline, and whether it runs on this machine; what it returns says what has come of it
    and with which code.
    """
    from pipeline.run_folder.lock import LockedError, LostLockError
    from pipeline.runner import beam_run
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
        return BAD_INPUT, True
    except (StoreError, LostLockError) as error:
        found = fault(error)
        advice = (found.advice if found is not None else "") or "run the same command to go on"
        sys.stderr.write(f"{command}: {error}; {advice}\n")
        return INTERRUPTED, True
    except (KeyboardInterrupt, WorkerLostError) as stop:
        ended_by = stop if isinstance(stop, WorkerLostError) else "interrupted"
        sys.stderr.write(f"{command}: {ended_by}; what is committed is safe, run the same command to go on\n")
        sys.stderr.flush()
        if not is_local:
            atexit._run_exitfuncs()  # by these Beam ends a job server that it has started
        return INTERRUPTED, False
    except Exception as error:
        found = fault(error, where=where)
        what = told_fault(error) or (found.what if found is not None else None)
        if what is None:
            log.exception("the job broke off; what is committed is safe, and the same command goes on from there")
        else:
            advice = (found.advice if found is not None else "") or "run the same command to go on"
            sys.stderr.write(f"{command}: the job broke off ({what}); what is committed is safe, {advice}\n")
        return INTERRUPTED, True
    return say(), True


def set_up_logging(*, quiet: bool) -> None:
    """Our own lines, and of others what a user can do something about."""
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s", stream=sys.stderr)
    for name in ("mulan", "pipeline", "filters"):
        logging.getLogger(name).setLevel(logging.WARNING if quiet else logging.INFO)
    logging.getLogger(BEAM).setLevel(logging.ERROR if quiet else logging.WARNING)


if __name__ == "__main__":
    leave(openmulan.main(["mine", *sys.argv[1:]]))
