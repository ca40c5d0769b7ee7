"""The body of the audio tower by logistic regression over AudioSet's classes (section 3.2 of the paper).

The paper's M-ResNet-50 starts from a network that was trained to name the 527 classes of AudioSet. This makes one from
a mined ASET run: one sigmoid a class on the tower's features; the final layer is dropped when the body is saved. Its
loss goes to the same logs as that of MuLan, beside that of guessing each class at its own rate.

Legend: R recordings of this rank, C classes.
"""

import csv
import dataclasses
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from functools import partial
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional

from schemas.sources import TextSource
from trainer import dist
from trainer.batchnorm import recorded
from trainer.checkpoint import WEIGHTS_NAME
from trainer.data import Corpus
from trainer.gradcache import autocast
from trainer.loader import Batch, read_batch
from trainer.loop import Ending, Setup, Step, Task, TrainOptions, log, run
from trainer.mixture import Mixture
from trainer.recipes import Recipe
from trainer.split import Split
from trainer.streams import Lanes
from trainer.towers import AudioTower

DEFAULT_BATCH, DEFAULT_LANES = 256, 8
DEFAULT_LEARNING_RATE = 1e-4
_CLASSES_NAME = "classes.txt"
_MAX_VALIDATION = 1024
_RARE = 1e-6  # a class that is never or always there has no entropy


def pretrain(recipe: Recipe, options: TrainOptions, classes: Sequence[str] | None = None) -> Ending:
    """Train, or go on; leaves the body in `output/model`, ready for `--audio_checkpoint`. Raises as `trainer.loop.run`.

    `classes` None takes the labels that the training rows have.
    """
    return run(recipe, options, partial(Classification, classes=classes))


