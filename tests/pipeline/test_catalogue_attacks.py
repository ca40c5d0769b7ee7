"""Catalogues that mean harm, through the reader and through the job."""

import gzip
import json
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline import catalogue
from pipeline.catalogue import CATALOGUE, Reject, read_table, without_secrets
from schemas.reasons import Reason
from tests.pipeline.mining import mine, rejects, report, row, write_chord

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]


def reasons(path: Path) -> Counter[str]:
    return Counter(
        str(item.reason) if isinstance(item, Reject) else "row" for item in read_table(CATALOGUE, str(path), {})
    )


ATTACKS: dict[str, tuple[dict[str, Any], str | None]] = {
    "parent folder": ({"audio_uri": "../../../etc/passwd"}, "outside_root"),
    "parent folder inside": ({"audio_uri": "audio/../../secret.flac"}, "outside_root"),
    "absolute": ({"audio_uri": "/etc/passwd"}, "outside_root"),
    "file scheme": ({"audio_uri": "file:///etc/passwd"}, "unsupported_uri"),
    "file scheme in capitals": ({"audio_uri": "FILE:///etc/passwd"}, "unsupported_uri"),
    "other scheme": ({"audio_uri": "concat:/etc/passwd|x"}, "not_found"),
    "ffmpeg's subfile": ({"audio_uri": "subfile,,start,0,end,9,,:/etc/passwd"}, "not_found"),
    "ffmpeg's pipe": ({"audio_uri": "pipe:0"}, "not_found"),
    "data": ({"audio_uri": "data:audio/wav;base64,UklGRg=="}, "not_found"),
    "shell": ({"audio_uri": "$(touch pwned)"}, "not_found"),
    "credentials": ({"audio_uri": "https://user:hunter2@media.example/a.ogg"}, "credentials_in_uri"),
    "signed and private": ({"audio_uri": "http://127.0.0.1:1/a.ogg?X-Signature=hunter2"}, "private_address"),
    "metadata service": ({"audio_uri": "http://169.254.169.254/latest/meta-data/"}, "private_address"),
    "number as address": ({"audio_uri": "http://2130706433/"}, "private_address"),
    "mapped address": ({"audio_uri": "http://[::ffff:7f00:1]/"}, "private_address"),
    "line break": ({"audio_uri": "http://media.example/a\r\nHost: evil"}, "bad_value"),
    "NUL in path": ({"audio_uri": "audio/good.flac\0.txt"}, "bad_value"),
    "object of another": ({"audio_uri": "s3://private/secret.ogg"}, "outside_root"),
    "NUL in id": ({"recording_id": "a\0b"}, "bad_value"),
    "ten kilobytes of id": ({"recording_id": "x" * 10_240}, "bad_value"),
    "ten kilobytes of uri": ({"audio_uri": "x" * 10_240}, "bad_value"),
    "lone surrogate": ({"recording_id": "\ud800"}, "not_utf8"),
    "slashes in id": ({"recording_id": "../../../tmp/../x"}, None),
    "absolute id": ({"recording_id": "/etc/cron.d/x"}, None),
    "device as id": ({"recording_id": "CON:"}, None),
    "formula": ({"recording_id": "=cmd|' /C calc'!A0", "title": '=HYPERLINK("http://evil")'}, None),
    "script": ({"recording_id": "<script>alert(1)</script>", "title": "<img src=x onerror=alert(1)>"}, None),
    "escape codes": ({"title": "\x1b]0;owned\x07", "recording_id": "esc"}, None),
    "type": ({"recording_id": {"$gt": ""}}, "wrong_type"),
    "true as number": ({"start_s": True}, "wrong_type"),
    "endless": ({"start_s": 1e308, "recording_id": "endless"}, "bad_value"),
    "negative": ({"duration_s": -1}, "bad_value"),
}


