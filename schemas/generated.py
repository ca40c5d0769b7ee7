"""How a page of `docs/` that comes from the code is written by its module's command."""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path


def write_page(argv: list[str], *, module: str, description: str | None, default: Path, page: Callable[[], str]) -> int:
    """`python -m MODULE [FILE]`; returns the exit code."""
    parser = argparse.ArgumentParser(prog=f"python -m {module}", description=description)
    parser.add_argument("file", nargs="?", type=Path, default=default, help="where to write (default: %(default)s)")
    path: Path = parser.parse_args(argv).file
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(page(), encoding="utf-8")
    sys.stdout.write(f"wrote {path}\n")
    return 0
