"""The short-form rules: what is taken out of titles, artists, albums and tags, and what is left out whole.

By the paper's Table 2 (section 3.4), its short-form annotations go from 16.5 to 4.15 tokens each while 69 % of them
stay, so its rules rewrite as well as drop; it does not publish them. Ours stand here in the order in which they run.
Each has an id, the reason that an annotation is given when the rule leaves nothing of it, and examples that the tests
run.

The rules are applied again until nothing changes, so that cleaning a clean text does nothing. The text is cut to a
bounded length first, and no expression backtracks over more than that.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import StrEnum

from filters import characters
from filters.short_form import vocabulary
from filters.short_form.vocabulary import Kind, fold, words
from schemas.reasons import Reason

VERSION = 2  # raised when what comes out changes (tests/test_versions.py)

MAX_RAW_CHARS = 2_000
MAX_CHARS = 300
_MAX_PASSES = 20


class Field(StrEnum):
    """Where an annotation comes from."""

    TITLE = "title"
    ARTIST = "artist"
    ALBUM = "album"
    TAG = "tag"


ALL_FIELDS = frozenset(Field)


@dataclass(frozen=True, kw_only=True)
class Example:
    """`after` None: the annotation is dropped."""

    before: str
    after: str | None
    field: Field = Field.TITLE


@dataclass(frozen=True, kw_only=True)
class Rule:
    """`rewrite` returns the text as it should be, "" to drop it; `reason` is given when this rule leaves nothing."""

    id: str
    reason: Reason
    what: str
    rewrite: Callable[[str], str]
    examples: tuple[Example, ...]
    fields: frozenset[Field] = ALL_FIELDS


@dataclass(frozen=True, kw_only=True)
class ShortForm:
    """A cleaned annotation, or the reason why there is none, and the ids of the rules that changed it."""

    text: str | None
    reason: Reason | None
    hits: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class ShortFormResult:
    """The annotations of one recording: read (`unfiltered`) = `kept` + `dropped`."""

    kept: tuple[str, ...]
    unfiltered: tuple[str, ...]
    dropped: dict[Reason, int]
    hits: dict[str, int]


# Links.
_URL = re.compile(
    r"(?:https?|ftp)\s{0,2}:\s{0,2}/\s?/\S+|(?<![\w@])www\.\S+|"
    r"(?<![\w@.])[\w\-]{1,63}(?:\.[\w\-]{1,63}){0,3}\.(?:com|net|org|info|io|fm|me|tv|co\.uk|de|fr|es|it|ru|br|jp|kr|ly|gl|be|cc|ws|gg|to)/\S*|"
    r"(?<![\w@.])[\w\-]{2,63}\.(?:com|net|org|info|fm|co\.uk|com\.br|ru)(?![\w.])",
    re.IGNORECASE,
)
_EMAIL = re.compile(r"[\w.+\-]{1,64}@[\w\-]{1,63}(?:\.[\w\-]{1,63}){1,4}")
_HANDLE = re.compile(r"(?<![\w@])@(?=[\w.]*[^\W\d_])\w[\w.]{1,39}")
_HASHTAG = re.compile(r"(?<![\w#&/])#(?=\w*[^\W\d_])(\w{2,100})")

# Groups in brackets and segments between separators.
_GROUP = re.compile(r"[(\[{【「『《〈〔][^()\[\]{}【】「」『』《》〈〉〔〕]{0,200}[)\]}】」』》〉〕]")
_EMPTY_GROUP = re.compile(r"[(\[{【「『《〈〔]\W{0,20}?[)\]}】」』》〉〕]")
_SEPARATOR = re.compile(r"(\s+(?:[-–—~/:·•∙]|//)\s+|\s*[|¦•]+\s*|\s+//+\s*|:\s+)")
_DURATION = re.compile(r"[(\[]\s{0,2}\d{1,2}:\d\d(?::\d\d)?\s{0,2}[)\]]")
_EXTENSION = re.compile(
    r"\.(?:mp3|mp4|m4a|wav|flac|ogg|opus|avi|wmv|mov|mkv|webm|flv|mpe?g|3gp|wma|aac|aiff?|mid|midi)$", re.IGNORECASE
)
_CAMERA = re.compile(
    r"(?:IMG|DSC[FN]?|MVI|MOV|VID|PICT|GOPR|GH\d\d|PXL|P|WP|AUD|REC|STE|VN|CIMG|SANY|MAH|HPIM)[\s\-]?\d{3,}[\d\s\-.]*|"
    r"(?:video|recording|record|audio|movie|film|clip|capture|screen recording)[\s\-]?\d{2,}[\d\s\-.:]*",
    re.IGNORECASE,
)
_TRACK_NUMBER = re.compile(
    r"^(?:0\d\s*[-._)]+\s*|0\d\s+|\d{1,3}\s?[)]\s+|\[\d{1,3}\]\s*|(?:track|piste|titel)\s{0,2}\d{1,3}\s*[-:.]+\s*)(?=\D*[^\W\d_])(?!\d)",
    re.IGNORECASE,
)
_TOPIC = re.compile(r"\s+[-–—]\s+(?:Topic|Tema|Thema|Sujet|Tópico|Argomento|トピック|主题|주제)$", re.IGNORECASE)
_VEVO = re.compile(r"(?<=[^\W_]{2})\s{0,2}VEVO$")
_ARTIST_OFFICIAL = re.compile(
    r"\s*[-–—|(\[]?\s*\b(?:Official|Oficial|Officiel|Offiziell|Ufficiale)(?:\s+(?:Artist|Channel|Music|Page|Canal|Kanal|YouTube))*\s*[)\]]?$",
    re.IGNORECASE,
)
_OFFICIAL_PHRASE = re.compile(
    r"(?<![^\W_])(?:the\s)?(?:official|oficial|officielle?|offizielle[rs]?|ufficiale)\s+"
    r"((?:(?:full|hd|4k|music|lyrics?|live|acoustic|unplugged|remix|instrumental|cover|lo-?fi|piano|dance|karaoke|fan)\s+){0,3})"
    r"(?:video|videoclip|clip|audio|visuali[sz]er|vídeo|vidéo)s?(?![^\W_])",
    re.IGNORECASE,
)
_ORIGINAL_MIX = re.compile(r"[(\[]\s?original\s(?:mix|version|audio|song|music)\s?[)\]]", re.IGNORECASE)
_REPEATED = re.compile(r"([^\w\s.])\1{2,}|([!?])[!?]+")
_DOTS = re.compile(r"\.{2,}")
_DANGLING = re.compile(r"^[\s\-–—|:;,/\\~*+=·•∙`´^]+|[\s\-–—_|:;,/\\~*+=·•∙`´^]+$")
_QUOTED = re.compile(r"^([\"“„«'‘`])([^\"“”„«»'‘’`]*)([\"”“»'’`´])$")
_BEFORE_CLOSING = re.compile(r"\s+([)\]}】」』》〉〕,;])")
_AFTER_OPENING = re.compile(r"([(\[{【「『《〈〔])\s+")
_SPACES = re.compile(r"\s+")
_LETTER = re.compile(r"[^\W\d_]")


def _cap(text: str) -> str:
    if len(text) <= MAX_CHARS:
        return text
    cut = text[:MAX_CHARS]
    space = cut.rfind(" ", MAX_CHARS - 60)
    return (cut if space < 0 else cut[:space]).rstrip()


def _underscores(text: str) -> str:
    return text.replace("_", " ")


def _hashtag_promotion(text: str) -> str:
    def replace(match: re.Match[str]) -> str:
        promotes = vocabulary.HASHTAG_PROMOTION_TERMS.whole.fullmatch(fold(match.group(1)))
        return " " if promotes else match.group()

    return _HASHTAG.sub(replace, text) if "#" in text else text


def _file_extension(text: str) -> str:
    return _EXTENSION.sub("", text)


def _reduce(content: str) -> str:
    """What stays of a group or a segment: its performance words where all else of it is provenance."""
    found = words(content)
    if not found or any(word.kind is Kind.OTHER for word in found):
        return content
    return " ".join(content[word.start : word.end] for word in found if word.kind is Kind.PERFORMANCE)


def _provenance_group(text: str) -> str:
    def replace(match: re.Match[str]) -> str:
        group = match.group()
        content = group[1:-1]
        left = _reduce(content)
        if left == content:
            return group
        return f"{group[0]}{left}{group[-1]}" if left else " "

    return _GROUP.sub(replace, text)


def _promotion_group(text: str) -> str:
    def replace(match: re.Match[str]) -> str:
        group = match.group()
        folded = fold(group[1:-1])
        if vocabulary.ASIDE_TERMS.whole.fullmatch(folded):
            return " "
        if not vocabulary.PROMOTION_TERMS.pattern.search(folded):
            return group
        performance = [group[1:-1][m.start() : m.end()] for m in vocabulary.PERFORMANCE_TERMS.pattern.finditer(folded)]
        return f"{group[0]}{' '.join(performance)}{group[-1]}" if performance else " "

    return _GROUP.sub(replace, text)


def _provenance_segment(text: str) -> str:
    parts = _SEPARATOR.split(text)
    segments, separators = parts[0::2], parts[1::2]
    if len(segments) == 1:
        return text if _reduce(text) == text or _reduce(text) else ""
    kept: list[str] = []
    for index, segment in enumerate(segments):
        left = _reduce(segment)
        if not left.strip() and segment.strip():
            continue
        if kept and index:
            kept.append(separators[index - 1])
        kept.append(left)
    return "".join(kept)


def _provenance_tail(text: str) -> str:
    found = words(text)
    first: int | None = None
    for index in range(len(found) - 1, -1, -1):
        if found[index].kind is Kind.OTHER or _closes_group(text, found[index].end):
            break
        if found[index].kind is Kind.STRONG:
            first = index
    if first is None:
        return text
    start = found[first].start
    if start and not text[start - 1].isspace() and text[start - 1] not in "-–—/,.!:":
        return text
    tail = text[start:]
    strong = [word for word in found[first:] if word.kind is Kind.STRONG]
    safe = vocabulary.TAIL_TERMS.pattern.search(fold(tail)) or len(strong) > 1
    official_video = len(found) > first + 1 and found[first + 1].kind in (Kind.WEAK, Kind.PERFORMANCE)
    if not (safe or official_video) or not _LETTER.search(text[:start]):
        return text
    return f"{text[:start]}{_reduce(tail)}"


def _closes_group(text: str, end: int) -> bool:
    return any(character in ")]}】」』》〉〕" for character in text[end : end + 2])


def _promotion_phrase(text: str) -> str:
    folded = fold(text)
    pieces: list[str] = []
    start = 0
    for match in vocabulary.PROMOTION_TERMS.pattern.finditer(folded):
        pieces.append(text[start : match.start()])
        start = match.end()
    return f"{' '.join(pieces)} {text[start:]}" if pieces else text


def _tidy(text: str) -> str:
    text = _DOTS.sub(" ", _EMPTY_GROUP.sub(" ", text))
    text = _REPEATED.sub(lambda match: match.group(1) or match.group(2), text)
    text = _AFTER_OPENING.sub(r"\1", _BEFORE_CLOSING.sub(r"\1", text))
    text = _SPACES.sub(" ", text).strip()
    text = _DANGLING.sub("", text)
    quoted = _QUOTED.fullmatch(text)
    return quoted.group(2).strip() if quoted else text


def _generic(text: str) -> str:
    return "" if vocabulary.GENERIC_TERMS.whole.fullmatch(fold(text)) else text


def _letters(text: str) -> str:
    return text if _LETTER.search(text) else ""


def _single_letter(text: str) -> str:
    return "" if len(text) == 1 and text.isascii() else text


def _substitute(pattern: re.Pattern[str], replacement: str = " ", *, needs: str = "") -> Callable[[str], str]:
    """`needs`: one of these characters is in whatever the expression matches."""

    def rewrite(text: str) -> str:
        return pattern.sub(replacement, text) if not needs or any(map(text.__contains__, needs)) else text

    return rewrite


RULES: tuple[Rule, ...] = (
    Rule(
        id="html-entities",
        reason=Reason.EMPTY_TEXT,
        what="HTML entities become characters, also where they were escaped twice.",
        rewrite=characters.unescape_html,
        examples=(Example(before="Salt &amp;amp; Honey", after="Salt & Honey"),),
    ),
    Rule(
        id="html-markup",
        reason=Reason.EMPTY_TEXT,
        what="HTML elements go.",
        rewrite=characters.strip_markup,
        examples=(Example(before="<b>Slow River</b><br />", after="Slow River"),),
    ),
    Rule(
        id="mojibake",
        reason=Reason.EMPTY_TEXT,
        what="UTF-8 that was read as Latin-1 or Windows-1252 is read again, also where only part of the text is such.",
        rewrite=characters.repair_mojibake,
        examples=(
            Example(before="CafÃ© del Norte", after="Café del Norte"),
            Example(before="Björk au CafÃ© Noir", after="Björk au Café Noir"),
            Example(before="MANHÃ DE CARNAVAL", after="MANHÃ DE CARNAVAL"),
        ),
    ),
    Rule(
        id="pictures",
        reason=Reason.NO_LETTERS,
        what="Emoji, ornaments and trade signs go; sharps and flats stay.",
        rewrite=characters.strip_pictures,
        examples=(
            Example(before="🔥🔥 Harbour Lights ★", after="Harbour Lights"),
            Example(before="Étude in F♯ minor", after="Étude in F♯ minor"),
        ),
    ),
    Rule(
        id="invisible",
        reason=Reason.EMPTY_TEXT,
        what="Zero-width, bidirectional and control characters go; joiners that Persian and Indic spelling needs stay.",
        rewrite=characters.strip_invisible,
        examples=(
            Example(before="Gol\u200bden\u202e Hour\ufeff", after="Golden Hour"),
            Example(before="می\u200cخواهم", after="می\u200cخواهم"),
        ),
    ),
    Rule(
        id="unicode-form",
        reason=Reason.EMPTY_TEXT,
        what="NFKC: full-width and styled letters become plain ones; curly quotes become straight.",
        rewrite=characters.normalise_unicode,
        examples=(
            Example(before="ＮＩＧＨＴ ＴＲＡＩＮ", after="NIGHT TRAIN"),
            Example(before="𝓥𝓮𝓵𝓿𝓮𝓽 𝓢𝓴𝔂", after="Velvet Sky"),
        ),
    ),
    Rule(
        id="length-cap",
        reason=Reason.EMPTY_TEXT,
        what=f"What follows the last word within {MAX_CHARS} characters goes.",
        rewrite=_cap,
        examples=(Example(before="la " * 200, after=" ".join(["la"] * 100)),),
    ),
    Rule(
        id="url",
        reason=Reason.LINK,
        what="Addresses of the web go.",
        rewrite=_substitute(_URL, needs=".:"),
        examples=(
            Example(before="Tin Roof Rain https://example.com/watch?v=1", after="Tin Roof Rain"),
            Example(before="www.example.org", after=None, field=Field.ARTIST),
        ),
    ),
    Rule(
        id="email",
        reason=Reason.LINK,
        what="E-mail addresses go.",
        rewrite=_substitute(_EMAIL, needs="@"),
        examples=(Example(before="Cold Harbour, booking@example.com", after="Cold Harbour"),),
    ),
    Rule(
        id="handle",
        reason=Reason.LINK,
        what="Handles go.",
        rewrite=_substitute(_HANDLE, needs="@"),
        examples=(Example(before="Paper Moon @papermoonband", after="Paper Moon"),),
    ),
    Rule(
        id="hashtag-promotion",
        reason=Reason.PROMOTION,
        what="Hashtags that ask a platform for attention go.",
        rewrite=_hashtag_promotion,
        examples=(
            Example(before="Dust and Diesel #shorts #viral #fyp", after="Dust and Diesel"),
            Example(before="#trending", after=None, field=Field.TAG),
        ),
    ),
    Rule(
        id="hashtag-sign",
        reason=Reason.EMPTY_TEXT,
        what="The sign of every other hashtag goes; its word stays.",
        rewrite=_substitute(_HASHTAG, r"\1", needs="#"),
        examples=(
            Example(before="Sunday tape #lofi #chillhop", after="Sunday tape lofi chillhop"),
            Example(before="Prelude #4 in C# minor", after="Prelude #4 in C# minor"),
        ),
    ),
    Rule(
        id="file-extension",
        reason=Reason.PROVENANCE,
        what="The extension of a file name goes.",
        rewrite=_file_extension,
        examples=(Example(before="harbour lights.mp3", after="harbour lights"),),
        fields=frozenset({Field.TITLE, Field.ALBUM}),
    ),
    Rule(
        id="underscores",
        reason=Reason.EMPTY_TEXT,
        what="Underscores are spaces.",
        rewrite=_underscores,
        examples=(Example(before="cold_harbour_-_night_train", after="cold harbour - night train"),),
    ),
    Rule(
        id="camera-name",
        reason=Reason.PROVENANCE,
        what="A title that a camera or a recorder gave is dropped.",
        rewrite=lambda text: "" if _CAMERA.fullmatch(text.strip()) else text,
        examples=(Example(before="IMG_20190403_112233", after=None), Example(before="MVI 0042.AVI", after=None)),
    ),
    Rule(
        id="track-number",
        reason=Reason.GENERIC,
        what="The number of a track before its title goes; it must look like one (01, a bracket, Track 7:).",
        rewrite=_substitute(_TRACK_NUMBER, ""),
        examples=(
            Example(before="03 - Copper Wire", after="Copper Wire"),
            Example(before="99 Red Kites", after="99 Red Kites"),
            Example(before="5. Sinfonie", after="5. Sinfonie"),
        ),
        fields=frozenset({Field.TITLE}),
    ),
    Rule(
        id="artist-topic",
        reason=Reason.PROVENANCE,
        what="`- Topic` of channels that a platform makes goes.",
        rewrite=_substitute(_TOPIC),
        examples=(Example(before="Marble Coast - Topic", after="Marble Coast", field=Field.ARTIST),),
        fields=frozenset({Field.ARTIST}),
    ),
    Rule(
        id="artist-vevo",
        reason=Reason.PROVENANCE,
        what="`VEVO` at the end of a channel's name goes.",
        rewrite=_substitute(_VEVO, needs="V"),
        examples=(
            Example(before="MarbleCoastVEVO", after="MarbleCoast", field=Field.ARTIST),
            Example(before="marblecoastVEVO", after="marblecoast", field=Field.TAG),
        ),
        fields=frozenset({Field.ARTIST, Field.TAG}),
    ),
    Rule(
        id="artist-official",
        reason=Reason.PROVENANCE,
        what="`Official`, `Official Channel` at the end of an artist's name goes.",
        rewrite=_substitute(_ARTIST_OFFICIAL),
        examples=(Example(before="Marble Coast Official", after="Marble Coast", field=Field.ARTIST),),
        fields=frozenset({Field.ARTIST}),
    ),
    Rule(
        id="provenance-group",
        reason=Reason.PROVENANCE,
        what="A bracket that says nothing but provenance goes; of one that adds performance words, those stay.",
        rewrite=_provenance_group,
        examples=(
            Example(before="Cold Harbour (Official Video) [4K]", after="Cold Harbour"),
            Example(before="Cold Harbour (Official Acoustic Video)", after="Cold Harbour (Acoustic)"),
            Example(before="Cold Harbour (Live in Oslo)", after="Cold Harbour (Live in Oslo)"),
            Example(before="夜の港【公式ミュージックビデオ】", after="夜の港"),
            Example(before="밤기차 [뮤직비디오]", after="밤기차"),
            Example(before="Ночной поезд (Официальный клип, 2019)", after="Ночной поезд"),
            Example(before="Tren nocturno (Video Oficial)", after="Tren nocturno"),
            Example(before="Trem da noite (Clipe Oficial) [Legendado]", after="Trem da noite"),
            Example(before="Train de nuit (Clip officiel)", after="Train de nuit"),
            Example(before="Nachtzug (Offizielles Musikvideo)", after="Nachtzug"),
            Example(before="रात की रेल (आधिकारिक वीडियो)", after="रात की रेल"),
            Example(before="Cold Harbour (Deluxe Edition)", after="Cold Harbour", field=Field.ALBUM),
        ),
    ),
    Rule(
        id="promotion-group",
        reason=Reason.PROMOTION,
        what="A bracket that advertises goes, but for performance words.",
        rewrite=_promotion_group,
        examples=(
            Example(before="[FREE] Dark Piano Type Beat", after="Dark Piano Type Beat"),
            Example(before="Night Train [Free Download on our page]", after="Night Train"),
            Example(before="Night Train (prod. by Ada Quill)", after="Night Train (prod. by Ada Quill)"),
        ),
    ),
    Rule(
        id="duration-group",
        reason=Reason.PROVENANCE,
        what="A running time in brackets goes.",
        rewrite=_substitute(_DURATION, needs=":"),
        examples=(Example(before="Night Train (3:45)", after="Night Train"),),
    ),
    Rule(
        id="original-mix",
        reason=Reason.PROVENANCE,
        what="`(Original Mix)` goes: it names the version that is meant anyway.",
        rewrite=_substitute(_ORIGINAL_MIX),
        examples=(Example(before="Glass Tower (Original Mix)", after="Glass Tower"),),
    ),
    Rule(
        id="promotion-phrase",
        reason=Reason.PROMOTION,
        what="Phrases that ask for clicks, views and follows or offer a download go wherever they stand.",
        rewrite=_promotion_phrase,
        examples=(
            Example(before="Night Train OUT NOW on Spotify", after="Night Train"),
            Example(before="Please like and subscribe", after=None),
            Example(before="Night Train 10 million views special", after="Night Train"),
        ),
    ),
    Rule(
        id="provenance-segment",
        reason=Reason.PROVENANCE,
        what="A part between separators that says nothing but provenance goes, and so does a text that is all of it.",
        rewrite=_provenance_segment,
        examples=(
            Example(before="Marble Coast - Tin Roof | Official Video", after="Marble Coast - Tin Roof"),
            Example(before="ПРЕМЬЕРА КЛИПА: Марина - Дождь", after="Марина - Дождь"),
            Example(before="HD lyrics", after=None, field=Field.TAG),
            Example(before="Marble Coast - Video", after="Marble Coast - Video"),
        ),
    ),
    Rule(
        id="official-phrase",
        reason=Reason.PROVENANCE,
        what="`Official … video` goes wherever it stands; performance words inside it stay.",
        rewrite=lambda text: _OFFICIAL_PHRASE.sub(lambda match: _reduce(f"official {match.group(1)}"), text),
        examples=(
            Example(before="Tin Roof Official Music Video ft. Ada Quill", after="Tin Roof ft. Ada Quill"),
            Example(before="Tin Roof Official Live Video", after="Tin Roof Live"),
        ),
    ),
    Rule(
        id="provenance-tail",
        reason=Reason.PROVENANCE,
        what="Provenance at the end of a running title goes, where it can be nothing else.",
        rewrite=_provenance_tail,
        examples=(
            Example(before="Marble Coast - Tin Roof lyrics HD", after="Marble Coast - Tin Roof"),
            Example(before="Tin Roof live HD", after="Tin Roof live"),
            Example(before="It's Official", after="It's Official"),
        ),
    ),
    Rule(
        id="tidy",
        reason=Reason.EMPTY_TEXT,
        what="Empty brackets, dangling separators, runs of punctuation and of spaces, quotes around the whole go.",
        rewrite=_tidy,
        examples=(
            Example(before='"Night Train"', after="Night Train"),
            Example(before="Night Train...", after="Night Train"),
            Example(before="Night   Train!!!! ( ) -", after="Night Train!"),
        ),
    ),
    Rule(
        id="generic",
        reason=Reason.GENERIC,
        what="A text that says nothing about one recording is dropped.",
        rewrite=_generic,
        examples=(
            Example(before="music", after=None, field=Field.TAG),
            Example(before="Unknown Artist", after=None, field=Field.ARTIST),
            Example(before="音楽", after=None, field=Field.TAG),
        ),
    ),
    Rule(
        id="single-letter",
        reason=Reason.GENERIC,
        what="A tag of one character is dropped.",
        rewrite=_single_letter,
        examples=(Example(before="a", after=None, field=Field.TAG),),
        fields=frozenset({Field.TAG}),
    ),
    Rule(
        id="no-letters",
        reason=Reason.NO_LETTERS,
        what="A text without letters is dropped.",
        rewrite=_letters,
        examples=(Example(before="2012", after=None, field=Field.TAG), Example(before="--- 8 ---", after=None)),
    ),
)

DUPLICATE_RULE_ID = "duplicate"

_RULES_BY_FIELD = {field: tuple(rule for rule in RULES if field in rule.fields) for field in Field}


def clean(text: str, field: Field) -> ShortForm:
    """Apply the rules to one annotation until nothing changes."""
    text = text[:MAX_RAW_CHARS]
    hits: dict[str, None] = {}
    for _ in range(_MAX_PASSES):
        before = text
        for rule in _RULES_BY_FIELD[field]:
            rewritten = rule.rewrite(text)
            if rewritten == text:
                continue
            hits[rule.id] = None
            text = rewritten
            if not text.strip():
                return ShortForm(text=None, reason=rule.reason, hits=tuple(hits))
        if text == before:
            if not text.strip():
                return ShortForm(text=None, reason=Reason.EMPTY_TEXT, hits=tuple(hits))
            return ShortForm(text=text, reason=None, hits=tuple(hits))
    return ShortForm(text=None, reason=Reason.EMPTY_TEXT, hits=tuple(hits))


def clean_recording(
    *, title: str | None, artist: str | None, album: str | None, tags: Iterable[str]
) -> ShortFormResult:
    """Clean all annotations of a recording, in the order title, artist, album, tags; of two equal ones the first stays.

    A field that is absent or blank is no annotation. `unfiltered` holds the others as they came, cut to 2,000
    characters and made writable as UTF-8.
    """
    annotations = [
        (text, field) for text, field in ((title, Field.TITLE), (artist, Field.ARTIST), (album, Field.ALBUM)) if text
    ]
    annotations.extend((tag, Field.TAG) for tag in tags)
    kept: dict[str, str] = {}
    unfiltered: list[str] = []
    dropped: Counter[Reason] = Counter()
    hits: Counter[str] = Counter()
    for text, field in annotations:
        raw = text[:MAX_RAW_CHARS].strip()
        if not raw:
            continue
        unfiltered.append(characters.without_surrogates(raw))
        result = clean(raw, field)
        hits.update(result.hits)
        if result.text is None:
            dropped[result.reason or Reason.EMPTY_TEXT] += 1
            continue
        key = duplicate_key(result.text)
        if key in kept:
            dropped[Reason.DUPLICATE_TEXT] += 1
            hits[DUPLICATE_RULE_ID] += 1
            continue
        kept[key] = result.text
    return ShortFormResult(
        kept=tuple(kept.values()), unfiltered=tuple(unfiltered), dropped=dict(dropped), hits=dict(hits)
    )


_WORDS = re.compile(r"[^\W_]+")


def duplicate_key(text: str) -> str:
    """What two annotations of a recording share that are one."""
    return "".join(_WORDS.findall(text.casefold())) or text
