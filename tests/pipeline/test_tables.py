"""Tables as people have them: as data frames, Excel, databases and Spark write them, one meaning or one clear line."""

import codecs
import io
import itertools
import json
import unicodedata
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline import json_arrays
from pipeline.catalogue import CATALOGUE, COMMENTS, PLAYLISTS, Reject, find_tables, read_table
from pipeline.json_arrays import ArrayError, array_elements
from pipeline.media.fetch import FetchError, resolve
from pipeline.settings import JobSettings
from pipeline.table_preview import preview, previews
from pipeline.table_streams import HEAD_BYTES, EncodingError, as_utf8
from schemas.catalogue import parse_catalogue_row
from schemas.cells import RowError, as_number, as_text, as_texts
from schemas.exits import InputError
from schemas.reasons import Reason
from tests.pipeline.mining import mine, write_catalogue
from tests.pipeline.mining import row as made_row

HEADER = "recording_id,audio_uri,title,tags"
ROWS: list[dict[str, Any]] = [
    {"recording_id": "01", "audio_uri": "a.ogg", "title": "Été", "tags": ["rock", "slow piano"]},
    {"recording_id": "1", "audio_uri": "b.ogg"},
]
CSV = f"{HEADER}\n01,a.ogg,Été,rock|slow piano\n1,b.ogg,,\n"


def read(path: Path, tags_separator: str | None = None) -> list[Any]:
    """Rows as JSON, rejects as (reason, detail)."""
    return [
        (item.reason, item.detail) if isinstance(item, Reject) else item[1].to_json()
        for item in read_table(CATALOGUE, str(path), {}, tags_separator)
    ]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        *((12, "12"), (12.0, "12"), (1e3, "1000"), (-5, "-5"), (-0.0, "0"), (2**63, "9223372036854775808")),
        *((Decimal("12.00"), "12"), (Decimal(10**37), str(10**37)), (Decimal("NaN"), None), (float("nan"), None)),
        *(("01", "01"), ("12.0", "12.0"), ("", ""), (None, None), ("été".encode(), "été")),
        (UUID(int=1), "00000000-0000-0000-0000-000000000001"),
        *((12.5, Reason.WRONG_TYPE), (True, Reason.WRONG_TYPE), (float("inf"), Reason.WRONG_TYPE)),
        *((Decimal("0.5"), Reason.WRONG_TYPE), ({}, Reason.WRONG_TYPE), (b"\xff", Reason.NOT_UTF8)),
        *((2.0**60, Reason.BAD_VALUE), ("\ud800", Reason.NOT_UTF8)),
    ],
    ids=repr,
)
def test_what_a_cell_is_as_a_text(value: Any, text: str | Reason | None) -> None:
    if isinstance(text, Reason):
        with pytest.raises(RowError, match="recording_id") as caught:
            as_text(value, "recording_id")
        assert caught.value.reason == text
    else:
        assert as_text(value, "recording_id") == text


def test_lists_and_numbers_of_cells() -> None:
    assert as_texts(["rock", None, float("nan"), "", 80, 70.0], "tags") == ("rock", "80", "70")
    assert as_texts(float("nan"), "tags") == ()
    assert as_number(Decimal("0.5"), "start_s") == 0.5
    assert as_number(float("nan"), "start_s") is None
    for value, said in (("rock", "--tags_separator"), ([{"name": "rock"}], "holds an object"), (5, "a number")):
        with pytest.raises(RowError, match=said):
            as_texts(value, "tags")


def test_parquet_of_a_database_and_its_side_tables_join(tmp_path: Path) -> None:
    columns = {
        "recording_id": pa.array([12, 13, None, 14]).cast(pa.float64()),
        "audio_uri": pa.array([b"a.ogg", b"b.ogg", b"c.ogg", b"\xff"]),
        "title": pa.array(["x", None, "y", "z"]).dictionary_encode(),
        "album": pa.array([float("nan"), 1989.0, None, None]),
        "tags": pa.array([["rock", None], None, [], ["", "slow"]], pa.large_list(pa.large_string())),
        "start_s": pa.array([Decimal("0.5"), None, None, None]),
        "added": pa.array([0, 1, 2, 3]).cast(pa.timestamp("ns")),
    }
    pq.write_table(pa.table(columns), tmp_path / "c.parquet")
    first, second, third, fourth = read(tmp_path / "c.parquet")
    assert first == {"recording_id": "12", "audio_uri": "a.ogg", "title": "x", "tags": ["rock"], "start_s": 0.5}
    assert second == {"recording_id": "13", "audio_uri": "b.ogg", "album": "1989"}
    assert (third[0], fourth[0]) == (Reason.MISSING_FIELD, Reason.NOT_UTF8)
    pq.write_table(pa.table({"recording_id": [12], "text": ["warm"]}), tmp_path / "comments.parquet")
    (comment,) = read_table(COMMENTS, str(tmp_path / "comments.parquet"), {})
    (tmp_path / "p.jsonl").write_text('{"playlist_id": 1, "title": "Rain", "recording_ids": [12, 13.0, null]}\n')
    (playlist,) = read_table(PLAYLISTS, str(tmp_path / "p.jsonl"), {})
    assert not isinstance(comment, Reject)
    assert not isinstance(playlist, Reject)
    assert comment[1].recording_id == "12"
    assert playlist[1].recording_ids == ("12", "13")


