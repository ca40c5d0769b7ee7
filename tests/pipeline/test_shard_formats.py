"""A run in each shard format: the same rows as Parquet, through the whole job, read by ours and by others' readers."""

import io
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import soundfile

from filters.long_form.rescore import rescore
from openmulan import main as mulan
from schemas.formats.tfrecord import TFRecordReader
from schemas.formats.webdataset import WebDatasetReader
from schemas.run import Run, RunError
from schemas.shard import SHARD_SCHEMA
from schemas.shard_format import DEFAULT_FORMAT, FORMATS, sidecars
from tests.pipeline.killing import assert_same, mine_and_die_at
from tests.pipeline.mining import manifest, mine, row, write_catalogue
from tests.pipeline.traces import traces

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
OTHERS = [name for name in FORMATS if name != DEFAULT_FORMAT]
COMMENTS = "".join(
    json.dumps({"recording_id": f"rec-{i:03d}", "text": f"Drums number {i} go."}) + "\n" for i in range(9)
)
CHANGES: dict[int, dict[str, Any]] = {
    1: {"title": "日本語 ünï 🎵", "licence": "CC BY 4.0", "source": "here"},
    2: {"title": None, "artist": None, "tags": [], "description": None, "comments": []},
    3: {"duration_s": 2.123456789012345, "start_s": 0.7},
    4: {"recording_id": "rec-004.live.v2"},
}


def mine_again(folder: Path, output: Path, name: str, catalogue: str = "catalog.jsonl") -> int:
    options = ("--rows_per_shard=8", "--comments", str(folder / "comments.jsonl"), f"--format={name}")
    return mine(folder / catalogue, output, *options)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """One catalogue, mined in every format."""
    folder = tmp_path_factory.mktemp("formats")
    write_catalogue(folder, [row(i, **CHANGES.get(i, {})) for i in range(20)])
    (folder / "comments.jsonl").write_text(COMMENTS, encoding="utf-8")
    for name in FORMATS:
        assert mine_again(folder, folder / name, name) == 0
    return {name: folder / name for name in FORMATS}


def rows_of(folder: Path) -> list[dict[str, Any]]:
    run = Run.open(folder)
    return [value for group in run.row_groups() for value in run.read(group).to_pylist()]


@pytest.mark.parametrize("name", OTHERS)
def test_every_format_holds_the_same_rows_in_the_same_groups(runs: dict[str, Path], name: str) -> None:
    parquet, other = Run.open(runs["parquet"]), Run.open(runs[name])
    groups = [list(run.row_groups()) for run in (parquet, other)]
    assert len(groups[0]) == len(groups[1]) >= 3
    for one, two in zip(*groups, strict=True):
        assert (one.rows, one.text_sources, one.max_lf_score) == (two.rows, two.text_sources, two.max_lf_score)
        tables = parquet.read(one), other.read(two)
        assert tables[0].schema == tables[1].schema == SHARD_SCHEMA
        assert tables[0].equals(tables[1])
        for columns in (["recording_id"], ["sf", "recording_id"], ["text_sources", "audio_sha256"]):
            assert other.read(two, columns).equals(tables[0].select(columns))
    assert len(rows_of(runs[name])) == 20
    assert manifest(runs[name])["shard_format"] == name


@pytest.mark.parametrize("name", OTHERS)
def test_the_same_bytes_every_time_and_adopted_by_a_second_run(
    runs: dict[str, Path], tmp_path: Path, name: str
) -> None:
    folder, run = runs[name].parent, runs[name]
    contents = {path.name: path.read_bytes() for path in run.glob("shards/*")}
    assert mine_again(folder, tmp_path / "again", name) == 0
    assert {path.name: path.read_bytes() for path in tmp_path.glob("again/shards/*")} == contents
    times = {path: path.stat().st_mtime_ns for path in run.glob("shards/*")}
    assert len(times) == len(FORMATS[name].endings) * len(manifest(run)["shards"])
    assert mine_again(folder, run, name) == 0
    assert {path: path.stat().st_mtime_ns for path in run.glob("shards/*")} == times

    index = next(run.glob("shards/*.index.parquet"))
    index.unlink()
    with pytest.raises(RunError, match="mine again to repair"):
        rows_of(run)
    assert mine_again(folder, run, name) == 0
    assert index.read_bytes() == contents[index.name]


