"""Each published data set by the header that its publisher ships, with made rows; what is left out of it, and why."""

import csv
import io
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.catalogues.reader import Item, LeftOut, Recording, find_reader
from pipeline.catalogues.tables import python_list
from schemas.catalogue import parse_catalogue_row
from schemas.exits import InputError


def table(path: Path, *rows: list[Any], delimiter: str = ",") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    text = io.StringIO()
    csv.writer(text, delimiter=delimiter, lineterminator="\n").writerows(rows)
    path.write_bytes(text.getvalue().encode("utf-8", "surrogateescape"))


def audio(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"media")


# tracks.csv of fma_metadata.zip: the columns that are read among others of its 52.
FMA_TOP = ["", "album", "album", "artist", "artist", "set", "set", *["track"] * 8]
FMA_UNDER = [
    *("", "information", "title", "bio", "name", "split", "subset", "duration", "genre_top", "genres", "genres_all"),
    *("information", "license", "tags", "title"),
]
FMA_THIRD = ["track_id", *[""] * 14]


def fma(folder: Path) -> Path:
    def track(track_id: str, **changed: str) -> list[str]:
        row = {
            "id": track_id,
            "album": "<p>Made &amp; found</p>",
            "title": "AWOL",
            "bio": "<p>long</p>",
            "name": "A Band",
            "split": "training",
            "subset": "small",
            "duration": "168",
            "genre_top": "Hip-Hop",
            "genres": "[21, 10]",
            "all": "[21]",
            "information": "",
            "license": "CC BY",
            "tags": "['lo-fi', \"it's\"]",
            "track": "Food",
        }
        return list({**row, **changed}.values())

    table(
        folder / "fma_metadata" / "tracks.csv",
        FMA_TOP,
        FMA_UNDER,
        FMA_THIRD,
        track("2"),
        track("3", information="A song.\nOf two lines."),
        track("4"),  # without its file
        track("2"),
        track("../5"),
        track("6", track="a\0b"),
        ["7"],  # a row that is cut short
    )
    table(
        folder / "fma_metadata" / "genres.csv",
        ["genre_id", "#tracks", "parent", "title", "top_level"],
        ["21", "12693", "0", "Hip-Hop", "21"],
        ["10", "13845", "0", "Pop", "10"],
    )
    for name in ("fma_small/000/000002.mp3", "fma_full/000/000003.mp3", "fma_small/000/000006.mp3"):
        audio(folder / name)
    return folder


JAMENDO = ["TRACK_ID", "ARTIST_ID", "ALBUM_ID", "PATH", "DURATION", "TAGS"]


def mtg_jamendo(folder: Path) -> Path:
    ids = ["artist_1", "album_1"]
    table(
        folder / "data" / "raw_30s_cleantags.tsv",
        JAMENDO,
        ["track_0000214", *ids, "14/214.mp3", "124.6", "genre---punkrock", "mood/theme---happy"],
        ["track_0000215", *ids, "15/215.mp3", "151.4", "genre---metal"],
        ["track_0000216", *ids, "16/216.mp3", "200", "genre---metal"],  # without its file
        ["track_0000217", *ids, "../../etc/passwd", "200", "genre---metal"],
        ["track_0000214", *ids, "14/214.mp3", "124.6", "genre---punkrock"],
        ["track_0000218", "short"],
        delimiter="\t",
    )
    table(
        folder / "data" / "raw.meta.tsv",
        ["TRACK_ID", "ARTIST_ID", "ALBUM_ID", "TRACK_NAME", "ARTIST_NAME", "ALBUM_NAME", "RELEASEDATE", "URL"],
        ["track_0000214", *ids, "Trio HxC", "A Band", "Demo", "2004-12-28", "http://www.jamendo.com/track/214"],
        delimiter="\t",
    )
    audio(folder / "audio" / "14" / "214.mp3")
    audio(folder / "audio" / "15" / "215.low.mp3")
    return folder


