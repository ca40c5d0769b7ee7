"""What a catalogue of millions costs: core-hours and bytes, on paper, from unit costs that were measured on one core.

    python -m benchmarks.cost_at_scale
    python -m benchmarks.cost_at_scale --recordings 1000000 --cores 64 --price 0.04

Each unit cost is read from a result of this folder, so that the table follows when one is measured anew; the
table of docs/running-at-scale.md is this command's. Not in it: waiting for whoever serves the media, an engine's own
work (shuffles, starts of workers), and the few seconds a shard for which Python starts. What the launcher does alone
takes one core, however many others there are.
"""

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.machine import RESULTS
from pipeline.settings import DEFAULT_ROWS_PER_SHARD

RECORDINGS = (1_000_000, 44_000_000)
# Of a recording: sentences before filters (the paper's Table 2), and the most that 30 s of audio take (16-bit, 16 kHz).
SENTENCES, AUDIO_BYTES = 71, 30 * 16_000 * 2
SECONDS_AN_HOUR = 3600


@dataclass(frozen=True, kw_only=True)
class Unit:
    """CPU seconds a recording of one step, where `result` says them, on the machine named there."""

    step: str
    result: str
    seconds: float
    machine: str
    is_alone: bool = False  # on one core


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--recordings", type=int, nargs="+", default=list(RECORDINGS))
    parser.add_argument("--cores", type=int, default=200, help="that work side by side")
    parser.add_argument("--price", type=float, help="of a core-hour, to have a sum of it")
    arguments = parser.parse_args(argv)
    sys.stdout.writelines(f"{line}\n" for line in table(arguments.recordings, arguments.cores, arguments.price))


def units() -> Iterator[Unit]:
    planned = _result("plan_cost")
    sizes = planned["paper"]["sizes"]
    yield Unit(
        step="plan: read, join and filter as much text as the paper's",
        result="plan_cost",
        seconds=sizes[max(sizes, key=int)]["cpu_ms_a_row"] / 1000,
        machine=_machine(planned["machine"]),
    )
    mined = _result("mine")
    kernels = mined["kernels"]
    yield Unit(
        step="build: fetch, decode, YAMNet, encode, on AVX-512",
        result="mine",
        seconds=kernels["whole_cpu_s"] / kernels["recordings"],
        machine=_machine(mined["machine"]),
    )
    mined = _result("detector_cost_avx2_real")
    yield Unit(
        step="build: the same, on AVX2 alone",
        result="detector_cost_avx2_real",
        seconds=mined["before"]["cpu_ms_a_recording"]["now"]["whole"] / 1000,
        machine=_machine(mined["machine"]),
    )
    for name in ("lf_speed_avx512", "lf_speed_avx2"):
        scored = _result(name)
        rates = scored["speed"]["mixed_lengths"].values()
        yield Unit(
            step=f"score: {SENTENCES} sentences, on {scored['torch_uses']}",
            result=name,
            seconds=SENTENCES / max(rate["sentences_per_s"] for rate in rates),
            machine=_machine(scored["machine"]),
        )
    launched = _result("launcher_cost")
    runs = launched["runs"]
    yield Unit(
        step="launcher: what is built, groups, manifest, report",
        result="launcher_cost",
        seconds=runs[max(runs, key=int)]["wall_ms_a_shard"] / 1000 / launched["rows_a_shard"],
        machine=_machine(launched["machine"]),
        is_alone=True,
    )


def table(recordings: Sequence[int], cores: int, price: float | None) -> Iterator[str]:
    """As the page has it."""
    head = ["step", "measured in", "CPU a recording"]
    head += [f"{count / 1e6:g} M: core-hours ({cores} cores)" for count in recordings]
    yield _row(head)
    yield _row(["---"] * len(head))
    for unit in units():
        yield _row([unit.step, unit.result, _ms(unit.seconds), *_hours(unit, recordings, cores, price)])
    shards = [f"{-(-count // DEFAULT_ROWS_PER_SHARD):,}" for count in recordings]
    yield _row([f"shards of {DEFAULT_ROWS_PER_SHARD}", "", "", *shards])
    yield _row(["audio, at most", "", "", *(f"{count * AUDIO_BYTES / 1e12:.1f} TB" for count in recordings)])
    yield ""
    yield from sorted({f"{unit.result}: {unit.machine}" for unit in units()})


def _ms(seconds: float) -> str:
    ms = seconds * 1000
    return f"{ms:.0f} ms" if ms >= 1 else f"{ms:.2g} ms"


def _hours(unit: Unit, recordings: Sequence[int], cores: int, price: float | None) -> Iterator[str]:
    for count in recordings:
        hours = count * unit.seconds / SECONDS_AN_HOUR
        cost = f", {hours * price:,.0f}" if price is not None else ""
        yield f"{hours:,.0f} ({hours / (1 if unit.is_alone else cores):,.1f} h{cost})"


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _machine(value: dict[str, Any]) -> str:
    return f"{value['cpu']}, {', '.join(value['instructions'])}, {value['date']}"


def _result(name: str) -> dict[str, Any]:
    value: dict[str, Any] = json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))
    return value


if __name__ == "__main__":
    main()
