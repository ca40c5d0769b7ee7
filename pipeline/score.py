"""Score: the sentence classifier's opinion of every long-form sentence of the planned rows.

A RunInference stage of its own, so that it gets workers of its own kind (more memory, no media), one model a process,
and batches that are full whatever the recordings are like. A score depends on the sentence alone (see
`filters.long_form.bert_scorer`), so batches change nothing about the bytes of a plan.
"""

import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import apache_beam as beam
from apache_beam.ml.inference.base import ModelHandler, RunInference

from pipeline.settings import NONE
from schemas.plan import PlannedRow

if TYPE_CHECKING:
    from filters.long_form.scorer import SentenceScorer

MIN_RAM = "3GB"
# A batch of rows is closed when it holds about this many sentences; the scorer cuts it into batches of its own.
MAX_BATCH_SENTENCES = 8_192


class SentenceModelHandler(ModelHandler[PlannedRow, PlannedRow, Any]):
    """Loads the classifier once a process; rows in, the same rows with scores out."""

    def __init__(self, spec: str) -> None:
        super().__init__(
            # Not left to the runner's own tuning: it would start with batches of one row.
            min_batch_size=MAX_BATCH_SENTENCES,
            max_batch_size=MAX_BATCH_SENTENCES,
            element_size_fn=_sentences,
        )
        self._spec = spec

    def load_model(self) -> "SentenceScorer":
        from filters.long_form.scorer import load_scorer

        scorer = load_scorer(self._spec)
        if (torch := sys.modules.get("torch")) is not None:
            torch.set_num_threads(1)  # the runner has a process for each core already
        return scorer

    def run_inference(
        self, batch: Sequence[PlannedRow], model: "SentenceScorer", inference_args: dict[str, Any] | None = None
    ) -> Iterable[PlannedRow]:
        texts = [sentence["text"] for _, row in batch for sentence in row["lf"]]
        scores = iter(model.score(texts).tolist() if texts else ())
        return [(part, with_scores(row, [next(scores) for _ in row["lf"]])) for part, row in batch]


def _sentences(row: PlannedRow) -> int:
    return max(1, min(len(row[1]["lf"]), MAX_BATCH_SENTENCES))


def with_scores(row: Mapping[str, Any], scores: Sequence[float]) -> dict[str, Any]:
    """A row whose sentences have these scores; the row itself stays as it is."""
    scored = [{**sentence, "score": score} for sentence, score in zip(row["lf"], scores, strict=True)]
    return {**row, "lf": scored, "max_lf_score": max(scores, default=None)}


class ScoreSentences(beam.PTransform):
    """PCollection of PlannedRow in, the same with scores out; as it is where there is no model."""

    def __init__(self, spec: str) -> None:
        super().__init__()
        self._spec = spec

    def expand(self, rows: Any) -> Any:
        if self._spec == NONE:
            return rows
        return rows | RunInference(SentenceModelHandler(self._spec)).with_resource_hints(min_ram=MIN_RAM)
