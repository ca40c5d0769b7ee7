"""Pieces of a shard: what they keep over a kill, when they are written, and when they are not believed."""

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from pipeline import storage
from pipeline.build import BuildTask, build_shard
from pipeline.run_folder import layout, pieces
from pipeline.run_folder.lock import Hold, LostLockError
from pipeline.run_folder.records import Donor
from pipeline.stores.store import StoreError
from pipeline.workers.heartbeat import HEARTBEAT
from schemas.commit import PartRecord, ShardRecord
from tests.pipeline.test_build import (
    MADE,
    NOT_FOUND,
    NOT_MUSIC,
    ROWS,
    TOO_SLOW,
    FakeMaker,
    Made,
    hold,  # noqa: F401 - a fixture
    part_of,
    settings,
)


class Killed(Exception):
    """In place of a kill: what is built is left as it lies."""


class DyingMaker(FakeMaker):
    """Is asked for one recording too many."""

    def __init__(self, made: dict[str, Made], last: str, die: Callable[[], None] | None = None) -> None:
        super().__init__(made)
        self._last, self._die = last, die

    def make(self, row: dict[str, Any]) -> dict[str, Any]:
        if row["recording_id"] == self._last:
            if self._die is not None:
                self._die()
            raise Killed
        return super().make(row)


