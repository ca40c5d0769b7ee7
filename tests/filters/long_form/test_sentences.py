"""Sentences, redaction and gates: what they find, what they leave, and that hostile text costs little."""

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from filters.long_form.gates import judge
from filters.long_form.redaction import redact
from filters.long_form.sentences import MAX_SENTENCES, MAX_TEXT_CHARS, duplicate_key, prepare, sentences
from schemas.reasons import Reason


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("The bass is warm. The drums drag a little.", ["The bass is warm.", "The drums drag a little."]),
        ("warm bass. slow drums", ["warm bass.", "slow drums"]),
        ("Dr. Who vs. J. S. Bach, feat. Ada.", ["Dr. Who vs. J. S. Bach, feat. Ada."]),
        ("I said no. Then No. 5 began!!! Right?", ["I said no.", "Then No. 5 began!!!", "Right?"]),
        ("so calm... and then it bursts... Wow", ["so calm... and then it bursts...", "Wow"]),
        ("gentle…\nloud", ["gentle...", "loud"]),
        ("これは最高。ギターが泣いている！すごい？はい", ["これは最高。", "ギターが泣いている!", "すごい?", "はい"]),
        ("- soft piano<br />* loud brass&nbsp;&amp; strings", ["soft piano", "loud brass & strings"]),
        ("Tempo is 3.5 times faster at 2.15 pm", ["Tempo is 3.5 times faster at 2.15 pm"]),
        ("गाना धीमा है। तबला तेज़ है।", ["गाना धीमा है।", "तबला तेज़ है।"]),
        ("Hear it at https://example.com/a.b?c=1. Then come back.", ["Hear it at [url].", "Then come back."]),
        ("write to jane.doe@example.co.uk. Thanks!", ["write to [email].", "Thanks!"]),
        ("soooooooooo good!!!!!!!!!!", ["sooo good!!!"]),
        ("", []),
        (" \n\u200b\n ... \n", ["..."]),
    ],
)
def test_sentences(text: str, expected: list[str]) -> None:
    assert sentences(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("mail john.doe+x@example.com now", "mail [email] now"),
        ("jane (at) gmail (dot) com", "[email]"),
        ("jane at gmail dot com please", "[email] please"),
        ("see www.example.org/x, ok", "see [url], ok"),
        ("on example.com today", "on [url] today"),
        ("by @some_user1!", "by [handle]!"),
        ("call +44 20 7946 0958", "call [phone]"),
        ("555-123-4567 or (555) 123-4567", "[phone] or [phone]"),
        ("06 12 34 56 78", "[phone]"),
        ("090-1234-5678", "[phone]"),
        ("WhatsApp: 9876543210", "WhatsApp: [phone]"),
        ("contrataciones 300 1234567", "contrataciones [phone]"),
    ],
)
def test_personal_data_is_redacted(text: str, expected: str) -> None:
    assert redact(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "recorded in 1998-2001, remastered 2011",
        "at 128 BPM, 44100 Hz, 24/96",
        "the solo @2:15 and again @ 3:40",
        "cat. no. COL 07464-12345-2",
        "ISRC USRC17607839, barcode 0602547289123",
        "1,234,567,890 views since 12/05/2011, 10.000.000 in 2012-05-12",
        "released 07.11.2014",
        "0:00 intro 3:45 outro 12:30 end",
        "the chorus is great.the verse too",
        "symphony no. 5 op. 67 in C",
        "A.M. radio, R.E.M. and M.I.A.",
        "4-4-2 or 12-8, 1080x1920",
        "I love it.it is so calm",
        "$1,000,000 or 50%",
    ],
)
def test_what_music_is_described_with_stays(text: str) -> None:
    assert redact(text) == text


