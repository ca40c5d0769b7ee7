"""Rows in the formats that lay one record after another, damaged ones, and shards of before a column came."""

import io
import json
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.columns import completed
from schemas.formats import indexed, tfrecord, webdataset
from schemas.formats.tfrecord import example_of, frame, records, unframe
from schemas.formats.webdataset import members_of
from schemas.run import Run, RunError
from schemas.shard import COUNTS, SHARD_SCHEMA, no_texts
from schemas.shard_format import FORMATS, RecordError, UnknownFormatError, format_of
from tests.trainer.fixture_runs import shard_row, write_run

PACKED: dict[str, tuple[Callable[[dict[str, Any]], bytes], Callable[[bytes], dict[str, Any]]]] = {
    "tfrecord": (lambda row: frame(example_of(row)), lambda record: tfrecord.row_of(unframe(record))),
    "webdataset": (lambda row: members_of(7, row), webdataset.row_of),
}


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


@pytest.mark.slow
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
    for pack, unpack in PACKED.values():
        assert pa.Table.from_pylist([unpack(pack(value))], schema=SHARD_SCHEMA).to_pylist() == [value]


def test_lists_that_are_not_packed_are_read_too() -> None:
    def loose(number: int) -> bytes:
        return b"\x08" + tfrecord._varint(number)

    assert tfrecord._read_items(3, loose(7) + loose(-2)) == [7, -2]
    assert tfrecord._read_items(2, b"\x0d" + np.float32(0.5).tobytes()) == [0.5]


def test_damage_of_a_tfrecord_is_noticed(tmp_path: Path) -> None:
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


