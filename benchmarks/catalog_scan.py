"""A tree of stub files scanned by `mulan catalog`: memory, what a second scan reads, and speed beside a bare loop.

    python -m benchmarks.catalog_scan --files 100000

The files are WAVs of a tenth of a second with a title, a thousand in a folder. The bare loop opens each by its path
with PyAV and takes tags and duration, in as many processes as the command has helpers; it is told the paths, and has
neither limits, nor a memory, nor an output. The command is timed from its start to its end. Both run in turns over the
same part of the tree, so that a machine that is busy is so for both; where it is, seconds of CPU tell more than those
of the clock.
Then the command scans the whole tree, and once more when one file in a hundred has changed, one in a thousand is gone
and as many are new.
"""

import argparse
import multiprocessing
import os
import re
import statistics
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import av
import psutil

from benchmarks.machine import children_cpu_s, pss_bytes, write_result

NAME = "catalog_scan"
ROOT = Path(__file__).resolve().parents[1]
RATE_HZ = 8_000
IN_A_FOLDER = 1_000


def stub(title: str) -> bytes:
    pcm = bytes(2 * RATE_HZ // 10)
    text = title.encode() + b"\0" * (2 - len(title) % 2)
    info = b"INFOINAM" + struct.pack("<I", len(text)) + text
    form = struct.pack("<IHHIIHH", 16, 1, 1, RATE_HZ, 2 * RATE_HZ, 2, 16)
    parts = b"WAVEfmt " + form + b"LIST" + struct.pack("<I", len(info)) + info
    parts += b"data" + struct.pack("<I", len(pcm)) + pcm
    return b"RIFF" + struct.pack("<I", len(parts)) + parts


def place(root: Path, number: int) -> Path:
    return root / f"{number // IN_A_FOLDER:04d}" / f"{number % IN_A_FOLDER:03d}.wav"


def write(root: Path, numbers: range, word: str) -> None:
    for number in numbers:
        path = place(root, number)
        if number % IN_A_FOLDER == 0 or number == numbers.start:
            path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(stub(f"{word} {number}"))


def open_each(paths: Sequence[str]) -> int:
    found = 0
    for path in paths:
        with av.open(path, metadata_errors="surrogateescape") as container:
            found += bool(container.metadata["title"] and container.duration)
    return found


def bare_loop(root: Path, files: int, processes: int) -> tuple[float, float]:
    """Files a second, and a second of CPU."""
    paths = [str(place(root, number)) for number in range(files)]
    start, cpu_s = time.perf_counter(), children_cpu_s()
    with multiprocessing.Pool(processes) as pool:
        assert sum(pool.map(open_each, [paths[one::processes] for one in range(processes)])) == files
        pool.close()
        pool.join()
    return files / (time.perf_counter() - start), files / (children_cpu_s() - cpu_s)


def scan(sources: Sequence[Path], output: Path, workers: int, *, timed: bool = False) -> dict[str, Any]:
    """The whole command, with what it says it has read and the most memory that it and its helpers had; where it is
    `timed`, nobody looks at its memory meanwhile."""
    command = [sys.executable, "-m", "openmulan", "catalog", *map(str, sources), "--output", str(output)]
    start, cpu_s, peak = time.perf_counter(), children_cpu_s(), 0
    with tempfile.TemporaryFile("w+") as said:
        process = subprocess.Popen(
            [*command, "--workers", str(workers), "--quiet"], cwd=ROOT, stdout=said, stderr=subprocess.DEVNULL
        )
        watched = psutil.Process(process.pid)
        while not timed and process.poll() is None:
            time.sleep(0.5)
            try:
                peak = max(peak, pss_bytes([watched, *watched.children(recursive=True)]))
            except psutil.Error:
                break
        assert process.wait() == 0
        seconds = time.perf_counter() - start
        said.seek(0)
        text = said.read()
    numbers = re.search(r"^recordings +([\d,]+)$.*^read anew +([\d,]+) +files; ([\d,]+) are gone", text, re.M | re.S)
    assert numbers is not None, text
    recordings, read, gone = (int(number.replace(",", "")) for number in numbers.groups())
    return {
        "recordings": recordings,
        "read": read,
        "gone": gone,
        "seconds": round(seconds, 1),
        "cpu_s": round(children_cpu_s() - cpu_s, 1),
        "peak_pss_mib": round(peak / 2**20),
        "database_mib": round((output.with_name("catalog.scan") / "files.sqlite").stat().st_size / 2**20),
    }


def ratio(bare: Sequence[tuple[float, float]], ours: Sequence[tuple[float, float]], number: int) -> float:
    """The median of the turns."""
    return round(statistics.median(mine[number] / loop[number] for mine, loop in zip(ours, bare, strict=True)), 2)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=100_000)
    parser.add_argument("--part", type=int, default=20_000, help="files of the turns with the bare loop")
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--folder", type=Path, help="where the tree is made (default: the system's)")
    parser.add_argument("--name", default=NAME, help="of the result")
    given = parser.parse_args()
    part = min(given.part, given.files) // IN_A_FOLDER * IN_A_FOLDER
    with tempfile.TemporaryDirectory(dir=given.folder) as folder:
        root = Path(folder, "tree")
        write(root, range(given.files), "song")
        few = Path(folder, "few")
        few.mkdir()
        for number in range(0, part, IN_A_FOLDER):
            inner = place(root, number).parent.name
            (few / inner).mkdir()
            for file in (root / inner).iterdir():
                os.link(file, few / inner / file.name)
        bare: list[tuple[float, float]] = []
        ours: list[tuple[float, float]] = []
        for turn in range(given.turns):
            bare.append(bare_loop(few, part, given.workers))
            output = Path(folder, f"turn{turn}", "catalog.parquet")
            output.parent.mkdir()
            done = scan([few], output, given.workers, timed=True)
            ours.append((part / done["seconds"], part / done["cpu_s"]))
        output = Path(folder, "whole", "catalog.parquet")
        output.parent.mkdir()
        first = scan([root], output, given.workers)
        assert first["recordings"] == first["read"] == given.files
        changed, gone = range(0, given.files, 100), range(1, given.files, 1_000)
        for number in changed:
            place(root, number).write_bytes(stub(f"another {number}"))
        for number in gone:
            place(root, number).unlink()
        write(root, range(given.files, given.files + len(gone)), "new")
        second = scan([root], output, given.workers)
        assert second["read"] == len(changed) + len(gone)
        assert second["gone"] == len(gone)
    result = {
        "files": given.files,
        "workers": given.workers,
        "turns": {
            "files": part,
            **{
                f"{name}_files_per_{unit}": [round(rates[number]) for rates in turns]
                for name, turns in (("bare_loop", bare), ("mulan_catalog", ours))
                for number, unit in enumerate(("s", "cpu_s"))
            },
            "ratio": ratio(bare, ours, 0),
            "ratio_by_cpu": ratio(bare, ours, 1),
            "load": [round(load, 1) for load in os.getloadavg()],
        },
        "first_scan": first,
        "second_scan": {"changed": len(changed), "new": len(gone), **second},
    }
    sizes = f"--files {given.files} --part {given.part} --turns {given.turns} --workers {given.workers}"
    command = f"python -m benchmarks.catalog_scan {sizes}"
    write_result(given.name, result, packages=("av", "pyarrow"), command=command)
    return 0


if __name__ == "__main__":
    sys.exit(main())