@pytest.mark.parametrize(
    ("sentence", "reason"),
    [
        ("the bass line carries it", None),
        ("great bass", None),
        ("深い低音", None),
        ("कितना मधुर", None),
        ("wow", Reason.SENTENCE_TOO_SHORT),
        ("ok so", Reason.SENTENCE_TOO_SHORT),
        ("低音", Reason.SENTENCE_TOO_SHORT),
        ("12:34 !!! 99", Reason.NO_LETTERS),
        ("[url] [handle]", Reason.LINK),
        ("see [url]", Reason.LINK),
        ("ab cdef 123456789 987654321", Reason.TOO_FEW_LETTERS),
        ("la " * 500, Reason.SENTENCE_TOO_LONG),
        ("a b " * 120, Reason.SENTENCE_TOO_LONG),
        # At each limit and one beside it: characters, words, letters, words with letters, letters of a script without
        # spaces, and the share of letters.
        ("character " * 100, None),
        ("character " * 100 + ".", Reason.SENTENCE_TOO_LONG),
        ("bass " * 200, None),
        ("bas " * 201, Reason.SENTENCE_TOO_LONG),
        ("abc def", None),
        ("ab cde", Reason.SENTENCE_TOO_SHORT),
        ("fantastic 1999", Reason.SENTENCE_TOO_SHORT),
        ("深低音", Reason.SENTENCE_TOO_SHORT),
        ("abc def 123 456", None),
        ("abc def 123 4567", Reason.TOO_FEW_LETTERS),
        # Vowel signs belong to their letters (four letters, three signs); dashes of the same part of Unicode do not.
        ("मीठी धुन", None),
        ("—— …… ——", Reason.NO_LETTERS),
    ],
)
def test_gates(sentence: str, reason: Reason | None) -> None:
    assert judge(sentence) is reason


def test_duplicate_key_ignores_case_punctuation_and_emphasis() -> None:
    assert duplicate_key("Sooooo  GOOD!!!") == duplicate_key("soo good")
    assert duplicate_key("good bass") != duplicate_key("good base")
    assert duplicate_key("97777 views") != duplicate_key("9777 views")
    assert duplicate_key("!!!") == "!!!"


_TEXTS = st.one_of(
    st.text(max_size=200),
    st.lists(
        st.sampled_from(
            [
                "a.b@c.de",
                "@me",
                " ",
                ". ",
                "! ",
                "。",
                "\n",
                "+49 30 1234567",
                "www.x.de",
                "<br>",
                "&lt;",
                "Dr.",
                "1.",
                "...",
                "é",
                "(at)",
                "ok",
                "Ã©",
            ]
        ),
        max_size=30,
    ).map("".join),
)


@pytest.mark.slow
@settings(max_examples=400, deadline=None)
@given(_TEXTS)
def test_sentences_are_clean_and_redaction_is_idempotent(text: str) -> None:
    redacted = redact(text)
    assert redact(redacted) == redacted
    for sentence in sentences(text):
        assert sentence == sentence.strip()
        assert "\n" not in sentence
        sentence.encode("utf-8")
        judge(sentence)


def test_what_stands_glued_in_a_chain_is_found_to_its_end() -> None:
    assert redact("+00000000" * 7 + "@0A") == "[phone]" * 7 + "[handle]"


def test_a_broken_line_of_a_sound_text_is_mended() -> None:
    assert sentences("Schön und leise.\nUne piÃ¨ce pour piano ðŸŽ¹ trÃ¨s calme.") == [
        "Schön und leise.",
        "Une pièce pour piano très calme.",
    ]


@pytest.mark.parametrize(
    "unit",
    [
        ".",
        "\n",
        "a@",
        "1 ",
        "+1 ",
        "www.",
        "call ",
        "a.b",
        "(at)",
        "0 1",
        "é",
        "!? ",
        "&lt;",
        "<br",
        "http:/",
        "[",
        "A. ",
        "。",
        "\u0301",
        "Ã©é",
    ],
)
def test_ten_megabytes_of_anything_are_quick(unit: str) -> None:
    text = unit * (10_000_000 // len(unit))
    start_s = time.process_time()
    found = sentences(text)
    assert time.process_time() - start_s < 1.0
    assert len(found) <= MAX_SENTENCES
    assert len(prepare(text)) <= MAX_TEXT_CHARS * 4
