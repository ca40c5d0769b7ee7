"""Every format as programs write it, and what a stranger may put into it instead."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from schemas.playlist_files import exports, m3u, million, pls, xspf
from schemas.playlist_files.entries import Entry, LeftOut, ListedPlaylist
from schemas.playlist_files.files import SUFFIXES, is_playlist_file, read_playlists

XSPF = '<?xml version="1.0" encoding="UTF-8"?>\n<playlist version="1" xmlns="http://xspf.org/ns/0/">{}</playlist>'
BOMB = (
    '<?xml version="1.0"?><!DOCTYPE lolz [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;&a;&a;">]>'
    "<playlist><title>&b;</title></playlist>"
)
EXTERNAL = '<!DOCTYPE x [<!ENTITY e SYSTEM "file:///etc/passwd">]><playlist><title>&e;</title></playlist>'


def read(folder: Path, name: str, content: str | bytes) -> tuple[list[ListedPlaylist], list[LeftOut]]:
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    items = list(read_playlists(path))
    return [i for i in items if isinstance(i, ListedPlaylist)], [i for i in items if isinstance(i, LeftOut)]


def said(entry: Entry) -> tuple[object, ...]:
    return entry.path, entry.names, entry.artist, entry.title, entry.duration_s


ISRC = "isrc:USUG12000123"
FORMATS: dict[str, tuple[str, str | bytes, str, list[tuple[object, ...]]]] = {
    "m3u8": (
        "Walk.m3u8",
        "\ufeff#EXTM3U\r\n#PLAYLIST:Evening walk\r\n#EXTINF:215,Björk - Jóga\r\n../music/Jóga.mp3\r\n"
        '#EXTINF:-1 tvg-id="a",Radio\r\nhttps://www.youtube.com/watch?v=dQw4w9WgXcQ\r\nC:\\Music\\A B\\c.flac\r\n'
        "file:///home/me/S%C3%A5ng.ogg\r\n",
        "Evening walk",
        [
            ("../music/Jóga.mp3", (), "Björk", "Jóga", 215.0),
            (None, ("youtube:dQw4w9WgXcQ",), None, "Radio", None),
            ("C:\\Music\\A B\\c.flac", (), None, None, None),
            ("/home/me/Sång.ogg", (), None, None, None),
        ],
    ),
    "m3u of an old player": (
        "Alt.m3u",
        "Jörg/Lied.mp3\n".encode("cp1252"),
        "Alt",
        [("Jörg/Lied.mp3", (), None, None, None)],
    ),
    "pls": (
        "Radio.pls",
        "[playlist]\nNumberOfEntries=2\nFile2=b.ogg\nFile1=a.mp3\nTitle1=Artist - One\nLength1=61\nLength2=-1\n"
        "Version=2\n",
        "Radio",
        [("a.mp3", (), "Artist", "One", 61.0), ("b.ogg", (), None, None, None)],
    ),
    "xspf": (
        "List.xspf",
        XSPF.format(
            "<title>Late &amp; blue</title><annotation>Slow songs.</annotation><trackList><track>"
            "<location>file:///music/a%20b.mp3</location><identifier>isrc:US-UG1-20-00123</identifier>"
            "<title>Blue</title><creator>Miles</creator><album>K</album><duration>61500</duration></track>"
            "<track><location>sub/c%20d.mp3</location></track></trackList>"
        ),
        "Late & blue",
        [("/music/a b.mp3", (ISRC,), "Miles", "Blue", 61.5), ("sub/c d.mp3", (), None, None, None)],
    ),
    "Exportify (watsonbox)": (
        "gym.csv",
        '"Track URI","Track Name","Artist URI(s)","Artist Name(s)","Album URI","Album Name","Album Artist URI(s)",'
        '"Album Artist Name(s)","Album Release Date","Album Image URL","Disc Number","Track Number",'
        '"Track Duration (ms)","Track Preview URL","Explicit","Popularity","ISRC","Added By","Added At"\n'
        '"spotify:track:07nog2WGKrjfn9T4q2xpC8","Kiss Kiss","","A, B","","","","","","","1","2","137826","","false","1"'
        ',"USUG12000123","",""\n',
        "gym",
        [(None, (ISRC, "spotify:07nog2WGKrjfn9T4q2xpC8"), "A, B", "Kiss Kiss", 137.826)],
    ),
    "Exportify (exportify.net)": (
        "gym.csv",
        '"Track URI","Track Name","Album Name","Artist Name(s)","Release Date","Duration (ms)","Popularity"\n'
        '"spotify:track:07nog2WGKrjfn9T4q2xpC8","Kiss, Kiss","X","A;B","2006","1000","1"\n',
        "gym",
        [(None, ("spotify:07nog2WGKrjfn9T4q2xpC8",), "A;B", "Kiss, Kiss", 1.0)],
    ),
    "Soundiiz": (
        "soundiiz.csv",
        "title;artist;album;isrc\nBlue;Miles;Kind of;USUG12000123\n",
        "soundiiz",
        [(None, (ISRC,), "Miles", "Blue", None)],
    ),
    "TuneMyMusic": (
        "My music.csv",
        "Track name,Artist name,Album,Playlist name,Type,ISRC,Spotify - id\n"
        "Blue,Miles,Kind of,Evening,Playlist,USUG12000123,07nog2WGKrjfn9T4q2xpC8\n"
        "Enya - Caribbean,,,Evening,Playlist,,\n",
        "Evening",
        [
            (None, (ISRC, "spotify:07nog2WGKrjfn9T4q2xpC8"), "Miles", "Blue", None),
            (None, (), "Enya", "Caribbean", None),
        ],
    ),
    "Million Playlist Dataset": (
        "mpd.slice.0-999.json",
        json.dumps(
            {
                "info": {"slice": "0-999", "version": "v1"},
                "playlists": [
                    {
                        "name": "musical",
                        "collaborative": "false",
                        "pid": 5,
                        "modified_at": 1493424000,
                        "num_tracks": 1,
                        "tracks": [
                            {
                                "pos": 0,
                                "artist_name": "Degiheugi",
                                "track_uri": "spotify:track:7vqa3sDmtEaVJ2gcvxtRID",
                                "artist_uri": "spotify:artist:3V2paBXEoZIAfhZRJmo2jL",
                                "track_name": "Finalement",
                                "album_uri": "spotify:album:2KrRMJ9z7Xjoz1Az4O6UML",
                                "duration_ms": 166264,
                                "album_name": "Dancing Chords and Fireflies",
                            }
                        ],
                    }
                ],
            }
        ),
        "musical",
        [(None, ("spotify:7vqa3sDmtEaVJ2gcvxtRID",), "Degiheugi", "Finalement", 166.264)],
    ),
}


@pytest.mark.parametrize("name", FORMATS)
def test_a_playlist_as_its_program_writes_it(tmp_path: Path, name: str) -> None:
    file, content, title, entries = FORMATS[name]
    playlists, left_out = read(tmp_path, file, content)
    assert [playlist.title for playlist in playlists] == [title]
    assert [said(entry) for entry in playlists[0].entries] == entries
    assert not left_out


def test_an_annotation_is_the_description(tmp_path: Path) -> None:
    file, content, *_ = FORMATS["xspf"]
    assert read(tmp_path, file, content)[0][0].description == "Slow songs."


def test_one_file_of_many_playlists_has_an_id_for_each(tmp_path: Path) -> None:
    rows = "Track name,Artist name,Album,Playlist name,Type,ISRC\na,b,,One,Playlist,\nc,d,,Two,Playlist,\n"
    playlists, _ = read(tmp_path, "all.csv", rows)
    assert [p.title for p in playlists] == ["One", "Two"]
    assert len({p.playlist_id for p in playlists}) == 2
    (tmp_path / "elsewhere").mkdir()
    assert read(tmp_path / "elsewhere", "all.csv", rows)[0][0].playlist_id == playlists[0].playlist_id


def test_a_relative_path_is_from_the_lists_folder_wherever_one_stands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    for suffix in (".m3u", ".pls", ".xspf", ".csv"):
        content = next(content for file, content, *_ in FORMATS.values() if file.endswith(suffix))
        read(tmp_path / "real", f"a{suffix}", content)
        monkeypatch.chdir(tmp_path)
        (playlist,) = read_playlists(Path(f"link/a{suffix}"))
        assert isinstance(playlist, ListedPlaylist)
        assert playlist.folder == tmp_path / "real"


def test_which_files_of_a_tree_are_playlists() -> None:
    assert all(is_playlist_file(Path(name)) for name in ("A.M3U", "mpd.slice.0-999.json"))
    assert not any(is_playlist_file(Path(name)) for name in ("tracks.csv", "a.info.json", "a.txt"))


ROOT = Path(__file__).resolve().parents[3]
WATCHED = """
import sys
from pathlib import Path
from schemas.playlist_files.files import playlist_files, read_playlists
from schemas.playlist_files.matching import Key, Matcher

