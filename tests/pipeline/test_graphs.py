"""The graphs of the job as an engine gets them: how large they are for 50 million recordings, and what they ask of a
machine. Dataflow takes at most 10 MB of a graph, and each worker reads it whole.
"""

from pathlib import Path
from typing import Any

import pytest

from pipeline import build, task_file
from tests.engines import traps
from tests.pipeline.graphs import Run, graph, part, steps_of
from tests.pipeline.quick_beam import spare_beam

spare_beam()

SHARDS = 100_000
MAX_BYTES = 1_000_000
MIN_RAM = "beam:resources:min_ram_bytes:v1"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return Run(tmp_path_factory.mktemp("run"), SHARDS)


def asked_of_machines(proto: Any) -> set[int]:
    """Bytes of memory that its environments ask for; 0 where one asks for nothing."""
    environments = proto.components.environments.values()
    return {int(environment.resource_hints.get(MIN_RAM, b"0")) for environment in environments}


@pytest.mark.slow
def test_a_graph_is_small_however_much_there_is_of_shards_and_exclusions_and_asks_for_the_memory_that_it_needs(
    run: Run,
) -> None:
    needed = {"plan": {3 * 10**9}, "plan through files": {3 * 10**9}, "build": {10**9}}
    for name, steps in steps_of(run, lf_model="/models/lf").items():
        proto = graph(steps)
        assert proto.ByteSize() < MAX_BYTES, name
        assert asked_of_machines(proto) - {0} == needed.get(name, set()), name


@pytest.mark.slow
def test_the_tasks_of_a_file_are_what_was_written(run: Run) -> None:
    read = task_file._read(run.tasks, build.BuildTask.from_json)
    assert next(read) == build.BuildTask(part=part(0))
    assert len(Path(run.tasks).read_bytes().splitlines()) == SHARDS


@pytest.mark.slow
def test_no_trap_is_met_by_the_local_runner(tmp_path: Path) -> None:
    options = ["--runner=FnApiRunner", "--direct_num_workers=2", "--direct_running_mode=multi_threading"]
    traps.run(tmp_path / "traps", options)
    traps.assert_none_is_met(tmp_path / "traps")
