"""Which tag becomes which field, and what is mended only where it is sure."""

from typing import Any

import pytest

from pipeline.catalogues.tags import describe, mended

CASES: list[tuple[str, dict[str, str], str, dict[str, Any]]] = [
    ("the artist before whoever made the album", {"album_artist": "V. A.", "artist": "Ana"}, "mp3", {"artist": "Ana"}),
    ("an album's artist where there is no other", {"album_artist": "Ana"}, "mp3", {"artist": "Ana"}),
    (
        "Matroska says what is meant in front",
        {"album/title": "A", "track/title": "T"},
        "matroska",
        {"title": "T", "album": "A"},
    ),
    ("a RIFF product is an album", {"product": "A"}, "avi", {"album": "A"}),
    ("a comment is part of the description", {"comment": "b", "description": "a"}, "mp3", {"description": "a\nb"}),
    ("the same twice is said once", {"comment": "a", "description": "a"}, "mp3", {"description": "a"}),
    ("an address alone is no description", {"comment": "https://x.example/1"}, "mp3", {}),
    (
        "lists of Vorbis comments",
        {"genre": "Rock;Jazz", "artist": "X;Y"},
        "ogg",
        {"tags": ["Rock", "Jazz"], "artist": "X, Y"},
    ),
    (
        "elsewhere a semicolon is a semicolon",
        {"genre": "Rock;Jazz", "artist": "X;Y"},
        "mp3",
        {"tags": ["Rock;Jazz"], "artist": "X;Y"},
    ),
    (
        "genres and moods are tags",
        {"genre": "Folk", "mood": "calm", "style": "Folk"},
        "flac",
        {"tags": ["Folk", "calm"]},
    ),
    ("numbers of ID3", {"genre": "(17)"}, "mp3", {"tags": ["Rock"]}),
    ("numbers of ID3, refined", {"genre": "(4)(8)Nu Disco"}, "mp3", {"tags": ["Disco", "Jazz", "Nu Disco"]}),
    ("a number that no genre has", {"genre": "250"}, "mp3", {"tags": ["250"]}),
    (
        "licence and copyright",
        {"copyright": "2020 Ana", "license": "CC BY 4.0"},
        "ogg",
        {"licence": "CC BY 4.0; 2020 Ana"},
    ),
    ("a language behind the name", {"comment-eng": "a"}, "mp3", {"description": "a"}),
    ("nothing for machines", {"encoder": "x", "track": "3", "handler_name": "Sound"}, "mp4", {}),
    ("a date is its year", {"date": "2001-05-06T00:00:00Z"}, "mp4", {"year": 2001}),
    (
        "the original year before that of a new issue",
        {"date": "2015", "originaldate": "1971-11"},
        "flac",
        {"year": 1971},
    ),
    ("a number that is no year, and two that may be", {"date": "0000", "year": "1990 / 2004"}, "mp3", {}),
    ("a NUL stands between values", {"title": "a\0b"}, "mp3", {"title": "a; b"}),
    ("control characters go", {"title": "a\x07b\x1b[31m"}, "mp3", {"title": "a b [31m"}),
    ("blank is nothing", {"title": " \0 ", "artist": "\t"}, "mp3", {}),
]


@pytest.mark.parametrize(("tags", "container", "row"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_fields(tags: dict[str, str], container: str, row: dict[str, Any]) -> None:
    assert describe(tags, container).row == row


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (b"Slow River", "Slow River"),
        ("café".encode(), "café"),
        ("cafÃ© naÃ¯ve".encode(), "café naïve"),  # UTF-8 that was called Latin-1
        ("café noir".encode("cp1252"), "café noir"),
        ("Кино".encode("cp1251"), None),  # nobody knows that it is Russian
        ("夜".encode("shift-jis"), None),
    ],
)
def test_only_what_is_sure_is_mended(content: bytes, text: str | None) -> None:
    assert mended(content.decode("utf-8", "surrogateescape")) == text


def test_a_tag_that_is_no_text_is_said() -> None:
    tags = {"artist": "Кино".encode("cp1251").decode("utf-8", "surrogateescape"), "title": "Night"}
    said = describe(tags, "mp3")
    assert said.row == {"title": "Night"}
    assert said.lost == ("artist",)


def test_names() -> None:
    tags = {
        "tsrc": "us-rc1-76-07839",
        "musicbrainz track id": "ABCD",
        "purl": "https://www.youtube.com/watch?v=dQw4w9WgXcQ",
    }
    assert describe(tags, "mp3").names == ("isrc:USRC17607839", "musicbrainz:abcd", "youtube:dQw4w9WgXcQ")
