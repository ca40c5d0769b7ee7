"""`mulan search index` as a user runs it: again, after changes, killed, beside another, on what is broken."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import openmulan
from tests.trainer.fixture_runs import tone_rows, write_run
from tests.trainer.test_embed_command import write_music
from tests.trainer.test_recordings import FOLDER
from trainer.search import layout
from trainer.search.index import Index, IndexError_
from trainer.search.known import Catalogue

ROOT = Path(__file__).resolve().parents[3]
KILLS = 10


def mulan(*words: str | Path) -> int:
    return openmulan.main(["search", *map(str, words)])


def make(output: Path, *inputs: str | Path, model: str | Path = FOLDER) -> int:
    return mulan("index", model, *inputs, "--output", output, "--device", "cpu")


def content(index: Path) -> dict[str, str]:
    generation, _ = layout.read_pointer(index)
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in generation.iterdir()}


def vectors(index: Path) -> Any:
    generation, about = layout.read_pointer(index)
    return np.fromfile(generation / layout.VECTORS, np.float16).reshape(-1, about.dimension)


@pytest.fixture(scope="module")
def music(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve files with a bad one, a mined run, and an index of both."""
    folder = tmp_path_factory.mktemp("search")
    write_music(folder / "music", 12, seconds=1.2)
    (folder / "music" / "broken <b>.mp3").write_bytes(b"no sound")
    rows = [{**row, "sf_unfiltered": ["slow waltz"]} for row in tone_rows(8, duration_s=0.7)]
    write_run(folder / "run", rows, shards=2, audio_encoding="flac")
    lines = [
        {"recording_id": "first", "audio_uri": "music/000 [take].flac", "title": "Für Elise", "year": 1810},
        {"recording_id": "rec0003", "audio_uri": "gs://bucket/a.flac", "artist": "A quartet", "tags": ["strings"]},
    ]
    (folder / "catalogue.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    words = (folder / "music", folder / "run", "--catalog", folder / "catalogue.jsonl", "--windows")
    assert make(folder / "index", *words) == 0
    return folder


@pytest.mark.slow
def test_files_and_a_run_are_found_by_sound_and_by_name(music: Path, capsys: pytest.CaptureFixture[str]) -> None:
    index = Index.open(music / "index")
    assert index.count == 20
    assert (index.about.recipe, index.about.trained_steps, index.about.windows) == ("tiny", 2, 12 * 2 + 8)
    assert "tiny, trained for 2 steps" in str(index.about.caution)
    assert index.search("fur elise", k=1)[0].recording_id == "first"
    assert index.search("string quartets", k=1)[0].recording_id == "rec0003"  # by artist and tag
    assert {hit.how for hit in index.search("slow waltz", k=7)} == {"both"}  # of the run's own words, but rec0003's
    assert index.row("first").year == 1810
    path = index.audio("first").path
    assert path is not None
    assert path.read_bytes() == (music / "music" / "000 [take].flac").read_bytes()
    clip = index.audio("rec0005")
    assert clip.mime == "audio/flac"
    assert clip.content is not None
    assert clip.content[:4] == b"fLaC"
    expected = openmulan.load(FOLDER).embed_audio([path])[0]
    np.testing.assert_allclose(vectors(music / "index")[0].astype(np.float32), expected, atol=1e-3)
    capsys.readouterr()
    assert mulan("query", music / "index", "fur elise", "-k", "2", "--json") == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert lines[0]["recording_id"] == "first"
    assert mulan("query", music / "index", "--like", "first", "--not", "drums", "--where", "year = 1810") == 0
    assert mulan("similar", music / "index", "rec0001", "-k", "3") == 0
    assert mulan("tags", music / "index", "rec0001", "-k", "3") == 0
    assert mulan("playlist", music / "index", "calm to wild", "--from", "first", "--to", "rec0001", "-n", "4") == 0
    assert mulan("duplicates", music / "index", "--threshold", "0.5") == 0
    out = capsys.readouterr().out
    assert "Für Elise  [first]" in out
    # Two steps of training have put everything on one point, which is said and ends with another code.
    assert mulan("health", music / "index") == 1
    assert "COLLAPSED: all texts lie on one point" in capsys.readouterr().out


@pytest.mark.slow
def test_what_changed_is_embedded_again_and_what_left_is_gone(
    music: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(music / "music", tmp_path / "music")
    shutil.copytree(music / "run", tmp_path / "run")
    output = tmp_path / "index"
    inputs = (tmp_path / "music", tmp_path / "run")
    assert make(output, *inputs) == 0
    assert "20 recordings in the index; 20 embedded, 0 gone, 1 failed" in capsys.readouterr().out
    before, pointer = vectors(output), (output / layout.POINTER).stat().st_mtime_ns
    assert make(output, *inputs) == 0
    assert "0 embedded, 0 gone" in capsys.readouterr().out
    assert (output / layout.POINTER).stat().st_mtime_ns == pointer
    # One is changed, one goes, one comes, one leaves the run.
    shutil.copy(tmp_path / "music" / "005 [take].flac", tmp_path / "music" / "004 [take].flac")
    (tmp_path / "music" / "007 [take].flac").unlink()
    shutil.copy(tmp_path / "music" / "001 [take].flac", tmp_path / "music" / "new.flac")
    shutil.rmtree(tmp_path / "run")
    write_run(tmp_path / "run", tone_rows(8, duration_s=0.7)[:7], shards=1)
    gone = (before[7].tobytes(), before[-1].tobytes())
    assert Index.open(output).map()[-1][0] == "rec0007"
    assert make(output, *inputs) == 0
    out = capsys.readouterr().out
    assert "19 recordings in the index; 2 embedded, 3 gone, 1 failed" in out
    index = Index.open(output)
    for name in ("007 [take].flac", "rec0007"):
        with pytest.raises(IndexError_, match="no recording of this index"):
            index.row(name)
    now = vectors(output)
    assert now[4].tobytes() == now[5].tobytes() != before[4].tobytes()
    np.testing.assert_array_equal(now[:4], before[:4])
    # No byte of what is gone is left.
    contents = [path.read_bytes() for path in output.rglob("*") if path.is_file()]
    assert not [row for row in gone for content in contents if row in content]
    assert [row for row in now for content in contents if row.tobytes() in content]
    (failure,) = (layout.read_pointer(output)[0] / layout.FAILURES).read_text().splitlines()
    assert json.loads(failure)["where"].endswith("broken <b>.mp3")


def test_a_table_of_vectors(music: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = tmp_path / "vectors.parquet"
    words = ["embed", str(music / "music"), str(music / "run"), "--model", str(FOLDER), "--output", str(table)]
    assert openmulan.main([*words, "--device", "cpu", "--max_failure_rate", "0.2"]) == 0
    assert make(tmp_path / "index", table) == 0
    assert vectors(tmp_path / "index").shape == (20, 128)
    assert {hit.recording_id for hit in Index.open(tmp_path / "index").similar("rec0001", k=19)} >= {"rec0002"}
    other = pq.read_table(table)
    model = pa.array(["0" * 64] * len(other))
    pq.write_table(other.set_column(other.schema.get_field_index("model"), "model", model), tmp_path / "other.parquet")
    assert make(tmp_path / "refused", tmp_path / "other.parquet") == 2
    assert "was embedded with another model" in capsys.readouterr().err
    assert not (tmp_path / "refused" / layout.POINTER).exists()


_KILLS = """
import os, random, signal, sys
from pathlib import Path
import numpy, trainer.search.index
from trainer.search import build, entries, generation, layout, work

folder, model, log, kills = sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4])
build._BATCH = 4
music, output = f"{folder}/music", Path(folder) / "index"
options = build.IndexOptions(model=model, inputs=(music,), output=output, device="cpu", workers=1)
rng = random.Random(0)

def watched(place, name, moments):
    before = getattr(place, name)
    def call(*given, **named):
        moments()
        if name == "keep":
            with open(log, "a") as lines:
                lines.writelines(f"{one.key}\\n" for one in given[1])
        found = before(*given, **named)
        moments()
        return found
    setattr(place, name, call)

def run(last):
    child = os.fork()
    if child == 0:
        passed = 0
        def moment():
            nonlocal passed
            passed += 1
            if passed == last:
                os.kill(os.getpid(), signal.SIGKILL)
        watched(work.Work, "keep", moment)
        watched(entries.EntryWriter, "add", moment)
        for name in ("_synced", "commit", "sweep"):
            watched(layout, name, moment)
        build.build(options)
        os._exit(0)
    return os.waitpid(child, 0)[1]

def count():
    try:
        return trainer.search.index.Index.open(options.output).count
    except trainer.search.index.IndexError_:
        return 0

for number in range(kills):
    status = run(rng.randint(1, 24 if number % 2 else 70))
    print(os.WIFSIGNALED(status), count(), flush=True)
print(run(-1), count())
"""


@pytest.mark.slow
def test_killed_at_ten_random_moments_nothing_is_embedded_twice_but_a_batch_and_nothing_is_missing(
    tmp_path: Path,
) -> None:
    write_music(tmp_path / "music", 5)
    assert make(tmp_path / "index", tmp_path / "music") == 0
    for path in write_music(tmp_path / "more", 25):
        path.rename(tmp_path / "music" / f"more {path.name}")
    log = tmp_path / "log.txt"
    words = [sys.executable, "-c", _KILLS, str(tmp_path), str(FOLDER), str(log), str(KILLS)]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    *killed, last = [line.split() for line in done.stdout.splitlines()]
    assert last == ["0", "30"]
    # Whatever was killed, a reader finds the old index or the new one.
    assert {count for _, count in killed} <= {"5", "30"}
    deaths = sum(word == "True" for word, _ in killed)
    assert deaths >= 0.8 * KILLS
    keys = log.read_text().split()
    assert len(set(keys)) == 25  # the first five never again
    assert len(keys) - len(set(keys)) <= 4 * deaths
    assert make(tmp_path / "whole", tmp_path / "music") == 0
    np.testing.assert_allclose(
        vectors(tmp_path / "index").astype(np.float32), vectors(tmp_path / "whole").astype(np.float32), atol=1e-3
    )
    assert len(list((tmp_path / "index").glob("g-*"))) == 1


def test_one_writer_and_a_folder_that_is_something_else(
    music: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with layout.one_writer(tmp_path / "index"):
        assert make(tmp_path / "index", music / "run") == 2
    assert "another `mulan search index` is writing it" in capsys.readouterr().err
    # A folder of somebody else's, whatever it looks like, is neither written to nor swept.
    theirs = tmp_path / "theirs" / "g-0123456789abcdef" / "photo.jpg"
    theirs.parent.mkdir(parents=True)
    theirs.touch()
    for folder in (music / "music", tmp_path / "theirs"):
        assert make(folder, music / "run") == 2
        assert "so it is no index; give another --output" in capsys.readouterr().err
    assert theirs.exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("absent",), "there is no such file or folder"),
        (("music/broken <b>.mp3",), "nothing of it could be embedded (music/broken <b>.mp3: cannot be decoded"),
        (("run", "--catalog", "absent.jsonl"), "absent.jsonl"),
        (("run", "--catalog", "catalogue.txt"), "no catalogue by its name"),
        (("run", "--catalog", "bad.jsonl"), "bad.jsonl:2: audio_uri is missing"),
        (("run", "--workers", "0"), "workers is 0"),
        (("run", "--device", "cuda:99"), "--device cuda:99"),
        (("run", "--store", "redis:x"), "--store redis:x: it is milvus:ADDRESS"),
    ],
)
def test_what_cannot_be_is_one_line_and_code_2(
    words: tuple[str, ...],
    said: str,
    music: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(music)
    if "bad.jsonl" in words:
        (music / "bad.jsonl").write_text('{"recording_id": "a", "audio_uri": "b"}\n{"recording_id": "c"}\n')
    if "catalogue.txt" in words:
        (music / "catalogue.txt").touch()
    assert openmulan.main(["search", "index", str(FOLDER), "--output", str(tmp_path / "i"), *words]) == 2
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("mulan")]
    assert line.startswith("mulan search index: ")
    assert said in line
    assert not list((tmp_path / "i").glob("g-*"))


def test_other_choices_than_before_are_refused(music: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = content(music / "index")
    assert make(music / "index", music / "run") == 2
    assert "was made with another choice of --windows; give another --output" in capsys.readouterr().err
    assert content(music / "index") == before


def test_a_name_that_is_no_unicode_and_two_folders_with_one_name(tmp_path: Path) -> None:
    (one,) = write_music(tmp_path / "a", 1)
    os.rename(one, os.fsencode(tmp_path / "a") + b"/caf\xe9.flac")
    for folder in ("b", "c"):
        (path,) = write_music(tmp_path / folder, 1)
        path.rename(tmp_path / folder / "same.flac")
    assert make(tmp_path / "index", tmp_path / "a", tmp_path / "b", tmp_path / "c") == 0
    index = Index.open(tmp_path / "index")
    assert [name for name, _, _ in index.map()] == ["caf\\xe9.flac", "same.flac", str(tmp_path / "c" / "same.flac")]
    place = index.audio("caf\\xe9.flac")
    assert place.path is not None
    assert place.path.is_file()


@pytest.mark.parametrize("name", ["c.csv", "c.parquet", "c.jsonl"])
def test_a_catalogue_in_each_format(name: str, tmp_path: Path) -> None:
    row = {"recording_id": "a", "audio_uri": "x.flac", "title": "One, two", "tags": ["slow", "piano"], "year": "1999"}
    path = tmp_path / name
    if name == "c.csv":
        path.write_text('recording_id,audio_uri,title,tags,year\na,x.flac,"One, two",slow|piano,1999\n')
    elif name == "c.parquet":
        pq.write_table(pa.Table.from_pylist([row]), path)
    else:
        path.write_text(json.dumps(row))
    known = Catalogue(path).at(str(tmp_path / "x.flac"))
    assert known is not None
    assert known.fields["title"] == "One, two"
    assert (known.fields["tags"], known.fields["year"]) == (("slow", "piano"), 1999)
    assert Catalogue(path).path_of("a") == str(tmp_path / "x.flac")


def test_a_cell_that_cannot_be_read_has_its_line(tmp_path: Path) -> None:
    (tmp_path / "c.csv").write_text("recording_id,audio_uri,tags\na,x,p|q\nb,y,[p\n")
    with pytest.raises(ValueError, match=r"c\.csv:3: cannot be read"):
        Catalogue(tmp_path / "c.csv")
