"""One row never ends a job: whatever is wrong with it is a reject, and its neighbours are what they were without it."""

import errno
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

from filters.music.load import load_detector
from pipeline import build
from pipeline.catalogue import CATALOGUE, Reject, read_table
from pipeline.media.clip import DecoderUnavailableError
from pipeline.media.encode import encode
from pipeline.media.fetching import objects
from pipeline.settings import MineConfig
from schemas.reasons import Reason
from tests.pipeline.mining import mine, rejects, report, row, shard_hashes, write_catalogue

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
VIDEO = "https://www.youtube.com/watch?v=dQw4w9WgXcQ"
LAX = "--max_failure_rate=1"


def reasons(output: Path) -> dict[str, str]:
    return {value["recording_id"]: value["reason"] for value in rejects(output)}


def test_a_video_where_yt_dlp_is_not_installed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setitem(sys.modules, "yt_dlp", None)  # what an import then finds: nothing
    catalogue = write_catalogue(tmp_path, [row(0), row(1, audio_uri=VIDEO), row(2)])
    output = tmp_path / "run"
    assert mine(catalogue, output, LAX) == 0
    assert report(output)["recordings"]["kept"] == 2
    (reject,) = rejects(output)
    assert (reject["recording_id"], reject["reason"]) == ("rec-001", "client_missing")
    assert "pip install 'openmulan[youtube]'" in reject["detail"]
    assert [record.message for record in caplog.records if "YouTube" in record.message] == [
        "recordings of YouTube are left out: yt-dlp is not installed: pip install 'openmulan[youtube]'; then run the "
        "same command again"
    ]
    # Once it is installed, the same command tries again.
    assert reject["outcome"] == "failed_transient"


def test_a_clip_of_less_than_a_sample(tmp_path: Path) -> None:
    seconds = (1e-9, 0.00002, 0.99 / 16_000, 1 / 16_000, 4.0)
    catalogue = write_catalogue(tmp_path, [row(i, duration_s=value) for i, value in enumerate(seconds)])
    output = tmp_path / "run"
    assert mine(catalogue, output, LAX) == 0
    assert report(output)["recordings"]["kept"] == 2
    assert [(value["recording_id"], value["reason"], value["line"]) for value in rejects(output)] == [
        (f"rec-{i:03d}", "bad_value", i + 1) for i in range(3)
    ]


