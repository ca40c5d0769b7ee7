"""Promise: a run folder has one writer. A launcher that is suspended, overtaken and woken changes nothing."""

import shutil
from pathlib import Path

import pytest

from openmulan import main as mulan
from schemas.exits import DONE, INTERRUPTED
from tests.pipeline.killing import COMMIT_POINTS, Suspended
from tests.pipeline.mining import manifest, mine, row, shard_hashes, write_catalogue
from tests.pipeline.traces import traces

pytestmark = pytest.mark.slow

# A lease so short that nobody waits for it here.
OPTIONS = ("--rows_per_shard=3", "--max_failure_rate=0.5", "--lock_lease_s=1", "--lock_renew_s=0.2")


@pytest.fixture(scope="module")
def catalogue(tmp_path_factory: pytest.TempPathFactory) -> Path:
    rows = [row(number) for number in range(4)] + [row(40, audio_uri="audio/nothing.ogg")]
    return write_catalogue(tmp_path_factory.mktemp("corpus"), rows)


@pytest.fixture(scope="module")
def undisturbed(catalogue: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("undisturbed") / "run"
    assert mine(catalogue, output, *OPTIONS) == DONE
    return output


@pytest.mark.parametrize("point", COMMIT_POINTS)
def test_one_that_wakes_after_its_successor_stops(
    point: str, catalogue: Path, undisturbed: Path, tmp_path: Path
) -> None:
    output = tmp_path / "run"
    with Suspended(point, catalogue, output, OPTIONS, tmp_path / "said") as first:
        assert mine(catalogue, output, *OPTIONS) == DONE
        after = snapshot(output)
        code, said = first.wake()
    assert code == INTERRUPTED
    assert "was taken over by job" in said
    assert snapshot(output) == after
    assert shard_hashes(output) == shard_hashes(undisturbed)
    assert manifest(output) == manifest(undisturbed)
    assert mine(catalogue, output, *OPTIONS) == DONE  # which sweeps what the loser has left
    assert {path.name for path in output.glob("shards/*")} == {path.name for path in undisturbed.glob("shards/*")}


def test_the_loser_with_another_catalogue_gets_nothing_in(catalogue: Path, tmp_path: Path) -> None:
    """Its plan parts, of a generation that is its successor's by now, are never taken for the successor's."""
    output = tmp_path / "run"
    rows = [row(number, title=f"Another title {number}") for number in range(7)]
    other = write_catalogue(catalogue.parent, rows, "other.jsonl")
    with Suspended("part_written", other, output, OPTIONS, tmp_path / "said") as first:
        assert mine(catalogue, output, *OPTIONS) == DONE
        code, _ = first.wake()
    assert code == INTERRUPTED
    assert sum(shard["rows"] for shard in manifest(output)["shards"]) == 4
    before = manifest(output)
    assert mine(catalogue, output, *OPTIONS) == DONE
    assert manifest(output) == before
    assert not list(output.glob("plans/*/attempt-*"))


@pytest.mark.parametrize("point", ["plan_checked", "shard_checked", "pointer_checked", "quiet_checked", "sweep_listed"])
def test_a_removal_that_wakes_after_its_successor_stops(
    point: str, catalogue: Path, undisturbed: Path, tmp_path: Path
) -> None:
    output, ids = Path(shutil.copytree(undisturbed, tmp_path / "run")), tmp_path / "ids.txt"
    ids.write_text("rec-001\n", encoding="utf-8")
    lock = ("--quiet", "--lock_lease_s=1", "--lock_renew_s=0.2")
    commands = ("remove", str(output), "--ids", str(ids), *lock), ("prune", str(output), *lock)
    is_prune = point in ("quiet_checked", "sweep_listed")
    if is_prune:
        assert mulan(list(commands[0])) == DONE
    with Suspended.command(point, commands[is_prune], tmp_path / "said") as first:
        assert mulan(list(commands[is_prune])) == DONE  # the same request, by somebody who could not wait
        after = snapshot(output)
        code, said = first.wake()
    assert code == INTERRUPTED
    assert "was taken over by job" in said or "by another job meanwhile" in said
    assert snapshot(output) == after
    assert mulan(list(commands[1])) == DONE
    assert traces(output, ["rec-001"]) == {}
    assert sum(shard["rows"] for shard in manifest(output)["shards"]) == 3


def test_take_over_does_not_wait(catalogue: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    output = tmp_path / "run"
    patient = (*OPTIONS[:2], "--lock_lease_s=3600")
    with Suspended("shard_written", catalogue, output, patient, tmp_path / "said") as first:
        assert mine(catalogue, output, *OPTIONS, "--take_over") == DONE
        assert first.wake()[0] == INTERRUPTED
    assert "taken over from job" in caplog.text


def snapshot(output: Path) -> dict[str, bytes]:
    """All that a reader of the run may look at."""
    named = [*output.glob("manifest*.json"), output / "run.json", *output.glob("plans/*/plan.json")]
    named += [output / name for name in shard_hashes(output)]
    return {str(path): path.read_bytes() for path in named}
