"""Promise 2: whatever kills the job, the same command gives the same bytes in the end."""

import re
import shutil
import signal
import time
from pathlib import Path

import pytest

import pipeline
from schemas.exits import INTERRUPTED
from tests.pipeline.killing import (
    AUDIOSET_POINTS,
    COMMIT_POINTS,
    DRY_RUN_POINTS,
    FINGERPRINT_POINTS,
    PRUNE_POINTS,
    REMOVE_POINTS,
    Ordeal,
    Phase,
    Target,
    assert_same,
    draw_kills,
    mine_and_die_after,
    mine_and_die_at,
    mine_counted,
    random_moments,
)
from tests.pipeline.mining import mine, row, write_catalogue

pytestmark = pytest.mark.slow

OPTIONS = ("--rows_per_shard=3", "--max_failure_rate=0.5")
LONG = 40


@pytest.fixture(scope="module")
def catalogue(tmp_path_factory: pytest.TempPathFactory) -> Path:
    rows = [row(number) for number in range(9)] + [row(40, audio_uri="audio/nothing.ogg")]
    return write_catalogue(tmp_path_factory.mktemp("corpus"), rows)


@pytest.fixture(scope="module")
def undisturbed(catalogue: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, float]:
    """A run that nothing disturbs, and how long it takes."""
    output = tmp_path_factory.mktemp("undisturbed") / "run"
    start = time.monotonic()
    assert mine(catalogue, output, *OPTIONS) == 0
    return output, time.monotonic() - start


@pytest.fixture(scope="module")
def long_shard(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A catalogue that makes one shard, and its undisturbed run."""
    folder = tmp_path_factory.mktemp("long")
    names = ["bad.ogg" if i % 9 == 4 else "000.flac" for i in range(LONG)]
    catalogue = write_catalogue(folder, [row(i, audio_uri=f"audio/{names[i]}") for i in range(LONG)])
    (folder / "audio" / "bad.ogg").write_bytes(b"this is no sound")
    assert mine(catalogue, folder / "run", OPTIONS[1]) == 0
    return catalogue, folder / "run"


def test_killed_at_every_commit_point(catalogue: Path, undisturbed: tuple[Path, float], tmp_path: Path) -> None:
    output = tmp_path / "run"
    for point in COMMIT_POINTS:
        mine_and_die_at(point, catalogue, output, OPTIONS)
    assert mine(catalogue, output, *OPTIONS) == 0
    assert_same(output, undisturbed[0])


def test_killed_while_copies_are_looked_for(catalogue: Path, undisturbed: tuple[Path, float], tmp_path: Path) -> None:
    whole, killed = (shutil.copytree(undisturbed[0], tmp_path / name) for name in ("whole", "killed"))
    options = (*OPTIONS, "--fingerprint")
    assert mine(catalogue, whole, *options) == 0
    for point in FINGERPRINT_POINTS:
        mine_and_die_at(point, catalogue, killed, options)
    assert mine(catalogue, killed, *options) == 0
    assert_same(killed, whole)


def test_killed_at_random_moments(catalogue: Path, undisturbed: tuple[Path, float], tmp_path: Path) -> None:
    for number, moment_s in enumerate(random_moments(seed=5, count=5, longest_s=0.8 * undisturbed[1])):
        seconds = moment_s
        while not mine_and_die_after(seconds, catalogue, output := tmp_path / f"run-{number}-{seconds:.3f}", OPTIONS):
            seconds *= 0.6  # this machine was quicker than at the undisturbed run
            assert seconds > 0.01
        assert mine(catalogue, output, *OPTIONS) == 0
        assert_same(output, undisturbed[0])


@pytest.mark.parametrize(
    # Pieces by time alone, and by the interrupt alone.
    ("number", "lost_s"),
    [(signal.SIGKILL, 0.0), (signal.SIGINT, 3600.0)],
)
def test_what_is_settled_of_a_shard_is_not_decoded_again(
    long_shard: tuple[Path, Path], tmp_path: Path, number: signal.Signals, lost_s: float
) -> None:
    catalogue, undisturbed = long_shard
    output, counts = tmp_path / "run", tmp_path / "counts"
    code = mine_counted(catalogue, output, OPTIONS[1:], counts, lost_s=lost_s, number=number, at=LONG - 5)
    assert code == {signal.SIGKILL: -signal.SIGKILL, signal.SIGINT: INTERRUPTED}[number]
    assert list(output.glob("shards/*")) == []
    assert mine_counted(catalogue, output, OPTIONS[1:], counts) == 0
    again = len(counts.read_text().splitlines()) - LONG
    assert 0 <= again <= 3
    assert_same(output, undisturbed)


def test_the_list_of_commit_points_is_whole() -> None:
    folder = Path(pipeline.__file__ or "").parent
    named = {name for file in folder.rglob("*.py") for name in re.findall(r'failpoint\("(\w+)"\)', file.read_text())}
    of_options = {*AUDIOSET_POINTS, *DRY_RUN_POINTS, *FINGERPRINT_POINTS}
    assert named == {*COMMIT_POINTS, *REMOVE_POINTS, *PRUNE_POINTS, *of_options}


def test_six_kills_of_launcher_workers_and_helpers(tmp_path: Path) -> None:
    """Six of those that `benchmarks/kills.py` draws, with few workers: each of them takes seconds to start."""
    drawn = draw_kills(60, seed=0)
    alone = [kill for kill in drawn if kill.workers == 1]
    kills = [kill for kill in alone if kill.target is Target.LAUNCHER][:3]
    kills += [kill for kill in alone if kill.target is Target.HELPER][:2]
    kills += [kill for kill in drawn if kill.target is Target.WORKER and kill.phase is Phase.BUILD and kill.grown][:1]
    assert {kill.phase for kill in kills} == set(Phase)
    ordeal = Ordeal(tmp_path)
    for number, kill in enumerate(kills):
        result = ordeal.go_through(kill)
        assert result.wrong == [], f"kill {number}: {result}"
        assert result.phase == kill.phase
