"""Report: what a run has done, finished or not, from its plans and commit records alone.

`mulan report DIR` prints it and writes `report.json` and `report.html`; the mining job does the same at its end, and
its exit code is read off here, never off a runner's counters.
"""

from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from pipeline import storage
from pipeline.manifest import Published, accounting
from pipeline.run_folder import layout
from pipeline.run_folder.generations import RunState
from pipeline.settings import RunRecord
from pipeline.table_2 import table_2
from schemas.accounting import Account, sum_counts
from schemas.commit import HISTOGRAM_BINS, TextTotals
from schemas.reasons import Outcome, Reason
from schemas.sources import TextSource

DEMO_GRADE_NOTE = (
    "The built-in detector is demo-grade: it was trained on synthesised sound alone. "
    "Mine for real with YAMNet (--music_detector; see docs/music-detection.md)."
)
BAR_CHARS = 30


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
    return {
        "state": _state(state, pending, bool(manifest)),
        "settings": fixed["config"],
        "config_digest": fixed["config_digest"],
        "detector": fixed["detector"],
        "generations": len(state.plans),
        "manifest": f"manifest-{manifest.number:04d}.json" if manifest else None,
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
    }


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


def render_html(report: dict[str, Any]) -> str:
    environment = Environment(
        loader=PackageLoader("pipeline"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["percent"] = lambda share: f"{share:.1%}"
    environment.filters["decimals"] = lambda number: f"{number:,.2f}"
    page: str = environment.get_template("report.html").render(
        report=report,
        reasons=list(left_out(report["recordings"])),
        explain={str(reason): reason.explanation for reason in Reason},
        demo_grade_note=DEMO_GRADE_NOTE,
        bins=HISTOGRAM_BINS,
    )
    return page


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
        lines[2:2] = [f"            {DEMO_GRADE_NOTE}"]
    for outcome, reason, count in left_out(recordings):
        lines.append(f"  {count:>9,}  {reason:20} {outcome:17} {Reason.named(reason).explanation}")
    lines += ["", f"{'Table 2':16}{'annot./rec':>11}{'(paper)':>8}{'tokens/rec':>11}{'tok./annot':>11}{'(paper)':>8}"]
    lines[-1] += f"{'coverage':>10}{'stays':>7}{'(paper)':>8}"
    for row in report["table_2"]:
        paper = row["paper"]
        lines.append(
            f"{row['label']:16}{row['annotations_per_recording']:>11.2f}"
            f"{_optional(paper.get('annotations_per_recording'), '.1f'):>8}{row['tokens_per_recording']:>11.2f}"
            f"{row['tokens_per_annotation']:>11.2f}{_optional(paper.get('tokens_per_annotation'), '.2f'):>8}"
            f"{row['coverage']:>10.1%}{_optional(row['share_kept'], '.1%'):>7}"
            f"{_optional(paper.get('share_kept'), '.2%'):>8}"
        )
    lines += ["", "music fraction of the judged clips"]
    most = max(report["music_fractions"]) or 1
    for i, count in enumerate(report["music_fractions"]):
        bar = "█" * round(BAR_CHARS * count / most)
        lines.append(f"  {i / HISTOGRAM_BINS:4.2f}–{(i + 1) / HISTOGRAM_BINS:4.2f} {count:>9,} {bar}")
    return "\n".join(lines) + "\n"


_OUTCOMES = (str(Outcome.DROPPED), str(Outcome.FAILED_TRANSIENT), str(Outcome.FAILED_PERMANENT))


def _optional(number: float | None, form: str) -> str:
    return "–" if number is None else format(number, form)
