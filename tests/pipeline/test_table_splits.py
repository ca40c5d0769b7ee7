"""Pieces of a table are its rows, each once and with its line, wherever the cuts fall and whatever stands there."""

import codecs
import gzip
import json
import logging
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline import catalogue, table_splits
from pipeline.catalogue import CATALOGUE, COMMENTS, Reject, Table, read_table, row_ends
from pipeline.table_splits import Piece, pieces

ODD = (
    "plain",
    "été 日本 \U0001f600",
    "nul \0 here",
    "e\u0301 and é",
    'a "quoted" one',
    "two\nlines",
    "\u2028",
    "x" * 300,
)
COMMENT_LINES = [
    json.dumps({"recording_id": f"r{n}", "text": text}, ensure_ascii=n % 2 == 0) for n, text in enumerate(ODD)
]
JSON_LINES = [
    *(line.encode() for line in COMMENT_LINES),
    *(
        b"",
        b"  ",
        b"{not json",
        b'["no object"]',
        b'{"recording_id": "r", "text": "\\ud800"}',
        b'\0{"recording_id": "r"}',
    ),
    *(
        b'{"recording_id": "\xff"}',
        b'{"recording_id": "long", "text": "' + b"y" * 900 + b'"}',
        COMMENT_LINES[1].encode(),
    ),
]
CSV_ROWS = [
    *(
        b'r1,"two\nlines, and a comma"',
        b'r2,"crlf\r\ninside ""quotes"""',
        b'r3,five" single',
        b'r4,"bad"quote',
        b"r5,\xff",
    ),
    *(b'r6,"open \xff\nand on"', "r7,été 日本".encode(), b"", b"r8,a,b,c", b'r9,"' + b"y" * 900 + b'"', b"r10,last"),
]


def everything(table: Table[Any], found: list[Piece]) -> list[Any]:
    return [item for piece in found for item in read_table(table, piece, {})]


def cut(path: Path, table: Table[Any] = COMMENTS) -> list[Piece]:
    return pieces(str(path), row_ends, table.wanted({}))


@pytest.fixture(autouse=True)
def _small_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(catalogue, "MAX_LINE_BYTES", 800)
    monkeypatch.setattr(table_splits, "SCAN_BYTES", 50)


@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
@pytest.mark.parametrize("start", [b"", codecs.BOM_UTF8], ids=["bare", "with a mark"])
@pytest.mark.parametrize("is_ended", [True, False])
@pytest.mark.parametrize("kind", ["jsonl", "csv", "tsv"])
def test_the_pieces_are_the_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, end: bytes, start: bytes, is_ended: bool
) -> None:
    rows = JSON_LINES if kind == "jsonl" else [b"recording_id,text", *CSV_ROWS]
    content = start + end.join(rows) + (end if is_ended else b"")
    path = tmp_path / f"t.{kind}"
    path.write_bytes(content.replace(b",", b"\t") if kind == "tsv" else content)
    whole = list(read_table(COMMENTS, str(path), {}))
    assert sum(isinstance(item, Reject) for item in whole) >= 4
    assert sum(not isinstance(item, Reject) for item in whole) >= 6
    counts = set()
    for piece_bytes in (1, 7, 64, 333, len(content) - 1):
        monkeypatch.setattr(table_splits, "PIECE_BYTES", piece_bytes)
        found = cut(path)
        counts.add(len(found))
        assert everything(COMMENTS, found) == whole
    assert max(counts) >= len(whole) - 4


@pytest.mark.parametrize("head", [b'sep=;\nrecording_id;"te\nxt";text\n', b"text;recording_id\n"])
def test_each_piece_has_the_header_of_its_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, head: bytes) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes(head + b'"a;b";r1;c\n;"r\n2";\nx;r3;y\n')
    whole = list(read_table(COMMENTS, str(path), {}))
    monkeypatch.setattr(table_splits, "PIECE_BYTES", 2)
    assert len(cut(path)) == 3
    assert everything(COMMENTS, cut(path)) == whole


def test_a_bad_header_leaves_the_file_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(table_splits, "PIECE_BYTES", 2)
    for number, head in enumerate((b"\xff,b\n", b'"a"b,c\nrecording_id,text\n')):
        path = tmp_path / f"{number}.csv"
        path.write_bytes(head + b"r1,x\nr2,y\n")
        assert cut(path) == [Piece(path=str(path))]


def test_parquet_is_cut_by_its_row_groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "t.parquet"
    rows = [{"recording_id": f"r{n}" if n % 5 else None, "text": ODD[n % len(ODD)]} for n in range(23)]
    pq.write_table(pa.Table.from_pylist(rows), path, row_group_size=4)
    whole = list(read_table(COMMENTS, str(path), {}))
    for piece_bytes, count in ((1, 6), (1_000_000, 1)):
        monkeypatch.setattr(table_splits, "PIECE_BYTES", piece_bytes)
        found = cut(path)
        assert len(found) == count
        assert everything(COMMENTS, found) == whole
    assert len({item.line for item in whole if isinstance(item, Reject)}) == 5


def test_what_cannot_be_entered_in_its_middle_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(table_splits, "PIECE_BYTES", 8)
    monkeypatch.setattr(table_splits, "SAID_FROM_BYTES", 16)
    rows = [{"recording_id": f"r{n}", "audio_uri": "a.ogg"} for n in range(9)]
    lines = "".join(f"{json.dumps(row)}\n" for row in rows).encode()
    contents = {
        "gzipped.jsonl.gz": gzip.compress(lines),
        "array.json": json.dumps(rows).encode(),
        "utf16.jsonl": lines.decode().encode("utf-16"),
        "returns.csv": b"recording_id,audio_uri\r1,a.ogg\r2,b.ogg\r",
        "broken.parquet": b"PAR1" * 9,
    }
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
        with caplog.at_level(logging.WARNING):
            assert cut(tmp_path / name, CATALOGUE) == [Piece(path=str(tmp_path / name))]
    said = [record.getMessage() for record in caplog.records]
    assert [line.split()[0].rpartition("/")[2] for line in said] == [*contents]
    assert "is gzipped, so that one worker reads all" in said[0]
