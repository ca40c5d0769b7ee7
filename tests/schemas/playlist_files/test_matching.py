"""Which recording an entry means: the steps in their order, the score, and what is listed instead of guessed."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.playlist_files.entries import Entry, ListedPlaylist
from schemas.playlist_files.matching import Key, Matcher, Unmatched
from schemas.playlist_files.naming import names, normal, score
from schemas.reasons import Reason

ROOT = Path("/music")
RECORDINGS = (
    Key(recording_id="joga", path="/music/Björk/01 Jóga.mp3", artist="Björk", title="Jóga", duration_s=305.0),
    Key(recording_id="joga-live", path="/music/Björk/live.mp3", artist="Björk", title="Jóga (Live at Union Chapel)"),
    Key(recording_id="yt", path="https://www.youtube.com/watch?v=dQw4w9WgXcQ", names=("youtube:dQw4w9WgXcQ",),
        artist="RickVEVO", title="Rick - Give You Up (Official Video)", duration_s=213.0),
    Key(recording_id="isrc", path="/music/c.mp3", names=("isrc:USUG12000123",), artist="The Weeknd", title="Lights"),
    Key(recording_id="intro-a", path="/music/a/intro.mp3", artist="A", title="Intro", duration_s=60.0),
    Key(recording_id="intro-b", path="/music/b/intro.mp3", artist="A", title="Intro", duration_s=90.0),
    Key(recording_id="duo", path="/music/duo.mp3", artist="Ann feat. Bob", title="Two", duration_s=100.0),
)  # fmt: skip
UNKNOWN, DOUBTFUL = Reason.UNKNOWN_RECORDING, Reason.DOUBTFUL_MATCH


@pytest.fixture(scope="module")
def matcher(tmp_path_factory: pytest.TempPathFactory):  # type: ignore[no-untyped-def]
    with Matcher(iter(RECORDINGS), tmp_path_factory.mktemp("matching")) as opened:
        yield opened


CASES = {
    "a relative path": (Entry(where="x", path="Björk/01 Jóga.mp3"), "joga"),
    "a path up and down again": (Entry(where="x", path="a/../Björk/./01 Jóga.mp3"), "joga"),
    "a path whose letters are taken apart": (Entry(where="x", path="Björk/01 Jóga.mp3"), "joga"),
    "an absolute path": (Entry(where="x", path="/music/c.mp3"), "isrc"),
    "a Windows path of another machine": (Entry(where="x", path="D:\\Songs\\björk\\01 Jóga.mp3"), "joga"),
    "folder and name, but another song": (
        Entry(where="x", path="/old/a/intro.mp3", artist="Zed", title="Quite another"), DOUBTFUL),
    "a path out of the tree": (Entry(where="x", path="../../etc/passwd"), UNKNOWN),
    "a name alone, in another folder": (Entry(where="x", path="/elsewhere/c.mp3"), UNKNOWN),
    "a video": (Entry(where="x", names=("youtube:dQw4w9WgXcQ",)), "yt"),
    "an ISRC, whatever it is called": (Entry(where="x", names=("isrc:USUG12000123",), artist="?", title="?"), "isrc"),
    "an id that is the recording's own": (Entry(where="x", names=("spotify:joga",)), "joga"),
    "a remaster": (Entry(where="x", artist="BJORK", title="Joga - 2011 Remaster", duration_s=306.0), "joga"),
    "another version": (Entry(where="x", artist="Björk", title="Jóga (Acoustic)"), DOUBTFUL),
    "the live one": (Entry(where="x", artist="Björk", title="Jóga [live at union chapel]"), "joga-live"),
    "a channel and a long title": (Entry(where="x", artist="Rick", title="Give You Up", duration_s=213.0), "yt"),
    "with a guest": (Entry(where="x", artist="Ann, Bob", title="Two"), "duo"),
    "the guest in the title": (Entry(where="x", artist="Ann", title="Two (feat. Bob)"), "duo"),
    "one of the two": (Entry(where="x", artist="Ann", title="Two"), "duo"),
    "the article": (Entry(where="x", artist="Weeknd", title="Lights"), "isrc"),
    "another length": (Entry(where="x", artist="Ann", title="Two", duration_s=400.0), DOUBTFUL),
    "two of one name": (Entry(where="x", artist="A", title="Intro"), DOUBTFUL),
    "two of one name and two lengths": (Entry(where="x", artist="A", title="Intro", duration_s=91.0), "intro-b"),
    "a title alone": (Entry(where="x", title="Lights"), DOUBTFUL),
    "another artist": (Entry(where="x", artist="Somebody Else", title="Lights"), DOUBTFUL),
    "nobody": (Entry(where="x", artist="Nobody", title="Nothing"), UNKNOWN),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_what_an_entry_means(matcher: Matcher, name: str) -> None:
    entry, wanted = CASES[name]
    found = matcher.match(entry, ListedPlaylist(playlist_id="p", title="t", where="w", folder=ROOT))
    assert (found.reason if isinstance(found, Unmatched) else found) == wanted
    if isinstance(found, Unmatched):
        assert bool(found.candidates) == (wanted is DOUBTFUL)


def test_a_playlist_has_each_recording_once_and_says_the_rest(matcher: Matcher) -> None:
    entries = tuple(entry for entry, _ in CASES.values())
    playlist, unmatched = matcher.playlist(
        ListedPlaylist(playlist_id="p", title="t", where="w", folder=ROOT, entries=entries)
    )
    matched = [wanted for _, wanted in CASES.values() if not isinstance(wanted, Reason)]
    assert playlist.recording_ids == tuple(dict.fromkeys(matched))
    assert len(unmatched) == len(entries) - len(matched)
    assert {tuple(sorted(one.to_json())) for one in unmatched} == {
        ("candidates", "detail", "playlist_id", "reason", "said", "where")
    }


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("The  BEATLES", "beatles"),
        ("Ｆｕｌｌ", "full"),
        ("Simon & Garfunkel", "simon and garfunkel"),
        ("Straße\u200b’s", "strasses"),
        ("が", "が"),
        ("The", "the"),
        ("T.N.T.", "t n t"),
        ("…", ""),
    ],
)
def test_a_normal_form(text: str, wanted: str) -> None:
    assert normal(text) == wanted


def test_a_score_is_of_both_sides_alike() -> None:
    (one,), (other,) = names("Ann", "Two"), names("Ann", "Two (Live)")
    assert score(one, one) == 1.0
    assert score(names("AC/DC", "T.N.T.")[0], names("ACDC", "TNT")[0]) == 1.0
    assert score(one, other) == score(other, one) == pytest.approx(0.7)
    assert [*names("Ann", " "), *names(None, None)] == []


TEXTS = st.text(max_size=12) | st.sampled_from(
    ["a - b (live)", "(feat. x)", "- topic", "((((", " - ", "the ", "&", "- - -"]
)


@pytest.mark.slow
@settings(max_examples=200, deadline=None)
@given(one=st.tuples(st.none() | TEXTS, TEXTS), other=st.tuples(st.none() | TEXTS, TEXTS))
def test_no_name_is_an_error(one: tuple[str | None, str], other: tuple[str | None, str]) -> None:
    for a in names(*one):
        assert 0.0 <= max(score(a, b) for b in (*names(*other), a)) <= 1.0
        assert score(a, a) == (1.0 if a.artist else 0.8)
        assert normal(a.title) == a.title


def test_a_common_name_costs_no_more_than_its_bound(tmp_path: Path) -> None:
    """Two thousand recordings of one title: the artist's own is found all the same."""
    keys = (Key(recording_id=f"{i}", path=f"/m/{i}", artist=f"artist {i}", title="Intro") for i in range(2_000))
    with Matcher(keys, tmp_path) as matcher:
        entry = Entry(where="x", artist="Artist 1999", title="Intro")
        assert matcher.match(entry, ListedPlaylist(playlist_id="p", title="t", where="w")) == "1999"
    assert not list(tmp_path.iterdir())
