"""What a benchmark says of where it ran, and how it writes its result down."""

import contextlib
import importlib.metadata
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import psutil

from schemas.machine import cpu, memory_bytes

RESULTS = Path(__file__).with_name("results")
# Environment variable that names the instructions which `only_avx2` imitates a processor of.
IMITATED = "MULAN_IMITATED_INSTRUCTIONS"


def machine(packages: tuple[str, ...]) -> dict[str, Any]:
    """CPU, cores, memory, versions and date; no host name and no path."""
    this = cpu()
    return {
        "cpu": this.model,
        "instructions": list(this.instructions),
        **({"imitated": f"one with {os.environ[IMITATED]} alone"} if IMITATED in os.environ else {}),
        "cores": this.cores,
        "memory_gib": round(memory_bytes() / 2**30, 1),
        "python": platform.python_version(),
        "packages": {name: importlib.metadata.version(name) for name in packages},
        "date": time.strftime("%Y-%m-%d"),
    }


def pss_bytes(processes: Iterable[psutil.Process]) -> int:
    """Proportional set size of all of them, so that shared pages count once; what has just ended counts nothing."""
    total = 0
    for process in processes:
        with contextlib.suppress(psutil.Error):
            memory = process.memory_full_info()
            total += getattr(memory, "pss", memory.uss)
    return total


def children_cpu_s() -> float:
    """Of the processes that this one has seen the end of, and theirs."""
    times = os.times()
    return times.children_user + times.children_system


def watched(
    command: Sequence[str], *, cwd: Path, sample_s: float, look: Callable[[], object] = lambda: None
) -> dict[str, float]:
    """Run a command to its end: CPU and clock, and the most memory that its processes had at once, as far as samples
    tell. `look` is called with each of them."""
    before_s, started = children_cpu_s(), time.monotonic()
    peak_bytes = 0
    with subprocess.Popen(command, cwd=cwd, stdout=subprocess.DEVNULL) as process:
        tree = psutil.Process(process.pid)
        while process.poll() is None:
            try:
                peak_bytes = max(peak_bytes, pss_bytes([tree, *tree.children(recursive=True)]))
            except psutil.Error:  # it has just ended
                break
            look()
            time.sleep(sample_s)
    if process.returncode:
        raise SystemExit(f"{' '.join(command[1:4])} left with {process.returncode}")
    return {
        "cpu_s": round(children_cpu_s() - before_s, 2),
        "wall_s": round(time.monotonic() - started, 1),
        "peak_pss_mib": round(peak_bytes / 2**20),
    }


def write_result(name: str, result: dict[str, Any], *, packages: tuple[str, ...], command: str) -> Path:
    """`benchmarks/results/NAME.json`, with the machine and the command that anyone can run again."""
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}.json"
    content = {"command": command, "machine": machine(packages), **result}
    path.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    sys.stdout.write(f"{json.dumps(result, indent=1, ensure_ascii=False)}\n{path}\n")
    return path
