"""Watching: look at a pipeline while it runs, from a thread of the launcher, and show how far it is.

What workers on this machine have settled they say themselves, recording by recording; what a commit record says then
takes the place of that, so that no recording counts twice. Workers elsewhere tell by commit records alone, and by
Beam's counters where the engine gives them while it runs. A job without all this goes the same way.
"""

import logging
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

from pipeline import storage
from pipeline.progress.counters import BYTES, PLAN, RECORDINGS, ROWS, account_of, read_counters
from pipeline.progress.metrics_file import MetricsFile
from pipeline.progress.shown import FIRST_LINE_S, Bar, Lines, is_terminal, say
from pipeline.progress.snapshot import BUILD, FINISH, Rate, Snapshot
from pipeline.run_folder import layout
from pipeline.run_folder.records import committed_shard, wants_retry
from pipeline.workers.awake import awake
from pipeline.workers.heartbeat import HEARTBEAT, Counts, Sign
from pipeline.workers.watch import signs_in
from schemas.accounting import Account, sum_counts
from schemas.commit import PartRecord, ShardRecord

LOOK_EVERY_S = 1.0
# A listing of commit records takes time and requests; no more than a twentieth of the time goes into it.
LIST_EVERY_S = 2.0
LIST_SHARE = 0.05
COUNTERS_EVERY_S = 5.0
STUCK_S = 30.0  # said of a recording after so long, and again each time that has doubled
END_WITHIN_S = 10.0
log = logging.getLogger(__name__)


class View:
    """What the launcher can see of a pipeline that it runs. Who runs it puts in `folder`, where workers on this machine
    show their heartbeats, and `job`, what an engine gave for it."""

    def __init__(self) -> None:
        self.folder: Path | None = None
        self.job: Any = None
        self._counters: dict[str, int] = {}
        self._next_counters = 0.0

    def signs(self) -> list[Sign]:
        folder = self.folder
        return [HEARTBEAT.sign(), *(signs_in(folder) if folder is not None else ())]

    def counters(self) -> dict[str, int]:
        """Of Beam, as far as an engine gives them; asked for now and then."""
        if self.job is not None and awake() >= self._next_counters:
            try:
                self._counters = read_counters(self.job)
            except Exception as error:  # of an engine, over the network: whatever it is, it is not worth a word
                log.debug("no counters: %s", error)
            self._next_counters = awake() + COUNTERS_EVERY_S
        return self._counters


class Progress:
    """Of one job, through its stages."""

    def __init__(self, metrics: MetricsFile | None = None) -> None:
        self._metrics = metrics

    @contextmanager
    def reading(self, stage: str, size: int, recordings: int = 0) -> Iterator[View]:
        """The body reads tables of `size` bytes, and then plans about so many recordings."""
        with self._watching(_Reading(stage, size, recordings)) as view:
            yield view

    @contextmanager
    def building(
        self, run_dir: str, committed: Sequence[tuple[PartRecord, ShardRecord | None]], config_digest: str
    ) -> Iterator[View]:
        """The body builds what of these parts is not committed, or wants another try."""
        with self._watching(_Building(run_dir, committed, config_digest)) as view:
            yield view

    def finishing(self) -> None:
        if self._metrics is not None:
            self._metrics.enter(FINISH)

    @contextmanager
    def _watching(self, stage: "_Stage") -> Iterator[View]:
        HEARTBEAT.forget_counts()
        view, stop = View(), threading.Event()
        thread = threading.Thread(target=self._watch, args=(stage, view, stop), daemon=True, name="progress")
        thread.start()
        try:
            yield view
        finally:
            stop.set()
            thread.join(END_WITHIN_S)  # a store or an engine that does not answer is not waited for

    def _watch(self, stage: "_Stage", view: View, stop: threading.Event) -> None:
        is_shown = log.isEnabledFor(logging.INFO)
        stuck, since = _Stuck(), awake()
        failed = False
        now: Snapshot | None = None
        with ExitStack() as stack:
            shown: list[Lines | Bar | MetricsFile] = [self._metrics] if self._metrics is not None else []
            if is_shown and is_terminal(sys.stderr):
                shown.append(stack.enter_context(Bar(sys.stderr).drawn()))
            elif is_shown:
                shown.append(Lines())
            is_over = False
            while not is_over:
                is_over = stop.wait(LOOK_EVERY_S)
                try:
                    signs = view.signs()
                    stuck.look(signs)
                    if shown:
                        now = stage.look(signs, view, is_over=is_over)
                        for one in shown:
                            one.show(now)
                except Exception as error:
                    if not failed:
                        log.warning("progress is not shown for now: %s", error)
                    failed = True
        if now is not None and is_shown and (stage.tells_at_end or awake() - since > FIRST_LINE_S):
            say(replace(now, rate=None, left_s=None))  # of what is over


class _Stage(Protocol):
    tells_at_end: bool

    def look(self, signs: Sequence[Sign], view: View, *, is_over: bool) -> Snapshot: ...


