"""What yt-dlp writes, by its own names of the fields (yt_dlp/extractor/common.py), and what else may stand there."""

import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import openmulan
from pipeline.catalogues.reader import Item, LeftOut, ListedPlaylist, Recording
from pipeline.catalogues.yt_dlp import read
from schemas.catalogue import parse_catalogue_row
from schemas.exits import InputError
from schemas.playlist_files.files import read_playlists
from schemas.playlist_files.matching import Key, Matcher
from tests.media import music_CT, wav

ID = "dQw4w9WgXcQ"
URL = f"https://www.youtube.com/watch?v={ID}"
VIDEO: dict[str, Any] = {
    "id": ID,
    "title": "Rick Astley - Never Gonna Give You Up (Official Video)",
    "track": "Never Gonna Give You Up",
    "artists": ["Rick Astley", "A Guest"],
    "artist": "not this one",
    "album": "Whenever You Need Somebody",
    "formats": [{"url": "https://rr1---sn.example/videoplayback?sig=x"}],
    "description": "A song of 1987.\nWith a dance beat.",
    "tags": ["80s", "pop", "80s"],
    "categories": ["Music"],
    "release_year": 1987,
    "license": "Creative Commons Attribution license (reuse allowed)",
    "comments": [
        {"id": "a", "author": "@somebody", "author_id": "UC1", "text": "So smooth.", "parent": "root"},
        {"id": "b", "author": "@other", "text": ""},
    ],
    "chapters": [{"start_time": 0, "end_time": 10, "title": "Intro"}],
    "upload_date": "20091025",
    "channel": "Rick Astley",
    "duration": 212,
    "webpage_url": URL,
    "original_url": f"https://youtu.be/{ID}",
    "extractor": "youtube",
    "extractor_key": "Youtube",
    "playlist": "80s",
    "playlist_id": "PL80s",
    "playlist_title": "Eighties",
    "playlist_index": 2,
    "_type": "video",
    "filename": "/etc/passwd",
    "requested_downloads": [{"filepath": "/etc/passwd"}],
}


def dump(folder: Path, name: str, *values: Any) -> Path:
    path = folder / name
    path.write_text("\n".join(json.dumps(value) for value in values), encoding="utf-8")
    return path


def of(items: list[Item], kind: type) -> list[Any]:
    return [item for item in items if isinstance(item, kind)]


def test_a_dump_with_its_media_beside_it(tmp_path: Path) -> None:
    dump(tmp_path, "Song [x].info.json", VIDEO)
    (tmp_path / "Song [x].webm").write_bytes(b"media")
    recording, playlist = read(tmp_path)
    assert isinstance(recording, Recording)
    assert recording.row == {
        "recording_id": ID,
        "audio_uri": str(tmp_path / "Song [x].webm"),
        "title": "Never Gonna Give You Up",
        "artist": "Rick Astley, A Guest",
        "album": "Whenever You Need Somebody",
        "tags": ["80s", "pop", "Music"],
        "description": "A song of 1987.\nWith a dance beat.",
        "comments": ["So smooth."],
        "licence": "Creative Commons Attribution license (reuse allowed)",
        "source": URL,
        "year": 1987,
    }
    assert recording.names == (f"youtube:{ID}",)
    assert recording.duration_s == 212
    parse_catalogue_row(recording.row)
    assert isinstance(playlist, ListedPlaylist)
    assert (playlist.playlist_id, playlist.title) == ("youtube:PL80s", "Eighties")
    assert [entry.names for entry in playlist.entries] == [(f"youtube:{ID}",)]


def test_without_media_a_video_is_youtubes_and_others_are_left_out(tmp_path: Path) -> None:
    dump(tmp_path, "a.info.json", VIDEO)
    sound = {"id": "77", "title": "t", "extractor_key": "Soundcloud", "webpage_url": "https://soundcloud.com/a/b"}
    dump(tmp_path, "b.info.json", sound)
    items = list(read(tmp_path))
    assert [found.row["audio_uri"] for found in of(items, Recording)] == [URL]
    assert [found.reason for found in of(items, LeftOut)] == ["no_local_copy"]
    (tmp_path / "b.mp3").write_bytes(b"media")
    (other,) = (found for found in read(tmp_path) if isinstance(found, Recording) and found.row["recording_id"] != ID)
    assert other.row["recording_id"] == "soundcloud:77"
    assert other.names == ("url:https://soundcloud.com/a/b", "soundcloud:77")


@pytest.mark.parametrize(
    ("fields", "artist"),
    [
        ({"artists": None, "artist": "A, B"}, "A, B"),
        ({"artists": [], "artist": None, "creators": ["C"]}, "C"),
        ({"artists": None, "artist": None, "creator": "D"}, "D"),
        ({"artists": None, "artist": None, "channel": "Miles Davis - Topic"}, "Miles Davis"),
        ({"artists": None, "artist": None, "channel": "NDR Radiophilharmonie"}, None),
    ],
)
def test_who_the_artist_is(tmp_path: Path, fields: dict[str, Any], artist: str | None) -> None:
    items = list(read(dump(tmp_path, "a.info.json", {**VIDEO, **fields})))
    assert of(items, Recording)[0].row.get("artist") == artist


