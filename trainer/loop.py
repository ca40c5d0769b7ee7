"""The training loop: `run(recipe, options, begin)`, whatever is learned (`trainer/tasks/`).

Reads top to bottom: open the data, build what is learned, take up the last checkpoint, then step, log, validate,
evaluate and save until the steps are done, or until the loss is no number any more. On a CPU in float32, a run that was
killed and resumed has the losses and the weights of one that was not, to the bit.
"""

import abc
import json
import logging
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import nn
from transformers import PreTrainedTokenizerBase

from schemas.readers import ReaderState
from schemas.signals import taking
from trainer import dist
from trainer.audio import Audio
from trainer.checkpoint import checkpoints, load_checkpoint, partial_checkpoint, save_checkpoint
from trainer.data import Corpus
from trainer.dist import Ranks
from trainer.estimate import peak_flops
from trainer.finite import has_lost_weights, is_lost, what_to_do
from trainer.identity import open_run, write_identity
from trainer.loader import Batch, Loader, Texts
from trainer.logs import MetricLog
from trainer.mixture import NAMES, Mixture
from trainer.presence import Presence
from trainer.recipes import Recipe
from trainer.split import Split
from trainer.streams import Lanes
from trainer.trained_on import Training

log = logging.getLogger(__name__)

MODEL_NAME = "model"


class Evaluator(Protocol):
    """Looks at what a task learns (`Task.learned`) during and after training."""

    name: str

    def run(self, model: Any) -> Iterable[tuple[str, float]]: ...


@dataclass(frozen=True, kw_only=True)
class TrainOptions:
    """Where a run happens and how often it looks up; nothing here changes what is learned, but `steps`, the end.

    `steps` None trains the recipe's epochs; an epoch is the task's rows ÷ batch size, in steps.
    """

    data: tuple[str, ...]
    output: Path
    steps: int | None = None
    device: str = "cpu"
    workers: int = 1
    checkpoint_every: int = 1000
    keep: int = 3
    validate_every: int = 500
    evaluate_every: int = 5000
    log_every: int = 10
    evaluators: tuple[Evaluator, ...] = field(default=(), compare=False)

    def __post_init__(self) -> None:
        if not self.data:
            raise ValueError("no mined run to train on")
        if min(self.checkpoint_every, self.keep, self.validate_every, self.evaluate_every, self.log_every) < 1:
            raise ValueError("checkpoint_every, keep, validate_every, evaluate_every and log_every must be positive")
        if self.workers < 0 or (self.steps is not None and self.steps < 1):
            raise ValueError("workers may not be negative and steps must be positive")


class Ending(StrEnum):
    """How a run ends that could begin."""

    DONE = "done"
    INTERRUPTED = "interrupted"
    LOST = "lost"  # the loss, the gradient or a weight is not finite


@dataclass(frozen=True, kw_only=True)
class Setup:
    """What a task is built for; `training` is what its model will know of its data."""

    recipe: Recipe
    corpus: Corpus
    mixture: Mixture
    training: Training
    device: torch.device
    ranks: Ranks


@dataclass(frozen=True, kw_only=True)
class Step:
    """What a task says of the gradient that it has left in the parameters.

    `values` go to the log, `loss` and `chance` among them, the same on every rank. The floating-point operations are
    those of this rank, without padding and with it; 0 where nobody counts them.
    """

    values: dict[str, float]
    useful_flops: float = 0.0
    padded_flops: float = 0.0


class Task(abc.ABC):
    """What is learned. Every rank builds it alike, from a `Setup`, by the recipe's seed.

    `module` is what a checkpoint holds, `parameters` those of it that the optimizer moves; `learned` is what evaluators
    look at. Without a `tokenizer`, batches come without tokens. An epoch has `rows` rows.
    """

    name: str
    module: nn.Module
    parameters: list[nn.Parameter]
    learned: Any
    tokenizer: PreTrainedTokenizerBase | None
    rows: int

    @abc.abstractmethod
    def step(self, batch: Batch, number: int) -> Step:
        """Add the gradient of the global mini-batch to the parameters, summed over ranks."""

    def updated(self) -> None:  # noqa: B027  # most have nothing to do
        """After each step of the optimizer."""

    @abc.abstractmethod
    def validate(self) -> dict[str, float]:
        """On every rank; {} where there is nothing to validate on."""

    @abc.abstractmethod
    def save(self, folder: Path) -> None:
        """The model's files of a checkpoint."""

    @abc.abstractmethod
    def finish(self, folder: Path, steps: int, results: Mapping[str, float]) -> None:
        """Leave the finished model in `folder`; `results` are the last figures of validation and evaluators."""


