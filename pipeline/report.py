"""Report: what a run has done, finished or not, from its plans and commit records alone.

`mulan report DIR` prints it and writes `report.json` and `report.html`; the mining job does the same at its end, and
its exit code is read off here, never off a runner's counters. What stands in it beside figures are samples
(`pipeline.report_samples`).
"""

import functools
import math
from datetime import UTC, datetime
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined, Template

from pipeline import storage
from pipeline.manifest import Published, accounting
from pipeline.report_samples import samples
from pipeline.run_folder import layout
from pipeline.run_folder.generations import RunState
from pipeline.settings import NONE, RunRecord
from pipeline.table_2 import table_2
from schemas.accounting import Account, sum_counts
from schemas.commit import HISTOGRAM_BINS, TextTotals
from schemas.reasons import Outcome, Reason
from schemas.sources import TextSource

DEMO_GRADE_NOTE = (
    "The built-in detector is demo-grade: it was trained on synthesised sound alone. "
    "Mine for real with YAMNet (--music_detector; see docs/music-detection.md)."
)
UNFILTERED_NOTE = "Sentences are not filtered: no --lf_model was given (docs/long-form-filter.md)."
BAR_CHARS = 30
# Of Table 2: (name, heading, form); a terminal is too narrow for the first.
FIGURES = (
    ("tokens_per_recording", "tokens/rec", ".1f"),
    ("annotations_per_recording", "annot./rec", ".2f"),
    ("tokens", "tokens", "short"),
    ("tokens_per_annotation", "tokens/annot", ".2f"),
    ("coverage", "coverage", ".1%"),
    ("share_kept", "stays", ".1%"),
)


def build_report(run_dir: str) -> dict[str, Any]:
    """Everything that the report shows, as plain values. Raises FileNotFoundError where there is no run, InputError
    where it is not one that this openmulan reads."""
    fixed = storage.read_json(storage.join(run_dir, layout.RUN))
    if fixed is None:
        raise FileNotFoundError(f"{run_dir}: not the output folder of `mulan mine` (it has no {layout.RUN})")
    RunRecord.from_json(fixed, storage.join(run_dir, layout.RUN))
    state = RunState.read(run_dir)
    committed = state.committed(fixed["config_digest"])
    records = [record for _, record in committed if record is not None]
    totals = accounting(state, records)
    texts = TextTotals()
    histogram = [0] * HISTOGRAM_BINS
    for record in records:
        texts.add(record.texts)
        histogram = [a + b for a, b in zip(histogram, record.music_fractions, strict=True)]
    manifest = Published.read(run_dir).newest
    recordings = Account.from_json(totals["recordings"])
    planned = sum(part.file.rows for part, _ in committed)
    pending = planned - sum(record.recordings.read for record in records)
    failed = recordings.total(Outcome.FAILED_TRANSIENT, Outcome.FAILED_PERMANENT)
    name = f"manifest-{manifest.number:04d}.json" if manifest else None
    return {
        "name": storage.name_of(run_dir.rstrip("/")),
        "written": _minute(datetime.now(UTC).timestamp()),
        "begun": _changed(storage.join(run_dir, layout.RUN)),
        "finished": _changed(storage.join(run_dir, name)) if name else None,
        "state": _state(state, pending, bool(manifest)),
        "settings": fixed["config"],
        "config_digest": fixed["config_digest"],
        "detector": fixed["detector"],
        "generations": len(state.plans),
        "manifest": name,
        "shards": {
            "planned": len(committed),
            "committed": len(records),
            "bytes": sum(record.shard.bytes for record in records if record.shard),
        },
        "clip_s": sum(record.clip_s for record in records),
        "recordings": {**totals["recordings"], "pending": pending},
        "failure_rate": failed / recordings.read if recordings.read else 0.0,
        "annotations": totals["annotations"],
        "orphans": sum_counts(plan.orphans for plan in state.plans),
        "rule_hits": sum_counts(part.rule_hits for plan in state.plans for part in plan.parts),
        "music_fractions": histogram,
        "table_2": table_2(texts, recordings.kept, fixed["config"]["lf_model"]),
        "text_sources": _sources(texts),
        "stage_seconds": sum_counts(record.seconds for record in records),
        "samples": samples(run_dir, state.plans, committed, fixed["config"]["lf_threshold"]),
    }


def _minute(timestamp_s: float) -> str:
    return f"{datetime.fromtimestamp(timestamp_s, UTC):%Y-%m-%d %H:%M} UTC"


def _changed(path: str) -> str | None:
    """When a file was written, where its store says so. No file of a run has a date in it."""
    info = storage.stat(path)
    return _minute(info.modified_s) if info is not None and info.modified_s is not None else None


def _state(state: RunState, pending: int, has_manifest: bool) -> str:
    if not state.plans:
        return "no plan yet"
    if pending:
        return "in progress"
    return "finished" if has_manifest else "built, without a manifest yet"


def _sources(texts: TextTotals) -> dict[str, int]:
    """Kept recordings by the sources of text that they have."""
    named = {}
    for mask, rows in texts.text_sources.items():
        sources = [str(source.name) for source in TextSource if TextSource(int(mask)) & source]
        named["+".join(sources) or "no text"] = rows
    return dict(sorted(named.items(), key=lambda item: (-item[1], item[0])))


