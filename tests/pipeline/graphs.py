"""Every pipeline of the job over made-up tables and a made-up run, as a graph."""

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import apache_beam as beam

from filters.music.load import BUILTIN, load_detector
from filters.tokens import load_tokenizer
from pipeline import build, storage, task_file
from pipeline.duplicates.fingerprints import make
from pipeline.duplicates.join import join
from pipeline.exchange import Exchange
from pipeline.plan import plan, rewrite_parts
from pipeline.run_folder.lock import Hold
from pipeline.run_folder.withdraw import rewrite_shards
from pipeline.settings import NONE, MineConfig, ShardSettings, TextConfig
from pipeline.survey import survey
from pipeline.table_steps import Attempt, write_known
from schemas.commit import FileEntry, PartRecord
from schemas.exclusion import ExclusionList

FILES = [f"gs://a-bucket-of-music/catalogue-2026/comments-{number:05d}-of-02000.jsonl.gz" for number in range(2_000)]
TABLES: dict[str, Any] = {"columns": {}, "tags_separator": None}


def part(number: int) -> PartRecord:
    path = f"plans/g0001/part-{number:05d}-0123456789ab.parquet"
    entry = FileEntry(path=path, sha256=f"{number:064x}", bytes=400_000, rows=500)
    return PartRecord(generation=1, index=number, file=entry, annotations={}, rule_hits={})


class Run:
    """A run folder with the files that the graphs name."""

    def __init__(self, folder: Path, shards: int = 1) -> None:
        self.count = shards
        self.attempt = Attempt(run_dir=str(folder), generation=2, name="0002-0123abcd")
        known = write_known(self.attempt, [part(number) for number in range(shards)])
        assert known is not None
        self.known = known
        self.tasks = str(folder / "tasks.jsonl")
        task_file.write(self.tasks, itertools.repeat(build.BuildTask(part=part(0)).to_json(), shards))
        vocabulary = folder / "vocab.txt"
        vocabulary.write_text("[UNK]\na\n", encoding="utf-8")
        counter = load_tokenizer(str(vocabulary))
        assert counter is not None
        storage.write_bytes(self.attempt.tokenizer_path, counter.to_str().encode())
        self.exclude = str(folder / "exclude.json")
        ids = frozenset(f"a-recording-of-the-evaluation-{number}" for number in range(shards))
        storage.write_json(self.exclude, ExclusionList(recording_ids=ids).to_json())
        self.hold = Hold(run_dir=str(folder), job_id="0123abcd", fence=2)
        self.shards = ShardSettings(
            config_digest="0" * 32,
            shard_format="parquet",
            audio_encoding="flac",
            lf_model="/models/lf",
            lf_digest="0" * 32,
            lf_threshold=0.5,
        )


def steps_of(run: Run, lf_model: str) -> dict[str, Callable[[Any], None]]:
    """All pipelines of the job, by name."""
    attempt, tables = run.attempt, TABLES
    config = MineConfig(detector_digest=load_detector(BUILTIN).digest)
    of_engine, of_files = Exchange(), Exchange(folder=storage.join(attempt.run_dir, "exchange"), partitions=4)

    def surveys(exchange: Exchange) -> Callable[[Any], None]:
        return lambda begin: survey(
            begin, paths=FILES, limit=10**6, known=run.known, attempt=attempt, exchange=exchange, **tables
        )

    def plans(exchange: Exchange) -> Callable[[Any], None]:
        return lambda begin: plan(
            begin,
            catalogues=FILES,
            comments=FILES,
            playlists=FILES,
            cutoff=None,
            shards=run.count,
            known=run.known,
            keep_gone=False,
            attempt=attempt,
            exchange=exchange,
            tokenizer=attempt.tokenizer_path,
            text=TextConfig(),
            lf_model=lf_model,
            exclude=run.exclude,
            **tables,
        )

    return {
        "survey": surveys(of_engine),
        "survey through files": surveys(of_files),
        "plan": plans(of_engine),
        "plan through files": plans(of_files),
        "rewrite parts": lambda begin: rewrite_parts(
            begin, removed=["gs://run/removed-000.jsonl"], known=run.known, attempt=attempt, first_index=run.count
        ),
        "build": lambda begin: build.build(
            begin,
            tasks=run.tasks,
            hold=run.hold,
            config=config,
            shards=run.shards,
            allow_roots=("/music",),
            exclude=run.exclude,
        ),
        "fingerprint": lambda begin: make(begin, records=run.tasks, hold=run.hold),
        "join of fingerprints": lambda begin: join(
            begin, files=run.tasks, run_dir=attempt.run_dir, folder=attempt.run_dir, parts=44
        ),
        "rewrite shards": lambda begin: rewrite_shards(begin, tasks=run.tasks, hold=run.hold, settings=run.shards),
    }


def graph(steps: Callable[[Any], None]) -> Any:
    pipeline = beam.Pipeline(runner="FnApiRunner")
    steps(pipeline)
    return pipeline.to_runner_api()


def write_graphs(folder: Path) -> list[Path]:
    """A file for each pipeline of a job without a sentence classifier, for the Python of another environment."""
    written = []
    for number, steps in enumerate(steps_of(Run(folder), lf_model=NONE).values()):
        written.append(folder / f"{number}.graph")
        written[-1].write_bytes(graph(steps).SerializeToString())
    return written
