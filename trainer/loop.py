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
from dataclasses import dataclass, field, fields, replace
from enum import StrEnum
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import nn
from transformers import PreTrainedTokenizerBase

from schemas.readers import ReaderState
from schemas.signals import taking
from trainer import dist
from trainer.agreement import agree, agree_on_start, from_first, spread
from trainer.audio import Audio
from trainer.checkpoint import checkpoints, load_checkpoint, partial_checkpoint, save_checkpoint
from trainer.data import Corpus
from trainer.devices import device_of, prepare
from trainer.dist import TIMEOUT_S, Ranks
from trainer.estimate import peak_flops
from trainer.finite import has_lost_weights, is_lost, what_to_do
from trainer.identity import RunFolder, open_run, write_identity
from trainer.loader import Batch, Loader, Texts
from trainer.logs import MetricLog, last_results
from trainer.mixture import NAMES, Mixture
from trainer.optimizer import OptimizerConfig, optimizer_of
from trainer.presence import Presence
from trainer.recipes import Recipe
from trainer.split import Split
from trainer.streams import Lanes
from trainer.trackers import find_tracker
from trainer.trained_on import Training

log = logging.getLogger(__name__)

MODEL_NAME = "model"
_NAMED = 8  # recordings of a batch, in a line that says which


class Evaluator(Protocol):
    """Looks at what a task learns (`Task.learned`) during and after training."""

    name: str

    def run(self, model: Any) -> Iterable[tuple[str, float]]: ...


@dataclass(frozen=True, kw_only=True)
class TrainOptions:
    """Where a run begins and happens and how often it looks up; what is learned follows from the recipe.

    `steps` None trains the recipe's epochs; an epoch is the task's rows ÷ batch size, in steps. `init_from` is a model
    whose weights are the first, `fork` (`RUN[@STEP]`) a checkpoint of another run to go on from. Up to `skip_nonfinite`
    steps of the run may be left out whose loss or gradient is not finite. A rank that does not answer for `timeout_s`
    counts as lost.
    """

    data: tuple[str, ...]
    output: Path
    steps: int | None = None
    init_from: str | None = None
    fork: str | None = None
    device: str = "cpu"
    workers: int = 1
    timeout_s: float = TIMEOUT_S
    skip_nonfinite: int = 0
    checkpoint_every: int = 1000
    keep: int = 3
    validate_every: int = 500
    evaluate_every: int = 5000
    log_every: int = 10
    tracker: str | None = None
    evaluators: tuple[Evaluator, ...] = field(default=(), compare=False)

    def __post_init__(self) -> None:
        if not self.data:
            raise ValueError("no mined run to train on")
        if min(self.checkpoint_every, self.keep, self.validate_every, self.evaluate_every, self.log_every) < 1:
            raise ValueError("checkpoint_every, keep, validate_every, evaluate_every and log_every must be positive")
        if self.workers < 0 or (self.steps is not None and self.steps < 1):
            raise ValueError("workers may not be negative and steps must be positive")
        if self.skip_nonfinite < 0 or self.timeout_s <= 0:
            raise ValueError("skip_nonfinite may not be negative and timeout_s must be positive")
        if self.init_from is not None and self.fork is not None:
            raise ValueError("a fork has the weights of its run: leave out --init_from or --fork")
        device_of(self.device)
        if self.tracker is not None:
            find_tracker(self.tracker)

    def shared(self) -> dict[str, Any]:
        """As plain values, what all ranks have to have alike."""
        own = ("data", "output", "device", "workers", "evaluators", "tracker")
        values = {entry.name: getattr(self, entry.name) for entry in fields(self) if entry.name not in own}
        return values | {"evaluators": [evaluator.name for evaluator in self.evaluators]}


class Ending(StrEnum):
    """How a run ends that could begin."""

    DONE = "done"
    INTERRUPTED = "interrupted"
    LOST = "lost"  # the loss, the gradient or a weight is not finite


@dataclass(frozen=True, kw_only=True)
class Setup:
    """What a task is built for; `training` is what its model will know of its data. The weights of a run that goes on
    are loaded afterwards."""

    recipe: Recipe
    corpus: Corpus
    mixture: Mixture
    training: Training
    device: torch.device
    ranks: Ranks
    init_from: str | None = None
    goes_on: bool = False


@dataclass(frozen=True, kw_only=True)
class Step:
    """What a task says of the gradient that it has left in the parameters.

    `values` go to the log, `loss` and `chance` among them, the same on every rank. The floating-point operations are
    those of this rank, without padding and with it; 0 where nobody counts them.
    """

    values: dict[str, float]
    useful_flops: float = 0.0
    padded_flops: float = 0.0
    lost: bool = False  # not finite, and the weights did not take it


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

    def not_finite(self, batch: Batch) -> list[int]:
        """Which pairs of this rank are no numbers by themselves, after a step that was lost."""
        return []

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