def test_damage_of_a_tar_header_is_noticed() -> None:
    """The content has no checksum of its own; its hash is in the manifest."""
    record = members_of(7, example_row())
    starts = (0, 2 * tarfile.BLOCKSIZE)
    for at in (start + i for start in starts for i in range(tarfile.BLOCKSIZE)):
        broken = bytearray(record)
        broken[at] ^= 0x10
        with pytest.raises(RecordError):
            webdataset.row_of(bytes(broken))
    for cut in range(0, len(record), tarfile.BLOCKSIZE // 2):
        with pytest.raises(RecordError):
            webdataset.row_of(record[:cut])


def tar_of(*members: tuple[str, bytes], kind: bytes = tarfile.REGTYPE, link: str = "") -> bytes:
    """As a stranger's tar would have them, with valid headers."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for name, content in members:
            member = tarfile.TarInfo(name)
            member.type, member.linkname, member.size = kind, link, len(content)
            tar.addfile(member, io.BytesIO(content))
        end = tar.offset
    return stream.getvalue()[:end]


REST = json.dumps(
    {name: value for name, value in shard_row("r").items() if name not in ("audio", "music_scores")}
).encode()


@pytest.mark.parametrize(
    ("record", "said"),
    [
        (tar_of(("../../etc/x.flac", b"x"), ("0.json", REST)), "'../../etc/x.flac' is not one of ours"),
        (tar_of(("/0.flac", b"x"), ("0.json", REST)), "'/0.flac' is not one of ours"),
        (tar_of(("0.flac", b""), ("0.json", b""), kind=tarfile.SYMTYPE, link="/etc/passwd"), "is not one of ours"),
        (tar_of(("0.flac", b"x"), ("1.json", REST)), "are not those of one row"),
        (tar_of(("0.json", REST), ("0.flac", b"x")), "is not JSON"),
        (tar_of(("0.flac", b"x"), ("0.json", REST), ("0.cls", b"1")), "are not those of one row"),
        (tar_of(("0.flac", b"x"), ("0.json", b"[" * 100_000)), "is not JSON"),
        (tar_of(("0.flac", b"x"), ("0.json", b"9" * 10_000)), "is not JSON"),
        (tar_of(("0.flac", b"x"), ("0.json", b"[]")), "is not a shard row"),
        (tar_of(("0.flac", b"x"), ("0.json", b'{"audio_encoding": "flac", "music_scores": ["x"]}')), "are not numbers"),
        (tar_of(("0.flac", b"x")), "no tar header"),
        (bytes(4096), "no tar header"),
    ],
)
def test_a_hostile_tar_is_one_line(record: bytes, said: str) -> None:
    with pytest.raises(RecordError, match=said) as caught:
        webdataset.row_of(record)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 300


def read_record(name: str, record: bytes) -> pa.Table:
    """What the reader of a format finds where the index names this record alone."""
    index = io.BytesIO()
    place = {"recording_id": "r", "audio_sha256": "", "text_sources": 1, "offset": 0, "length": len(record)}
    pq.write_table(pa.Table.from_pylist([place], schema=indexed.INDEX_SCHEMA), index)
    return FORMATS[name].open(io.BytesIO(record), index).read(0)


def tar_row(**changes: Any) -> bytes:
    """The record of `example_row` with other values in its `.json`; one that is `...` is left out."""
    value = example_row()
    audio = value.pop("audio")
    value["music_scores"] = [float(score) for score in value["music_scores"]]
    rest = {name: item for name, item in {**value, **changes}.items() if item is not ...}
    return tar_of(("000000.pcm16", audio), ("000000.json", json.dumps(rest).encode()))


@pytest.mark.parametrize(
    "changes",
    [
        {"text_sources": 999},
        {"text_sources": -(10**30)},
        {"start_s": "now"},
        {"start_s": None},
        {"counts": "none"},
        {"sf": 3},
        {"sf": [{"text": "a"}]},
        {"lf": [1]},
        {"recording_id": ...},
        {"recording_id": "\ud800"},
    ],
    ids=str,
)
def test_a_value_of_another_kind_is_a_record_error(changes: dict[str, Any]) -> None:
    with pytest.raises(RecordError) as caught:
        read_record("webdataset", tar_row(**changes))
    assert "\n" not in str(caught.value)


def test_what_came_later_is_empty_in_an_older_shard_and_what_is_newer_is_left_out() -> None:
    whole = example_row()
    counts = {name: count for name, count in whole["counts"].items() if not name.startswith("pl_")}
    (found,) = read_record("webdataset", tar_row(pl=..., licence=..., counts=counts, mood=["calm"])).to_pylist()
    assert found == {**whole, "pl": [], "licence": None, "counts": {**counts, "pl_annotations": 0, "pl_tokens": 0}}


@pytest.mark.slow
@settings(max_examples=300, deadline=None)
@given(content=st.binary(max_size=200))
def test_no_bytes_break_the_reader_in_another_way(content: bytes) -> None:
    for name, record in (("tfrecord", frame(content)), ("tfrecord", content), ("webdataset", content)):
        with pytest.raises(RecordError):
            read_record(name, record)


OLDER_SCHEMA = pa.schema(
    [
        SHARD_SCHEMA.field(name)
        if name != "counts"
        else pa.field("counts", pa.struct([part for part in COUNTS if part.name[:2] != "pl"]), nullable=False)
        for name in SHARD_SCHEMA.names
        if name not in ("pl", "source")
    ]
)


@pytest.mark.parametrize("name", FORMATS)
def test_a_run_of_before_a_column_came_is_read(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """As if `pl` with its counts, and `source`, had not been there when the shards were written."""
    rows = [shard_row(f"r{i}", sf=["slow"], lf=[("a steady tone", 0.5)], audio=b"x") for i in range(3)]
    wanted = [value for group in groups_of(write_run(tmp_path / "now", rows)) for value in group.to_pylist()]
    for module in ("tests.trainer.fixture_runs", "schemas.formats.tfrecord", "schemas.formats.webdataset"):
        monkeypatch.setattr(f"{module}.SHARD_SCHEMA", OLDER_SCHEMA)
    monkeypatch.setattr(tfrecord, "COUNTS", OLDER_SCHEMA.field("counts").type)
    older = write_run(tmp_path / "older", rows, shard_format=name)
    monkeypatch.undo()
    newer = write_run(tmp_path / "newer", rows, shard_format=name)
    hashes = [{shard.sha256 for shard in Run.open(folder).manifest.shards} for folder in (older, newer)]
    assert not hashes[0] & hashes[1], "the columns are not there"
    tables = groups_of(older)
    assert all(table.schema == SHARD_SCHEMA for table in tables)
    assert [value for table in tables for value in table.to_pylist()] == wanted


def groups_of(folder: Path) -> list[pa.Table]:
    run = Run.open(folder)
    return [run.read(group) for group in run.row_groups()]


def test_a_column_without_a_default_is_needed() -> None:
    table = pa.table({"recording_id": ["r"]})
    with pytest.raises(ValueError, match="it lacks text_sources"):
        completed(table, pa.schema([SHARD_SCHEMA.field("recording_id"), SHARD_SCHEMA.field("text_sources")]))


def test_a_shard_of_a_format_that_is_not_known_is_one_line(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", [shard_row("r")], shards=1)
    path = run / "manifest-0001.json"
    path.write_text(path.read_text().replace("00000.parquet", "00000.lance"))
    with pytest.raises(
        RunError, match=r"00000\.lance: openmulan .* has no shard format with this ending \(it has parq"
    ):
        list(Run.open(run).row_groups())


def test_formats_are_told_apart_by_their_endings() -> None:
    for known in FORMATS.values():
        assert format_of(f"shards/g0001-00000-0123456789ab{known.endings[0]}") is known
    endings = [ending for known in FORMATS.values() for ending in known.endings]
    assert len({*endings}) == len(endings)
    with pytest.raises(UnknownFormatError):
        format_of("shards/g0001-00000")
