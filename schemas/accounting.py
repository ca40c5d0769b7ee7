"""Accounting: what was read, and what became of it, by reason. Read = kept + dropped + failed.

Counts are added up from commit records, each of which is counted once, so that a retried bundle changes nothing.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from schemas.reasons import Outcome, Reason

Number = TypeVar("Number", int, float)
_KEPT = Outcome.KEPT.value


def sum_counts(parts: Iterable[Mapping[str, Number]]) -> dict[str, Number]:
    """Sums by name."""
    total: dict[str, Number] = {}
    for part in parts:
        add_counts(total, part)
    return total


def add_counts(total: dict[str, Number], more: Mapping[str, Number]) -> None:
    """Add to each count of `total` the one of its name. `Counter.update` takes longer for the few counts of a row."""
    for name, count in more.items():
        total[name] = total[name] + count if name in total else count


@dataclass(kw_only=True)
class Account:
    """Counts of one kind of thing (recordings, or the annotations of one source)."""

    kept: int = 0
    left_out: dict[Reason, int] = field(default_factory=dict)

    @property
    def read(self) -> int:
        return self.kept + sum(self.left_out.values())

    def leave_out(self, reason: Reason, count: int = 1) -> None:
        if count:
            self.left_out[reason] = self.left_out.get(reason, 0) + count

    def add(self, other: "Account") -> None:
        self.kept += other.kept
        for reason, count in other.left_out.items():
            self.leave_out(reason, count)

    def total(self, *outcomes: Outcome) -> int:
        return sum(count for reason, count in self.left_out.items() if reason.outcome in outcomes)

    def counts(self) -> dict[str, int]:
        """By name alone, as `from_counts` takes them: sums of many are one account."""
        return {_KEPT: self.kept, **{reason.value: count for reason, count in self.left_out.items()}}

    @classmethod
    def from_counts(cls, counts: Mapping[str, int]) -> "Account":
        account = cls()
        for name, count in counts.items():
            if name == _KEPT:
                account.kept = count
            else:
                account.leave_out(Reason.named(name), count)
        return account

    def to_json(self) -> dict[str, Any]:
        by_outcome: dict[str, dict[str, int]] = {}
        for reason, count in sorted(self.left_out.items()):
            by_outcome.setdefault(str(reason.outcome), {})[str(reason)] = count
        return {"read": self.read, "kept": self.kept, **dict(sorted(by_outcome.items()))}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> "Account":
        """Raises ValueError where the parts do not add up to what was read."""
        account = cls(kept=value["kept"])
        for outcome in (Outcome.DROPPED, Outcome.FAILED_TRANSIENT, Outcome.FAILED_PERMANENT):
            for reason, count in value.get(outcome, {}).items():
                account.leave_out(Reason.named(reason), count)
        if account.read != value["read"]:
            raise ValueError(f"accounting does not close: read {value['read']}, accounted for {account.read}")
        return account
