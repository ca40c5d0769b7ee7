"""What a launcher makes of what workers say: each recording once, whatever is lost, tried again or said by two."""

import gzip
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest

from pipeline.build import BuildTask, build_shard
from pipeline.catalogue import COMMENTS, read_table
from pipeline.progress import watching
from pipeline.progress.counters import TableMeter, account_of
from pipeline.progress.watching import View, _Building, _Reading, _Stuck
from pipeline.run_folder.lock import Hold
from pipeline.run_folder.records import Donor
from pipeline.table_streams import HEAD_BYTES
from pipeline.workers.heartbeat import FILE_BYTES, HEARTBEAT, SHOWN_CHARS, Heartbeat, Sign
from schemas.accounting import Account
from schemas.commit import PartRecord, ShardRecord
from schemas.reasons import Reason
from tests.pipeline.test_build import MADE, ROWS, TOO_SLOW, FakeMaker, hold, part_of, settings  # noqa: F401

CONFIG = "config"


@pytest.fixture(autouse=True)
def listed_at_each_look(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watching, "LIST_EVERY_S", 0.0)
    monkeypatch.setattr(watching, "LIST_SHARE", 1e9)


def said(part: PartRecord, pid: int = 1, **counts: int) -> Sign:
    return Sign(pid=pid, beats=1, made=sum(counts.values()), counts={part.key: counts})


def account_at(stage: _Building, *signs: Sign, is_over: bool = False) -> Account:
    now = stage.look(signs, View(), is_over=is_over)
    assert now.done == now.account.read
    return now.account


def made(hold: Hold, part: PartRecord, donor: Donor | None = None, **changes: Any) -> ShardRecord:  # noqa: F811
    return build_shard(hold, BuildTask(part=part, donor=donor), settings(), FakeMaker({**MADE, **changes}))


def test_a_recording_counts_once(hold: Hold) -> None:  # noqa: F811
    one, other = part_of(hold, ROWS, index=0), part_of(hold, ROWS, index=1)
    stage = _Building(hold.run_dir, [(one, None), (other, None)], CONFIG)
    assert account_at(stage) == Account()
    assert account_at(stage, said(one, kept=2, not_music=1), said(other, pid=2, kept=1)).kept == 3
    # The first worker is gone, and another begins its shard anew.
    assert account_at(stage, said(one, pid=3, kept=1)).read == 4
    assert account_at(stage, said(one, pid=3, kept=2, not_music=1, not_found=1)).read == 5
    record = made(hold, one)
    for signs in ((), (said(one, pid=3, kept=3, not_music=1),), (said(one, pid=1, kept=5, not_music=4),)):
        assert account_at(stage, *signs).read == record.recordings.read + 1
    made(hold, other)
    both = Account(kept=6, left_out={Reason.NOT_MUSIC: 2, Reason.NOT_FOUND: 2})
    assert account_at(stage, said(other, pid=2, kept=3), is_over=True) == both


def test_what_failed_for_now_counts_when_it_was_tried_again(hold: Hold) -> None:  # noqa: F811
    part = part_of(hold, ROWS)
    before = made(hold, part, e=TOO_SLOW)
    stage = _Building(hold.run_dir, [(part, before)], CONFIG)
    assert account_at(stage).read == 0
    assert account_at(stage, said(part, kept=3)).read == 3
    # The job may end before it was tried again.
    assert account_at(_Building(hold.run_dir, [(part, before)], CONFIG), is_over=True) == before.recordings
    after = made(hold, part, Donor.of(before), e=0.5)
    assert account_at(stage) == after.recordings
    assert after.recordings.kept == before.recordings.kept + 1


def test_one_that_is_tried_again_in_vain_counts_in_the_end(hold: Hold) -> None:  # noqa: F811
    part = part_of(hold, ROWS)
    before = made(hold, part, e=TOO_SLOW)
    stage = _Building(hold.run_dir, [(part, before)], CONFIG)
    after = made(hold, part, Donor.of(before), e=TOO_SLOW)
    assert account_at(stage, is_over=True) == after.recordings


def test_what_is_committed_already_is_done_and_says_nothing_of_the_rate(hold: Hold) -> None:  # noqa: F811
    done, part = part_of(hold, ROWS, index=0), part_of(hold, ROWS, index=1)
    stage = _Building(hold.run_dir, [(done, made(hold, done)), (part, None)], CONFIG)
    now = stage.look([], View(), is_over=False)
    assert (now.done, now.total, now.shards, now.rate) == (5, 10, (1, 2), None)
    # Four of five are taken from an earlier attempt, one is made.
    sign = Sign(pid=1, beats=1, made=1, counts={part.key: {"kept": 5}})
    now = stage.look([sign], View(), is_over=False)
    assert now.done == 10
    assert stage._rate._steps[-1][1] == 1


