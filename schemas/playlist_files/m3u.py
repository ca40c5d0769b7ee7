"""`.m3u` and `.m3u8`: a path or an address a line, with `#EXTINF:seconds,Artist - Title` before it.

`.m3u8` is UTF-8; `.m3u` is what it decodes as, UTF-8 or else Windows-1252. `#PLAYLIST:` is the title. A playlist of a
stream's segments (HLS) has the same ending and is refused.
"""

from collections.abc import Iterator
from pathlib import Path

from schemas.playlist_files.entries import Entry, LeftOut, ListedPlaylist
from schemas.playlist_files.text import (
    MAX_ENTRIES,
    MAX_LINE_BYTES,
    clean,
    decoded,
    file_id,
    lines_of,
    over_cap,
    place,
    real_folder,
    seconds,
    split_artist,
)
from schemas.reasons import LeftOutError, Reason


def read(path: Path, content: bytes) -> Iterator[ListedPlaylist | LeftOut]:
    """Raises LeftOutError where the file is no playlist."""
    entries: list[Entry] = []
    title: str | None = None
    said: str | None = None  # by the EXTINF before
    for number, line in lines_of(decoded(content, latin=path.suffix.lower() == ".m3u")):
        where = f"{path}:{number}"
        try:
            if len(line) > MAX_LINE_BYTES:
                raise LeftOutError(Reason.LINE_TOO_LONG, f"has {len(line)} characters")
            if line.startswith("#EXT-X-"):
                raise _StreamError(Reason.BAD_VALUE, "lists the segments of a stream (HLS), not recordings")
            if line.startswith("#EXTINF:"):
                said = line.removeprefix("#EXTINF:")
            elif line.startswith("#PLAYLIST:"):
                title = clean(line.removeprefix("#PLAYLIST:"), "the title")
            elif line and not line.startswith("#"):
                about, said = said, None
                if len(entries) == MAX_ENTRIES:
                    yield over_cap(where)
                    break
                entries.append(_entry(where, line, about))
        except _StreamError:
            raise
        except LeftOutError as error:
            yield LeftOut(where=where, reason=error.reason, detail=error.detail)
    yield ListedPlaylist(
        playlist_id=file_id(path, content),
        title=title or path.stem,
        where=str(path),
        folder=real_folder(path),
        entries=tuple(entries),
    )


class _StreamError(LeftOutError):
    """It ends the file, not the line."""


def _entry(where: str, line: str, about: str | None) -> Entry:
    """Raises RowError."""
    path, names = place(clean(line, "the path") or "")
    # What stands before the comma is the length, and after it attributes (`-1 tvg-id="…"`).
    length, _, label = (about or "").partition(",")
    artist, title = split_artist(clean(label, "EXTINF") or "")
    length = length.split(maxsplit=1)[0] if length.strip() else ""
    return Entry(where=where, path=path, names=names, artist=artist, title=title, duration_s=seconds(length))
