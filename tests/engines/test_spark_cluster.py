"""The mining job on a standalone cluster of Spark: a master and two workers, one of them killed in mid-build."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.engines import traps
from tests.engines.held import Held
from tests.engines.jobs import JOB_TIMEOUT_S, assert_same
from tests.engines.servers import SPARK_HOME, Cluster, spark_cluster, spark_options, worker_pool

pytestmark = [
    pytest.mark.spark_cluster,
    pytest.mark.timeout(2 * JOB_TIMEOUT_S),
    pytest.mark.skipif(SPARK_HOME not in os.environ, reason="needs a Spark: run `make test-spark-cluster`"),
]


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    folder = tmp_path / "cluster"
    folder.mkdir()
    with spark_cluster(folder) as cluster:
        yield cluster


def test_the_same_bytes_with_a_worker_killed_in_mid_build(
    held: Held, held_in_memory: Path, detector: tuple[str, str], cluster: Cluster, tmp_path: Path
) -> None:
    """And all steps of the run are one application of the cluster."""
    with worker_pool(tmp_path) as pool:
        options = (*spark_options(cluster.master), *pool, *detector)
        with held.in_mid_build(tmp_path / "run", *options) as launch:
            cluster.workers[0].kill()
            held.let_go()
            launch.end()
    told = cluster.told("/json/")
    assert [app["state"] for app in told["activeapps"] + told["completedapps"]] == ["FINISHED"]
    assert_same(tmp_path / "run", held_in_memory)


def test_no_trap_is_met(cluster: Cluster, tmp_path: Path) -> None:
    with worker_pool(tmp_path) as pool:
        traps.run(tmp_path / "traps", [*spark_options(cluster.master), *pool])
    traps.assert_none_is_met(tmp_path / "traps")
