"""The paper's Table 2 beside ours: annotations and tokens of each text source, before and after the filters."""

from typing import Any

from schemas.commit import TextTotals
from schemas.sources import SOURCES

PAPER_RECORDINGS = 44e6
# The paper's Table 2 (section 3.4): billions of tokens and annotations a recording; and the millions of recordings that
# have any, which its text gives for two.
_PAPER: dict[str, tuple[float, float, float | None]] = {
    "SF, unfiltered": (31.2, 42.9, None),
    "SF": (5.4, 29.6, None),
    "LF, unfiltered": (30.7, 70.7, None),
    "LF": (0.2, 0.4, 6.8),
    "PL": (2.5, 24.3, 18.0),
}


def _of_the_paper(label: str) -> dict[str, float]:
    billions, annotations, millions = _PAPER[label]
    tokens = billions * 1e9
    figures = {
        "tokens": tokens,
        "annotations_per_recording": annotations,
        "tokens_per_recording": tokens / PAPER_RECORDINGS,
    }
    if label != "LF":  # of which both have one digit, too coarse for their ratio
        figures["tokens_per_annotation"] = tokens / PAPER_RECORDINGS / annotations
    if millions is not None:
        figures["coverage"] = millions * 1e6 / PAPER_RECORDINGS
    if (before := _PAPER.get(f"{label}, unfiltered")) is not None:
        figures["share_kept"] = annotations / before[1]
    return figures


PAPER_TABLE_2 = {label: _of_the_paper(label) for label in _PAPER}


def table_2(texts: TextTotals, kept: int, lf_model: str) -> list[dict[str, Any]]:
    """The paper's Table 2 for this run, over all kept recordings, those without text included. A row of what no
    classifier has filtered has no figures of ours."""
    rows = []
    for source in SOURCES:
        if not source.in_table_2:
            continue
        label, twin = str(source.bit.name), source.unfiltered
        if twin is not None:
            rows.append(_table_row(f"{label}, unfiltered", texts.counts, twin, texts.recordings_with[twin], kept))
        if not source.scored:
            rows.append(_table_row(label, texts.counts, source.key, texts.recordings_with[source.key], kept))
        elif lf_model == "none":
            rows.append({**dict.fromkeys(_FIGURES), "label": label, "paper": PAPER_TABLE_2.get(label, {})})
        else:
            above = {f"{source.key}_{unit}": count for unit, count in texts.lf_above_threshold.items()}
            rows.append(_table_row(label, above, source.key, texts.recordings_with["lf_above_threshold"], kept))
    annotations = {row["label"]: row["annotations"] for row in rows}
    for row in rows:
        before = annotations.get(f"{row['label']}, unfiltered")
        row["share_kept"] = row["annotations"] / before if before and row["annotations"] is not None else None
    return rows


_FIGURES = (
    "annotations",
    "tokens",
    "annotations_per_recording",
    "tokens_per_recording",
    "tokens_per_annotation",
    "coverage",
)


def _table_row(label: str, counts: dict[str, int], name: str, recordings: int, kept: int) -> dict[str, Any]:
    annotations, tokens = counts[f"{name}_annotations"], counts[f"{name}_tokens"]
    return {
        "label": label,
        "annotations": annotations,
        "tokens": tokens,
        "annotations_per_recording": annotations / kept if kept else 0.0,
        "tokens_per_recording": tokens / kept if kept else 0.0,
        "tokens_per_annotation": tokens / annotations if annotations else 0.0,
        "coverage": recordings / kept if kept else 0.0,
        "paper": PAPER_TABLE_2.get(label, {}),
    }