SAVED: dict[str, bytes] = {
    "utf-8": CSV.encode(),
    "utf-8 with a mark": CSV.encode("utf-8-sig"),
    "utf-16 of Excel": CSV.encode("utf-16"),
    "utf-16 big": codecs.BOM_UTF16_BE + CSV.encode("utf-16-be"),
    "utf-16 unmarked": CSV.encode("utf-16-le"),
    "utf-16-be unmarked": CSV.encode("utf-16-be"),
    "utf-32": CSV.encode("utf-32"),
    "cr": CSV.replace("\n", "\r").encode(),
    "cr in utf-16": CSV.replace("\n", "\r").encode("utf-16"),
    "crlf": CSV.replace("\n", "\r\n").encode(),
    "semicolons": CSV.replace(",", ";").encode(),
    "tabs": CSV.replace(",", "\t").encode(),
    "sep": b"sep=;\r\n" + CSV.replace(",", ";").encode(),
    "sep of another": b"\xef\xbb\xbfsep=^\n" + CSV.replace(",", "^").encode(),
    "no last line end": CSV.rstrip("\n").encode(),
}


@pytest.mark.parametrize("name", SAVED)
def test_csv_of_any_program_is_the_same_rows(tmp_path: Path, name: str) -> None:
    (tmp_path / "c.csv").write_bytes(SAVED[name])
    assert read(tmp_path / "c.csv") == ROWS


@pytest.mark.parametrize(
    ("content", "reason", "said"),
    [
        (f"{HEADER},durée\n1,a.ogg,x,y,3\n".encode("latin-1"), Reason.UNREADABLE_FILE, "the header is not text"),
        (f"{HEADER}\n1,a.ogg,été,y\n".encode("latin-1"), Reason.NOT_UTF8, "iconv"),
        (CSV.encode("utf-16")[:-1], Reason.UNREADABLE_FILE, "UTF-16"),
        (f"{HEADER}\n1,a.ogg,x,\"['rock', 'slow']\"\n".encode(), Reason.WRONG_TYPE, "written as Python does"),
        (b"id,file\n1,a.ogg\n", Reason.MISSING_FIELD, "no column recording_id among id, file"),
    ],
    ids=["latin-1 header", "latin-1 row", "cut utf-16", "python list", "other names"],
)
def test_csv_that_cannot_be_read_says_what_to_do(tmp_path: Path, content: bytes, reason: Reason, said: str) -> None:
    (tmp_path / "c.csv").write_bytes(content)
    found = read(tmp_path / "c.csv")[-1]
    assert found[0] == reason
    assert said in found[1]


def test_a_column_that_stands_twice_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "c.csv").write_text(f"{HEADER},title\n1,a.ogg,x,y,z\n")
    assert read(tmp_path / "c.csv")[0]["title"] == "z"
    assert "title stands twice" in caplog.text


def test_tags_are_split_by_their_separator_alone(tmp_path: Path) -> None:
    (tmp_path / "c.csv").write_text(f'{HEADER}\n1,a.ogg,x,"rock, slow"\n2,b.ogg,x,"[""a, b""]"\n')
    (tmp_path / "c.jsonl").write_text('{"recording_id": "1", "audio_uri": "a.ogg", "tags": "rock, slow"}\n')
    assert [row["tags"] for row in read(tmp_path / "c.csv")] == [["rock, slow"], ["a, b"]]
    assert [row["tags"] for row in read(tmp_path / "c.csv", ",")] == [["rock", "slow"], ["a, b"]]
    assert read(tmp_path / "c.jsonl")[0][0] == Reason.WRONG_TYPE
    assert read(tmp_path / "c.jsonl", ",")[0]["tags"] == ["rock", "slow"]
    with pytest.raises(ValueError, match="tags_separator is empty"):
        JobSettings(output="x", catalogues=(), tags_separator="")


