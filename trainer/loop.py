"""The training loop: `train(recipe, options)`.

    mulan train --recipe tiny --data RUN --output DIR
    torchrun --nproc_per_node 8 -m trainer.train --recipe m_resnet50 --data RUN --data ASET_RUN --output DIR

Reads top to bottom: open the data, build the model, take up the last checkpoint, then step, log, validate, evaluate and
save until the steps are done, or until the loss is no number any more. On a CPU in float32, a run that was killed and
resumed has the losses and the weights of one that was not, to the bit.
"""

import logging
import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Protocol

import torch

from schemas.readers import ReaderState
from trainer import dist
from trainer.card import write_card
from trainer.checkpoint import checkpoints, load_checkpoint, partial_checkpoint, save_checkpoint
from trainer.data import Split
from trainer.dist import Ranks
from trainer.estimate import StepFlops, estimate_memory, peak_flops
from trainer.finite import has_lost_weights, is_lost, what_to_do
from trainer.gradcache import accumulate_gradients
from trainer.identity import open_run, write_identity
from trainer.loader import Batch, Loader
from trainer.logs import MetricLog
from trainer.loss import chance_loss
from trainer.mixture import NAMES
from trainer.model import Model, build, pad_id
from trainer.presence import Presence
from trainer.recipes import Recipe
from trainer.streams import GlobalBatches
from trainer.tokens import TextChunk, text_chunks
from trainer.validation import Validation

log = logging.getLogger(__name__)

MODEL_NAME = "model"


class Evaluator(Protocol):
    """Looks at a model during and after training."""

    name: str

    def run(self, model: Model) -> Iterable[tuple[str, float]]: ...


