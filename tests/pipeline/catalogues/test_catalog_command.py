"""`mulan catalog`: from a tree to a catalogue that `mulan mine` reads, the same bytes each time, and refusals."""

import json
import os
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

import openmulan
from pipeline.catalogue import CATALOGUE, COMMENTS, PLAYLISTS, Reject, Table, read_table
from pipeline.catalogues import made
from pipeline.catalogues.made import Paths, held
from pipeline.catalogues.reader import Item, LeftOut, Recording
from pipeline.media.fetch import resolve
from schemas.exits import BAD_INPUT, DONE
from schemas.reasons import Reason
from tests.media import encoded, music_CT, wav

SOUND = wav(music_CT(0.2, 16_000), 16_000)
ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def music(tmp_path: Path) -> Path:
    """Five recordings, two of them with tags, two playlists, and what is no recording."""
    root = tmp_path / "music"
    album = root / "Ana Castelo" / "Harbour Songs"
    album.mkdir(parents=True)
    for number, title in enumerate(("Slow River", "Jalapeño", "Night"), start=1):
        tags = {"genre": "Folk", "description": f"The song {title}.", "date": f"199{number}-02"} if number < 3 else None
        media = encoded(music_CT(0.2, 16_000), 16_000, "flac", "flac", metadata=tags)
        (album / f"{number:02d} - {title}.flac").write_bytes(media)
    for name in ("a1b2c3.wav", "two\nlines.wav"):
        (root / name).write_bytes(SOUND)
    (root / "not.mp3").write_bytes(b"hello")
    (root / "film.mp4.part").write_bytes(b"x")
    lines = ["#EXTM3U", "#PLAYLIST:On the road", "Ana Castelo/Harbour Songs/01 - Slow River.flac", "../../etc/passwd"]
    (root / "road.m3u8").write_text("\n".join([*lines, "file:///etc/shadow", "a1b2c3.wav", ""]), encoding="utf-8")
    dump = {"id": "dQw4w9WgXcQ", "extractor_key": "Youtube", "title": "Waltz", "comments": [{"text": "So slow!"}]}
    (root / "Waltz.info.json").write_text(json.dumps(dump), encoding="utf-8")
    return root


def catalog(*arguments: object) -> int:
    return openmulan.main(["catalog", *map(str, arguments)])


