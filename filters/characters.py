"""Characters that carry no words: markup, entities, emoji, invisible and control characters, styled letters.

Text of the internet is full of them, in every script, and both the short-form rules and the long-form sentences start
by taking them out. Each function is a pure rewrite whose work is linear in the text.
"""

import html
import re
import unicodedata

# Joiners are part of how Persian and the Indic scripts are spelt, and nothing but noise elsewhere.
_STRAY_JOINER = re.compile("(?<![\u0600-\u0dff])[\u200c\u200d]")
_INVISIBLE = re.compile(
    "[\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b\u200e\u200f\u202a-\u202e\u2060-\u206f\u3164"
    "\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufffc\U000e0000-\U000e0fff"
    "\x00-\x08\x0e-\x1b\x7f-\x84\x86-\x9f"
    "\ue000-\uf8ff\U000f0000-\U0010ffff\ud800-\udfff\ufdd0-\ufdef\ufffe\uffff]"
)
_STACKED_MARKS = re.compile(
    "([\u0300-\u036f\u0489\u1ab0-\u1aff\u20d0-\u20ff]{2})[\u0300-\u036f\u0489\u1ab0-\u1aff\u20d0-\u20ff]+"
)
# Pictures and ornaments. The signs of sharp, flat and natural (U+266D to U+266F) belong to names of keys and stay.
_PICTURES = re.compile(
    "[\u00a9\u00ae\u2117\u2120\u2122\u2190-\u21ff\u2300-\u23ff\u2460-\u2473\u2500-\u266c\u2670-\u27bf\u2900-\u297f\u2b00-\u2bff"
    "\u3004\u3013\u3020\u3030\u303d\u3297\u3299\U0001f000-\U0001faff\u20e3\ufffd]+"
)
_LINE_TAG = re.compile(r"<\s{0,3}(?:br|/p|/div|/li|p|li|div|hr)\b[^<>]{0,200}>", re.IGNORECASE)
_TAG = re.compile(
    r"</?(?:a|b|i|u|s|em|strong|span|font|img|center|small|big|sup|sub|h[1-6]|ul|ol|tt|code|pre)\b[^<>]{0,500}>",
    re.IGNORECASE,
)
_ENTITY = re.compile(r"&(?:#\d{1,7}|#[xX][0-9a-fA-F]{1,6}|[A-Za-z][A-Za-z0-9]{1,31});")
_MAX_UNESCAPES = 3
_QUOTES = str.maketrans(
    {
        "\u2018": "'",
        "\u2019": "'",
        "\u201b": "'",
        "\u00b4": "'",
        "\u02bc": "'",
        "\u201c": '"',
        "\u201d": '"',
        "\u201e": '"',
    }
)


def unescape_html(text: str) -> str:
    """HTML entities become characters, also where they were escaped more than once (`&amp;amp;`)."""
    for _ in range(_MAX_UNESCAPES):
        if "&" not in text:
            break
        unescaped = _ENTITY.sub(lambda match: html.unescape(match.group()), text)
        if unescaped == text:
            break
        text = unescaped
    return text


def strip_markup(text: str) -> str:
    """HTML elements go; those that end a line become a newline. `I <3 you` and `a < b` stay."""
    if "<" not in text:
        return text
    return _TAG.sub("", _LINE_TAG.sub("\n", text))


def strip_pictures(text: str) -> str:
    """Emoji, dingbats, arrows, box drawings and trade signs become a space."""
    return text if text.isascii() else _PICTURES.sub(" ", text)


def strip_invisible(text: str) -> str:
    """Zero-width, bidirectional, control, private and broken characters go; towers of marks are cut to two."""
    if text.isascii() and text.isprintable():
        return text
    return _INVISIBLE.sub("", _STACKED_MARKS.sub(r"\1", _STRAY_JOINER.sub("", text)))


def normalise_unicode(text: str) -> str:
    """NFKC: full-width and styled letters become plain, ligatures open, accents compose; quotes become straight."""
    return text if text.isascii() else unicodedata.normalize("NFKC", text.translate(_QUOTES))


def repair_mojibake(text: str) -> str:
    """UTF-8 that was read as Latin-1 or Windows-1252 is read again, also where only part of the text is such."""
    if text.isascii():
        return text
    # Most texts never get here, and it takes a tenth of a second to load (`python -m benchmarks.mojibake`).
    import ftfy

    return ftfy.fix_encoding(text)


def without_surrogates(text: str) -> str:
    """The text with lone surrogates replaced, so that it can be written as UTF-8."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode("utf-8")
