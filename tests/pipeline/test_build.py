"""One shard from one plan part: what its record says, and when a record is believed."""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.build import BuildTask, Rejected, Stopwatch, build_shard
from pipeline.plan import read_part, write_part
from pipeline.run_folder import layout
from pipeline.run_folder.lock import Hold, LostLockError, locked
from pipeline.run_folder.records import Donor, committed_shard
from pipeline.settings import LockConfig, ShardSettings
from pipeline.shard_file import open_shard
from pipeline.table_steps import Attempt
from schemas.accounting import Account
from schemas.commit import HISTOGRAM_BINS, FileEntry, PartRecord, ShardRecord
from schemas.plan import PLAN_SCHEMA
from schemas.reasons import Reason
from schemas.shard import SHARD_SCHEMA
from tests.trainer.fixture_runs import shard_row

AUDIO_COLUMNS = [name for name in SHARD_SCHEMA.names if name not in PLAN_SCHEMA.names or name == "recording_id"]
NOT_MUSIC = Rejected(Reason.NOT_MUSIC, "too little music", 0.049)
NOT_FOUND = Rejected(Reason.NOT_FOUND, "nobody has it")
TOO_SLOW = Rejected(Reason.TOO_SLOW, "not today")

Made = float | Rejected  # the music fraction of a clip, or why there is none


class FakeMaker:
    """Makes what it was told to, and notes whom it was asked for."""

    def __init__(self, made: dict[str, Made]) -> None:
        self.stopwatch = Stopwatch()
        self.asked: list[str] = []
        self._made = made

    def make(self, row: dict[str, Any]) -> dict[str, Any]:
        self.asked.append(row["recording_id"])
        made = self._made[row["recording_id"]]
        if isinstance(made, Rejected):
            raise made
        with self.stopwatch.measure("decode"):
            whole = shard_row(row["recording_id"], audio=b"sound", duration_s=row["duration_s"])
        return {**{name: whole[name] for name in SHARD_SCHEMA.names if name in whole and name in _audio()},
                "music_fraction": made}  # fmt: skip


def _audio() -> set[str]:
    return {*AUDIO_COLUMNS, "start_s", "duration_s"}


def settings(shard_format: str = "parquet", lf_threshold: float | None = 0.5) -> ShardSettings:
    return ShardSettings(
        config_digest="config",
        shard_format=shard_format,
        audio_encoding="flac",
        lf_model="none",
        lf_digest=None,
        lf_threshold=lf_threshold,
    )


def plan_row(recording_id: str, duration_s: float, **texts: Any) -> dict[str, Any]:
    row = shard_row(recording_id, duration_s=duration_s, **texts)
    for source in ("sf", "lf", "pl", "aset"):
        row["counts"] = {**row["counts"], f"{source}_annotations": len(row[source])}
    planned = {"row_digest": "d", "audio_uri": f"{recording_id}.flac", "base_uri": "", "music_gate": "apply"}
    return {name: {**row, **planned}[name] for name in PLAN_SCHEMA.names}


ROWS = [
    plan_row("a", 10.0, sf=["a tune"], lf=[("Warm bass.", 0.5), ("Hello.", 0.1)]),
    plan_row("b", 20.0, sf=["another"]),
    plan_row("c", 30.0, lf=[("So soft.", 0.9)]),
    plan_row("d", 30.0, sf=["noise"]),
    plan_row("e", 30.0, sf=["lost"]),
]
MADE: dict[str, Made] = {"a": 0.0, "b": 1.0, "c": 0.5, "d": NOT_MUSIC, "e": NOT_FOUND}


@pytest.fixture
def hold(tmp_path: Path) -> Iterator[Hold]:
    with locked(str(tmp_path / "run"), LockConfig(lease_s=3600, renew_s=1800)) as held:
        yield held


def part_of(hold: Hold, rows: list[dict[str, Any]], index: int = 3) -> PartRecord:
    attempt = Attempt(run_dir=hold.run_dir, generation=1, name=hold.attempt)
    table = pa.Table.from_pylist(rows, schema=PLAN_SCHEMA)
    return write_part(attempt, index, table, annotations={"sf": Account(kept=4)}, rule_hits={"url": 1})


