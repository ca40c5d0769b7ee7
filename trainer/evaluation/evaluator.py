"""The one contract of evaluators, and what each of them measures.

`run(model)` yields (name, value) for a training log; `measure(model)` has the same figures with their intervals and
everything that a result must say about how it came about.
"""

import abc
import dataclasses
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, Self, TypeVar

from trainer.evaluation.metrics import ClassScore, Value
from trainer.trained_on import Training

ModelT = TypeVar("ModelT", contravariant=True)


_CLIP_UNITS = ("clips", "train_clips", "validation_clips", "recordings")


@dataclass(frozen=True, kw_only=True)
class Unmeasured:
    """A clip that could not be measured, or a stretch of a shard with so many; `reason` names no path."""

    clip_id: str
    reason: str
    clips: int = 1
    missing: bool = False  # and the caller knew it


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """One table cell's worth of result.

    `units` counts what was ranked or compared (clips, queries, triplets …); `skipped` maps a class or query that has
    no figure to the reason; `sources` maps each file that was read to its digest; `notes` states the choices. `fold` is
    which of several published splits was taken; `chance` is what an order at random has, where that is not 0.5.
    """

    task: str
    dataset: str
    split: str
    metrics: dict[str, Value]
    units: dict[str, int]
    settings: dict[str, Any]
    sources: dict[str, str] = field(default_factory=dict)
    notes: dict[str, str] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)
    classes: tuple[ClassScore, ...] = ()
    unmeasured: tuple[Unmeasured, ...] = ()
    fold: str = ""
    chance: dict[str, float] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return f"{self.task}/{self.dataset}"

    @property
    def failed_clips(self) -> int:
        """Clips that were there and could not be measured."""
        return failed_clips(self.unmeasured)

    @property
    def failure_rate(self) -> float:
        tried = self.failed_clips + sum(self.units.get(unit, 0) for unit in _CLIP_UNITS)
        return self.failed_clips / tried if tried else 0.0


def failed_clips(unmeasured: Iterable[Unmeasured]) -> int:
    return sum(entry.clips for entry in unmeasured if not entry.missing)


def own_training(model: object) -> tuple[Training, ...]:
    """What a model of ours says of its training; models of others say nothing."""
    training = getattr(model, "training", None)
    return (training,) if isinstance(training, Training) else ()


class Evaluator(abc.ABC, Generic[ModelT]):
    """Subclasses name their task, are made from one frozen configuration of `config_class`, and implement `measure`."""

    name: str
    config_class: type[Any]

    @abc.abstractmethod
    def measure(self, model: ModelT) -> Measurement:
        """Raises EvaluationDataError where the data cannot be used, EmbeddingError where the model's rows cannot."""

    def check(self) -> None:
        """Looks at files and splits, so that what is wrong with them is said before the first clip is embedded. Raises
        EvaluationDataError."""
        return

    def of_models(self, trainings: Sequence[Training]) -> Self:
        """The same for models that were trained so: one that measures on a run leaves out what they have seen."""
        return self

    def run(self, model: ModelT) -> Iterator[tuple[str, float]]:
        """(name, value) of every figure: `magnatagatune/top50/roc_auc`, 0.5; a log puts `name` before it."""
        measurement = self.measure(model)
        of = "/".join(filter(None, (measurement.dataset, measurement.fold)))
        for metric, value in measurement.metrics.items():
            yield f"{of}/{metric}", value.value


def measure_each(evaluators: Iterable[Evaluator[ModelT]], model: ModelT) -> Iterator[Measurement]:
    """What each measures, as soon as it is; of several sets of one name the later ones have their number behind it, so
    that they are not taken for one."""
    count: Counter[tuple[str, str]] = Counter()
    for evaluator in evaluators:
        measurement = evaluator.measure(model)
        called = measurement.name, measurement.fold
        count[called] += 1
        if (number := count[called]) > 1:
            measurement = dataclasses.replace(measurement, dataset=f"{measurement.dataset} ({number})")
        yield measurement
