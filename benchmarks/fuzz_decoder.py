"""Fuzz the way from media bytes to a clip: mutated files of every container, each to a clip or to a reason.

    python benchmarks/fuzz_decoder.py --minutes 60 --findings /tmp/findings

The decoder runs as in the job, in its helper process. What counts as a finding is anything but a clip or a plain
reason: a helper that crashes, runs out of time or memory, an item that outlives its deadline, an exception of another
kind. Findings are kept as files; those worth keeping belong into `tests/pipeline/media/fuzz_cases/`, where a test runs
them.

Mutations are plain: ffmpeg's libraries come compiled without coverage, so a guided fuzzer would see nothing of them.
An iteration depends on --seed and its number alone; `--only N` repeats one.
"""

import argparse
import hashlib
import os
import struct
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.machine import write_result
from pipeline.media.clip import ClipDecoder, ClipError, ClipSpec, DecodeConfig
from schemas.reasons import Reason
from tests.media import KINDS, LINEAR_KINDS, music_CT

SEED_S = 1.2
SPEC = ClipSpec(start_s=0.3, duration_s=0.5)
CONFIG = DecodeConfig(deadline_s=5.0)
GRACE_S = 5.0
FINDINGS = {Reason.DECODER_CRASHED, Reason.DECODE_TIMEOUT, Reason.DECODER_MEMORY}
HEADER_BYTES = 400
WHERE_HEADER = 0.7  # share of the mutations that fall into the first bytes, where structure is
NUMBERS = (0, 1, 2, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFE, 0xFFFFFFFF)

Rng = np.random.Generator
Mutation = Callable[[bytearray, Rng, list[bytes]], None]


def _place(media: bytearray, rng: Rng) -> int:
    reach = min(len(media), HEADER_BYTES) if rng.random() < WHERE_HEADER else len(media)
    return int(rng.integers(reach)) if reach else 0


def flip(media: bytearray, rng: Rng, seeds: list[bytes]) -> None:
    for _ in range(int(rng.integers(1, 9))):
        if media:
            media[_place(media, rng)] ^= 1 << int(rng.integers(8))


def number(media: bytearray, rng: Rng, seeds: list[bytes]) -> None:
    form = str(rng.choice(["<H", ">H", "<I", ">I", "<Q", ">Q"]))
    size = struct.calcsize(form)
    value = int(rng.choice(NUMBERS)) & ((1 << 8 * size) - 1)
    if form.endswith("Q") and rng.random() < 0.5:
        value |= value << 32
    at = _place(media, rng)
    media[at : at + size] = struct.pack(form, value)


def noise(media: bytearray, rng: Rng, seeds: list[bytes]) -> None:
    at, size = _place(media, rng), int(rng.integers(1, 64))
    media[at : at + size] = rng.bytes(size)


def cut(media: bytearray, rng: Rng, seeds: list[bytes]) -> None:
    at = _place(media, rng)
    del media[at : at + int(rng.integers(1, 500))]


def repeat(media: bytearray, rng: Rng, seeds: list[bytes]) -> None:
    at, size = _place(media, rng), int(rng.integers(1, 300))
    media[at:at] = media[at : at + size] * int(rng.choice([1, 2, 50]))


def truncate(media: bytearray, rng: Rng, seeds: list[bytes]) -> None:
    del media[int(rng.integers(1, len(media) + 1)) :]


def splice(media: bytearray, rng: Rng, seeds: list[bytes]) -> None:
    other = seeds[int(rng.integers(len(seeds)))]
    start = int(rng.integers(len(other)))
    at = _place(media, rng)
    media[at:at] = other[start : start + int(rng.integers(1, 4_000))]


MUTATIONS: tuple[Mutation, ...] = (flip, flip, number, number, number, noise, cut, repeat, truncate, splice)


def mutated(seeds: list[bytes], seed: int, iteration: int) -> bytes:
    """The media of one iteration."""
    rng = np.random.default_rng([seed, iteration])
    media = bytearray(seeds[int(rng.integers(len(seeds)))])
    for _ in range(int(rng.choice([1, 1, 2, 4]))):
        MUTATIONS[int(rng.integers(len(MUTATIONS)))](media, rng, seeds)
    return bytes(media)


def outcome(decoder: ClipDecoder, media: bytes) -> str:
    """`clip`, a reason, or what should not have happened."""
    start = time.monotonic()
    try:
        decoder.cut(media, SPEC)
        found = "clip"
    except ClipError as error:
        found = str(error.reason)
    except Exception as error:
        found = f"raised {type(error).__name__}"
    took_s = time.monotonic() - start
    return f"outlived its deadline ({found})" if took_s > CONFIG.deadline_s + GRACE_S else found


def fuzz(minutes: float, seed: int, findings: Path | None, only: int | None) -> dict[str, Any]:
    seeds = [maker(music_CT(SEED_S, rate_hz)) for rate_hz, maker, *_ in (KINDS | LINEAR_KINDS).values()]
    outcomes: Counter[str] = Counter()
    kept: dict[str, str] = {}
    slowest_s = 0.0
    iteration = 0 if only is None else only
    start = time.monotonic()
    with ClipDecoder(CONFIG) as decoder:
        while time.monotonic() - start < minutes * 60:
            media = mutated(seeds, seed, iteration) or b"\0"
            began = time.monotonic()
            found = outcome(decoder, media)
            slowest_s = max(slowest_s, time.monotonic() - began)
            outcomes[found] += 1
            plain = found == "clip" or (found in tuple(Reason) and Reason.named(found) not in FINDINGS)
            if not plain:
                name = f"{seed}-{iteration}-{found.partition(' ')[0]}"
                kept[name] = hashlib.sha256(media).hexdigest()
                if findings is not None:
                    findings.mkdir(parents=True, exist_ok=True)
                    (findings / name).write_bytes(media)
            iteration += 1
            if only is not None:
                break
    return {
        "minutes": round((time.monotonic() - start) / 60, 1),
        "seed": seed,
        "containers": sorted(KINDS | LINEAR_KINDS),
        "items": sum(outcomes.values()),
        "outcomes": dict(outcomes.most_common()),
        "slowest_item_s": round(slowest_s, 2),
        "findings": kept,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--findings", type=Path, help="folder for the files that were findings")
    parser.add_argument("--only", type=int, metavar="N", help="run iteration N alone, and write no result")
    arguments = parser.parse_args()
    os.nice(10)
    result = fuzz(arguments.minutes, arguments.seed, arguments.findings, arguments.only)
    if arguments.only is not None:
        sys.stdout.write(f"{result['outcomes']}\n")
        return
    write_result(
        "fuzz_decoder",
        result,
        packages=("av",),
        command=f"python benchmarks/fuzz_decoder.py --minutes {arguments.minutes:g} --seed {arguments.seed}",
    )


if __name__ == "__main__":
    main()
