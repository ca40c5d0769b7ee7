"""Which file is which playlist, by its ending: the one door to the formats.

A file that is no playlist gives one `LeftOut`, as does every entry that cannot be used.
"""

from collections.abc import Callable, Iterator
from pathlib import Path

from schemas.playlist_files import exports, m3u, million, pls, xspf
from schemas.playlist_files.entries import LeftOut, ListedPlaylist
from schemas.playlist_files.text import clean, read_bounded
from schemas.reasons import LeftOutError, Reason

_FORMATS: dict[str, Callable[[Path, bytes], Iterator[ListedPlaylist | LeftOut]]] = {
    ".m3u": m3u.read,
    ".m3u8": m3u.read,
    ".pls": pls.read,
    ".xspf": xspf.read,
    ".csv": exports.read,
    ".tsv": exports.read,
    ".json": million.read,
}
SUFFIXES = tuple(_FORMATS)
# Endings that nothing but a playlist has; the others are read where they are named.
SURE_SUFFIXES = (".m3u", ".m3u8", ".pls", ".xspf")


def is_playlist_file(path: Path) -> bool:
    """Whether the name alone says that this is a playlist: by its ending, or a slice of Spotify's."""
    return path.suffix.lower() in SURE_SUFFIXES or (path.name.startswith("mpd.slice.") and path.suffix == ".json")


def playlist_files(source: Path) -> list[Path]:
    """The file itself, whatever its name; of a folder those below it whose names say that they are playlists."""
    if not source.is_dir():
        return [source]
    return sorted(path for path in source.rglob("*") if is_playlist_file(path) and path.is_file())


def read_playlists(path: Path) -> Iterator[ListedPlaylist | LeftOut]:
    """The playlists of a file; its title, where it has none of its own, is the name of the file."""
    reader = _FORMATS.get(path.suffix.lower())
    try:
        if reader is None:
            raise LeftOutError(Reason.BAD_VALUE, f"is no playlist file ({', '.join(SUFFIXES)})")
        clean(path.stem, "the file's name")
        yield from reader(path, read_bounded(path))
    except LeftOutError as error:
        yield LeftOut(where=str(path), reason=error.reason, detail=error.detail)
