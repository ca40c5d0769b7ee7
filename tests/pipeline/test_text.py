"""Text sketches: bounded, exact, and the same whatever the order and the grouping."""

import pytest

from pipeline.settings import TextConfig
from pipeline.sketch import count_sketch, empty_sketch, text_key
from pipeline.text import READERS, NoTokens, add_playlist_title, add_sentences, plan_texts
from schemas.catalogue import CatalogueRow
from schemas.reasons import Reason
from schemas.sources import SOURCES, TextSource

CAP = 5


def test_a_playlist_that_names_a_recording_twice_counts_once() -> None:
    sketch = empty_sketch()
    for playlist_id, title in [("p1", "Rain"), ("p1", "Rain"), ("p2", "Rain"), ("p3", "  ")]:
        add_playlist_title(sketch, playlist_key=text_key(playlist_id), title=title, tokens=0, cap=CAP)
    counted = count_sketch(sketch, CAP)
    assert [text for text, _, _ in counted.entries] == ["Rain", "Rain"]
    assert counted.account.left_out == {Reason.DUPLICATE_TEXT: 1, Reason.EMPTY_TEXT: 1}


def test_a_row_becomes_text_columns_with_counts_and_sources() -> None:
    row = CatalogueRow(
        recording_id="r",
        audio_uri="x",
        texts={
            "title": ("Night Drive (Official Video)",),
            "tags": ("synthwave", "Synthwave"),
            "description": ("Slow pads over a steady beat. Mail me at dj@example.org!",),
            "comments": ("The bass line carries it.", "The bass line carries it."),
        },
    )
    sketch = empty_sketch()
    add_sentences(sketch, ["Perfect for a night on the road."], NoTokens(), TextConfig())
    planned = plan_texts(row, {"lf": sketch}, NoTokens(), TextConfig())
    columns = planned.columns
    assert columns["sf"] == ["Night Drive", "synthwave"]
    assert columns["sf_unfiltered"] == ["Night Drive (Official Video)", "synthwave", "Synthwave"]
    texts = {sentence["text"]: sentence["occurrences"] for sentence in columns["lf"]}
    assert texts["The bass line carries it."] == 2
    assert "Perfect for a night on the road." in texts
    assert not any("dj@example.org" in text for text in texts)
    assert columns["text_sources"] == TextSource.SF | TextSource.LF
    assert columns["counts"]["sf_unfiltered_annotations"] == 3
    assert columns["counts"]["lf_annotations"] == planned.accounts["lf"].read
    assert planned.accounts["sf"].left_out == {Reason.DUPLICATE_TEXT: 1}


def test_caps_hold_for_each_source() -> None:
    row = CatalogueRow(
        recording_id="r",
        audio_uri="x",
        texts={
            "tags": tuple(f"style {chr(97 + i)}" for i in range(20)),
            "description": ("\n".join(f"The {chr(97 + i)} string rings out." for i in range(20)),),
        },
    )
    planned = plan_texts(row, {}, NoTokens(), TextConfig(max_sf=4, max_lf=3, max_pl=2))
    assert len(planned.columns["sf"]) == 4
    assert len(planned.columns["lf"]) == 3
    assert planned.accounts["sf"].left_out == {Reason.OVER_CAP: 16}
    assert planned.accounts["lf"].left_out == {Reason.OVER_CAP: 17}
    assert planned.columns["counts"]["sf_annotations"] == 20


@pytest.mark.slow
def test_sentences_that_are_surely_in_another_language_are_left_out_where_asked() -> None:
    row = CatalogueRow(
        recording_id="r",
        audio_uri="x",
        texts={
            "comments": (
                "Der Schlagzeuger spielt einen sehr langsamen Rhythmus, und die Streicher setzen erst am Ende ein.",
                "The drummer plays a very slow rhythm and the strings only come in at the end.",
                "Chill vibes, nice groove",
            )
        },
    )
    everything = plan_texts(row, {}, NoTokens(), TextConfig())
    assert len(everything.columns["lf"]) == 3
    english = plan_texts(row, {}, NoTokens(), TextConfig(lf_languages=("en",)))
    assert english.accounts["lf"].left_out == {Reason.OTHER_LANGUAGE: 1}
    assert not any("Schlagzeuger" in sentence["text"] for sentence in english.columns["lf"])


def test_a_cap_below_one_is_refused() -> None:
    with pytest.raises(ValueError, match="max_lf is 0"):
        TextConfig(max_lf=0)


def test_each_source_has_a_bit_of_its_own_a_record_and_a_reader() -> None:
    assert [source.bit for source in SOURCES] == list(TextSource) == list(READERS)
    assert [int(source) for source in TextSource] == [1 << i for i in range(len(TextSource))]
