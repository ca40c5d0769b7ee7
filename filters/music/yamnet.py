"""What the two adapters of YAMNet share: its grids, and which of its scores is Music.

The class is read from the class map that belongs to the model, by MID. A class map is a csv with columns
`index, mid, display_name`. The index is never a constant of ours: models with other class lists exist, and a wrong
index gives plausible scores of another class.
"""

import csv
import importlib
import io
from typing import Any

from filters.music.detector import DetectorError, FrameGrid
from filters.music.native_log import notes_dropped

MUSIC_MID = "/m/04rlf"  # "Music" in AudioSet's ontology

# YAMNet's patch of 96 log-mel frames takes 0.975 s of sound. Windows stand side by side: half a window apart they cost
# twice as much and decide alike (docs/music-detection.md).
YAMNET_GRID = FrameGrid(window_s=0.975, hop_s=0.975)
# The grid of version 1 of the adapters.
FIRST_GRID = FrameGrid(window_s=0.975, hop_s=0.4875)


def yamnet_grid(hop_s: float | None) -> FrameGrid:
    """Windows so far apart, side by side if None. Raises DetectorError."""
    try:
        return YAMNET_GRID if hop_s is None else FrameGrid(window_s=YAMNET_GRID.window_s, hop_s=hop_s)
    except (ValueError, OverflowError) as error:
        raise DetectorError(f"--music_hop {hop_s:g}: {error}") from error


def version_on(grid: FrameGrid, version: int) -> int:
    """Of an adapter whose own is `version`: on version 1's grid it scores as that did, so a run of it can go on."""
    return 1 if grid == FIRST_GRID else version


def music_index(content: bytes, origin: str) -> int:
    """The index of the Music class. Raises DetectorError where the map does not say it exactly once."""
    try:
        rows = list(csv.DictReader(io.StringIO(content.decode("utf-8"))))
        indices = [int(row["index"]) for row in rows if row["mid"] == MUSIC_MID]
    except (ValueError, KeyError, TypeError, csv.Error) as error:
        raise DetectorError(f"{origin}: not a class map with columns index, mid, display_name ({error!r})") from error
    if len(indices) != 1:
        raise DetectorError(f"{origin}: {len(indices)} rows have the MID {MUSIC_MID} (Music), one is needed")
    if not 0 <= indices[0] < len(rows):
        raise DetectorError(f"{origin}: Music has the index {indices[0]}, but there are {len(rows)} classes")
    return indices[0]


def import_or_explain(module: str, extra: str) -> Any:
    """An optional dependency, or a DetectorError that names the extra to install."""
    try:
        with notes_dropped():
            return importlib.import_module(module)
    except ImportError as error:
        raise DetectorError(f"this detector needs {module} ({error}): pip install 'openmulan[{extra}]'") from error
