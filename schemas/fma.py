"""How FMA's `tracks.csv` and its folders of audio are laid out, for the catalogue and for the evaluation alike.

The file has three header rows: the first names what a column is of (`album`, `artist`, `set`, `track`), the second the
column, the third has `track_id` alone. A track lies at `000/000002.mp3` below `fma_small` or another size's folder
(github.com/mdeff/fma, README.md and utils.py).
"""

import re
from collections.abc import Mapping, Sequence

TRACKS = ("tracks.csv", "fma_metadata/tracks.csv")
HEADER_LINES = 3
Column = tuple[str, str]  # what it is of, and its name


def column_places(
    header: Sequence[Sequence[str]], columns: Mapping[str, Column], needed: Sequence[str]
) -> dict[str, int] | None:
    """Where the columns that are there stand, by the names that are given to them; None where the header is not FMA's
    or one that is needed is not there."""
    tops, unders, thirds = header
    over = list(zip(tops, unders, strict=False))
    places = {name: over.index(pair) for name, pair in columns.items() if pair in over}
    return places if list(thirds[:1]) == ["track_id"] and set(needed) <= places.keys() else None


def audio_name(track_id: str) -> str | None:
    """`000/000002.mp3` of 2; None where the id is no number of at most six digits."""
    if not re.fullmatch(r"[0-9]{1,6}", track_id):
        return None
    name = f"{int(track_id):06d}"
    return f"{name[:3]}/{name}.mp3"
