"""How the sentence classifier grows with real labels: on top of the packaged seed, and by themselves.

    python -m benchmarks.label_growth ../shared/data/labels --cells DIR --plot docs/label-growth.svg

Tested on the sentences from under videos alone, each by models that saw no sentence of its fold; the folds, by groups
of equal text, are the same throughout. A cell is one training: on `n` real sentences, drawn from the other folds and
from MusicCaps, with the seed or without it. The draws of one number are nested: the first 100 are in the 200. Beside
them stands a classifier of the *source*, trained on the same draws to tell captions of MusicCaps from the rest: what it
reaches is what comes of captions alone, since nearly all of them are positive.

Every cell has the same settings (those of `mulan lf-filter fit`, all its epochs) and one seed; nothing is chosen by its
figures. Finished cells lie in `--cells`, so that the command goes on where it was stopped; a second one with
`--backwards` beside it takes the other end on another core, and they meet. ROC-AUC and average
precision are of all folds together, the mean of the draws; intervals are by bootstrap over sentences within each label.
"""

import argparse
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.fine_tuned import FineTuned
from benchmarks.machine import write_result
from benchmarks.real_labels import agreed_sentences, is_caption
from filters.long_form.data import Example, examples_digest, grouped_folds, read_seed
from filters.long_form.metrics import Interval, average_precision, bootstrap, roc_auc
from filters.long_form.sentences import duplicate_key
from filters.long_form.unfinished import Unfinished

SIZES, DRAWS, FOLDS = (100, 200, 400), 3, 3
SEED_ALONE, WITH_SEED, REAL, SOURCE = "seed alone", "seed and real", "real alone", "source (MusicCaps or not)"
METRICS = {"roc_auc": roc_auc, "average_precision": average_precision}


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One training; `fold` is left out of what it draws from, and tested on."""

    kind: str
    size: int = 0
    draw: int = 0
    fold: int = 0

    def __str__(self) -> str:
        return f"{self.kind.replace(' ', '-').partition('-(')[0]}-{self.size}-draw-{self.draw}-fold-{self.fold}"


def cells() -> Iterator[Cell]:
    """Whole rows of the table first, so that an unfinished one says something."""
    yield Cell(kind=SEED_ALONE)
    for draw in range(DRAWS):
        for size in SIZES:
            for kind in (WITH_SEED, REAL, SOURCE):
                for fold in range(FOLDS):
                    yield Cell(kind=kind, size=size, draw=draw, fold=fold)


class Growth:
    """The sentences, who is tested when, and the one network that every cell begins from."""

    def __init__(self, labels: Path, encoder: str, place: Path) -> None:
        real = [
            (Example(item_id=item, text=text, is_music=is_music, group=duplicate_key(text)), source)
            for item, source, text, is_music in agreed_sentences(labels)
        ]
        self.tested = [example for example, source in real if not is_caption(source)]
        self.captions = [example for example, source in real if is_caption(source)]
        self.fold_of = np.array(grouped_folds(self.tested, FOLDS, seed=0))
        self.seed = read_seed()
        self.classifier = FineTuned(encoder)
        asked = {
            "tested": examples_digest(self.tested),
            "captions": examples_digest(self.captions),
            "seed": examples_digest(self.seed),
            "folds": FOLDS,
            **self.classifier.asked(),
        }
        self.finished = Unfinished(place, asked)
        self.precision = self.classifier.use_half(self.finished.value)

    def drawn(self, cell: Cell) -> list[Example]:
        """The real sentences of a cell, those of the source's classifier labelled by where they are from."""
        pool = [(one, False) for one, fold in zip(self.tested, self.fold_of, strict=True) if fold != cell.fold]
        pool += [(one, True) for one in self.captions]
        order = np.random.default_rng([cell.draw, cell.fold]).permutation(len(pool))[: cell.size]
        if cell.kind != SOURCE:
            return [pool[i][0] for i in order]
        return [replace(pool[i][0], is_music=pool[i][1]) for i in order]

    def tests(self, cell: Cell) -> NDArray[np.int64]:
        """The seed alone has seen no fold, so it is tested on all at once."""
        return np.arange(len(self.tested)) if cell.kind == SEED_ALONE else np.flatnonzero(self.fold_of == cell.fold)

    def logits(self, cell: Cell) -> list[float]:
        train = [*(self.seed if cell.kind in (SEED_ALONE, WITH_SEED) else []), *self.drawn(cell)]
        return self.classifier.logits(train, [self.tested[i].text for i in self.tests(cell)])

    def run(self, backwards: bool) -> dict[Cell, list[float]]:
        wanted = list(cells())
        found = {}
        for cell in reversed(wanted) if backwards else wanted:
            known = self.finished.has(str(cell))
            found[cell] = self.finished.value(str(cell), partial(self.logits, cell))
            if not known:
                print(f"{len(found)} of {len(wanted)}: {cell}", file=sys.stderr, flush=True)
        return {cell: found[cell] for cell in wanted}


