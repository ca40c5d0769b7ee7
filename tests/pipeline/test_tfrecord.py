"""TFRecord shards: the same rows as Parquet, read by TensorFlow's own reader and by ours without it."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.run import Run, RunError
from schemas.shard import SHARD_SCHEMA, no_texts
from schemas.shard_reader import TFRecordShard
from schemas.tfrecord import RecordError, example_of, frame, records, row_of, unframe
from tests.pipeline.mining import manifest, mine, row, shard_hashes, write_catalogue

pytestmark = pytest.mark.slow

COMMENTS = "".join(
    json.dumps({"recording_id": f"rec-{i:03d}", "text": f"Drums number {i} go."}) + "\n" for i in range(9)
)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """One catalogue, mined in both formats."""
    folder = tmp_path_factory.mktemp("formats")
    changes: dict[int, dict[str, Any]] = {
        1: {"title": "日本語 ünï 🎵", "licence": "CC BY 4.0", "source": "here"},
        2: {"title": None, "artist": None, "tags": [], "description": None, "comments": []},
        3: {"duration_s": 2.123456789012345, "start_s": 0.7},
    }
    catalogue = write_catalogue(folder, [row(i, **changes.get(i, {})) for i in range(20)])
    (folder / "comments.jsonl").write_text(COMMENTS, encoding="utf-8")
    made = {}
    for name in ("parquet", "tfrecord"):
        made[name] = folder / name
        options = ("--rows_per_shard=8", "--comments", str(folder / "comments.jsonl"), f"--format={name}")
        assert mine(catalogue, made[name], *options) == 0
    return made


def rows_of(folder: Path) -> list[dict[str, Any]]:
    run = Run.open(folder)
    return [value for group in run.row_groups() for value in run.read(group).to_pylist()]


def test_both_formats_hold_the_same_rows_in_the_same_groups(runs: dict[str, Path]) -> None:
    parquet, tfrecord = Run.open(runs["parquet"]), Run.open(runs["tfrecord"])
    groups = [list(run.row_groups()) for run in (parquet, tfrecord)]
    assert len(groups[0]) == len(groups[1]) >= 3
    for one, other in zip(*groups, strict=True):
        assert (one.rows, one.text_sources, one.max_lf_score) == (other.rows, other.text_sources, other.max_lf_score)
        tables = parquet.read(one), tfrecord.read(other)
        assert tables[0].schema == tables[1].schema == SHARD_SCHEMA
        assert tables[0].equals(tables[1])
    assert len(rows_of(runs["tfrecord"])) == 20
    assert manifest(runs["tfrecord"])["shard_format"] == "tfrecord"


def test_columns_can_be_chosen(runs: dict[str, Path]) -> None:
    run = Run.open(runs["tfrecord"])
    group = next(iter(run.row_groups()))
    for columns in (["recording_id"], ["sf", "recording_id"], ["text_sources", "audio_sha256"]):
        assert run.read(group, columns).equals(run.read(group).select(columns))


def test_the_same_bytes_every_time_and_adopted_by_a_second_run(runs: dict[str, Path], tmp_path: Path) -> None:
    folder = runs["tfrecord"].parent
    before = shard_hashes(runs["tfrecord"])
    options = ("--rows_per_shard=8", "--comments", str(folder / "comments.jsonl"), "--format=tfrecord")
    assert mine(folder / "catalog.jsonl", tmp_path / "again", *options) == 0
    assert shard_hashes(tmp_path / "again") == before
    times = {path: path.stat().st_mtime_ns for path in runs["tfrecord"].glob("shards/*")}
    assert len(times) == 2 * len(manifest(runs["tfrecord"])["shards"])
    assert mine(folder / "catalog.jsonl", runs["tfrecord"], *options) == 0
    assert {path: path.stat().st_mtime_ns for path in runs["tfrecord"].glob("shards/*")} == times

    index = next(runs["tfrecord"].glob("shards/*.index.parquet"))
    content = index.read_bytes()
    index.unlink()
    with pytest.raises(RunError, match="mine again to repair"):
        rows_of(runs["tfrecord"])
    assert mine(folder / "catalog.jsonl", runs["tfrecord"], *options) == 0
    assert index.read_bytes() == content


def test_a_row_is_read_by_its_place_alone(runs: dict[str, Path]) -> None:
    wanted = {value["recording_id"]: value for value in rows_of(runs["parquet"])}
    for shard in sorted(runs["tfrecord"].glob("shards/*.tfrecord")):
        index = pq.read_table(f"{shard}.index.parquet").to_pylist()
        with shard.open("rb") as stream, open(f"{shard}.index.parquet", "rb") as index_stream:
            reader = TFRecordShard(stream, index_stream)
            for place in reversed(index):
                found = reader.row(place["offset"], place["length"])
                expected = wanted.pop(found["recording_id"])
                assert pa.Table.from_pylist([found], schema=SHARD_SCHEMA).to_pylist() == [expected]
        assert index[-1]["offset"] + index[-1]["length"] == shard.stat().st_size
    assert not wanted


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


def test_reading_loads_no_tensorflow(runs: dict[str, Path]) -> None:
    script = (
        "import sys; from schemas.run import Run; run = Run.open(sys.argv[1]); "
        "rows = sum(run.read(g).num_rows for g in run.row_groups()); "
        "assert rows == 20, rows; assert not {'tensorflow', 'apache_beam', 'torch'} & set(sys.modules)"
    )
    root = Path(__file__).resolve().parents[2]
    subprocess.run([sys.executable, "-c", script, str(runs["tfrecord"])], check=True, cwd=root)


def example_row(**changes: Any) -> dict[str, Any]:
    counts = {field.name: 3 for field in SHARD_SCHEMA.field("counts").type}
    value = {
        "recording_id": "r",
        "audio": b"\x00\xff",
        "audio_encoding": "pcm16",
        "start_s": 0.1,
        "duration_s": 1 / 3,
        "music_fraction": 0.5,
        "music_scores": [np.float16(0.1)],
        "audio_sha256": "00",
        **no_texts(),
        "sf": ["a", ""],
        "pl": ["x", "x"],
        "text_sources": 5,
        "counts": counts,
        "licence": None,
        "source": "s",
        **changes,
    }
    (plain,) = pa.Table.from_pylist([value], schema=SHARD_SCHEMA).to_pylist()
    return dict(plain)


texts = st.text(st.characters(codec="utf-8"), max_size=20)
sentences = st.fixed_dictionaries(
    {
        "text": texts,
        "score": st.none() | st.floats(0, 1, width=32),
        "tokens": st.integers(0, 2**31 - 1),
        "occurrences": st.integers(-(2**31), 2**31 - 1),
    }
)


@settings(max_examples=150, deadline=None)
@given(
    lf=st.lists(sentences, max_size=4),
    pl=st.lists(texts, max_size=3),
    audio=st.binary(max_size=400),
    start_s=st.floats(0, 1e9),
    source=st.none() | texts,
    scores=st.lists(st.floats(0, 1, width=16), max_size=5),
)
def test_any_row_comes_back_as_it_was(**changes: Any) -> None:
    value = example_row(music_scores=[np.float16(s) for s in changes.pop("scores")], **changes)
    found = row_of(unframe(frame(example_of(value))))
    assert pa.Table.from_pylist([found], schema=SHARD_SCHEMA).to_pylist() == [value]


def test_lists_that_are_not_packed_are_read_too() -> None:
    from schemas import tfrecord

    def loose(number: int) -> bytes:
        return b"\x08" + tfrecord._varint(number)

    assert tfrecord._read_items(3, loose(7) + loose(-2)) == [7, -2]
    assert tfrecord._read_items(2, b"\x0d" + np.float32(0.5).tobytes()) == [0.5]


def test_damage_is_noticed(tmp_path: Path) -> None:
    record = frame(example_of(example_row()))
    for at in range(len(record)):
        broken = bytearray(record)
        broken[at] ^= 0x10
        with pytest.raises(RecordError):
            unframe(bytes(broken))
    for cut in (1, 11, 12, len(record) - 1):
        (tmp_path / "cut").write_bytes(record[:cut])
        with (tmp_path / "cut").open("rb") as stream, pytest.raises(RecordError):
            list(records(stream))
    (tmp_path / "whole").write_bytes(record * 3)
    with (tmp_path / "whole").open("rb") as stream:
        assert len(list(records(stream))) == 3


@settings(max_examples=300, deadline=None)
@given(content=st.binary(max_size=200))
def test_no_bytes_break_the_reader_in_another_way(content: bytes) -> None:
    with pytest.raises(RecordError):
        row_of(content)


@pytest.fixture(autouse=True)
def _no_leftovers(runs: dict[str, Path]) -> Iterator[None]:
    yield
    assert not list(runs["tfrecord"].glob("tmp/*"))
