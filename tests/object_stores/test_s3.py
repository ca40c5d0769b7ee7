"""The whole job on an object store: catalogue, media and output in S3 (moto's server), equal to a local run.

Run by `make test-s3`.
"""

import json
import logging
from collections.abc import Iterator
from datetime import datetime, tzinfo
from pathlib import Path
from urllib.parse import unquote

import pytest

from openmulan import main as mulan
from pipeline import report as report_module
from pipeline.stores import store as stores
from schemas.exits import BAD_INPUT, DONE, INTERRUPTED
from tests.object_stores.s3 import BUCKET, Bucket, Gate, server
from tests.pipeline.killing import COMMIT_POINTS, Suspended, die_at, mine_and_die_at
from tests.pipeline.mining import manifest, mine, report, row, shard_hashes, write_catalogue
from tests.pipeline.traces import traces

pytestmark = pytest.mark.stores

OPTIONS = ("--rows_per_shard=3", "--max_failure_rate=0.5", "--lock_lease_s=1", "--lock_renew_s=0.2")
CATALOGUE = f"s3://{BUCKET}/corpus/catalog.jsonl"


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clean catalogue, of which nothing is left out before it is fetched, and one that has grown and lost."""
    folder = tmp_path_factory.mktemp("corpus")
    rows = [row(number) for number in range(6)]
    write_catalogue(folder, [*rows, row(40, audio_uri="audio/nothing.ogg")])
    write_catalogue(folder, [*rows[1:], row(7), row(8), row(40, audio_uri="audio/nothing.ogg")], "later.jsonl")
    return folder


@pytest.fixture(scope="module")
def bucket(corpus: Path) -> Iterator[Bucket]:
    with server() as found:
        found.upload_folder(corpus, "corpus")
        yield found


@pytest.fixture(autouse=True, scope="module")
def quiet_server() -> None:
    logging.getLogger("werkzeug").setLevel(logging.ERROR)


@pytest.fixture(autouse=True)
def quick_store(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that a store that always refuses is given up soon."""
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    monkeypatch.setattr(stores, "WAITS_S", (0.01, 0.02))