PLAYLIST: dict[str, Any] = {
    "_type": "playlist",
    "id": "PLx",
    "title": "Mornings",
    "description": "To wake up.",
    "extractor_key": "YoutubeTab",
    "entries": [
        {"_type": "url", "ie_key": "Youtube", "id": ID, "url": URL, "title": "One", "duration": 10, "channel": "c"},
        {
            "_type": "url",
            "ie_key": "Youtube",
            "id": "aaaaaaaaaaa",
            "url": "https://youtu.be/aaaaaaaaaaa",
            "title": None,
        },
        {"_type": "url", "ie_key": "Youtube", "id": "bbbbbbbbbbb", "title": "[Private video]"},
        None,
    ],
}


@pytest.mark.parametrize("form", ["whole", "lines"])
def test_a_dump_of_a_playlist(tmp_path: Path, form: str) -> None:
    if form == "whole":
        items = list(read(dump(tmp_path, "list.json", PLAYLIST)))
    else:  # yt-dlp -j --flat-playlist
        said = {"playlist_id": "PLx", "playlist_title": "Mornings"}
        lines = [{**entry, **said, "playlist_index": 3 - i} for i, entry in enumerate(PLAYLIST["entries"][:3])]
        items = list(read(dump(tmp_path, "list.jsonl", *lines)))
    (playlist,) = of(items, ListedPlaylist)
    assert (playlist.playlist_id, playlist.title) == ("youtube:PLx", "Mornings")
    names = [f"youtube:{ID}", "youtube:aaaaaaaaaaa", "youtube:bbbbbbbbbbb"]
    assert [entry.names for entry in playlist.entries] == [(name,) for name in names][:: 1 if form == "whole" else -1]
    assert [found.row["recording_id"] for found in of(items, Recording)] == [ID, "aaaaaaaaaaa"]
    assert {found.reason for found in of(items, LeftOut)} == {"video_unavailable"}


@pytest.mark.parametrize("order", [(0, 1, 2), (1, 0, 2), (2, 1, 0)])
def test_a_line_of_a_flat_playlist_gives_way_to_a_dump(tmp_path: Path, order: tuple[int, ...]) -> None:
    files = [
        dump(tmp_path, "a.info.json", VIDEO),
        dump(tmp_path, "b.info.json", PLAYLIST),
        dump(tmp_path, "c.info.json", VIDEO),
    ]
    output = tmp_path / "catalog.parquet"
    assert openmulan.main(["catalog", *(f"yt_dlp={files[place]}" for place in order), "--output", str(output)]) == 0
    rows = {row["recording_id"]: row for row in pq.read_table(output).to_pylist()}
    assert list(rows) == ["aaaaaaaaaaa", ID]
    assert rows[ID]["album"] == "Whenever You Need Somebody"
    reasons = [json.loads(line)["reason"] for line in (tmp_path / "catalog.rejects.jsonl").read_text().splitlines()]
    assert sorted(reasons) == ["repeated_id", "video_unavailable", "video_unavailable"]


def test_a_line_of_a_flat_playlist_gives_way_to_a_file_of_its_video(tmp_path: Path) -> None:
    """yt-dlp's own names have the id, so that files without dumps are known too."""
    music = tmp_path / "music"
    music.mkdir()
    (music / f"Rick - Never [{ID}].wav").write_bytes(wav(music_CT(0.2, 16_000), 16_000))
    listed = dump(tmp_path, "list.json", PLAYLIST)
    output = tmp_path / "catalog.parquet"
    assert openmulan.main(["catalog", str(listed), str(music), "--output", str(output)]) == 0
    uris = {row["recording_id"]: row["audio_uri"] for row in pq.read_table(output).to_pylist()}
    name = f"Rick - Never [{ID}].wav"
    assert uris == {name: f"music/{name}", "aaaaaaaaaaa": "https://www.youtube.com/watch?v=aaaaaaaaaaa"}
    (playlist,) = (json.loads(line) for line in (tmp_path / "catalog.playlists.jsonl").read_text().splitlines())
    assert playlist["recording_ids"] == [name, "aaaaaaaaaaa"]


