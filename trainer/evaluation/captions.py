"""Text ↔ music retrieval by captions, both ways: a caption has one clip to find, a clip all of its own captions.

The pool is the whole set that could be measured, its size stands in the result. Rank, recall and mAP@10 take the worst
order of a tie, so that captions that two clips share, and models that give every clip one score, get no credit.
"""

import dataclasses
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from trainer.evaluation.clips import EvaluationDataError, FileClips, WindowConfig, missing_clips, require_audio
from trainer.evaluation.embedding import embed_clips
from trainer.evaluation.evaluator import Evaluator, Measurement, failed_clips
from trainer.evaluation.metrics import Bootstrap, mean_with_interval
from trainer.evaluation.model import JointModel, embed_texts
from trainer.evaluation.ranking import DEFAULT_BLOCK_ROWS, query_scores, rank_relevant
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


class CaptionRetrieval(Evaluator[JointModel]):
    """Figures of two models compare where both were measured on the same pool: with `skip_missing` look at its size."""

    name = "captions"
    config_class = CaptionConfig

    def __init__(self, config: CaptionConfig) -> None:
        self.config = config
        self._read: CaptionedSet | None = None

    def data(self) -> CaptionedSet:
        """Read once."""
        if self._read is None:
            self._read = self.config.data.read()
        return self._read

    def check(self) -> None:
        self._here()

    def measure(self, model: JointModel) -> Measurement:
        config, data, here = self.config, self.data(), self._here()
        clips = FileClips(clips=tuple(data.clips.clips[i] for i in here))
        embedded = embed_clips(model, clips, config.windows)
        unmeasured = (*missing_clips(data.clips, here), *embedded.unmeasured)
        place = {here[kept]: row for row, kept in enumerate(embedded.kept)}
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
                "missing_clips": len(data.clips.clips) - len(here),
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

    def _here(self) -> list[int]:
        """Positions of the clips whose files are there."""
        data = self.data()
        return require_audio(data.name, data.clips, self.config.skip_missing)
