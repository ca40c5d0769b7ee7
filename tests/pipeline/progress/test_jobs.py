"""Progress of whole jobs: what lines, metrics file and Beam's counters say is what the report says in the end."""

import json
import logging
import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import apache_beam as beam
import pytest

from beam_runner import main
from pipeline.progress import shown, watching
from pipeline.progress.counters import NAMESPACE, RECORDINGS, account_of, read_counters
from pipeline.progress.watching import View, _Building, _Reading
from pipeline.run_folder.generations import RunState
from schemas.accounting import Account
from schemas.reasons import Reason
from tests.pipeline.jobs import running, wait_until
from tests.pipeline.mining import report, row, write_catalogue
from tests.pipeline.misbehaving import Misbehaving
from tests.pipeline.progress.test_metrics_file import labels, samples

pytestmark = pytest.mark.slow

HELD = "/held"


class Mined:
    """One run that nothing disturbs: six good recordings, one that is not there, a repeated row, a bad one."""

    def __init__(self, folder: Path) -> None:
        rows = [row(number) for number in range(6)]
        catalogue = write_catalogue(folder, [*rows, row(40, audio_uri="audio/nothing.ogg"), row(0, title="Again")])
        self.catalogue = catalogue
        with catalogue.open("a", encoding="utf-8") as lines:
            lines.write("not JSON\n")
        comments = folder / "comments.jsonl"
        comments.write_text('{"recording_id": "rec-001", "text": "So warm and slow, I love the strings."}\n')
        self.output, self.metrics = folder / "run", folder / "job.prom"
        self.results: list[Any] = []
        self.lines: list[str] = []
        run = beam.Pipeline.run

        def kept(pipeline: Any, *of: Any, **more: Any) -> Any:
            self.results.append(run(pipeline, *of, **more))
            return self.results[-1]

        listener = logging.Handler()
        listener.emit = lambda record: self.lines.append(record.getMessage())  # type: ignore[method-assign]
        logging.getLogger("pipeline").addHandler(listener)
        try:
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(beam.Pipeline, "run", kept)
                patch.setattr(watching, "LOOK_EVERY_S", 0.05)
                patch.setattr(shown, "FIRST_LINE_S", 0.0)
                patch.setattr(shown, "LINE_EVERY_S", 0.0)
                self.code = main(
                    [
                        *("--catalog", str(catalogue), "--comments", str(comments), "--output", str(self.output)),
                        *("--tokenizer", "none", "--rows_per_shard", "4", "--metrics_file", str(self.metrics)),
                    ]
                )
        finally:
            logging.getLogger("pipeline").removeHandler(listener)
        self.report = report(self.output)

    def counters(self, begin: str) -> dict[str, int]:
        """Of all pipelines."""
        found: dict[str, int] = {}
        for result in self.results:
            found |= {
                name.removeprefix(begin): n for name, n in read_counters(result).items() if name.startswith(begin)
            }
        return found


@pytest.fixture(scope="module")
def mined(tmp_path_factory: pytest.TempPathFactory) -> Mined:
    return Mined(tmp_path_factory.mktemp("mined"))


def test_beam_counts_what_the_report_says(mined: Mined) -> None:
    assert len(mined.results) == 3  # survey, plan, build
    (plan,) = [json.loads(path.read_text()) for path in mined.output.glob("plans/*/plan.json")]
    survey = read_counters(mined.results[0])
    rows = {name.removeprefix("rows.catalogue."): n for name, n in survey.items() if name.startswith("rows.catalogue.")}
    assert account_of({"kept": plan["recordings"], **rows}).to_json() == plan["rows"]
    assert survey["rows.catalogue"] == plan["rows"]["read"] == 9
    assert account_of({**mined.counters("recordings."), **rows}) == Account.from_json(mined.report["recordings"])
    for source, account in mined.report["annotations"].items():
        counted = {name: n for name, n in mined.counters(f"annotations.{source}.").items() if n}
        assert account_of(counted).to_json() == account
    assert mined.counters("")["rows.comments"] == 1
    assert mined.counters("plan.") == {"recordings": 7}
    taken = mined.results[2].metrics().query(beam.metrics.MetricsFilter().with_namespace(NAMESPACE))["distributions"]
    assert {one.key.metric.name: one.result.count for one in taken} == {
        "fetch_ms": 7,
        **dict.fromkeys(("decode_ms", "detect_ms", "encode_ms"), 6),
    }


