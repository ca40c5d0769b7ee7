"""Precision and recall in the wild: sentences of a run drawn for labelling, and what their labels say of the run.

Sentences are drawn at random within strata of their score, accepted and rejected ones alike, with a known chance each.
Weighting each label by one over its chance estimates what labelling everything would have given (Horvitz-Thompson).
Recall rests on the few positives among many rejected sentences, so its interval is wide, and the figures say so.
"""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from filters.long_form.data import DataError, Example
from filters.long_form.metrics import Interval
from schemas.digest import digest_bytes, hash64
from schemas.jsonl import read_objects
from schemas.run import Run

REJECTED_STRATA = 3
ACCEPTED_STRATA = 2
_RESAMPLES = 2_000


@dataclass(frozen=True, kw_only=True)
class ScoredSentence:
    text: str
    score: float
    source: str


@dataclass(frozen=True, kw_only=True)
class Drawn:
    """A sentence to be labelled, with the chance with which it was drawn; `stratum` names its band of scores."""

    item_id: str
    text: str
    source: str
    stratum: str
    inclusion_probability: float
    score: float
    threshold: float

    @property
    def is_accepted(self) -> bool:
        return self.score >= self.threshold

    def to_json(self) -> dict[str, Any]:
        return dict(vars(self))


@dataclass(frozen=True, kw_only=True)
class AuditFigures:
    """Of the run, at the threshold; `labelled` counts what the estimate rests on."""

    threshold: float
    accepted_share: float
    precision: Interval
    recall: Interval
    base_rate: Interval
    labelled: dict[str, int]

    def to_json(self) -> dict[str, Any]:
        return {
            "threshold": self.threshold,
            "accepted_share": round(self.accepted_share, 6),
            "precision": self.precision.to_json(),
            "recall": self.recall.to_json(),
            "base_rate": self.base_rate.to_json(),
            "labelled": self.labelled,
        }


def sentences_of_run(run: Run) -> Iterator[ScoredSentence]:
    """Every scored sentence of a mined run. Raises DataError where the run was mined without a classifier."""
    if run.manifest.long_form.digest is None:
        raise DataError(f"{run.root}: its sentences are not scored; mine or score it with an --lf_model first")
    for group in run.row_groups():
        table = run.read(group, ["recording_id", "lf"])
        for recording_id, sentences in zip(table["recording_id"].to_pylist(), table["lf"].to_pylist(), strict=True):
            for sentence in sentences:
                if sentence["score"] is not None:
                    yield ScoredSentence(text=sentence["text"], score=sentence["score"], source=recording_id)


def strata_edges(threshold: float) -> list[float]:
    """Lower edges of the score bands, rising; the threshold is one of them. Rejected bands narrow towards it."""
    rejected = [0.0, *(threshold * 10.0 ** -(REJECTED_STRATA - 1 - i) for i in range(REJECTED_STRATA - 1))]
    accepted = [threshold + (1 - threshold) * i / ACCEPTED_STRATA for i in range(ACCEPTED_STRATA)]
    return [*rejected, *accepted]