@pytest.fixture(autouse=True)
def eager(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A piece for every row."""
    monkeypatch.setattr(pieces, "LOST_S", 0.0)
    yield
    HEARTBEAT.go_on()
    storage.on_commit_point = storage.no_op


@pytest.fixture
def part(hold: Hold) -> PartRecord:  # noqa: F811
    return part_of(hold, ROWS)


def files(run: Hold) -> list[Path]:
    return sorted(path for path in (Path(run.run_dir) / layout.PIECES).rglob("*") if path.is_file())


def killed(run: Hold, part: PartRecord, made: dict[str, Made], last: str, *, config: str = "config") -> None:
    shards = settings() if config == "config" else SimpleNamespace(**{**vars(settings()), "config_digest": config})
    with pytest.raises(Killed):
        build_shard(run, BuildTask(part=part), shards, DyingMaker(made, last))  # type: ignore[arg-type]


def built(run: Hold, part: PartRecord, made: dict[str, Made], **task: Any) -> tuple[ShardRecord, list[str]]:
    """The record, and whom the maker was asked for."""
    maker = FakeMaker(made)
    return build_shard(run, BuildTask(part=part, **task), settings(), maker), maker.asked


def same(one: ShardRecord, other: ShardRecord) -> bool:
    return {**one.to_json(), "seconds": {}} == {**other.to_json(), "seconds": {}}


@pytest.mark.parametrize("last", ["b", "c", "d", "e"])
def test_what_was_settled_is_not_made_again(hold: Hold, part: PartRecord, last: str) -> None:  # noqa: F811
    expected, _ = built(hold, part, MADE)
    assert files(hold) == []
    killed(hold, part, MADE, last)
    assert files(hold)
    again, asked = built(hold, part, MADE)
    assert asked == [name for name in "abcde" if name >= last]
    assert same(again, expected)
    assert list((Path(hold.run_dir) / layout.PIECES).iterdir()) == []


def test_a_second_kill_keeps_what_the_first_one_did(hold: Hold, part: PartRecord) -> None:  # noqa: F811
    killed(hold, part, MADE, "c")
    killed(hold, part, {"c": MADE["c"]}, "d")
    assert built(hold, part, MADE)[1] == ["d", "e"]


def test_what_failed_for_now_is_tried_again(hold: Hold, part: PartRecord) -> None:  # noqa: F811
    killed(hold, part, {"a": NOT_MUSIC, "b": TOO_SLOW, "c": NOT_FOUND}, "d")
    record, asked = built(hold, part, {"b": 0.5, "d": 0.5, "e": 0.5})
    assert asked == ["b", "d", "e"]
    assert record.recordings.kept == 3


def test_beside_a_donor(hold: Hold, part: PartRecord) -> None:  # noqa: F811
    first, _ = built(hold, part, {**MADE, "a": TOO_SLOW, "e": TOO_SLOW})
    donor = Donor.of(first)
    with pytest.raises(Killed):
        build_shard(hold, BuildTask(part=part, donor=donor), settings(), DyingMaker({"a": 0.0}, "e"))
    second, asked = built(hold, part, MADE, donor=donor)
    assert asked == ["e"]
    assert same(second, built(hold, part, MADE)[0])


def test_of_other_settings_or_of_another_part_nothing_is_taken(hold: Hold, part: PartRecord) -> None:  # noqa: F811
    """Other exclusions are other settings."""
    killed(hold, part, MADE, "e", config="other")
    killed(hold, part_of(hold, ROWS[1:]), MADE, "e")
    assert built(hold, part, MADE)[1] == list("abcde")


@pytest.mark.parametrize("harm", [lambda content: content[:-9], lambda content: b"", lambda content: content + b"x"])
def test_a_torn_one_is_ignored(
    hold: Hold,  # noqa: F811
    part: PartRecord,
    harm: Callable[[bytes], bytes],
    caplog: pytest.LogCaptureFixture,
) -> None:
    expected, _ = built(hold, part, MADE)
    killed(hold, part, MADE, "e")
    for path in files(hold):
        path.write_bytes(harm(path.read_bytes()))
    (files(hold)[0].parent / "notes.parquet").write_bytes(b"somebody's")
    assert len(files(hold)) == 5
    again, asked = built(hold, part, MADE)
    assert asked == list("abcde")
    assert same(again, expected)
    assert [line for line in caplog.messages if "is not whole and is ignored" in line] == caplog.messages
    assert len(caplog.messages) == 4


@pytest.mark.parametrize("point", ["", "piece_checked", "piece_published"])
def test_who_lost_the_folder_leaves_no_piece(hold: Hold, part: PartRecord, point: str) -> None:  # noqa: F811
    """A recording in it may have been removed by who has the folder now."""

    def lose(name: str = "") -> None:
        if name == point:
            lock = Path(hold.run_dir) / layout.LOCK
            lock.write_text(json.dumps({"job_id": "f" * 32, "fence": 9}), encoding="utf-8")

    storage.on_commit_point = lose
    lose()
    with pytest.raises(LostLockError):
        built(hold, part, MADE)
    assert files(hold) == []


@pytest.mark.parametrize("error", [StoreError("the store is away"), OSError(28, "No space left on device")])
def test_a_place_that_fails_costs_the_piece_alone(
    hold: Hold,  # noqa: F811
    part: PartRecord,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    error: Exception,
) -> None:
    publish = storage.publish

    def fail(staged: str, target: str, **how: Any) -> None:
        if f"/{layout.PIECES}/" in target:
            raise error
        publish(staged, target, **how)

    monkeypatch.setattr(storage, "publish", fail)
    assert built(hold, part, MADE)[0].recordings.kept == 3
    assert f"what is settled of shard {part.key} is not kept: {error}" in caplog.text


def test_who_is_told_to_end_saves_first(
    hold: Hold,  # noqa: F811
    part: PartRecord,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(pieces, "LOST_S", 3600.0)
    with pytest.raises(Killed):
        build_shard(hold, BuildTask(part=part), settings(), DyingMaker(MADE, "d", lambda: HEARTBEAT.end(0)))
    HEARTBEAT.go_on()
    assert built(hold, part, MADE)[1] == ["d", "e"]


def test_who_is_told_to_end_does_not_wait_for_a_store_that_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.workers.heartbeat.SAVE_S", 0.05)
    with HEARTBEAT.saving(lambda: time.sleep(5)):
        start = time.monotonic()
        HEARTBEAT.end(0)
    assert time.monotonic() - start < 2


@pytest.mark.parametrize(("rows_per_s", "count"), [(0.05, 78), (2, 50), (50, 4), (250, 0)])
def test_a_kill_costs_a_share_and_there_are_few(
    hold: Hold,  # noqa: F811
    part: PartRecord,
    monkeypatch: pytest.MonkeyPatch,
    rows_per_s: float,
    count: int,
) -> None:
    """At any moment, whatever a recording takes."""
    now, saved = [0.0], [0]
    monkeypatch.setattr(pieces, "LOST_S", 3.0)
    monkeypatch.setattr(pieces, "awake", lambda: now[0])
    monkeypatch.setattr(pieces.Pieces, "_publish", lambda self: saved.__setitem__(0, saved[0] + 1))
    with pieces.keeping(hold, part, "config") as kept:
        for number in range(1, 601):
            now[0] = number / rows_per_s
            kept.leave_out("{}")
            lost = kept._unsaved
            assert lost / rows_per_s <= max(3.0, 0.05 * now[0]) or lost <= max(1, 0.05 * number)
    assert saved[0] == count
