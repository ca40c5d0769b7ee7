"""What a run of many shards costs its launcher, which works alone: what is built, groups, manifest, sweep, report.

    python -m benchmarks.launcher_cost
    python -m benchmarks.launcher_cost --shards 1000 10000 --rows 64

One shard is mined from a catalogue of --rows recordings, an eighth of whose files are missing; then the run folder is
made to have N of it, each with plan part, rejects and commit record of its own name (hard links; the audio is a second
long, since nothing of it is read here). `mulan mine` with the same command finds all of it committed, and does what the
launcher does before and after any build: it reads the plan and each record twice, the ids and hashes of each shard, and
writes groups, manifest and report. From its CPU and its clock those of a run of one shard are taken off. Peak PSS is of
all its processes. Growth is the cost a shard at the largest N over that at the smallest.
"""

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from benchmarks.machine import watched, write_result
from benchmarks.plan_text import TENTH, Texts, catalogue, write_lines
from pipeline.run_folder import layout
from pipeline.settings import DEFAULT_ROWS_PER_SHARD
from pipeline.storage import write_json
from schemas.commit import part_key

ROOT = Path(__file__).resolve().parents[1]
SAMPLE_S = 0.25
RATE_HZ = 16_000
MISSING = 8  # every such recording has no file
LINKS = 30_000  # names that one file may have on any file system
GENERATION = 1


def rows(count: int) -> Iterator[dict[str, Any]]:
    for number, row in enumerate(catalogue(count, TENTH, Texts(0))):
        audio = "gone.wav" if number % MISSING == 0 else "sound.wav"
        yield {**row, "audio_uri": audio, "start_s": 0.0, "duration_s": 1.0, "music_gate": "score_only"}


def mine(catalogue_path: Path, output: Path, rows_per_shard: int) -> dict[str, float]:
    command = [sys.executable, "-m", "openmulan", "mine", "--quiet", "--tokenizer", "none", "--max_failure_rate", "1"]
    command += ["--catalog", str(catalogue_path), "--output", str(output), "--rows_per_shard", str(rows_per_shard)]
    return watched(command, cwd=ROOT, sample_s=SAMPLE_S)


class Copies:
    """Further names of a file, and a file more where one may have no more names."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._made = 0

    def add(self, target: Path) -> None:
        self._made += 1
        if self._made % LINKS == 0:
            target.write_bytes(self._path.read_bytes())
            self._path = target
        else:
            os.link(self._path, target)


def multiply(output: Path, shards: int) -> None:
    """A run of one shard becomes one of so many."""
    plan_path = Path(layout.plan_path(str(output), GENERATION))
    plan = json.loads(plan_path.read_text(encoding="utf-8"))
    (part,) = plan["parts"][:1]
    first = part_key(GENERATION, 0)
    record = json.loads(Path(layout.shard_commit_path(str(output), first)).read_text(encoding="utf-8"))
    copies = {path: Copies(output / path) for path in files_of(part, record)}
    parts = [part]
    for index in range(1, shards):
        key = part_key(GENERATION, index)

        def moved(entry: dict[str, Any], key: str = key, index: int = index) -> dict[str, Any]:
            path = entry["path"].replace(first, key).replace("part-00000-", f"part-{index:05d}-")
            copies[entry["path"]].add(output / path)
            return {**entry, "path": path}

        parts.append({**part, "index": index, "file": moved(part["file"])})
        files = {name: moved(record[name]) for name in ("shard", "rejects") if record[name]}
        content = json.dumps({**record, "index": index, **files}, sort_keys=True, ensure_ascii=False, indent=1)
        Path(layout.shard_commit_path(str(output), key)).write_text(f"{content}\n", encoding="utf-8")
    one = plan["recordings"]
    plan |= {"parts": parts, "shards": shards, "recordings": one * shards}
    plan["rows"] = {**plan["rows"], "read": one * shards, "kept": one * shards}
    write_json(str(plan_path), plan)


def files_of(part: dict[str, Any], record: dict[str, Any]) -> list[str]:
    return [entry["path"] for entry in (part["file"], record["shard"], record["rejects"]) if entry]


def measure(shards: list[int], rows_per_shard: int) -> dict[str, Any]:
    result: dict[str, Any] = {"rows_a_shard": rows_per_shard, "runs": {}}
    for count in (1, *shards):
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            noise_T = np.random.default_rng(0).standard_normal(2 * RATE_HZ) * 0.1
            soundfile.write(folder / "sound.wav", noise_T, RATE_HZ)
            table = write_lines(folder / "catalog.jsonl", rows(rows_per_shard))
            mine(table, folder / "run", rows_per_shard)
            multiply(folder / "run", count)
            found = mine(table, folder / "run", rows_per_shard)
            manifest = json.loads((folder / "run" / "manifest.json").read_text(encoding="utf-8"))["manifest"]
            made = json.loads((folder / "run" / manifest).read_text(encoding="utf-8"))
            if len(made["shards"]) != count:
                raise SystemExit(f"{manifest} has {len(made['shards'])} shards instead of {count}")
        if count == 1:
            result["start"] = start = found
            continue
        found |= {
            f"{what}_ms_a_shard": round((found[f"{what}_s"] - start[f"{what}_s"]) / count * 1e3, 2)
            for what in ("cpu", "wall")
        }
        result["runs"][str(count)] = found
        sys.stderr.write(f"{count} shards: {found}\n")
    costs = [run["cpu_ms_a_shard"] for run in result["runs"].values()]
    result["growth"] = round(costs[-1] / costs[0], 3)
    return result


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.launcher_cost",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--shards", type=int, nargs="+", default=[1_000, 10_000, 86_000], metavar="N")
    parser.add_argument("--rows", type=int, default=DEFAULT_ROWS_PER_SHARD, help="of a shard (default: %(default)s)")
    parser.add_argument("--name", default="launcher_cost", help="of the result (default: %(default)s)")
    given = parser.parse_args()
    command = " ".join(["python -m benchmarks.launcher_cost", *sys.argv[1:]])
    write_result(given.name, measure(given.shards, given.rows), packages=("apache-beam", "pyarrow"), command=command)


if __name__ == "__main__":
    main()
