"""Playlist files as evaluation playlists: what is matched, what is listed, and the tables that come of it."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from schemas.eval_playlist import read_eval_playlists
from tests.trainer.evaluation.tone_sets import Tones, WriteRun
from trainer.evaluation.cli import main
from trainer.evaluation.clips import EvaluationDataError
from trainer.evaluation.playlists import LEFT_OUT, PLAYLISTS, is_listed, match_playlists

COUNT = 12


@pytest.fixture
def catalogue(tmp_path: Path, tones: Tones) -> Path:
    """Twelve recordings under `audio`, in JSON lines."""
    rows = []
    for number in range(COUNT):
        tones.write(tmp_path / "audio" / f"{number}.flac", ["tone"])
        row = {"recording_id": f"r{number}", "audio_uri": f"audio/{number}.flac"}
        rows.append({**row, "artist": "A Band", "title": f"Song {number}"})
    path = tmp_path / "catalog.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture
def lists(tmp_path: Path) -> Path:
    """One list by path, one by name, and one that is too short."""
    folder = tmp_path / "lists"
    folder.mkdir()
    paths = "".join(f"../audio/{number}.flac\n" for number in range(COUNT + 1))
    (folder / "walk.m3u8").write_text(f"#EXTM3U\n#PLAYLIST:A walk\n{paths}")
    tracks = "".join(f"<track><creator>a band</creator><title>Song {n}</title></track>" for n in range(COUNT))
    about = "<title>By name</title><annotation>Songs of one band.</annotation>"
    (folder / "names.xspf").write_text(f"<playlist>{about}<trackList>{tracks}</trackList></playlist>")
    (folder / "short.m3u").write_text("../audio/1.flac\n")
    return folder


def left_out(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / LEFT_OUT).read_text().splitlines()]


def test_files_are_matched_to_a_catalogue_of_either_format(tmp_path: Path, catalogue: Path, lists: Path) -> None:
    described = tmp_path / "described.csv"
    described.write_text("title,description\nA walk,Music for the evening.\nshort,Too few.\n")
    table = pa.Table.from_pylist([json.loads(line) for line in catalogue.read_text().splitlines()])
    pq.write_table(table, catalogue.with_suffix(".parquet"))
    outputs = []
    for path in (catalogue, catalogue.with_suffix(".parquet")):
        output = tmp_path / path.suffix[1:]
        playlists = read_eval_playlists(match_playlists(lists, described, str(path), output))
        assert [(p.title, p.description, len(p.recording_ids)) for p in playlists] == [
            ("By name", "Songs of one band.", COUNT),
            ("A walk", "Music for the evening.", COUNT),
        ]
        assert [(found.get("where"), found["reason"]) for found in left_out(output)] == [
            (str(lists / "short.m3u"), "bad_value"),
            (f"{lists / 'walk.m3u8'}:{COUNT + 3}", "unknown_recording"),
        ]
        outputs.append([(output / name).read_bytes() for name in (PLAYLISTS, LEFT_OUT)])
    assert outputs[0] == outputs[1]


def test_a_playlist_without_description_is_left_out(tmp_path: Path, catalogue: Path, lists: Path) -> None:
    with pytest.raises(EvaluationDataError, match=r"0 playlists; left out: 1 missing_field, 1 unknown_recording"):
        match_playlists(lists / "walk.m3u8", None, str(catalogue), tmp_path / "out")
    assert "--playlist_descriptions" in left_out(tmp_path / "out")[-1]["detail"]


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("d.csv", "title,text\nA walk,x\n", "d.csv:2: needs description"),
        ("d.csv", "title,description\nA,x\nA,y\n", "another description"),
        ("d.jsonl", '{"title": [1], "description": "x"}\n', "d.jsonl:1: title is a list"),
        ("d.jsonl", "[1]\n", "d.jsonl:1: not a JSON object"),
        ("d.csv", b"title,description\n\xff,x\n", "cannot be read"),
    ],
)
def test_descriptions_that_are_none(
    tmp_path: Path, catalogue: Path, lists: Path, name: str, content: str | bytes, said: str
) -> None:
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(ValueError, match=said):
        match_playlists(lists, path, str(catalogue), tmp_path / "out")


def test_which_playlists_are_files_of_players(tmp_path: Path) -> None:
    assert all(is_listed(Path(name)) for name in ("a.m3u", "a.csv", "mpd.slice.0-999.json", tmp_path))
    assert not any(is_listed(Path(name)) for name in ("eval.jsonl", "eval.json", "eval"))


def test_a_list_by_the_ids_of_a_run(tmp_path: Path, write_run: WriteRun) -> None:
    """A run knows its recordings by their ids; those of `mulan catalog FOLDER` are paths."""
    pcm = np.ones(1600, np.int16)
    run = write_run(tmp_path / "run", [{"recording_id": f"band/{n}.flac", "pcm": pcm} for n in range(COUNT)])
    listed = tmp_path / "walk.xspf"
    tracks = "".join(f"<track><location>file:///old/band/{n}.flac</location></track>" for n in range(COUNT))
    listed.write_text(f"<playlist><annotation>x</annotation><trackList>{tracks}</trackList></playlist>")
    (playlist,) = read_eval_playlists(match_playlists(listed, None, str(run), tmp_path / "out"))
    assert playlist.recording_ids == tuple(f"band/{n}.flac" for n in range(COUNT))


@pytest.mark.slow
def test_the_command_measures_them(
    tmp_path: Path, catalogue: Path, lists: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["random", "--playlists", str(lists), "--collection", str(catalogue), "--bootstrap", "5"]
    assert main(command) == 2
    assert "--playlists needs --output" in capsys.readouterr().err
    output = tmp_path / "out"
    described = tmp_path / "described.jsonl"
    described.write_text(json.dumps({"title": "A walk", "description": "Music for the evening."}))
    assert main([*command, "--playlist_descriptions", str(described), "--output", str(output)]) == 0
    (result,) = json.loads((output / "results.json").read_text())["models"]
    assert [found["units"]["queries"] for found in result["measurements"] if found["task"] == "retrieval"] == [2, 2]
    # One playlist alone is searched with too: it has no other's description for a triplet.
    assert main([*command, "--output", str(output)]) == 0  # "By name" describes itself, "A walk" has nothing now
    (result,) = json.loads((output / "results.json").read_text())["models"]
    assert [found["task"] for found in result["measurements"]] == ["retrieval", "retrieval"]
    assert main(["random", "--playlist_descriptions", "x.csv", "--output", str(output)]) == 2
    assert "--playlist_descriptions" in capsys.readouterr().err


@pytest.mark.slow
def test_several_playlists_and_sets_of_one_name_stay_apart(tmp_path: Path, catalogue: Path, lists: Path) -> None:
    """Two folders of playlists, JSON lines beside them, and two tables and two captions that are called alike."""
    again = tmp_path / "again" / "lists"
    again.mkdir(parents=True)
    tracks = "".join(f"<track><location>../../audio/{n}.flac</location></track>" for n in range(COUNT))
    for name in "xy":
        about = f"<title>{name}</title><annotation>{name}, and the same songs.</annotation>"
        (again / f"{name}.xspf").write_text(f"<playlist>{about}<trackList>{tracks}</trackList></playlist>")
    described = tmp_path / "described.jsonl"
    described.write_text(json.dumps({"title": "A walk", "description": "Music for the evening."}))
    rows = [{"playlist_id": n, "title": n, "description": f"of {n}"} for n in "ab"]
    ids = [f"r{number}" for number in range(10)]
    (tmp_path / "p.jsonl").write_text("".join(json.dumps({**row, "recording_ids": ids}) + "\n" for row in rows))
    options = ["--playlist_descriptions", str(described)]
    for name in ("calm", "loud"):
        folder = tmp_path / name
        folder.mkdir()
        for number in range(2):
            (folder / f"{number}.flac").write_bytes((tmp_path / "audio" / f"{number}.flac").read_bytes())
        (folder / "set.csv").write_text(f"path,{name}\n0.flac,1\n1.flac,0\n")
        (folder / "caps.csv").write_text(f"path,caption\n0.flac,{name}\n")
        options += ["--table", str(folder / "set.csv"), "--captions", str(folder / "caps.csv")]
    tables = [{"kind": "table", "file": f"{name}/set.csv"} for name in ("calm", "loud")]
    config = tmp_path / "config.json"
    config.write_text(json.dumps({"evaluators": [{"task": "zero_shot", "data": table} for table in tables]}))
    for path in (lists, again, tmp_path / "p.jsonl"):
        options += ["--playlists", str(path)]
    options += ["--collection", str(catalogue), "--output", str(tmp_path / "out"), "--config", str(config)]
    assert main(["random", "--bootstrap", "0", *options]) == 0
    (result,) = json.loads((tmp_path / "out" / "results.json").read_text())["models"]
    found = {(m["task"], m["dataset"]): m["units"] for m in result["measurements"]}
    assert len(found) == len(result["measurements"])
    first = f"playlists {tmp_path.name}/lists"
    queries = {name: units["queries"] for (task, name), units in found.items() if task == "retrieval"}
    assert queries == {
        **{f"{first}/{query}": 2 for query in ("title", "description")},
        **{f"playlists again/lists/{query}": 2 for query in ("title", "description")},
        **{f"playlists p.jsonl/{query}": 2 for query in ("title", "description")},
    }
    assert [name for task, name in found if task == "zero_shot"] == [
        *("table/set", "table/set (2)"),
        *("table/calm/set", "table/loud/set"),
    ]
    assert [name for task, name in found if task == "captions"] == [
        f"captions/{name}/caps/{way}" for name in ("calm", "loud") for way in ("text_to_music", "music_to_text")
    ]
    shown = (tmp_path / "out" / "tables.md").read_text()
    assert all(name in shown for _, name in found)
    assert main(["random", "--table", str(tmp_path / "p.jsonl"), "--table", str(tmp_path / "p.jsonl")]) == 2
