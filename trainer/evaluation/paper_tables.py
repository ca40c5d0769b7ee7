"""The paper's tables 4, 5 and 6 in its own layout, whole, with what was measured here beside its rows.

Its figures stand in published.json like those of others; this file says where each of the 86 is printed. A row of ours
stands below the paper's rows that it compares with: a model below the paper's own two, a row of our ablation below
the same row of the paper's, a bare text encoder below the baselines. A table is made where anything of it was measured.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from trainer.evaluation.arguments import ROWS
from trainer.evaluation.published import PAPER, PublishedFigure, published_figures
from trainer.evaluation.results import ModelResult, Results
from trainer.evaluation.tables import Table, format_value

_ABSENT = "-"  # as the paper prints what it does not have
_ALL, _UNFILTERED = ROWS[-2].label, ROWS[-1].label


@dataclass(frozen=True, kw_only=True)
class PaperRow:
    """`label` is the paper's, `model` the name in published.json, `ours` the ablation's row that is trained alike."""

    label: str
    model: str
    ours: str | None = None


@dataclass(frozen=True, kw_only=True)
class PaperGroup:
    """Rows under one heading. `task` is what all of them measure; `beside` says which of our models may stand there."""

    heading: str
    task: str
    rows: tuple[PaperRow, ...]
    beside: str = "nothing"  # models, encoders or nothing


@dataclass(frozen=True, kw_only=True)
class PaperTable:
    """`columns` are (heading, data set, metric)."""

    number: int
    title: str
    columns: tuple[tuple[str, str, str], ...]
    groups: tuple[PaperGroup, ...]
    note: str


_TOWERS = (
    PaperRow(label="M-AST", model="MuLan M-AST (paper)"),
    PaperRow(label="M-Resnet-50", model="MuLan M-ResNet-50 (paper)", ours=_ALL),
)
_ABLATION = (
    *(
        PaperRow(label=row.label, model=f"MuLan M-ResNet-50, {row.label} (paper)", ours=row.label)
        for row in reversed(ROWS[:-2])
    ),
    PaperRow(label="SF/LF Unfiltered", model="MuLan M-ResNet-50, unfiltered (paper)", ours=_UNFILTERED),
)
_BASELINES_OF_PROBES = ("Hybrid", "JukeBox", "MuLaP", "CLMR")
_BASELINES_OF_TRIPLETS = (
    ("SimCSE", "SimCSE (MuLan paper)"),
    ("SBERT", "SBERT (MuLan paper)"),
    ("USE", "Universal Sentence Encoder (MuLan paper)"),
    ("BERT", "BERT, mean-pooled (MuLan paper)"),
)
_ABLATION_NOTE = "ablation and unfiltered models are M-ResNet-50"

PAPER_TABLES = (
    PaperTable(
        number=4,
        title="Music tagging, AUC-ROC",
        columns=(
            ("Gen-25", "audioset/gen25", "roc_auc"),
            ("Mu-141", "audioset/mu141", "roc_auc"),
            ("Top-50", "magnatagatune/top50", "roc_auc"),
            ("All-188", "magnatagatune/all188", "roc_auc"),
        ),
        groups=(
            PaperGroup(heading="(a) Zero-shot", task="zero_shot", rows=_TOWERS, beside="models"),
            PaperGroup(heading="(b) Text ablation", task="zero_shot", rows=_ABLATION),
            PaperGroup(
                heading="(c) Linear probe",
                task="linear_probe",
                rows=(
                    *_TOWERS,
                    *(PaperRow(label=name, model=f"{name} (MuLan paper)") for name in _BASELINES_OF_PROBES),
                ),
                beside="models",
            ),
            PaperGroup(
                heading="(d) End-to-end training baselines",
                task="end_to_end",
                rows=(
                    PaperRow(label="AST", model="AST (MuLan paper)"),
                    PaperRow(label="SC-CNN", model="SC-CNN (MuLan paper)"),
                ),
            ),
        ),
        note=f"{_ABLATION_NOTE}; nothing here measures (d). The paper's list of the 141 classes is not known "
        "(docs/evaluation.md)",
    ),
    PaperTable(
        number=5,
        title="Music retrieval by text",
        columns=(
            ("Title AUC", "playlists/title", "roc_auc"),
            ("Title mAP", "playlists/title", "mean_average_precision"),
            ("Description AUC", "playlists/description", "roc_auc"),
            ("Description mAP", "playlists/description", "mean_average_precision"),
        ),
        groups=(
            PaperGroup(heading="", task="retrieval", rows=_TOWERS, beside="models"),
            PaperGroup(heading="Text ablation", task="retrieval", rows=_ABLATION),
        ),
        note=f"{_ABLATION_NOTE}; the paper's playlists (7,000 queries, 100K recordings) are not public, so its figures "
        "are of other queries than ours",
    ),
    PaperTable(
        number=6,
        title="Text triplets, accuracy",
        columns=(("Playlist", "playlists", "accuracy"), ("AudioSet", "audioset/mu141", "accuracy")),
        groups=(
            PaperGroup(heading="", task="text_triplets", rows=_TOWERS, beside="models"),
            PaperGroup(heading="Text ablation", task="text_triplets", rows=_ABLATION),
            PaperGroup(
                heading="Baselines",
                task="text_triplets",
                rows=tuple(PaperRow(label=label, model=model) for label, model in _BASELINES_OF_TRIPLETS),
                beside="encoders",
            ),
        ),
        note=f"{_ABLATION_NOTE}; the paper's playlists are not public, and an encoder of ours is another checkpoint "
        "than the paper's",
    ),
)


def paper_tables(results: Results) -> list[Table]:
    """Those of the paper's tables of which a model here was measured on anything."""
    figures = {(figure.model, figure.measurement, figure.metric): figure for figure in published_figures()}
    measured = {measurement.name for result in results.models for measurement in result.measurements}
    return [
        _table(table, results.models, figures)
        for table in PAPER_TABLES
        if any(f"{group.task}/{data}" in measured for group in table.groups for _, data, _ in table.columns)
    ]


