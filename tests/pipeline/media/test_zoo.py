"""The whole zoo of hostile media through the real job: a reason each, and no harm to anyone else."""

import json
import os
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

from benchmarks.machine import children_cpu_s
from pipeline.media.clip import DecodeConfig
from schemas.run import Run
from tests.pipeline.media import zoo
from tests.pipeline.mining import mine, rejects, report, row, write_chord

pytestmark = pytest.mark.slow

NEIGHBOURS = 24
OPTIONS = ("--rows_per_shard=64", "--music_detector=builtin", "--max_failure_rate=1")
MEMORY_CAP_BYTES = 2 << 30
ROOT = Path(__file__).resolve().parents[3]


class Watch:
    """The largest resident size of a process and all that it started."""

    def __init__(self, pid: int) -> None:
        self.peak_bytes = 0
        self._process = psutil.Process(pid)
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)
        self._thread.start()

    def _look(self) -> None:
        while not self._done.wait(0.03):
            total = 0
            try:
                for process in [self._process, *self._process.children(recursive=True)]:
                    total += process.memory_info().rss
            except psutil.NoSuchProcess:
                continue
            self.peak_bytes = max(self.peak_bytes, total)

    def stop(self) -> int:
        self._done.set()
        self._thread.join()
        return self.peak_bytes


def write_rows(path: Path, rows: list[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(value) + "\n" for value in rows), encoding="utf-8")


@pytest.fixture(scope="module")
def visit(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """One run over all animals with sound neighbours between them, watched from outside."""
    folder = tmp_path_factory.mktemp("zoo")
    cage = folder / "cage"
    cage.mkdir()
    secret, control = folder / "secret.wav", folder / "control.wav"
    for path in (secret, control):
        write_chord(path, seed=1, seconds=3.0)
        os.utime(path, (1, time.time()))
    witness = socket.create_server(("127.0.0.1", 0))
    witness.settimeout(0.1)
    names = zoo.make(cage, f"http://127.0.0.1:{witness.getsockname()[1]}", secret)
    neighbours = [
        row(1_000 + i, audio_uri=f"neighbour-{i}.flac", start_s=zoo.START_S, duration_s=zoo.DURATION_S)
        for i in range(NEIGHBOURS)
    ]
    for i in range(NEIGHBOURS):
        write_chord(cage / f"neighbour-{i}.flac", seed=i, seconds=2.5)
    animals = [
        row(i, audio_uri=name, start_s=zoo.STARTS_S.get(name, zoo.START_S), duration_s=zoo.DURATION_S)
        for i, name in enumerate(names)
    ]
    write_rows(cage / "neighbours.jsonl", neighbours)
    write_rows(cage / "all.jsonl", [*animals, *neighbours])
    options = ["--catalog", str(cage / "all.jsonl"), "--output", str(folder / "run"), *OPTIONS]
    cpu_s = children_cpu_s()
    with zoo.changing(cage / "changes-while-read.wav"):
        job = subprocess.Popen(
            [sys.executable, "beam_runner.py", *options, "--tokenizer=none", "--quiet"],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        watch = Watch(job.pid)
        _, errors = job.communicate(timeout=300)
    cpu_s = children_cpu_s() - cpu_s
    peak_bytes = watch.stop()
    assert job.returncode == 0, errors
    assert mine(cage / "neighbours.jsonl", folder / "alone", *OPTIONS) == 0
    return {
        "names": names,
        "cpu_s": cpu_s,
        "peak_bytes": peak_bytes,
        "run": folder / "run",
        "alone": folder / "alone",
        "witness": witness,
        "secret": secret,
        "control": control,
        "errors": errors,
    }


def rows_of(run_dir: Path) -> dict[str, dict[str, Any]]:
    run = Run.open(run_dir)
    return {value["recording_id"]: value for group in run.row_groups() for value in run.read(group).to_pylist()}


def test_the_table_lists_every_animal(visit: dict[str, Any]) -> None:
    entries = zoo.read_table()
    assert len({entry.what for entry in entries}) >= 40
    assert [entry.file for entry in entries] == visit["names"]


def test_every_animal_has_the_outcome_of_the_table(visit: dict[str, Any]) -> None:
    outcomes = dict.fromkeys(rows_of(visit["run"]), "kept")
    outcomes |= {value["recording_id"]: value["reason"] for value in rejects(visit["run"])}
    wrong = {
        entry.file: (outcomes.get(f"rec-{number:03d}"), sorted(entry.expected))
        for number, entry in enumerate(zoo.read_table())
        if outcomes.get(f"rec-{number:03d}") not in entry.expected
    }
    assert not wrong
    recordings = report(visit["run"])["recordings"]
    assert recordings["read"] == len(visit["names"]) + NEIGHBOURS == len(outcomes)


def test_the_neighbours_are_unharmed(visit: dict[str, Any]) -> None:
    among, alone = rows_of(visit["run"]), rows_of(visit["alone"])
    assert len(alone) == NEIGHBOURS
    assert {name: among[name] for name in alone} == alone


def test_playlists_opened_no_address_and_no_file(visit: dict[str, Any]) -> None:
    with pytest.raises(TimeoutError):
        visit["witness"].accept()
    control = visit["control"]
    control.read_bytes()
    if control.stat().st_atime == 1:
        pytest.skip("this file system keeps no access times")
    assert visit["secret"].stat().st_atime == 1


def test_time_and_memory_are_bounded(visit: dict[str, Any]) -> None:
    """All animals together take less than what one of them may: of the processor, since other tests have it as well."""
    assert visit["cpu_s"] < DecodeConfig().deadline_s
    assert visit["peak_bytes"] < MEMORY_CAP_BYTES


def test_nothing_but_plain_lines_is_said(visit: dict[str, Any]) -> None:
    assert "Traceback" not in visit["errors"]
