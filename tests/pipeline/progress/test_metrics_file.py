"""`--metrics_file`: what Prometheus' own parser reads of it, and what a path that cannot be written to comes to."""

import os
import stat
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from beam_runner import main
from pipeline.progress.metrics_file import METRICS, PREFIX, MetricsFile
from tests.pipeline.progress.test_snapshot import BUILDING, READING

Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


def samples(path: Path, run: str) -> Samples:
    """Name and labels → value, of a file that is well-formed and whose metrics say what they are."""
    found: Samples = {}
    for family in text_string_to_metric_families(path.read_text(encoding="utf-8")):
        assert family.documentation
        name = family.name.removeprefix(PREFIX)
        assert METRICS[f"{name}_total" if family.type == "counter" else name][0] == family.type
        for sample in family.samples:
            assert sample.labels.pop("run") == run
            key = sample.name.removeprefix(PREFIX), frozenset(sample.labels.items())
            assert key not in found
            found[key] = sample.value
    return found


def labels(**given: str) -> frozenset[tuple[str, str]]:
    return frozenset(given.items())


def test_what_a_parser_reads(tmp_path: Path) -> None:
    run = 'runs/a "b"\\c\nd é'
    path = tmp_path / "job.prom"
    before = os.umask(0o077)
    try:
        metrics = MetricsFile(str(path), run)
        assert stat.S_IMODE(path.stat().st_mode) == 0o644
        assert not any(name == "exit_code" for name, _ in samples(path, run))
        metrics.show(READING)
        assert samples(path, run)["stage", labels(stage="survey")] == 1
        metrics.show(BUILDING)
    finally:
        os.umask(before)
    found = samples(path, run)
    assert found["recordings_total", labels(outcome="kept", reason="")] == 250
    assert found["recordings_total", labels(outcome="dropped", reason="not_music")] == 1_040
    assert found["recordings_total", labels(outcome="failed_permanent", reason="not_found")] == 12
    assert found["rows_read_total", labels(table="catalogue", stage="survey")] == 12_345
    assert found["time_left_seconds", labels()] == 166.4
    assert [found["stage", labels(stage=name)] for name in ("survey", "build")] == [0, 1]
    assert found["last_progress_timestamp_seconds", labels()] >= found["start_timestamp_seconds", labels()] > 1.7e9
    metrics.end(3)
    metrics.show(READING)  # of a thread that comes late
    found = samples(path, run)
    assert found["exit_code", labels()] == 3
    assert sum(value for (name, _), value in found.items() if name == "stage") == 0
    assert {name for name, _ in found} == set(METRICS)
    assert [file.name for file in tmp_path.iterdir()] == ["job.prom"]


def test_progress_has_a_time_only_where_there_is_some(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "job.prom"
    metrics = MetricsFile(str(path), "run")
    at = ("last_progress_timestamp_seconds", labels())
    for moment, shown, expected in ((10.0, READING, 10.0), (20.0, READING, 10.0), (30.0, BUILDING, 30.0)):
        monkeypatch.setattr("time.time", lambda moment=moment: moment)
        metrics.show(shown)
        assert samples(path, "run")[at] == expected


def test_a_file_that_cannot_be_written_any_more_ends_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    metrics = MetricsFile(str(folder / "job.prom"), "run")
    (folder / "job.prom").unlink()
    folder.rmdir()
    metrics.show(READING)
    metrics.end(0)
    assert len(caplog.messages) == 1


@pytest.mark.parametrize(
    "name", ["", ".", "nowhere/job.prom", "catalog.jsonl/job.prom", "/dev/null", "s3://b/job.prom"]
)
def test_a_bad_path_is_one_line_before_any_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "catalog.jsonl").touch()
    assert main(["--catalog", "catalog.jsonl", "--output", "run", "--metrics_file", name]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"mulan mine: --metrics_file {name}: cannot be written (")
    assert [file.name for file in tmp_path.iterdir()] == ["catalog.jsonl"]


def test_a_link_is_followed_and_stays(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "job.prom")
    MetricsFile(str(tmp_path / "link"), "run").end(0)
    assert (tmp_path / "link").is_symlink()
    assert samples(tmp_path / "job.prom", "run")["exit_code", labels()] == 0