def test_each_attack_is_a_reject_or_harmless_and_nothing_leaks(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "inner"
    (folder / "audio").mkdir(parents=True)
    write_chord(folder / "audio" / "good.flac", seed=1)
    write_chord(tmp_path / "secret.flac", seed=2)
    expected: Counter[str] = Counter()
    lines = []
    for number, (change, reason) in enumerate(ATTACKS.values()):
        lines.append(json.dumps({**row(number, audio_uri="audio/good.flac"), **change}))
        expected[reason or "kept"] += 1
    deep = '{"recording_id": "deep", "audio_uri": "audio/good.flac", "x": ' + "[" * 200_000 + "]" * 200_000 + "}"
    bad_and_deep = '{"recording_id": 7, "x": ' + "[" * 400 + "]" * 400 + "}"
    digits = '{"recording_id": "d", "audio_uri": "audio/good.flac", "start_s": ' + "9" * 5_000 + "}"
    place = '"audio_uri": "audio/good.flac", "start_s": 1, "duration_s": 1'
    twice = '{"recording_id": "first", "recording_id": "second", ' + place + "}"
    nan = '{"recording_id": "n", "audio_uri": "audio/good.flac", "start_s": NaN}'
    leaky = '{"audio_uri": "https://user:hunter2@media.example/' + "a" * 200 + '?sig=hunter2"}'
    lines += [deep, bad_and_deep, digits, twice, nan, leaky]
    expected += Counter({"not_json": 2, "too_short": 1, "missing_field": 2, "kept": 1})
    (folder / "catalog.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")

    assert mine(folder / "catalog.jsonl", tmp_path / "run", "--max_failure_rate=1", "--fetch_attempts=1") == 0
    recordings = report(tmp_path / "run")["recordings"]
    found = Counter({"kept": recordings["kept"]})
    for outcome in ("dropped", "failed_transient", "failed_permanent"):
        found.update(recordings.get(outcome, {}))
    assert found == expected
    assert recordings["read"] == len(lines)

    said = capfd.readouterr()
    files = [path for path in (tmp_path / "run").rglob("*") if path.suffix in (".jsonl", ".json", ".html")]
    for text in (said.out, said.err, *(path.read_text(encoding="utf-8") for path in files)):
        assert "hunter2" not in text
        assert "root:x:0" not in text
        assert "<script>alert(1)" not in text
        assert "\x1b" not in text
    assert {path.name for path in tmp_path.iterdir()} == {"inner", "secret.flac", "run"}
    assert not list(Path.cwd().glob("pwned"))
    assert any(value["recording_id"] is None for value in rejects(tmp_path / "run"))


def test_addresses_in_what_is_shown_have_no_secrets() -> None:
    assert without_secrets("see https://u:p@host/x?sig=1#f and s3://k@b/c") == "see https://…@host/x?… and s3://…@b/c"
    assert without_secrets("a@b.example is no address, nor is 1?2") == "a@b.example is no address, nor is 1?2"


def test_quotes_that_never_close_cost_one_row_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(catalogue, "MAX_LINE_BYTES", 10_000)
    head = "recording_id,audio_uri\nr1,a.ogg\n"
    path = tmp_path / "open.csv"
    path.write_text(head + '"' + 'x\n","' * 30_000, encoding="utf-8")
    found = reasons(path)
    assert found["row"] == 1
    assert found["line_too_long"] == 1
    assert set(found) == {"row", "line_too_long", "bad_value", "missing_field"}
    path.write_text(head + 'r2,"' + "never closed\n" * 3_000 + "r3,c.ogg\n", encoding="utf-8")
    found = reasons(path)
    assert found["row"] == 2
    assert found["line_too_long"] == 1


def test_a_file_of_nothing_but_bad_rows_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(catalogue, "MAX_REJECTS", 50)
    path = tmp_path / "bad.jsonl"
    path.write_text('{"recording_id": "r", "audio_uri": "x"}\n' + "x\n" * 1_000, encoding="utf-8")
    assert reasons(path) == {"row": 1, "not_json": 50, str(Reason.UNREADABLE_FILE): 1}


READ_BOMBS = """
import resource, sys
from pipeline import catalogue
catalogue.GZIP_RATIO_FROM_BYTES = 1 << 20  # so that the bombs can be small
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for path in sys.argv[1:]:
    for last in catalogue.read_table(catalogue.CATALOGUE, path, {}):
        pass
    print(last.reason)
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""


def test_gzip_bombs_are_given_up_in_little_memory(tmp_path: Path) -> None:
    bombs = {"line": [b"\0" * (1 << 20)] * 128, "rows": [b'{"a": 1}\n' * (1 << 19)], "blank": [b"\n" * (4 << 20)]}
    paths = []
    for name, units in bombs.items():
        paths.append(tmp_path / f"{name}.jsonl.gz")
        with gzip.open(paths[-1], "wb", compresslevel=6) as stream:
            for unit in units:
                stream.write(unit)
    done = subprocess.run(
        [sys.executable, "-c", READ_BOMBS, *map(str, paths)], cwd=ROOT, capture_output=True, text=True, check=True
    )
    *found, more_mib = done.stdout.split()
    assert found == ["unreadable_file"] * 3
    assert int(more_mib) < 100


def test_a_parquet_bomb_is_given_up_by_its_own_account(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "bomb.parquet"
    table = pa.table({"recording_id": ["r"] * 10, "audio_uri": ["x" * 100_000] * 10})
    pq.write_table(table, path, compression="zstd", use_dictionary=False)
    assert path.stat().st_size < 10_000
    assert reasons(path) == {"bad_value": 10}
    monkeypatch.setattr(catalogue, "MAX_ROW_GROUP_BYTES", 500_000)
    assert reasons(path) == {"unreadable_file": 1}
