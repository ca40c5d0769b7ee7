"""A file of playlists, or every one in a folder: `.m3u`, `.m3u8`, `.pls`, `.xspf`, csv exports, Spotify's slices."""

from collections.abc import Iterator
from pathlib import Path

from pipeline.catalogues.reader import Item
from schemas.exits import InputError
from schemas.playlist_files.files import playlist_files, read_playlists


def read(source: Path) -> Iterator[Item]:
    """A csv is read where it is named itself; in a folder it may be anything. Raises InputError."""
    files = playlist_files(source)
    if not files:
        raise InputError(f"{source}: has no playlists (.m3u, .m3u8, .pls, .xspf, mpd.slice.*.json)")
    for path in files:
        yield from read_playlists(path)
