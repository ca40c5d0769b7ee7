"""A mined run as an evaluation set: recordings tagged by the labels or the short texts of their own rows.

Of a run that a measured model was trained on, only recordings count that it has not seen: those that its training kept
for validation or held out, by near-duplicate group, and those that were mined since and are no copy of a seen one.
`split` asks for others. With `recordings` (a file of ids, one a line) only those are ranked. The labels are whatever
the run was made from: AudioSet's own for an ASET run, a classifier's opinion where the run says so, an uploader's tags
for `sf`.
"""

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from schemas.run import RowGroup, Run, RunError
from trainer.evaluation.clips import EvaluationDataError, RunClips, row_group_name
from trainer.evaluation.evaluator import Unmeasured
from trainer.evaluation.readers.tagged import TaggedSet, TaggedSplit, existing, label_matrix
from trainer.split import MINED_SPLITS, MinedSplit, Split, Splitter, duplicate_leaders
from trainer.trained_on import Training

logger = logging.getLogger(__name__)


def read_id_list(path: Path) -> frozenset[str]:
    """One recording id a line; empty lines do not count. Raises EvaluationDataError."""
    what = "a list of recording ids, one a line"
    try:
        lines = existing(path, what).read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise EvaluationDataError(f"{path}: not {what} ({error})") from error
    return frozenset(line.strip() for line in lines if line.strip())


def run_rows(
    run: Run, columns: list[str], unreadable: list[Unmeasured] | None = None
) -> Iterator[tuple[RowGroup, int, dict[str, Any]]]:
    """(row group, row, values) of every row, one row group at a time.

    What cannot be read is added to `unreadable`; without it, it raises RunError.
    """
    for shard in run.manifest.shards:
        try:
            groups = list(run.row_groups([shard]))
        except RunError as error:
            _leave_out(shard.path, shard.rows, error, unreadable)
            continue
        for group in groups:
            try:
                table = run.read(group, columns=columns)
            except RunError as error:
                _leave_out(row_group_name(group), group.rows, error, unreadable)
                continue
            for row, values in enumerate(table.to_pylist()):
                yield group, row, values


def _leave_out(what: str, rows: int, error: RunError, unreadable: list[Unmeasured] | None) -> None:
    if unreadable is None:
        raise error
    logger.warning("%s", error)
    unreadable.append(Unmeasured(clip_id=what, reason=f"{rows} recordings cannot be read", clips=rows))


