"""What the plan makes of keys that have far too much: time, memory, and the same choice in any order.

    python -m benchmarks.hot_keys

Three catalogues: one recording with a million comments, one playlist of a hundred thousand recordings, one recording
in a million playlists. Each is planned by `mulan mine --dry_run`, at a tenth of the size, at that size with the lines
of every table reversed, and at the full size. Memory is the peak of the whole process tree, sampled. Where it is
bounded, it does not grow with the input from the tenth to the full size; the hundred thousand recordings themselves are
held, as every catalogue within a pass is. A case passes when both orders give the same plan, byte for byte, and the
caps hold.
"""

import argparse
import json
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from benchmarks.machine import watched, write_result
from pipeline.settings import TextConfig

ROOT = Path(__file__).resolve().parents[1]
SAMPLE_S = 0.25
HOT = "hot"
WORDS = ("slow", "bright", "warm", "low", "soft", "loud", "dark", "quick")

Lines = Iterator[dict[str, Any]]


@dataclass(frozen=True, kw_only=True)
class Case:
    """`tables` gives the lines of each table at a size; of `source`, a kind of annotation, there is too much."""

    name: str
    full: int
    source: str
    tables: Callable[[int], dict[str, Lines]]


def _catalogue(recordings: int) -> Lines:
    yield {"recording_id": HOT, "audio_uri": "hot.flac", "title": "One tune"}
    for number in range(recordings - 1):
        yield {"recording_id": f"r{number:07d}", "audio_uri": f"{number}.flac", "title": f"Tune {number}"}


def _comments(comments: int) -> Lines:
    for number in range(comments):
        word, other = WORDS[number % 8], WORDS[number // 8 % 8]
        yield {"recording_id": HOT, "text": f"The {word} guitar at second {number} has a {other} sound that I like."}


def _popular(playlists: int) -> Lines:
    for number in range(playlists):
        yield {"playlist_id": f"p{number:07d}", "title": f"{WORDS[number % 8]} evenings", "recording_ids": [HOT]}


def _wide(recordings: int) -> Lines:
    members = [HOT, *(f"r{number:07d}" for number in range(recordings - 1))]
    yield {"playlist_id": "wide", "title": "Everything that I have", "recording_ids": members}


def cases(sizes: argparse.Namespace) -> list[Case]:
    return [
        Case(
            name="comments_of_one_recording",
            full=sizes.comments,
            source="lf",
            tables=lambda size: {"catalog": _catalogue(100), "comments": _comments(size)},
        ),
        Case(
            name="recordings_of_one_playlist",
            full=sizes.members,
            source="pl",
            tables=lambda size: {"catalog": _catalogue(size), "playlists": _wide(size)},
        ),
        Case(
            name="playlists_of_one_recording",
            full=sizes.playlists,
            source="pl",
            tables=lambda size: {"catalog": _catalogue(100), "playlists": _popular(size)},
        ),
    ]


def write_tables(folder: Path, tables: dict[str, Lines]) -> dict[str, Path]:
    folder.mkdir()
    paths = {}
    for name, values in tables.items():
        paths[name] = folder / f"{name}.jsonl"
        with paths[name].open("w", encoding="utf-8") as stream:
            stream.writelines(f"{json.dumps(value)}\n" for value in values)
    return paths


def reverse_lines(paths: dict[str, Path]) -> None:
    """In place, since a plan row has the folder of its catalogue."""
    for path in paths.values():
        lines = path.read_bytes().splitlines(keepends=True)
        path.write_bytes(b"".join(reversed(lines)))


def plan(paths: dict[str, Path], output: Path, workers: int) -> dict[str, Any]:
    """Plan one catalogue in a process of its own; what it took."""
    command = [sys.executable, "-m", "openmulan", "mine", "--dry_run", "--quiet", "--tokenizer", "none",
               "--output", str(output), "--direct_num_workers", str(workers)]  # fmt: skip
    for name, path in paths.items():
        command += [f"--{name}", str(path)]
    took = watched(command, cwd=ROOT, sample_s=SAMPLE_S)
    return {"wall_s": took["wall_s"], "peak_mib": took["peak_pss_mib"]}


def plan_content(output: Path) -> dict[str, bytes]:
    """The plan parts of a run; their names have the hash of their content."""
    return {path.name: path.read_bytes() for path in sorted(output.glob("plans/**/*.parquet"))}


def judge(case: Case, output: Path) -> dict[str, Any]:
    cap = {"lf": TextConfig().max_lf, "pl": TextConfig().max_pl}[case.source]
    rows = [row for path in output.glob("plans/**/*.parquet") for row in pq.read_table(path).to_pylist()]
    (hot,) = (row for row in rows if row["recording_id"] == HOT)
    report = json.loads((output / "report.json").read_text(encoding="utf-8"))
    account = report["annotations"][case.source]
    return {
        "recordings": len(rows),
        "annotations_read": sum(row["counts"][f"{case.source}_annotations"] for row in rows),
        "hot_recording_keeps": len(hot[case.source]),
        "cap": cap,
        "account": account,
    }


def run_case(case: Case, folder: Path, workers: int) -> dict[str, Any]:
    result: dict[str, Any] = {}
    tenth = write_tables(folder / "tenth", case.tables(case.full // 10))
    full = write_tables(folder / "full", case.tables(case.full))
    result["size"] = case.full
    result["input_mib"] = round(sum(path.stat().st_size for path in full.values()) / 2**20)
    result["tenth"] = plan(tenth, folder / "run-tenth", workers)
    reverse_lines(tenth)
    result["tenth_reversed"] = plan(tenth, folder / "run-turned", workers)
    result["full"] = plan(full, folder / "run-full", workers)
    content = plan_content(folder / "run-tenth")
    result["equal_in_both_orders"] = bool(content) and content == plan_content(folder / "run-turned")
    return {**result, **judge(case, folder / "run-full")}


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.hot_keys",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--comments", type=int, default=1_000_000, help="of one recording (default: %(default)s)")
    parser.add_argument("--members", type=int, default=100_000, help="of one playlist (default: %(default)s)")
    parser.add_argument("--playlists", type=int, default=1_000_000, help="with one recording (default: %(default)s)")
    parser.add_argument("--workers", type=int, default=1, help="worker processes (default: %(default)s)")
    parser.add_argument("--only", action="append", help="a case by name; may be repeated (default: all)")
    parser.add_argument("--result", default="hot_keys", help="name of the result (default: %(default)s)")
    arguments = parser.parse_args(argv)
    results = {}
    for case in cases(arguments):
        if arguments.only and case.name not in arguments.only:
            continue
        with tempfile.TemporaryDirectory() as folder:
            results[case.name] = run_case(case, Path(folder), arguments.workers)
        # After each case, since each takes minutes.
        write_result(
            arguments.result,
            {"workers": arguments.workers, "cases": results},
            packages=("apache-beam", "pyarrow"),
            command=" ".join(["python -m benchmarks.hot_keys", *argv]),
        )
    good = all(case["equal_in_both_orders"] and case["hot_recording_keeps"] <= case["cap"] for case in results.values())
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