def test_a_job_says_how_it_reads_its_tables() -> None:
    columns = {"comments": {"text": "body"}, "catalogue": {"title": "name", "tags": "tags"}}
    job = JobSettings(output="x", catalogues=(), columns=columns, tags_separator=";")
    assert job.reading == "--map comments.text=body --map title=name --tags_separator ';'"


@pytest.mark.parametrize("indent", [None, 0, 2])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_a_json_array_is_its_rows(tmp_path: Path, indent: int | None, encoding: str) -> None:
    (tmp_path / "c.json").write_text(json.dumps(ROWS, indent=indent, ensure_ascii=indent == 0), encoding=encoding)
    assert read(tmp_path / "c.json") == ROWS


@pytest.mark.parametrize("chunk_bytes", [1, 2, 7, 1 << 16])
def test_elements_of_an_array_cost_one_element(monkeypatch: pytest.MonkeyPatch, chunk_bytes: int) -> None:
    monkeypatch.setattr(json_arrays, "CHUNK_BYTES", chunk_bytes)
    kept = ['{"a": "]},[{\\"\\\\"}', '{"b": [1, {"c": []}]}', "{not json}", "7", '{"d": "é"}']
    content = f"\n [ {kept[0]},{kept[1]} ,\n{kept[2]},{json.dumps({'x': 'y' * 60})},{kept[3]},{kept[4]},]\n ".encode()
    found = list(array_elements(io.BytesIO(content), 40))
    assert found == [*(text.encode() for text in kept[:3]), None, *(text.encode() for text in kept[3:])]
    assert list(array_elements(io.BytesIO(b"[ ]\n"), 40)) == []
    for bad, said in ((b'[{"a": 1},', "does not end"), (b"[{}]\n{}", "after the end"), (b'[{"a": "', "does not end")):
        with pytest.raises(ArrayError, match=said):
            list(array_elements(io.BytesIO(bad), 40))


def test_a_line_that_is_an_array_is_no_table_of_rows(tmp_path: Path) -> None:
    (tmp_path / "c.json").write_text(f"[1, 2]\n{json.dumps(ROWS[1])}\n{{\n")
    (_, first), second, (_, third) = read(tmp_path / "c.json")
    assert (first, second) == ("not a JSON object", ROWS[1])
    assert "or in an array" in third


def test_a_stream_is_recoded_whole_whatever_the_chunks() -> None:
    text = "zeile ü\U0001f600\r" * HEAD_BYTES
    recoded = as_utf8(io.BytesIO(text.encode("utf-16")), carriage_returns=True)
    assert recoded.read() == text.replace("\r", "\n").encode()
    with pytest.raises(EncodingError, match="UTF-32"):
        as_utf8(io.BytesIO(codecs.BOM_UTF32_LE + b"\xff" * 8), carriage_returns=False).read()


def write_folder(folder: Path) -> Path:
    """A table in parts, two of them in folders that say what a column is."""
    parts = {"part-0.snappy.parquet": ROWS[0], "licence=cc%20by/part-1.parquet": ROWS[1]}
    parts["licence=__HIVE_DEFAULT_PARTITION__/part-2.parquet"] = {"recording_id": "2", "audio_uri": "c.ogg"}
    for name, value in parts.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(pa.Table.from_pylist([value]), folder / name)
    for name in ("_SUCCESS", "_metadata", ".part-0.parquet.crc", "_temporary/0/part-9.parquet"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"none of the rows")
    return folder


@pytest.mark.parametrize("pattern", ["songs.parquet", "songs.parquet/", "*.parquet", "s*"])
def test_a_folder_of_parts_is_a_table(tmp_path: Path, pattern: str) -> None:
    write_folder(tmp_path / "songs.parquet")
    (tmp_path / "sound").mkdir()  # a folder that a pattern names as well and that is no table
    (tmp_path / "sound" / "a.ogg").write_bytes(b"")
    rows = [row for path in find_tables([str(tmp_path / pattern)], "--catalog") for row in read(Path(path))]
    by_id = {row["recording_id"]: row for row in rows}
    assert by_id == {
        "01": ROWS[0],
        "1": {**ROWS[1], "licence": "cc by"},
        "2": {"recording_id": "2", "audio_uri": "c.ogg"},
    }
    assert len(rows) == 3


def test_folders_that_are_no_table(tmp_path: Path) -> None:
    (tmp_path / "empty.csv").mkdir()
    (tmp_path / "empty.csv" / "_SUCCESS").write_bytes(b"")
    for name, said in (("empty.csv", "without any file of rows"), ("", "is a folder; name its tables")):
        with pytest.raises(InputError, match=said):
            find_tables([str(tmp_path / name)], "--catalog")


