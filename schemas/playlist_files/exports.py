"""CSV exports of Exportify (both of them), Soundiiz and TuneMyMusic, told apart by the names of their columns.

| program | header |
|---|---|
| Exportify (watsonbox) | `Track URI, Track Name, Artist URI(s), Artist Name(s), …, Track Duration (ms), …, ISRC, …` |
| Exportify (exportify.net) | `Track URI, Track Name, Album Name, Artist Name(s), Release Date, Duration (ms), …` |
| Soundiiz | `title;artist;album;isrc` (or with commas) |
| TuneMyMusic | `Track name, Artist name, Album, Playlist name, Type, ISRC`, then a column `SERVICE - id` |

A file is one playlist, named by its file, but for TuneMyMusic's, which say in each row which playlist it is of.
"""

import csv
import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from schemas.playlist_files.entries import Entry, LeftOut, ListedPlaylist
from schemas.playlist_files.text import (
    MAX_ENTRIES,
    clean,
    decoded,
    file_id,
    isrc,
    names_of,
    over_cap,
    real_folder,
    seconds,
    split_artist,
)
from schemas.reasons import LeftOutError, Reason, legible

# Of one file.
MAX_PLAYLISTS = 10_000
MAX_ROWS = 500_000
_DELIMITERS = ",;\t"


@dataclass(frozen=True, kw_only=True)
class Columns:
    """Of one program, in small letters; an empty name is a column that it does not have."""

    title: str
    artist: str
    isrc: str = "isrc"
    uri: str = ""
    durations_ms: tuple[str, ...] = ()
    playlist: str = ""


_PROGRAMS = (
    Columns(
        title="track name",
        artist="artist name(s)",
        uri="track uri",
        durations_ms=("track duration (ms)", "duration (ms)"),
    ),
    Columns(title="track name", artist="artist name", playlist="playlist name"),
    Columns(title="title", artist="artist", uri="url"),
)
# TuneMyMusic's last column is the service that the playlist came from.
_SERVICE_IDS = {"spotify - id": "spotify", "youtube - id": "youtube", "deezer - id": "deezer", "apple - id": "apple"}


def columns_of(header: list[str]) -> Columns | None:
    """The program whose export has this header, or None."""
    names = {name.strip().lower() for name in header}
    return next((program for program in _PROGRAMS if {program.title, program.artist} <= names), None)


def read(path: Path, content: bytes) -> Iterator[ListedPlaylist | LeftOut]:
    """Raises LeftOutError where the file is no playlist."""
    text = decoded(content)
    head = text.split("\n", 1)[0]
    delimiter = max(_DELIMITERS, key=head.count)
    rows = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    try:
        header = [name.strip().lower() for name in next(rows, [])]
    except csv.Error as error:
        raise LeftOutError(Reason.BAD_VALUE, f"is no CSV ({error})") from error
    program = columns_of(header)
    if program is None:
        detail = "has the header of no export that is known (Exportify, Soundiiz, TuneMyMusic)"
        raise LeftOutError(Reason.BAD_VALUE, detail)
    own = file_id(path, content)
    playlists: dict[str, list[Entry]] = {} if program.playlist else {path.stem: []}
    read = 0
    while True:
        where = f"{path}:{rows.line_num + 1}"
        try:
            cells = next(rows)
        except StopIteration:
            break
        except csv.Error as error:
            # A cell beyond csv's own bound of 128 KiB, or a quote that has no end.
            yield LeftOut(where=where, reason=Reason.BAD_VALUE, detail=legible(str(error)))
            continue
        if not any(cell.strip() for cell in cells):
            continue
        try:
            row = dict(zip(header, cells, strict=False))
            name = clean(row.get(program.playlist, ""), "the playlist's name") if program.playlist else None
            entries = playlists.setdefault(name or path.stem, [])
            read += 1
            if len(entries) == MAX_ENTRIES or len(playlists) > MAX_PLAYLISTS or read > MAX_ROWS:
                yield over_cap(where)
                break
            entries.append(_entry(where, row, program))
        except LeftOutError as error:
            yield LeftOut(where=where, reason=error.reason, detail=error.detail)
    for name, entries in list(playlists.items())[:MAX_PLAYLISTS]:
        yield ListedPlaylist(
            playlist_id=f"{own}:{name}" if program.playlist else own,
            title=name,
            where=str(path),
            folder=real_folder(path),
            entries=tuple(entries),
        )


def _entry(where: str, row: dict[str, str], program: Columns) -> Entry:
    """Raises RowError."""
    title, artist = clean(row.get(program.title, ""), "title"), clean(row.get(program.artist, ""), "artist")
    names = [*isrc(row.get(program.isrc, "")), *names_of(clean(row.get(program.uri, ""), "address") or "")]
    for column, kind in _SERVICE_IDS.items():
        if identifier := clean(row.get(column, ""), column):
            names.append(f"{kind}:{identifier}")
    if not title and not names:
        raise LeftOutError(Reason.MISSING_FIELD, "the row has neither a title nor an id")
    if title and not artist:  # of a video
        artist, title = split_artist(title)
    length = next((found for column in program.durations_ms if (found := row.get(column))), "")
    return Entry(
        where=where,
        names=tuple(dict.fromkeys(names)),
        artist=artist,
        title=title,
        duration_s=seconds(length, per_second=1000),
    )
