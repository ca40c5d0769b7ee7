"""`mulan report --verify`: what a disk has changed under a committed file is found, and comes back."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.report_command import main
from tests.pipeline.mining import manifest, mine, row, shard_hashes, write_catalogue

pytestmark = pytest.mark.slow

OPTIONS = ("--rows_per_shard=3", "--max_failure_rate=0.5")


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("corpus")
    rows = [row(number) for number in range(6)]
    write_catalogue(folder, [*rows, row(40, audio_uri="audio/nothing.ogg")], "first.jsonl")
    write_catalogue(folder, [*rows[1:], row(7), row(40, audio_uri="audio/nothing.ogg")], "second.jsonl")
    return folder


@pytest.fixture(scope="module", params=["parquet", "tfrecord"])
def mined(request: pytest.FixtureRequest, corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two generations, the second without a recording of the first."""
    output = tmp_path_factory.mktemp("mined") / "run"
    options = (*OPTIONS, f"--format={request.param}")
    assert mine(corpus / "first.jsonl", output, *options) == 0
    assert mine(corpus / "second.jsonl", output, *options, "--on_removed=tombstone") == 0
    return output


@pytest.fixture
def run(mined: Path, tmp_path: Path) -> Path:
    shutil.copytree(mined, tmp_path / "run")
    return tmp_path / "run"


def flip(path: Path) -> None:
    """One bit, and neither size nor time tell of it."""
    status = path.stat()
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def verify(run: Path, capsys: pytest.CaptureFixture[str]) -> tuple[int, list[str]]:
    """The code, and what was said but for the last line, which has the totals."""
    code = main([str(run), "--verify"])
    *lines, totals = capsys.readouterr().out.splitlines()
    assert totals.endswith("all as their records say" if code == 0 else "damaged")
    return code, lines


def test_a_good_run(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    assert verify(run, capsys) == (0, [])
    assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == before, "it only reads"


def test_a_flipped_bit_is_found_in_every_committed_file(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    named = [path for pattern in ("shards/*", "rejects/*", "plans/*/part-*", "groups-*") for path in run.glob(pattern)]
    index = [path for path in named if path.name.endswith(".index.parquet")]
    assert len(named) > 8
    for path in set(named) - set(index):
        before = path.read_bytes()
        flip(path)
        code, lines = verify(run, capsys)
        assert code == 1
        assert len(lines) == 1
        assert lines[0].startswith(f"{path.relative_to(run)}: its content has changed (sha256); ")
        path.write_bytes(before)


def test_a_shard_comes_back_as_the_line_says(run: Path, corpus: Path, capsys: pytest.CaptureFixture[str]) -> None:
    hashes = shard_hashes(run)
    live = run / next(shard["path"] for shard in manifest(run)["shards"] if shard["generation"] == 2)
    old = run / next(
        path.relative_to(run) for path in sorted(run.glob("shards/g0001-*")) if str(path.relative_to(run)) not in hashes
    )
    for path in (live, old):
        flip(path)
    code, lines = verify(run, capsys)
    assert code == 1
    assert len(lines) == 2
    said = dict(line.split(": ", 1) for line in lines)
    assert "delete it and run the same `mulan mine` again" in said[str(live.relative_to(run))]
    assert "bring it back from a copy" in said[str(old.relative_to(run))], "an older manifest alone names it"
    live.unlink()
    options = (*OPTIONS, f"--format={live.name.partition('.')[2]}")
    assert mine(corpus / "second.jsonl", run, *options) == 0
    capsys.readouterr()
    assert shard_hashes(run) == hashes
    assert verify(run, capsys)[1] == [line for line in lines if old.name in line]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda run: next(run.glob("plans/g0002/part-*")).unlink(), "is gone; bring it back from a copy, or mine into"),
        (lambda run: next(run.glob("plans/g0002/removed-*")).write_text("{"), "is not whole"),
        (lambda run: (run / "manifest.json").write_text('{"manifest": "manifest-0009.json"}'), "manifest-0009.json"),
        (lambda run: (run / manifest(run)["shards"][0]["path"]).write_bytes(b"PAR1"), "has 4 bytes instead of "),
        (lambda run: next(run.glob("commits/g0002-*")).write_text("{}"), "is no whole record"),
    ],
    ids=["a part", "a tombstone", "the pointer", "a cut shard", "a commit record"],
)
def test_what_else_is_found(
    run: Path, change: Callable[[Path], object], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    change(run)
    code, lines = verify(run, capsys)
    assert code == 1
    assert any(said in line for line in lines), lines


def test_an_index_that_does_not_fit_its_shard(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = sorted(run.glob("shards/g0002-*.index.parquet"))
    if not found:
        pytest.skip("a Parquet shard has no index")
    found[0].write_bytes(found[1].read_bytes())
    code, lines = verify(run, capsys)
    assert code == 1
    assert lines[0].startswith(f"shards/{found[0].name}: ")


def test_where_there_is_no_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(tmp_path), "--verify"]) == 2
    assert "not the output folder of `mulan mine`" in capsys.readouterr().err
