"""The mining job on a session cluster of Flink: a JobManager and two TaskManagers, one of them killed in mid-build, and
then the launcher."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.engines import traps
from tests.engines.held import Held
from tests.engines.jobs import JOB_TIMEOUT_S, assert_same, mined
from tests.engines.servers import FLINK_HOME, Cluster, flink_cluster, flink_options, worker_pool
from tests.pipeline.jobs import wait_until

pytestmark = [
    pytest.mark.flink,
    pytest.mark.timeout(3 * JOB_TIMEOUT_S),
    pytest.mark.skipif(FLINK_HOME not in os.environ, reason="needs a Flink: run `make test-flink`"),
]


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    folder = tmp_path / "cluster"
    folder.mkdir()
    with flink_cluster(folder) as cluster:
        wait_until(lambda: cluster.told("/overview")["taskmanagers"] == 2, "a TaskManager does not come")
        yield cluster


def test_the_same_bytes_with_a_task_manager_killed_in_mid_build(
    held: Held, held_in_memory: Path, detector: tuple[str, str], cluster: Cluster, tmp_path: Path
) -> None:
    with worker_pool(tmp_path) as pool:
        options = (*flink_options(cluster.master), *pool, *detector)
        with held.in_mid_build(tmp_path / "run", *options) as launch:
            cluster.workers[0].kill()
            held.let_go()
            launch.end()
    assert cluster.told("/overview")["jobs-failed"] == 0
    assert_same(tmp_path / "run", held_in_memory)


def test_the_same_bytes_with_the_launcher_killed_in_mid_build(
    held: Held, held_in_memory: Path, detector: tuple[str, str], cluster: Cluster, tmp_path: Path
) -> None:
    """Its job lives on in the cluster, beside that of the next launcher, and may commit nothing more."""
    with worker_pool(tmp_path) as pool:
        options = (*flink_options(cluster.master), *pool, *detector)
        with held.in_mid_build(tmp_path / "run", *options) as launch:
            launch.kill()
            held.let_go()
            mined(held.corpus, tmp_path / "run", *held.options, *options)
    assert_same(tmp_path / "run", held_in_memory)


def test_no_trap_is_met(cluster: Cluster, tmp_path: Path) -> None:
    with worker_pool(tmp_path) as pool:
        traps.run(tmp_path / "traps", [*flink_options(cluster.master), *pool])
    traps.assert_none_is_met(tmp_path / "traps")
