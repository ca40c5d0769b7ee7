"""The options of `mulan embed`, apart from the work: `--help` need not wait for torch."""

import argparse
from collections.abc import Sequence
from pathlib import Path

_DESCRIPTION = """Files, folders or mined runs to a table of vectors. The same command again goes on where one stopped.

mulan embed song.mp3 music/ --model trained/model --output vectors.parquet
mulan embed RUN --model user/name --output vectors.parquet --device cuda --workers 8
mulan embed --texts queries.txt --model trained/model --output queries.parquet
"""


def parser_of(argv: Sequence[str] = ()) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="mulan embed", description=_DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("inputs", nargs="*", metavar="FILE|FOLDER|RUN", help="what is embedded, by its name")
    parser.add_argument("--texts", type=Path, metavar="FILE", help="texts instead, one a line")
    parser.add_argument("--model", required=True, metavar="DIR|NAME", help="a model folder, or user/name on the hub")
    parser.add_argument("--revision", help="branch, tag or commit of a model on the hub")
    parser.add_argument("--output", required=True, type=Path, metavar="FILE", help="a Parquet file that is made")
    parser.add_argument("--device", help="cpu, cuda, cuda:1, mps (default: cuda where there is one)")
    parser.add_argument("--workers", type=int, default=2, help="processes that decode files (default 2)")
    parser.add_argument(
        "--max_failure_rate", type=float, default=0.05, metavar="R", help="exit with 1 above this (default 0.05)"
    )
    return parser