class TrainStep:
    """What the loop does with a batch, and all that a benchmark of it may call: `TrainStep(task, config, steps,
    device)(batch, number)` leaves the task's clipped gradient to the optimizer, unless a number of it is lost."""

    def __init__(self, task: Task, config: OptimizerConfig, steps: int, device: torch.device) -> None:
        self._task, self._config, self._steps, self._device = task, config, steps, device
        self.optimizer = optimizer_of(task.module, config)
        self._kept = [(buffer, buffer.clone()) for buffer in task.module.buffers()]

    def __call__(self, batch: Batch, number: int) -> Step:
        for buffer, kept in self._kept:
            kept.copy_(buffer)
        self.optimizer.zero_grad(set_to_none=True)
        step = self._task.step(batch, number)
        norm = torch.nn.utils.clip_grad_norm_(self._task.parameters, self._config.clip_norm)
        rate = self._config.rate(number, self._steps)
        values = {**step.values, "gradient_norm": float(norm), "learning_rate": rate}
        if lost := is_lost(values, self._device):
            # A forward pass has put its own numbers into batch norm's statistics.
            for buffer, kept in self._kept:
                buffer.copy_(kept)
        else:
            for group in self.optimizer.param_groups:
                group["lr"] = rate * group["factor"]
            self.optimizer.step()
            self._task.updated()
        return replace(step, values=values, lost=lost)


def run(recipe: Recipe, options: TrainOptions, begin: Callable[[Setup], Task]) -> Ending:
    """Train, or go on from the last checkpoint in `options.output`; the model is left in `output/model`.

    Raises ValueError or RunError with one clear line where recipe, data and checkpoint do not fit or ranks differ in
    them, RanksError where a rank is lost.
    """
    ranks = dist.start(options.device, options.timeout_s)
    try:
        with dist.naming_lost_ranks(options.timeout_s):
            return _Loop(recipe, options, begin, ranks).run()
    finally:
        dist.stop()


