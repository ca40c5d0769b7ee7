"""Text ↔ music retrieval by captions, both ways: a caption has one clip to find, a clip all of its own captions.

The pool is the whole set that could be measured, its size stands in the result. Rank, recall and mAP@10 take the worst
order of a tie, so that captions that two clips share, and models that give every clip one score, get no credit. Where a
set says how well a text fits each of several clips, nDCG asks whether the better ones stand higher.
"""

import dataclasses
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from trainer.evaluation.clips import EvaluationDataError, FileClips, WindowConfig, missing_clips, require_audio
from trainer.evaluation.embedding import Embedded, embed_clips
from trainer.evaluation.evaluator import Evaluator, Measurement, Unmeasured, failed_clips
from trainer.evaluation.metrics import Bootstrap, mean_with_interval
from trainer.evaluation.model import JointModel, embed_texts
from trainer.evaluation.ranking import DEFAULT_BLOCK_ROWS, ndcg, query_scores, rank_relevant
from trainer.evaluation.readers.captions import CaptionedSet, CaptionReader

RECALL_AT = (1, 5, 10)
DIRECTIONS = ("text_to_music", "music_to_text")


@dataclass(frozen=True, kw_only=True)
class CaptionConfig:
    data: CaptionReader
    direction: Literal["text_to_music", "music_to_text"] = "text_to_music"
    skip_missing: bool = False
    block_rows: int = DEFAULT_BLOCK_ROWS
    windows: WindowConfig = field(default_factory=WindowConfig)
    bootstrap: Bootstrap = field(default_factory=lambda: Bootstrap(resamples=1000))

    def __post_init__(self) -> None:
        if self.direction not in DIRECTIONS or self.block_rows < 1:
            raise ValueError(f"captions: direction is one of {', '.join(DIRECTIONS)}, block_rows is at least 1")


@dataclass(frozen=True, kw_only=True)
class GradedConfig:
    """`at` are the k of nDCG@k; 0 is the whole pool."""

    data: CaptionReader
    at: tuple[int, ...] = (10, 0)
    skip_missing: bool = False
    windows: WindowConfig = field(default_factory=WindowConfig)
    bootstrap: Bootstrap = field(default_factory=lambda: Bootstrap(resamples=1000))

    def __post_init__(self) -> None:
        if not self.at or min(self.at) < 0:
            raise ValueError("graded: at needs numbers of at least 0, where 0 is the whole pool")


class Captioned(Evaluator[JointModel]):
    """Evaluators of captioned clips; the pool is every clip whose file is there."""

    config: CaptionConfig | GradedConfig

    def __init__(self, config: Any) -> None:
        self.config = config
        self._read: CaptionedSet | None = None

    def data(self) -> CaptionedSet:
        """Read once."""
        if self._read is None:
            self._read = self.config.data.read()
        return self._read

    def check(self) -> None:
        self._here()

    def _here(self) -> list[int]:
        """Positions of the clips whose files are there."""
        data = self.data()
        return require_audio(data.name, data.clips, self.config.skip_missing)

    def _embedded(self, model: JointModel) -> tuple[Embedded, dict[int, int], tuple[Unmeasured, ...]]:
        """The clips, which row each position of the set has, and what could not be measured."""
        data, here = self.data(), self._here()
        clips = FileClips(clips=tuple(data.clips.clips[i] for i in here))
        embedded = embed_clips(model, clips, self.config.windows)
        place = {here[kept]: row for row, kept in enumerate(embedded.kept)}
        return embedded, place, (*missing_clips(data.clips, here), *embedded.unmeasured)


