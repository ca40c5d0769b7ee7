"""Train the builtin detector on synthesised sound: `python -m filters.music.builtin.training`.

Nothing recorded goes in. Every kind of `filters.music.builtin.synthesis` is drawn with many seeds, most of them
degraded as real recordings are; what is reported is held out by *kind* (the network has never met the style or the
scene), which says more of new sound than a held-out seed. The same command gives the same weights on one class of CPU.
"""

import argparse
import dataclasses
import json
import logging
import multiprocessing
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from filters.music.builtin.detector import INPUT_CLIP, WEIGHTS_NAME, Weights
from filters.music.builtin.features import GRID, features, names
from filters.music.builtin.synthesis import KINDS, degrade, synthesise
from filters.music.gate import MusicGateConfig
from schemas.digest import digest_json
from schemas.shard import CLIP_SAMPLE_RATE_HZ

log = logging.getLogger(__name__)

Array = NDArray[np.float32]

# Share of the training weight that each family of sound gets, whatever the number of its kinds.
FAMILY_SHARES = {"music": 0.4, "mixture": 0.1, "voice": 0.25, "environment": 0.25}
FOLDS = 5


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """The whole recipe; two equal ones give equal weights."""

    seeds_per_kind: int = 40
    clip_s: float = 6.0
    clean_share: float = 0.3
    hidden: int = 24
    networks: int = 3  # trained apart and joined into one: their hidden layers side by side, their outputs averaged
    steps: int = 1500
    batch: int = 512
    learning_rate: float = 3e-3
    weight_decay: float = 3e-4
    input_noise: float = 0.3  # standard deviations; what keeps the network from leaning on any one feature
    drop_inputs: float = 0.2
    seed: int = 0

    def __post_init__(self) -> None:
        if min(self.seeds_per_kind, self.hidden, self.networks, self.steps, self.batch) < 1:
            raise ValueError("seeds_per_kind, hidden, networks, steps and batch must be at least 1")
        if self.clip_s < GRID.window_s:
            raise ValueError(f"clip_s={self.clip_s} is shorter than a window of {GRID.window_s} s")


def recipe(config: TrainConfig) -> str:
    """Digest of what the weights follow from but the code of sound and features; it stands in their file."""
    return digest_json(
        {
            "config": dataclasses.asdict(config),
            "family_shares": FAMILY_SHARES,
            "folds": FOLDS,
            "kinds": [dataclasses.asdict(kind) for kind in KINDS.values()],
            "features": names(),
        }
    )


@dataclass(frozen=True, kw_only=True)
class Examples:
    """Windows of synthesised sound: their features, the clip and the kind that each is from."""

    features_NI: Array
    clip_N: NDArray[np.int64]
    kind_N: NDArray[np.str_]

    @property
    def is_music_N(self) -> NDArray[np.bool_]:
        return np.array([KINDS[kind].is_music for kind in self.kind_N])

    @property
    def weight_N(self) -> NDArray[np.float64]:
        """Chance of each window to be drawn: families by their shares, kinds of a family alike."""
        families = [KINDS[kind].family for kind in self.kind_N]
        counts = {family: families.count(family) for family in FAMILY_SHARES}
        weights = np.array([FAMILY_SHARES[family] / counts[family] for family in families])
        chances: NDArray[np.float64] = weights / weights.sum()
        return chances

    def select(self, chosen_N: NDArray[np.bool_]) -> "Examples":
        return Examples(
            features_NI=self.features_NI[chosen_N], clip_N=self.clip_N[chosen_N], kind_N=self.kind_N[chosen_N]
        )


def make_examples(config: TrainConfig, processes: int) -> Examples:
    jobs = [(kind, seed, config) for seed in range(config.seeds_per_kind) for kind in KINDS]
    # Spawned, so that workers start alike on every platform.
    with multiprocessing.get_context("spawn").Pool(processes) as pool:
        rows = pool.starmap(_clip_features, jobs, chunksize=32)
    lengths = [len(row) for row in rows]
    return Examples(
        features_NI=np.concatenate(rows),
        clip_N=np.repeat(np.arange(len(jobs)), lengths),
        kind_N=np.repeat(np.array([kind for kind, _, _ in jobs]), lengths),
    )


def _clip_features(kind: str, seed: int, config: TrainConfig) -> Array:
    """Features of the windows that lie wholly inside one synthesised clip."""
    rng = np.random.default_rng([config.seed, seed, list(KINDS).index(kind)])
    wave_T = synthesise(kind, seed, config.clip_s)
    if rng.random() >= config.clean_share:
        wave_T = degrade(wave_T, CLIP_SAMPLE_RATE_HZ, rng)
    whole = int((config.clip_s - GRID.window_s) / GRID.hop_s) + 1
    return features(wave_T)[:whole]


def fit(examples: Examples, config: TrainConfig) -> Weights:
    """The joined network, without its shift."""
    centre_I = np.median(examples.features_NI, axis=0)
    scale_I = examples.features_NI.std(axis=0) + np.float32(1e-6)
    inputs_NI = np.clip((examples.features_NI - centre_I) / scale_I, -INPUT_CLIP, INPUT_CLIP)
    networks = [_fit_one(inputs_NI, examples, config, seed) for seed in range(config.networks)]
    joined_H = np.concatenate([network[2] for network in networks])
    return Weights(
        centre_I=centre_I,
        scale_I=scale_I,
        hidden_IH=np.concatenate([network[0] for network in networks], axis=1),
        hidden_bias_H=np.concatenate([network[1] for network in networks]),
        output_H=(joined_H / config.networks).astype(np.float32),
        output_bias=float(np.mean([network[3][0] for network in networks])),
        shift=0.0,
    )


