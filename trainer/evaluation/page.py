"""Results as one self-contained HTML page: the tables, each task's figures with intervals, and its classes.

Plots have what was measured here alone; the figures of others, which were measured on other clips, fold out below.
"""

import html
import io
from collections.abc import Callable, Sequence
from typing import Any

from trainer.evaluation.evaluator import Measurement
from trainer.evaluation.results import ModelResult, Results
from trainer.evaluation.tables import Table, tables

_STYLE = """
body{font:16px/1.5 system-ui,sans-serif;max-width:70rem;margin:2rem auto;padding:0 1rem;color:#1b1b1b;background:#fff}
table{border-collapse:collapse;margin:.5rem 0}th,td{padding:.3rem .7rem;border-bottom:1px solid #ccc}
td{text-align:right;white-space:nowrap}th{text-align:right}
th:first-child,td:first-child{text-align:left}tr.other{color:#555;font-style:italic}.scroll{overflow-x:auto}
p.note{color:#444;font-size:.9rem;margin:.2rem 0}figure{margin:1rem 0}svg{max-width:100%;height:auto}
summary{cursor:pointer;color:#444;margin:.5rem 0}
"""
_MOST_CLASSES_NAMED = 60
_CLASS_WIDTH = 0.6  # of the room that a class has, for all models together
_OVERVIEWS = ("accuracy", "roc_auc", "rank_correlation", "ndcg_at_10", "ndcg")


def to_html(results: Results, shown: Sequence[Table] | None = None) -> str:
    """The page as text, with the tables `shown` (all, by default); it refers to nothing outside itself."""
    sections = [_section(table) for table in (tables(results) if shown is None else shown)]
    figures = [_overview(name, measured) for name, measured in _by_name(results).items()]
    figures += [
        _classes(name, with_classes)
        for name, measured in _by_name(results).items()
        if (with_classes := [(r, m) for r, m in measured if m.classes])
    ]
    models = "".join(
        f"<li><strong>{html.escape(r.model)}</strong>: {html.escape(r.digest or 'no files')}</li>"
        for r in results.models
    )
    about = (
        f"openmulan {html.escape(results.openmulan_version)}; result {html.escape(results.to_json()['digest'])}. "
        "Brackets are bootstrap intervals, of average precision the spread over resamples; the figures of others are "
        "in italics, with their sources."
    )
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>OpenMuLan evaluation</title>'
        f'<meta name="viewport" content="width=device-width,initial-scale=1"><style>{_STYLE}</style></head><body><main>'
        f"<h1>Evaluation</h1><p>{about}</p><ul>{models}</ul>{''.join(sections)}{''.join(figures)}</main></body></html>\n"
    )


def _section(table: Table) -> str:
    notes = "".join(f'<p class="note">{html.escape(note)}</p>' for note in table.notes)
    shown, folded = range(len(table.rows)), range(0)
    if table.own_rows == frozenset(range(len(table.own_rows))):  # where they are not mixed, as in the paper's tables
        shown, folded = shown[: len(table.own_rows)], shown[len(table.own_rows) :]
    parts = _rows(table, shown) if shown else ""
    if folded:
        parts += f"<details><summary>Figures of others</summary>{_rows(table, folded)}{notes}</details>"
    else:
        parts += notes
    return f"<section><h2>{html.escape(table.title)}</h2>{parts}</section>"


def _rows(table: Table, places: range) -> str:
    head = "".join(f'<th scope="col">{html.escape(cell)}</th>' for cell in table.header)
    rows = "".join(_row(table.rows[place], place in table.own_rows) for place in places)
    return f"<div class=scroll><table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>"


def _row(cells: Sequence[str], own: bool) -> str:
    first, *figures = map(html.escape, cells)
    if not any(figures):
        return f'<tr><th scope="rowgroup" colspan="{len(cells)}">{first}</th></tr>'
    return f"<tr{'' if own else ' class=other'}>{''.join(f'<td>{cell}</td>' for cell in (first, *figures))}</tr>"


Measured = Sequence[tuple[ModelResult, Measurement]]


