"""`mulan pretrain`: the body of the audio tower by logistic regression over AudioSet's classes (section 3.1).

    mulan pretrain --recipe m_resnet50 --data ASET_RUN --output DIR
    mulan train --recipe m_resnet50 --audio_checkpoint DIR/model …

The paper's M-ResNet-50 starts from a network that was trained to name the 527 classes of AudioSet. This makes one from
a mined ASET run: one sigmoid a class on the tower's features; the final layer is dropped when the body is saved. Its
loss goes to the same logs as that of `mulan train`, beside that of guessing each class at its own rate.

Legend: R recordings of this rank, C classes.
"""

import argparse
import csv
import dataclasses
import itertools
import logging
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional

from schemas.readers import ReaderState
from schemas.sources import TextSource
from trainer import dist
from trainer.batchnorm import recorded
from trainer.checkpoint import WEIGHTS_NAME, load_checkpoint, partial_checkpoint, save_checkpoint
from trainer.data import Corpus, Split
from trainer.dist import Ranks
from trainer.finite import has_lost_weights, is_lost
from trainer.gradcache import autocast
from trainer.identity import open_run, write_identity
from trainer.loader import Batch, Loader
from trainer.logs import MetricLog, loss_table
from trainer.loop import MODEL_NAME, Ending, TrainOptions, stop_lost, termination
from trainer.mixture import Mixture
from trainer.presence import Presence
from trainer.recipes import RECIPES, Recipe
from trainer.streams import GlobalBatches
from trainer.towers import AudioTower
from trainer.train import add_recipe_arguments, exit_code, given, options_from, quiet_libraries

log = logging.getLogger(__name__)

DEFAULT_BATCH = 256
DEFAULT_LEARNING_RATE = 1e-4
_CLASSES_NAME = "classes.txt"
_MAX_VALIDATION = 1024
_RARE = 1e-6  # a class that is never or always there has no entropy


class Classifier(nn.Module):
    """wave_RS to a logit a class."""

    def __init__(self, tower: AudioTower, classes: int) -> None:
        super().__init__()
        self.tower, self.logits = tower, nn.Linear(tower.width, classes)
        self.tower.head.requires_grad_(False)  # the joint space is not what is learned here

    def forward(self, wave_RS: Tensor, masks_R4: Tensor | None = None) -> Tensor:
        logits_RC: Tensor = self.logits(self.tower.features(self.tower.inputs(wave_RS, masks_R4)))
        return logits_RC.float()


def pretrain(recipe: Recipe, options: TrainOptions, classes: Sequence[str] | None = None) -> Ending:
    """Leaves the body in `output/model`, ready for `--audio_checkpoint`. Resumes like `mulan train`.

    `classes` None takes the labels that the training rows have. Raises ValueError or RunError with one clear line.
    """
    ranks = dist.start(options.device)
    try:
        return _Pretrainer(recipe, options, ranks, classes).run()
    finally:
        dist.stop()