def test_rows_of_a_worker_that_is_gone_are_not_lost() -> None:
    stage = _Reading("survey", 1_000, 0)
    first = Sign(pid=1, beats=1, counts={"catalogue": {"rows": 10, "bytes": 100}})
    second = Sign(pid=2, beats=1, counts={"catalogue": {"rows": 30, "bytes": 300}})
    stage.look([first], View(), is_over=False)
    now = stage.look([second, second], View(), is_over=False)
    assert (now.is_reading, now.rows, now.done, now.total) == (True, {"catalogue": 40}, 400, 1_000)
    third = Sign(pid=2, beats=2, counts={"catalogue": {"rows": 90, "bytes": 900}, "plan": {"recordings": 7}})
    now = _Reading("plan", 1_000, 50).look([third], View(), is_over=False)
    assert (now.is_reading, now.done, now.total, now.account.read) == (False, 7, 50, 0)


def test_a_stuck_worker_is_named_now_and_then(caplog: pytest.LogCaptureFixture) -> None:
    stuck = _Stuck()

    def look(recording_id: str | None, used_s: float, stage: str = "fetch") -> list[str]:
        caplog.clear()
        stuck.look([Sign(pid=7, beats=1, recording_id=recording_id, stage=stage, used_s=used_s), Sign(pid=8, beats=1)])
        return caplog.messages

    assert look("x", 29.9) == []
    assert look("x", 45) == ["worker process 7 has been on recording 'x' (fetch) for 45 s"]
    assert look("x", 89) == []
    assert look("x", 90, "decode") == ["worker process 7 has been on recording 'x' (decode) for 90 s"]
    assert look("y", 1) == []
    assert look(None, 0) == []
    assert look("y", 31, "") == ["worker process 7 has been on recording 'y' for 31 s"]


def test_a_name_in_hand_comes_before_counts(tmp_path: Path) -> None:
    heartbeat = Heartbeat()
    path = tmp_path / "1.beat"
    heartbeat.beat_into(path)
    for number in range(3):
        heartbeat.count("g0001-00000", "kept", number)
    with heartbeat.holding("𝄞" * 500, 1):
        sign = Sign.read(path)
    assert sign is not None
    assert (sign.made, sign.counts) == (0, {"g0001-00000": {"kept": 3}})
    for task in range(9):
        for reason in Reason:
            heartbeat.count(f"g0001-{task:05d}", str(reason))
    with heartbeat.holding("𝄞" * 500, 1):
        sign = Sign.read(path)
    assert sign is not None
    assert (sign.recording_id, sign.made, sign.counts) == ("𝄞" * SHOWN_CHARS, 1, {})
    assert path.stat().st_size == FILE_BYTES


@pytest.fixture
def counted() -> Iterator[dict[str, dict[str, int]]]:
    HEARTBEAT.forget_counts()
    yield HEARTBEAT._counts
    HEARTBEAT.forget_counts()


@pytest.mark.parametrize("name", ["a.jsonl", "a.jsonl.gz", "a.csv", "a.parquet"])
def test_a_table_is_read_to_its_last_byte(tmp_path: Path, counted: dict[str, dict[str, int]], name: str) -> None:
    rows = [{"recording_id": f"r{i}", "text": f"{'so warm ' * 40}{i}", "other": "x" * 99} for i in range(2_000)]
    path = tmp_path / name
    lines = "".join(f"{json.dumps(row)}\n" for row in rows).encode()
    if name.endswith("parquet"):
        pq.write_table(pa.Table.from_pylist(rows), path, row_group_size=500)
    elif name.endswith("csv"):
        pyarrow.csv.write_csv(pa.Table.from_pylist(rows), path)
    else:
        path.write_bytes(gzip.compress(lines) if name.endswith("gz") else lines)
    meter = TableMeter("comments")
    seen: list[int] = []
    for number, _ in enumerate(read_table(COMMENTS, str(path), {}, meter=meter.of), start=1):
        meter.count_row()
        if number % 500 == 0:
            seen.append(counted["comments"]["bytes"])
    meter.finish()
    assert counted == {"comments": {"rows": 2_000, "bytes": path.stat().st_size}}
    assert seen == sorted(seen)
    assert 0 < seen[0] <= seen[-1] <= path.stat().st_size
    if "gz" not in name and "parquet" not in name:
        told_at = 768 / 2_000 * path.stat().st_size  # the third time that 256 rows were counted
        assert told_at <= seen[1] <= told_at + 2 * HEAD_BYTES


def test_counts_by_name_are_an_account() -> None:
    assert account_of({"kept": 3, "not_music": 2}) == Account(kept=3, left_out={Reason.NOT_MUSIC: 2})
