"""The options of `mulan remove` and `mulan prune`, apart from their work: `--help` need not wait for Beam."""

import argparse

DEFAULT_KEEP = 1
DEFAULT_GRACE_HOURS = 24.0


def add_remove_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--ids",
        required=True,
        metavar="FILE",
        help="recordings to remove: an id a line, or a table (.jsonl, .csv, .parquet) with a column recording_id; "
        "- reads lines from standard input",
    )
    parser.add_argument(
        "--suppress_unknown",
        action="store_true",
        help="also take ids that the run does not know, so that no later mine takes them (default: such ids are "
        "listed and nothing is done)",
    )
    parser.add_argument(
        "--lift",
        action="store_true",
        help="the other way: take these ids off the run's suppression list, so that the next mine may have them again",
    )
    parser.add_argument("--dry_run", action="store_true", help="say what would be removed, and who has used it")


def add_prune_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--keep", type=int, default=DEFAULT_KEEP, metavar="N", help="newest manifests to keep (default: %(default)s)"
    )
    parser.add_argument(
        "--grace_hours",
        type=float,
        default=DEFAULT_GRACE_HOURS,
        metavar="H",
        help="a training that is not done keeps its manifest for so long after its last sign of life "
        "(default: %(default)g)",
    )
    parser.add_argument("--now", action="store_true", help="do not wait for trainings: they will stop")
    parser.add_argument(
        "--cache_dir", metavar="DIR", help="media cache of `mulan mine`: delete what it has of removed recordings"
    )