@pytest.mark.parametrize("name", OTHERS)
def test_a_row_is_read_by_its_place_alone(runs: dict[str, Path], name: str) -> None:
    wanted = {value["recording_id"]: value for value in rows_of(runs["parquet"])}
    for shard in manifest(runs[name])["shards"]:
        path = str(runs[name] / shard["path"])
        (index_path,) = sidecars(path)
        with open(path, "rb") as stream, open(index_path, "rb") as index_stream:
            reader = {"tfrecord": TFRecordReader, "webdataset": WebDatasetReader}[name](stream, index_stream)
            for place in reversed(pq.read_table(index_path).to_pylist()):
                found = reader.row(place["offset"], place["length"])
                expected = wanted.pop(found["recording_id"])
                assert pa.Table.from_pylist([found], schema=SHARD_SCHEMA).to_pylist() == [expected]
    assert not wanted


def test_a_killed_tar_run_comes_out_the_same(runs: dict[str, Path], tmp_path: Path) -> None:
    """Both files of a shard are there, and no record names them."""
    folder = runs["webdataset"].parent
    options = ("--rows_per_shard=8", "--comments", str(folder / "comments.jsonl"), "--format=webdataset")
    mine_and_die_at("shard_published", folder / "catalog.jsonl", tmp_path / "run", options)
    assert {path.suffix for path in tmp_path.glob("run/shards/*")} == {".tar", ".parquet"}
    assert mine(folder / "catalog.jsonl", tmp_path / "run", *options) == 0
    assert_same(tmp_path / "run", runs["webdataset"])


def test_a_tar_run_grows_loses_a_recording_and_is_pruned(
    runs: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = runs["webdataset"].parent
    run = Path(shutil.copytree(runs["webdataset"], tmp_path / "run"))
    write_catalogue(folder, [row(i, **CHANGES.get(i, {})) for i in range(21)], "grown.jsonl")
    assert mine_again(folder, run, "webdataset", "grown.jsonl") == 0
    (gone,) = [value for value in rows_of(run) if value["recording_id"] == "rec-011"]
    sought = ["rec-011", gone["audio_sha256"], gone["audio"][1000:1100]]
    assert any(name.endswith(".tar") for name in traces(run, sought))
    (tmp_path / "ids.txt").write_text("rec-011\n")
    assert mulan(["remove", str(run), "--ids", str(tmp_path / "ids.txt"), "--quiet"]) == 0
    assert len(rows_of(run)) == 20
    assert mulan(["prune", str(run), "--quiet"]) == 0
    assert traces(run, sought) == {}
    files = {str(run / shard["path"]) for shard in manifest(run)["shards"]}
    assert {str(path) for path in run.glob("shards/*")} == {*files, *(s for file in files for s in sidecars(file))}
    assert mulan(["report", str(run), "--verify"]) == 0
    Path(sorted(files)[0]).write_bytes(b"x")
    assert mulan(["report", str(run), "--verify"]) == 1
    assert ".tar: has 1 bytes instead of" in capsys.readouterr().out


def test_the_webdataset_library_finds_what_parquet_holds(runs: dict[str, Path]) -> None:
    import webdataset as wds

    dataset = wds.WebDataset(Run.open(runs["webdataset"]).files(), shardshuffle=False).decode()
    found = {sample["json"]["recording_id"]: sample for sample in dataset}
    rows = rows_of(runs["parquet"])
    assert len(found) == len(rows) == 20
    for value in rows:
        sample = found[value["recording_id"]]
        assert sample.keys() >= {"__key__", "__url__", "flac", "json"}
        assert len(sample["__key__"]) == 6
        assert sample["__key__"].isdigit()
        assert sample["flac"] == value.pop("audio")
        assert sample["json"] == value
        assert soundfile.read(io.BytesIO(sample["flac"]))[1] == 16_000


class Loves:
    """A stand-in for a sentence classifier."""

    model, digest, threshold = "loves", "d", 0.5

    def score(self, texts: list[str]) -> "np.ndarray[Any, Any]":
        return np.full(len(texts), 0.75, np.float32)


@pytest.mark.parametrize("name", OTHERS)
def test_a_run_that_is_scored_again_keeps_its_format(runs: dict[str, Path], tmp_path: Path, name: str) -> None:
    scorer: Any = Loves()
    rescore(Run.open(runs[name]), scorer, tmp_path / "rescored")
    rows, before = rows_of(tmp_path / "rescored"), rows_of(runs[name])
    assert {path.suffix for path in map(Path, Run.open(tmp_path / "rescored").files())} == {f".{FORMATS[name].suffix}"}
    assert [value["audio"] for value in rows] == [value["audio"] for value in before]
    assert {sentence["score"] for value in rows for sentence in value["lf"]} == {0.75}


TENSORFLOW = """
import json, sys
import tensorflow as tf
out = {}
for path in sys.argv[1:]:
    for record in tf.data.TFRecordDataset(path):
        example = tf.io.parse_single_example(record, {
            "recording_id": tf.io.FixedLenFeature([], tf.string),
            "audio": tf.io.FixedLenFeature([], tf.string),
            "duration_s": tf.io.FixedLenFeature([], tf.string),
            "music_fraction": tf.io.FixedLenFeature([], tf.float32),
            "music_scores": tf.io.VarLenFeature(tf.float32),
            "sf": tf.io.VarLenFeature(tf.string),
            "lf/text": tf.io.VarLenFeature(tf.string),
            "lf/score": tf.io.VarLenFeature(tf.float32),
            "lf/tokens": tf.io.VarLenFeature(tf.int64),
            "text_sources": tf.io.FixedLenFeature([], tf.int64),
            "counts/lf_annotations": tf.io.FixedLenFeature([], tf.int64),
            "licence": tf.io.FixedLenFeature([], tf.string, default_value=""),
        })
        out[example["recording_id"].numpy().decode()] = {
            "audio_bytes": len(example["audio"].numpy()),
            "duration_s": float(tf.strings.to_number(example["duration_s"], tf.float64)),
            "music_fraction": float(example["music_fraction"]),
            "music_scores": example["music_scores"].values.numpy().tolist(),
            "sf": [text.decode() for text in example["sf"].values.numpy()],
            "lf": [text.decode() for text in example["lf/text"].values.numpy()],
            "lf_scores_nan": bool(tf.reduce_all(tf.math.is_nan(example["lf/score"].values))),
            "lf_tokens": example["lf/tokens"].values.numpy().tolist(),
            "text_sources": int(example["text_sources"]),
            "lf_annotations": int(example["counts/lf_annotations"]),
            "licence": example["licence"].numpy().decode() or None,
        }
        tf.train.Example.FromString(record.numpy())
json.dump(out, sys.stdout)
"""


def test_tensorflows_own_reader_finds_what_parquet_holds(runs: dict[str, Path]) -> None:
    pytest.importorskip("tensorflow", reason="the tensorflow extra is not installed")
    shards = sorted(str(path) for path in runs["tfrecord"].glob("shards/*.tfrecord"))
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "", "TF_CPP_MIN_LOG_LEVEL": "3"}
    done = subprocess.run([sys.executable, "-c", TENSORFLOW, *shards], env=environment, capture_output=True, check=True)
    found = json.loads(done.stdout)
    assert found == {
        value["recording_id"]: {
            "audio_bytes": len(value["audio"]),
            "duration_s": value["duration_s"],
            "music_fraction": value["music_fraction"],
            "music_scores": [float(score) for score in value["music_scores"]],
            "sf": value["sf"],
            "lf": [sentence["text"] for sentence in value["lf"]],
            "lf_scores_nan": True,
            "lf_tokens": [sentence["tokens"] for sentence in value["lf"]],
            "text_sources": value["text_sources"],
            "lf_annotations": value["counts"]["lf_annotations"],
            "licence": value["licence"],
        }
        for value in rows_of(runs["parquet"])
    }


