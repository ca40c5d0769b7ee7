"""`--metrics_file`: how far a job is in Prometheus' text format, for node_exporter's textfile collector.

The file is replaced as a whole, so that no half of one is ever scraped; its last state has the exit code.
"""

import logging
import os
import time
from collections.abc import Mapping
from pathlib import Path

from pipeline.progress.snapshot import STAGES, Snapshot
from schemas.exits import InputError

PREFIX = "mulan_mine_"
MODE = 0o644  # the exporter is another user
Labels = Mapping[str, str]
log = logging.getLogger(__name__)

# Name -> what kind of number it is, and what it says.
METRICS = {
    "recordings_total": ("counter", "Recordings of the run that are settled, by what became of them and why."),
    "recordings_planned": ("gauge", "Recordings of the run, as far as it is planned."),
    "rows_read_total": ("counter", "Rows read in this stage, by table."),
    "rows_left_out_total": ("counter", "Rows that were not used in this stage, by table and reason."),
    "stage_progress_ratio": ("gauge", "Share of the stage that is done: of recordings, or of bytes to read."),
    "rate_per_second": ("gauge", "Recordings (rows while tables are read) a second, over the last minute."),
    "time_left_seconds": ("gauge", "Estimate for the stage; NaN where there is none."),
    "shards_committed": ("gauge", "Shards of the run that are committed."),
    "shards_planned": ("gauge", "Shards of the run, as far as it is planned."),
    "recording_in_hand_seconds": ("gauge", "How long a worker has had its recording, the longest; 0 without one."),
    "stage": ("gauge", "1 for the stage that the job is in."),
    "start_timestamp_seconds": ("gauge", "When the job was started."),
    "last_progress_timestamp_seconds": ("gauge", "When something was last done."),
    "exit_code": ("gauge", "How the job ended: 0 done, 1 too many failures, 2 bad input, 3 broken off."),
}


class MetricsFile:
    """Written at its making, so that a path that cannot be written to is known before any work. Raises InputError."""

    def __init__(self, path: str, run: str) -> None:
        self._path = Path(os.path.realpath(path))
        self._run = run
        self._started = self._progressed = time.time()
        self._seen: object = None
        self._values: dict[tuple[str, tuple[tuple[str, str], ...]], float] = {}
        self._failed = self._ended = False
        try:
            if "://" in path:
                raise OSError(0, "must be a local file")
            if self._path.exists() and not self._path.is_file():
                raise OSError(0, "is there, and is not a file")
            self._replace()
        except OSError as error:
            said = f"--metrics_file {path}: cannot be written ({error.strerror}); name a file in a folder"
            raise InputError(said) from error

    def show(self, now: Snapshot) -> None:
        if self._ended:
            return
        progressed = (now.stage, now.done, now.account.read, sum(now.rows.values()))
        if progressed != self._seen:
            self._seen, self._progressed = progressed, time.time()
        if now.shards is not None:
            self._set("recordings_total", now.account.kept, outcome="kept", reason="")
            for reason, count in now.account.left_out.items():
                self._set("recordings_total", count, outcome=str(reason.outcome), reason=str(reason))
            self._set("recordings_planned", now.total)
            self._set("shards_committed", now.shards[0])
            self._set("shards_planned", now.shards[1])
        for table, rows in now.rows.items():
            self._set("rows_read_total", rows, table=table, stage=now.stage)
        for table, left_out in now.rows_left_out.items():
            for name, rows in left_out.items():
                self._set("rows_left_out_total", rows, table=table, reason=name, stage=now.stage)
        self._set("stage_progress_ratio", now.share)
        self._set("rate_per_second", now.rate if now.rate is not None else 0.0)
        self._set("time_left_seconds", now.left_s if now.left_s is not None else float("nan"))
        self._set("recording_in_hand_seconds", now.longest_s)
        self.enter(now.stage)

    def enter(self, stage: str | None) -> None:
        for one in STAGES:
            self._set("stage", float(one == stage), stage=one)
        self._write()

    def end(self, exit_code: int) -> None:
        for name in ("rate_per_second", "time_left_seconds", "recording_in_hand_seconds"):
            self._set(name, 0.0)
        self._set("exit_code", exit_code)
        self._progressed, self._ended = time.time(), True
        self.enter(None)

    def _set(self, name: str, value: float, **labels: str) -> None:
        self._values[name, (("run", self._run), *labels.items())] = value

    def _write(self) -> None:
        """A file that cannot be written any more is no reason to end a job."""
        try:
            self._replace()
        except OSError as error:
            if not self._failed:
                log.warning("--metrics_file %s: cannot be written (%s)", self._path, error.strerror)
            self._failed = True

    def _replace(self) -> None:
        self._set("start_timestamp_seconds", self._started)
        self._set("last_progress_timestamp_seconds", self._progressed)
        temporary = self._path.with_name(f".{self._path.name}.tmp")  # the collector reads *.prom
        temporary.write_text(self._text(), encoding="utf-8")
        temporary.chmod(MODE)
        temporary.replace(self._path)

    def _text(self) -> str:
        lines = []
        for name, (kind, what) in METRICS.items():
            samples = [(labels, value) for (of, labels), value in self._values.items() if of == name]
            if samples:
                lines += [f"# HELP {PREFIX}{name} {what}", f"# TYPE {PREFIX}{name} {kind}"]
            for labels, value in samples:
                said = ",".join(f'{label}="{_escaped(text)}"' for label, text in labels)
                lines.append(f"{PREFIX}{name}{{{said}}} {_number(value)}")
        return "".join(f"{line}\n" for line in lines)


def _escaped(text: str) -> str:
    """A label's value; a name that is no Unicode has its odd bytes replaced."""
    escaped = text.replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"')
    return escaped.encode("utf-8", "replace").decode("utf-8")


def _number(value: float) -> str:
    return "NaN" if value != value else str(int(value)) if value == int(value) else repr(value)