def sha256(hold: Hold, entry: FileEntry | None) -> str:
    assert entry is not None
    content = (Path(hold.run_dir) / entry.path).read_bytes()
    assert len(content) == entry.bytes
    return hashlib.sha256(content).hexdigest()


def test_a_plan_part_is_there_as_its_record_says(hold: Hold) -> None:
    part = part_of(hold, ROWS)
    assert (part.generation, part.index, part.file.rows, part.replaces) == (1, 3, 5, None)
    assert sha256(hold, part.file) == part.file.sha256
    assert part.file.sha256[:12] in part.file.path
    assert read_part(hold.run_dir, part.file.path).to_pylist() == pa.Table.from_pylist(ROWS, PLAN_SCHEMA).to_pylist()
    (committed,) = (path for path in Path(hold.run_dir).rglob("*.json") if path.stem == "00003")
    assert PartRecord.from_json(json.loads(committed.read_text(encoding="utf-8"))) == part


@pytest.mark.parametrize("shard_format", ["parquet", "tfrecord"])
def test_a_shard_is_there_as_its_record_says(hold: Hold, shard_format: str) -> None:
    part = part_of(hold, ROWS)
    shards = settings(shard_format)
    record = build_shard(hold, BuildTask(part=part), shards, FakeMaker(MADE))
    assert committed_shard(hold.run_dir, part, "config") == record
    assert (record.generation, record.index, record.part_sha256) == (1, 3, part.file.sha256)

    assert record.recordings == Account(kept=3, left_out={Reason.NOT_MUSIC: 1, Reason.NOT_FOUND: 1})
    assert record.clip_s == 10 + 20 + 30
    histogram = dict(enumerate(record.music_fractions))
    assert len(histogram) == HISTOGRAM_BINS == 20
    # 0.0 and 0.049 are in the first, 1.0 is in the last; who was not judged is in none.
    assert {place: count for place, count in histogram.items() if count} == {0: 2, 10: 1, 19: 1}
    assert record.texts.recordings_with["any"] == 3
    assert record.texts.recordings_with["sf"] == 2
    assert record.texts.lf_above_threshold == {"annotations": 2, "tokens": 6}
    assert 0 <= record.seconds["decode"] < record.seconds["total"] < 60

    assert record.shard is not None
    assert record.shard.rows == 3
    assert sha256(hold, record.shard) == record.shard.sha256
    stored = open_shard(hold.run_dir, record.shard.path)
    kept = [row for group in range(len(stored.groups())) for row in stored.read(group).to_pylist()]
    assert [(row["recording_id"], row["music_fraction"], row["sf"]) for row in kept] == [
        ("a", 0.0, ["a tune"]),
        ("b", 1.0, ["another"]),
        ("c", 0.5, []),
    ]

    assert record.rejects is not None
    assert record.rejects.rows == 2
    assert sha256(hold, record.rejects) == record.rejects.sha256
    lines = (Path(hold.run_dir) / record.rejects.path).read_text(encoding="utf-8").splitlines()
    assert [
        (line["recording_id"], line["reason"], line["outcome"], line["music_fraction"])
        for line in map(json.loads, lines)
    ] == [("d", "not_music", "dropped", 0.049), ("e", "not_found", "failed_permanent", None)]


def test_what_is_empty_has_no_file(hold: Hold) -> None:
    nothing = part_of(hold, ROWS[:1], index=0)
    record = build_shard(hold, BuildTask(part=nothing), settings(), FakeMaker({"a": NOT_FOUND}))
    assert record.shard is None
    assert record.rejects is not None
    assert committed_shard(hold.run_dir, nothing, "config") == record
    everything = part_of(hold, ROWS[:1], index=1)
    record = build_shard(hold, BuildTask(part=everything), settings(), FakeMaker({"a": 1.0}))
    assert record.rejects is None
    assert record.shard is not None
    assert committed_shard(hold.run_dir, everything, "config") == record


