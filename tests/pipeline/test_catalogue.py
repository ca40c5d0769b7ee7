"""Reading catalogues: one meaning in every format, and a reject with file, line and reason for what is wrong."""

import csv
import gzip
import json
from pathlib import Path
from typing import Any

import jsonschema
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.catalogue import CATALOGUE, COMMENTS, MAX_LINE_BYTES, PLAYLISTS, Reject, find_tables, read_table
from schemas.catalogue import CatalogueRow, parse_catalogue_row, row_json_schema
from schemas.cells import RowError
from schemas.exits import InputError
from schemas.reasons import Reason

ROW: dict[str, Any] = {
    "recording_id": "r1",
    "audio_uri": "a/b.ogg",
    "title": "Titre élégant",
    "tags": ["jazz", "trio"],
    "description": 'Two lines,\nand a "quote".',
    "start_s": 12.5,
    "music_gate": "score_only",
}


def read(path: Path, columns: dict[str, str] | None = None) -> tuple[list[CatalogueRow], list[Reject]]:
    items = list(read_table(CATALOGUE, str(path), columns or {}))
    rows = [item[1] for item in items if not isinstance(item, Reject)]
    return rows, [item for item in items if isinstance(item, Reject)]


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    kind = path.name.removesuffix(".gz").rsplit(".", 1)[-1]
    if kind == "parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
        return path
    with gzip.open(path, "wt") if path.suffix == ".gz" else path.open("w", encoding="utf-8") as stream:
        if kind == "jsonl":
            stream.writelines(json.dumps(value) + "\n" for value in rows)
        else:
            writer = csv.writer(stream, delimiter="\t" if kind == "tsv" else ",")
            writer.writerow(rows[0])
            for value in rows:
                writer.writerow(json.dumps(cell) if isinstance(cell, list) else cell for cell in value.values())
    return path


@pytest.mark.parametrize("name", ["c.jsonl", "c.jsonl.gz", "c.csv", "c.csv.gz", "c.tsv", "c.parquet"])
def test_every_format_gives_the_same_row_and_digest(tmp_path: Path, name: str) -> None:
    rows, rejected = read(write(tmp_path / name, [ROW]))
    assert rejected == []
    assert rows == [parse_catalogue_row(ROW)]
    assert rows[0].digest() == parse_catalogue_row(dict(reversed(ROW.items()))).digest()
    assert rows[0].start_s == 12.5


def test_columns_of_other_names(tmp_path: Path) -> None:
    path = write(tmp_path / "c.csv", [{"id": "r1", "file": "x.ogg", "genre": "rock|indie rock"}])
    rows, rejected = read(path, {"recording_id": "id", "audio_uri": "file", "tags": "genre"})
    assert rejected == []
    assert rows == [CatalogueRow(recording_id="r1", audio_uri="x.ogg", texts={"tags": ("rock", "indie rock")})]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"{not json", Reason.NOT_JSON),
        (b"[1, 2]", Reason.NOT_JSON),
        (b'{"recording_id": NaN}', Reason.MISSING_FIELD),
        (b'{"recording_id": "r", "audio_uri": "x", "start_s": -Infinity}', Reason.NOT_JSON),
        (b"[" * 100_000, Reason.NOT_JSON),
        (b'{"recording_id": "r", "audio_uri": "caf\xe9"}', Reason.NOT_UTF8),
        (b'{"recording_id": "r", "audio_uri": "\\ud800"}', Reason.NOT_UTF8),
        (b'{"audio_uri": "x"}', Reason.MISSING_FIELD),
        (b'{"recording_id": " ", "audio_uri": "x"}', Reason.MISSING_FIELD),
        (b'{"recording_id": 7.5, "audio_uri": "x"}', Reason.WRONG_TYPE),
        (b'{"recording_id": true, "audio_uri": "x"}', Reason.WRONG_TYPE),
        (b'{"recording_id": "r", "audio_uri": "x", "tags": "jazz"}', Reason.WRONG_TYPE),
        (b'{"recording_id": "r", "audio_uri": "x", "tags": [["jazz"]]}', Reason.WRONG_TYPE),
        (b'{"recording_id": "r", "audio_uri": "x", "start_s": true}', Reason.WRONG_TYPE),
        (b'{"recording_id": "r", "audio_uri": "x", "start_s": -1}', Reason.BAD_VALUE),
        (b'{"recording_id": "r", "audio_uri": "x", "start_s": 1e999}', Reason.BAD_VALUE),
        (b'{"recording_id": "r", "audio_uri": "x", "duration_s": 0}', Reason.BAD_VALUE),
        (b'{"recording_id": "r\\u0000", "audio_uri": "x"}', Reason.BAD_VALUE),
        (b'{"recording_id": "' + b"r" * 2000 + b'", "audio_uri": "x"}', Reason.BAD_VALUE),
        (b'{"recording_id": "r", "audio_uri": "x", "music_gate": "maybe"}', Reason.BAD_VALUE),
        (b'{"recording_id": "r", "title": "' + b"x" * (50 << 20) + b'"}', Reason.LINE_TOO_LONG),
    ],
    ids=lambda value: value.value if isinstance(value, Reason) else "",
)
def test_a_bad_line_is_a_reject_and_its_neighbours_are_read(tmp_path: Path, line: bytes, reason: Reason) -> None:
    path = tmp_path / "c.jsonl"
    good = json.dumps(ROW).encode()
    path.write_bytes(b"\n".join([good, line, good.replace(b"r1", b"r2")]) + b"\n")
    rows, rejected = read(path)
    assert [row.recording_id for row in rows] == ["r1", "r2"]
    assert [(reject.line, reject.reason, reject.file) for reject in rejected] == [(2, reason, str(path))]
    assert len(rejected[0].excerpt) <= 80