def test_an_engine_that_gives_counters_is_believed_until_records_say_more(mined: Mined, tmp_path: Path) -> None:
    parts = RunState.read(str(mined.output)).live_parts()
    stage = _Building(str(tmp_path), [(part, None) for part in parts], "config")
    view = View()
    view.job = mined.results[2]
    assert stage.look([], view, is_over=False).account == Account(kept=6, left_out={Reason.NOT_FOUND: 1})
    assert stage.look([], view, is_over=True).account == Account()
    view = View()
    view.job = mined.results[0]
    read = _Reading("survey", mined.catalogue.stat().st_size, 0).look([], view, is_over=False)
    assert (read.rows, read.done, read.total) == ({"catalogue": 9}, *(2 * (mined.catalogue.stat().st_size,)))
    assert read.rows_left_out == {"catalogue": {"not_json": 1, "repeated_id": 1}}


def test_lines_tell_of_each_stage(mined: Mined) -> None:
    assert (
        mined.lines[-1] == "build: 7 of 7 recordings (100%); 6 kept, 0 dropped, 1 failed (1 not_found); 2 of 2 shards"
    )
    under_way = [line for line in mined.lines if line.startswith("build: ") and "recordings" in line]
    assert any(not line.startswith(("build: 0 ", "build: 7 ")) for line in under_way)
    assert any(line.startswith("survey: 9 rows, 0.0 of 0.0 MB (100%)") for line in mined.lines)
    assert any(line.startswith("plan: 7 of 7 recordings (100%)") for line in mined.lines)


def test_the_metrics_file_ends_as_the_report_does(mined: Mined) -> None:
    found = samples(mined.metrics, str(mined.output))
    settled = {dict(of)["reason"]: n for (name, of), n in found.items() if name == f"{RECORDINGS}_total"}
    assert settled == {"": 6, "not_found": 1}
    assert found["rows_read_total", labels(table="catalogue", stage="survey")] == 9
    assert found["rows_left_out_total", labels(table="catalogue", stage="survey", reason="repeated_id")] == 1
    assert found["rows_read_total", labels(table="comments", stage="plan")] == 1
    assert found["shards_committed", labels()] == found["shards_planned", labels()] == 2
    assert found["exit_code", labels()] == mined.code == 1  # one of seven failed


@pytest.fixture
def gate() -> Iterator[threading.Event]:
    gate = threading.Event()
    yield gate
    gate.set()


def test_workers_tell_recording_by_recording(tmp_path: Path, gate: threading.Event) -> None:
    """One shard; its fourth recording is held by the server, so that it cannot be committed."""
    rows = [row(number, comments=[]) for number in range(3)]
    write_catalogue(tmp_path, [*rows, row(9)])
    hook = tmp_path / "hook"
    hook.mkdir()
    (hook / "sitecustomize.py").write_text("import pipeline.progress.watching as one\none.STUCK_S = 2.0\n")
    metrics, output = tmp_path / "job.prom", tmp_path / "run"
    with Misbehaving({HELD: (tmp_path / "audio" / "009.flac").read_bytes()}) as server:
        server.before = lambda path: (gate.wait(300), None)[1]
        # Rows of a shard are in the order of their sources, then of their ids: this one has more, and is the last.
        catalogue = write_catalogue(tmp_path, [*rows, row(9, audio_uri=server.url(HELD))])
        options = ("--rows_per_shard", "9", "--direct_num_workers", "2", "--allow_private_hosts", server.host_and_port)
        more = ("--metrics_file", str(metrics))
        with running(tmp_path, catalogue, output, *options, *more, PYTHONPATH=str(hook)) as job:
            worker = job.worker_with("rec-009")
            line = f"worker process {worker} has been on recording 'rec-009' (fetch) for "
            wait_until(lambda: line in job.said(), "nobody named the recording")
            found = samples(metrics, str(output))
            assert not list(output.glob("commits/*"))
            assert found["recordings_total", labels(outcome="kept", reason="")] == 3
            assert found["stage", labels(stage="build")] == 1
            assert found["recording_in_hand_seconds", labels()] >= 1
            os.kill(job.process.pid, signal.SIGTERM)
            assert job.end() == 3
            assert line in job.said_lines()[0]
            assert samples(metrics, str(output))["exit_code", labels()] == 3
