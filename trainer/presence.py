"""A training tells the runs that it reads them, so that who removes a recording or old shards knows of it.

Where a run's folder may only be read, that is said once and the training goes on.
"""

import dataclasses
import logging
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa

from schemas.one_line import one_line
from schemas.readers import ReaderRecord, ReaderState, read_readers, write_reader
from schemas.run import Run, RunError

log = logging.getLogger(__name__)


class Presence:
    """`report(state)` at the start, at each checkpoint and at the end; of several ranks only the first has one."""

    def __init__(self, runs: Sequence[Run], output: Path, recipe: str) -> None:
        now = datetime.now(UTC)
        self._records = [
            (
                run,
                ReaderRecord(
                    output=str(output.resolve()),
                    recipe=recipe,
                    manifest=run.manifest.number,
                    manifest_digest=run.manifest.digest(),
                    started=now,
                    last_seen=now,
                    state=ReaderState.RUNNING,
                ),
            )
            for run in runs
        ]
        self._records = [(run, _since_first_start(run, record)) for run, record in self._records]

    def report(self, state: ReaderState = ReaderState.RUNNING) -> None:
        written = []
        for run, record in self._records:
            now = dataclasses.replace(record, last_seen=datetime.now(UTC), state=state)
            try:
                write_reader(run, now)
            except (OSError, pa.ArrowException) as error:
                log.warning(
                    "%s: cannot be told that this training reads it (%s); keep manifest %d of it until the end",
                    run.root,
                    one_line(error),
                    record.manifest,
                )
                continue
            written.append((run, record))
        self._records = written


def _since_first_start(run: Run, record: ReaderRecord) -> ReaderRecord:
    """A training that goes on started when it did."""
    try:
        known = {earlier.id: earlier for earlier in read_readers(run)}
    except RunError:  # whoever needs these records will be told
        return record
    return dataclasses.replace(record, started=known[record.id].started) if record.id in known else record
