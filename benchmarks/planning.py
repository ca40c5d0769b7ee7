"""Does planning a mini-batch cost the same at 44 million clips as at 64 thousand?

    python -m benchmarks.planning

Plans the mini-batches of M-ResNet-50 (6144 pairs in 64 lanes, from four sources, with SpecAugment) by the trainer's own
`Lanes`, for one rank and for one of eight. Only the shards are simulated: the index of rows is made here, and a row
group's ids and texts are made up where they would be read; there is no audio. The bare loop makes the same draws under
the same names, and nothing else. Times are CPU time of the whole process; sizes take turns, and a figure is the median
of the rounds.
"""

import argparse
import gc
import statistics
import sys
import time
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarks.machine import write_result
from schemas.manifest import ShardEntry
from schemas.shard import CLIP_SAMPLE_RATE_HZ
from schemas.sources import TextSource
from trainer.data import DataConfig, Place, Row
from trainer.dist import Ranks
from trainer.draw import draw_below, permutation
from trainer.recipes import Recipe, m_resnet50
from trainer.row_index import RowIndex, row_codes
from trainer.split import Split
from trainer.streams import Example, Lanes

NAME = "planning"
CLIPS = (64_000, 1_000_000, 44_000_000)
GROUP_ROWS = 64  # as the pipeline writes them
GROUPS_A_SHARD = 8
CLIP_SAMPLES = 30 * CLIP_SAMPLE_RATE_HZ
TEXTS = ("a text", "another text", "and one more")
WARM_UP, BATCHES = 4, 16


@dataclass(frozen=True, kw_only=True)
class SimulatedRows:
    """As many clips as are asked for, each with texts of all sources."""

    config: DataConfig
    index: RowIndex

    def read(self, group: int, source: TextSource, split: Split, part: slice) -> list[Row]:
        return [
            Row(
                place=Place(group, row),
                recording_id=f"{group}-{row}",
                texts=TEXTS,
                encoding="flac",
                samples=CLIP_SAMPLES,
            )
            for row in self.index.rows(group, split, source)[part].tolist()
        ]

    def describe(self, group: int) -> str:
        return f"simulated row group {group}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    recipe = m_resnet50()
    indexes = {clips: simulated_index(clips) for clips in CLIPS}
    result: dict[str, Any] = {"batch_size": recipe.batch_size, "lanes": recipe.lanes, "batches_a_round": BATCHES}
    for ranks in (Ranks(), Ranks(count=8)):
        rounds: dict[int, list[dict[str, float]]] = {clips: [] for clips in CLIPS}
        for number in range(given.rounds):
            for clips, index in indexes.items():
                measured = measure(recipe, index, ranks, seed=number)
                sys.stderr.write(f"{ranks.count} ranks, {clips} clips: {measured}\n")
                rounds[clips].append(measured)
        medians = {
            clips: {name: round(statistics.median(r[name] for r in values), 3) for name in values[0]}
            for clips, values in rounds.items()
        }
        a_pair = [values["us_a_pair"] for values in medians.values()]
        result[f"one of {ranks.count} ranks"] = {
            "flat_within": round(max(a_pair) / min(a_pair), 3),
            "largest_ratio_to_bare_draws": max(values["ratio_to_bare_draws"] for values in medians.values()),
            "by_clips": medians,
        }
    result["index_bytes_a_row_group"] = {clips: round(index.nbytes / len(index), 1) for clips, index in indexes.items()}
    write_result(NAME, result, packages=("numpy",), command="python -m benchmarks.planning")
    return 0


def simulated_index(clips: int) -> RowIndex:
    groups = -(-clips // GROUP_ROWS)
    shards = -(-groups // GROUPS_A_SHARD)
    number_G = np.arange(groups)
    codes = np.empty(groups * GROUP_ROWS, row_codes([Split.TRAIN], np.array([0])).dtype)
    codes[:] = row_codes([Split.TRAIN], np.array([sum(TextSource)]))[0]
    shard = ShardEntry(path="shards/simulated.parquet", sha256="0" * 64, bytes=0, rows=0, generation=1, index=0)
    return RowIndex(
        shards=((0, shard),) * shards,
        shard_G=(number_G // GROUPS_A_SHARD).astype(np.int32),
        group_G=(number_G % GROUPS_A_SHARD).astype(np.int32),
        first_row_G=np.arange(groups + 1, dtype=np.int64) * GROUP_ROWS,
        codes=codes,
    )


def measure(recipe: Recipe, index: RowIndex, ranks: Ranks, seed: int) -> dict[str, float]:
    gc.collect()
    rows = SimulatedRows(config=recipe.data, index=index)
    started = time.process_time()
    lanes = Lanes(
        rows,
        recipe.data.mixture,
        recipe.batch_size,
        recipe.lanes,
        seed,
        ranks=ranks,
        augment=recipe.audio.augment,
    )
    for _ in range(WARM_UP):
        lanes.next()
    start_s = time.process_time() - started
    started = time.process_time()
    planned = [lanes.next() for _ in range(BATCHES)]
    planning_s = time.process_time() - started
    lanes.close()
    started = time.process_time()
    draw_bare(recipe, planned, ranks, seed)
    bare_s = time.process_time() - started
    pairs = sum(map(len, planned))
    return {
        "us_a_pair": planning_s / pairs * 1e6,
        "bare_us_a_pair": bare_s / pairs * 1e6,
        "ratio_to_bare_draws": planning_s / bare_s,
        "pairs_per_cpu_s": pairs / planning_s,
        "start_s": start_s,  # the first passes' order, full buffers, and the first batches
    }


def draw_bare(recipe: Recipe, planned: list[list[Example]], ranks: Ranks, seed: int) -> None:
    """The draws of these examples, by names of the same parts."""
    split, augment = str(Split.TRAIN), recipe.audio.augment
    window_samples, buffer_rows = recipe.data.window_samples, recipe.data.buffer_rows // recipe.lanes
    lane_pairs = recipe.batch_size // recipe.lanes
    assert augment is not None
    for step, examples in enumerate(planned):
        for number, example in enumerate(examples):
            source, row = str(example.source.name), example.row
            lane = number // lane_pairs * ranks.count
            draw_below(buffer_rows, seed, split, source, "pick", lane, 0, number)
            name = (seed, split, source, 0, row.recording_id)
            draw_below(len(row.texts), *name, "text")
            draw_below(row.samples - window_samples + 1, *name, "window")
            augment.draw(*name)
            if number % lane_pairs == 0:
                permutation(lane_pairs, seed, split, "order", step, lane)


if __name__ == "__main__":
    sys.exit(main())