def _fit_one(inputs_NI: Array, examples: Examples, config: TrainConfig, seed: int) -> list[Array]:
    """Adam on the logistic loss, with noise on the inputs and inputs dropped, in float32."""
    rng = np.random.default_rng([config.seed, 1, seed])
    count = inputs_NI.shape[1]
    parameters = [
        (rng.standard_normal((count, config.hidden)) / np.sqrt(count)).astype(np.float32),
        np.zeros(config.hidden, dtype=np.float32),
        (rng.standard_normal(config.hidden) / np.sqrt(config.hidden)).astype(np.float32),
        np.zeros(1, dtype=np.float32),
    ]
    first = [np.zeros_like(parameter) for parameter in parameters]
    second = [np.zeros_like(parameter) for parameter in parameters]
    targets_N = examples.is_music_N.astype(np.float32)
    chances_N = examples.weight_N
    for step in range(1, config.steps + 1):
        drawn = rng.choice(len(inputs_NI), config.batch, p=chances_N)
        batch_BI = inputs_NI[drawn] + np.float32(config.input_noise) * rng.standard_normal(
            (config.batch, count), dtype=np.float32
        )
        batch_BI *= rng.random(batch_BI.shape) >= config.drop_inputs
        hidden_IH, hidden_bias_H, output_H, output_bias = parameters
        hidden_BH = np.tanh(batch_BI @ hidden_IH + hidden_bias_H)
        odds_B = hidden_BH @ output_H + output_bias
        error_B = (1 / (1 + np.exp(-odds_B)) - targets_N[drawn]) / config.batch
        back_BH = error_B[:, None] * output_H * (1 - hidden_BH**2)
        gradients = [batch_BI.T @ back_BH, back_BH.sum(axis=0), hidden_BH.T @ error_B, error_B.sum(keepdims=True)]
        rate = config.learning_rate * 0.5 * (1 + np.cos(np.pi * step / config.steps))
        for parameter, gradient, m, v in zip(parameters, gradients, first, second, strict=True):
            m += np.float32(0.1) * (gradient - m)
            v += np.float32(0.001) * (gradient**2 - v)
            update = (m / (1 - 0.9**step)) / (np.sqrt(v / (1 - 0.999**step)) + 1e-8)
            parameter -= (rate * (update + config.weight_decay * parameter / config.learning_rate)).astype(np.float32)
    return parameters


def roc_auc(positive: NDArray[np.bool_], scores: Array) -> float:
    """Area under the ROC curve by ranks, ties counted half."""
    _, place, counts = np.unique(scores, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[place]
    positives = int(positive.sum())
    negatives = len(positive) - positives
    return float((ranks[positive].sum() - positives * (positives + 1) / 2) / (positives * negatives))


def held_out_logits(examples: Examples, config: TrainConfig) -> Array:
    """(N,) each window judged by a single network that has met no sound of its kind."""
    order = np.random.default_rng(config.seed).permutation(sorted(KINDS))
    fold_of = {str(kind): index % FOLDS for index, kind in enumerate(order)}
    fold_N = np.array([fold_of[str(kind)] for kind in examples.kind_N])
    logits_N = np.zeros(len(fold_N), dtype=np.float32)
    for fold in range(FOLDS):
        weights = fit(examples.select(fold_N != fold), dataclasses.replace(config, networks=1))
        logits_N[fold_N == fold] = weights.logits(examples.features_NI[fold_N == fold])
    return logits_N


def balance_shift(examples: Examples, logits_N: Array) -> float:
    """What to add to the logits so that, at the gate's threshold, music and the rest err equally often."""
    music_N, weight_N = examples.is_music_N, examples.weight_N
    order = np.argsort(logits_N)
    missed = np.cumsum((weight_N * music_N)[order]) / weight_N[music_N].sum()
    passed = 1 - np.cumsum((weight_N * ~music_N)[order]) / weight_N[~music_N].sum()
    balance = float(logits_N[order][int(np.argmax(missed >= passed))])
    threshold = MusicGateConfig().threshold
    return float(np.log(threshold / (1 - threshold)) - balance)


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m filters.music.builtin.training", description=__doc__)
    parser.add_argument("--output", type=Path, default=Path(__file__).with_name(WEIGHTS_NAME))
    parser.add_argument("--seeds_per_kind", type=int, default=TrainConfig().seeds_per_kind)
    parser.add_argument("--steps", type=int, default=TrainConfig().steps)
    parser.add_argument("--processes", type=int, default=2)
    arguments = parser.parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    config = TrainConfig(seeds_per_kind=arguments.seeds_per_kind, steps=arguments.steps)
    examples = make_examples(config, arguments.processes)
    log.info("%d windows of %d kinds", len(examples.clip_N), len(KINDS))
    logits_N = held_out_logits(examples, config)
    starts = np.flatnonzero(np.diff(examples.clip_N, prepend=-1))
    clip_scores = (np.add.reduceat(logits_N, starts) / np.diff(starts, append=len(logits_N))).astype(np.float32)
    training = {
        "recipe": recipe(config),
        "held_out_kinds_window_auc": round(roc_auc(examples.is_music_N, logits_N), 4),
        "held_out_kinds_clip_auc": round(roc_auc(examples.is_music_N[starts], clip_scores), 4),
    }
    fitted = fit(examples, config)
    weights = Weights(**{**vars(fitted), "shift": balance_shift(examples, logits_N)})
    arguments.output.write_text(weights.to_json(training), encoding="utf-8")
    sys.stdout.write(json.dumps({**training, "weights": arguments.output.name}) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
