"""What a reader of people's collections gives, and how one is found by name: the seam of `mulan catalog`.

A reader knows one layout (a tree of media, yt-dlp's dumps, a playlist, a published data set). It yields recordings,
playlists and what it left out, in a fixed order, and joins nothing: which playlist entry is which recording is decided
once, for all readers, by schemas/playlist_files/matching.py.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeAlias

from schemas.lookup import find_factory
from schemas.playlist_files.entries import Entry, LeftOut, ListedPlaylist

__all__ = ["READERS", "Entry", "Item", "LeftOut", "ListedPlaylist", "Reader", "Recording", "find_reader"]


@dataclass(frozen=True, kw_only=True)
class Recording:
    """One recording as its source has it.

    row: the fields of a catalogue's row, checked by `schemas.catalogue` later, and `year`; a local `audio_uri` is an
        absolute path.
    where: the file, with the line where it has lines, for rejects and matching.
    names: what else it is called, each as `kind:value` (`isrc:`, `youtube:`, `spotify:`, `fma:` …), lower-case kinds.
    duration_s: of the whole recording, where it is known.
    only_named: a list names it (a line of a flat playlist); any other of its id takes its place.
    """

    row: Mapping[str, Any]
    where: str
    names: tuple[str, ...] = ()
    duration_s: float | None = None
    only_named: bool = False


Item: TypeAlias = Recording | ListedPlaylist | LeftOut


class Reader(Protocol):
    """A reader is a function of a path. It raises InputError where the path is not what it reads at all."""

    def __call__(self, source: Path, /) -> Iterator[Item]: ...


# Name -> the function; a source that says no name is read by what it looks like (pipeline/catalogues/command.py).
READERS: dict[str, str] = {
    "folder": "pipeline.catalogues.folder:read",
    "yt_dlp": "pipeline.catalogues.yt_dlp:read",
    "playlist": "pipeline.catalogues.playlists:read",
    "fma": "pipeline.catalogues.fma:read",
    "mtg_jamendo": "pipeline.catalogues.mtg_jamendo:read",
    "magnatagatune": "pipeline.catalogues.magnatagatune:read",
    "musiccaps": "pipeline.catalogues.musiccaps:read",
    "song_describer": "pipeline.catalogues.song_describer:read",
}


def find_reader(name: str) -> Reader:
    """Raises UnknownNameError."""
    return find_factory(name, READERS, "reader")