def magnatagatune(folder: Path) -> Path:
    table(
        folder / "annotations_final.csv",
        ["clip_id", "no voice", "female vocal", "harp", "mp3_path"],
        ["2", "1", "0", "1", "f/bach-01-30-59.mp3"],
        ["6", "0", "0", "0", "f/bach-01-59-88.mp3"],
        ["7", "1", "0", "1", "0/none-0-29.mp3"],
        ["8", "1", "0", "1", "/etc/passwd"],
        ["9", "1", "0", "yes", "f/bach-01-30-59.mp3"],
        ["10", "1", "0", "1", "f/bach-01-30-59.mp3"],
        delimiter="\t",
    )
    info = ["clip_id", "track_number", "title", "artist", "album", "url", "segmentStart", "segmentEnd", "original_url"]
    table(
        folder / "clip_info_final.csv",
        [*info, "mp3_path"],
        ["2", "1", "BWV54", "Soloists", "Cantatas", "http://magnatune.com/a", "30", "59", "http://he3/a.mp3", "f/b"],
        delimiter="\t",
    )
    audio(folder / "f" / "bach-01-30-59.mp3")
    audio(folder / "f" / "bach-01-59-88.mp3")
    return folder


MUSICCAPS = ["ytid", "start_s", "end_s", "audioset_positive_labels", "aspect_list", "caption", "author_id"]


def musiccaps(folder: Path) -> Path:
    path = folder / "musiccaps-public.csv"
    rest = ["4", "False", "True"]
    table(
        path,
        [*MUSICCAPS, "is_balanced_subset", "is_audioset_eval"],
        ["-0Gj8-vB1q4", "30", "40", "/m/0140xf", "['low quality', \"it's slow\"]", "The recording is poor.", *rest],
        ["-0SdAVK79lg", "30", "40", "/m/0155w", "[]", "This song is an instrumental.", *rest],
        ["-0SdAVK79lg", "30", "40", "/m/0155w", "[]", "This song is an instrumental.", *rest],
        ["no id", "30", "40", "", "[]", "x", *rest],
        ["-0vPFx-wRRI", "40", "30", "", "[]", "x", *rest],
        ["-0vPFx-wRRI", "a", "b", "", "[]", "x", *rest],
        ["", "0", "10", "", "[]", "x", *rest],
    )
    audio(folder / "audio" / "-0SdAVK79lg_30.wav")
    return path


def song_describer(folder: Path) -> Path:
    header = ["caption_id", "track_id", "caption", "is_valid_subset", "familiarity", "artist_id", "album_id", "path"]
    table(
        folder / "song_describer.csv",
        [*header, "duration"],
        ["1", "1004034", "A retro machine groove.", "True", "0", "1", "2", "34/1004034.mp3", "225.7"],
        ["2", "1004034", "Drums, again.", "False", "0", "1", "2", "34/1004034.mp3", "225.7"],
        ["3", "1004035", "No audio.", "True", "0", "1", "2", "35/1004035.mp3", "100"],
        ["4", "", "No track.", "True", "0", "1", "2", "35/1004035.mp3", "100"],
        ["5", "1004036", "x", "True", "0", "1", "2", "..\\x.mp3", "100"],
    )
    audio(folder / "audio" / "34" / "1004034.2min.mp3")
    return folder


