"""The graphs of the job as an engine gets them: how large they are for 50 million recordings, and what they ask of a
machine. Dataflow takes at most 10 MB of a graph, and each worker reads it whole.
"""

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import apache_beam as beam
import pytest

from pipeline import build, task_file
from pipeline.plan import plan, rewrite_parts
from pipeline.run_folder.lock import Hold
from pipeline.run_folder.withdraw import rewrite_shards
from pipeline.settings import MineConfig, ShardSettings, TextConfig
from pipeline.survey import find_cutoff, survey
from pipeline.table_steps import Attempt, Selection, write_known
from schemas.commit import FileEntry, PartRecord
from tests.engines import traps
from tests.pipeline.quick_beam import spare_beam

spare_beam()

SHARDS = 100_000
MAX_BYTES = 1_000_000
FILES = [f"gs://a-bucket-of-music/catalogue-2026/comments-{number:05d}-of-02000.jsonl.gz" for number in range(2_000)]
TABLES: dict[str, Any] = {"columns": {}, "tags_separator": None}
MIN_RAM = "beam:resources:min_ram_bytes:v1"


def part(number: int) -> PartRecord:
    path = f"plans/g0001/part-{number:05d}-0123456789ab.parquet"
    entry = FileEntry(path=path, sha256=f"{number:064x}", bytes=400_000, rows=500)
    return PartRecord(generation=1, index=number, file=entry, annotations={}, rule_hits={})


class Run:
    """A run folder with the files that the graphs name."""

    def __init__(self, folder: Path, shards: int = 1) -> None:
        self.attempt = Attempt(run_dir=str(folder), generation=2, name="0002-0123abcd")
        known = write_known(self.attempt, [part(number) for number in range(shards)])
        assert known is not None
        self.known = known
        self.tasks = str(folder / "tasks.jsonl")
        task_file.write(self.tasks, itertools.repeat(build.BuildTask(part=part(0)).to_json(), shards))
        self.hold = Hold(run_dir=str(folder), job_id="0123abcd", fence=2)
        self.shards = ShardSettings(
            config_digest="0" * 32,
            shard_format="parquet",
            audio_encoding="flac",
            lf_model="/models/lf",
            lf_digest="0" * 32,
            lf_threshold=0.5,
        )


def steps_of(run: Run) -> dict[str, Callable[[Any], None]]:
    attempt, tables = run.attempt, TABLES
    everything = Selection(shards=SHARDS)
    return {
        "cutoff": lambda begin: find_cutoff(begin, paths=FILES, limit=10**6, path="gs://run/cutoff.json", **tables),
        "survey": lambda begin: survey(
            begin, paths=FILES, selection=Selection(), known=run.known, attempt=attempt, suffix="", **tables
        ),
        "plan": lambda begin: plan(
            begin,
            catalogues=FILES,
            comments=FILES,
            playlists=FILES,
            selection=everything,
            known=run.known,
            keep_gone=False,
            attempt=attempt,
            tokenizer=attempt.tokenizer_path,
            text=TextConfig(),
            lf_model="/models/lf",
            **tables,
        ),
        "rewrite parts": lambda begin: rewrite_parts(
            begin, removed=["gs://run/removed-000.jsonl"], known=run.known, attempt=attempt, first_index=SHARDS
        ),
        "build": lambda begin: build.build(
            begin, tasks=run.tasks, hold=run.hold, config=MineConfig(), shards=run.shards, allow_roots=("/music",)
        ),
        "rewrite shards": lambda begin: rewrite_shards(begin, tasks=run.tasks, hold=run.hold, settings=run.shards),
    }


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return Run(tmp_path_factory.mktemp("run"), SHARDS)


def graph(steps: Callable[[Any], None]) -> Any:
    pipeline = beam.Pipeline(runner="FnApiRunner")
    steps(pipeline)
    return pipeline.to_runner_api()


def asked_of_machines(proto: Any) -> set[int]:
    """Bytes of memory that its environments ask for; 0 where one asks for nothing."""
    environments = proto.components.environments.values()
    return {int(environment.resource_hints.get(MIN_RAM, b"0")) for environment in environments}


def test_a_graph_is_small_however_many_shards_there_are_and_asks_for_the_memory_that_it_needs(run: Run) -> None:
    for name, steps in steps_of(run).items():
        proto = graph(steps)
        assert proto.ByteSize() < MAX_BYTES, name
        assert asked_of_machines(proto) - {0} == {"plan": {3 * 10**9}, "build": {10**9}}.get(name, set()), name


def test_the_tasks_of_a_file_are_what_was_written(run: Run) -> None:
    read = task_file._read(run.tasks, build.BuildTask.from_json)
    assert next(read) == build.BuildTask(part=part(0))
    assert sum(1 for _ in task_file._read(run.tasks, str)) == SHARDS


def test_no_trap_is_met_by_the_local_runner(tmp_path: Path) -> None:
    options = ["--runner=FnApiRunner", "--direct_num_workers=2", "--direct_running_mode=multi_threading"]
    traps.run(tmp_path / "traps", options)
    traps.assert_none_is_met(tmp_path / "traps")
