"""Results as tables: one a task, models down, figures across, others' published figures below with their sources."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from trainer.evaluation.clips import in_words
from trainer.evaluation.evaluator import Measurement
from trainer.evaluation.metrics import Value
from trainer.evaluation.published import PublishedFigure, published_figures
from trainer.evaluation.results import Results

TITLES = {
    "zero_shot": "Zero-shot tagging",
    "linear_probe": "Linear probes",
    "retrieval": "Text-to-music retrieval",
    "captions": "Retrieval by captions",
    "graded": "Retrieval by graded captions",
    "negation": "Negated tags",
    "synonyms": "Synonymous tags",
    "text_triplets": "Text triplets",
}
_SHORT = {
    "roc_auc": "ROC-AUC",
    "average_precision": "AP",
    "mean_average_precision": "mAP",
    "mean_average_precision_at_10": "mAP@10",
    "d_prime": "d'",
    "median_rank": "median rank",
    "ndcg": "nDCG",
    "ndcg_at_10": "nDCG@10",
    "roc_auc_of_noun": "ROC-AUC, noun alone",
}


_ORDER = (
    *("accuracy", "ndcg", "rank_correlation", "roc_auc", "roc_auc_of_noun", "average_precision"),
    *("mean_average_precision", "d_prime", "recall", "median_rank"),
)


@dataclass(frozen=True, kw_only=True)
class Table:
    """`rows` begin with the model; `own_rows` are the places of those that are ours, `notes` the lines below."""

    title: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    own_rows: frozenset[int]
    notes: tuple[str, ...]


def tables(results: Results, published: Sequence[PublishedFigure] | None = None) -> list[Table]:
    """One table for each (task, data set) that any model was measured on; the paper's figures have tables of their own
    (trainer/evaluation/paper_tables.py)."""
    figures = _of_others(published)
    names: dict[str, Measurement] = {}
    for result in results.models:
        for measurement in result.measurements:
            names.setdefault(measurement.name, measurement)
    found = []
    for name, first in names.items():
        found.append(_table(results, name, first, figures))
        if (differences := _differences(results, name)) is not None:
            found.append(differences)
    return found


def published_elsewhere(results: Results, published: Sequence[PublishedFigure] | None = None) -> Table | None:
    """Published figures that stand beside none of ours: other sets, or sets that were not evaluated here."""
    figures = _of_others(published)
    ours = {measurement.name for result in results.models for measurement in result.measurements}
    rest = [figure for figure in figures if figure.measurement not in ours]
    if not rest:
        return None
    sources = _sources(rest)
    rows = []
    for figure in rest:
        metric = _heading(figure.metric)
        rows.append((_cited(figure, sources), figure.measurement, metric, format_value(Value(value=figure.value))))
    return Table(
        title="Published figures on what was not evaluated here",
        header=("model", "task and set", "figure", "value"),
        rows=tuple(rows),
        own_rows=frozenset(),
        notes=_source_notes(sources),
    )


def _of_others(published: Sequence[PublishedFigure] | None) -> list[PublishedFigure]:
    figures = published_figures() if published is None else published
    return [figure for figure in figures if not figure.of_the_paper]


def _sources(figures: Sequence[PublishedFigure]) -> list[str]:
    return list(dict.fromkeys(f"{figure.source}; {figure.reading}" for figure in figures))


def _cited(figure: PublishedFigure, sources: list[str]) -> str:
    return f"{figure.model} [{sources.index(f'{figure.source}; {figure.reading}') + 1}]"


def _source_notes(sources: list[str]) -> tuple[str, ...]:
    return tuple(f"[{number}] {source}" for number, source in enumerate(sources, start=1))


def _table(results: Results, name: str, first: Measurement, figures: Sequence[PublishedFigure]) -> Table:
    measured = [(r.model, m) for r in results.models for m in r.measurements if m.name == name]
    metrics = sorted({metric for _, m in measured for metric in m.metrics}, key=metric_order)
    rows: list[tuple[str, ...]] = []
    for result in results.models:
        folds = [m for m in result.measurements if m.name == name]
        if several := len({m.fold for m in folds}) > 1:
            cells = (_over_folds(folds, metric) for metric in metrics)
            rows.append((f"{result.model}, mean of {len(folds)} splits", *cells))
        for m in folds:
            label = f"{result.model}, {m.fold}" if several else result.model
            rows.append((label, *(_cell(m.metrics, metric) for metric in metrics)))
    if first.chance:
        chance = {metric: Value(value=value) for metric, value in first.chance.items()}
        rows.append(("chance", *(_cell(chance, metric) for metric in metrics)))
    notes = [_basis(first)]
    for model, m in measured:
        if m.fold == first.fold and (otherwise := _otherwise(m, first)):
            notes.append(f"{model}: {otherwise}")
    if any(m.fold != first.fold for _, m in measured):
        notes = [f"{first.fold}: {notes[0]}", *notes[1:], "± is the standard deviation over the splits"]
    for model, m in measured:
        if m.skipped:
            reasons = sorted(set(m.skipped.values()))
            listed = "; ".join(f"{sum(r == v for v in m.skipped.values())} with {r}" for r in reasons)
            notes.append(f"{model}: {len(m.skipped)} left out ({listed})")
            break
    for model, m in measured:
        if m.unmeasured:
            notes.append(f"{model}: not measured: {in_words(m.unmeasured)}")
            break
    own = len(rows)
    beside = [figure for figure in figures if figure.measurement == name]
    sources = _sources(beside)
    for cited in dict.fromkeys(_cited(figure, sources) for figure in beside):
        values = {figure.metric: figure.value for figure in beside if _cited(figure, sources) == cited}
        rows.append((cited, *(f"{values[m]:.3f}" if m in values else "–" for m in metrics)))
    notes += _source_notes(sources)
    title = f"{TITLES.get(first.task, first.task)}: {first.dataset}"
    header = ("model", *map(_heading, metrics))
    return Table(title=title, header=header, rows=tuple(rows), own_rows=frozenset(range(own)), notes=tuple(notes))


def _cell(metrics: Mapping[str, Value], metric: str) -> str:
    return format_value(metrics[metric]) if metric in metrics else "–"


def _over_folds(folds: Sequence[Measurement], metric: str) -> str:
    """0.712 ± 0.004: mean and standard deviation over the splits; – where one of them has no figure."""
    values = np.array([m.metrics[metric].value if metric in m.metrics else np.nan for m in folds])
    if not np.isfinite(values).all():
        return "–"
    return f"{_number(float(values.mean()), signed=False)} ± {_number(float(values.std(ddof=1)), signed=False)}"


def _differences(results: Results, name: str) -> Table | None:
    """Each model less the first one, resample by resample, where both were measured on the same clips just now."""
    measured = [(r.model, m) for r in results.models for m in r.measurements if m.name == name]
    first_model, basis = measured[0]
    first_of = {m.fold: m for model, m in reversed(measured) if model == first_model}
    metrics = sorted(basis.metrics, key=metric_order)
    rows = []
    for model, other in measured:
        first = first_of.get(other.fold)
        if first is None or other is first:
            continue
        if (other.units, other.sources, other.unmeasured) != (first.units, first.sources, first.unmeasured):
            continue
        confidence = other.settings.get("bootstrap", {}).get("confidence", 0.95)
        both = [
            other.metrics[metric].less(first.metrics[metric], confidence)
            if metric in other.metrics and metric in first.metrics
            else None
            for metric in metrics
        ]
        if any(value is not None for value in both):
            cells = ("–" if value is None else format_value(value, signed=True) for value in both)
            of = f", {other.fold}" if len(first_of) > 1 else ""
            rows.append((f"{model} less {first_model}{of}", *cells))
    if not rows:
        return None
    return Table(
        title=f"{TITLES.get(basis.task, basis.task)}, differences: {basis.dataset}",
        header=("models", *map(_heading, metrics)),
        rows=tuple(rows),
        own_rows=frozenset(range(len(rows))),
        notes=(
            "paired: each resample is the same clips, queries or groups of both; an interval without 0 is a difference",
        ),
    )


def metric_order(metric: str) -> tuple[int, int]:
    """Sort key of a table's columns, the same whether results were just measured or read from a file."""
    name, _, k = metric.partition("_at_")  # mAP@10 stands where mAP does
    return _ORDER.index(name) if name in _ORDER else len(_ORDER), int(k or 0)