def test_names_that_the_locale_has_no_letters_for(tmp_path: Path) -> None:
    """The same bytes as under any other locale, and a report that can be printed."""
    names = ("Ünïcode", "été", "音楽")
    catalogue = write_catalogue(tmp_path, [row(i) for i in range(4)])
    for i, name in enumerate(names):
        os.rename(tmp_path / "audio" / f"{i:03d}.flac", os.fsencode(tmp_path / "audio") + f"/{name}.flac".encode())
    rows = [row(i, audio_uri=f"audio/{name}.flac", title=name) for i, name in enumerate([*names, "003"])]
    catalogue.write_text("".join(json.dumps(value) + "\n" for value in rows), encoding="utf-8")
    output = tmp_path / "c"
    done = subprocess.run(
        [
            *(sys.executable, str(ROOT / "beam_runner.py"), "--catalog", str(catalogue), "--output", str(output)),
            *("--tokenizer", "none"),
        ],
        env={**os.environ, "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "4 kept" in done.stdout
    assert "Traceback" not in done.stderr
    assert mine(catalogue, tmp_path / "here") == 0
    assert shard_hashes(output) == shard_hashes(tmp_path / "here")


def failing(error: BaseException, at: int = 2) -> Any:
    """An encoder that fails for one of the recordings that it gets."""
    seen: list[None] = []

    def encode_or_fail(pcm_T: Any, encoding: Any) -> bytes:
        seen.append(None)
        if len(seen) == at:
            raise error
        return encode(pcm_T, encoding)

    return encode_or_fail


def test_what_nobody_foresaw_costs_one_recording(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    catalogue = write_catalogue(tmp_path, [row(i) for i in range(3)])
    output = tmp_path / "run"
    with monkeypatch.context() as patched:
        patched.setattr(build, "encode", failing(ValueError("no such thing\nas \ud800")))
        assert mine(catalogue, output, LAX) == 0
    assert report(output)["recordings"]["kept"] == 2
    (reject,) = rejects(output)
    assert (reject["recording_id"], reject["reason"]) == ("rec-001", "unexpected_error")
    assert reject["detail"] == "ValueError: no such thing?as ?"
    # It is tried again, and gives what it would have given at once.
    assert mine(catalogue, output) == 0
    assert mine(catalogue, tmp_path / "undisturbed") == 0
    assert rejects(output) == []
    assert sorted(shard_hashes(output).values()) == sorted(shard_hashes(tmp_path / "undisturbed").values())


def test_a_full_disk_reaches_the_runner(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    catalogue = write_catalogue(tmp_path, [row(i) for i in range(3)])
    output = tmp_path / "run"
    with monkeypatch.context() as patched:
        patched.setattr(build, "encode", failing(OSError(errno.ENOSPC, "No space left on device")))
        assert mine(catalogue, output, LAX) == 3
    assert not list(output.glob("rejects/*"))
    assert mine(catalogue, output) == 0
    assert report(output)["recordings"]["kept"] == 3


@pytest.fixture
def maker(tmp_path: Path) -> Iterator[build.ClipMaker]:
    write_catalogue(tmp_path, [row(0)])
    detector = load_detector(MineConfig().detector)
    made = build.ClipMaker(MineConfig(detector_digest=detector.digest), ())
    yield made
    made.close()


def planned(folder: Path, **changes: Any) -> dict[str, Any]:
    return {
        "recording_id": "rec-000",
        "audio_uri": "audio/000.flac",
        "base_uri": str(folder),
        "start_s": 0.0,
        "duration_s": 1.0,
        "music_gate": "score_only",
        **changes,
    }


@pytest.mark.parametrize(
    ("error", "is_of_row"),
    [
        (UnicodeEncodeError("ascii", "Ü", 0, 1, "ordinal not in range"), True),
        (RuntimeError("a library gave up"), True),
        (OSError(errno.EINVAL, "Invalid argument"), True),
        (KeyError("start_s"), True),
        (AssertionError(), True),
        (OSError(errno.ENOSPC, "No space left on device"), False),
        (OSError(errno.EMFILE, "Too many open files"), False),
        (MemoryError(), False),
        (DecoderUnavailableError("no decoder"), False),
        (KeyboardInterrupt(), False),
    ],
    ids=lambda value: repr(value)[:40],
)
def test_whose_fault_an_error_is(
    maker: build.ClipMaker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException, is_of_row: bool
) -> None:
    maker.make(planned(tmp_path))
    monkeypatch.setattr(build, "encode", failing(error, at=1))
    with pytest.raises(build.Rejected if is_of_row else type(error)) as caught:
        maker.make(planned(tmp_path))
    if isinstance(caught.value, build.Rejected):
        assert caught.value.reason is Reason.UNEXPECTED_ERROR
        assert caught.value.detail.startswith(type(error).__name__)


def test_a_plan_of_an_older_version_may_hold_what_is_refused_now(maker: build.ClipMaker, tmp_path: Path) -> None:
    with pytest.raises(build.Rejected) as caught:
        maker.make(planned(tmp_path, duration_s=0.00002))
    assert caught.value.reason is Reason.UNEXPECTED_ERROR
    assert maker.make(planned(tmp_path))["recording_id"] == "rec-000"


@pytest.mark.parametrize(
    "error", [ImportError("boto3"), AssertionError("Missing `boto3` requirement")], ids=lambda e: type(e).__name__
)
def test_a_store_without_its_client_is_tried_again_once_there_is_one(error: Exception) -> None:
    assert objects._reason_of(error) is Reason.CLIENT_MISSING


def read_parquet(path: Path, table: pa.Table) -> tuple[list[str], list[Reject]]:
    pq.write_table(table, path)
    found = list(read_table(CATALOGUE, str(path), {}))
    return (
        [item[1].recording_id for item in found if not isinstance(item, Reject)],
        [item for item in found if isinstance(item, Reject)],
    )


def test_values_of_parquet_that_python_has_not(tmp_path: Path) -> None:
    names = pa.array(["a.flac", "b.flac", "c.flac"])
    # A date beyond the calendar, in a column that nobody asks for and in one that is read.
    days = pa.array([0, 2**31 - 1, 1], pa.date32())
    columns = {"recording_id": pa.array(["a", "b", "c"]), "audio_uri": names}
    assert read_parquet(tmp_path / "t.parquet", pa.table({**columns, "uploaded": days})) == (["a", "b", "c"], [])
    used, rejected = read_parquet(tmp_path / "t.parquet", pa.table({**columns, "title": days}))
    assert used == []
    assert [(one.line, one.reason) for one in rejected] == [
        (1, Reason.WRONG_TYPE),
        (2, Reason.BAD_VALUE),
        (3, Reason.WRONG_TYPE),
    ]
    # Bytes that are no text under a column that says it is.
    offsets, content = np.array([0, 1, 3, 4], np.int32), b"a\xff\xfec"
    broken = pa.StringArray.from_buffers(3, pa.py_buffer(offsets), pa.py_buffer(content))
    used, rejected = read_parquet(tmp_path / "t.parquet", pa.table({**columns, "recording_id": broken}))
    assert used == ["a", "c"]
    assert [(one.line, one.reason) for one in rejected] == [(2, Reason.NOT_UTF8)]