@dataclass(frozen=True, kw_only=True)
class MinedRun:
    """`labels` is the column that names classes; `min_positives` leaves out those that too few recordings have."""

    run: str
    recordings: Path | None = None
    labels: Literal["aset", "sf"] = "aset"
    min_positives: int = 5
    split: MinedSplit = "unseen"

    def __post_init__(self) -> None:
        if self.min_positives < 1 or self.labels not in ("aset", "sf"):
            raise ValueError("mined: min_positives must be at least 1, and labels is aset or sf")
        if self.split not in MINED_SPLITS:
            raise ValueError(f"mined: split is one of {', '.join(MINED_SPLITS)}")

    def read(self) -> TaggedSet:
        """For models of which nothing is known."""
        return self.read_for(())

    def read_for(self, trainings: Sequence[Training]) -> TaggedSet:
        """For models that were trained so."""
        run = Run.open(self.run)
        wanted = None if self.recordings is None else read_id_list(self.recordings)
        seen = [] if self.split == "all" else [s for t in trainings if (s := Seen.of(run, t)) is not None]
        chosen = self._chosen(run, seen)
        rows, tags, listed = [], [], 0
        unreadable: list[Unmeasured] = []
        for group, row, values in run_rows(run, ["recording_id", self.labels], unreadable):
            if wanted is None or values["recording_id"] in wanted:
                listed += 1
                if chosen(values["recording_id"]):
                    rows.append((values["recording_id"], group, row))
                    tags.append(set(values[self.labels]))
        if not listed:
            raise EvaluationDataError(f"{self.run}: the run has none of the recordings that are to be ranked")
        which = self._which(len(rows), listed, wanted is not None, [s.training.model for s in seen])
        counts = {tag: sum(tag in present for present in tags) for tag in sorted(set().union(*tags))}
        classes = [tag for tag, count in counts.items() if self.min_positives <= count < len(rows)]
        if not classes:
            advice = (
                "; more are held out by `mulan train --validation_fraction` or --hold_out, and --split all takes all"
            )
            raise EvaluationDataError(
                f"{self.run}: no {self.labels} label has {self.min_positives} positives and a negative "
                f"among {len(rows)} recordings ({which}){advice if seen else ''}"
            )
        split = TaggedSplit(
            clips=RunClips(run=run, rows=tuple(rows)), labels=label_matrix(tags, classes), unmeasured=tuple(unreadable)
        )
        return TaggedSet(
            name=f"mined/{self.labels}",
            class_names=tuple(classes),
            class_texts=tuple(classes),
            splits={"test": split},
            sources={"manifest": run.manifest.digest()},
            notes={
                "split": which,
                "label_text": "the label's name",
                "propagation": "none",
                "classes": f"labels with at least {self.min_positives} positives",
            },
        )

    def _chosen(self, run: Run, seen: Sequence["Seen"]) -> Callable[[str], bool]:
        if self.split == "all":
            return lambda recording_id: True
        if self.split != "unseen":
            if not seen:
                raise EvaluationDataError(
                    f"{self.run}: no model that is measured says that it was trained on this run, so it has no "
                    f"{self.split} recordings; take them all (--split all)"
                )
            return lambda recording_id: all(s.splits.get(recording_id) == self.split for s in seen)
        if not seen:
            return lambda recording_id: True
        leaders = duplicate_leaders([run])
        known = {leaders.get(name, name) for s in seen for name, split in s.splits.items() if split == Split.TRAIN}
        return lambda recording_id: leaders.get(recording_id, recording_id) not in known

    def _which(self, rows: int, listed: int, by_list: bool, models: Sequence[str]) -> str:
        what = "the listed recordings" if by_list else "every recording of the run"
        if self.split == "all" or not models:
            return f"{what}, whether a model was trained on them or not" if self.split == "all" else what
        share = f"{rows} of {listed} listed recordings" if by_list else f"{rows} of {listed} recordings of the run"
        kind = "not trained on" if self.split == "unseen" else f"{self.split} in the training"
        return f"{share}, {kind} by {', '.join(dict.fromkeys(models))}"


@dataclass(frozen=True, kw_only=True)
class Seen:
    """How a training split the recordings of a run, of the manifest that it read."""

    training: Training
    splits: dict[str, Split]

    @classmethod
    def of(cls, run: Run, training: Training) -> "Seen | None":
        """None where the training read no manifest that the run has, or does not say what it read."""
        if not training.manifests:
            logger.warning(
                "it is not known whether %s was trained on %s, since its folder does not say on what it was trained",
                training.model,
                run.location,
            )
            return None
        read = _manifest_in(run, training.manifests)
        if read is None:
            logger.warning(
                "%s was trained on other manifests than %s has; where one of them was of this run and is gone, it has "
                "seen recordings that are measured",
                training.model,
                run.location,
            )
            return None
        others = [digest for digest in training.manifests if digest != read.manifest.digest()]
        beside = [other for location in training.runs if (other := _open_again(location, others)) is not None]
        if lacking := len(set(others) - {other.manifest.digest() for other in beside}):
            logger.warning(
                "%s was trained on %d further manifests, which are not found; a recording with a near-duplicate there "
                "may count as unseen",
                training.model,
                lacking,
            )
        split_of = Splitter([read, *beside], training.data).split_of
        names = read.groups()["recording_id"].to_pylist()
        return cls(training=training, splits={name: split_of(name) for name in names})


def trained_on_run(run: Run, trainings: Sequence[Training]) -> list[str]:
    """The models that say that they were trained on a manifest which the run has."""
    return [t.model for t in trainings if t.manifests and _manifest_in(run, t.manifests) is not None]


def _manifest_in(run: Run, digests: Sequence[str]) -> Run | None:
    """The run at the newest of these manifests that it has."""
    if run.manifest.digest() in digests:
        return run
    for number in run.numbers():
        try:
            older = run.at(number)
        except RunError as error:
            logger.warning("%s", error)
            continue
        if older.manifest.digest() in digests:
            return older
    return None


def _open_again(location: str, digests: Sequence[str]) -> Run | None:
    try:
        return _manifest_in(Run.open(location), digests) if digests else None
    except RunError:  # said by its digest, which is not found
        return None