@pytest.fixture(scope="module")
def local(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("local") / "run"
    assert mine(corpus / "catalog.jsonl", output, *OPTIONS) == DONE
    return output


def assert_same(bucket: Bucket, prefix: str, local: Path, folder: Path) -> None:
    copy = bucket.download(prefix, folder / "copy")
    assert shard_hashes(copy) == shard_hashes(local)
    assert manifest(copy) == manifest(local)
    assert report(copy)["recordings"] == report(local)["recordings"]
    assert {path.name for path in copy.glob("shards/*")} == {path.name for path in local.glob("shards/*")}
    assert bucket.open_uploads() == []


class _OneMinute(datetime):
    """The report names the minute in which it was written, which must not pass between two of them."""

    @classmethod
    def now(cls, tz: tzinfo | None = None) -> "_OneMinute":
        return cls(2026, 1, 1, tzinfo=tz)


def test_a_clean_catalogue_gives_the_bytes_of_a_local_run(
    bucket: Bucket, local: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(report_module, "datetime", _OneMinute)
    assert mine(CATALOGUE, f"s3://{BUCKET}/clean", *OPTIONS, *bucket.options()) == DONE
    assert_same(bucket, "clean", local, tmp_path)
    before = bucket.hashes("clean")
    assert mine(CATALOGUE, f"s3://{BUCKET}/clean", *OPTIONS, *bucket.options()) == DONE  # there is nothing to do
    after = bucket.hashes("clean")
    assert {key for key in before if before[key] != after[key]} <= {"clean/lock"}


def test_worker_processes_get_the_options(bucket: Bucket, local: Path, tmp_path: Path) -> None:
    output = f"s3://{BUCKET}/workers"
    # More text than is joined in the launcher's process, which otherwise plans it.
    assert mine(CATALOGUE, output, *OPTIONS, *bucket.options(), "--direct_num_workers=2") == DONE
    assert_same(bucket, "workers", local, tmp_path)


def test_killed_at_every_commit_point(bucket: Bucket, local: Path, tmp_path: Path) -> None:
    output, options = f"s3://{BUCKET}/killed", (*OPTIONS, *bucket.options())
    for point in COMMIT_POINTS:
        mine_and_die_at(point, CATALOGUE, output, options)
    assert mine(CATALOGUE, output, *options) == DONE
    assert_same(bucket, "killed", local, tmp_path)


def test_grown_and_shrunk(bucket: Bucket, local: Path, corpus: Path, tmp_path: Path) -> None:
    later, options = ("later.jsonl", (*OPTIONS, "--on_removed=tombstone"))
    assert mine(CATALOGUE, f"s3://{BUCKET}/grown", *OPTIONS, *bucket.options()) == DONE
    assert mine(f"s3://{BUCKET}/corpus/{later}", f"s3://{BUCKET}/grown", *options, *bucket.options()) == DONE
    grown = tmp_path / "run"
    assert mine(corpus / "catalog.jsonl", grown, *OPTIONS) == DONE
    assert mine(corpus / later, grown, *options) == DONE
    assert manifest(grown)["number"] == 2
    assert len(manifest(grown)["tombstones"]) == 1
    assert_same(bucket, "grown", grown, tmp_path)


def test_removed_for_good(bucket: Bucket, corpus: Path, tmp_path: Path) -> None:
    """Without a byte left, after kills, and equal to a removal on disk."""
    output, local = f"s3://{BUCKET}/removed", tmp_path / "run"
    assert mine(CATALOGUE, output, *OPTIONS, *bucket.options()) == DONE
    assert mine(corpus / "catalog.jsonl", local, *OPTIONS) == DONE
    (tmp_path / "ids.txt").write_text("rec-003\n", encoding="utf-8")
    command = ("--ids", str(tmp_path / "ids.txt"), "--quiet")
    for point in ("suppression_written", "plan_committed", "shard_committed", "manifest_written"):
        die_at(point, "remove", output, *command, *bucket.options())
    for point in ("manifests_deleted", "sweep_listed"):
        die_at(point, "prune", output, "--quiet", *bucket.options())
    assert mulan(["prune", output, "--quiet", *bucket.options()]) == DONE
    assert mulan(["remove", str(local), *command]) == DONE
    assert mulan(["prune", str(local), "--quiet"]) == DONE
    assert_same(bucket, "removed", local, tmp_path)
    assert traces(tmp_path / "copy", ["rec-003"]) == {}
    assert mine(CATALOGUE, output, *OPTIONS, *bucket.options()) == DONE
    assert traces(bucket.download("removed", tmp_path / "again"), ["rec-003"]) == {}


@pytest.mark.parametrize("point", COMMIT_POINTS)
def test_a_launcher_that_wakes_after_its_successor(point: str, bucket: Bucket, local: Path, tmp_path: Path) -> None:
    prefix, options = f"woken-{point}", (*OPTIONS, *bucket.options())
    output = f"s3://{BUCKET}/{prefix}"
    with Suspended(point, CATALOGUE, output, options, tmp_path / "said") as first:
        assert mine(CATALOGUE, output, *options) == DONE
        before = bucket.hashes(prefix)
        code, said = first.wake()
    assert code == INTERRUPTED
    assert "taken over by job" in said
    after = bucket.hashes(prefix)
    readers_see = [key for key in before if "/attempt-" not in key and "/commits/" not in key]
    assert {key: before[key] for key in readers_see} == {key: after.get(key) for key in readers_see}
    assert mine(CATALOGUE, output, *options) == DONE
    assert_same(bucket, prefix, local, tmp_path)


class TestAStoreThatFails:
    @pytest.fixture
    def gate(self, bucket: Bucket) -> Iterator[Gate]:
        gate = Gate(bucket.endpoint)
        yield gate
        gate.close()

    def test_for_a_moment_is_asked_again(self, bucket: Bucket, local: Path, gate: Gate, tmp_path: Path) -> None:
        turns: dict[tuple[str, str], int] = {}

        def every_request_once(method: str, path: str) -> bool:
            key = method, path.partition("?")[0]
            turns[key] = turns.get(key, 0) + 1
            return turns[key] == 1 and "/moment" in path

        gate.refuses = every_request_once
        assert mine(CATALOGUE, f"s3://{BUCKET}/moment", *OPTIONS, *bucket.options(gate.endpoint)) == DONE
        assert gate.refused > 10
        assert_same(bucket, "moment", local, tmp_path)

    @pytest.mark.parametrize("what", ["run.json", "plan.json", "manifest-0001.json", "manifest.json", "list-type=2"])
    def test_for_good_is_an_error_and_never_an_empty_folder(
        self, what: str, bucket: Bucket, gate: Gate, capsys: pytest.CaptureFixture[str]
    ) -> None:
        output = f"s3://{BUCKET}/refused"
        options = (*OPTIONS, *bucket.options(gate.endpoint), "--on_removed=tombstone")
        assert mine(CATALOGUE, output, *options) == DONE
        before = bucket.hashes("refused")
        capsys.readouterr()
        gate.refuses = lambda method, path: method == "GET" and what in path and "refused" in path
        assert mine(f"s3://{BUCKET}/corpus/later.jsonl", output, *options, "--rows_per_shard=2") == INTERRUPTED
        gate.refuses = lambda method, path: False
        said = [line for line in capsys.readouterr().err.splitlines() if line.startswith("mulan mine: ")]
        assert len(said) == 1
        assert "run the same command to go on" in said[0]
        after = bucket.hashes("refused")
        assert {key for key in before.keys() | after.keys() if before.get(key) != after.get(key)} <= {"refused/lock"}

    def test_a_catalogue_that_breaks_off_removes_nobody(
        self, bucket: Bucket, gate: Gate, capsys: pytest.CaptureFixture[str]
    ) -> None:
        output, options = f"s3://{BUCKET}/broken", (*OPTIONS, "--on_removed=tombstone")
        assert mine(CATALOGUE, output, *options, *bucket.options()) == DONE
        before = bucket.hashes("broken")
        bucket.client.copy_object(Bucket=BUCKET, Key="corpus/big.jsonl", CopySource=f"{BUCKET}/corpus/later.jsonl")
        gate.refuses = lambda method, path: method == "GET" and "big.jsonl" in path
        found = mine(f"s3://{BUCKET}/corpus/big.jsonl", output, *options, *bucket.options(gate.endpoint))
        assert found == INTERRUPTED
        after = bucket.hashes("broken")
        kept = [key for key in before if "/attempt-" not in key and not key.endswith("/lock")]
        assert {key: before[key] for key in kept} == {key: after[key] for key in kept}


def test_what_is_built_is_told_from_listings_and_records(bucket: Bucket) -> None:
    """Not by a look at each file, of which a run of fifty million recordings has 200,000."""
    output, options = f"s3://{BUCKET}/listed", (*OPTIONS, "--rows_per_shard=1")
    assert mine(CATALOGUE, output, *options, *bucket.options()) == DONE
    shards = len([key for key in bucket.keys("listed") if key.startswith("listed/shards/")])
    asked: list[str] = []
    gate = Gate(bucket.endpoint)

    def note(method: str, path: str) -> bool:
        asked.append(f"{method} {unquote(path)}")
        return False

    gate.refuses = note
    try:
        assert mine(CATALOGUE, output, *options, *bucket.options(gate.endpoint)) == DONE
    finally:
        gate.close()
    heads = [line for line in asked if line.startswith("HEAD")]
    assert not [line for line in heads if "/rejects/" in line or "/commits/" in line]
    # As often as it is opened for the groups: once.
    assert len([line for line in heads if "/shards/" in line]) == shards
    assert len([line for line in asked if line.startswith("GET") and "/commits/g" in line]) == 3 * (shards + 1)


def test_names_with_wildcards_in_a_bucket(bucket: Bucket, corpus: Path, tmp_path: Path) -> None:
    prefix = "odd [FLAC]*"
    bucket.upload_folder(corpus, prefix)
    bucket.client.put_object(Bucket=BUCKET, Key="odd F/shards/g0001-00000-0123456789ab.parquet", Body=b"mine")
    output = f"s3://{BUCKET}/{prefix}/run"
    catalogue = f"s3://{BUCKET}/{prefix}/catalog.jsonl"
    for _ in range(2):
        assert mine(catalogue, output, *OPTIONS, *bucket.options()) == DONE
    assert len(manifest(bucket.download(f"{prefix}/run", tmp_path / "copy"))["shards"]) >= 2
    assert bucket.keys("odd F") == ["odd F/shards/g0001-00000-0123456789ab.parquet"]


def test_a_bucket_that_is_not_there_is_one_line(bucket: Bucket, capsys: pytest.CaptureFixture[str]) -> None:
    assert mine(CATALOGUE, "s3://nothing-here/run", *OPTIONS, *bucket.options()) in (BAD_INPUT, INTERRUPTED)
    said = [line for line in capsys.readouterr().err.splitlines() if line.startswith("mulan mine: ")]
    assert len(said) == 1
    assert "s3://nothing-here/run" in said[0]


def test_the_pointer_is_json(bucket: Bucket, local: Path) -> None:
    """What other programs read is the same object in both places."""
    assert mine(CATALOGUE, f"s3://{BUCKET}/pointer", *OPTIONS, *bucket.options()) == DONE
    body = bucket.client.get_object(Bucket=BUCKET, Key="pointer/manifest.json")["Body"].read()
    assert json.loads(body) == json.loads((local / "manifest.json").read_bytes())