def _table(
    table: PaperTable, models: Sequence[ModelResult], figures: dict[tuple[str, str, str], PublishedFigure]
) -> Table:
    rows: list[tuple[tuple[str, ...], bool]] = []  # and whether it is ours
    for group in table.groups:
        if group.heading:
            rows.append(((group.heading, *("" for _ in table.columns)), False))
        for row in group.rows:
            cells = (figures.get((row.model, f"{group.task}/{data}", metric)) for _, data, metric in table.columns)
            rows.append(((row.label, *(_ABSENT if cell is None else f"{cell.value:.3f}" for cell in cells)), False))
            alike = [result for result in models if row.ours is not None and _ablation_row(result) == row.ours]
            rows += [(own, True) for own in _own_rows(table, group, alike)]
        rows += [(own, True) for own in _own_rows(table, group, _beside(group, models))]
    return Table(
        title=f"Table {table.number} of the paper: {table.title}",
        header=("Model", *(heading for heading, *_ in table.columns)),
        rows=tuple(row for row, _ in rows),
        own_rows=frozenset(place for place, (_, ours) in enumerate(rows) if ours),
        notes=(f"{PAPER}, table {table.number}, as it stands there; rows that begin with → are ours", table.note),
    )


def _own_rows(table: PaperTable, group: PaperGroup, models: Sequence[ModelResult]) -> Iterator[tuple[str, ...]]:
    """Of those that were measured on anything of the group."""
    for result in models:
        by_name = {measurement.name: measurement.metrics for measurement in result.measurements}
        values = [by_name.get(f"{group.task}/{data}", {}).get(metric) for _, data, metric in table.columns]
        if any(value is not None for value in values):
            yield f"→ {result.model}", *(_ABSENT if value is None else format_value(value) for value in values)


def _ablation_row(result: ModelResult) -> str | None:
    """Which row of the ablation a result is: its models are called `ROW, seed N`."""
    label, separator, _ = result.model.rpartition(", seed ")
    return label if separator and label in {row.label for row in ROWS} else None


def _beside(group: PaperGroup, models: Sequence[ModelResult]) -> list[ModelResult]:
    if group.beside == "nothing":
        return []
    text_only = group.beside == "encoders"
    return [result for result in models if _ablation_row(result) is None and result.text_only == text_only]