def run(recipe: Recipe, options: TrainOptions, begin: Callable[[Setup], Task]) -> Ending:
    """Train, or go on from the last checkpoint in `options.output`; the model is left in `output/model`.

    Raises ValueError or RunError with one clear line where the recipe, the data and the checkpoint do not fit.
    """
    ranks = dist.start(options.device)
    try:
        return _Loop(recipe, options, begin, ranks).run()
    finally:
        dist.stop()


class _Loop:
    def __init__(self, recipe: Recipe, options: TrainOptions, begin: Callable[[Setup], Task], ranks: Ranks) -> None:
        self.recipe, self.options, self.ranks = recipe, options, ranks
        self.device = torch.device(f"cuda:{ranks.local_rank}" if options.device == "cuda" else options.device)
        opened = open_run(options.output, recipe, options.data)
        self.folder, self.corpus, self.identity = opened.checkpoints, opened.corpus, opened.identity
        self.mixture = self.corpus.mixture()
        self.task = begin(
            Setup(
                recipe=recipe,
                corpus=self.corpus,
                mixture=self.mixture,
                training=opened.training(recipe),
                device=self.device,
                ranks=ranks,
            )
        )
        self.steps_per_epoch = self.task.rows / recipe.batch_size
        self.steps = options.steps or max(1, round(recipe.epochs * self.steps_per_epoch))
        self.optimizer = torch.optim.Adam(
            self.task.parameters,
            lr=recipe.optimizer.learning_rate,
            betas=(recipe.optimizer.beta1, recipe.optimizer.beta2),
            fused=True,
        )
        self.audio = Audio(self.corpus)
        self.batches = Lanes(
            self.corpus,
            self.mixture,
            recipe.batch_size,
            recipe.lanes,
            recipe.seed,
            ranks=ranks,
            augment=recipe.audio.augment,
            audio=self.audio,
        )
        self.peak = peak_flops(self.device)
        self.step = 0
        if opened.last is not None:
            state = load_checkpoint(opened.last, self.task.module, self.optimizer)
            self.batches.restore(state["batches"])
            self.step = state["step"]
            log.info("going on after step %d from %s", self.step, opened.last)
        self.results: dict[str, float] = {}
        self.presence: Presence | None = None

    def run(self) -> Ending:
        options, metrics = self.options, None
        if self.ranks.rank == 0:
            write_identity(options.output, self.identity)
            self.presence = Presence(self.corpus.runs, options.output, self.task.name)
            self.presence.report()
            self._announce()
            metrics = MetricLog(options.output, first_step=self.step, steps=self.steps, log_every=options.log_every)
        terminated = threading.Event()
        loader = self._loader()
        try:
            with taking(terminated.set):  # the loop then saves and ends
                ending = self._train(loader, metrics, terminated)
        finally:
            loader.close()
            if metrics is not None:
                metrics.close()
        if ending == Ending.DONE and self.presence is not None:
            self.task.finish(options.output / MODEL_NAME, self.step, self.results)
            self.presence.report(ReaderState.DONE)
        return ending

    def _train(self, loader: Loader, metrics: MetricLog | None, terminated: threading.Event) -> Ending:
        options, batches = self.options, iter(loader)
        while self.step < self.steps:
            started = time.perf_counter()
            batch = next(batches)
            waited_s = time.perf_counter() - started
            step, values = self._gradient(batch)
            if not (lost := is_lost(values, self.device)):
                self._update()
            values |= self._speed(step, len(batch.examples), time.perf_counter() - started, waited_s)
            if metrics is not None:
                metrics.write(self.step, "train", values)
            if lost:
                what = "the loss is {loss}, the gradient norm {gradient_norm}".format_map(values)
                return self._stop_lost(f"step {self.step}: {what}; stopped before the weights took it")
            self.step += 1
            done = self.step == self.steps
            if done or self.step % options.validate_every == 0:
                self._look(metrics, "validation", self.task.validate())
            if metrics is not None and (done or self.step % options.evaluate_every == 0):
                for evaluator in options.evaluators:
                    self._look(metrics, evaluator.name, dict(evaluator.run(self.task.learned)))
            stop = dist.any_rank(terminated.is_set(), self.device)
            if done or stop or self.step % options.checkpoint_every == 0:
                if has_lost_weights(self.task.module, self.device):
                    return self._stop_lost(f"after step {self.step} a weight is not finite; it is not saved")
                self._save(loader)
            if stop and not done:
                # Whoever started the ranks ends all once one has ended: the checkpoint has to be whole by then.
                dist.any_rank(False, self.device)
                log.warning("interrupted after step %d; the same command goes on from there", self.step)
                return Ending.INTERRUPTED
        return Ending.DONE

    def _gradient(self, batch: Batch) -> tuple[Step, dict[str, float | None]]:
        """Leave the clipped gradient of the global mini-batch in the parameters; what to log of it."""
        self.optimizer.zero_grad(set_to_none=True)
        step = self.task.step(batch, self.step)
        norm = torch.nn.utils.clip_grad_norm_(self.task.parameters, self.recipe.optimizer.clip_norm)
        return step, {
            **step.values,
            "gradient_norm": float(norm),
            "learning_rate": self.recipe.optimizer.rate(self.step),
            "epoch": self.step / self.steps_per_epoch,
        }

    def _speed(self, step: Step, pairs: int, step_s: float, waited_s: float) -> dict[str, float | None]:
        return {
            "pairs_per_s": pairs * self.ranks.count / step_s,
            "wait_share": waited_s / step_s,
            "mfu_useful": step.useful_flops / step_s / self.peak if self.peak and step.useful_flops else None,
            "mfu_padded": step.padded_flops / step_s / self.peak if self.peak and step.padded_flops else None,
        }

    def _update(self) -> None:
        for group in self.optimizer.param_groups:
            group["lr"] = self.recipe.optimizer.rate(self.step)
        self.optimizer.step()
        self.task.updated()

    def _look(self, metrics: MetricLog | None, kind: str, values: dict[str, float]) -> None:
        self.results |= {f"{kind}/{name}": value for name, value in values.items()}
        if metrics is not None and values:
            metrics.write(self.step - 1, kind, values)

    def _save(self, loader: Loader) -> None:
        """All ranks: each knows where its own lanes are."""
        lanes = dist.gather_texts(json.dumps(self.batches.to_json(loader.state(self.step - 1))))
        if self.presence is None:
            return
        state = {"step": self.step, "batches": [json.loads(part) for part in lanes]}
        with partial_checkpoint(self.folder, self.step) as partial:
            self.task.save(partial)
            path = save_checkpoint(self.folder, partial, self.optimizer, state, keep=self.options.keep)
        log.info("saved %s", path)
        self.presence.report()

    def _stop_lost(self, what: str) -> Ending:
        """Say why the run ends here; every rank waits until the first has said it."""
        if self.ranks.rank == 0:
            log.error("%s; %s", what, what_to_do(next(reversed(checkpoints(self.folder)), None)))
        dist.any_rank(False, self.device)
        return Ending.LOST

    def _loader(self) -> Loader:
        return Loader(
            self.batches,
            self.audio,
            Texts(tokenizer=tokenizer, recipe=self.recipe) if (tokenizer := self.task.tokenizer) is not None else None,
            window_samples=self.recipe.data.window_samples,
            workers=self.options.workers,
            pin=self.device.type == "cuda",
        )

    def _announce(self) -> None:
        log.info(
            "%d recordings to train on, %d to validate; %.1f steps an epoch, %d steps in all",
            self.task.rows,
            self.corpus.recordings[Split.VALIDATION],
            self.steps_per_epoch,
            self.steps,
        )
        period = self.batches.quotas.period
        log.info("mixture %s %s, exact over %d batch%s", self.mixture.text, NAMES, period, "" if period == 1 else "es")
        for passes in self.batches.shared_groups():
            log.info(
                "%s has %d row groups for %d lanes: many are read by more than one lane",
                passes.source.name,
                len(passes.groups),
                passes.lanes,
            )
