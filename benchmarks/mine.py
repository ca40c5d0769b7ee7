"""What the mining job costs beside its kernels, what a second worker process gains, and whether memory stays bounded.

    python benchmarks/mine.py ../shared/data --music_detector ../shared/models/yamnet.tflite

The folder has a `catalog.jsonl` with local audio. Three parts, each a ratio within one run:

- kernels: CPU seconds of a bare loop in one process (decode, detect, encode) over those of the whole job, its decoding
  process included, on the same recordings;
- workers: wall seconds of the job in one process over those with two worker processes;
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

import numpy as np
import psutil

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.machine import pss_bytes, write_result
from filters.music.gate import MusicGateConfig, music_fraction
from filters.music.load import load_detector
from pipeline.media.encode import encode
from pipeline.media.helper import answer
from pipeline.media.protocol import ClipSpec, DecodeConfig
from schemas.shard import AudioEncoding

ROOT = Path(__file__).resolve().parents[1]
CLIP = ClipSpec(start_s=30.0, duration_s=30.0)
ROWS_PER_SHARD = 64
SAMPLE_EVERY_S = 0.5
PR_SET_CHILD_SUBREAPER = 36
PARTS = ("kernels", "workers", "memory")


@dataclass(frozen=True, kw_only=True)
class Cost:
    wall_s: float
    cpu_s: float
    largest_pss_mib: float


def rows(folder: Path) -> list[dict[str, Any]]:
    with (folder / "catalog.jsonl").open(encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def write_catalogue(folder: Path, recordings: int, path: Path) -> None:
    """`recordings` rows, going round the folder's as often as it takes."""
    with path.open("w", encoding="utf-8") as out:
        for number, row in enumerate(itertools.islice(itertools.cycle(rows(folder)), recordings)):
            uri = str((folder / row["audio_uri"]).resolve())
            out.write(json.dumps({**row, "recording_id": f"{row['recording_id']}-{number}", "audio_uri": uri}) + "\n")


def kernels_cpu_s(folder: Path, recordings: int, detector_spec: str) -> float:
    """Decode, detect, encode, and nothing else, in this process."""
    detector, gate, decode = load_detector(detector_spec), MusicGateConfig(), DecodeConfig()
    chosen = list(itertools.islice(itertools.cycle(rows(folder)), recordings))
    start = time.process_time()
    for row in chosen:
        meta, samples = answer((folder / row["audio_uri"]).read_bytes(), CLIP, decode)
        if "reason" in meta:
            continue
        pcm_T = np.clip(np.rint(np.frombuffer(samples, np.float32) * 32768), -32768, 32767).astype(np.int16)
        scores = detector.scores(pcm_T.astype(np.float32) * np.float32(2**-15))
        fraction = music_fraction(scores, detector.grid, threshold=gate.threshold, duration_s=CLIP.duration_s)
        if gate.keeps(fraction):
            encode(pcm_T, AudioEncoding.FLAC)
    return time.process_time() - start


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


def mine(folder: Path, catalogue: Path, output: Path, detector: str, workers: int) -> Cost:
    command = [sys.executable, str(ROOT / "beam_runner.py"), "--quiet"]
    command += ["--catalog", str(catalogue), "--allow_root", str(folder.resolve()), "--output", str(output)]
    command += ["--rows_per_shard", str(ROWS_PER_SHARD), "--music_detector", detector, "--tokenizer", "none"]
    command += ["--direct_num_workers", str(workers)]
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    with watched_memory() as largest:
        subprocess.run(command, check=True, cwd=ROOT, stdout=subprocess.DEVNULL)
        wall_s = time.perf_counter() - start
    # Whatever the job has left behind became a child of this process.
    while psutil.Process().children():
        os.waitpid(-1, 0)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Cost(wall_s=round(wall_s, 1), cpu_s=round(cpu_s, 1), largest_pss_mib=round(largest[0] / 2**20, 1))


def measure(arguments: argparse.Namespace, work: Path) -> dict[str, Any]:
    def job(recordings: int, workers: int) -> Cost:
        catalogue, output = work / f"{recordings}.jsonl", work / f"run-{recordings}-{workers}"
        write_catalogue(arguments.folder, recordings, catalogue)
        cost = mine(arguments.folder, catalogue, output, arguments.music_detector, workers)
        sys.stderr.write(f"{recordings} recordings, {workers} workers: {cost}\n")
        return cost

    result: dict[str, Any] = {"rows_per_shard": ROWS_PER_SHARD}
    if "kernels" in arguments.parts:
        bare = kernels_cpu_s(arguments.folder, arguments.small, arguments.music_detector)
        whole = job(arguments.small, 1)
        result["kernels"] = {
            "recordings": arguments.small,
            "kernels_cpu_s": round(bare, 1),
            "whole_cpu_s": whole.cpu_s,
            "ratio": round(bare / whole.cpu_s, 3),
        }
    if "workers" in arguments.parts:
        one, two = job(arguments.medium, 1), job(arguments.medium, 2)
        result["workers"] = {
            "recordings": arguments.medium,
            "one_wall_s": one.wall_s,
            "two_wall_s": two.wall_s,
            "gain": round(one.wall_s / two.wall_s, 2),
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
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--name", default="mine", help="of the result (default: %(default)s)")
    arguments = parser.parse_args()
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