class _Pretrainer:
    def __init__(self, recipe: Recipe, options: TrainOptions, ranks: Ranks, classes: Sequence[str] | None) -> None:
        self.recipe, self.options, self.ranks = recipe, options, ranks
        self.device = torch.device(f"cuda:{ranks.local_rank}" if options.device == "cuda" else options.device)
        opened = open_run(options.output, recipe, options.data)
        self.folder, self.corpus, self.identity = opened.checkpoints, opened.corpus, opened.identity
        mixture = self.corpus.mixture()
        rates = class_rates(self.corpus)
        self.classes = list(classes) if classes is not None else sorted(rates)
        if unknown := sorted(rates.keys() - set(self.classes)):
            log.warning("%d labels of the run are no class, and are left out: %s …", len(unknown), unknown[0])
        self.index = {name: i for i, name in enumerate(self.classes)}
        self.chance = guessing_loss(torch.tensor([rates.get(name, 0.0) for name in self.classes]))
        rows = self.corpus.rows_of(TextSource.ASET, Split.TRAIN)
        self.steps = options.steps or max(1, round(recipe.epochs * rows / recipe.batch_size))
        torch.manual_seed(recipe.seed)
        self.model = Classifier(AudioTower(recipe.audio), len(self.classes)).to(self.device).train()
        self.parameters = [p for p in self.model.parameters() if p.requires_grad]
        self.optimizer = torch.optim.Adam(self.parameters, lr=recipe.optimizer.learning_rate, fused=True)
        self.batches = GlobalBatches(self.corpus, mixture, recipe.batch_size, recipe.seed, augment=recipe.audio.augment)
        self.step = 0
        if opened.last is not None:
            state = load_checkpoint(opened.last, self.model, self.optimizer)
            self.batches.restore(state["batches"])
            self.step = state["step"]
            log.info("going on after step %d from %s", self.step, opened.last)
        self.validation = self._validation_batch(mixture)
        self.presence: Presence | None = None

    def run(self) -> Ending:
        options, first = self.options, self.ranks.rank == 0
        if first:
            write_identity(options.output, self.identity)
            self.presence = Presence(self.corpus.runs, options.output, f"pretrain {self.recipe.name}")
            self.presence.report()
            rows = self.corpus.rows_of(TextSource.ASET, Split.TRAIN)
            log.info("%d classes, %d recordings, %d steps", len(self.classes), rows, self.steps)
        metrics = (
            MetricLog(options.output, first_step=self.step, steps=self.steps, log_every=options.log_every)
            if first
            else None
        )
        loader = self._loader(self.batches, options.workers, self.recipe.audio.block_size)
        try:
            with termination() as terminated:
                batches = iter(loader)
                while self.step < self.steps:
                    values = self._gradients(next(batches))
                    if not (lost := is_lost(values, self.device)):
                        self._update()
                    if metrics is not None:
                        metrics.write(self.step, "train", values)
                    if lost:
                        what = "the loss is {loss}, the gradient norm {gradient_norm}".format_map(values)
                        return self._stop_lost(f"step {self.step}: {what}; stopped before the weights took it")
                    self.step += 1
                    done = self.step == self.steps
                    if (done or self.step % options.validate_every == 0) and self.validation is not None:
                        loss = self._validate(self.validation)
                        if metrics is not None:
                            metrics.write(self.step - 1, "validation", {"loss": loss, "chance": self.chance})
                    stop = dist.any_rank(terminated.is_set(), self.device)
                    if done or stop or self.step % options.checkpoint_every == 0:
                        if has_lost_weights(self.model, self.device):
                            return self._stop_lost(f"after step {self.step} a weight is not finite; it is not saved")
                        if first:
                            self._save(loader)
                    if stop and not done:
                        # Whoever started the ranks ends all once one has ended: the checkpoint has to be whole by then.
                        dist.any_rank(False, self.device)
                        log.warning("interrupted after step %d; the same command goes on from there", self.step)
                        return Ending.INTERRUPTED
        finally:
            loader.close()
            if metrics is not None:
                metrics.close()
        if first:
            folder = options.output / MODEL_NAME
            self.model.tower.body.save_pretrained(folder)
            (folder / _CLASSES_NAME).write_text("".join(f"{name}\n" for name in self.classes), encoding="utf-8")
        if self.presence is not None:
            self.presence.report(ReaderState.DONE)
        return Ending.DONE

    def _gradients(self, batch: Batch) -> dict[str, float | None]:
        """Leave the clipped gradient of the global mini-batch in the parameters; the same values on every rank."""
        recipe = self.recipe
        self.optimizer.zero_grad(set_to_none=True)
        total = torch.zeros((), device=self.device)
        chunk = recipe.compute.audio_chunk
        with recorded(self.model.tower) as statistics:
            statistics.record(True)
            for wave_RS, masks_R4, target_RC in zip(
                batch.wave_RS.split(chunk), batch.masks_R4.split(chunk), self._targets(batch).split(chunk), strict=True
            ):
                with autocast(self.device, recipe.compute.precision):
                    logits_RC = self.model(wave_RS.to(self.device), masks_R4.to(self.device))
                # A rank's share of the mean, so that gradients are summed over ranks.
                loss = functional.binary_cross_entropy_with_logits(logits_RC, target_RC, reduction="sum")
                loss = loss / (recipe.batch_size * len(self.classes))
                loss.backward()
                total += loss.detach()
        dist.sum_gradients(self.parameters)
        dist.sum_over_ranks(total)
        norm = torch.nn.utils.clip_grad_norm_(self.parameters, recipe.optimizer.clip_norm)
        return {"loss": float(total), "chance": self.chance, "gradient_norm": float(norm)}

    def _update(self) -> None:
        for group in self.optimizer.param_groups:
            group["lr"] = self.recipe.optimizer.rate(self.step)
        self.optimizer.step()

    def _stop_lost(self, what: str) -> Ending:
        stop_lost(what, self.folder, self.ranks, self.device)
        return Ending.LOST

    def _targets(self, batch: Batch) -> Tensor:
        target_RC = torch.zeros(len(batch.examples), len(self.classes))
        for row, example in enumerate(batch.examples):
            target_RC[row, [self.index[name] for name in example.row.texts if name in self.index]] = 1.0
        return target_RC.to(self.device)

    @torch.no_grad()
    def _validate(self, batch: Batch) -> float:
        self.model.eval()
        with autocast(self.device, self.recipe.compute.precision):
            parts = [self.model(part.to(self.device)) for part in batch.wave_RS.split(self.recipe.compute.audio_chunk)]
        self.model.train()
        return float(functional.binary_cross_entropy_with_logits(torch.cat(parts), self._targets(batch)))

    def _validation_batch(self, mixture: Mixture) -> Batch | None:
        """Every rank looks at all of it."""
        rows = min(self.corpus.rows_of(TextSource.ASET, Split.VALIDATION), _MAX_VALIDATION)
        if not rows:
            log.warning("no validation recordings: no validation loss")
            return None
        batches = GlobalBatches(self.corpus, mixture, rows, 0, split=Split.VALIDATION)
        loader = self._loader(batches, 0, 1, Ranks())
        try:
            return next(itertools.islice(loader, 1))
        finally:
            loader.close()

    def _save(self, loader: Loader) -> None:
        weights = {name: value.contiguous() for name, value in self.model.state_dict().items()}
        state = {"step": self.step, "batches": loader.state(self.step - 1)}
        with partial_checkpoint(self.folder, self.step) as partial:
            save_file(weights, partial / WEIGHTS_NAME)
            save_checkpoint(self.folder, partial, self.optimizer, state, keep=self.options.keep)
        if self.presence is not None:
            self.presence.report()

    def _loader(self, batches: GlobalBatches, workers: int, block_size: int, ranks: Ranks | None = None) -> Loader:
        return Loader(
            batches,
            None,
            max_tokens=0,
            window_samples=self.recipe.data.window_samples,
            block_size=block_size,
            ranks=ranks or self.ranks,
            workers=workers,
        )