class _Loop:
    def __init__(self, recipe: Recipe, options: TrainOptions, begin: Callable[[Setup], Task], ranks: Ranks) -> None:
        self.recipe, self.options, self.ranks = recipe, options, ranks
        self.device = device_of(options.device)
        prepare(self.device, recipe.compute.precision)
        agree({"recipe": recipe.to_json(), "options": options.shared()})
        opened = open_run(options.output, recipe, options.data, init_from=options.init_from, fork=options.fork)
        agree({name: value for name, value in opened.identity.items() if name not in ("recipe", "data")})
        self.folder, self.corpus, self.identity = opened.checkpoints, opened.corpus, opened.identity
        self.mixture = self.corpus.mixture()
        if ranks.rank == 0 and (unscored := self.corpus.unscored(self.mixture)):
            log.warning(
                "the sentences of %s are trained on unfiltered, spam included: it was mined without --lf_model "
                "(`mulan lf-filter score RUN --lf_model DIR --output RUN2` scores them now)",
                ", ".join(run.location for run in unscored),
            )
        self.task = begin(
            Setup(
                recipe=recipe,
                corpus=self.corpus,
                mixture=self.mixture,
                training=opened.training(recipe),
                device=self.device,
                ranks=ranks,
                init_from=options.init_from,
                goes_on=opened.last is not None,
            )
        )
        self.steps_per_epoch = self.task.rows / recipe.batch_size
        self.steps = options.steps or max(1, round(recipe.epochs * self.steps_per_epoch))
        self.train_step = TrainStep(self.task, recipe.optimizer, self.steps, self.device)
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
        self.step, self.skipped = 0, 0
        self._take_up(opened)
        self.results: dict[str, float] = {}
        self.presence: Presence | None = None

    def _take_up(self, opened: RunFolder) -> None:
        """What the first rank has, at random or from a checkpoint, is what all begin with."""
        module, optimizer, last = self.task.module, self.train_step.optimizer, opened.last
        state = None
        if last is not None:
            state = from_first(lambda: load_checkpoint(last, module, optimizer))
        spread(module, optimizer)
        if state is not None:
            self.batches.restore(state["batches"])
            self.step = state["step"]
            if not opened.forked:
                self.skipped = state.get("skipped", 0)
                self._check_end(state.get("steps", self.steps))
            if self.ranks.rank == 0:
                log.info("going on after step %d from %s", self.step, last)
        agree_on_start(self.step, module, optimizer, state and state["batches"])

    def _check_end(self, steps: int) -> None:
        """A learning rate that falls towards the end is another one where the end is."""
        if self.recipe.optimizer.schedule == "cosine" and steps != self.steps:
            raise ValueError(
                f"{self.options.output}: the cosine of this run ends at step {steps}, that of this command at "
                f"{self.steps}; give --steps {steps}, or go on elsewhere with --fork {self.options.output}"
            )

    def run(self) -> Ending:
        options, metrics = self.options, None
        model = options.output / MODEL_NAME
        if self.step >= self.steps and from_first(model.exists):
            if self.ranks.rank == 0:
                log.info("done already, after step %d of %d; the model is %s", self.step, self.steps, model)
            return Ending.DONE
        if self.ranks.rank == 0:
            write_identity(options.output, self.identity)
            self.presence = Presence(self.corpus.runs, options.output, self.task.name)
            self.presence.report()
            self._announce()
            self.results = last_results(options.output, self.step)
            metrics = MetricLog(
                options.output,
                first_step=self.step,
                steps=self.steps,
                log_every=options.log_every,
                tracker=find_tracker(options.tracker)(options.output, self.recipe) if options.tracker else None,
            )
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
            self.task.finish(model, self.step, self.results)
            self.presence.report(ReaderState.DONE)
        return ending

    def _train(self, loader: Loader, metrics: MetricLog | None, terminated: threading.Event) -> Ending:
        options, batches = self.options, iter(loader)
        while self.step < self.steps:
            started = time.perf_counter()
            batch = next(batches)
            waited_s = time.perf_counter() - started
            step = self.train_step(batch, self.step)
            values = step.values | {"epoch": self.step / self.steps_per_epoch}
            values |= self._speed(step, len(batch.examples), time.perf_counter() - started, waited_s)
            self.skipped += step.lost
            if metrics is not None:
                metrics.write(self.step, "train", values | ({"skipped": self.skipped} if self.skipped else {}))
            if step.lost:
                what = "the loss is {loss}, the gradient norm {gradient_norm}".format_map(values)
                what = f"step {self.step}: {what}; {self._blame(batch)}"
                if self.skipped > options.skip_nonfinite:
                    return self._stop_lost(f"{what}; stopped before the weights took it")
                if metrics is not None:
                    log.warning("%s; skipped, %d of at most %d", what, self.skipped, options.skip_nonfinite)
            self.step += 1
            done = self.step == self.steps
            if done or self.step % options.validate_every == 0:
                self._look(metrics, "validation", self.task.validate())
            if options.evaluators and (done or self.step % options.evaluate_every == 0):
                self._evaluate(metrics)
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

    def _speed(self, step: Step, pairs: int, step_s: float, waited_s: float) -> dict[str, float]:
        speed = {"pairs_per_s": pairs * self.ranks.count / step_s, "wait_share": waited_s / step_s}
        if self.peak and step.useful_flops:
            speed |= {
                "mfu_useful": step.useful_flops / step_s / self.peak,
                "mfu_padded": step.padded_flops / step_s / self.peak,
            }
        return speed

    def _blame(self, batch: Batch) -> str:
        """Whose pairs are no numbers, as far as can be told; all ranks have to ask."""
        names = [example.row.recording_id for example in batch.examples]
        mine = [sorted({names[i] for i in self.task.not_finite(batch)}), names[:_NAMED]]
        told = [json.loads(text) for text in dist.gather_texts(json.dumps(mine))]
        at_fault = sorted({name for found, _ in told for name in found})
        if not at_fault:
            return f"no recording is at fault alone, of a batch that begins with {', '.join(told[0][1])}"
        more = f" and {len(at_fault) - _NAMED} more" if len(at_fault) > _NAMED else ""
        return f"not finite: recording {', '.join(at_fault[:_NAMED])}{more}"

    def _evaluate(self, metrics: MetricLog | None) -> None:
        """The i-th evaluator is run by rank i mod N, with no work of the others in it."""
        mine = {
            i: {name: float(value) for name, value in evaluator.run(self.task.learned)}
            for i, evaluator in enumerate(self.options.evaluators)
            if i % self.ranks.count == self.ranks.rank
        }
        told = [json.loads(text) for text in dist.gather_texts(json.dumps(mine))]
        for i, evaluator in enumerate(self.options.evaluators):
            self._look(metrics, evaluator.name, told[i % self.ranks.count][str(i)])

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
        state |= {"steps": self.steps, "skipped": self.skipped}
        with partial_checkpoint(self.folder, self.step) as partial:
            self.task.save(partial)
            path = save_checkpoint(self.folder, partial, self.train_step.optimizer, state, keep=self.options.keep)
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