folder = Path(sys.argv[1])
with Matcher([Key(recording_id="a", path="/a", title="a")]) as matcher:
    files, entries, base = playlist_files(folder), 0, matcher._folder.name
    def watch(event, arguments):
        if event in ("open", "os.open", "os.scandir", "os.listdir", "socket.connect", "subprocess.Popen", "os.system"):
            if not isinstance(arguments[0], int) and not str(arguments[0]).startswith(base):
                print(Path(str(arguments[0])).name)
    sys.addaudithook(watch)
    for file in files:
        for item in read_playlists(file):
            if hasattr(item, "entries"):
                entries += len(item.entries)
                assert not matcher.playlist(item)[0].recording_ids
print(f"read:{entries}")
"""

# Name, content, reasons of what is left out, entries that are read all the same.
HOSTILE: dict[str, tuple[str, str | bytes, list[str], int]] = {
    "a NUL in a path": ("a.m3u8", "ok.mp3\nx\0y.mp3\n", ["bad_value"], 1),
    "a path that turns its direction": ("a.m3u8", "ok.mp3\nx\u202e3pm.exe\n", ["bad_value"], 1),
    "a line of 10 MB": ("a.m3u8", "ok.mp3\n" + "x" * 10_000_000 + "\n", ["line_too_long"], 1),
    "a stream's segments": ("a.m3u8", "#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:9,\ns0.ts\n", ["bad_value"], 0),
    "latin-1 where UTF-8 is promised": ("a.m3u8", "Jörg.mp3".encode("latin-1"), ["not_utf8"], 0),
    "an artist without end": ("a.m3u8", f"#EXTINF:1,{'x' * 5000}\na.mp3\n", ["bad_value"], 0),
    "no pls": ("a.pls", "File1=a\n", ["bad_value"], 0),
    "a pls with two files of a number": (
        "a.pls",
        "[playlist]\nFile1=a\nFile1=b\nTitle2=c\n",
        ["repeated_id", "missing_field"],
        1,
    ),
    "a billion laughs": ("a.xspf", BOMB, ["bad_value"], 0),
    "an external entity": ("a.xspf", EXTERNAL, ["bad_value"], 0),
    "xml without end": ("a.xspf", "<playlist><trackList>", ["bad_value"], 0),
    "another xml": ("a.xspf", "<html></html>", ["bad_value"], 0),
    "xml of no encoding": ("a.xspf", '<?xml version="1.0" encoding="x-none"?><playlist/>', ["not_utf8"], 0),
    "xml nested without end": ("a.xspf", "<playlist>" + "<a>" * 100_000, ["bad_value"], 0),
    "an empty track": ("a.xspf", XSPF.format("<trackList><track/></trackList>"), ["missing_field"], 0),
    "a text of 10 MB": (
        "a.xspf",
        XSPF.format(f"<trackList><track><title>{'x' * 10_000_000}</title></track></trackList>"),
        ["bad_value"],
        0,
    ),
    "a csv of something else": ("a.csv", "a,b\n1,2\n", ["bad_value"], 0),
    "an empty csv": ("a.csv", "", ["bad_value"], 0),
    "a csv with an open quote": ("a.csv", 'title,artist\nok,b\n"x,y\n', ["bad_value"], 1),
    "a csv row of nothing": ("a.csv", "title,artist\n,b\nok,b\n", ["missing_field"], 1),
    "no json": ("a.json", "{", ["not_json"], 0),
    "json nested without end": ("a.json", "[" * 200_000, ["not_json"], 0),
    "json of another form": ("a.json", "[1]", ["bad_value"], 0),
    "wrong types": (
        "a.json",
        json.dumps(
            {
                "playlists": [
                    None,
                    {"pid": None, "tracks": []},
                    {"pid": 1, "tracks": 3},
                    {"pid": [1], "tracks": []},
                    {
                        "pid": 2,
                        "name": "x",
                        "tracks": [
                            7,
                            {"track_name": {}},
                            {},
                            {"track_name": "t", "duration_ms": "9"},
                            {"track_name": "ok"},
                        ],
                    },
                ]
            }
        ),
        [
            "wrong_type",
            "missing_field",
            "wrong_type",
            "wrong_type",
            "wrong_type",
            "wrong_type",
            "missing_field",
            "wrong_type",
        ],
        1,
    ),
    "no playlist": ("a.txt", "a", ["bad_value"], 0),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_what_a_stranger_may_write(tmp_path: Path, name: str) -> None:
    file, content, reasons, entries = HOSTILE[name]
    playlists, left_out = read(tmp_path, file, content)
    assert sorted(item.reason for item in left_out) == sorted(reasons)
    assert sum(len(playlist.entries) for playlist in playlists) == entries
    assert all(str(tmp_path) in item.where and "\n" not in item.detail for item in left_out)


def test_nothing_that_a_playlist_names_is_opened(tmp_path: Path) -> None:
    """Seen by Python's own audit of what is opened and looked at, in a process of its own."""
    named = [
        "/etc/passwd",
        "file:///etc/passwd",
        "../../etc/passwd",
        "http://127.0.0.1:9/a",
        "\\\\host\\share\\a.mp3",
        "|ls",
    ]
    tracks = "".join(f"<track><location>{name}</location></track>" for name in named)
    read(tmp_path, "a.m3u8", "\n".join(named))
    read(tmp_path, "a.pls", "[playlist]\n" + "".join(f"File{i}={name}\n" for i, name in enumerate(named)))
    read(tmp_path, "a.xspf", XSPF.format(f"<trackList>{tracks}</trackList>"))
    (tmp_path / "b.xspf").write_text(EXTERNAL)
    done = subprocess.run(
        [sys.executable, "-c", WATCHED, str(tmp_path)], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert sorted(set(done.stdout.split())) == ["a.m3u8", "a.pls", "a.xspf", "b.xspf", "read:18"]


def test_a_playlist_that_is_no_file_is_not_waited_for(tmp_path: Path) -> None:
    (tmp_path / "folder.m3u").mkdir()
    os.mkfifo(tmp_path / "pipe.m3u")
    found = {p.name: [i.reason for i in read_playlists(p) if isinstance(i, LeftOut)] for p in tmp_path.iterdir()}
    assert found == {"folder.m3u": ["not_a_file"], "pipe.m3u": ["not_a_file"]}
    assert [i.reason for i in read_playlists(tmp_path / "none.pls") if isinstance(i, LeftOut)] == ["not_found"]


BEYOND_THREE = {
    "m3u": "a\n" * 5,
    "pls": "[playlist]\n" + "".join(f"File{number}=a\n" for number in range(5)),
    "xspf": XSPF.format(f"<trackList>{'<track><title>a</title></track>' * 5}</trackList>"),
    "csv": "title,artist\n" + "a,b\n" * 5,
    "json": json.dumps({"playlists": [{"pid": 1, "tracks": [{"track_name": "a"}] * 5}]}),
}


@pytest.mark.parametrize("suffix", BEYOND_THREE)
def test_a_playlist_has_a_bound(tmp_path: Path, suffix: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (exports, m3u, million, pls, xspf):
        monkeypatch.setattr(module, "MAX_ENTRIES", 3)
    playlists, left_out = read(tmp_path, f"a.{suffix}", BEYOND_THREE[suffix])
    assert [len(playlist.entries) for playlist in playlists] == [3]
    assert [item.reason for item in left_out] == ["over_cap"]


PIECES = st.sampled_from(
    [
        *("#EXTM3U\n", "#EXTINF:", "[playlist]\n", "File1=", "Title1=", "<playlist>", "<trackList>", "<track>"),
        *("<title>", "</title>", "&a;", "<!DOCTYPE a [", "title,artist\n", "Track name,Artist name,Playlist name\n"),
        *('"', ";", "\0", '{"playlists": [', '{"pid": 1, "tracks": [', '{"track_name": ', "]}", "null", "1e999", "-1"),
        *("file://[", "\ud7ff", "spotify:track:", "https://youtu.be/", "http://[::1", "..", "\\", "\r", "\u2028"),
        *("\u202e", "é"),
    ]
)


@pytest.mark.slow
@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(pieces=st.lists(st.one_of(PIECES, st.text(max_size=5)), max_size=12), suffix=st.sampled_from(SUFFIXES))
def test_no_content_is_an_error(tmp_path: Path, pieces: list[str], suffix: str) -> None:
    content = "".join(pieces).encode("utf-8", "surrogatepass")
    for item in read_playlists(write(tmp_path / f"x{suffix}", content)):
        assert isinstance(item, ListedPlaylist | LeftOut)


def write(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path
