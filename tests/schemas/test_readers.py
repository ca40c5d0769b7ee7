"""The record that a training leaves in the run that it reads."""

import dataclasses
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from schemas.readers import ReaderRecord, ReaderState, read_readers, write_reader
from schemas.run import Run, RunError
from tests.schemas.conftest import FlakyStore
from tests.trainer.fixture_runs import shard_row, write_run

NOW = datetime(2026, 11, 26, 12, tzinfo=UTC)


def record(output: str = "/models/a", **changes: Any) -> ReaderRecord:
    made = ReaderRecord(
        output=output,
        recipe="tiny",
        manifest=1,
        manifest_digest="d" * 32,
        started=NOW - timedelta(days=1),
        last_seen=NOW,
        state=ReaderState.RUNNING,
    )
    return dataclasses.replace(made, **changes)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_run(tmp_path / "run", [shard_row("r", sf=["x"])], shards=1)


def test_records_come_back_one_for_each_training_and_manifest(folder: Path) -> None:
    run = Run.open(folder)
    assert read_readers(run) == []
    second = record("/models/b", started=NOW - timedelta(hours=1))
    for written in (second, record(), record(last_seen=NOW + timedelta(hours=1), state=ReaderState.DONE)):
        write_reader(run, written)
    assert read_readers(run) == [record(last_seen=NOW + timedelta(hours=1), state=ReaderState.DONE), second]
    assert sorted(path.name for path in (folder / "readers").iterdir()) == sorted(
        f"{r.id}.json" for r in (record(), second)
    )
    assert record(manifest_digest="e" * 32).id != record().id


@pytest.mark.slow
def test_a_store_takes_the_record_and_gives_it_back(folder: Path, store: FlakyStore) -> None:
    store.upload(folder, "music/run")
    run = Run.open(store.uri("music/run"))
    assert read_readers(run) == []
    write_reader(run, record())
    store.fail(1)
    assert read_readers(run) == [record()]


@pytest.mark.parametrize(
    ("state", "seen", "needed"),
    [
        (ReaderState.RUNNING, NOW - timedelta(days=6), True),
        (ReaderState.RUNNING, NOW - timedelta(days=8), False),
        (ReaderState.DONE, NOW, False),
    ],
)
def test_a_manifest_is_needed_for_a_stated_time(state: ReaderState, seen: datetime, needed: bool) -> None:
    found = record(state=state, last_seen=seen)
    assert found.needs_manifest(NOW, within=timedelta(days=7)) is needed


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("", "not a readable record"),
        ({"format_version": 2}, "format_version 1"),
        ({"started": "yesterday"}, "Invalid isoformat"),
        ({"started": "2026-11-26T12:00:00"}, "offset from UTC"),
        ({"state": "asleep"}, "asleep"),
        ({"output": 3}, "output of the reader's record must be text"),
        ({"host": "x"}, "has host, which openmulan"),
    ],
)
def test_an_unreadable_record_is_an_error_and_not_nobody(folder: Path, change: Any, said: str) -> None:
    run = Run.open(folder)
    write_reader(run, record())
    (path,) = (folder / "readers").iterdir()
    path.write_text(change if isinstance(change, str) else json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(RunError, match=said) as caught:
        read_readers(run)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)
