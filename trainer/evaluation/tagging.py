"""Tagging: zero-shot by the cosine of clip and class text, and by linear probes.

Where every clip has exactly one class (GTZAN, FMA small) the accuracy stands beside the figures of each class: of the
class whose text is nearest, or that one probe of all classes takes for the likeliest.
"""

import dataclasses
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, Self

import numpy as np

from trainer.evaluation.clips import EvaluationDataError, WindowConfig
from trainer.evaluation.embedding import embed_clips
from trainer.evaluation.evaluator import Evaluator, Measurement, Unmeasured, failed_clips, own_training
from trainer.evaluation.metrics import BoolArray, Bootstrap, accuracy, auc_and_ap, tagging_scores
from trainer.evaluation.model import FloatArray, JointModel, embed_texts, prompt_of
from trainer.evaluation.readers.mined import MinedRun
from trainer.evaluation.readers.tagged import TaggedSet, TaggedSplit
from trainer.trained_on import Training

logger = logging.getLogger(__name__)


class TaggedReader(Protocol):
    def read(self) -> TaggedSet: ...


@dataclass(frozen=True, kw_only=True)
class TaggingConfig:
    """`data` reads the set; `skip_missing` evaluates what is there and says how much was not.

    `text_template` is what the text tower reads for a class, `{}` being its text; by default what a peer's publishers
    have it read, and of our models, as in the paper, the text alone.
    """

    data: TaggedReader
    split: str = "test"
    text_template: str | None = None
    skip_missing: bool = False
    windows: WindowConfig = field(default_factory=WindowConfig)
    bootstrap: Bootstrap = field(default_factory=Bootstrap)

    def __post_init__(self) -> None:
        if self.text_template is not None and self.text_template.count("{}") != 1:
            raise ValueError("tagging: text_template needs one {}")

    def texts(self, model: JointModel, classes: Sequence[str]) -> list[str]:
        """What `model` reads for classes of these texts."""
        template = self.template(model)
        return [template.replace("{}", text) for text in classes]

    def template(self, model: JointModel) -> str:
        return self.text_template or prompt_of(model)


@dataclass(frozen=True, kw_only=True)
class ProbeConfig(TaggingConfig):
    """`inverse_penalties` are scikit-learn's C, tried on the validation split for each class, or for the one probe of a
    single-label set."""

    inverse_penalties: tuple[float, ...] = (0.001, 0.01, 0.1, 1.0, 10.0)
    max_iterations: int = 1000

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.inverse_penalties or min(self.inverse_penalties) <= 0 or self.max_iterations < 1:
            raise ValueError("probe: inverse_penalties must be above 0 and max_iterations at least 1")


def tagging_settings(config: TaggingConfig, model: JointModel) -> dict[str, Any]:
    fields = {f.name: getattr(config, f.name) for f in dataclasses.fields(config) if f.name not in ("data", "split")}
    return {
        **fields,
        "windows": dataclasses.asdict(config.windows.of(model)),
        "bootstrap": dataclasses.asdict(config.bootstrap),
    }


def chance_of(data: TaggedSet) -> dict[str, float]:
    """Of a single-label set: any of its classes is as good as another."""
    return {"roc_auc": 0.5, "accuracy": 1 / len(data.class_names)} if data.single_label else {}


class Tagging(Evaluator[JointModel]):
    """Evaluators of a tagged set, and what their models have seen of it."""

    config: TaggingConfig

    def __init__(self, config: TaggingConfig, trainings: Sequence[Training] | None = None) -> None:
        self.config = config
        self._trainings = None if trainings is None else tuple(trainings)
        self._read: tuple[tuple[Training, ...], TaggedSet] | None = None

    def of_models(self, trainings: Sequence[Training]) -> Self:
        return type(self)(self.config, trainings)

    def check(self) -> None:
        data = self.data()
        for name in self._splits():
            self.split(data, name)

    def _splits(self) -> tuple[str, ...]:
        return (self.config.split,)

    def data(self, model: JointModel | None = None) -> TaggedSet:
        """The set, read once. Where nothing was said of the models, a model of ours speaks for itself."""
        trainings = own_training(model) if self._trainings is None else self._trainings
        if self._read is None or self._read[0] != trainings:
            data = self.config.data
            self._read = trainings, data.read_for(trainings) if isinstance(data, MinedRun) else data.read()
        return self._read[1]

    def split(self, data: TaggedSet, name: str) -> TaggedSplit:
        return data.split(name).present(
            data.name if name == self.config.split else f"{data.name} {name}", self.config.skip_missing
        )


