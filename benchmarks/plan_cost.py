"""What a plan costs a recording, how that grows, and what a key costs that has far too much.

    python -m benchmarks.plan_cost
    python -m benchmarks.plan_cost --only skew
    python -m benchmarks.plan_cost --resume    # only what the result file lacks: the whole takes hours
    python -m benchmarks.plan_cost --paper 10000 20000 --tenth 100000 200000    # less text has no workers

Catalogues with the paper's text a row (benchmarks/plan_text.py) and with a tenth of it are planned by `mulan mine
--dry_run` with two worker processes. CPU is that of all its processes, less the start-up: that of a plan of 64 rows,
and what the report's samples take, whose number is bounded. Beside it the filters alone in a bare loop on the same
text: rules, sentences, gates, keys of duplicates. They run for a second every ten of a plan, so that both are
of one state of the machine, whose speed moves within minutes. Peak PSS is of all processes, sampled, and so are the
bytes of temporary files.

Skew: a million comments of one recording, a playlist of a million recordings, one title in 100,000 playlists, each
beside the same rows spread evenly. Ratios are of CPU time, which another job on the machine changes least. Exit code 1
where a bar is missed: 1.15 between the sizes of a pair, 1.5 over the filters alone and over even rows, and the memory
that docs/running-at-scale.md tells its readers to count.
"""

import argparse
import itertools
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from benchmarks.machine import RESULTS, children_cpu_s, machine, watched, write_result
from benchmarks.plan_text import PAPER, TENTH, Texts, Volume, catalogue, identifier, write_lines, write_tables
from filters.long_form.gates import judge
from filters.long_form.sentences import duplicate_key, sentences
from filters.short_form.rules import clean_recording
from pipeline import storage
from pipeline.mine import SMALL_BYTES

ROOT = Path(__file__).resolve().parents[1]
SAMPLE_S = 2.0
START_ROWS = 64
PARTS = ("paper", "tenth", "skew")
CASES = ("hot", "even")
# How often the bare loop runs, how many texts it filters each time (a second or so), of how many, and which part of
# them comes first and does not count: a core that has slept, or done something else, begins slowly.
FILTERED_EVERY_S, FILTERED_AT_ONCE, FILTERED_TEXTS, WARMING = 10.0, 16_000, 150_000, 0.25
MAX_GROWTH, MAX_OVER_FILTERS, MAX_SKEW = 1.15, 1.5, 1.5
MAX_PROCESS_MIB = 350  # of the launcher, and of each worker

Lines = Iterator[dict[str, Any]]


def plan(
    tables: dict[str, Path], output: Path, workers: int, beside: Callable[[], object] = lambda: None
) -> dict[str, float]:
    """Plan one catalogue in processes of its own; what it took. `beside` is called now and then meanwhile."""
    command = [sys.executable, "-m", "openmulan", "mine", "--dry_run", "--quiet", "--tokenizer", "none"]
    command += ["--output", str(output), "--direct_num_workers", str(workers)]
    command += [part for name, path in tables.items() for part in (f"--{name}", str(path))]
    disk_bytes = [0]

    def look() -> None:
        disk_bytes.append(_temporary_bytes(output))
        beside()

    took = watched(command, cwd=ROOT, sample_s=SAMPLE_S, look=look)
    return {**took, "temporary_mib": round(max(disk_bytes) / 2**20)}


def _temporary_bytes(output: Path) -> int:
    return sum(file.size for file in storage.find(str(output / "plans/*/attempt-*/exchange/*")))


