"""FMA: `tracks.csv` (its layout: schemas/fma.py), `genres.csv`, and the audio as `fma_SIZE/000/000002.mp3`.

Genres are ids that `genres.csv` names (`genre_id, #tracks, parent, title, top_level`); tags and genre ids are lists as
Python prints them; the information is HTML, read as its text. `fma_small`, `fma_medium` and `fma_large` have clips of
30 s, which are taken from their beginning; `fma_full` has whole tracks.
"""

import html
import re
from collections.abc import Iterator
from pathlib import Path

from pipeline.catalogues.fields import Fields
from pipeline.catalogues.reader import Item, LeftOut, Recording
from pipeline.catalogues.tables import each_once, header_and_rows, local_copy, named_file, need_columns, python_list
from schemas.cells import RowError
from schemas.exits import InputError
from schemas.fma import HEADER_LINES, TRACKS, audio_name, column_places
from schemas.playlist_files.text import seconds
from schemas.reasons import LeftOutError, Reason

CLIP_S = 29.0
WHOLE = "fma_full"
SIZES = (WHOLE, "fma_large", "fma_medium", "fma_small")
SOURCE = "FMA"
# Column of the catalogue's texts: the pair of names that stands over it.
COLUMNS = {
    "title": ("track", "title"),
    "artist": ("artist", "name"),
    "album": ("album", "title"),
    "genre_top": ("track", "genre_top"),
    "genres": ("track", "genres"),
    "tags": ("track", "tags"),
    "track_information": ("track", "information"),
    "album_information": ("album", "information"),
    "licence": ("track", "license"),
    "duration": ("track", "duration"),
}
_NEEDED = ("title", "artist", "genres")
_TAG = re.compile(r"<[^<>]*>")
_NUMBER = re.compile(r"\d+")


def read(source: Path) -> Iterator[Item]:
    """Raises InputError where the folder is not FMA's."""
    path = named_file(source, TRACKS, "the folder of FMA with fma_metadata in it")
    header, rows = header_and_rows(path, ",", HEADER_LINES)
    places = column_places(header, COLUMNS, _NEEDED)
    if places is None:
        raise InputError(f"{path}:1: not FMA's tracks.csv, which has three header rows, the third of track_id")
    return each_once(_items(source, _genres(path.with_name("genres.csv")), places, rows))


def _genres(path: Path) -> dict[str, str]:
    """Raises InputError."""
    if not path.is_file():
        raise InputError(f"{path}: not found; it names the genres of tracks.csv")
    (header,), rows = header_and_rows(path, ",")
    need_columns(path, header, ("genre_id", "title"))
    cells = (dict(zip(header, row, strict=False)) for _, row in rows if not isinstance(row, LeftOut))
    return {row.get("genre_id", ""): row.get("title", "") for row in cells}


def _items(
    source: Path, genres: dict[str, str], places: dict[str, int], rows: Iterator[tuple[str, list[str] | LeftOut]]
) -> Iterator[Item]:
    for where, cells in rows:
        if isinstance(cells, LeftOut):
            yield cells
            continue
        row = {field: cells[place] for field, place in places.items() if place < len(cells)}
        said = [row.get("genre_top", ""), *(genres.get(i, "") for i in _NUMBER.findall(row.get("genres", "")))]
        texts = {
            **row,
            "tags": [*said, *python_list(row.get("tags", ""))],
            "description": _text(row.get("track_information", "")) or _text(row.get("album_information", "")),
        }
        fields = Fields(where, texts)
        try:
            yield _recording(source, where, cells[0], fields)
        except LeftOutError as error:
            yield LeftOut(where=where, reason=error.reason, detail=error.detail)
        yield from fields.left_out


def _text(markup: str) -> str:
    return html.unescape(_TAG.sub(" ", markup)).strip()


def _recording(source: Path, where: str, track_id: str, fields: Fields) -> Recording:
    """Raises LeftOutError."""
    name = audio_name(track_id)
    if name is None:
        raise RowError(Reason.BAD_VALUE, f"track_id is {track_id[:20]!r}; it must be a number of at most six digits")
    media = local_copy((*(source / size for size in SIZES), source), (name,))
    texts = {
        **{name: fields.short(name) for name in ("title", "artist", "album", "licence")},
        "tags": fields.shorts("tags"),
        "description": fields.long("description"),
    }
    is_clip = WHOLE not in (media.parents[1].name, source.name)
    return Recording(
        row={
            "recording_id": f"fma:{int(track_id)}",
            "audio_uri": str(media),
            **{name: text for name, text in texts.items() if text},
            "source": SOURCE,
            **({"start_s": 0.0, "duration_s": CLIP_S} if is_clip else {}),
        },
        where=where,
        names=(f"fma:{int(track_id)}",),
        duration_s=seconds(fields.short("duration") or ""),
    )
