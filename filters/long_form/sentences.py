"""Descriptions and comments become sentences: the unit of the paper's long-form annotations (section 3.4).

Order: the whole text is cut to a bounded length, freed of markup and invisible characters, then *redacted*, then split.
Redaction comes first because an address or a phone number may hold dots and run over what looks like the end of a
sentence; its placeholders hold none, so the splitter cannot cut through them. Lines are split first (a comment's line
break is meant), then sentences within a line.
"""

import re

from filters import characters
from filters.long_form.redaction import redact

VERSION = 2  # raised when what comes out changes (tests/test_versions.py)

MAX_TEXT_CHARS = 20_000
MAX_SENTENCES = 500

# fmt: off
_ABBREVIATIONS = frozenset(
    {
        "mr", "mrs", "ms", "mx", "dr", "prof", "rev", "sr", "sra", "srta", "jr", "st", "ste", "mt", "vs",
        "feat", "ft", "pt", "pts", "prod", "arr", "comp", "no", "nos", "nr", "op", "vol", "ch", "ep", "fig",
        "ed", "eds", "pp", "etc", "e.g", "i.e", "eg", "ie", "cf", "al", "approx", "est", "min", "max", "sec",
        "hr", "hrs", "lbs", "inc", "ltd", "co", "corp", "dept", "univ", "assn", "bros", "jan", "feb", "mar",
        "apr", "jun", "jul", "aug", "sep", "sept", "oct", "nov", "dec", "mon", "tue", "wed", "thu", "fri",
        "sat", "sun", "a.m", "p.m", "u.s", "u.k", "u.s.a", "d.c", "n.y", "m.v", "r.i.p", "d.j", "o.s.t",
        "r&b", "bwv", "kv", "hob", "z.b", "d.h", "u.a", "ca", "bzw", "usw", "p.ex", "p.e", "ej", "núm", "pág",
        "av", "т.е", "т.д", "т.п", "др", "г", "гг", "им",
    }
)
# These are abbreviations before a number only: "No. 5", but "I said no. Then …".
_BEFORE_NUMBER = frozenset(
    {
        "no", "nos", "op", "vol", "pt", "pts", "ch", "ep", "fig", "nr", "min", "max", "pp", "mar", "sat",
        "sun", "co", "ed", "al", "ca", "г", "av", "st", "mt", "mr", "ms", "cat",
    }
)
# fmt: on
_NAME_BEFORE = frozenset({"st", "mt", "mr", "ms"})

_LINES = re.compile(r"[\n\r\x0b\x0c\x1c-\x1e\x85\u2028\u2029]+")
_CJK = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af"
_BOUNDARY = re.compile(
    rf"[。｡！？]+[」』）\)\"'”’]{{0,3}}|(?<=[{_CJK}])[!?]{{1,9}}(?=[{_CJK}])|[.!?…۔।॥؟‽]{{1,50}}[\"'”’»)\]]{{0,3}}(?=\s)"
)
_LAST_WORD = re.compile(r"[^\s(\[\"'“‘«]{1,20}$")
_BULLET = re.compile(r"^[\s\-–—*•·►▶>~=+|_#]{1,40}(?=\S)")
_EDGE = re.compile(r"^[\s\-–—|_=~*•]+|[\s\-–—|_=~*•]+$")
_SPACES = re.compile(r"\s+")
_RUN = re.compile(r"([^\w\s])\1{3,}")
_LONG_RUN = re.compile(r"([^\W\d_])\1{5,}")
_NOT_WORD = re.compile(r"[\W_]+")
_REPEATED_LETTER = re.compile(r"([^\W\d_])\1{2,}")


def prepare(text: str) -> str:
    """The text as the splitter takes it: bounded, without markup and invisible characters, redacted."""
    text = text[:MAX_TEXT_CHARS]
    text = characters.strip_markup(characters.unescape_html(text))
    text = characters.strip_invisible(characters.repair_mojibake(text))
    text = characters.normalise_unicode(characters.strip_pictures(text))[:MAX_TEXT_CHARS]
    return redact(_LONG_RUN.sub(r"\1\1\1", _RUN.sub(r"\1\1\1", text)))


def sentences(text: str) -> list[str]:
    """The redacted sentences of a text, in order, at most 500 of its first 20,000 characters."""
    found: list[str] = []
    for line in _LINES.split(prepare(text)):
        for sentence in _split_line(_BULLET.sub("", line)):
            tidy = _EDGE.sub("", _SPACES.sub(" ", sentence))
            if tidy:
                found.append(tidy)
                if len(found) == MAX_SENTENCES:
                    return found
    return found


def duplicate_key(sentence: str) -> str:
    """Equal for sentences that differ in case, punctuation, spaces and letters held for emphasis ("soooo")."""
    folded = _NOT_WORD.sub(" ", sentence.casefold()).strip()
    return _REPEATED_LETTER.sub(r"\1\1", folded) or sentence.strip()


def _split_line(line: str) -> list[str]:
    pieces: list[str] = []
    start = 0
    for match in _BOUNDARY.finditer(line):
        if _ends_sentence(line, start, match):
            pieces.append(line[start : match.end()])
            start = match.end()
    pieces.append(line[start:])
    return pieces


def _ends_sentence(line: str, start: int, match: re.Match[str]) -> bool:
    mark = match.group()
    follows = line[match.end() : match.end() + 40].lstrip()
    if not follows:
        return True
    if mark.startswith(("...", "…")) or mark == "..":
        # Ellipses join as often as they end; a small letter after one goes on.
        return not follows[0].islower()
    if mark != ".":
        return True
    last = _LAST_WORD.search(line, max(start, match.start() - 20), match.start())
    if last is None:
        return True
    word = last.group().casefold()
    if len(word) == 1 and word.isalpha() and last.group().isupper():
        return False  # an initial
    if word.isdigit() and len(word) <= 2 and match.start() - len(word) <= start + 1:
        return False  # the number of an item
    if word in _BEFORE_NUMBER:
        return not (follows[0].isdigit() or (word in _NAME_BEFORE and follows[0].isupper()))
    return word not in _ABBREVIATIONS