@dataclass(frozen=True, kw_only=True)
class TrainOptions:
    """Where a run happens and how often it looks up; nothing here changes what is learned, but `steps`, the end.

    `steps` None trains the recipe's epochs; an epoch is recordings ÷ batch size, in steps.
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
    DONE = "done"
    INTERRUPTED = "interrupted"
    LOST = "lost"  # the loss, the gradient or a weight is not finite


def train(recipe: Recipe, options: TrainOptions) -> Ending:
    """Train, or go on from the last checkpoint in `options.output`; the model is left in `output/model`.

    Raises ValueError or RunError with one clear line where the recipe, the data and the checkpoint do not fit.
    """
    ranks = dist.start(options.device)
    try:
        return _Trainer(recipe, options, ranks).run()
    finally:
        dist.stop()


class _Trainer:
    def __init__(self, recipe: Recipe, options: TrainOptions, ranks: Ranks) -> None:
        self.recipe, self.options, self.ranks = recipe, options, ranks
        self.device = torch.device(f"cuda:{ranks.local_rank}" if options.device == "cuda" else options.device)
        opened = open_run(options.output, recipe, options.data)
        self.folder, self.corpus, self.identity = opened.checkpoints, opened.corpus, opened.identity
        self.mixture = self.corpus.mixture()
        recordings = self.corpus.recordings[Split.TRAIN]
        self.steps_per_epoch = recordings / recipe.batch_size
        self.steps = options.steps or max(1, round(recipe.epochs * self.steps_per_epoch))
        self.model = build(recipe, self.device, opened.training(recipe))
        self.towers = self.model.towers.train()
        if recipe.compute.compile:
            self.towers.audio.body.compile()
            self.towers.text.body.compile()
        self.optimizer = torch.optim.Adam(
            self.towers.parameters(),
            lr=recipe.optimizer.learning_rate,
            betas=(recipe.optimizer.beta1, recipe.optimizer.beta2),
            fused=True,
        )
        self.batches = GlobalBatches(
            self.corpus,
            self.mixture,
            recipe.batch_size,
            recipe.seed,
            augment=recipe.audio.augment,
        )
        self.step = 0
        if opened.last is not None:
            state = load_checkpoint(opened.last, self.towers, self.optimizer)
            self.batches.restore(state["batches"])
            self.step = state["step"]
            log.info("going on after step %d from %s", self.step, opened.last)
        self.validation = Validation.open(self.corpus, self.model, self.mixture, ranks)
        self.results: dict[str, float] = {}
        self.presence: Presence | None = None

    def run(self) -> Ending:
        options, first = self.options, self.ranks.rank == 0
        if first:
            write_identity(options.output, self.identity)
            self.presence = Presence(self.corpus.runs, options.output, self.recipe.name)
            self.presence.report()
            self._announce()
        metrics = (
            MetricLog(options.output, first_step=self.step, steps=self.steps, log_every=options.log_every)
            if first
            else None
        )
        loader = self._loader()
        flops, peak = StepFlops(self.model), peak_flops(self.device)
        try:
            with termination() as terminated:
                batches = iter(loader)
                while self.step < self.steps:
                    started = time.perf_counter()
                    batch = next(batches)
                    waited_s = time.perf_counter() - started
                    chunks = self._chunks(batch)
                    values = self._gradients(batch, chunks)
                    if not (lost := is_lost(values, self.device)):
                        self._update()
                    values |= self._speed(batch, chunks, flops, peak, time.perf_counter() - started, waited_s)
                    if metrics is not None:
                        metrics.write(self.step, "train", values)
                    if lost:
                        what = "the loss is {loss}, the gradient norm {gradient_norm}".format_map(values)
                        return self._stop_lost(f"step {self.step}: {what}; stopped before the weights took it")
                    self.step += 1
                    done = self.step == self.steps
                    if done or self.step % options.validate_every == 0:
                        self._look(metrics, "validation", self.validation.run)
                    if done or self.step % options.evaluate_every == 0:
                        self._evaluate(metrics)
                    stop = dist.any_rank(terminated.is_set(), self.device)
                    if done or stop or self.step % options.checkpoint_every == 0:
                        if has_lost_weights(self.towers, self.device):
                            return self._stop_lost(f"after step {self.step} a weight is not finite; it is not saved")
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
            write_card(self.model, options.output / MODEL_NAME, self.corpus, self.mixture, self.step, self.results)
        if self.presence is not None:
            self.presence.report(ReaderState.DONE)
        return Ending.DONE

    def _gradients(self, batch: Batch, chunks: list[TextChunk]) -> dict[str, float | None]:
        """Leave the clipped gradient of the global mini-batch in the parameters; the same values on every rank."""
        recipe = self.recipe
        self.optimizer.zero_grad(set_to_none=True)
        result = accumulate_gradients(
            self.towers,
            batch.wave_RS,
            batch.masks_R4,
            chunks,
            batch.text_ids_R,
            loss=recipe.loss,
            compute=recipe.compute,
            seed=recipe.seed,
            step=self.step,
        )
        norm = torch.nn.utils.clip_grad_norm_(self.towers.parameters(), recipe.optimizer.clip_norm)
        return {
            "loss": result.loss,
            "chance": chance_loss(recipe.loss.kind, recipe.batch_size),
            "temperature": float(self.towers.log_temperature.detach().exp()),
            "gradient_norm": float(norm),
            "learning_rate": recipe.optimizer.rate(self.step),
            "shared_text_rate": result.shared_text_rate,
            "epoch": self.step / self.steps_per_epoch,
        }

    def _update(self) -> None:
        for group in self.optimizer.param_groups:
            group["lr"] = self.recipe.optimizer.rate(self.step)
        self.optimizer.step()
        self.towers.clamp_temperature(self.recipe.loss.min_temperature, self.recipe.loss.max_temperature)

    def _stop_lost(self, what: str) -> Ending:
        stop_lost(what, self.folder, self.ranks, self.device)
        return Ending.LOST

    def _chunks(self, batch: Batch) -> list[TextChunk]:
        compute = self.recipe.compute
        return text_chunks(
            batch.tokens,
            chunk=compute.text_chunk,
            bucket=compute.text_bucket,
            max_tokens=self.recipe.text.max_tokens,
            pad_id=pad_id(self.model.tokenizer),
            by_length=compute.sort_texts,
        )

    def _speed(
        self,
        batch: Batch,
        chunks: list[TextChunk],
        flops: StepFlops,
        peak: float | None,
        step_s: float,
        waited_s: float,
    ) -> dict[str, float | None]:
        pairs = len(batch.tokens)
        padded = [chunk.tokens_BL.shape[1] for chunk in chunks for _ in range(len(chunk.order_B))]
        return {
            "pairs_per_s": pairs * self.ranks.count / step_s,
            "wait_share": waited_s / step_s,
            "mfu_useful": flops.training(pairs, [len(t) for t in batch.tokens]) / step_s / peak if peak else None,
            "mfu_padded": flops.training(pairs, padded) / step_s / peak if peak else None,
        }

    def _evaluate(self, metrics: MetricLog | None) -> None:
        for evaluator in self.options.evaluators:
            if metrics is not None:
                self._look(metrics, evaluator.name, lambda e=evaluator: dict(e.run(self.model)))  # type: ignore[misc]

    def _look(self, metrics: MetricLog | None, kind: str, run: Callable[[], dict[str, float]]) -> None:
        values = run()
        self.results |= {f"{kind}/{name}": value for name, value in values.items()}
        if metrics is not None and values:
            metrics.write(self.step - 1, kind, values)

    def _save(self, loader: Loader) -> None:
        if self.ranks.rank != 0:
            return
        state = {"step": self.step, "batches": loader.state(self.step - 1)}
        with partial_checkpoint(self.folder, self.step) as partial:
            self.model.save(partial)
            path = save_checkpoint(self.folder, partial, self.optimizer, state, keep=self.options.keep)
        log.info("saved %s", path)
        if self.presence is not None:
            self.presence.report()

    def _loader(self) -> Loader:
        return Loader(
            self.batches,
            self.model.tokenizer,
            max_tokens=self.recipe.text.max_tokens,
            window_samples=self.recipe.data.window_samples,
            block_size=self.recipe.audio.block_size,
            ranks=self.ranks,
            workers=self.options.workers,
        )

    def _announce(self) -> None:
        quotas = self.batches.quotas
        log.info(
            "%d recordings to train on, %d to validate; %.1f steps an epoch, %d steps in all",
            self.corpus.recordings[Split.TRAIN],
            self.corpus.recordings[Split.VALIDATION],
            self.steps_per_epoch,
            self.steps,
        )
        log.info(
            "mixture %s %s, exact over %d batch%s",
            self.mixture.text,
            NAMES,
            quotas.period,
            "" if quotas.period == 1 else "es",
        )
        log.info("memory of one rank, estimated: %s", estimate_memory(self.model, self.recipe, self.ranks.count))


def stop_lost(what: str, folder: Path, ranks: Ranks, device: torch.device) -> None:
    """Say why the run in `folder` ends here; every rank waits until the first has said it."""
    if ranks.rank == 0:
        log.error("%s; %s", what, what_to_do(next(reversed(checkpoints(folder)), None)))
    dist.any_rank(False, device)


@contextmanager
def termination() -> Iterator[threading.Event]:
    """An event that SIGTERM or SIGINT sets, in the main thread; the loop then saves and ends."""
    event = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield event
        return
    before = {number: signal.signal(number, lambda *_: event.set()) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield event
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