def test_what_an_earlier_attempt_has_settled_is_not_made_again(hold: Hold) -> None:
    part = part_of(hold, ROWS)
    first = build_shard(hold, BuildTask(part=part), settings(), FakeMaker({**MADE, "e": TOO_SLOW}))
    again = FakeMaker({"e": 0.7})
    second = build_shard(hold, BuildTask(part=part, donor=Donor.of(first)), settings(), again)
    assert again.asked == ["e"]
    assert second.recordings == Account(kept=4, left_out={Reason.NOT_MUSIC: 1})
    assert second.music_fractions[14] == 1
    assert sum(second.music_fractions) == 5
    never = FakeMaker({})
    third = build_shard(hold, BuildTask(part=part, donor=Donor.of(first), again=False), settings(), never)
    assert never.asked == []
    assert (third.shard, third.rejects) == (first.shard, first.rejects)


def test_who_lost_the_folder_commits_nothing(hold: Hold) -> None:
    part = part_of(hold, ROWS)
    lock = Path(hold.run_dir) / layout.LOCK
    lock.write_text(json.dumps({"job_id": "f" * 32, "fence": 9}), encoding="utf-8")
    with pytest.raises(LostLockError):
        build_shard(hold, BuildTask(part=part), settings(), FakeMaker(MADE))
    assert committed_shard(hold.run_dir, part, "config") is None


class TestARecordIsNotBelieved:
    @pytest.fixture
    def part(self, hold: Hold) -> PartRecord:
        return part_of(hold, ROWS)

    @pytest.fixture
    def record(self, hold: Hold, part: PartRecord) -> ShardRecord:
        built = build_shard(hold, BuildTask(part=part), settings("tfrecord"), FakeMaker(MADE))
        assert committed_shard(hold.run_dir, part, "config") == built
        return built

    def test_of_other_settings_or_of_another_part(self, hold: Hold, record: ShardRecord, part: PartRecord) -> None:
        assert committed_shard(hold.run_dir, part, "other") is None
        other = part_of(hold, ROWS[:3])
        assert other.key == part.key
        assert committed_shard(hold.run_dir, other, "config") is None
        assert committed_shard(hold.run_dir, part_of(hold, ROWS, index=8), "config") is None

    @pytest.mark.parametrize("what", ["shard", "rejects", "index"])
    def test_whose_files_are_gone_or_cut_off(
        self, what: str, hold: Hold, record: ShardRecord, part: PartRecord
    ) -> None:
        assert record.shard is not None
        assert record.rejects is not None
        run_dir = Path(hold.run_dir)
        (index,) = (path for path in run_dir.rglob("*") if path.is_file() and _is_index(path))
        path = {"shard": run_dir / record.shard.path, "rejects": run_dir / record.rejects.path, "index": index}[what]
        content = path.read_bytes()
        if what != "index":
            path.write_bytes(content[:-1])
            assert committed_shard(hold.run_dir, part, "config") is None
        path.unlink()
        assert committed_shard(hold.run_dir, part, "config") is None
        path.write_bytes(content)
        assert committed_shard(hold.run_dir, part, "config") == record

    @pytest.mark.parametrize("content", ["", "[]", "{}", '{"generation": 1'])
    def test_that_is_not_whole(
        self, content: str, hold: Hold, record: ShardRecord, part: PartRecord, caplog: pytest.LogCaptureFixture
    ) -> None:
        Path(layout.shard_commit_path(hold.run_dir, part.key)).write_text(content, encoding="utf-8")
        assert committed_shard(hold.run_dir, part, "config") is None
        assert f"commit record of shard {part.key} is not whole" in caplog.text


def _is_index(path: Path) -> bool:
    """Whether a file under `shards/` is the Parquet file beside a TFRecord file."""
    return "shards" in path.parts and path.read_bytes()[:4] == b"PAR1" and pq.read_metadata(path).num_rows == 3
