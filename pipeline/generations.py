"""Generations: what of a run is planned, which parts are live, and what is committed of them."""

import json
from dataclasses import dataclass, field
from typing import Any

from pipeline import layout, storage
from pipeline.build import committed_shard
from pipeline.settings import InputError
from schemas.accounting import Account
from schemas.commit import PartRecord, ShardRecord
from schemas.record import record_of


@dataclass(frozen=True, kw_only=True)
class Plan:
    """One generation's plan, whole. `rows` accounts for the catalogue rows that it read."""

    generation: int
    shards: int
    recordings: int  # that this generation planned
    catalogue_digest: str
    inputs: dict[str, list[list[Any]]]  # table -> (file, bytes, time of change), to see at once that nothing changed
    rows: Account  # rows that were left out before a clip was touched; kept are those planned here or before
    annotations: dict[str, Account]
    orphans: dict[str, int]
    removed: int
    parts: tuple[PartRecord, ...]

    def to_json(self) -> dict[str, Any]:
        return {
            **{name: getattr(self, name) for name in ("generation", "shards", "recordings", "catalogue_digest")},
            "inputs": self.inputs,
            "rows": self.rows.to_json(),
            "annotations": {source: account.to_json() for source, account in self.annotations.items()},
            "orphans": self.orphans,
            "removed": self.removed,
            "parts": [part.to_json() for part in self.parts],
        }

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> "Plan":
        """Raises KeyError, TypeError or ValueError where the plan is not of this version."""
        record_of(cls, value, "the plan")
        return cls(
            **{
                **value,
                "rows": Account.from_json(value["rows"]),
                "annotations": {name: Account.from_json(account) for name, account in value["annotations"].items()},
                "parts": tuple(PartRecord.from_json(part) for part in value["parts"]),
            }
        )


@dataclass(kw_only=True)
class RunState:
    """All committed generations of a run, in order, and the shards that are built of them."""

    run_dir: str
    plans: list[Plan] = field(default_factory=list)

    @classmethod
    def read(cls, run_dir: str) -> "RunState":
        state = cls(run_dir=run_dir)
        while (value := storage.read_json(layout.plan_path(run_dir, len(state.plans) + 1))) is not None:
            try:
                state.plans.append(Plan.from_json(value))
            except (KeyError, TypeError, ValueError) as error:
                path = layout.plan_path(run_dir, len(state.plans) + 1)
                raise InputError(f"{path}: not a plan that this openmulan reads ({error})") from error
        return state

    @property
    def newest(self) -> Plan | None:
        return self.plans[-1] if self.plans else None

    def live_parts(self) -> list[PartRecord]:
        """Parts that no later one replaces, in the order of their keys."""
        parts = [part for plan in self.plans for part in plan.parts]
        replaced = {part.replaces for part in parts}
        return sorted((part for part in parts if part.key not in replaced), key=lambda part: part.key)

    def committed(self, config_digest: str) -> list[tuple[PartRecord, ShardRecord | None]]:
        """Each live part with the record of its shard, where that is built."""
        return [(part, committed_shard(self.run_dir, part, config_digest)) for part in self.live_parts()]

    def shard_record(self, key: str, config_digest: str) -> ShardRecord | None:
        """The record of one shard, of a live part or of one that was replaced."""
        part = next(part for plan in self.plans for part in plan.parts if part.key == key)
        return committed_shard(self.run_dir, part, config_digest)


def forget_parts(run_dir: str, generation: int) -> None:
    """Drop what an attempt left that did not get to the end of its plan: its catalogue may have been another."""
    folder = storage.join(layout.plan_dir(run_dir, generation), layout.COMMITS)
    storage.delete([str(metadata.path) for metadata in storage.match(storage.join(folder, "*.json"))])


def read_part_records(run_dir: str, generation: int) -> list[PartRecord]:
    """Committed plan parts of a generation, in order."""
    folder = storage.join(layout.plan_dir(run_dir, generation), layout.COMMITS)
    records = []
    for metadata in storage.match(storage.join(folder, "*.json")):
        record = PartRecord.from_json(json.loads(storage.read_bytes(str(metadata.path))))
        if storage.is_whole(run_dir, record.file):
            records.append(record)
    return sorted(records, key=lambda record: record.index)
