"""Looking at a folder that another process works in: what it takes away in the middle of a look is not there."""

import contextlib
import glob
from pathlib import Path


def paths_now(folder: Path, pattern: str) -> list[Path]:
    """As `Path.glob`, which fails where a folder goes while it looks into it."""
    return [folder / name for name in glob.glob(pattern, root_dir=folder, recursive=True)]


def made_ns(folder: Path, pattern: str) -> dict[str, int]:
    """When each file was made, by name."""
    times = {}
    for path in paths_now(folder, pattern):
        with contextlib.suppress(FileNotFoundError):
            times[path.name] = path.stat().st_mtime_ns
    return times