def write_report(run_dir: str) -> dict[str, Any]:
    """Build the report and write it beside the shards, as JSON and as one self-contained page."""
    report = build_report(run_dir)
    save_report(run_dir, report)
    return report


def save_report(run_dir: str, report: dict[str, Any]) -> None:
    storage.write_json(storage.join(run_dir, layout.REPORT_JSON), report)
    storage.write_bytes(storage.join(run_dir, layout.REPORT_HTML), render_html(report).encode())


@functools.cache
def _page() -> Template:
    environment = Environment(
        loader=PackageLoader("pipeline"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["decimals"] = lambda number: f"{number:,.2f}"
    return environment.get_template("report.html")


def render_html(report: dict[str, Any]) -> str:
    page: str = _page().render(
        report=report,
        reasons=list(left_out(report["recordings"])),
        explain={str(reason): reason.explanation for reason in Reason},
        demo_grade_note=DEMO_GRADE_NOTE,
        unfiltered_note=UNFILTERED_NOTE if report["settings"]["lf_model"] == NONE else "",
        bins=HISTOGRAM_BINS,
        ticks=count_ticks(max(report["music_fractions"])),
        figures=FIGURES,
        show=figure,
    )
    return page


def count_ticks(most: int) -> list[int]:
    """Round counts for an axis from 0 to at least `most`, evenly spaced."""
    if most < 2:
        return [0, 1]
    step = 10 ** math.floor(math.log10(most))
    step = next(size for size in (step // 5, step // 2, step, 2 * step) if size and most <= 5 * size)
    return list(range(0, step * math.ceil(most / step) + 1, step))


def figure(number: float | None, form: str) -> str:
    """A figure of Table 2, or a dash for none; the form `short` is for large counts."""
    if number is None:
        return "–"
    if form != "short":
        return format(number, form)
    for size, letter in ((1e9, "B"), (1e6, "M"), (1e3, "k")):
        if number >= size / 10 and number >= 1e3:
            return f"{number / size:.1f} {letter}"
    return f"{number:.0f}"


def left_out(account: dict[str, Any]) -> list[tuple[str, str, int]]:
    """(outcome, reason, count) of one account, the largest first."""
    found = [
        (str(outcome), reason, count)
        for outcome in (Outcome.DROPPED, Outcome.FAILED_TRANSIENT, Outcome.FAILED_PERMANENT)
        for reason, count in account.get(str(outcome), {}).items()
    ]
    return sorted(found, key=lambda item: (-item[2], item[1]))


def render_text(report: dict[str, Any]) -> str:
    """The report for a terminal."""
    recordings, shards = report["recordings"], report["shards"]
    lines = [
        f"run         {report['name']}, written {report['written']}",
        f"state       {report['state']} (generation {report['generations']}, {report['manifest'] or 'no manifest'})",
        f"detector    {report['detector']['name']} ({report['detector']['digest']})",
        f"shards      {shards['committed']} of {shards['planned']}, {shards['bytes'] / 1e6:,.1f} MB, "
        f"{report['clip_s'] / 3600:,.2f} h of audio",
        f"recordings  {recordings['read']} read = {recordings['kept']} kept"
        + "".join(f" + {sum(recordings.get(outcome, {}).values())} {outcome}" for outcome in _OUTCOMES)
        + (f"; {recordings['pending']} pending" if recordings["pending"] else ""),
        "",
    ]
    if report["detector"]["demo_grade"]:
        lines[3:3] = [f"            {DEMO_GRADE_NOTE}"]
    for outcome, reason, count in left_out(recordings):
        lines.append(f"  {count:>9,}  {reason:20} {outcome:17} {Reason.named(reason).explanation}")
    lines += ["", f"{'Table 2':16}" + "".join(f"{heading:>15}" for _, heading, _ in FIGURES[1:])]
    lines.append(" " * 16 + f"{'ours':>8}{'paper':>7}" * len(FIGURES[1:]))
    for row in report["table_2"]:
        cells = "".join(
            f"{figure(row[name], form):>8}{figure(row['paper'].get(name), form):>7}" for name, _, form in FIGURES[1:]
        )
        lines.append(f"{row['label']:16}{cells}")
    if report["settings"]["lf_model"] == NONE:
        lines.append(UNFILTERED_NOTE)
    lines += ["", "music fraction of the judged clips"]
    most = max(report["music_fractions"]) or 1
    for i, count in enumerate(report["music_fractions"]):
        bar = "█" * round(BAR_CHARS * count / most)
        lines.append(f"  {i / HISTOGRAM_BINS:4.2f}–{(i + 1) / HISTOGRAM_BINS:4.2f} {count:>9,} {bar}")
        if i == int(report["detector"]["min_fraction"] * HISTOGRAM_BINS) - 1:
            lines.append(f"  {'─' * 19} kept from {report['detector']['min_fraction']:g}")
    return "\n".join(lines) + "\n"


_OUTCOMES = (str(Outcome.DROPPED), str(Outcome.FAILED_TRANSIENT), str(Outcome.FAILED_PERMANENT))
