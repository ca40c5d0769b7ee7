"""The tags of a file as fields of a catalogue's row.

Title, artist and album are the first of their tags that says something, under the names that ffmpeg gives them in any
container; description, licence and tags are all of theirs; of a date the year counts. What is there for machines
(encoder, track number, lyrics) becomes no text. `comment` is the uploader's word and no listener's comment, so it is
part of the description. An address alone is no description.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from filters.characters import repair_mojibake
from pipeline.catalogues.genres import GENRES
from schemas.youtube_address import video_id

# Field -> tags, in the order in which they count.
TEXTS = {
    "title": ("title",),
    "artist": ("artist", "album_artist", "albumartist", "performer", "author", "album/artist", "composer"),
    "album": ("album", "product", "album/title"),
    "description": ("description", "synopsis", "summary", "comment", "comments"),
    "licence": ("license", "licence", "copyright", "rights"),
}
YEARS = ("originaldate", "originalyear", "tdor", "date", "year", "date_released", "tdrc", "tyer")
JOINED = {"description": "\n", "licence": "; "}  # of these fields all tags count
LISTS = ("genre", "style", "mood", "keywords", "keyword", "tags", "album/genre")
NAMES = {
    "isrc": ("isrc", "tsrc", "itunsisrc"),
    "musicbrainz": ("musicbrainz_trackid", "musicbrainz track id", "musicbrainz recording id"),
}
ADDRESSES = ("purl", "webpage_url", "comment", "url", "woaf", "website")
# ffmpeg puts a semicolon between the values of one Vorbis comment, and a NUL or a slash between those of others.
_JOINED = {"ogg": ";", "flac": ";"}
_MOST_FOREIGN = 1 / 3
_GENRE_NUMBERS = re.compile(r"\((\d{1,3})\)")
# A language may stand behind the name (`comment-eng`), and in Matroska what is meant in front of it.
_ASIDE = re.compile(r"^(?:track|song|movie)/|-[a-z]{3}$")
_YEAR = re.compile(r"(?<!\d)(1[89]\d\d|20\d\d)(?!\d)")
_LINK = re.compile(r"https?://\S+")


_KNOWN = frozenset({*(name for names in TEXTS.values() for name in names), *LISTS})


@dataclass(frozen=True, kw_only=True)
class Described:
    """row: fields of a catalogue's row. lost: tags that are no text in an encoding that is known."""

    row: dict[str, Any]
    names: tuple[str, ...]
    lost: tuple[str, ...]


def describe(tags: Mapping[str, str], container: str) -> Described:
    separator = _JOINED.get(container)
    texts: dict[str, str] = {}
    lost = []
    for name, value in tags.items():
        plain = name if name.isalnum() else _ASIDE.sub("", name)
        text = mended(value)
        if text is None:
            lost.append(plain)
        elif text and (plain not in texts or plain == name):
            texts[plain] = text
    row: dict[str, Any] = {}
    for field, names in TEXTS.items():
        if texts.keys().isdisjoint(names):
            continue
        found = [texts[name] for name in names if name in texts and not _only_link(field, texts[name])]
        if field in JOINED:
            found = [JOINED[field].join(dict.fromkeys(found))]
        if text := next(iter(found), ""):
            row[field] = ", ".join(_split(text, separator)) if field == "artist" else text
    if listed := _listed(texts, separator):
        row["tags"] = listed
    years = (year_of(texts[name]) for name in YEARS if name in texts)
    if (year := next((year for year in years if year is not None), None)) is not None:
        row["year"] = year
    wanted = {field: texts[name] for field, names in NAMES.items() for name in reversed(names) if name in texts}
    found_names = [f"{kind}:{_name(kind, value)}" for kind, value in wanted.items()]
    videos = (video_id(texts[name]) for name in ADDRESSES if name in texts and _LINK.fullmatch(texts[name]))
    found_names += [f"youtube:{video}" for video in videos if video is not None]
    return Described(row=row, names=tuple(dict.fromkeys(found_names)), lost=tuple(sorted(_KNOWN.intersection(lost))))


def year_of(text: str) -> int | None:
    """Of a date as people write it: the one number of four digits that can be a year of a recording."""
    years = {int(found) for found in _YEAR.findall(text)}
    return years.pop() if len(years) == 1 else None


def mended(value: str) -> str | None:
    """A tag as a text, None where that would be a guess: UTF-8 that was called Latin-1 is read again; bytes that are no
    UTF-8 are Windows-1252 where few of the letters are beyond ASCII, as in the languages that are written in it."""
    if value.isascii() and value.isprintable():
        return value.strip()
    text = value
    if not text.isascii() and any("\udc80" <= character <= "\udcff" for character in text):
        try:
            text = text.encode("utf-8", "surrogateescape").decode("cp1252")
        except UnicodeError:
            return None
        letters = [character for character in text if character.isalpha()]
        if sum(not letter.isascii() for letter in letters) > _MOST_FOREIGN * len(letters):
            return None
    text = repair_mojibake(text).replace("\r\n", "\n").replace("\r", "\n")
    # A NUL stands between values where ffmpeg leaves them as they are.
    text = "".join(c if c in "\n\t" or c.isprintable() or c in _JOINERS else " " for c in text.replace("\0", "; "))
    return text.strip().strip(";").strip()


# Zero-width joiners and direction marks are a part of how some scripts are written.
_JOINERS = "\u200c\u200d\u200e\u200f"


def _split(text: str, separator: str | None) -> list[str]:
    parts = text.split(separator) if separator else [text]
    return [part.strip() for part in parts if part.strip()]


def _listed(texts: Mapping[str, str], separator: str | None) -> list[str]:
    found: list[str] = []
    for name in LISTS:
        if name in texts:
            for part in _split(texts[name], separator):
                found += _genres(part) if name == "genre" else [part]
    return list(dict.fromkeys(found))


def _genres(text: str) -> Iterable[str]:
    """ID3's numbers by their names: `17`, `(17)`, and `(4)Eurodisco`, where the text refines the number."""
    if text.isdecimal():
        return [_genre(text)]
    numbers = _GENRE_NUMBERS.match(text)
    if numbers is None:
        return [text]
    rest = _GENRE_NUMBERS.sub("", text).strip()
    return [_genre(number) for number in _GENRE_NUMBERS.findall(text)] + ([rest] if rest else [])


def _genre(number: str) -> str:
    return GENRES[int(number)] if int(number) < len(GENRES) else number


def _only_link(field: str, text: str) -> bool:
    return field == "description" and _LINK.fullmatch(text) is not None


def _name(kind: str, value: str) -> str:
    return value.replace("-", "").upper() if kind == "isrc" else value.lower()
