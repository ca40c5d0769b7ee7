"""Slices of Spotify's Million Playlist Dataset: `mpd.slice.0-999.json`, an object with `info` and `playlists`.

A playlist has `pid`, `name`, perhaps `description`, and `tracks` with `track_uri`, `artist_name`, `track_name`,
`album_name` and `duration_ms`. A slice is held whole (33 MiB as published); a file above MAX_FILE_BYTES is refused.
"""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from schemas.cells import RowError, as_number, as_text, is_no_value, type_name
from schemas.playlist_files.entries import Entry, LeftOut, ListedPlaylist
from schemas.playlist_files.text import MAX_DURATION_S, MAX_ENTRIES, clean, decoded, names_of, over_cap
from schemas.reasons import LeftOutError, Reason, legible


def parsed_json(content: bytes | str) -> Any:
    """Raises LeftOutError, also of what is nested too deeply to be held."""
    try:
        return json.loads(decoded(content) if isinstance(content, bytes) else content)
    except (ValueError, RecursionError) as error:
        raise LeftOutError(Reason.NOT_JSON, legible(str(error) or type(error).__name__)) from error


def field_text(value: Mapping[str, Any], field: str) -> str | None:
    """A text of an object, None where it has none. Raises RowError."""
    return clean(as_text(value.get(field), field) or "", field)


def read(path: Path, content: bytes) -> Iterator[ListedPlaylist | LeftOut]:
    """Raises LeftOutError where the file is no slice."""
    value = parsed_json(content)
    playlists = value.get("playlists") if isinstance(value, dict) else None
    if not isinstance(playlists, list):
        raise LeftOutError(Reason.BAD_VALUE, "is no slice of the Million Playlist Dataset: it has no list of playlists")
    for number, playlist in enumerate(playlists):
        where = f"{path}:playlists[{number}]"
        try:
            yield from _playlist(where, playlist)
        except LeftOutError as error:
            yield LeftOut(where=where, reason=error.reason, detail=error.detail)


def _playlist(where: str, value: Any) -> Iterator[ListedPlaylist | LeftOut]:
    """Raises RowError."""
    if not isinstance(value, dict):
        raise RowError(Reason.WRONG_TYPE, f"a playlist is {type_name(value)}; it must be an object")
    pid, name, description = (field_text(value, field) for field in ("pid", "name", "description"))
    tracks = value.get("tracks")
    if pid is None:
        raise RowError(Reason.MISSING_FIELD, "pid is missing")
    if not isinstance(tracks, list):
        raise RowError(Reason.WRONG_TYPE, f"tracks is {type_name(tracks)}; it must be a list")
    entries = []
    for number, track in enumerate(tracks):
        try:
            if number == MAX_ENTRIES:
                yield over_cap(where)
                break
            entries.append(_entry(f"{where}.tracks[{number}]", track))
        except LeftOutError as error:
            yield LeftOut(where=f"{where}.tracks[{number}]", reason=error.reason, detail=error.detail)
    yield ListedPlaylist(
        playlist_id=f"mpd:{pid}", title=name or "", description=description, where=where, entries=tuple(entries)
    )


def _entry(where: str, value: Any) -> Entry:
    """Raises RowError."""
    if not isinstance(value, dict):
        raise RowError(Reason.WRONG_TYPE, f"a track is {type_name(value)}; it must be an object")
    artist, title, uri = (field_text(value, field) for field in ("artist_name", "track_name", "track_uri"))
    if not title and not uri:
        raise RowError(Reason.MISSING_FIELD, "the track has neither track_name nor track_uri")
    length = value.get("duration_ms")
    milliseconds = None if is_no_value(length) else as_number(length, "duration_ms")
    return Entry(
        where=where,
        names=names_of(uri or ""),
        artist=artist,
        title=title,
        duration_s=milliseconds / 1000 if milliseconds and 0 < milliseconds <= MAX_DURATION_S * 1000 else None,
    )