class Filters:
    """The filters alone, on the rows that the catalogue begins with and their comments, over and over."""

    def __init__(self, tables: dict[str, Path], volume: Volume) -> None:
        texts_a_row = volume.short_forms + volume.described + volume.comments * volume.sentences
        rows = _first(tables["catalog"], FILTERED_TEXTS // texts_a_row)
        texts = {row["recording_id"]: [row["description"]] for row in rows}
        with tables["comments"].open(encoding="utf-8") as lines:
            for comment in map(json.loads, lines):
                if comment["recording_id"] in texts:
                    texts[comment["recording_id"]].append(comment["text"])
        self._rows = itertools.cycle([(row, texts[row["recording_id"]]) for row in rows])
        self._at_once = FILTERED_AT_ONCE // texts_a_row
        self._cpu_s, self._count, self._last = 0.0, 0, -FILTERED_EVERY_S

    def run_if_due(self) -> None:
        if time.monotonic() - self._last < FILTERED_EVERY_S:
            return
        self._filter(int(WARMING * self._at_once))
        started = time.process_time()
        self._count += self._filter(self._at_once)
        self._cpu_s += time.process_time() - started
        self._last = time.monotonic()

    def _filter(self, count: int) -> int:
        some = list(itertools.islice(self._rows, count))
        for row, _ in some:
            clean_recording(title=row["title"], artist=row["artist"], album=row["album"], tags=row["tags"])
        for _, texts in some:
            for text in texts:
                for sentence in sentences(text):
                    judge(sentence)
                    duplicate_key(sentence)
        return len(some)

    @property
    def ms_a_row(self) -> float:
        return self._cpu_s / self._count * 1e3


def _first(path: Path, count: int) -> list[dict[str, Any]]:
    with path.open(encoding="utf-8") as lines:
        return [json.loads(line) for line, _ in zip(lines, range(count), strict=False)]


def measure_pair(
    sizes: list[int], volume: Volume, workers: int, found: dict[str, Any], finished: Callable[[], None]
) -> None:
    """Fill `found` with what it lacks; `finished` is called after each size."""
    if "start" not in found:
        found["start"] = measure_start(volume, workers)
    measured = found.setdefault("sizes", {})
    for size in map(str, sizes):
        if size not in measured:
            measured[size] = measure_size(int(size), volume, workers, found["start"])
            sys.stderr.write(f"{size} rows: {measured[size]}\n")
        if all(str(other) in measured for other in sizes):
            costs = [measured[str(other)]["cpu_ms_a_row"] for other in sizes]
            found["growth"] = round(costs[-1] / costs[0], 3)
        found["over_filters"] = max(one["over_filters"] for one in measured.values())
        finished()


def measure_start(volume: Volume, workers: int) -> dict[str, float]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        tables = write_tables(folder, START_ROWS, volume)
        with tables["catalog"].open("a", encoding="utf-8") as stream:  # so that worker processes are worth starting
            stream.writelines(f"{' ' * (1 << 20)}\n" for _ in range(SMALL_BYTES >> 20))
        starting = plan(tables, folder / "run", workers)
        return {"cpu_s": starting["cpu_s"], "report_cpu_s": round(report_cpu_s(folder / "run"), 2)}


def measure_size(size: int, volume: Volume, workers: int, start: dict[str, float]) -> dict[str, float]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        tables = write_tables(folder, size, volume)
        filters = Filters(tables, volume)
        found = plan(tables, folder / "run", workers, filters.run_if_due)
        start_s = start["cpu_s"] + report_cpu_s(folder / "run") - start["report_cpu_s"]
        cpu_ms = (found["cpu_s"] - start_s) / size * 1e3
        return {
            **found,
            "start_cpu_s": round(start_s, 1),
            "cpu_ms_a_row": round(cpu_ms, 3),
            "filters_ms_a_row": round(filters.ms_a_row, 3),
            "over_filters": round(cpu_ms / filters.ms_a_row, 3),
        }


def report_cpu_s(output: Path) -> float:
    """Its samples take as long for any large run."""
    before = children_cpu_s()
    subprocess.run(
        [sys.executable, "-m", "openmulan", "report", str(output)], cwd=ROOT, check=True, capture_output=True
    )
    return children_cpu_s() - before


def skewed(count: int, titles: int) -> dict[str, tuple[dict[str, Lines], dict[str, Lines]]]:
    """By case, the tables with one key that has too much, and those with the same rows spread evenly."""
    even = max(1, count // 100)

    def bare(recordings: int) -> Lines:
        return catalogue(recordings, Volume(short_forms=3, described=1), Texts(0))

    def said(recordings: int) -> Lines:
        texts = Texts(1)
        return ({"recording_id": identifier(n % recordings), "text": texts.sentences(1)} for n in range(count))

    def lists(of: int) -> Lines:
        texts = Texts(2)
        for number in range(count // of):
            members = [identifier(number * of + member) for member in range(of)]
            yield {"playlist_id": f"p{number}", "title": texts.title(), "recording_ids": members}

    def titled(is_one: bool) -> Lines:
        texts = Texts(3)
        for number in range(titles):
            title = "evenings" if is_one else f"{texts.title()} {number}"
            yield {"playlist_id": f"p{number}", "title": title, "recording_ids": [identifier(number % even)]}

    return {
        "comments_of_one_recording": (
            {"catalog": bare(even), "comments": said(1)},
            {"catalog": bare(even), "comments": said(even)},
        ),
        "recordings_of_one_playlist": (
            {"catalog": bare(count), "playlists": lists(count)},
            {"catalog": bare(count), "playlists": lists(100)},
        ),
        "playlists_of_one_title": (
            {"catalog": bare(even), "playlists": titled(True)},
            {"catalog": bare(even), "playlists": titled(False)},
        ),
    }


def measure_skew(count: int, titles: int, workers: int, found: dict[str, Any], finished: Callable[[], None]) -> None:
    for name, cases in skewed(count, titles).items():
        if name in found:
            continue
        costs = []
        for kind, tables in zip(CASES, cases, strict=True):
            with tempfile.TemporaryDirectory() as folder:
                paths = {table: write_lines(Path(folder) / f"{table}.jsonl", rows) for table, rows in tables.items()}
                costs.append(plan(paths, Path(folder) / "run", workers))
            sys.stderr.write(f"{name}, {kind}: {costs[-1]}\n")
        hot, even = costs
        ratios = {f"{what}_ratio": round(hot[what] / even[what], 3) for what in ("cpu_s", "wall_s")}
        found[name] = {"hot": hot, "even": even, **ratios}
        finished()


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.plan_cost",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    for name, sizes in (("--paper", [10_000, 100_000]), ("--tenth", [100_000, 1_000_000])):
        parser.add_argument(name, type=int, nargs=2, default=sizes, metavar="N", help="rows (default: %(default)s)")
    parser.add_argument("--skew", type=int, default=1_000_000, metavar="N", help="rows of a key (default: %(default)s)")
    parser.add_argument("--titles", type=int, default=100_000, metavar="N", help="playlists (default: %(default)s)")
    parser.add_argument("--workers", type=int, default=2, help="worker processes (default: %(default)s)")
    parser.add_argument("--only", choices=PARTS, action="append", help="a part, others stay; may be repeated")
    parser.add_argument("--resume", action="store_true", help="measure only what the result file lacks")
    parser.add_argument("--result", default="plan_cost", help="name of the result (default: %(default)s)")
    arguments = parser.parse_args(argv)
    kept = RESULTS / f"{arguments.result}.json"
    result: dict[str, Any] = {"workers": arguments.workers}
    asked = arguments.only or PARTS
    stay = PARTS if arguments.resume else tuple(part for part in PARTS if part not in asked)
    if stay and kept.exists():
        before = json.loads(kept.read_text(encoding="utf-8"))
        here, there = ((of["cpu"], of["instructions"]) for of in (machine(()), before["machine"]))
        if (before["workers"], there) != (arguments.workers, here):
            parser.error(
                f"{kept.name} is of {before['workers']} workers on {there}; take another --result for this one"
            )
        result |= {part: before[part] for part in stay if part in before}

    def finished() -> None:
        command = " ".join(["python -m benchmarks.plan_cost", *argv])
        write_result(arguments.result, result, packages=("apache-beam", "pyarrow"), command=command)

    for part in asked:
        found = result.setdefault(part, {})
        if part == "skew":
            measure_skew(arguments.skew, arguments.titles, arguments.workers, found, finished)
        else:
            sizes, volume = (arguments.paper, PAPER) if part == "paper" else (arguments.tenth, TENTH)
            measure_pair(sizes, volume, arguments.workers, found, finished)
    return 0 if meets_its_bars(result) else 1


def meets_its_bars(result: dict[str, Any]) -> bool:
    pairs = [result[name] for name in ("paper", "tenth") if name in result]
    skew = result.get("skew", {}).values()
    plans = [size for pair in pairs for size in pair["sizes"].values()] + [case[of] for case in skew for of in CASES]
    return (
        all(pair.get("growth", 1) <= MAX_GROWTH and pair["over_filters"] <= MAX_OVER_FILTERS for pair in pairs)
        and all(case["cpu_s_ratio"] <= MAX_SKEW for case in skew)
        and all(plan["peak_pss_mib"] <= (1 + result["workers"]) * MAX_PROCESS_MIB for plan in plans)
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