class CaptionRetrieval(Captioned):
    """Figures of two models compare where both were measured on the same pool: with `skip_missing` look at its size."""

    name = "captions"
    config_class = CaptionConfig
    config: CaptionConfig

    def measure(self, model: JointModel) -> Measurement:
        config, data = self.config, self.data()
        embedded, place, unmeasured = self._embedded(model)
        pairs = [(place[clip], text) for clip, text in data.captions if clip in place]
        if not pairs:
            raise EvaluationDataError(f"{data.name}: no clip that could be measured has a caption")
        text = embed_texts(model, [caption for _, caption in pairs])
        by_text = config.direction == "text_to_music"
        if by_text:
            ranks = rank_relevant(text, embedded.rows, [[clip] for clip, _ in pairs], config.block_rows)
        else:
            own: list[list[int]] = [[] for _ in embedded.kept]
            for caption, (clip, _) in enumerate(pairs):
                own[clip].append(caption)
            asked = [clip for clip, captions in enumerate(own) if captions]
            ranks = rank_relevant(embedded.rows[asked], text, [own[clip] for clip in asked], config.block_rows)
        scores = query_scores(ranks, RECALL_AT)
        # A clip of several captions is found where any of them is.
        metrics = {
            f"recall_at_{k}": mean_with_interval((scores.first_rank <= k).astype(np.float64), config.bootstrap)
            for k in RECALL_AT
        }
        metrics["median_rank"] = mean_with_interval(scores.first_rank, config.bootstrap, np.median)
        metrics["mean_average_precision_at_10"] = mean_with_interval(scores.average_precision_at_10, config.bootstrap)
        return Measurement(
            task=self.name,
            dataset=f"{data.name}/{config.direction}",
            split="all",
            metrics=metrics,
            units={
                "queries": len(scores.first_rank),
                "clips": len(embedded.kept),
                "captions": len(pairs),
                "missing_clips": sum(entry.missing for entry in unmeasured),
                "failed_clips": failed_clips(unmeasured),
            },
            settings={
                "direction": config.direction,
                "windows": dataclasses.asdict(config.windows.of(model)),
                "bootstrap": dataclasses.asdict(config.bootstrap),
            },
            sources=data.sources,
            notes={
                **data.notes,
                "pool": f"{len(embedded.kept)} clips" if by_text else f"{len(pairs)} captions",
                "ties": "the worst order",
                "recall": "share of queries of which one right answer is among the first k",
            },
            unmeasured=unmeasured,
        )


class GradedRetrieval(Captioned):
    """nDCG of each caption over the whole pool, by the grades of a set as they are (linear gain, as in scikit-learn's
    `ndcg_score`); clips that a model scores alike share the mean of their discounts."""

    name = "graded"
    config_class = GradedConfig
    config: GradedConfig

    def check(self) -> None:
        super().check()
        data = self.data()
        if len(data.grades) != len(data.captions) or not any(data.grades):
            raise EvaluationDataError(f"{data.name}: no caption has a grade above 0")

    def measure(self, model: JointModel) -> Measurement:
        config, data = self.config, self.data()
        embedded, place, unmeasured = self._embedded(model)
        graded: dict[str, dict[int, float]] = {}
        for (clip, text), grade in zip(data.captions, data.grades, strict=True):
            if clip in place:
                graded.setdefault(text, {})[place[clip]] = grade
        asked = [text for text, grades in graded.items() if any(grades.values())]
        if not asked:
            raise EvaluationDataError(f"{data.name}: no clip that could be measured has a grade above 0")
        rows = embed_texts(model, asked)
        pool = len(embedded.kept)
        found: dict[int, list[tuple[float, float]]] = {k: [] for k in config.at}
        for text, row in zip(asked, rows, strict=True):
            grades = np.zeros(pool)
            grades[list(graded[text])] = list(graded[text].values())
            scores = embedded.rows @ row
            for k in config.at:
                found[k].append((ndcg(scores, grades, k or pool), ndcg(np.zeros(pool), grades, k or pool)))
        names = {k: f"ndcg_at_{k}" if k else "ndcg" for k in config.at}
        columns = {names[k]: np.array(values) for k, values in found.items()}
        return Measurement(
            task=self.name,
            dataset=data.name,
            split="all",
            metrics={name: mean_with_interval(values[:, 0], config.bootstrap) for name, values in columns.items()},
            units={
                "queries": len(asked),
                "clips": pool,
                "graded_pairs": sum(len(graded[text]) for text in asked),
                "missing_clips": sum(entry.missing for entry in unmeasured),
                "failed_clips": failed_clips(unmeasured),
            },
            settings={
                "at": list(config.at),
                "windows": dataclasses.asdict(config.windows.of(model)),
                "bootstrap": dataclasses.asdict(config.bootstrap),
            },
            sources=data.sources,
            notes={
                **data.notes,
                "pool": f"{pool} clips, those without a grade at 0",
                "gain": "the grade",
                "ties": "share the mean of their discounts",
            },
            skipped={text: "no clip of a grade above 0" for text in graded if text not in set(asked)},
            unmeasured=unmeasured,
            chance={name: float(values[:, 1].mean()) for name, values in columns.items()},
        )
