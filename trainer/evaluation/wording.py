"""What a text tower makes of the wording of a tag: of a negation, and of another word for the same.

The paper (section 4.2.1) finds MagnaTagATune's "no piano" and "not rock" to be what its model is worst at: the text
embedding of "not rock" is similar to "rock", a well known problem with BERT. Its listeners' own tags ask for it.

Negation: the classes whose text begins with "no" or "not". A clip is *without* where it has one of them, or another
that says the same ("no singer" beside "no vocals"); it is *with* where it has a class with one of the denied words or
their synonyms in it ("female vocal", "voices"). Clips that are neither or both say nothing. A model that hears only
the noun ranks the wrong way round: well below 0.5, where the same noun without "no" is well above.

Synonyms: classes that the literature merges. Each pair ranks the clips, and their rank correlation (Spearman) should be
1; beside it stands that of texts of different groups, which a model that ranks every text alike has at 1 too.
"""

import re
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trainer.evaluation.clips import EvaluationDataError
from trainer.evaluation.embedding import Embedded, embed_clips
from trainer.evaluation.evaluator import Measurement, Unmeasured, failed_clips
from trainer.evaluation.metrics import BoolArray, mean_with_interval, tagging_scores
from trainer.evaluation.model import FloatArray, JointModel, embed_texts
from trainer.evaluation.readers.tagged import TaggedSet, TaggedSplit
from trainer.evaluation.tagging import Tagging, TaggingConfig, tagging_settings

_DENIED = re.compile(r"(?:no|not) (.+)")


def denied(text: str) -> str | None:
    """What a negation says is not there: "vocals" of "no vocals"; None where it denies nothing."""
    matched = _DENIED.fullmatch(text)
    return matched[1] if matched else None


def groups_of(data: TaggedSet) -> list[tuple[str, ...]]:
    """The synonyms that are classes of the set, two and more."""
    there = set(data.class_names)
    found = (tuple(name for name in group if name in there) for group in data.synonyms)
    return [group for group in found if len(group) > 1]


def with_and_without(data: TaggedSet, labels: BoolArray) -> tuple[list[int], BoolArray, BoolArray]:
    """Columns of the negations whose noun is a class too, and of each (clips × negations) which clips are known to be
    with what it denies, and which without."""
    group_of = {name: group for group in groups_of(data) for name in group}
    text_of = dict(zip(data.class_names, data.class_texts, strict=True))
    noun_of = {name: noun for name, text in text_of.items() if (noun := denied(text)) is not None}
    known_texts = set(data.class_texts)
    negations = [i for i, name in enumerate(data.class_names) if noun_of.get(name) in known_texts]
    present, absent = (np.zeros((len(labels), len(negations)), dtype=bool) for _ in range(2))
    for place, column in enumerate(negations):
        name = data.class_names[column]
        alike = [other for other in group_of.get(name, (name,)) if other in noun_of]
        words = {word for other in alike for word in group_of.get(noun_of[other], (noun_of[other],))}
        said = re.compile(rf"\b(?:{'|'.join(map(re.escape, sorted(words)))})\b")
        carriers = [i for i, c in enumerate(data.class_names) if c not in noun_of and said.search(text_of[c])]
        having = labels[:, carriers].any(axis=1)
        lacking = labels[:, [data.class_names.index(other) for other in alike]].any(axis=1)
        present[:, place], absent[:, place] = having & ~lacking, lacking & ~having
    return negations, present, absent


class _Wording(Tagging):
    config_class = TaggingConfig

    def _embedded(self, model: JointModel, data: TaggedSet) -> tuple[TaggedSplit, Embedded]:
        split = self.split(data, self.config.split)
        return split, embed_clips(model, split.clips, self.config.windows)

    def _texts(self, model: JointModel, texts: Sequence[str]) -> FloatArray:
        return embed_texts(model, self.config.texts(model, texts))

    def _about(self, data: TaggedSet, split: TaggedSplit, clips: Embedded, model: JointModel) -> dict[str, Any]:
        """What every measurement says of how it came about."""
        unmeasured: tuple[Unmeasured, ...] = (*split.unmeasured, *clips.unmeasured)
        return {
            "task": self.name,
            "dataset": data.name,
            "split": self.config.split,
            "settings": tagging_settings(self.config, model),
            "sources": data.sources,
            "unmeasured": unmeasured,
            "units": {
                "clips": len(clips.kept),
                "missing_clips": split.missing,
                "failed_clips": failed_clips(unmeasured),
            },
        }


