"""Counters: one call where something is counted, for the launcher that watches and for an engine's own page.

Beam's counters say more than is true where a bundle was tried again, so that they are shown and never decided by; what
a job has done is read from its commit records.
"""

import functools
from collections.abc import Mapping
from typing import Any

from apache_beam.metrics import Metrics, MetricsFilter

from pipeline.workers.heartbeat import HEARTBEAT
from schemas.accounting import Account
from schemas.reasons import Outcome, Reason

NAMESPACE = "mulan"
KEPT = str(Outcome.KEPT)
RECORDINGS = "recordings"  # begins the counters of what became of recordings
PLAN = "plan"  # the task whose count is of recordings planned
ROWS, BYTES = "rows", "bytes"  # read, of the task that is called as the table
ROWS_AT_ONCE = 256


@functools.cache
def _counter(name: str) -> Any:
    return Metrics.counter(NAMESPACE, name)


@functools.cache
def _distribution(name: str) -> Any:
    return Metrics.distribution(NAMESPACE, name)


def count_recording(part: str, reason: Reason | None = None) -> None:
    """One recording of a part is settled: kept, or left out for a reason."""
    name = str(reason or KEPT)
    HEARTBEAT.count(part, name)
    _counter(f"{RECORDINGS}.{name}").inc()


def note_seconds(stage: str, seconds: float) -> None:
    """How long a stage took for one recording; Beam's distributions are of whole numbers."""
    _distribution(f"{stage}_ms").update(round(1000 * seconds))


def count_planned(count: int) -> None:
    HEARTBEAT.count(PLAN, RECORDINGS, count)
    _counter(f"{PLAN}.{RECORDINGS}").inc(count)


def count_annotations(accounts: Mapping[str, Account]) -> None:
    """Of one plan part, by source."""
    for source, account in accounts.items():
        _counter(f"annotations.{source}.{KEPT}").inc(account.kept)
        for reason, count in account.left_out.items():
            _counter(f"annotations.{source}.{reason}").inc(count)


def count_left_out_row(table: str, reason: Reason, count: int = 1) -> None:
    if count:
        HEARTBEAT.count(table, str(reason), count)
        _counter(f"{ROWS}.{table}.{reason}").inc(count)


class TableMeter:
    """Counts what is read of one file of a table, or of a piece of `size` bytes of it, and tells of it now and then."""

    def __init__(self, table: str, size: int | None = None) -> None:
        self._table = table
        self._size = size
        self._rows = self._told_bytes = 0
        self._stream: _Metered | None = None

    def of(self, stream: Any) -> "_Metered":
        self._stream = _Metered(stream)
        return self._stream

    def count_row(self) -> None:
        self._rows += 1
        if self._rows == ROWS_AT_ONCE:
            self._tell(self._within(self.position))

    @property
    def position(self) -> int:
        return self._stream.position if self._stream is not None else 0

    def count_left_out(self, reason: Reason) -> None:
        count_left_out_row(self._table, reason)

    def finish(self) -> None:
        self._tell(self._within(self._stream.size if self._stream is not None else 0))

    def _within(self, position: int) -> int:
        return position if self._size is None else min(position, self._size)

    def _tell(self, position: int) -> None:
        for kind, more in ((ROWS, self._rows), (BYTES, position - self._told_bytes)):
            HEARTBEAT.count(self._table, kind, more)
            _counter(f"{kind}.{self._table}").inc(more)
        self._rows, self._told_bytes = 0, position


class _Metered:
    """A binary stream that knows how much was read from it."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream
        stream.seek(0, 2)
        self.size: int = stream.tell()
        stream.seek(0)
        self._read = 0

    @property
    def position(self) -> int:
        """Of a table that is read to its end: what was read twice, or passed over, moves it no further than that."""
        return min(self._read, self.size)

    def read(self, *size: int) -> bytes:
        return self._counted(self._stream.read(*size))

    def readline(self, *size: int) -> bytes:
        return self._counted(self._stream.readline(*size))

    def _counted(self, content: bytes) -> bytes:
        self._read += len(content)
        return content

    def __enter__(self) -> "_Metered":
        return self

    def __exit__(self, *_: object) -> None:
        self._stream.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def read_counters(result: Any) -> dict[str, int]:
    """Beam's counters of a pipeline, running or done, over all of its steps; none where the runner does not tell."""
    counts: dict[str, int] = {}
    for counter in result.metrics().query(MetricsFilter().with_namespace(NAMESPACE))["counters"]:
        name = counter.key.metric.name
        counts[name] = counts.get(name, 0) + int(counter.result or 0)
    return counts


def account_of(counts: Mapping[str, int]) -> Account:
    """What became of recordings, from counts by name."""
    account = Account(kept=counts.get(KEPT, 0))
    for name, count in counts.items():
        if name != KEPT:
            account.leave_out(Reason.named(name), count)
    return account
