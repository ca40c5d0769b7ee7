"""Kill the mining job over and over, and look whether anything is lost.

    python -m benchmarks.kills --kills 100 --seed 0

Launcher, worker process and decoding helper are killed (SIGKILL) in turn, at commit points and at random moments of
plan, build and finish; workers and helpers only in the phases in which there are any. After each kill the same command
is run until it ends. Then shards and manifest must have the bytes of an undisturbed run, the accounts must close, and
neither a process nor a temporary file may be left; a job that takes more than a minute hangs. Exit code 1 where
anything of this did not hold.
"""

import argparse
import collections
import logging
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.machine import write_result
from tests.pipeline.killing import Ordeal, Result, draw_kills

log = logging.getLogger("kills")


def tables(results: list[Result]) -> dict[str, dict[str, int]]:
    """Kills by phase and target."""
    counts: dict[str, collections.Counter[str]] = {}
    for result in results:
        if result.phase is not None:
            counts.setdefault(str(result.phase), collections.Counter())[str(result.kill.target)] += 1
    return {phase: dict(sorted(count.items())) for phase, count in counts.items()}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=100, metavar="N", help="default: %(default)s")
    parser.add_argument("--seed", type=int, default=0, metavar="S", help="default: %(default)s")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr, force=True)
    results: list[Result] = []
    start = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="kills-") as folder:
        ordeal = Ordeal(Path(folder))
        for number, kill in enumerate(draw_kills(arguments.kills, arguments.seed), 1):
            result = ordeal.go_through(kill)
            results.append(result)
            where = kill.point or f"{kill.share:.0%} of it"
            log.info(
                "%3d  %-8s %-6s %-22s %d workers, exit codes %s, %.1f s%s",
                *(number, kill.target, result.phase or "missed", where, kill.workers, result.codes, result.seconds),
                "".join(f"\n     {line}" for line in result.wrong),
            )
    bad = sum(bool(result.wrong) for result in results)
    write_result(
        "kills",
        {
            "kills": tables(results),
            "in_all": sum(result.phase is not None for result in results),
            "with_something_wrong": bad,
            "longest_s": round(max(result.seconds for result in results), 1),
            "minutes": round((time.monotonic() - start) / 60, 1),
        },
        packages=("apache-beam", "pyarrow"),
        command=f"python -m benchmarks.kills --kills {arguments.kills} --seed {arguments.seed}",
    )
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
