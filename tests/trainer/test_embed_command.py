"""`mulan embed` as a user runs it: files, folders, runs and texts; killed and told to end; what fails is listed."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import soundfile

import openmulan
from pipeline import storage
from tests.trainer.fixture_runs import tone_rows, write_run
from tests.trainer.test_recordings import FOLDER, RATE_HZ, chord
from trainer import embed
from trainer.cuts import to_int16
from trainer.model import load
from trainer.vectors import AUDIO_SCHEMA, VectorTable

ROOT = Path(__file__).resolve().parents[2]


def write_music(folder: Path, count: int, seconds: float = 0.6) -> list[Path]:
    folder.mkdir(parents=True)
    paths = [folder / f"{number:03d} [take].flac" for number in range(count)]
    for number, path in enumerate(paths):
        soundfile.write(path, to_int16(chord(seconds, seed=number)), RATE_HZ)
    return paths


def mulan(*words: str | Path) -> int:
    return openmulan.main(["embed", *map(str, words), "--model", str(FOLDER), "--device", "cpu"])


def vectors(path: Path) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = pq.read_table(path).to_pylist()
    return rows


def test_files_and_folders_with_what_fails_beside(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    paths = write_music(tmp_path / "music", 6)
    (tmp_path / "music" / "cover.jpg").write_bytes(b"no recording by its name")
    (tmp_path / "music" / "broken.MP3").write_bytes(b"no sound")
    output = tmp_path / "vectors.parquet"
    words = (tmp_path / "music", paths[0], "--output", output)
    assert mulan(*words, "--max_failure_rate", "0.2") == 0
    said = capsys.readouterr()
    assert "7 read = 6 embedded + 1 failed" in said.out
    assert "1  unknown_container" in said.out
    rows = vectors(output)
    assert [row["path"] for row in rows] == [str(path) for path in paths]  # each once
    assert {row["duration_s"] for row in rows} == {0.6}
    assert len({row["model"] for row in rows}) == 1
    expected = load(FOLDER).embed_audio(paths)
    np.testing.assert_allclose(np.stack([row["vector"] for row in rows]), expected, atol=1e-5)
    schema = pq.read_schema(output)
    assert str(schema.field("vector").type) == "fixed_size_list<element: float>[128]"
    (failure,) = (tmp_path / "vectors.parquet.failures.jsonl").read_text(encoding="utf-8").splitlines()
    assert json.loads(failure)["path"].endswith("broken.MP3")
    assert json.loads(failure)["reason"] == "unknown_container"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["music", output.name, f"{output.name}.failures.jsonl"]
    # The same again does nothing but count; other files are another table.
    before = output.stat().st_mtime_ns
    assert mulan(*words) == 1
    assert output.stat().st_mtime_ns == before
    assert mulan(paths[0], "--output", output) == 2
    assert "another inputs; delete it or give another --output" in capsys.readouterr().err


def test_the_rows_of_a_run_of_which_a_shard_is_lost(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", tone_rows(12, duration_s=0.7), shards=2)
    assert mulan(run, "--output", tmp_path / "whole.parquet") == 0
    rows = vectors(tmp_path / "whole.parquet")
    assert sorted(row["recording_id"] for row in rows) == [f"rec{number:04d}" for number in range(12)]
    assert {(row["path"], row["start_s"]) for row in rows} == {(None, 30.0)}
    # A part that cannot be read costs its rows, which are counted.
    shard = run / "shards" / "g0001-00001.parquet"
    content = shard.read_bytes()
    middle = len(content) // 2
    shard.write_bytes(content[:64] + b"\0" * (middle - 64) + content[middle:])
    assert mulan(run, "--output", tmp_path / "part.parquet") == 1
    failures = (tmp_path / "part.parquet.failures.jsonl").read_text(encoding="utf-8").splitlines()
    assert {(json.loads(line)["path"], json.loads(line)["reason"]) for line in failures} == {
        (str(shard), "unreadable_file")
    }
    assert len(failures) + len(vectors(tmp_path / "part.parquet")) == 12
    assert 1 <= len(failures) <= 6
    shard.write_bytes(b"PAR1 no more")
    assert mulan(run, "--output", tmp_path / "none.parquet") == 2  # its footer says what there is to read


def test_texts(tmp_path: Path) -> None:
    (tmp_path / "queries.txt").write_text("slow piano\n\nloud drums\n", encoding="utf-8")
    assert mulan("--texts", tmp_path / "queries.txt", "--output", tmp_path / "queries.parquet") == 0
    rows = vectors(tmp_path / "queries.parquet")
    assert [row["text"] for row in rows] == ["slow piano", "loud drums"]
    expected = load(FOLDER).embed_text(["slow piano", "loud drums"])
    np.testing.assert_allclose(np.stack([row["vector"] for row in rows]), expected, atol=1e-5)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "name files, folders or mined runs"),
        (("absent*.mp3",), r"there is no such file or folder \(names are taken as they are"),
        ((".",), "there is nothing to embed"),
        (("song.flac", "--texts", "song.flac"), "not both"),
        (("song.flac", "--device", "cuda:99"), "--device cuda:99"),
        (("song.flac", "--workers", "0"), "workers is 0"),
        (("song.flac", "--model", "no/such/folder"), "not a model folder"),
    ],
)
def test_what_cannot_be_is_one_line_and_code_2(
    words: tuple[str, ...],
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path / "empty")
    if "song.flac" in words:
        soundfile.write("song.flac", to_int16(chord(0.5)), RATE_HZ)
    output = ("--output", str(tmp_path / "v.parquet"))
    assert openmulan.main(["embed", "--model", str(FOLDER), "--device", "cpu", *output, *words]) == 2
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("mulan")]
    assert line.startswith("mulan embed: ")
    assert said.replace("\\", "") in line


@pytest.mark.slow
def test_ended_in_the_middle_it_embeds_nothing_twice_but_a_part(tmp_path: Path) -> None:
    paths = write_music(tmp_path / "music", 60, seconds=5.0)
    output, log = tmp_path / "v.parquet", tmp_path / "log.txt"
    script = "import sys, openmulan; from trainer import embed; embed._PART_FILES = 4; openmulan.main()"
    words = [sys.executable, "-c", script, "embed", str(tmp_path / "music"), "--model", str(FOLDER), "--device", "cpu"]
    before: dict[str, float | None] = {}

    def parts() -> dict[str, float | None]:
        return {file.path: file.modified_s for file in storage.find(f"{tmp_path}/v.parquet.parts/part-*.parquet")}

    for number in (signal.SIGTERM, signal.SIGKILL, None):
        process = subprocess.Popen(
            [*words, "--output", str(output)], cwd=ROOT, stdout=subprocess.PIPE, stderr=log.open("w"), text=True
        )
        kept = before
        while process.poll() is None and (number is None or len(parts()) < len(before) + 2):
            # None of them is made again, and at the end they go.
            kept = {name: made for name, made in parts().items() if name in before} or kept
            assert kept.items() <= before.items()
            time.sleep(0.01)
        if number is not None:
            process.send_signal(number)
        said, _ = process.communicate(timeout=60)
        assert process.returncode == {signal.SIGTERM: 3, signal.SIGKILL: -9, None: 0}[number], log.read_text()
        assert "Traceback" not in log.read_text()
        if before:
            assert f"going on: {len(before)} of 15 parts are there" in log.read_text()
        if number is not None:
            assert not output.exists()
            before = parts()
            assert 2 <= len(before) < 15
    assert not parts()
    assert "60 read = 60 embedded + 0 failed" in said
    assert [row["path"] for row in vectors(output)] == [str(path) for path in paths]


def test_two_at_once_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    paths = write_music(tmp_path / "music", 1)
    _, inputs = embed._parts([str(paths[0])])
    table = VectorTable(tmp_path / "v.parquet", AUDIO_SCHEMA, {"inputs": inputs})
    with table.opened():
        assert mulan(paths[0], "--output", tmp_path / "v.parquet") == 2
    assert "another `mulan embed` is writing it" in capsys.readouterr().err
