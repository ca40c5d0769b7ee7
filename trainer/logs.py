"""Where a run's numbers go: a line, a progress bar, `metrics.jsonl` and TensorBoard. Only the first rank writes."""

import json
import logging
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.summary.writer.record_writer import RecordWriter
from tqdm import tqdm

from trainer.checkpoint import naming, replace_text
from trainer.finite import as_json
from trainer.trackers import Tracker

log = logging.getLogger(__name__)

METRICS_NAME = "metrics.jsonl"
_BAR_WIDTH = 60  # a loss of zero


class MetricLog:
    """`write(step, kind, values)`; numbers that are None are left out, those that are not finite are null."""

    def __init__(
        self, folder: Path, *, first_step: int, steps: int, log_every: int, tracker: Tracker | None = None
    ) -> None:
        self._tracker = tracker
        folder.mkdir(parents=True, exist_ok=True)
        self._log_every, self._steps = log_every, steps
        self._path = folder / METRICS_NAME
        _drop_from(self._path, first_step)
        self._lines = self._path.open("a", encoding="utf-8")
        events = folder / "tensorboard" / f"events.out.tfevents.{first_step:08d}.openmulan"
        events.parent.mkdir(exist_ok=True)
        self._events = RecordWriter(events.open("wb"))
        self._event(Event(wall_time=time.time(), file_version="brain.Event:2"))
        self._bar = tqdm(total=steps, initial=first_step, unit="step", disable=not sys.stderr.isatty())

    def write(self, step: int, kind: str, values: Mapping[str, float | None]) -> None:
        """`kind` is train, validation or the name of an evaluator."""
        known = {name: value for name, value in values.items() if value is not None}
        line = {"step": step, "kind": kind, **{name: as_json(value) for name, value in known.items()}}
        summary = Summary(value=[Summary.Value(tag=f"{kind}/{n}", simple_value=v) for n, v in known.items()])
        with naming(self._path):
            self._lines.write(json.dumps(line, allow_nan=False) + "\n")
            self._lines.flush()
            self._event(Event(wall_time=time.time(), step=step, summary=summary))
        if self._tracker is not None:
            self._tracker.log({f"{kind}/{name}": value for name, value in known.items()}, step)
        if kind == "train":
            self._bar.update(step + 1 - self._bar.n)
            self._bar.set_postfix_str(f"loss {known['loss']:.3f}")
        if kind != "train" or step % self._log_every == 0 or step + 1 == self._steps:
            numbers = ", ".join(f"{name} {_short(value)}" for name, value in known.items())
            log.info("step %d/%d %s: %s", step, self._steps, kind, numbers)

    def close(self) -> None:
        self._bar.close()
        if self._tracker is not None:
            self._tracker.close()
        with naming(self._path):
            self._lines.close()
            self._events.close()

    def _event(self, event: Any) -> None:
        self._events.write(event.SerializeToString())
        self._events.flush()


def read_metrics(folder: Path, kind: str) -> list[dict[str, Any]]:
    """The lines of one kind, in order."""
    return [value for value in _lines(folder) if value["kind"] == kind]


def last_results(folder: Path, step: int) -> dict[str, float]:
    """`kind/name` and the last figure before a step, of all that is no training."""
    if not (folder / METRICS_NAME).exists():
        return {}
    results: dict[str, float] = {}
    for line in _lines(folder):
        kind, at = line.pop("kind"), line.pop("step")
        if kind != "train" and at < step:
            results |= {f"{kind}/{name}": value for name, value in line.items() if value is not None}
    return results


def loss_table(folder: Path, rows: int = 10) -> str:
    """The loss beside its chance line, in a few lines of text; a bar shows how far it has left it."""
    lines = [line for line in read_metrics(folder, "train") if line["loss"] is not None]
    parts = [lines[len(lines) * i // rows : len(lines) * (i + 1) // rows] for i in range(rows)]
    table = [f"{'steps':>13}  {'loss':>7}  {'chance':>7}"]
    for part in filter(None, parts):
        loss = sum(line["loss"] for line in part) / len(part)
        chance = part[0]["chance"]
        bar = "█" * max(0, round(_BAR_WIDTH * (1 - loss / chance)))
        table.append(f"{part[0]['step']:>6}–{part[-1]['step']:<6}  {loss:7.3f}  {chance:7.3f}  {bar}".rstrip())
    return "\n".join(table) + "\n"


def _drop_from(path: Path, first_step: int) -> None:
    """Steps after the checkpoint that a run resumes from will be written again."""
    if path.exists():
        kept = [json.dumps(line) + "\n" for line in _lines(path.parent) if line["step"] < first_step]
        replace_text(path, "".join(kept))


def _lines(folder: Path) -> Iterator[dict[str, Any]]:
    for line in (folder / METRICS_NAME).read_text(encoding="utf-8").splitlines():
        with suppress(ValueError):  # the line that a kill cut off
            yield json.loads(line)


def _short(value: float) -> str:
    return f"{value:.4g}"
