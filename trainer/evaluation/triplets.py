"""Text triplets (section 4.1.4 of the paper): is a label nearer to its own description than to another's?

AudioSet: the 141 classes of `mu141`, each with five descriptions of other classes drawn without replacement, makes
141 × 5 = 705 triplets. Playlists: a title, its own description and that of another playlist, of all playlists or of as
many as are asked for (the paper samples 1,000). A tie counts half.
The interval resamples anchors, since the triplets of one anchor depend on each other.
"""

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np

from schemas.eval_playlist import read_eval_playlists
from trainer.evaluation.clips import EvaluationDataError
from trainer.evaluation.evaluator import Evaluator, Measurement
from trainer.evaluation.metrics import Bootstrap, mean_with_interval
from trainer.evaluation.model import TextModel, embed_texts
from trainer.evaluation.readers.audioset import ClassSet, Ontology, class_set, read_labelled_classes
from trainer.evaluation.readers.tagged import digest_of


@dataclass(frozen=True, kw_only=True)
class Triplet:
    anchor: str
    positive: str
    negative: str


@dataclass(frozen=True, kw_only=True)
class AnchoredText:
    """A short text and the description that belongs to it."""

    anchor: str
    description: str


def draw_triplets(pairs: list[AnchoredText], negatives: int, seed: int, anchors: int | None = None) -> list[Triplet]:
    """`negatives` triplets a pair, the other descriptions drawn without replacement; grouped by pair.

    `anchors` pairs are drawn without replacement, all by default; negatives come from all pairs. A description that
    equals the pair's own is never a negative.
    """
    rng = np.random.default_rng(seed)
    chosen = pairs
    if anchors is not None:
        if anchors > len(pairs):
            raise EvaluationDataError(f"{anchors} triplets of other anchors were asked for, and there are {len(pairs)}")
        chosen = [pairs[int(place)] for place in rng.choice(len(pairs), size=anchors, replace=False)]
    triplets = []
    for pair in chosen:
        others = sorted({other.description for other in pairs} - {pair.description})
        if len(others) < negatives:
            raise EvaluationDataError(f"{pair.anchor!r} has {len(others)} other descriptions; {negatives} are needed")
        for choice in rng.choice(len(others), size=negatives, replace=False):
            triplets.append(Triplet(anchor=pair.anchor, positive=pair.description, negative=others[int(choice)]))
    return triplets


class TripletSource(Protocol):
    @property
    def name(self) -> str: ...

    @property
    def negatives(self) -> int: ...

    def pairs(self) -> list[AnchoredText]: ...

    def sources(self) -> dict[str, str]: ...


@dataclass(frozen=True, kw_only=True)
class OntologyTriplets:
    """Label and description of the classes of an AudioSet class set."""

    ontology: Path
    class_labels: Path
    classes: ClassSet = "mu141"
    negatives: int = 5

    @property
    def name(self) -> str:
        return f"audioset/{self.classes}"

    def pairs(self) -> list[AnchoredText]:
        ontology = Ontology.read(self.ontology)
        nodes = [ontology.nodes[m] for m in class_set(self.classes, ontology, read_labelled_classes(self.class_labels))]
        return [AnchoredText(anchor=node.name, description=node.description) for node in nodes if node.description]

    def sources(self) -> dict[str, str]:
        return {path.name: digest_of(path) for path in (self.ontology, self.class_labels)}


@dataclass(frozen=True, kw_only=True)
class PlaylistTriplets:
    """Title and description of evaluation playlists; `name` tells these from others."""

    playlists: Path
    negatives: int = 1
    name: str = "playlists"

    def pairs(self) -> list[AnchoredText]:
        return [AnchoredText(anchor=p.title, description=p.description) for p in read_eval_playlists(self.playlists)]

    def sources(self) -> dict[str, str]:
        return {self.playlists.name: digest_of(self.playlists)}


@dataclass(frozen=True, kw_only=True)
class TripletConfig:
    """`anchors`: of so many, drawn at random, triplets are made; of all by default."""

    data: TripletSource
    seed: int = 0
    anchors: int | None = None
    bootstrap: Bootstrap = field(default_factory=lambda: Bootstrap(resamples=1000))

    def __post_init__(self) -> None:
        if self.anchors is not None and self.anchors < 1:
            raise ValueError("text_triplets: anchors is at least 1")


class TextTriplets(Evaluator[TextModel]):
    """Accuracy of a text tower; audio has no part in it, so a bare sentence encoder can be measured too."""

    name = "text_triplets"
    config_class = TripletConfig

    def __init__(self, config: TripletConfig) -> None:
        self.config = config

    def check(self) -> None:
        self.triplets()

    def triplets(self) -> list[Triplet]:
        config = self.config
        return draw_triplets(config.data.pairs(), config.data.negatives, config.seed, config.anchors)

    def measure(self, model: TextModel) -> Measurement:
        triplets = self.triplets()
        rows = embed_texts(model, [t for triplet in triplets for t in dataclasses.astuple(triplet)]).astype(np.float64)
        anchor, positive, negative = rows[0::3], rows[1::3], rows[2::3]
        margin = (anchor * positive).sum(axis=1) - (anchor * negative).sum(axis=1)
        right = np.where(margin == 0, 0.5, margin > 0)
        anchors = right.reshape(-1, self.config.data.negatives).mean(axis=1)
        return Measurement(
            task=self.name,
            dataset=self.config.data.name,
            split="all",
            metrics={"accuracy": mean_with_interval(anchors, self.config.bootstrap)},
            units={"triplets": len(triplets), "anchors": len(anchors)},
            settings={
                "seed": self.config.seed,
                "negatives": self.config.data.negatives,
                "anchors": self.config.anchors,
                "bootstrap": dataclasses.asdict(self.config.bootstrap),
            },
            sources=self.config.data.sources(),
            notes={"ties": "count half", "negatives": "drawn without replacement from the other descriptions"},
        )
