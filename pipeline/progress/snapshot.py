"""How far a stage of the job is at one moment: what each way of showing it is given."""

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field

from pipeline.workers.awake import awake
from schemas.accounting import Account, sum_counts
from schemas.reasons import Outcome

SURVEY, PLAN, BUILD, FINISH = STAGES = ("survey", "plan", "build", "finish")
RECENT_S = 60.0
FEWEST_STEPS = 5
MINUTE_S, HOUR_S, DAY_S = 60, 3_600, 86_400


@dataclass(frozen=True, kw_only=True)
class Snapshot:
    """`done` of `total` is in recordings, or in bytes while tables are read; `rate` is of recordings, or of rows, a
    second, over the recent past. What is None is not known."""

    stage: str
    done: int
    total: int
    rate: float | None = None
    left_s: float | None = None
    rows: dict[str, int] = field(default_factory=dict)  # read, by table
    rows_left_out: dict[str, dict[str, int]] = field(default_factory=dict)  # by table and reason
    is_reading: bool = False
    account: Account = field(default_factory=Account)  # of recordings
    shards: tuple[int, int] | None = None  # committed, of all
    longest_s: float = 0.0  # that a worker has had the recording in hand

    @property
    def share(self) -> float:
        return min(self.done / self.total, 1.0) if self.total else 1.0

    def amount(self) -> str:
        """What is done, of how much."""
        if self.is_reading:
            return f"{sum(self.rows.values()):,} rows, {self.done / 1e6:,.1f} of {self.total / 1e6:,.1f} MB"
        return f"{self.done:,} of {self.total:,} recordings"

    def pace(self) -> str:
        """Rate and time left, as far as they are known."""
        rate = "" if self.rate is None else f"{rounded(self.rate)}{' rows' if self.is_reading else ''}/s"
        left = "" if self.left_s is None or self.share == 1 else f"{duration(self.left_s)} left"
        return ", ".join(filter(None, (rate, left)))

    def outcomes(self) -> str:
        """Kept, dropped and failed recordings, or rows that were not used, with the reasons."""
        if self.shards is None:
            left_out = sum_counts(self.rows_left_out.values())
            return with_reasons("rows not used", left_out) if left_out else ""
        said = [f"{self.account.kept:,} kept"]
        for name, of in (
            ("dropped", (Outcome.DROPPED,)),
            ("failed", (Outcome.FAILED_TRANSIENT, Outcome.FAILED_PERMANENT)),
        ):
            counts = {str(reason): n for reason, n in self.account.left_out.items() if reason.outcome in of}
            said.append(with_reasons(name, counts))
        return ", ".join(said)

    def line(self) -> str:
        """Everything, for a log."""
        said = [f"{self.stage}: {self.amount()} ({self.share:.0%})", self.pace(), self.outcomes()]
        if self.shards is not None:
            said.append(f"{self.shards[0]:,} of {self.shards[1]:,} shards")
        return "; ".join(filter(None, said))


class Rate:
    """Of something that only grows: how much of it came a second, over the last minute or the last few steps."""

    def __init__(self) -> None:
        self._steps: deque[tuple[float, float]] = deque()  # when it had grown, and to what

    def add(self, amount: float) -> None:
        now = awake()
        if not self._steps or amount > self._steps[-1][1]:
            self._steps.append((now, amount))
        while len(self._steps) > FEWEST_STEPS and self._steps[1][0] < now - RECENT_S:
            self._steps.popleft()

    def per_s(self) -> float | None:
        """None until there are two steps."""
        if len(self._steps) < 2:
            return None
        (since, before), (_, amount) = self._steps[0], self._steps[-1]
        return (amount - before) / max(awake() - since, 0.001)

    def seconds_for(self, amount: float) -> float | None:
        rate = self.per_s()
        return None if not rate else amount / rate


def with_reasons(name: str, counts: Mapping[str, int]) -> str:
    """The most frequent first."""
    reasons = ", ".join(f"{-n:,} {reason}" for n, reason in sorted((-n, reason) for reason, n in counts.items()))
    return f"{sum(counts.values()):,} {name}" + (f" ({reasons})" if reasons else "")


def rounded(number: float) -> str:
    return f"{number:,.0f}" if number >= 10 else f"{number:.2g}"


def duration(seconds: float) -> str:
    """In the unit that tells, and the one below."""
    whole = round(seconds)
    if whole < MINUTE_S:
        return f"{whole} s"
    for unit_s, name, below_s, below in ((DAY_S, "d", HOUR_S, "h"), (HOUR_S, "h", MINUTE_S, "min")):
        if whole >= unit_s:
            return f"{whole // unit_s} {name} {whole % unit_s // below_s} {below}"
    return f"{whole // MINUTE_S} min" + (f" {whole % MINUTE_S} s" if whole < 10 * MINUTE_S else "")