def test_the_longest_line_that_is_taken(tmp_path: Path) -> None:
    path = tmp_path / "c.jsonl"
    head, tail = b'{"recording_id": "r", "audio_uri": "x", "description": "', b'"}\n'
    path.write_bytes(head + b"x" * (MAX_LINE_BYTES - len(head) - len(tail)) + tail)
    rows, rejected = read(path)
    assert (len(rows), rejected) == (1, [])


def test_csv_rejects_keep_their_lines(tmp_path: Path) -> None:
    path = tmp_path / "c.csv"
    path.write_bytes(
        b'recording_id,audio_uri,start_s\r\nr1,x,30\r\nr2,y,soon\r\nr3,caf\xe9,30\r\nr4,z,30,more,cells\r\n"r\r\n5",v,\r\n'
    )
    rows, rejected = read(path)
    assert [row.recording_id for row in rows] == ["r1"]
    found = {reject.line: reject.reason for reject in rejected}
    assert found == {3: Reason.WRONG_TYPE, 4: Reason.NOT_UTF8, 5: Reason.BAD_VALUE, 6: Reason.BAD_VALUE}


def test_a_broken_gzip_keeps_what_came_before(tmp_path: Path) -> None:
    path = write(tmp_path / "c.jsonl.gz", [{**ROW, "recording_id": f"r{i}", "title": "x" * i} for i in range(2000)])
    path.write_bytes(path.read_bytes()[:-600])
    rows, rejected = read(path)
    assert len(rows) > 100
    assert [reject.reason for reject in rejected] == [Reason.UNREADABLE_FILE]


def test_a_file_that_is_no_parquet(tmp_path: Path) -> None:
    (tmp_path / "c.parquet").write_bytes(b"PAR1 but not really")
    rows, rejected = read(tmp_path / "c.parquet")
    assert (rows, [reject.reason for reject in rejected]) == ([], [Reason.UNREADABLE_FILE])


def test_side_tables(tmp_path: Path) -> None:
    comments = tmp_path / "comments.csv"
    comments.write_text("video,body\nr1,Nice bass line\n,orphan\n", encoding="utf-8")
    items = list(read_table(COMMENTS, str(comments), {"recording_id": "video", "text": "body"}))
    assert not isinstance(items[0], Reject)
    assert (items[0][1].recording_id, items[0][1].text) == ("r1", "Nice bass line")
    assert isinstance(items[1], Reject)
    assert items[1].reason == Reason.MISSING_FIELD
    playlists = tmp_path / "playlists.jsonl"
    playlists.write_text('{"playlist_id": "p", "title": "Rain", "recording_ids": ["r1", "r2"]}\n', encoding="utf-8")
    (item,) = read_table(PLAYLISTS, str(playlists), {})
    assert not isinstance(item, Reject)
    assert item[1].recording_ids == ("r1", "r2")


def test_a_glob_that_names_nothing_and_a_file_of_no_known_kind(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="there is no such file"):
        find_tables([str(tmp_path / "*.jsonl")], "--catalog")
    (tmp_path / "c.xlsx").write_bytes(b"")
    with pytest.raises(InputError, match=r"must end in one of jsonl"):
        find_tables([str(tmp_path / "*")], "--catalog")


@pytest.mark.parametrize(
    ("change", "good"),
    [
        ({}, True),
        ({"tags": None, "title": None}, True),
        ({"unknown": 1}, True),
        ({"recording_id": 12, "title": 1999, "tags": ["jazz", None, 80]}, True),
        ({"recording_id": 12.5}, False),
        ({"title": True}, False),
        ({"start_s": -1}, False),
        ({"start_s": 1e7}, False),
        ({"tags": "jazz"}, False),
        ({"recording_id": ""}, False),
        ({"recording_id": "a\u0001b"}, False),
        ({"duration_s": 601}, False),
        ({"music_gate": "maybe"}, False),
    ],
)
def test_the_json_schema_says_what_the_parser_does(change: dict[str, Any], good: bool) -> None:
    value = {**ROW, **change}
    assert jsonschema.Draft202012Validator(row_json_schema()).is_valid(value) is good
    if good:
        parse_catalogue_row(value)
    else:
        with pytest.raises(RowError):
            parse_catalogue_row(value)


@pytest.mark.parametrize(
    "more",
    [
        {},
        {"title": "Rain", "tags": ["slow", "é"], "comments": ["One.", "Two."], "aset": ["Music"], "source": "a"},
        {"licence": "CC0", "start_s": 0, "duration_s": 12.5, "music_gate": "score_only"},
    ],
)
def test_a_row_comes_back_from_what_it_is_kept_as(more: dict[str, Any]) -> None:
    row = parse_catalogue_row({"recording_id": "a", "audio_uri": "a.wav", **more})
    assert CatalogueRow.from_json(json.loads(json.dumps(row.to_json()))) == row
