"""Artist and title as people and programs write them, made comparable; and how near two of them are.

Normal form: NFKC, case-folded, accents of Latin, Greek and Cyrillic taken off, invisible characters dropped, `&` read
as `and`, whatever is no letter or digit a blank, no leading `the`. Of a title

- what says nothing of the recording is dropped: `(Remastered 2011)`, `- 2009 Remaster`, `[Official Video]`, `(Lyrics)`,
  `(Explicit)`, `(feat. …)`
- what makes it another recording is kept apart as its *version*: live, remix, acoustic, demo, instrumental …

The score of two names is the product of the nearness of their titles and of their artists, each 0 to 1. Titles are as
near as their letters (`difflib`), times VERSION_PENALTY where the versions differ. Artists: 1 where they are equal,
PART_OF where all names of one side are among the other's (`A` and `A, B`), or else as near as their letters. A name
without an artist on either side is compared by title alone, times NO_ARTIST.
"""

import difflib
import re
import unicodedata
from dataclasses import dataclass

VERSION_PENALTY = 0.7
PART_OF = 0.95
NO_ARTIST = 0.8
MAX_CHARS = 200
_ACCENTS = re.compile("[\u0300-\u036f]")
_BRACKETS = re.compile(r"[(\[{]([^()\[\]{}]*)[)\]}]")
_TAIL = re.compile(r"\s[-–—]\s([^-–—]*)$")
_FEATURED = re.compile(r"\b(?:feat|ft|featuring|with)\b\.?\s+(.*)$", re.IGNORECASE)
_NOISE = re.compile(
    r"\b(?:re-?master(?:ed)?|official|lyrics?|lyric video|audio|video|music video|visuali[sz]er|explicit|clean|hd|hq|4k"
    r"|mono|stereo|deluxe|bonus track|album version|original mix|single version|full album|topic)\b",
    re.IGNORECASE,
)
_VERSION = re.compile(
    r"\b(live|remix|rmx|mix|acoustic|unplugged|demo|instrumental|karaoke|cover|edit|version|reprise|orchestral"
    r"|sped up|slowed|nightcore|dub|a ?cappella|session)\b",
    re.IGNORECASE,
)
_ARTISTS = re.compile(r"\s*(?:[,;/]|&|\band\b|\bfeat\b\.?|\bft\b\.?|\bfeaturing\b|\bvs\b\.?|\bx\b)\s*", re.IGNORECASE)
_CHANNEL = re.compile(r"(?:\s-\stopic|\s*vevo|\s+official)$", re.IGNORECASE)
_ARTICLE = "the "
_WORD = re.compile(r"[0-9a-z]+")


@dataclass(frozen=True, kw_only=True)
class Name:
    """`title` and `artist` are in normal form; `artist` is empty where none is known."""

    title: str
    artist: str
    artists: frozenset[str]
    version: frozenset[str]

    @property
    def letters(self) -> str:
        """Artist and title without blanks: equal however they were divided."""
        return f"{self.artist}{self.title}".replace(" ", "")


def normal(text: str) -> str:
    if text.isascii():
        words = " ".join(_WORD.findall(text.lower().replace("&", " and ").replace("'", "")))
        return words.removeprefix(_ARTICLE) or words
    text = unicodedata.normalize("NFKD", unicodedata.normalize("NFKC", text).casefold())
    text = unicodedata.normalize("NFC", _ACCENTS.sub("", text)).replace("&", " and ")
    kept = "".join(
        character if (kind := unicodedata.category(character))[0] in "LNM" else "" if kind == "Cf" else " "
        for character in text.replace("'", "").replace("\u2019", "")
    )
    words = " ".join(kept.split())
    return words.removeprefix(_ARTICLE) or words


def names(artist: str | None, title: str | None) -> tuple[Name, ...]:
    """What an artist and a title may stand for: a title `Artist - Title` is read both ways."""
    if not title or not title.strip():
        return ()
    found = [_name(artist or "", title)]
    before, dash, after = title.partition(" - ")
    if dash and after.strip():
        found.append(_name(before, after))
    return tuple(dict.fromkeys(name for name in found if name.title))


def score(one: Name, other: Name) -> float:
    """0 to 1."""
    title = _ratio(one.title, other.title) * (1.0 if one.version == other.version else VERSION_PENALTY)
    if not one.artist or not other.artist:
        return title * NO_ARTIST
    if one.artist == other.artist or one.artists == other.artists:
        return title
    if one.artists <= other.artists or other.artists <= one.artists:
        return title * PART_OF
    return title * _ratio(one.artist, other.artist)


def _name(artist: str, title: str) -> Name:
    featured: list[str] = []
    version: set[str] = set()

    def aside(found: re.Match[str]) -> str:
        if guest := _FEATURED.match(found[1].strip()):
            featured.append(guest[1])
            return " "
        said = _NOISE.sub(" ", found[1])
        if _VERSION.search(said):
            version.update(normal(said).split())
            return " "
        return " " if _NOISE.search(found[1]) else found[0]

    bare = _TAIL.sub(aside, _BRACKETS.sub(aside, title))
    if (guest := _FEATURED.search(bare)) is not None and guest.start() and guest[0][:4].lower() != "with":
        featured.append(guest[1])
        bare = bare[: guest.start()]
    main = _CHANNEL.sub("", artist.strip())
    alone = frozenset(part for name in (main, *featured) for piece in _ARTISTS.split(name) if (part := normal(piece)))
    return Name(title=normal(bare) or normal(title), artist=normal(main), artists=alone, version=frozenset(version))


def _ratio(one: str, other: str) -> float:
    """Of the letters, so that T.N.T. is TNT. The cost is of their product, so the longest are compared in part."""
    one, other = one.replace(" ", ""), other.replace(" ", "")
    if one == other:
        return 1.0
    return difflib.SequenceMatcher(None, one[:MAX_CHARS], other[:MAX_CHARS], autojunk=False).ratio()
