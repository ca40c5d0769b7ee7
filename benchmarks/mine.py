"""What the mining job costs beside its kernels, what a second worker process gains, and whether memory stays bounded.

    python benchmarks/mine.py ../shared/data --music_detector ../shared/models/yamnet.tflite

The folder has a `catalog.jsonl` with local audio. Four parts, each of ratios within one run:

- kernels: CPU seconds of a bare loop in one process (decode, detect, encode) over those of the whole job, its decoding
  process included, on the same recordings;
- before: what a recording costs by the commit that `--before` names and by the tree as it is, in turn, and whose
  decisions moved. A job of every recording four times less one of each once is what a recording costs, of which the
  rest is the job's start;
- workers: wall seconds of the job in one process over those with two worker processes, and those of two bare loops,
  each on half of the recordings, over those of the job with two;
- memory: the largest PSS of the whole tree of processes, with two worker processes, for a small and a large catalogue.

A catalogue larger than the folder has its recordings several times, under ids of their own.
"""

import argparse
import ctypes
import itertools
import json
import os
import resource
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.machine import pss_bytes, write_result
from schemas.run import Run

ROOT = Path(__file__).resolve().parents[1]
BARE = ROOT / "benchmarks" / "bare_mining.py"
ROWS_PER_SHARD = 64
SAMPLE_EVERY_S = 0.5
TIMES = 4  # that a recording stands in the larger catalogue of `before`
PR_SET_CHILD_SUBREAPER = 36
PARTS = ("kernels", "before", "workers", "memory")


@dataclass(frozen=True, kw_only=True)
class Cost:
    wall_s: float
    cpu_s: float
    largest_pss_mib: float


def rows(folder: Path) -> list[dict[str, Any]]:
    with (folder / "catalog.jsonl").open(encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def write_catalogue(folder: Path, recordings: int, path: Path, first: int | None = None) -> None:
    """`recordings` rows, going round the folder's, or the first of them, as often as it takes."""
    with path.open("w", encoding="utf-8") as out:
        for number, row in enumerate(itertools.islice(itertools.cycle(rows(folder)[:first]), recordings)):
            uri = str((folder / row["audio_uri"]).resolve())
            out.write(json.dumps({**row, "recording_id": f"{row['recording_id']}-{number}", "audio_uri": uri}) + "\n")


def bare(folder: Path, recordings: int, detector: str, *, loops: int = 1, tree: Path = ROOT) -> list[dict[str, float]]:
    """CPU seconds by kernel of each of so many bare loops at once, with the code of `tree`."""
    command = [sys.executable, str(BARE), str(folder.resolve()), str(recordings), detector]
    environment = {**os.environ, "PYTHONPATH": str(tree)}
    running = [
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment)
        for _ in range(loops)
    ]
    said = [process.communicate()[0] for process in running]
    return [json.loads(line) for line in said]


@contextmanager
def watched_memory() -> Iterator[list[int]]:
    """The largest sum of PSS over all descendants of this process, as the list's one element."""
    largest, done = [0], threading.Event()

    def watch() -> None:
        this = psutil.Process()
        while not done.wait(SAMPLE_EVERY_S):
            largest[0] = max(largest[0], pss_bytes(this.children(recursive=True)))

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield largest
    finally:
        done.set()
        thread.join()


def mine(folder: Path, catalogue: Path, output: Path, detector: str, workers: int, tree: Path = ROOT) -> Cost:
    command = [sys.executable, str(tree / "beam_runner.py"), "--quiet"]
    command += ["--catalog", str(catalogue), "--allow_root", str(folder.resolve()), "--output", str(output)]
    command += [
        "--rows_per_shard",
        str(ROWS_PER_SHARD),
        "--music_detector",
        detector,
        "--tokenizer",
        "none",
    ]
    command += ["--direct_num_workers", str(workers)]
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    with watched_memory() as largest:
        subprocess.run(command, check=True, cwd=tree, stdout=subprocess.DEVNULL)
        wall_s = time.perf_counter() - start
    # Whatever the job has left behind became a child of this process.
    while psutil.Process().children():
        os.waitpid(-1, 0)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Cost(wall_s=round(wall_s, 1), cpu_s=round(cpu_s, 1), largest_pss_mib=round(largest[0] / 2**20, 1))


@contextmanager
def checked_out(commit: str, work: Path) -> Iterator[Path]:
    """A working tree of another commit of this repository."""
    tree = work / "before"
    git = ["git", "-C", str(ROOT), "worktree"]
    subprocess.run([*git, "add", "--quiet", "--detach", str(tree), commit], check=True)
    try:
        yield tree
    finally:
        subprocess.run([*git, "remove", "--force", str(tree)], check=True)


def decisions(output: Path) -> dict[str, bool]:
    """Whether a recording that was judged is kept."""
    run = Run.open(output)
    kept = {row for group in run.row_groups() for row in run.read(group, ["recording_id"])["recording_id"].to_pylist()}
    rejects = [
        json.loads(line)
        for path in sorted((output / "rejects").glob("*.jsonl"))
        for line in path.read_text(encoding="utf-8").splitlines()
    ]
    judged = {value["recording_id"] for value in rejects if value["music_fraction"] is not None}
    return {**dict.fromkeys(kept, True), **dict.fromkeys(judged, False)}


