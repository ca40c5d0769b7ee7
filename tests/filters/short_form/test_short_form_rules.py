"""The short-form rules do what their examples say, twice is once, and nothing hostile makes them slow or loud."""

import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from filters.short_form import docs, vocabulary
from filters.short_form.rules import MAX_CHARS, RULES, Example, Field, Rule, clean, clean_recording
from schemas.reasons import Reason

ROOT = Path(__file__).resolve().parents[3]

_PIECES = st.sampled_from(
    [
        "Official",
        "Video",
        "(",
        ")",
        "[",
        "]",
        " - ",
        " | ",
        "HD",
        "4K",
        "lyrics",
        "live",
        "【",
        "】",
        "公式",
        "&amp;",
        "#",
        "@",
        "_",
        "feat.",
        "https://a.com/b",
        "뮤직비디오",
        "Премьера",
        "клип",
        " ",
        "...",
        '"',
        "’",
        "２０１９",
        "İ",
        "ﷺ",
        "Ã©",
        "\u200d",
        "🔥",
        "01",
        "VEVO",
        "\ud800",
        "subscribe",
        "like and subscribe",
        "free download",
        ".mp3",
        "- Topic",
        "Song",
        "night",
        ":",
        "//",
        "w/",
    ]
)
_TEXTS = st.one_of(
    st.text(max_size=60), st.lists(_PIECES, max_size=14).map("".join), st.lists(_PIECES, max_size=14).map(" ".join)
)


@pytest.mark.parametrize(("rule", "example"), [(rule, example) for rule in RULES for example in rule.examples])
def test_example(rule: Rule, example: Example) -> None:
    result = clean(example.before, example.field)
    assert result.text == example.after
    if example.before != example.after:
        assert rule.id in result.hits
    if example.after is None:
        assert result.reason is not None


def test_rules_have_examples_and_unique_ids() -> None:
    assert all(rule.examples and rule.what for rule in RULES)
    assert len({rule.id for rule in RULES}) == len(RULES)


@pytest.mark.parametrize("term", vocabulary.terms(vocabulary.PERFORMANCE))
def test_performance_words_stay(term: str) -> None:
    """A performance word is kept in a title, in a bracket beside provenance and as a tag."""
    if any(character in term for character in "[]?(\\"):
        return
    assert clean(f"Harbour ({term} official video)", Field.TITLE).text == f"Harbour ({term})"
    assert clean(f"Harbour {term} HD", Field.TITLE).text == f"Harbour {term}"
    assert clean(term, Field.TAG).text == term


@pytest.mark.slow
@settings(max_examples=600, deadline=None)
@given(_TEXTS, st.sampled_from(list(Field)))
def test_cleaning_twice_is_cleaning_once(text: str, field: Field) -> None:
    once = clean(text, field)
    if once.text is None:
        assert once.reason is not None
    else:
        assert once.text.strip()
        assert len(once.text) <= MAX_CHARS
        assert clean(once.text, field).text == once.text
        assert clean(once.text, field).hits == ()
        once.text.encode("utf-8")


@pytest.mark.slow
@settings(max_examples=200, deadline=None)
@given(_TEXTS, _TEXTS, _TEXTS, st.lists(_TEXTS, max_size=6))
def test_accounting_closes(title: str, artist: str, album: str, tags: list[str]) -> None:
    result = clean_recording(title=title, artist=artist, album=album, tags=tags)
    assert len(result.unfiltered) == len(result.kept) + sum(result.dropped.values())
    for text in result.unfiltered:
        text.encode("utf-8")


def test_recording_keeps_the_first_of_equal_annotations() -> None:
    result = clean_recording(
        title="Night Train (Official Video)",
        artist="Marble Coast - Topic",
        album=None,
        tags=["night train", "NIGHT-TRAIN!", "synthwave", "music", ""],
    )
    assert result.kept == ("Night Train", "Marble Coast", "synthwave")
    assert result.dropped == {Reason.DUPLICATE_TEXT: 2, Reason.GENERIC: 1}
    assert len(result.unfiltered) == 6
    assert result.hits["duplicate"] == 2
    assert result.hits["provenance-group"] == 1