class Negation(_Wording):
    """`roc_auc` is of the negation, clips without above those with; `roc_auc_of_noun` of the noun, the other way round,
    on the same clips."""

    name = "negation"

    def check(self) -> None:
        super().check()
        data = self.data()
        if not with_and_without(data, data.split(self.config.split).labels)[0]:
            raise EvaluationDataError(f"{data.name}: no class is another one with `no` or `not` before it")

    def measure(self, model: JointModel) -> Measurement:
        data = self.data(model)
        split, clips = self._embedded(model, data)
        columns, present, absent = with_and_without(data, split.labels[clips.kept])
        names = [data.class_names[i] for i in columns]
        texts = [data.class_texts[i] for i in columns]
        nouns = [denied(text) or "" for text in texts]
        both = (self._texts(model, texts), self._texts(model, nouns))
        known = present | absent
        scores, of_nouns = (
            tagging_scores(clips.rows @ rows.T, label, names, self.config.bootstrap, known)
            for rows, label in zip(both, (absent, present), strict=True)
        )
        about = self._about(data, split, clips, model)
        return Measurement(
            **{**about, "units": {**about["units"], "negations": len(scores.classes)}},
            metrics={
                name: found.metrics["roc_auc"]
                for name, found in (("roc_auc", scores), ("roc_auc_of_noun", of_nouns))
                if found.metrics
            },
            notes={
                **data.notes,
                "question": "“no vocals” should rank clips without vocals above those with, and “vocals” those with",
                "clips_of_a_negation": "those tagged without and not with what it denies, or the other way round",
            },
            skipped=scores.skipped,
            classes=scores.classes,
        )


class Synonyms(_Wording):
    """`rank_correlation` is the mean over groups of that over a group's pairs; its interval is from resampling groups.
    What each group has stands in the settings of the result."""

    name = "synonyms"

    def check(self) -> None:
        super().check()
        if len(groups_of(self.data())) < 2:
            raise EvaluationDataError(f"{self.data().name}: fewer than two groups of synonyms are classes of it")

    def measure(self, model: JointModel) -> Measurement:
        data = self.data(model)
        split, clips = self._embedded(model, data)
        groups = groups_of(data)
        text_of = dict(zip(data.class_names, data.class_texts, strict=True))
        names = [name for group in groups for name in group]
        texts = self._texts(model, [text_of[name] for name in names])
        within, between = group_correlations(clips.rows @ texts.T, [len(group) for group in groups])
        about = self._about(data, split, clips, model)
        of_groups = {"/".join(words): float(value) for words, value in zip(groups, within, strict=True)}
        return Measurement(
            **{
                **about,
                "units": {**about["units"], "groups": len(groups), "texts": len(names)},
                "settings": {**about["settings"], "rank_correlation_of_groups": of_groups},
            },
            metrics={
                "rank_correlation": mean_with_interval(within, self.config.bootstrap),
                "rank_correlation_between_groups": mean_with_interval(between, self.config.bootstrap),
            },
            notes={**data.notes, "synonyms": "classes that the literature merges", "intervals": "over groups"},
            chance={"rank_correlation": 0.0, "rank_correlation_between_groups": 0.0},
        )


def group_correlations(scores: FloatArray, sizes: Sequence[int]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Of each group of columns, which stand beside each other: the mean rank correlation over its pairs, and that over
    pairs of one of its columns and one of another group."""
    alike = rank_correlations(scores)
    group = np.repeat(np.arange(len(sizes)), sizes)
    same = group[:, None] == group
    pairs = np.triu(np.ones_like(same), 1)
    within = [alike[pairs & same & (group == g)].mean() for g in range(len(sizes))]
    between = [alike[group == g][:, group != g].mean() for g in range(len(sizes))]
    return np.array(within), np.array(between)


def rank_correlations(scores: FloatArray) -> NDArray[np.float64]:
    """Spearman's, of every two columns of (clips × texts); ties share their mean rank. A column without any order, of
    one score alone, goes with none: 0."""
    from scipy.stats import rankdata

    ranks = rankdata(scores, axis=0)
    ranks -= ranks.mean(axis=0)
    length = np.sqrt((ranks**2).sum(axis=0))
    found: NDArray[np.float64] = (ranks.T @ ranks) / np.maximum(np.outer(length, length), 1e-12)
    return found


__all__ = ["Negation", "Synonyms", "denied", "group_correlations", "rank_correlations"]