class ZeroShotTagging(Tagging):
    """The score of a clip for a class is the cosine of their embeddings; no label is seen."""

    name = "zero_shot"
    config_class = TaggingConfig

    def measure(self, model: JointModel) -> Measurement:
        data = self.data(model)
        split = self.split(data, self.config.split)
        texts = self.config.texts(model, data.class_texts)
        text = embed_texts(model, texts)
        clips = embed_clips(model, split.clips, self.config.windows)
        unmeasured = (*split.unmeasured, *clips.unmeasured)
        labels = split.labels[clips.kept]
        cosines = clips.rows @ text.T
        scores = tagging_scores(cosines, labels, data.class_names, self.config.bootstrap)
        own = {"accuracy": accuracy(cosines, labels, self.config.bootstrap)} if data.single_label else {}
        prompts = {"prompts": "; ".join(texts)} if own else {}
        return Measurement(
            task=self.name,
            dataset=data.name,
            split=self.config.split,
            metrics={**own, **scores.metrics},
            units={
                "clips": len(clips.kept),
                "missing_clips": split.missing,
                "failed_clips": failed_clips(unmeasured),
                "classes": len(scores.classes),
            },
            settings=tagging_settings(self.config, model),
            sources=data.sources,
            notes={**data.notes, "text_template": self.config.template(model), **prompts},
            skipped=scores.skipped,
            classes=scores.classes,
            unmeasured=unmeasured,
            fold=data.fold,
            chance=chance_of(data),
        )


