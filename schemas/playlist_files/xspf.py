"""`.xspf`: the XML of VLC, Audacious, Clementine and ListenBrainz (https://xspf.org/spec).

Read by expat as a stream. A document type is refused before its first declaration is read, so that no entity is ever
defined, expanded or fetched; depth, texts and tracks are bounded.
"""

from collections.abc import Iterator
from pathlib import Path
from xml.parsers import expat

from schemas.playlist_files.entries import Entry, LeftOut, ListedPlaylist
from schemas.playlist_files.text import (
    MAX_ENTRIES,
    MAX_LINE_BYTES,
    clean,
    file_id,
    names_of,
    over_cap,
    place,
    real_folder,
    seconds,
)
from schemas.reasons import LeftOutError, Reason, legible

MAX_DEPTH = 32
_OF_TRACK = ("location", "identifier", "title", "creator", "duration")
_OF_PLAYLIST = ("title", "annotation")


def read(path: Path, content: bytes) -> Iterator[ListedPlaylist | LeftOut]:
    """Raises LeftOutError where the file is no playlist."""
    parsed = _Parser()
    parsed.run(content)
    entries = []
    for line, fields in parsed.tracks:
        where = f"{path}:{line}"
        try:
            entries.append(_entry(where, fields))
        except LeftOutError as error:
            yield LeftOut(where=where, reason=error.reason, detail=error.detail)
    if parsed.over_from is not None:
        yield over_cap(f"{path}:{parsed.over_from}")
    texts = {}
    for name in _OF_PLAYLIST:
        try:
            texts[name] = clean(parsed.about.get(name, ""), name)
        except LeftOutError as error:
            yield LeftOut(where=str(path), reason=error.reason, detail=error.detail)
    yield ListedPlaylist(
        playlist_id=file_id(path, content),
        title=texts.get("title") or path.stem,
        description=texts.get("annotation"),
        where=str(path),
        folder=real_folder(path),
        entries=tuple(entries),
    )


def _entry(where: str, fields: dict[str, list[str]]) -> Entry:
    """Raises RowError."""
    path: str | None = None
    names: list[str] = []
    for location in fields["location"]:
        found, known = _location(clean(location, "location") or "")
        path = path or found
        names += known
    for identifier in fields["identifier"]:
        names += names_of(clean(identifier, "identifier") or "")
    title, artist = ((clean(next(iter(fields[name]), ""), name)) for name in ("title", "creator"))
    length = seconds(next(iter(fields["duration"]), ""), per_second=1000)
    entry = Entry(
        where=where, path=path, names=tuple(dict.fromkeys(names)), artist=artist, title=title, duration_s=length
    )
    if not (path or names or title):
        raise LeftOutError(Reason.MISSING_FIELD, "the track has no location, identifier or title")
    return entry


def _location(address: str) -> tuple[str | None, tuple[str, ...]]:
    """A location is an address, so a relative path is percent-encoded too."""
    if not address:
        return None, ()
    return place(address if "://" in address else f"file:{address}")


class _Parser:
    def __init__(self) -> None:
        self.tracks: list[tuple[int, dict[str, list[str]]]] = []
        self.about: dict[str, str] = {}
        self.over_from: int | None = None  # the line of the first track that is one too many
        self._track: dict[str, list[str]] = {}
        self._open: list[str] = []
        self._text: list[str] | None = None
        self._chars = 0
        self._expat = expat.ParserCreate()
        self._expat.buffer_text = True
        self._expat.StartElementHandler = self._start
        self._expat.EndElementHandler = self._end
        self._expat.CharacterDataHandler = self._data
        self._expat.StartDoctypeDeclHandler = self._refuse

    def run(self, content: bytes) -> None:
        """Raises LeftOutError."""
        try:
            self._expat.Parse(content, True)
        except expat.ExpatError as error:
            raise LeftOutError(Reason.BAD_VALUE, f"is not XML ({legible(str(error))})") from error
        except (ValueError, LookupError) as error:  # an encoding that there is not
            raise LeftOutError(Reason.NOT_UTF8, legible(str(error))) from error

    def _refuse(self, *_: object) -> None:
        raise LeftOutError(Reason.BAD_VALUE, "has a document type, which no XSPF needs and which may hold entities")

    def _start(self, name: str, _: dict[str, str]) -> None:
        name = name.rpartition(":")[2]
        if not self._open and name != "playlist":
            raise LeftOutError(Reason.BAD_VALUE, f"is no XSPF: its root is {legible(name)!r}")
        self._open.append(name)
        if len(self._open) > MAX_DEPTH:
            raise LeftOutError(Reason.BAD_VALUE, f"is nested deeper than {MAX_DEPTH} elements")
        if self._open == ["playlist", "trackList", "track"]:
            self._track = {field: [] for field in _OF_TRACK}
            if len(self.tracks) < MAX_ENTRIES:
                self.tracks.append((self._expat.CurrentLineNumber, self._track))
            elif self.over_from is None:
                self.over_from = self._expat.CurrentLineNumber
        self._text, self._chars = [], 0

    def _data(self, text: str) -> None:
        if self._text is not None and self._chars < MAX_LINE_BYTES:
            self._text.append(text[:MAX_LINE_BYTES])
            self._chars += len(text)

    def _end(self, _: str) -> None:
        name, text = self._open.pop(), "".join(self._text or ())
        # A text that is cut short here is longer than any that is read: `clean` refuses it.
        if self._open == ["playlist", "trackList", "track"] and name in _OF_TRACK:
            self._track[name].append(text)
        elif self._open == ["playlist"] and name in _OF_PLAYLIST:
            self.about.setdefault(name, text)
        self._text = None