def _heading(metric: str) -> str:
    return _SHORT.get(metric, metric.replace("recall_at_", "R@").replace("_", " "))


def _basis(measurement: Measurement) -> str:
    return f"{measurement.split} split; {_counts_and_choices(measurement.units, measurement.notes)}"


def _otherwise(measurement: Measurement, first: Measurement) -> str:
    """What of a model's basis is not that of the first: its prompt, how many clips it could not use."""
    units = {unit: count for unit, count in measurement.units.items() if first.units.get(unit) != count}
    notes = {key: value for key, value in measurement.notes.items() if first.notes.get(key) != value}
    return _counts_and_choices(units, notes)


def _counts_and_choices(units: Mapping[str, int], notes: Mapping[str, str]) -> str:
    counted = ", ".join(f"{count:,} {unit.replace('_', ' ')}" for unit, count in sorted(units.items()))
    choices = (f"{key.replace('_', ' ')}: {value}" for key, value in sorted(notes.items()))
    return "; ".join((*([counted] if counted else []), *choices))


def format_value(value: Value, *, signed: bool = False) -> str:
    """0.712 [0.698, 0.725]: the brackets are the bootstrap interval. What is not finite (d' of a perfect AUC) is –."""
    figure = _number(value.value, signed)
    if value.low is None or value.high is None:
        return figure
    return f"{figure} [{_number(value.low, signed)}, {_number(value.high, signed)}]"


def _number(value: float, signed: bool) -> str:
    if not math.isfinite(value):
        return "–"
    sign = "+" if signed else ""
    return f"{value:{sign}.3f}" if abs(value) < 100 else f"{value:{sign}.0f}"


def to_markdown(found: Sequence[Table]) -> str:
    parts = []
    for table in found:
        lines = [
            f"### {table.title}",
            "",
            _pipe_row(table.header),
            _pipe_row(["---", *["---:"] * (len(table.header) - 1)]),
        ]
        lines += [_pipe_row(row) for row in table.rows]
        lines += ["", *(f"{note}  " for note in table.notes)]
        parts.append("\n".join(lines))
    return "\n\n".join(parts) + "\n"


def _pipe_row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in cells) + " |"


def to_terminal(found: Sequence[Table]) -> str:
    parts = []
    for table in found:
        widths = [max(len(row[i]) for row in (table.header, *table.rows)) for i in range(len(table.header))]

        def line(cells: Sequence[str], widths: list[int] = widths) -> str:
            first, *others = (
                cell.ljust(width) if i == 0 else cell.rjust(width)
                for i, (cell, width) in enumerate(zip(cells, widths, strict=True))
            )
            return "  ".join([first, *others]).rstrip()

        rule = "  ".join("-" * width for width in widths)
        body = [line(row) for row in table.rows]
        parts.append("\n".join([table.title, line(table.header), rule, *body, *(f"  {note}" for note in table.notes)]))
    return "\n\n".join(parts) + "\n"