def draw(
    sentences: Iterable[ScoredSentence], *, threshold: float, accepted: int, rejected: int, seed: int
) -> tuple[list[Drawn], dict[str, int]]:
    """About `accepted` + `rejected` sentences, spread evenly over the bands, and how many each band holds.

    Of each band the smallest hashes stay; a text counts once however many recordings have it, for which its 64-bit
    hash is kept (some 100 bytes a distinct sentence).
    """
    if not 0 < threshold < 1:
        raise DataError(f"threshold {threshold:g}: must be above 0 and below 1")
    edges = strata_edges(threshold)
    wanted = [
        -(-(accepted if edge >= threshold else rejected) // (ACCEPTED_STRATA if edge >= threshold else REJECTED_STRATA))
        for edge in edges
    ]
    kept: list[dict[int, ScoredSentence]] = [{} for _ in edges]
    seen: list[set[int]] = [set() for _ in edges]
    for sentence in sentences:
        band = int(np.searchsorted(edges, sentence.score, side="right")) - 1
        key = hash64(f"{seed}\n{sentence.text}")
        if key in seen[band]:
            continue
        seen[band].add(key)
        kept[band][key] = sentence
        if len(kept[band]) > 4 * wanted[band]:
            kept[band] = {k: kept[band][k] for k in sorted(kept[band])[: wanted[band]]}
    drawn = []
    for band, edge in enumerate(edges):
        chosen = sorted(kept[band])[: wanted[band]]
        name = f"{'accepted' if edge >= threshold else 'rejected'}-{edge:.4f}"
        for key in chosen:
            sentence = kept[band][key]
            drawn.append(
                Drawn(
                    item_id=digest_bytes(sentence.text.encode("utf-8", "surrogatepass")),
                    text=sentence.text,
                    source=sentence.source,
                    stratum=name,
                    inclusion_probability=len(chosen) / len(seen[band]),
                    score=sentence.score,
                    threshold=threshold,
                )
            )
    drawn.sort(key=lambda item: hash64(f"order\n{seed}\n{item.text}"))  # so that an annotator sees no order of scores
    sizes = {
        f"{'accepted' if edge >= threshold else 'rejected'}-{edge:.4f}": len(seen[band])
        for band, edge in enumerate(edges)
    }
    return drawn, sizes


def read_drawn(path: Path) -> list[Drawn]:
    """What `draw` wrote. Raises DataError."""
    drawn = []
    try:
        for where, value in read_objects(path):
            try:
                drawn.append(Drawn(**value))
            except TypeError as error:
                raise DataError(f"{where}: not a line that `mulan lf-filter audit draw` wrote ({error})") from error
    except ValueError as error:
        raise DataError(str(error)) from error
    return drawn


def estimate(drawn: Sequence[Drawn], labels: Mapping[str, bool], *, seed: int = 0) -> AuditFigures:
    """What the labels say of the run. `labels` by item_id; unlabelled sentences count as not drawn.

    Within a band a label that is missing is taken to be missing at random. Raises DataError.
    """
    if not drawn:
        raise DataError("no sentences were drawn")
    bands: dict[str, list[Drawn]] = {}
    for item in drawn:
        bands.setdefault(item.stratum, []).append(item)
    cells: list[tuple[float, bool, list[bool]]] = []  # sentences of the band, accepted, labels
    for items in bands.values():
        known = [labels[item.item_id] for item in items if item.item_id in labels]
        size = len(items) / items[0].inclusion_probability
        if not known:
            raise DataError(f"none of the {len(items)} sentences of {items[0].stratum} has a label: label some of each")
        cells.append((size, items[0].is_accepted, known))
    total = sum(size for size, _, _ in cells)
    accepted = sum(size for size, is_accepted, _ in cells if is_accepted)
    value = _shares(cells, [float(np.mean(known)) for _, _, known in cells])
    rng = np.random.default_rng(seed)
    # A band whose labels are all alike has no spread to resample; Jeffreys' prior gives it one.
    resampled = np.array(
        [
            _shares(cells, [rng.beta(sum(known) + 0.5, len(known) - sum(known) + 0.5) for _, _, known in cells])
            for _ in range(_RESAMPLES)
        ]
    )
    low, high = np.nanquantile(resampled, 0.025, axis=0), np.nanquantile(resampled, 0.975, axis=0)
    precision, recall, base_rate = (
        Interval(
            value=float(value[i]) if not math.isnan(value[i]) else 0.0,
            low=float(min(low[i], value[i])),
            high=float(max(high[i], value[i])),
        )
        for i in range(3)
    )
    return AuditFigures(
        threshold=drawn[0].threshold,
        accepted_share=accepted / total,
        precision=precision,
        recall=recall,
        base_rate=base_rate,
        labelled={name: sum(item.item_id in labels for item in items) for name, items in sorted(bands.items())},
    )


def _shares(cells: Sequence[tuple[float, bool, list[bool]]], yes: Sequence[float]) -> list[float]:
    """Precision, recall and base rate, given each band's share of positives."""
    accepted = sum(size for size, is_accepted, _ in cells if is_accepted)
    hits = sum(size * share for (size, is_accepted, _), share in zip(cells, yes, strict=True) if is_accepted)
    positives = sum(size * share for (size, _, _), share in zip(cells, yes, strict=True))
    return [
        hits / accepted if accepted else math.nan,
        hits / positives if positives else math.nan,
        positives / sum(size for size, _, _ in cells),
    ]


def labels_by_item(examples: Iterable[Example]) -> dict[str, bool]:
    return {example.item_id: example.is_music for example in examples}
