"""A playlist as a file: `.m3u8` and XSPF for players, CSV for spreadsheets.

Titles and names come from strangers. In a file one is a line, a cell or a text, whatever is in it: none makes an entry
of its own, and none is run by a spreadsheet.
"""

import csv
import io
import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from schemas.spreadsheet import neutralise

_XSPF = "http://xspf.org/ns/0/"
# What neither XML 1.0 nor a line of a playlist can hold.
_UNWRITABLE = re.compile("[^\t\n\r\x20-\x7e\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


@dataclass(frozen=True, kw_only=True)
class Entry:
    """`location` is a URI, with nothing in it that a line cannot hold."""

    recording_id: str
    location: str
    title: str = ""
    artist: str = ""
    album: str = ""
    licence: str = ""
    duration_s: float | None = None


def _line(text: str) -> str:
    return " ".join(_UNWRITABLE.sub(" ", text).split())


def _m3u8(entries: Iterable[Entry]) -> str:
    lines = ["#EXTM3U"]
    for entry in entries:
        length = -1 if entry.duration_s is None else round(entry.duration_s)
        lines += [f"#EXTINF:{length},{' - '.join(filter(None, map(_line, (entry.artist, entry.title))))}"]
        lines += [_line(entry.location)]
    return "\n".join(lines) + "\n"


def _xspf(entries: Iterable[Entry]) -> str:
    root = ElementTree.Element("playlist", {"version": "1", "xmlns": _XSPF})
    tracks = ElementTree.SubElement(root, "trackList")
    for entry in entries:
        track = ElementTree.SubElement(tracks, "track")
        fields = {"location": entry.location, "title": entry.title, "creator": entry.artist, "album": entry.album}
        if entry.duration_s is not None:
            fields["duration"] = str(round(entry.duration_s * 1000))
        for name, text in fields.items():
            if line := _line(text):
                ElementTree.SubElement(track, name).text = line
    ElementTree.indent(root)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ElementTree.tostring(root, encoding="unicode") + "\n"


def _csv(entries: Iterable[Entry]) -> str:
    stream = io.StringIO()
    rows = csv.writer(stream, quoting=csv.QUOTE_ALL, lineterminator="\n")
    names = ("recording_id", "title", "artist", "album", "duration_s", "licence", "location")
    rows.writerow(names)
    for entry in entries:
        cells = (getattr(entry, name) for name in names)
        rows.writerow("" if cell is None else neutralise(str(cell)) for cell in cells)
    return stream.getvalue()


@dataclass(frozen=True, kw_only=True)
class PlaylistFormat:
    write: Callable[[Sequence[Entry]], str]
    media_type: str


FORMATS = {
    "m3u8": PlaylistFormat(write=_m3u8, media_type="application/vnd.apple.mpegurl"),
    "xspf": PlaylistFormat(write=_xspf, media_type="application/xspf+xml"),
    "csv": PlaylistFormat(write=_csv, media_type="text/csv"),
}
