"""The mining job as it is handed to an engine, in a process of its own."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.engines.servers import CHECKOUT, environment, stop, tail
from tests.pipeline.mining import manifest, row, shard_hashes, write_catalogue

JOB_TIMEOUT_S = 1200
RECORDINGS = 12


def write_corpus(folder: Path, held: str | None = None) -> Path:
    """Twelve recordings with comments and playlists of their own, one that is missing, and a line that is no JSON; and
    one at the address `held`."""
    rows = [row(number, music_gate=("apply", "score_only")[number % 2]) for number in range(RECORDINGS)]
    more = [row(RECORDINGS, audio_uri="audio/missing.ogg")]
    if held is not None:
        more.append(row(RECORDINGS + 1, audio_uri=held))
    catalogue = write_catalogue(folder, [*rows, *more])
    with catalogue.open("a", encoding="utf-8") as stream:
        stream.write("{no json\n")
    ids = [value["recording_id"] for value in rows]
    comments = [
        {"recording_id": name, "text": f"Comment {i} on it. I like how it goes."} for i in range(3) for name in ids
    ]
    playlists = [{"playlist_id": f"list-{i}", "title": f"evenings {i}", "recording_ids": ids[i::2]} for i in range(4)]
    for name, values in (("comments", comments), ("playlists", playlists)):
        lines = "".join(f"{json.dumps(value)}\n" for value in values)
        (folder / f"{name}.jsonl").write_text(lines, encoding="utf-8")
    return folder


class Launch:
    """A running `mulan mine`."""

    def __init__(self, corpus: Path, output: Path, *options: str) -> None:
        command = [
            *(sys.executable, str(CHECKOUT / "beam_runner.py"), "--output", str(output)),
            *("--catalog", str(corpus / "catalog.jsonl"), "--tokenizer", "none", "--rows_per_shard", "2"),
            *("--max_failure_rate", "0.2", *options),
        ]
        for table in ("comments", "playlists"):
            if (path := corpus / f"{table}.jsonl").exists():
                command += [f"--{table}", str(path)]
        self._log = output.with_suffix(".log")
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=output.parent,
                env=environment(),
                start_new_session=True,
            )

    def kill(self) -> None:
        """The launcher alone: what it has started lives on."""
        os.kill(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def assert_runs(self) -> None:
        assert self.process.poll() is None, tail(self._log)

    def end(self) -> None:
        code = self.process.wait(JOB_TIMEOUT_S)
        assert code == 0, tail(self._log)


@contextmanager
def launched(corpus: Path, output: Path, *options: str) -> Iterator[Launch]:
    """A job that does not outlive the body, and neither does what it has started."""
    launch = Launch(corpus, output, *options)
    try:
        yield launch
    finally:
        stop(launch.process)


def mined(corpus: Path, output: Path, *options: str) -> Path:
    with launched(corpus, output, *options) as launch:
        launch.end()
    return output


def plan_files(output: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in output.glob("plans/*/part-*.parquet")}


def reject_files(output: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in output.glob("**/rejects*/*.jsonl")}


def assert_same(output: Path, expected: Path) -> None:
    assert len(manifest(expected)["shards"]) >= 3
    assert shard_hashes(output) == shard_hashes(expected)
    assert manifest(output) == manifest(expected)
    assert plan_files(output) == plan_files(expected)
    assert reject_files(output) == reject_files(expected)
