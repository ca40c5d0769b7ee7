"""The paper's text ablation (section 4.2.1, table 4 (b)): one recipe trained on more and more sources, and evaluated.

The rows are ASET alone, then with SF, with LF, with PL, and last all four unfiltered. What the rows do not share is the
mixture and the filters alone: recipe, epochs, seed and data are the same. An epoch is of the recordings that a row's
sources reach, so ASET alone takes fewer steps than all four, unless `--steps` gives each row as many. A row that is
trained already is taken up where it stands, so the same command resumes.
"""

import argparse
import dataclasses
import logging
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trainer.evaluation.arguments import ROWS, AblationRow
from trainer.evaluation.clips import NothingMeasuredError
from trainer.evaluation.embedding import FrozenModel, Sounds
from trainer.evaluation.evaluator import Evaluator, measure_each
from trainer.evaluation.kept import NAME as KEPT_NAME
from trainer.evaluation.kept import KeptEmbeddings
from trainer.evaluation.model import RandomModel, digest_folder, read_training
from trainer.evaluation.results import ModelResult, Results
from trainer.evaluation.tables import Table, format_value, metric_order
from trainer.flags import recipe_from
from trainer.trained_on import Training

if TYPE_CHECKING:
    from trainer.recipes import Recipe

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class AblationConfig:
    """`recipe` is what the rows share; each has its own mixture, filters and seed. `steps` None trains its epochs."""

    recipe: "Recipe"
    data: tuple[str, ...]
    output: Path
    steps: int | None = None
    seeds: tuple[int, ...] = (0,)
    device: str = "cpu"
    workers: int = 1
    embeddings: Path | None = None
    rows: tuple[AblationRow, ...] = ROWS

    def __post_init__(self) -> None:
        if not self.data or not self.seeds or len(set(self.seeds)) != len(self.seeds):
            raise ValueError("ablation: data and distinct seeds are needed")


def run_ablation(config: AblationConfig, evaluators: Sequence[Evaluator[Any]], version: str) -> Results:
    """Train and measure every row for every seed, then the random control. Raises ValueError or RunError as training
    does, and KeyboardInterrupt where training was interrupted."""
    from trainer.embed_inputs import load_on
    from trainer.loop import Ending, TrainOptions
    from trainer.mixture import MixtureError
    from trainer.tasks.contrastive import train

    for evaluator in evaluators:
        evaluator.check()
    measured = []
    sounds = Sounds()
    trainings: list[Training] = []
    for row in config.rows:
        for seed in config.seeds:
            folder = config.output / f"{_slug(row.label)}-seed{seed}"
            logger.info("ablation: %s, seed %d", row.label, seed)
            options = TrainOptions(
                data=config.data,
                output=folder,
                steps=config.steps,
                device=config.device,
                workers=config.workers,
                keep=1,
            )
            try:
                ending = train(_recipe(config.recipe, row, seed), options)
            except MixtureError as error:
                number = 1 + ROWS.index(row)
                raise MixtureError(f"row {number} ({row.label}): {error}; --rows leaves a row out") from error
            if ending is Ending.LOST:
                raise NothingMeasuredError(f"{_name(row.label, seed)}: its training ended without a model")
            if ending is not Ending.DONE:
                raise KeyboardInterrupt
            training = read_training(folder / "model", _name(row.label, seed))
            trainings.append(training)
            digest = digest_folder(folder / "model")
            kept = KeptEmbeddings(config.embeddings or config.output / KEPT_NAME, digest)
            model = FrozenModel(
                load_on(folder / "model", config.device), workers=config.workers, sounds=sounds, kept=kept
            )
            measured.append(
                ModelResult(
                    model=training.model,
                    digest=digest,
                    trained_on=training.manifests,
                    measurements=tuple(measure_each((e.of_models([training]) for e in evaluators), model)),
                )
            )
            kept.close()
    control = FrozenModel(RandomModel(config.seeds[0]), workers=config.workers, sounds=sounds)
    measured.append(
        ModelResult(
            model="random (control)",
            digest=None,
            measurements=tuple(measure_each((e.of_models(trainings) for e in evaluators), control)),
        )
    )
    return Results(openmulan_version=version, models=tuple(measured))


def _recipe(recipe: "Recipe", row: AblationRow, seed: int) -> "Recipe":
    from trainer.mixture import Mixture

    data = dataclasses.replace(recipe.data, mixture=Mixture.among(row.sources), filtered=row.filtered)
    return dataclasses.replace(recipe, data=data, seed=seed)


def summary(results: Results, config: AblationConfig) -> list[Table]:
    """One table a data set: the mean over seeds of each row, with the least and the greatest."""
    found: dict[str, dict[str, dict[str, list[float]]]] = {}
    by_name = {result.model: result for result in results.models}
    labels = [row.label for row in config.rows]
    for label in labels:
        for seed in config.seeds:
            for measurement in by_name[_name(label, seed)].measurements:
                for metric, value in measurement.metrics.items():
                    rows = found.setdefault(measurement.name, {}).setdefault(metric, {})
                    rows.setdefault(label, []).append(value.value)
    control = {m.name: m for m in by_name["random (control)"].measurements}
    return [_summary_table(name, metrics, labels, control[name].metrics, config) for name, metrics in found.items()]


def _summary_table(
    name: str, metrics: dict[str, dict[str, list[float]]], labels: list[str], control: Any, config: AblationConfig
) -> Table:
    rows = []
    columns = sorted(metrics, key=metric_order)
    for label in labels:
        cells = []
        for metric in columns:
            values = metrics[metric][label]
            spread = f" ({min(values):.3f} to {max(values):.3f})" if len(values) > 1 else ""
            cells.append(f"{statistics.fmean(values):.3f}{spread}")
        rows.append((label, *cells))
    seeds = ", ".join(map(str, config.seeds))
    which = f"mean over seeds {seeds} with the least and the greatest" if len(config.seeds) > 1 else f"seed {seeds}"
    rows.append(("random (control)", *(format_value(control[metric]) for metric in columns)))
    return Table(
        title=f"Text ablation: {name}",
        header=("text", *(metric.replace("_", " ") for metric in columns)),
        rows=tuple(rows),
        own_rows=frozenset(range(len(rows))),
        notes=(f"recipe {config.recipe.name}, {_length(config)}, {which}",),
    )


def config_of(arguments: argparse.Namespace) -> AblationConfig:
    """Raises ValueError where the arguments do not fit."""
    if arguments.output is None:
        raise ValueError("the ablation needs --output, where its models are kept")
    numbers = arguments.rows or range(1, len(ROWS) + 1)
    if not set(numbers) <= set(range(1, len(ROWS) + 1)):
        raise ValueError(f"ablation: --rows are numbers from 1 to {len(ROWS)}")
    return AblationConfig(
        recipe=recipe_from(arguments),
        data=tuple(arguments.data),
        output=arguments.output,
        steps=arguments.steps,
        seeds=tuple(arguments.seeds),
        device=arguments.device or "cpu",
        embeddings=arguments.embeddings,
        workers=arguments.workers,
        rows=tuple(ROWS[number - 1] for number in numbers),
    )


def _length(config: AblationConfig) -> str:
    if config.steps is not None:
        return f"{config.steps} steps"
    return f"{config.recipe.epochs:g} epochs of the recordings that the row's sources reach"


def _name(label: str, seed: int) -> str:
    return f"{label}, seed {seed}"


def _slug(label: str) -> str:
    return "-".join("".join(c if c.isalnum() else " " for c in label.casefold()).split())