@pytest.mark.parametrize("name", OTHERS)
def test_reading_loads_no_library_of_the_format(runs: dict[str, Path], name: str) -> None:
    script = (
        "import sys; from schemas.run import Run; run = Run.open(sys.argv[1]); "
        "rows = sum(run.read(g).num_rows for g in run.row_groups()); "
        "assert rows == 20, rows; assert not {'tensorflow', 'webdataset', 'apache_beam', 'torch'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", script, str(runs[name])], check=True, cwd=ROOT)


@pytest.mark.parametrize("encoding", ["pcm16", "opus"])
def test_another_encoding_names_its_tar_members(tmp_path: Path, encoding: str) -> None:
    catalogue = write_catalogue(tmp_path, [row(0)])
    assert mine(catalogue, tmp_path / "run", "--format=webdataset", f"--audio={encoding}") == 0
    (path,) = Run.open(tmp_path / "run").files()
    listed = subprocess.run(["tar", "--list", "--verbose", "--file", path], capture_output=True, text=True, check=True)
    names = [line.split()[-1] for line in listed.stdout.splitlines()]
    assert names == [f"000000.{encoding}", "000000.json"]
    assert listed.stdout.count("1970-01-01") == 2
    assert listed.stdout.count("0/0") == 2


@pytest.fixture(autouse=True)
def _no_leftovers(runs: dict[str, Path]) -> Iterator[None]:
    yield
    assert not [path for run in runs.values() for path in run.glob("tmp/*")]
