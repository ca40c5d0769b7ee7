"""`mulan mine FOLDER`: the catalogue is made in the run folder, grows with it, and keeps nothing that is removed."""

from pathlib import Path

import pytest

from beam_runner import main
from openmulan import main as mulan
from pipeline.catalogues.in_run import of_folder
from schemas.exits import BAD_INPUT, DONE
from tests.pipeline.mining import report, write_chord

GONE = "Ana Castelo - Slow River.flac"
OPTIONS = (
    "--short_policy",
    "from_end",
    "--min_music_fraction",
    "0",
    "--music_threshold",
    "0.01",
    "--tokenizer",
    "none",
)


@pytest.fixture(scope="module")
def music(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("corpus") / "music"
    root.mkdir()
    for seed, name in enumerate((GONE, "Ana Castelo - Night.flac")):
        write_chord(root / name, seed, seconds=31)
    (root / "road.m3u").write_text(f"#PLAYLIST:On the road\n{GONE}\nAna Castelo - Night.flac\n", encoding="utf-8")
    return root


def mine(music: Path, run: Path) -> int:
    return main([str(music), "--output", str(run), *OPTIONS])


@pytest.mark.slow
def test_folder_to_run_and_on(music: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = tmp_path / "run"
    assert mine(music, run) == DONE
    assert f"The catalogue: {of_folder(str(run)).catalogue}" in capsys.readouterr().out
    assert report(run)["recordings"]["kept"] == 2
    assert report(run)["annotations"]["pl"]["kept"] == 2

    # The same again changes nothing of the catalogue, and plans nothing.
    files = [of_folder(str(run)).catalogue, of_folder(str(run)).playlists]
    before = [(file.stat().st_mtime_ns, file.stat().st_ino) for file in files]
    assert mine(music, run) == DONE
    assert [(file.stat().st_mtime_ns, file.stat().st_ino) for file in files] == before
    assert [folder.name for folder in (run / "plans").iterdir()] == ["g0001"]

    # A removed recording is in no file of the run, and does not come back with those that are new.
    (tmp_path / "ids.txt").write_text(f"{GONE}\n", encoding="utf-8")
    assert mulan(["remove", str(run), "--ids", str(tmp_path / "ids.txt"), "--quiet"]) == DONE
    assert mulan(["prune", str(run), "--grace_hours", "0", "--quiet"]) == DONE
    assert not [path for path in run.rglob("*") if path.is_file() and b"Slow River" in path.read_bytes()]
    write_chord(music / "Ana Castelo - Waltz.flac", 7, seconds=31)
    assert mine(music, run) == DONE
    assert report(run)["recordings"]["kept"] == 2
    named = [path for path in run.rglob("*") if path.is_file() and b"Slow River" in path.read_bytes()]
    # What the folder still has is known to the scan, and to nothing else.
    assert {path.name for path in named} <= {"files.sqlite", "catalog.unmatched.jsonl"}


def test_what_is_refused(music: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = tmp_path / "run"
    for arguments, said in (
        ([str(tmp_path / "none"), "--output", str(run), *OPTIONS], "there is no such folder"),
        ([str(music), "--catalog", "x.jsonl", "--output", str(run), *OPTIONS], "or a FOLDER before all options"),
        (["--output", str(run), *OPTIONS], "or a FOLDER before all options"),
        ([str(music), "--output", "gs://bucket/run", *OPTIONS], "on this machine's disk"),
    ):
        assert main(arguments) == BAD_INPUT
        assert said in capsys.readouterr().err
