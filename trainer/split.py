"""Train, validation and held-out: a function of the hash of a recording's near-duplicate group.

So copies of one recording are never on both sides, whatever run they stand in and however a catalogue grows.
"""

from collections.abc import Iterable
from enum import StrEnum
from typing import Literal, Protocol

import numpy as np

from schemas.digest import hash64
from schemas.run import Run


class Split(StrEnum):
    TRAIN = "train"
    VALIDATION = "validation"
    HELD_OUT = "held_out"


# What of a mined run is evaluated on: one of these, what no measured model was trained on, or all.
MinedSplit = Literal["unseen", "all", "held_out", "validation", "train"]
MINED_SPLITS: tuple[MinedSplit, ...] = ("unseen", "all", "held_out", "validation", "train")


class Shares(Protocol):
    """What decides a split beside the groups; `DataConfig` has it."""

    @property
    def validation_fraction(self) -> float: ...

    @property
    def held_out_fraction(self) -> float: ...

    @property
    def held_out_ids(self) -> tuple[str, ...]: ...


class Splitter:
    """Which split a recording is in: a function of its near-duplicate group in the runs that are trained on."""

    def __init__(self, runs: Iterable[Run], shares: Shares) -> None:
        self._shares = shares
        self._leaders = duplicate_leaders(runs)
        self._held_out = frozenset(self._leaders.get(name, name) for name in shares.held_out_ids)

    def split_of(self, recording_id: str) -> Split:
        """A recording that is held out by name takes its copies along."""
        leader = self._leaders.get(recording_id, recording_id)
        if leader in self._held_out:
            return Split.HELD_OUT
        place = hash64(f"split/{leader}") / 2**64
        if place < self._shares.validation_fraction:
            return Split.VALIDATION
        if place < self._shares.validation_fraction + self._shares.held_out_fraction:
            return Split.HELD_OUT
        return Split.TRAIN


def duplicate_leaders(runs: Iterable[Run]) -> dict[str, str]:
    """Recording -> the first recording of its near-duplicate group, for recordings that have a duplicate.

    Groups of several runs that share a recording are one group, so a recording has one split in all runs.
    """
    leader: dict[str, str] = {}

    def find(name: str) -> str:
        while (above := leader.setdefault(name, name)) != name:
            leader[name] = leader[above]
            name = above
        return name

    for run in runs:
        table = run.groups()
        # Most recordings are alone in their group, and there may be tens of millions of them: they never become lists.
        group_R = table["group"].combine_chunks().dictionary_encode().indices.to_numpy()
        table = table.filter(np.bincount(group_R)[group_R] > 1)
        grouped = table.group_by("group").aggregate([("recording_id", "list")])["recording_id_list"]
        for members in grouped.to_pylist():
            for member in members[1:]:
                first, second = sorted((find(members[0]), find(member)))
                leader[second] = first
    return {name: find(name) for name in leader}