def class_rates(corpus: Corpus) -> dict[str, float]:
    """The share of the training rows that has each label."""
    counts: Counter[str] = Counter()
    rows = 0
    for group in corpus.candidates(TextSource.ASET, Split.TRAIN):
        for row in corpus.read(int(group), TextSource.ASET, Split.TRAIN, audio=False):
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


def main(argv: list[str] | None = None) -> int:
    """Exit codes as of `mulan train`."""
    parser = argparse.ArgumentParser(
        prog="mulan pretrain", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_recipe_arguments(parser)
    parser.add_argument(
        "--classes", type=Path, metavar="CSV", help="class_labels_indices.csv (default: the run's labels)"
    )
    arguments = parser.parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", stream=sys.stderr)
    quiet_libraries()

    def run() -> Ending:
        options = options_from(arguments)
        classes = read_classes(arguments.classes) if arguments.classes is not None else None
        outcome = pretrain(recipe_from(arguments), options, classes)
        if outcome == Ending.DONE and dist.is_first():
            sys.stdout.write(f"{loss_table(options.output)}\nThe body: {options.output / MODEL_NAME}\n")
        return outcome

    return exit_code("mulan pretrain", run)


def recipe_from(arguments: argparse.Namespace) -> Recipe:
    """The named recipe with ASET as its only source. Raises ValueError."""
    recipe = RECIPES[arguments.recipe]()
    changes = {
        "batch_size": min(DEFAULT_BATCH, recipe.batch_size),
        **given(arguments, "batch_size", "epochs", "seed"),
    }
    rate = given(arguments, "learning_rate") or {"learning_rate": DEFAULT_LEARNING_RATE}
    only_aset = Mixture.among([TextSource.ASET])
    return dataclasses.replace(
        recipe,
        audio=dataclasses.replace(recipe.audio, **given(arguments, "ghost_batch_size")),
        data=dataclasses.replace(recipe.data, mixture=only_aset, **given(arguments, "buffer_rows")),
        optimizer=dataclasses.replace(recipe.optimizer, **rate),
        compute=dataclasses.replace(recipe.compute, **given(arguments, "audio_chunk", "precision")),
        **changes,
    )


if __name__ == "__main__":
    sys.exit(main())