# Name -> what makes the set; rows by recording_id, without the path; what is left out, by reason.
SETS: dict[str, tuple[Callable[[Path], Path], dict[str, dict[str, Any]], dict[str, int]]] = {
    "fma": (
        fma,
        {
            "fma:2": {
                "title": "Food",
                "artist": "A Band",
                "album": "AWOL",
                "licence": "CC BY",
                "tags": ["Hip-Hop", "Pop", "lo-fi", "it's"],
                "description": "Made & found",
                "source": "FMA",
                "start_s": 0.0,
                "duration_s": 29.0,
            },
            "fma:3": {
                "title": "Food",
                "artist": "A Band",
                "album": "AWOL",
                "licence": "CC BY",
                "tags": ["Hip-Hop", "Pop", "lo-fi", "it's"],
                "description": "A song.\nOf two lines.",
                "source": "FMA",
            },
            "fma:6": {
                "artist": "A Band",
                "album": "AWOL",
                "licence": "CC BY",
                "tags": ["Hip-Hop", "Pop", "lo-fi", "it's"],
                "description": "Made & found",
                "source": "FMA",
                "start_s": 0.0,
                "duration_s": 29.0,
            },
        },
        {"no_local_copy": 2, "repeated_id": 1, "bad_value": 2},
    ),
    "mtg_jamendo": (
        mtg_jamendo,
        {
            "track_0000214": {
                "title": "Trio HxC",
                "artist": "A Band",
                "album": "Demo",
                "tags": ["punkrock", "happy"],
                "source": "http://www.jamendo.com/track/214",
            },
            "track_0000215": {"tags": ["metal"], "source": "MTG-Jamendo"},
        },
        {"no_local_copy": 1, "outside_root": 1, "repeated_id": 1, "bad_value": 1},
    ),
    "magnatagatune": (
        magnatagatune,
        {
            "bach-01-30-59": {
                "title": "BWV54",
                "artist": "Soloists",
                "album": "Cantatas",
                "tags": ["no voice", "harp"],
                "source": "http://magnatune.com/a",
                "start_s": 0.0,
                "duration_s": 29.0,
            },
            "bach-01-59-88": {"source": "MagnaTagATune", "start_s": 0.0, "duration_s": 29.0},
        },
        {"no_local_copy": 1, "outside_root": 1, "bad_value": 1, "repeated_id": 1},
    ),
    "musiccaps": (
        musiccaps,
        {
            "-0Gj8-vB1q4": {
                "tags": ["low quality", "it's slow"],
                "description": "The recording is poor.",
                "source": "MusicCaps",
                "start_s": 30.0,
                "duration_s": 10.0,
            },
            "-0SdAVK79lg": {
                "description": "This song is an instrumental.",
                "source": "MusicCaps",
                "start_s": 0.0,
                "duration_s": 10.0,
            },
        },
        {"repeated_id": 1, "unsupported_uri": 1, "bad_value": 2, "missing_field": 1},
    ),
    "song_describer": (
        song_describer,
        {
            "1004034": {
                "description": "A retro machine groove.",
                "comments": ["Drums, again."],
                "source": "Song Describer",
            }
        },
        {"no_local_copy": 1, "missing_field": 1, "outside_root": 1},
    ),
}


def items_of(name: str, source: Path) -> list[Item]:
    return list(find_reader(name)(source))


@pytest.mark.parametrize("name", SETS)
def test_a_data_set_as_published(tmp_path: Path, name: str) -> None:
    make, wanted, reasons = SETS[name]
    items = items_of(name, make(tmp_path))
    rows = {item.row["recording_id"]: dict(item.row) for item in items if isinstance(item, Recording)}
    uris = {recording_id: row.pop("audio_uri") for recording_id, row in rows.items()}
    assert {i: {k: v for k, v in row.items() if k != "recording_id"} for i, row in rows.items()} == wanted
    assert Counter(item.reason for item in items if isinstance(item, LeftOut)) == reasons
    for recording_id, row in rows.items():
        parse_catalogue_row({**row, "audio_uri": uris[recording_id]})
        assert Path(uris[recording_id]).is_file() or uris[recording_id].startswith("https://www.youtube.com/watch?v=")
    assert items_of(name, make(tmp_path)) == items


@pytest.mark.parametrize("name", SETS)
def test_another_header_is_refused_in_one_line(tmp_path: Path, name: str) -> None:
    source = SETS[name][0](tmp_path)
    for path in tmp_path.rglob("*.?sv"):
        path.write_text("a,b\n1,2\n", encoding="utf-8")
    with pytest.raises(InputError) as error:
        items_of(name, source)
    assert str(tmp_path) in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", [name for name in SETS if name != "musiccaps"])
def test_another_folder_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError, match="it should be"):
        items_of(name, tmp_path)


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@pytest.mark.parametrize("name", SETS)
@given(junk=st.lists(st.lists(st.text(max_size=6), max_size=16), max_size=4), raw=st.binary(max_size=20))
def test_no_row_is_an_error(tmp_path: Path, name: str, junk: list[list[str]], raw: bytes) -> None:
    source = SETS[name][0](tmp_path)
    for path in tmp_path.rglob("*.?sv"):
        text = io.StringIO()
        csv.writer(text, delimiter="\t" if b"\t" in path.read_bytes() else ",").writerows(junk)
        path.write_bytes(path.read_bytes() + text.getvalue().encode("utf-8", "surrogatepass") + raw)
    assert sum(isinstance(item, Recording) for item in items_of(name, source)) >= len(SETS[name][1]) - 1


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("['a', 'b c']", ["a", "b c"]),
        ('["it\'s", \'"x"\']', ["it's", '"x"']),
        (r"['it\'s']", ["it's"]),
        ("[]", []),
        ("nan", []),
        ("[" * 100_000, []),
    ],
)
def test_a_list_as_python_prints_it(text: str, found: list[str]) -> None:
    assert python_list(text) == found
