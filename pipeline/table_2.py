"""The paper's Table 2 beside ours: annotations and tokens of each text source, before and after the filters."""

from typing import Any

from schemas.commit import TextTotals
from schemas.sources import SOURCES

# Annotations as the paper's Table 2 (section 3.4) has them; tokens an annotation and shares follow from them and its
# billions of tokens over 44 million recordings. Of filtered LF both have one digit, too coarse for their ratio.
PAPER_TABLE_2: dict[str, dict[str, float]] = {
    "SF, unfiltered": {"annotations_per_recording": 42.9, "tokens_per_annotation": 16.5},
    "SF": {"annotations_per_recording": 29.6, "tokens_per_annotation": 4.15, "share_kept": 0.69},
    "LF, unfiltered": {"annotations_per_recording": 70.7, "tokens_per_annotation": 9.87},
    "LF": {"annotations_per_recording": 0.4, "share_kept": 0.0057},
    "PL": {"annotations_per_recording": 24.3, "tokens_per_annotation": 2.34},
}


def table_2(texts: TextTotals, kept: int, lf_model: str) -> list[dict[str, Any]]:
    """The paper's Table 2 for this run, over all kept recordings, those without text included."""
    rows = []
    for source in SOURCES:
        if not source.in_table_2:
            continue
        label, twin = str(source.bit.name), source.unfiltered
        if twin is not None:
            rows.append(_table_row(f"{label}, unfiltered", texts.counts, twin, texts.recordings_with[twin], kept))
        if not source.scored:
            rows.append(_table_row(label, texts.counts, source.key, texts.recordings_with[source.key], kept))
        elif lf_model != "none":
            above = {f"{source.key}_{unit}": count for unit, count in texts.lf_above_threshold.items()}
            rows.append(_table_row(label, above, source.key, texts.recordings_with["lf_above_threshold"], kept))
    annotations = {row["label"]: row["annotations"] for row in rows}
    for row in rows:
        before = annotations.get(f"{row['label']}, unfiltered")
        row["share_kept"] = row["annotations"] / before if before else None
    return rows


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