class _Reading:
    """Tables are read, then recordings planned. A process counts all that it has read; what counts is its last word."""

    tells_at_end = False

    def __init__(self, stage: str, size: int, recordings: int) -> None:
        self._stage, self._size, self._recordings = stage, size, recordings
        self._said: dict[int, Counts] = {}  # by process
        self._read, self._rows, self._planned = Rate(), Rate(), Rate()

    def look(self, signs: Sequence[Sign], view: View, *, is_over: bool) -> Snapshot:
        self._said.update((sign.pid, sign.counts) for sign in signs)
        counts: Counts = {}
        for said in self._said.values():
            for task, more in said.items():
                counts[task] = sum_counts([counts.get(task, {}), more])
        counts = counts or _counts_of(view.counters())
        planned = counts.pop(PLAN, {}).get(RECORDINGS, 0)
        size = sum(some.pop(BYTES, 0) for some in counts.values())
        rows = {table: some.pop(ROWS, 0) for table, some in counts.items()}
        left_out = {table: some for table, some in counts.items() if some}
        self._read.add(size)
        self._rows.add(sum(rows.values()))
        self._planned.add(planned)
        if planned:
            return Snapshot(
                stage=self._stage,
                done=planned,
                total=max(self._recordings, planned),
                rate=self._planned.per_s(),
                left_s=self._planned.seconds_for(max(self._recordings - planned, 0)),
                rows=rows,
                rows_left_out=left_out,
            )
        return Snapshot(
            stage=self._stage,
            done=min(size, self._size),
            total=self._size,
            rate=self._rows.per_s(),
            left_s=self._read.seconds_for(max(self._size - size, 0)),
            rows=rows,
            rows_left_out=left_out,
            is_reading=True,
        )


def _counts_of(counters: Mapping[str, int]) -> Counts:
    """What workers would say of the tables, by Beam's counters."""
    counts: Counts = {}
    for name, number in counters.items():
        kind, task, *reason = name.split(".")
        if kind in (ROWS, BYTES):
            counts.setdefault(task, {})[reason[0] if reason else kind] = number
        elif kind == PLAN:
            counts[PLAN] = {task: number}
    return counts


class _Building:
    """Recordings are settled: by the commit records of shards, and by what workers say of those in hand."""

    tells_at_end = True

    def __init__(
        self, run_dir: str, committed: Sequence[tuple[PartRecord, ShardRecord | None]], config_digest: str
    ) -> None:
        self._run_dir, self._digest = run_dir, config_digest
        self._total = sum(part.file.rows for part, _ in committed)
        self._shards = len(committed)
        self._pending: dict[str, tuple[PartRecord, ShardRecord | None]] = {}
        self._settled = Account()
        for part, record in committed:
            if record is None or wants_retry(record):
                self._pending[part.key] = part, record
            else:
                self._settled.add(record.recordings)
        self._before = replace(self._settled, left_out=dict(self._settled.left_out))
        self._in_hand: dict[str, Account] = {}
        self._made: dict[int, int] = {}  # by process
        self._rate = Rate()
        self._read: dict[str, tuple[int, float | None]] = {}  # which version of a record was read
        self._next_list = 0.0

    def look(self, signs: Sequence[Sign], view: View, *, is_over: bool) -> Snapshot:
        now = awake()
        if is_over or now >= self._next_list:
            self._read_records(is_over=is_over)
            took_s = awake() - now
            self._next_list = now + max(LIST_EVERY_S, took_s / LIST_SHARE)
        for sign in signs:
            self._made[sign.pid] = sign.made
            for key, counts in sign.counts.items():
                self._hear(key, counts)
        account = Account()
        account.add(self._settled)
        for some in self._in_hand.values():
            account.add(some)
        counted = self._from_counters(view.counters())
        if counted.read > account.read and not is_over:
            account = counted
        # On this machine of what was made: what is taken from an earlier attempt goes in no time, and says nothing of
        # how long the rest will take.
        self._rate.add(sum(self._made.values()) if view.job is None else account.read)
        return Snapshot(
            stage=BUILD,
            done=min(account.read, self._total),
            total=self._total,
            rate=self._rate.per_s(),
            left_s=self._rate.seconds_for(max(self._total - account.read, 0)),
            account=account,
            shards=(self._shards - len(self._pending), self._shards),
            longest_s=max((sign.used_s for sign in signs), default=0.0),
        )

    def _hear(self, key: str, counts: Mapping[str, int]) -> None:
        """Of a shard that is begun anew nothing is shown until it is as far as it was."""
        known = self._in_hand.get(key)
        if key in self._pending and (known is None or sum(counts.values()) >= known.read):
            self._in_hand[key] = account_of(counts)

    def _from_counters(self, counters: Mapping[str, int]) -> Account:
        """What Beam has counted, and what was there before."""
        begin = f"{RECORDINGS}."
        account = account_of({name.removeprefix(begin): n for name, n in counters.items() if name.startswith(begin)})
        account.add(self._before)
        return account

    def _read_records(self, *, is_over: bool) -> None:
        for info in storage.list_folder(storage.join(self._run_dir, layout.COMMITS)):
            key, version = storage.name_of(info.path).removesuffix(".json"), (info.size, info.modified_s)
            if key not in self._pending or (version == self._read.get(key) and not is_over):
                continue
            part, before = self._pending[key]
            self._read[key] = version
            record = committed_shard(self._run_dir, part, self._digest)
            if record is not None and (record != before or is_over):
                del self._pending[key]
                self._in_hand.pop(key, None)
                self._settled.add(record.recordings)


class _Stuck:
    """Names a worker that has had its recording for long. Nothing is ended by it: deadlines do that."""

    def __init__(self) -> None:
        self._told: dict[int, tuple[str, float]] = {}  # by process: the recording, and when it is told of again

    def look(self, signs: Sequence[Sign]) -> None:
        for sign in signs:
            if sign.recording_id is None:
                continue
            recording_id, next_s = self._told.get(sign.pid, ("", STUCK_S))
            if recording_id != sign.recording_id:
                next_s = STUCK_S
            if sign.used_s >= next_s:
                at = f" ({sign.stage})" if sign.stage else ""
                log.warning(
                    "worker process %d has been on recording %r%s for %.0f s",
                    *(sign.pid, sign.recording_id, at, sign.used_s),
                )
                next_s = 2 * sign.used_s
            self._told[sign.pid] = sign.recording_id, next_s