def table(kind: Table[Any], path: Path) -> list[Any]:
    found = list(read_table(kind, str(path), {}))
    assert not [one for one in found if isinstance(one, Reject)]
    return [one[1] for one in found if not isinstance(one, Reject)]


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_from_a_tree_to_what_mine_reads(music: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = music.parent / "catalog.parquet"
    assert catalog(music, "--output", output) == DONE
    paths = Paths(catalogue=output)
    rows = {row.recording_id: row for row in table(CATALOGUE, output)}
    assert list(rows) == [
        "Ana Castelo/Harbour Songs/01 - Slow River.flac",
        "Ana Castelo/Harbour Songs/02 - Jalapeño.flac",
        "Ana Castelo/Harbour Songs/03 - Night.flac",
        "a1b2c3.wav",
        "dQw4w9WgXcQ",
    ]
    first = rows["Ana Castelo/Harbour Songs/01 - Slow River.flac"]
    assert first.audio_uri == "music/Ana Castelo/Harbour Songs/01 - Slow River.flac"
    assert {name: first.text(name) for name in ("artist", "album", "title", "tags", "description")} == {
        "artist": "Ana Castelo",
        "album": "Harbour Songs",
        "title": "Slow River",
        "tags": "Folk",
        "description": "The song Slow River.",
    }
    for row in rows.values():
        if "://" not in row.audio_uri:
            assert os.path.isfile(resolve(row.audio_uri, base_uri=str(output.parent), allow_roots=[]))
    years = pq.read_table(output, columns=["recording_id", "year"]).to_pylist()
    assert [row["year"] for row in years] == [1991, 1992, None, None, None]
    (playlist,) = table(PLAYLISTS, paths.playlists)
    assert (playlist.title, playlist.recording_ids) == ("On the road", (first.recording_id, "a1b2c3.wav"))
    assert {one["reason"] for one in lines(paths.unmatched)} <= {"unknown_recording", "doubtful_match"}
    # Every entry is matched or listed.
    listed = [one for one in [*lines(paths.unmatched), *lines(paths.rejects)] if "road.m3u8" in json.dumps(one)]
    assert len(listed) == 2
    rejects = {os.path.basename(one["file"]): one["reason"] for one in lines(paths.rejects)}
    assert rejects["not.mp3"] == Reason.UNKNOWN_CONTAINER
    assert rejects["two\\nlines.wav"] == Reason.BAD_VALUE
    said = capsys.readouterr().out
    for label, count in (
        ("recordings", 5),
        ("with tags", 2),
        ("with comments", 1),
        ("in playlists", 2),
        ("any text", 1),
    ):
        assert any(label in line and line.split(label)[1].split()[0] == str(count) for line in said.splitlines()), label
    assert "unknown_container" in said
    assert "downloads that are not whole" in said
    (command,) = (line for line in said.splitlines() if line.startswith("next: "))
    words = shlex.split(command)
    assert words[1:5] == ["mulan", "mine", "--catalog", str(output)]
    assert str(paths.playlists) in words
    assert "--allow_root" not in words


def test_the_same_input_gives_the_same_bytes(music: Path, tmp_path: Path) -> None:
    """Whether it is scanned anew or remembered, and by any number of workers."""
    (tmp_path / "other").mkdir()
    outputs = [tmp_path / "catalog.parquet", tmp_path / "other" / "b.parquet"]
    assert catalog(music, "--output", outputs[0]) == DONE
    paths = Paths(catalogue=outputs[0])
    files = (outputs[0], paths.playlists, paths.comments, paths.rejects, paths.unmatched)
    before = [(file.read_bytes(), file.stat().st_mtime_ns) for file in files]
    assert catalog(music, "--output", outputs[0], "--workers", 1) == DONE
    # Not even written again.
    assert [(file.read_bytes(), file.stat().st_mtime_ns) for file in files] == before
    assert catalog(music, "--output", outputs[1]) == DONE
    read = [pq.read_table(output).drop_columns(["audio_uri"]) for output in outputs]
    assert read[0].equals(read[1])
    others = Paths(catalogue=outputs[1])
    for name in ("playlists", "rejects", "unmatched"):
        assert getattr(others, name).read_bytes() == getattr(paths, name).read_bytes(), name


def test_media_elsewhere_have_absolute_paths(music: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "c").mkdir()
    output = tmp_path / "c" / "catalog.parquet"
    assert catalog(music, "--output", output) == DONE
    words = shlex.split(capsys.readouterr().out.splitlines()[-1])
    root = words[words.index("--allow_root") + 1]
    local = [row.audio_uri for row in table(CATALOGUE, output) if "://" not in row.audio_uri]
    assert local
    for uri in local:
        assert os.path.isabs(uri)
        assert resolve(uri, base_uri=str(output.parent), allow_roots=[root])


def made_up(source: Path) -> Iterator[Item]:
    """A reader of somebody's own."""
    row = {"audio_uri": str(source / "a1b2c3.wav"), "title": "One"}
    yield Recording(row={"recording_id": "one", **row, "comments": [f"comment {n}" for n in range(5)]}, where="x:1")
    yield Recording(row={"recording_id": "one", **row}, where="x:2")
    yield Recording(row={"recording_id": "two", "audio_uri": " "}, where="x:3")
    yield Recording(row={"recording_id": "three", **row, "tags": "rock"}, where="x:4")
    yield LeftOut(where="x:5\udcff", reason=Reason.NOT_UTF8, detail="a\nb")


def test_readers_by_name(music: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(made, "MAX_COMMENTS", 2)
    output = music.parent / "catalog.parquet"
    playlists = f"playlist={music / 'road.m3u8'}"
    assert catalog(f"{__name__}:made_up={music}", playlists, "--output", output) == DONE
    (row,) = table(CATALOGUE, output)
    paths = Paths(catalogue=output)
    beyond = [comment.text for comment in table(COMMENTS, paths.comments)]
    assert (list(row.texts["comments"]), beyond) == (
        ["comment 0", "comment 1"],
        ["comment 2", "comment 3", "comment 4"],
    )
    assert [(one["file"], one["reason"]) for one in lines(paths.rejects) if one["file"].startswith("x:")] == [
        ("x:2", "repeated_id"),
        ("x:3", "missing_field"),
        ("x:4", "wrong_type"),
        ("x:5\\udcff", "not_utf8"),
    ]
    (playlist,) = table(PLAYLISTS, paths.playlists)
    assert playlist.recording_ids == ("one",)


def test_what_is_refused_is_one_line(music: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = tmp_path / "catalog.parquet"
    empty = tmp_path / "empty"
    empty.mkdir()
    (tmp_path / "x.db").write_bytes(b"x")
    for arguments, said in (
        ((tmp_path / "none", "--output", output), "there is no such file or folder"),
        ((f"nonsense={music}", "--output", output), "readers are folder"),
        ((tmp_path / "x.db", "--output", output), "does not say what it is"),
        ((f"no.module:read={music}", "--output", output), "there is no module"),
        ((music, "--output", tmp_path / "catalog.csv"), "must end in .parquet"),
        ((music, "--output", output, "--workers", "0"), "at least one reads"),
        ((empty, "--output", output), "no recording in"),
    ):
        assert catalog(*arguments) == BAD_INPUT
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith("mulan catalog: ")
        assert said in line
    with held(Paths(catalogue=output)):
        assert catalog(music, "--output", output) == BAD_INPUT
    assert "another command is writing it" in capsys.readouterr().err


def test_a_folder_that_is_away_costs_no_catalogue(music: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = music.parent / "catalog.parquet"
    assert catalog(music, "--output", output) == DONE
    before = output.read_bytes()
    music.rename(music.with_name("away"))
    music.mkdir()
    assert catalog(music, "--output", output) == BAD_INPUT
    assert "no recording in" in capsys.readouterr().err
    assert output.read_bytes() == before


def test_help_is_cheap() -> None:
    before_s = os.times().children_user
    command = [sys.executable, "-c", "import openmulan; openmulan.main(['catalog', '--help'])"]
    said = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False).stdout
    assert os.times().children_user - before_s < 0.6
    assert "--no_guess" in said