@pytest.mark.parametrize(
    ("title", "cleaned"),
    [
        # Provenance at the end of a running title, but not from inside a bracket that says more.
        ("Tin Roof/HD", "Tin Roof"),
        ("Tin Roof HD :)", "Tin Roof"),
        ("Tin Roof+HD", "Tin Roof+HD"),
        ("Night Train (Live in Oslo HD)", "Night Train (Live in Oslo HD)"),
        ("Night Train (Live in Oslo HD )", "Night Train (Live in Oslo HD)"),
        # Two strong words, or a strong and a weak one, mean it; one may be a part of the title.
        ("Tin Roof Premiere Teaser", "Tin Roof"),
        ("Tin Roof teaser video", "Tin Roof"),
        ("Tin Roof Premiere", "Tin Roof Premiere"),
        ("Tin Roof live premiere", "Tin Roof live premiere"),
        ("HD live HQ", "HD live HQ"),  # no title stands before it
        # Segments of provenance, the first ones too, take their separator with them.
        ("Премьера клипа: Дождь", "Дождь"),
        ("HD ¦ Tin Roof", "Tin Roof"),
        ("Harbour Lights: Live | Premiere", "Harbour Lights: Live"),
        ("live HD", "live"),
        ("Night Train [Acoustic, free download]", "Night Train [Acoustic]"),
        ("Night Train?!", "Night Train?"),
    ],
)
def test_what_is_cut_takes_no_more_with_it(title: str, cleaned: str) -> None:
    assert clean(title, Field.TITLE).text == cleaned


def test_the_cap_cuts_between_words() -> None:
    whole = "lah " + "la " * 98 + "la"
    assert len(whole) == MAX_CHARS
    assert clean(whole, Field.TITLE).text == whole
    assert clean(f"{whole}-la", Field.TITLE).text == whole.rpartition(" ")[0]
    assert clean("x" * 240 + " " + "y" * 100, Field.TITLE).text == "x" * 240
    # A word that begins more than sixty characters before the cap is cut itself: less would be left of the text.
    assert clean("x" * 239 + " " + "y" * 100, Field.TITLE).text == "x" * 239 + " " + "y" * 60


def test_raw_text_is_cut_before_anything_looks_at_it() -> None:
    result = clean_recording(title="x" * 3000, artist=None, album=None, tags=[" " * 2000 + "late"])
    assert result.unfiltered == ("x" * 2000,)


@pytest.mark.parametrize(
    "title",
    [
        "Video Games",
        "Radio Video",
        "Madonna - Music",
        "Live and Let Die",
        "The Official Secrets",
        "Clip My Wings",
        "HD 209458 b",
        "In F# minor",
        "Symphony No. 5",
        "AC/DC - Back in Black",
        "7 Seconds",
        "Café del Mar",
        "¿Dónde está?",
        "Lyrics Born",
        "P!nk",
        "a-ha",
    ],
)
def test_names_of_songs_survive(title: str) -> None:
    assert clean(title, Field.TITLE).text == title


@pytest.mark.parametrize(
    "unit",
    [
        "(",
        "[(",
        "official ",
        "music video ",
        "a.",
        "@a",
        "#a",
        "&amp;",
        "http:/",
        "- ",
        "ﷺ",
        "a\u0301\u0301",
        "|",
        "like and ",
        "1:",
        "<b",
        "公式",
        "w/ ",
    ],
)
def test_a_megabyte_of_anything_is_quick(unit: str) -> None:
    text = unit * (1_000_000 // len(unit))
    start_s = time.process_time()
    for field in Field:
        clean(text, field)
    assert time.process_time() - start_s < 1.0


def test_page_is_fresh() -> None:
    assert (ROOT / docs.DEFAULT_PATH).read_text(encoding="utf-8") == docs.page(), (
        "docs/short-form-rules.md is stale: run `python -m filters.short_form.docs`"
    )
