"""What the path of a recording says of it, where its tags say nothing.

The rule, on the path within the tree and without the suffix:

    Artist/Album/01 - Title      folders count only above a name that begins with a track's number
    Artist/Album/CD 1/01 Title   folders of discs are passed over
    Artist - Album/01 - Title    so is a folder that has both
    Artist - Title               anywhere; a track's number may stand in front
    Artist - Album - 01 - Title
    Title [dQw4w9WgXcQ]          yt-dlp's name; the id is kept as a name of the recording
    Title                        what is left of it, but for `Track 01` and its like, and for one word with digits in
                                 it, which is an id

What says that nobody knows (`Unknown Artist`, `Various Artists`) is left out too. Underscores stand for spaces where a
name has no space. A folder that only happens to be above a recording (`Downloads`) is nobody's name, so two folders
without a track's number give none.
"""

import functools
import os
import re
from dataclasses import dataclass, field

_VIDEO = re.compile(r"(?P<rest>.*\S)\s*\[(?P<id>[\w-]{11})\]")
_TRACK = re.compile(r"(?:(?:cd|disc)?\s*\d{1,2}[-.])?\d{1,3}(?:\s*[-.)–]\s*|\s+)(?=\S)", re.IGNORECASE)
_ONLY_TRACK = re.compile(
    r"(?:audio\s*)?(?:track|titel|piste|untitled|unknown|recording|audio)?[\s\d.()-]*", re.IGNORECASE
)
_ID = re.compile(r"\S*\d\S*")
_NOBODY = frozenset({"unknown", "unknown artist", "unknown album", "various", "various artists", "va", "v.a."})
_DISC = re.compile(r"(?:cd|dis[ck])\s*\d{1,2}", re.IGNORECASE)
_BETWEEN = re.compile(r"\s+[-–—]\s+")


@dataclass(frozen=True, kw_only=True)
class Guess:
    """names: as those of `pipeline.catalogues.reader.Recording`."""

    artist: str | None = None
    album: str | None = None
    title: str | None = None
    names: tuple[str, ...] = field(default=())


def guess(path: str) -> Guess:
    """`path` is within the tree, with its suffix."""
    above, _, last = path.rpartition("/")
    name = _spaced(os.path.splitext(last)[0])
    names: tuple[str, ...] = ()
    if video := _VIDEO.fullmatch(name):
        name, names = video["rest"], (f"youtube:{video['id']}",)
    numbered = _TRACK.match(name)
    pieces = _BETWEEN.split(name[numbered.end() :] if numbered else name)
    artist = album = None
    match pieces:
        case [one, two]:
            artist, title = one, two
        case [one, two, number, three] if number.isdecimal():
            artist, album, title = one, two, three
        case _:
            title = " - ".join(pieces)
    if numbered and artist is None:
        artist, album = _of_folders(above)
    is_name = not (_ONLY_TRACK.fullmatch(title) or (artist is None and not numbered and _ID.fullmatch(title)))
    return Guess(artist=_said(artist), album=_said(album), title=_said(title) if is_name else None, names=names)


@functools.lru_cache(maxsize=256)
def _of_folders(path: str) -> tuple[str | None, str | None]:
    """Artist and album by the folders above a recording."""
    folders = [folder for part in path.split("/") if not _DISC.fullmatch(folder := _spaced(part))]
    match [_BETWEEN.split(folder, maxsplit=1) for folder in folders[-2:]]:
        case [*_, [artist, album]]:
            return artist, album
        case [[artist], [album]]:
            return artist, album
        case _:
            return None, None


def _spaced(name: str) -> str:
    return " ".join((name if " " in name else name.replace("_", " ")).split())


def _said(text: str | None) -> str | None:
    says = text is not None and any(character.isalnum() for character in text) and text.lower() not in _NOBODY
    return text if says else None