HOSTILE = {
    "no JSON": (b"{", ["not_json"]),
    "no object": (b"[1]", ["wrong_type"]),
    "a nesting bomb": (b"[" * 200_000, ["not_json"]),
    "a nesting bomb in a field": (b'{"id":' + b"[" * 200_000, ["not_json"]),
    "not UTF-8": (b'{"id": "\xff"}', ["not_utf8"]),
    "no id": (b'{"title": "t"}', ["missing_field"]),
    "an id that is a list": (b'{"id": [1], "extractor_key": "Youtube"}', ["wrong_type", "missing_field"]),
    "a number that is endless": (b'{"id": ' + b"9" * 5000 + b"}", ["not_json"]),
    "a playlist that is no list": (b'{"_type": "playlist", "id": "a", "entries": 7}', ["wrong_type"]),
    "playlists in playlists": (
        b'{"_type": "playlist", "id": "a", "entries": [' * 9 + b"]}" * 9,
        ["wrong_type"],
    ),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_file_that_gives_nothing(tmp_path: Path, name: str) -> None:
    content, reasons = HOSTILE[name]
    path = tmp_path / "x.info.json"
    path.write_bytes(content)
    items = list(read(path))
    assert not of(items, Recording)
    assert sorted(item.reason for item in of(items, LeftOut)) == sorted(reasons)


WRONG = ([[1]], {"a": 1}, True, "x" * 10_000_000, "a\0b", "\ud800", ["\ud800", "ok"])
FIELDS = ("title", "album", "description", "license", "tags", "comments", "duration")


@pytest.mark.parametrize("field", FIELDS)
@pytest.mark.parametrize("value", WRONG, ids=range(len(WRONG)))
def test_a_field_of_the_wrong_kind_is_left_out_and_the_rest_stays(tmp_path: Path, field: str, value: Any) -> None:
    items = list(read(dump(tmp_path, "x.info.json", {**VIDEO, "track": None, field: value})))
    (recording,) = of(items, Recording)
    assert recording.row["source"] == URL
    assert {item.reason for item in of(items, LeftOut)} & {"wrong_type", "bad_value", "not_utf8"}
    assert all("\0" not in str(text) and "\ud800" not in str(text) for text in recording.row.values())


def test_where_there_is_no_dump(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"has no \.info\.json"):
        list(read(tmp_path))


JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.floats(), st.integers(), st.text(max_size=8)),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(sorted(VIDEO)), inner, max_size=4),
    max_leaves=8,
)


@pytest.mark.slow
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(value=st.dictionaries(st.sampled_from([*VIDEO, "entries", "ie_key", "url"]), JSON, max_size=8), kind=JSON)
def test_no_dump_is_an_error(tmp_path: Path, value: dict[str, Any], kind: Any) -> None:
    for item in read(dump(tmp_path, "x.info.json", {"id": "1", **value}, {**VIDEO, **value}, {"_type": kind, **value})):
        assert isinstance(item, Recording | ListedPlaylist | LeftOut)


def test_every_entry_of_forty_dumps_and_three_kinds_of_playlist_is_matched_or_listed(tmp_path: Path) -> None:
    """They name the videos by path, by address, and by artist and title; some of these are not there."""
    for number in range(40):
        identifier = f"video{number:06d}"
        value = {
            **VIDEO,
            "id": identifier,
            "webpage_url": f"https://www.youtube.com/watch?v={identifier}",
            "original_url": None,
            "track": f"Song {number}",
            "artists": [f"Artist {number % 7}"],
            "duration": 100 + number,
            "playlist_index": number,
        }
        dump(tmp_path, f"{number:02d}.info.json", value)
        (tmp_path / f"{number:02d}.webm").write_bytes(b"media")
    lists = tmp_path / "lists"
    lists.mkdir()
    (lists / "paths.m3u8").write_text("".join(f"../{n:02d}.webm\n" for n in range(45)), encoding="utf-8")
    tracks = "".join(f"<track><location>https://youtu.be/video{n:06d}</location></track>" for n in range(42))
    (lists / "addresses.xspf").write_text(f"<playlist><trackList>{tracks}</trackList></playlist>", encoding="utf-8")
    rows = "".join(f'"Song {n} (Remastered 2011)","ARTIST {n % 7}",{100_000 + 1000 * n}\n' for n in range(40))
    rows += '"Song 1","Artist 1",900000\n"Nothing","Nobody",1000\n'
    (lists / "names.csv").write_text(f'"Track Name","Artist Name(s)","Duration (ms)"\n{rows}', encoding="utf-8")
    items = list(read(tmp_path))
    keys = [
        Key(
            recording_id=recording.row["recording_id"],
            path=recording.row["audio_uri"],
            names=recording.names,
            artist=recording.row["artist"],
            title=recording.row["title"],
            duration_s=recording.duration_s,
        )
        for recording in of(items, Recording)
    ]
    assert len(keys) == 40
    listed = [*of(items, ListedPlaylist), *(p for f in sorted(lists.iterdir()) for p in read_playlists(f))]
    with Matcher(keys) as matcher:
        found = {playlist.title: matcher.playlist(playlist) for playlist in listed}
    assert {title: (len(playlist.recording_ids), len(unmatched)) for title, (playlist, unmatched) in found.items()} == {
        "Eighties": (40, 0),
        "addresses": (40, 2),
        "names": (40, 2),
        "paths": (40, 5),
    }
    reasons = sorted(one.reason for _, unmatched in found.values() for one in unmatched)
    assert reasons == ["doubtful_match"] + ["unknown_recording"] * 8
    for _, unmatched in found.values():
        assert all(one.where.startswith(str(lists)) and one.said for one in unmatched)
