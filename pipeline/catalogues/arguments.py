"""The options of `mulan catalog`, apart from the work: `--help` need not wait for it."""

import argparse
from collections.abc import Sequence
from pathlib import Path

_DESCRIPTION = """What people have to a catalogue for `mulan mine`. The same command again reads only what has changed.

mulan catalog music/ --output catalog.parquet
mulan catalog music/ lists/road.m3u --output catalog.parquet
mulan catalog fma=fma_metadata/ mypackage.shop:read=export.db --output catalog.parquet

See docs/making-a-catalogue.md.
"""


def parser_of(argv: Sequence[str] = ()) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="mulan catalog",
        description=_DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument(
        "sources",
        nargs="+",
        metavar="SOURCE",
        help="a path, read by what it looks like, or NAME=PATH, where NAME is a reader's or package.module:factory",
    )
    parser.add_argument("--output", required=True, type=Path, metavar="FILE", help="the catalogue, a .parquet file")
    parser.add_argument(
        "--no_guess", action="store_true", help="guess no artist, album and title from the paths of files without tags"
    )
    parser.add_argument(
        "--workers", type=int, metavar="N", help="processes that read tags (default: one a core, at most 8)"
    )
    parser.add_argument("--quiet", action="store_true", help="warnings and the result only")
    return parser
