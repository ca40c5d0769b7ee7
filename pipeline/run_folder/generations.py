"""Generations: what of a run is planned, which parts are live, and what is committed of them."""

import dataclasses
from dataclasses import dataclass, field
from typing import Any

from pipeline import storage
from pipeline.run_folder import layout
from pipeline.run_folder.records import Donor, committed_shard, committed_shards
from pipeline.storage import DamagedError
from schemas.accounting import Account
from schemas.commit import FileEntry, PartRecord, ShardRecord
from schemas.record import record_of

NO_PLAN = b"{}\n"  # in place of a dry run's plan that was not gone on from


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
    rejects: tuple[FileEntry, ...] = ()  # rows of the tables that were not used
    removed_lists: tuple[FileEntry, ...] = ()  # recordings that left, with the part that has them
    reading: str | None = None  # the options that its tables were read by; None where it does not say
    dry_run: str = ""  # digest of what a dry run was asked; empty for a plan that shards may be built of

    def to_json(self) -> dict[str, Any]:
        return {
            **{name: getattr(self, name) for name in ("generation", "shards", "recordings", "catalogue_digest")},
            "inputs": self.inputs,
            "rows": self.rows.to_json(),
            "annotations": {source: account.to_json() for source, account in self.annotations.items()},
            "orphans": self.orphans,
            "removed": self.removed,
            "parts": [part.to_json() for part in self.parts],
            "rejects": [dataclasses.asdict(entry) for entry in self.rejects],
            "removed_lists": [dataclasses.asdict(entry) for entry in self.removed_lists],
            "reading": self.reading,
            "dry_run": self.dry_run,
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
                # A plan of version 0.1 does not list these two.
                "rejects": tuple(FileEntry(**entry) for entry in value.get("rejects", ())),
                "removed_lists": tuple(FileEntry(**entry) for entry in value.get("removed_lists", ())),
            }
        )


@dataclass(kw_only=True)
class RunState:
    """All committed generations of a run, in order, and the shards that are built of them."""

    run_dir: str
    plans: list[Plan] = field(default_factory=list)

    @classmethod
    def read(cls, run_dir: str) -> "RunState":
        """Raises DamagedError where a plan is not whole, or is gone although a later one is there."""
        state = cls(run_dir=run_dir)
        for name in storage.list_folders(storage.join(run_dir, layout.PLANS)):
            if (match := layout.GENERATION_NAME.fullmatch(name)) is None:
                continue
            path = layout.plan_path(run_dir, int(match[1]))
            value = storage.read_json(path)
            if not value:
                continue  # planned by halves, or by a dry run that was not gone on from
            try:
                state.plans.append(Plan.from_json(value))
            except (KeyError, TypeError, ValueError) as error:
                raise DamagedError(f"{path}: not a plan that this version of openmulan reads ({error})") from error
        state.plans.sort(key=lambda plan: plan.generation)
        for generation, plan in enumerate(state.plans, 1):
            if plan.generation != generation:
                raise DamagedError(
                    f"{layout.plan_path(run_dir, generation)} is gone, although generation {plan.generation} is "
                    "there; restore it from a copy, or mine into another --output"
                )
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
        return list(committed_shards(self.run_dir, self.live_parts(), config_digest))

    def lineage(self, part: PartRecord) -> list[PartRecord]:
        """The parts that this one replaces, the nearest first: each has all of its rows that are not new."""
        parts = {part.key: part for plan in self.plans for part in plan.parts}
        found = []
        while part.replaces is not None and part.replaces in parts:
            part = parts[part.replaces]
            found.append(part)
        return found

    def donor(self, part: PartRecord, config_digest: str) -> Donor | None:
        """The shard of the part that this one replaces, or of an earlier one where that was never built."""
        for earlier in self.lineage(part):
            if (record := committed_shard(self.run_dir, earlier, config_digest)) is not None:
                return Donor.of(record)
        return None