def test_media_of_a_folder_of_parts(tmp_path: Path) -> None:
    part = tmp_path / "in" / "songs.parquet" / "licence=cc0"
    part.mkdir(parents=True)
    for place in (tmp_path / "in" / "a.ogg", part / "b.ogg", tmp_path / "c.ogg"):
        place.write_bytes(b"x")
    for uri, there in (("a.ogg", "in/a.ogg"), ("../../a.ogg", "in/a.ogg"), ("b.ogg", f"{part}/b.ogg")):
        assert resolve(uri, base_uri=str(part), allow_roots=()) == bytes(tmp_path / there)
    with pytest.raises(FetchError, match="outside_root"):
        resolve("../c.ogg", base_uri=str(part), allow_roots=())


def test_composed_and_decomposed_names_find_each_others_file(tmp_path: Path) -> None:
    forms = [unicodedata.normalize(form, "Été/ñandú.ogg") for form in ("NFC", "NFD")]
    for there, asked in itertools.permutations(forms):
        base = tmp_path / f"base{len(there)}"
        (base / there).parent.mkdir(parents=True)
        (base / there).write_bytes(b"x")
        assert resolve(asked, base_uri=str(base), allow_roots=()) == bytes(base / there)
        assert resolve(str(base / asked), base_uri="/nowhere", allow_roots=[str(base)]) == bytes(base / there)
        mixed = f"{there.split('/')[0]}/{asked.split('/')[1]}"
        assert resolve(mixed, base_uri=str(base), allow_roots=()) == bytes(base / there)
        missing = asked.replace("and", "end")
        assert resolve(missing, base_uri=str(base), allow_roots=()) == bytes(base / missing)
    both = tmp_path / "both"
    for form in forms:
        (both / form).parent.mkdir(parents=True)
        (both / form).write_bytes(b"x")
    assert [resolve(form, base_uri=str(both), allow_roots=()) for form in forms] == [bytes(both / f) for f in forms]
    outside = both / forms[0].split("/")[0] / unicodedata.normalize("NFC", "à.ogg")
    outside.symlink_to("/etc/hosts")
    with pytest.raises(FetchError, match="outside_root"):
        resolve(unicodedata.normalize("NFD", "Été/à.ogg"), base_uri=str(both), allow_roots=())


def test_a_preview_counts_what_each_field_has_and_where_from(tmp_path: Path) -> None:
    lines = [f'{i}.0,a.ogg,Song {i},"rock, slow",x' for i in range(5)] + ["6,,,\"['a']\",", 'nan,a.ogg,,"[""b""]",']
    (tmp_path / "c.csv").write_text("recording_id,audio_uri,titel,tags,mood\n" + "\n".join(lines) + "\n")
    said = preview(CATALOGUE, (str(tmp_path / "c.csv"),), {}, None).render()
    assert "catalogue: 7 rows, 6 of which can be used" in said
    for words in (
        ("recording_id", "7"),
        ("audio_uri", "6"),
        ("title", "0", *["there", "is", "no", "column", "title;", "is", "it", "titel?", "--map", "title=titel"]),
        ("tags", "7"),
        ("not", "used", "titel,", "mood"),
    ):
        assert list(words) in [line.split() for line in said.splitlines()]
    assert "looks like several: 5;" in said
    assert "as Python writes them: 1;" in said
    assert "JSON array: 1" in said
    assert "12.0 or nan, and stay so: 6;" in said
    assert "rows that cannot be used: 1; the first:" in said
    assert said.count("sample ") == 3
    (tmp_path / "c.parquet").mkdir()
    pq.write_table(pa.table({"video": [1], "body": ["warm"], "other": [b"\xff"]}), tmp_path / "t.parquet")
    columns = {"comments": {"recording_id": "video", "text": "bdy"}}
    job = JobSettings(output="x", catalogues=(), comments=(str(tmp_path / "t.parquet"),), columns=columns)
    (comments,) = previews(job)
    assert "column video" in comments.render()
    assert "there is no column bdy; is it body? --map comments.text=body" in comments.render()
    assert "not used       body, other" in comments.render()


@pytest.mark.slow
def test_a_dry_run_shows_the_tables_and_no_row_says_the_first_reason(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    catalogue = write_catalogue(tmp_path, [made_row(0), made_row(1)])
    assert mine(catalogue, tmp_path / "run", "--dry_run", "--map", "recording_id=id") == 2
    out, err = capsys.readouterr()
    assert "catalogue: 2 rows, 0 of which can be used" in out
    said = f"{err}{caplog.text}"
    assert f"no row can be used (2 read); the first: {catalogue}:1: missing_field: recording_id is missing" in said
    assert "(--map recording_id=COLUMN)" in said
    assert parse_catalogue_row(made_row(0)).recording_id == "rec-000"
