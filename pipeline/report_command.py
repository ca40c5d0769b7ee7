"""`mulan report DIR`: what a run has done, finished or not, on the terminal and in files beside it."""

import argparse
import os
import sys
from pathlib import Path

from schemas.exits import BAD_INPUT, DONE, INTERRUPTED, fault


def main(argv: list[str]) -> int:
    """`mulan report DIR`. Exit code: 0 done, 1 `--verify` found damage, 2 no run that can be read, or no right to
    write beside it, 3 its disk is full."""
    parser = argparse.ArgumentParser(prog="mulan report", description="What a run has done, finished or not.")
    parser.add_argument("run", metavar="DIR", help="output folder of `mulan mine`")
    parser.add_argument(
        "--verify",
        action="store_true",
        help="read every committed file and compare it with what its record says: a line for each bad one, exit code 1",
    )
    arguments = parser.parse_args(argv)
    # Beam comes with these, and --help need not wait for it.
    from pipeline import storage
    from pipeline.report import build_report, render_text, save_report
    from pipeline.run_folder import layout
    from pipeline.run_folder.verify import report_damage
    from pipeline.storage import DamagedError
    from pipeline.stores.store import StoreError
    from schemas.exits import InputError

    run_dir = arguments.run.rstrip("/")
    if storage.is_local(run_dir):
        run_dir = os.path.abspath(run_dir)
    try:
        if arguments.verify:
            return report_damage(run_dir)
        report = build_report(run_dir)
    except (FileNotFoundError, InputError, DamagedError) as error:
        sys.stderr.write(f"mulan report: {error}\n")
        return BAD_INPUT
    except StoreError as error:
        sys.stderr.write(f"mulan report: {error}\n")
        return INTERRUPTED
    sys.stdout.write(render_text(report))
    try:
        save_report(run_dir, report)
    except Exception as error:
        # What was asked can be read above all the same: the run may be somebody else's.
        if (found := fault(error)) is None:
            raise
        sys.stderr.write(f"mulan report: {layout.REPORT_HTML} and {layout.REPORT_JSON} are not written: {found.line}\n")
        return found.code
    sys.stdout.write(f"\n{Path(run_dir) / layout.REPORT_HTML if storage.is_local(run_dir) else run_dir}\n")
    return DONE