def _by_name(results: Results) -> dict[str, list[tuple[ModelResult, Measurement]]]:
    found: dict[str, list[tuple[ModelResult, Measurement]]] = {}
    for result in results.models:
        for measurement in result.measurements:
            found.setdefault(measurement.name, []).append((result, measurement))
    return found


def _overview(name: str, measured: Measured) -> str:
    """The first figure of `_OVERVIEWS` that there is, of every model with its interval, and chance."""
    metric = next((metric for metric in _OVERVIEWS if metric in measured[0][1].metrics), "")
    shown = [
        (", ".join(filter(None, (result.model, m.fold))), m.metrics[metric])
        for result, m in measured
        if metric in m.metrics
    ]
    if not shown:
        return ""
    chance = measured[0][1].chance.get(metric, 0.5)

    def draw(axes: Any) -> None:
        for place, (_, value) in enumerate(shown):
            low, high = (value.value if end is None else end for end in (value.low, value.high))
            axes.plot([low, high], [place, place], color="C0", linewidth=2)
            axes.plot([value.value], [place], "o", color="C0")
        axes.axvline(chance, color="grey", linewidth=1)
        axes.set_yticks(range(len(shown)), [model for model, _ in shown])
        axes.set_ylim(len(shown) - 0.5, -0.5)
        axes.set_xlim(min(0, axes.get_xlim()[0]), 1.02)  # a rank correlation may be below 0

    height = 0.8 + 0.3 * len(shown)
    return _svg(f"{metric.replace('_', ' ')} with its interval: {name}", height, draw)


def _classes(name: str, measured: Measured) -> str:
    """ROC-AUC of every class with its interval, each model a colour, classes ordered by the first model's figure; of
    several splits the first one's."""
    measured = [(result, m) for result, m in measured if m.fold == measured[0][1].fold]
    name = ", ".join(filter(None, (name, measured[0][1].fold)))
    first = sorted(measured[0][1].classes, key=lambda c: c.roc_auc)
    place = {c.name: i for i, c in enumerate(first)}

    def draw(axes: Any) -> None:
        for number, (result, measurement) in enumerate(measured):
            shown = [c for c in measurement.classes if c.name in place]
            beside = _CLASS_WIDTH * ((number + 0.5) / len(measured) - 0.5)  # so that no model hides another
            ends = [(c.roc_auc if c.low is None else c.low, c.roc_auc if c.high is None else c.high) for c in shown]
            axes.errorbar(
                [place[c.name] + beside for c in shown],
                [c.roc_auc for c in shown],
                yerr=[
                    [max(0.0, c.roc_auc - low) for c, (low, _) in zip(shown, ends, strict=True)],
                    [max(0.0, high - c.roc_auc) for c, (_, high) in zip(shown, ends, strict=True)],
                ],
                fmt=".",
                elinewidth=0.8,
                label=result.model,
            )
        axes.axhline(0.5, color="grey", linewidth=1, label="chance")
        axes.set_ylabel("ROC-AUC")
        axes.set_ylim(0, 1.02)
        axes.set_xlim(-0.5, len(first) - 0.5)
        if len(first) <= _MOST_CLASSES_NAMED:
            axes.set_xticks(range(len(first)), [c.name for c in first], rotation=90, fontsize=7)
        else:
            axes.set_xlabel(f"{len(first)} classes, ordered by the first model's ROC-AUC")
        axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=3)  # above, where no point is

    return _svg(f"ROC-AUC of each class: {name}", 4.5, draw)


def _svg(title: str, height: float, draw: Callable[[Any], None]) -> str:
    """A figure that is the same text every time, and that refers to nothing."""
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context({"svg.hashsalt": title, "svg.fonttype": "none"}):
        figure = Figure(figsize=(10, height), layout="constrained")
        draw(figure.subplots())
        drawn = io.StringIO()
        figure.savefig(drawn, format="svg", metadata={"Date": None})
    svg, title = drawn.getvalue(), html.escape(title)
    return (
        f'<figure role="img" aria-label="{title}">{svg[svg.index("<svg") :]}<figcaption>{title}</figcaption></figure>'
    )