def for_classes(recipe: Recipe) -> Recipe:
    """A recipe of MuLan, with ASET as its only source, and batches and a learning rate for naming classes."""
    batch_size, lanes = min(DEFAULT_BATCH, recipe.batch_size), min(DEFAULT_LANES, recipe.lanes)
    return dataclasses.replace(
        recipe,
        batch_size=batch_size,
        lanes=lanes,
        audio=dataclasses.replace(
            recipe.audio, ghost_batch_size=min(recipe.audio.ghost_batch_size, batch_size // lanes)
        ),
        compute=dataclasses.replace(recipe.compute, audio_chunk=min(recipe.compute.audio_chunk, batch_size)),
        data=dataclasses.replace(recipe.data, mixture=Mixture.among([TextSource.ASET])),
        optimizer=dataclasses.replace(recipe.optimizer, learning_rate=DEFAULT_LEARNING_RATE),
    )


class Classifier(nn.Module):
    """wave_RS to a logit a class."""

    def __init__(self, tower: AudioTower, classes: int) -> None:
        super().__init__()
        self.tower, self.logits = tower, nn.Linear(tower.width, classes)
        self.tower.head.requires_grad_(False)  # the joint space is not what is learned here

    def forward(self, wave_RS: Tensor, masks_R4: Tensor | None = None) -> Tensor:
        logits_RC: Tensor = self.logits(self.tower.features(self.tower.inputs(wave_RS, masks_R4)))
        return logits_RC.float()


class Classification(Task):
    """Evaluators look at the `Classifier`."""

    tokenizer = None

    def __init__(self, setup: Setup, classes: Sequence[str] | None = None) -> None:
        recipe, corpus = setup.recipe, setup.corpus
        if {source for source, weight in setup.mixture.weights.items() if weight} != {TextSource.ASET}:
            raise ValueError(f"classes are learned from ASET alone, and the mixture is {setup.mixture.text}")
        if recipe.optimizer.locked or recipe.optimizer.tower_rate("audio") != recipe.optimizer.tower_rate("text"):
            raise ValueError("one tower learns classes: optimizer.locked, audio_rate and text_rate have no part in it")
        if setup.init_from is not None:
            raise ValueError("classes are learned from a body: give --set audio.warm_start instead of --init_from")
        self._recipe, self._device = recipe, setup.device
        self.name = f"pretrain {recipe.name}"
        self.rows = corpus.rows_of(TextSource.ASET, Split.TRAIN)
        rates = class_rates(corpus)
        self._classes = list(classes) if classes is not None else sorted(rates)
        if unknown := sorted(rates.keys() - set(self._classes)):
            log.warning("%d labels of the run are no class, and are left out: %s …", len(unknown), unknown[0])
        self._index = {name: i for i, name in enumerate(self._classes)}
        self._chance = guessing_loss(torch.tensor([rates.get(name, 0.0) for name in self._classes]))
        torch.manual_seed(recipe.seed)
        self._classifier = Classifier(AudioTower(recipe.audio), len(self._classes)).to(setup.device).train()
        self.module = self.learned = self._classifier
        self.parameters = [p for p in self._classifier.parameters() if p.requires_grad]
        if recipe.compute.gradient_checkpointing:
            self._classifier.tower.checkpoint_gradients()
        if recipe.compute.compile:
            self._classifier.tower.body.compile()
        if setup.ranks.rank == 0:
            log.info("%d classes, %d recordings that have any", len(self._classes), self.rows)
        self._validation = _validation_batch(setup)

    def step(self, batch: Batch, number: int) -> Step:
        recipe = self._recipe
        total = torch.zeros((), device=self._device)
        chunk = recipe.compute.audio_chunk
        sums = dist.GradientSum(self.parameters)
        chunks = [part.split(chunk) for part in (batch.wave_RS, batch.masks_R4, self._targets(batch))]
        with recorded(self._classifier.tower) as statistics:
            for k, (wave_RS, masks_R4, target_RC) in enumerate(zip(*chunks, strict=True), start=1):
                statistics.record(True)
                with autocast(self._device, recipe.compute.precision):
                    logits_RC = self._classifier(
                        wave_RS.to(self._device, non_blocking=True), masks_R4.to(self._device, non_blocking=True)
                    )
                statistics.record(False)  # gradient checkpointing goes through the tower again
                # A rank's share of the mean, so that gradients are summed over ranks.
                loss = functional.binary_cross_entropy_with_logits(logits_RC, target_RC, reduction="sum")
                loss = loss / (recipe.batch_size * len(self._classes))
                with sums.last() if k == len(chunks[0]) else nullcontext():
                    loss.backward()
                total += loss.detach()
        sums.finish()
        dist.sum_over_ranks(total)
        return Step(values={"loss": float(total), "chance": self._chance})

    def validate(self) -> dict[str, float]:
        """Every rank looks at all of it, at each window of a clip by itself."""
        if self._validation is None:
            return {}
        batch, owners_N = self._validation
        targets_NC = self._targets(batch)[owners_N.to(self._device)]
        loss = functional.binary_cross_entropy_with_logits(self._logits(batch), targets_NC)
        return {"loss": float(loss), "chance": self._chance}

    def not_finite(self, batch: Batch) -> list[int]:
        places: list[int] = (~self._logits(batch).isfinite().all(dim=1)).nonzero().flatten().tolist()
        return places

    def save(self, folder: Path) -> None:
        weights = {name: value.contiguous() for name, value in self._classifier.state_dict().items()}
        save_file(weights, folder / WEIGHTS_NAME)

    def finish(self, folder: Path, steps: int, results: Mapping[str, float]) -> None:
        self._classifier.tower.body.save_pretrained(folder)
        (folder / _CLASSES_NAME).write_text("".join(f"{name}\n" for name in self._classes), encoding="utf-8")

    @torch.no_grad()
    def _logits(self, batch: Batch) -> Tensor:
        """Without augmentation; the classifier then trains on."""
        self._classifier.eval()
        with autocast(self._device, self._recipe.compute.precision):
            parts = batch.wave_RS.split(self._recipe.compute.audio_chunk)
            logits_RC = torch.cat([self._classifier(part.to(self._device)) for part in parts])
        self._classifier.train()
        return logits_RC

    def _targets(self, batch: Batch) -> Tensor:
        target_RC = torch.zeros(len(batch.examples), len(self._classes))
        for row, example in enumerate(batch.examples):
            target_RC[row, [self._index[name] for name in example.row.texts if name in self._index]] = 1.0
        return target_RC.to(self._device)


def _validation_batch(setup: Setup) -> tuple[Batch, Tensor] | None:
    rows = min(setup.corpus.rows_of(TextSource.ASET, Split.VALIDATION), _MAX_VALIDATION)
    if not rows:
        log.warning("no validation recordings: no validation loss")
        return None
    planned = Lanes(setup.corpus, setup.mixture, rows, 1, 0, split=Split.VALIDATION)
    return read_batch(planned, setup.corpus, None, window_samples=setup.recipe.data.window_samples)


def class_rates(corpus: Corpus) -> dict[str, float]:
    """The share of the training rows that has each label."""
    counts: Counter[str] = Counter()
    rows = 0
    for group in corpus.candidates(TextSource.ASET, Split.TRAIN):
        for row in corpus.read(int(group), TextSource.ASET, Split.TRAIN):
            counts.update(set(row.texts))
            rows += 1
    return {name: count / rows for name, count in counts.items()}


def guessing_loss(rate_C: Tensor) -> float:
    """The cross-entropy of guessing each class at its own rate: the line that a run must leave."""
    p = rate_C.double().clamp(_RARE, 1 - _RARE)
    return float(-(rate_C * p.log() + (1 - rate_C) * (1 - p).log()).mean())


def read_classes(path: Path) -> list[str]:
    """The names of `class_labels_indices.csv`, in its order. Raises ValueError."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            names = [row["display_name"] for row in csv.DictReader(stream)]
    except (OSError, UnicodeDecodeError, KeyError, csv.Error) as error:
        raise ValueError(f"{path}: not AudioSet's class_labels_indices.csv ({error})") from error
    if not names or len(set(names)) != len(names):
        raise ValueError(f"{path}: has no classes, or one twice")
    return names
