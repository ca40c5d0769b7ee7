"""MuLan itself: two towers by the contrastive loss of pairs (section 3.1 of the paper)."""

from collections.abc import Mapping
from pathlib import Path

import torch

from trainer.card import write_card
from trainer.estimate import StepFlops, estimate_memory
from trainer.gradcache import accumulate_gradients
from trainer.initial import fine_tuned
from trainer.loader import Batch
from trainer.loop import Ending, Setup, Step, Task, TrainOptions, log, run
from trainer.loss import chance_loss
from trainer.model import build
from trainer.recipes import Recipe
from trainer.split import Split
from trainer.validation_loss import Validation, embeddings

# Of the pairs of a batch; below it, these false negatives are few beside those of shared texts.
MANY_SHARED_RECORDINGS = 0.05


def train(recipe: Recipe, options: TrainOptions) -> Ending:
    """Train, or go on; leaves the model in `output/model`. Raises as `trainer.loop.run`."""
    return run(recipe, options, Contrastive)


class Contrastive(Task):
    """Evaluators look at the `Model`."""

    def __init__(self, setup: Setup) -> None:
        self._setup, self._recipe = setup, setup.recipe
        self.name = setup.recipe.name
        self.rows = setup.corpus.rows_of(setup.mixture.sources, Split.TRAIN)
        _check_locked(setup)
        self.learned = (
            fine_tuned(setup.recipe, setup.init_from, setup.device, setup.training)
            if setup.init_from is not None
            else build(setup.recipe, setup.device, setup.training)
        )
        self.tokenizer = self.learned.tokenizer
        self.learned.towers.lock(setup.recipe.optimizer.locked)
        self.module = self._towers = self.learned.towers.train()
        self.parameters = [p for p in self._towers.parameters() if p.requires_grad]
        if setup.recipe.compute.gradient_checkpointing:
            self._towers.audio.checkpoint_gradients()
            self._towers.text.checkpoint_gradients()
        if setup.recipe.compute.compile:
            self._towers.audio.body.compile()
            self._towers.text.body.compile()
        self._flops = StepFlops(self.learned)
        if setup.ranks.rank == 0:
            self._say_memory()
        self._said_shared = False
        self._validation = Validation.open(setup.corpus, self.learned, setup.mixture, setup.ranks)

    def _say_memory(self) -> None:
        try:
            estimate = estimate_memory(self.learned, self._recipe, self._setup.ranks.count)
        except (RuntimeError, NotImplementedError, TypeError) as error:
            # A body may look at its numbers, and those of an estimate have none.
            log.warning("the memory of a step cannot be estimated for this model (%s)", str(error).partition("\n")[0])
        else:
            log.info("memory of one rank at the peak of a step, estimated: %s", estimate)

    def step(self, batch: Batch, number: int) -> Step:
        """By GradCache."""
        recipe, towers = self._recipe, self._towers
        result = accumulate_gradients(
            towers,
            batch.wave_RS,
            batch.masks_R4,
            batch.chunks,
            batch.text_ids_R,
            batch.recording_ids_R,
            loss=recipe.loss,
            compute=recipe.compute,
            seed=recipe.seed,
            step=number,
        )
        padded = [chunk.tokens_BL.shape[1] for chunk in batch.chunks for _ in range(len(chunk.order_B))]
        shared_recordings = float(result.shared_recording_rate)
        self._warn_of(shared_recordings)
        return Step(
            values={
                "loss": float(result.loss),
                "chance": chance_loss(recipe.loss.kind, recipe.batch_size),
                "temperature": float(towers.log_temperature.detach().exp()),
                "shared_text_rate": float(result.shared_text_rate),
                "shared_recording_rate": shared_recordings,
            },
            useful_flops=self._flops.training(len(batch.tokens), [len(text) for text in batch.tokens]),
            padded_flops=self._flops.training(len(batch.tokens), padded),
        )

    def _warn_of(self, shared_recordings: float) -> None:
        if shared_recordings <= MANY_SHARED_RECORDINGS or self._said_shared:
            return
        self._said_shared = True
        if self._setup.ranks.rank == 0:
            log.warning(
                "%.0f %% of the pairs of a batch share their recording with another pair of it, and stand as false "
                "negatives: %d recordings are few for batches of %d",
                100 * shared_recordings,
                self.rows,
                self._recipe.batch_size,
            )

    def not_finite(self, batch: Batch) -> list[int]:
        whole_2R = torch.stack([z_RD.isfinite().all(dim=1) for z_RD in embeddings(self.learned, batch)])
        places: list[int] = (~whole_2R.all(dim=0)).nonzero().flatten().tolist()
        return places

    def updated(self) -> None:
        """τ stays within its bounds."""
        self._towers.clamp_temperature(self._recipe.loss.min_temperature, self._recipe.loss.max_temperature)

    def validate(self) -> dict[str, float]:
        return self._validation.run()

    def save(self, folder: Path) -> None:
        self.learned.save(folder)

    def finish(self, folder: Path, steps: int, results: Mapping[str, float]) -> None:
        write_card(self.learned, folder, self._setup.corpus, self._setup.mixture, steps, results)


def _check_locked(setup: Setup) -> None:
    """What is locked has to know something. Raises ValueError."""
    starts = {"audio": setup.recipe.audio.warm_start, "text": setup.recipe.text.warm_start}
    for name in () if setup.init_from is not None or setup.goes_on else setup.recipe.optimizer.locked:
        tower, _, part = name.partition(".")
        if starts[tower] is None:
            raise ValueError(f"{name} is locked at random weights; give --init_from, or --{tower}_checkpoint")
        if not part:
            raise ValueError(f"the head of {name} is locked at random weights; give --init_from, or lock {name}.body")