def before_and_now(arguments: argparse.Namespace, work: Path) -> dict[str, Any]:
    folder, detector, each = arguments.folder, arguments.music_detector, arguments.small // TIMES
    catalogues = {times: work / f"before-{times}.jsonl" for times in (1, TIMES)}
    for times, path in catalogues.items():
        write_catalogue(folder, times * each, path, each)
    outputs: dict[str, Path] = {}
    best: dict[str, dict[str, float]] = {}
    with checked_out(arguments.before, work) as tree:
        trees = {"before": tree, "now": ROOT}
        for number in range(arguments.rounds):
            for name, of in trees.items():
                (cost_s,) = bare(folder, each, detector, tree=of)
                cost_s["kernels"] = sum(cost_s.values())
                for times, path in catalogues.items():
                    outputs[name] = work / f"{name}-{number}-{times}"
                    cost_s[f"job_{times}"] = mine(folder, path, outputs[name], detector, 1, of).cpu_s
                sys.stderr.write(f"{name}: {cost_s}\n")
                earlier = best.get(name, cost_s)
                best[name] = {what: min(seconds, earlier[what]) for what, seconds in cost_s.items()}
    made = {name: decisions(output) for name, output in outputs.items()}
    ms: dict[str, dict[str, float]] = {}
    for name, cost_s in best.items():
        whole_s = (cost_s[f"job_{TIMES}"] - cost_s["job_1"]) / (TIMES - 1)
        kernels = {what: cost_s[what] for what in ("decode", "detect", "encode", "kernels")}
        parts_s = {**kernels, "whole": whole_s}
        ms[name] = {what: round(1_000 * seconds / each, 1) for what, seconds in parts_s.items()}
    old, new = ms["before"], ms["now"]
    return {
        "commit": arguments.before,
        "recordings": each,
        "rounds": arguments.rounds,
        "cpu_ms_a_recording": ms,
        "start_cpu_s": {
            name: round(cost_s["job_1"] - ms[name]["whole"] * each / 1_000, 1) for name, cost_s in best.items()
        },
        "detector_less": round(old["detect"] / new["detect"], 2),
        "whole_less": round(old["whole"] / new["whole"], 2),
        "kernels_over_whole": {name: round(of["kernels"] / of["whole"], 3) for name, of in ms.items()},
        "decisions": len(made["now"]),
        "moved": sorted(name for name, kept in made["now"].items() if kept != made["before"][name]),
    }


def measure(arguments: argparse.Namespace, work: Path) -> dict[str, Any]:
    numbers = itertools.count()

    def job(recordings: int, workers: int) -> Cost:
        catalogue, output = work / f"{recordings}.jsonl", work / f"run-{next(numbers)}"
        write_catalogue(arguments.folder, recordings, catalogue)
        cost = mine(arguments.folder, catalogue, output, arguments.music_detector, workers)
        sys.stderr.write(f"{recordings} recordings, {workers} workers: {cost}\n")
        return cost

    result: dict[str, Any] = {"rows_per_shard": ROWS_PER_SHARD}
    if "kernels" in arguments.parts:
        kernels_cpu_s = sum(bare(arguments.folder, arguments.small, arguments.music_detector)[0].values())
        whole = job(arguments.small, 1)
        result["kernels"] = {
            "recordings": arguments.small,
            "kernels_cpu_s": round(kernels_cpu_s, 1),
            "whole_cpu_s": whole.cpu_s,
            "ratio": round(kernels_cpu_s / whole.cpu_s, 3),
        }
    if "before" in arguments.parts and arguments.before:
        result["before"] = before_and_now(arguments, work)
    if "workers" in arguments.parts:
        one, two = job(arguments.medium, 1), job(arguments.medium, 2)
        began = time.perf_counter()
        loops = bare(arguments.folder, -(-arguments.medium // 2), arguments.music_detector, loops=2)
        bare_wall_s, bare_cpu_s = time.perf_counter() - began, sum(sum(kernels.values()) for kernels in loops)
        result["workers"] = {
            "recordings": arguments.medium,
            "one_wall_s": one.wall_s,
            "two_wall_s": two.wall_s,
            "gain": round(one.wall_s / two.wall_s, 2),
            "two_cpu_s": two.cpu_s,
            "two_bare_loops_wall_s": round(bare_wall_s, 1),
            "two_bare_loops_cpu_s": round(bare_cpu_s, 1),
            "of_two_bare_loops": {
                "by_wall": round(bare_wall_s / two.wall_s, 3),
                "by_cpu": round(bare_cpu_s / two.cpu_s, 3),
            },
        }
    if "memory" in arguments.parts:
        small, large = job(arguments.small, 2), job(arguments.large, 2)
        result["memory"] = {
            f"{arguments.small}_recordings_pss_mib": small.largest_pss_mib,
            f"{arguments.large}_recordings_pss_mib": large.largest_pss_mib,
            "ratio": round(large.largest_pss_mib / small.largest_pss_mib, 3),
        }
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--music_detector", default="builtin")
    parser.add_argument("--small", type=int, default=350, metavar="N", help="recordings (default: %(default)s)")
    parser.add_argument("--medium", type=int, default=1_400, metavar="N", help="recordings (default: %(default)s)")
    parser.add_argument("--large", type=int, default=3_500, metavar="N", help="recordings (default: %(default)s)")
    parser.add_argument("--before", metavar="COMMIT", help="to compare with")
    parser.add_argument("--rounds", type=int, default=2, help="of that comparison (default: %(default)s)")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--name", default="mine", help="of the result (default: %(default)s)")
    arguments = parser.parse_args()
    # Elsewhere the same name may be another file.
    if Path(arguments.music_detector).exists():
        arguments.music_detector = str(Path(arguments.music_detector).resolve())
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    with tempfile.TemporaryDirectory() as work:
        write_result(
            arguments.name,
            measure(arguments, Path(work)),
            packages=("apache-beam", "av", "ai-edge-litert", "pyarrow"),
            command="python benchmarks/mine.py " + " ".join(sys.argv[1:]),
        )


if __name__ == "__main__":
    main()
