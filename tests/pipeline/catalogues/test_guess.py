"""The rule of docs/making-a-catalogue.md on paths, each line of it."""

import pytest

from pipeline.catalogues.guess import Guess, guess

PATHS = [
    ("Ana Castelo/Harbour Songs/01 - Slow River.mp3", "Ana Castelo", "Harbour Songs", "Slow River"),
    ("m/Ana Castelo/Harbour Songs/CD 2/03. Slow River.flac", "Ana Castelo", "Harbour Songs", "Slow River"),
    ("Ana_Castelo/Harbour_Songs/1-07_Slow_River.ogg", "Ana Castelo", "Harbour Songs", "Slow River"),
    ("Ana Castelo - Harbour Songs/12 Slow River.m4a", "Ana Castelo", "Harbour Songs", "Slow River"),
    ("Ana Castelo - Slow River.mp3", "Ana Castelo", None, "Slow River"),
    ("Sampler/Summer/02 - Ana Castelo - Slow River.mp3", "Ana Castelo", None, "Slow River"),
    ("Ana Castelo - Harbour Songs - 01 - Slow River.mp3", "Ana Castelo", "Harbour Songs", "Slow River"),
    # Folders that only happen to be above say nothing.
    ("home/Downloads/Slow River.mp3", None, None, "Slow River"),
    ("Ana Castelo/01 Slow River.mp3", None, None, "Slow River"),
    # Neither do names that machines and recorders give.
    ("Ana Castelo/Harbour Songs/Track 01.mp3", None, None, None),
    ("a1b2c3d4.mp3", None, None, None),
    ("2024-05-01.wav", None, None, None),
    ("99 Balloons.mp3", None, None, "Balloons"),
    ("Жар-птица - Ночь.mp3", "Жар-птица", None, "Ночь"),
    ("... - !!!.mp3", None, None, None),
    ("Various Artists/Summer/01 - Slow River.mp3", None, "Summer", "Slow River"),
]


@pytest.mark.parametrize(("path", "artist", "album", "title"), PATHS, ids=[path for path, *_ in PATHS])
def test_guess(path: str, artist: str | None, album: str | None, title: str | None) -> None:
    assert guess(path) == Guess(artist=artist, album=album, title=title)


def test_names_of_yt_dlp_have_an_id() -> None:
    assert guess("x/Ana Castelo - Slow River [dQw4w9WgXcQ].webm") == Guess(
        artist="Ana Castelo", title="Slow River", names=("youtube:dQw4w9WgXcQ",)
    )
    assert guess("Slow River [live at home].mp3").title == "Slow River [live at home]"