def rows(growth: Growth, found: dict[Cell, list[float]]) -> list[dict[str, Any]]:
    """One for each kind and number, with what was drawn."""
    is_music = np.array([one.is_music for one in growth.tested])
    answer = []
    for kind, size in dict.fromkeys((cell.kind, cell.size) for cell in found):
        mine = [cell for cell in found if (cell.kind, cell.size) == (kind, size)]
        draws = sorted({cell.draw for cell in mine})
        scores_DN = np.zeros((len(draws), len(is_music)))
        for cell in mine:
            scores_DN[cell.draw, growth.tests(cell)] = found[cell]
        positive = [sum(one.is_music for one in growth.drawn(cell)) for cell in mine if cell.size]
        answer.append(
            {
                "trained_on": kind,
                "real_sentences": size,
                "positive_of_them": [min(positive), max(positive)] if positive and kind != SOURCE else None,
                **{name: _mean_of_draws(is_music, scores_DN, metric).to_json() for name, metric in METRICS.items()},
                "of_each_draw": {
                    name: [round(metric(is_music, scores_N), 4) for scores_N in scores_DN]
                    for name, metric in METRICS.items()
                },
            }
        )
    return answer


def _mean_of_draws(is_music: NDArray[np.bool_], scores_DN: NDArray[np.float64], metric: Any) -> Interval:
    """The interval is of the mean: each resample of the sentences is one for all draws."""
    places = np.arange(len(is_music))

    def mean(labels: NDArray[np.bool_], chosen: NDArray[np.int64]) -> float:
        return float(np.mean([metric(labels, scores_N[chosen]) for scores_N in scores_DN]))

    return bootstrap(is_music, places, mean, resamples=1_000)


def plot(table: Sequence[dict[str, Any]], path: Path) -> None:
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams["svg.hashsalt"] = path.name
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, 2, figsize=(9, 3.6), layout="constrained")
    names = {"roc_auc": "ROC-AUC", "average_precision": "average precision"}
    start = next(row for row in table if row["trained_on"] == SEED_ALONE)
    for axis, (metric, name) in zip(axes, names.items(), strict=True):
        for aside, kind, marker in ((-4, WITH_SEED, "o"), (0, REAL, "s"), (4, SOURCE, "x")):
            mine = [*([start] if kind == WITH_SEED else []), *(row for row in table if row["trained_on"] == kind)]
            values = [row[metric]["value"] for row in mine]
            errors = [
                [row[metric]["value"] - row[metric]["low"] for row in mine],
                [row[metric]["high"] - row[metric]["value"] for row in mine],
            ]
            # Side by side, so that no interval hides another.
            sizes = [row["real_sentences"] + aside for row in mine]
            axis.errorbar(sizes, values, errors, marker=marker, capsize=3, label=kind)
        axis.set(xlabel="real labels", ylabel=name, xticks=[0, *SIZES])
        axis.grid(alpha=0.3)
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=3)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, metadata={"Date": None})


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("labels", type=Path, help="folder with sentences.jsonl, annotator_1.jsonl, annotator_2.jsonl")
    parser.add_argument("--cells", type=Path, required=True, metavar="DIR", help="where finished trainings are kept")
    parser.add_argument("--backwards", action="store_true", help="from the last cell on, beside one that goes forwards")
    parser.add_argument("--encoder", default="", help="what is fine-tuned (default: the packaged MiniLM)")
    parser.add_argument("--threads", type=int, default=1, help="default: %(default)s")
    parser.add_argument("--plot", type=Path, metavar="FILE.svg")
    parser.add_argument("--name", default="label_growth", help="of the result (default: %(default)s)")
    arguments = parser.parse_args(argv)
    torch.set_num_threads(arguments.threads)
    growth = Growth(arguments.labels, arguments.encoder, arguments.cells)
    table = rows(growth, growth.run(arguments.backwards))
    result = {
        "tested_on": len(growth.tested),
        "positive": sum(one.is_music for one in growth.tested),
        "captions_to_draw_from": len(growth.captions),
        "folds": FOLDS,
        "draws": DRAWS,
        "trained_in": growth.precision,
        "rows": table,
    }
    command = f"python -m benchmarks.label_growth ../shared/data/labels --cells DIR --name {arguments.name}"
    write_result(arguments.name, result, packages=("torch", "transformers", "scikit-learn"), command=command)
    if arguments.plot is not None:
        plot(table, arguments.plot)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