class LinearProbe(Tagging):
    """Per class, a logistic regression on the frozen embedding, its penalty chosen by validation ROC-AUC.

    Features are standardised by the training split. The classifier is fitted on the training split alone; a class that
    the validation split cannot judge takes the penalty that serves the other classes best. A single-label set has one
    multinomial regression of all classes, its penalty chosen by validation accuracy.
    """

    name = "linear_probe"
    config_class = ProbeConfig
    config: ProbeConfig

    def _splits(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(("train", "validation", self.config.split)))

    def measure(self, model: JointModel) -> Measurement:
        data = self.data(model)
        rows: dict[str, FloatArray] = {}
        labels: dict[str, BoolArray] = {}
        unmeasured: list[Unmeasured] = []
        for name in self._splits():
            split = self.split(data, name)
            clips = embed_clips(model, split.clips, self.config.windows)
            rows[name], labels[name] = clips.rows, split.labels[clips.kept]
            unmeasured += [*split.unmeasured, *clips.unmeasured]
        test = self.config.split
        scores, unfit, chosen = (self._fit_one if data.single_label else self._fit_each)(data, rows, labels)
        usable = [i for i, name in enumerate(data.class_names) if name not in unfit]
        result = tagging_scores(
            scores[:, usable], labels[test][:, usable], [data.class_names[i] for i in usable], self.config.bootstrap
        )
        own = {"accuracy": accuracy(scores, labels[test], self.config.bootstrap)} if data.single_label else {}
        return Measurement(
            task=self.name,
            dataset=data.name,
            split=test,
            metrics={**own, **result.metrics},
            units={
                "clips": len(rows[test]),
                "train_clips": len(rows["train"]),
                "validation_clips": len(rows["validation"]),
                "missing_clips": sum(entry.missing for entry in unmeasured),
                "failed_clips": failed_clips(unmeasured),
                "classes": len(result.classes),
            },
            settings={**tagging_settings(self.config, model), "chosen_inverse_penalties": chosen},
            sources=data.sources,
            notes=data.notes,
            skipped={**unfit, **result.skipped},
            classes=result.classes,
            unmeasured=tuple(unmeasured),
            fold=data.fold,
            chance=chance_of(data),
        )

    def _scaled(self, rows: dict[str, FloatArray]) -> Iterator[FloatArray]:
        """Of train, validation and test."""
        from sklearn.preprocessing import StandardScaler

        scaler = StandardScaler().fit(rows["train"])
        return (scaler.transform(rows[name]) for name in ("train", "validation", self.config.split))

    def _fit_one(
        self, data: TaggedSet, rows: dict[str, FloatArray], labels: dict[str, BoolArray]
    ) -> tuple[FloatArray, dict[str, str], dict[str, float]]:
        """As `_fit_each`, by one probe of all classes: log-probabilities; a class without a training clip has none."""
        from sklearn.linear_model import LogisticRegression

        train, validation, test = self._scaled(rows)
        target = labels["train"].argmax(axis=1)
        found = np.unique(target)
        if len(found) < 2:
            raise EvaluationDataError(f"{data.name}: the training split has fewer than two classes")
        unsampled = Bootstrap(resamples=0)
        judged, best = -1.0, (0.0, np.zeros((0, 0)))
        for penalty in self.config.inverse_penalties:
            probe = LogisticRegression(C=penalty, max_iter=self.config.max_iterations).fit(train, target)
            right = accuracy(probe.predict_log_proba(validation), labels["validation"][:, found], unsampled).value
            if right > judged:
                judged, best = right, (penalty, probe.predict_log_proba(test))
        scores = np.full((len(test), len(data.class_names)), -np.inf, dtype=np.float32)
        scores[:, found] = best[1]
        unfit = {name: "no positive to train on" for i, name in enumerate(data.class_names) if i not in found}
        return scores, unfit, {name: best[0] for name in data.class_names if name not in unfit}

    def _fit_each(
        self, data: TaggedSet, rows: dict[str, FloatArray], labels: dict[str, BoolArray]
    ) -> tuple[FloatArray, dict[str, str], dict[str, float]]:
        """Scores (test clips × classes), classes that cannot be fitted, and the penalty of each that could."""
        from sklearn.linear_model import LogisticRegression

        train, validation, test = self._scaled(rows)
        penalties = self.config.inverse_penalties
        scores = np.zeros((len(penalties), len(test), len(data.class_names)), dtype=np.float32)
        judged = np.full((len(penalties), len(data.class_names)), np.nan)
        unfit: dict[str, str] = {}
        for column, name in enumerate(data.class_names):
            target = labels["train"][:, column]
            if target.all() or not target.any():
                unfit[name] = "no positive to train on" if not target.any() else "no negative to train on"
                continue
            for row, penalty in enumerate(penalties):
                probe = LogisticRegression(C=penalty, max_iter=self.config.max_iterations).fit(train, target)
                scores[row, :, column] = probe.decision_function(test)
                judged[row, column] = _auc(probe.decision_function(validation), labels["validation"][:, column])
        if np.isnan(judged).all():
            raise ValueError(f"{data.name}: the validation split has no class with both positives and negatives")
        common = int(np.nanargmax(np.nanmean(judged, axis=1)))
        best = [
            common if np.isnan(judged[:, column]).all() else int(np.nanargmax(judged[:, column]))
            for column in range(len(data.class_names))
        ]
        picked = np.stack([scores[row, :, column] for column, row in enumerate(best)], axis=1)
        chosen = {name: penalties[best[column]] for column, name in enumerate(data.class_names) if name not in unfit}
        return picked, unfit, chosen


def _auc(scores: FloatArray, positive: BoolArray) -> float:
    if positive.all() or not positive.any():
        return float("nan")
    return float(auc_and_ap(np.asarray(scores, dtype=np.float32), positive, np.ones((1, len(scores))))[0][0])


__all__ = [
    "LinearProbe",
    "ProbeConfig",
    "TaggedReader",
    "TaggedSplit",
    "Tagging",
    "TaggingConfig",
    "ZeroShotTagging",
    "tagging_settings",
]
