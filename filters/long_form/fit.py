"""Fits a sentence classifier and says how good it is: nested cross-validation, baselines, calibration, threshold, card.

Each outer fold is scored by models that have seen neither it nor the inner fold on which the number of epochs was
chosen (early stopping). The model that is kept is trained on everything, for the number of epochs that the folds chose,
once a seed, and the weights of the seeds are averaged. Calibration and threshold come from the scores of the outer
folds, never from sentences that a model was trained on.
"""

import dataclasses
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from filters.long_form import model_files
from filters.long_form.baselines import embedding_scores, ngram_scores
from filters.long_form.calibration import (
    Calibration,
    Threshold,
    fit_platt,
    threshold_for_keep_rate,
    threshold_for_precision,
)
from filters.long_form.card import card
from filters.long_form.countdown import Countdown, duration
from filters.long_form.data import DataError, Example, check_trainable, examples_digest, grouped_folds
from filters.long_form.encoder import Precision, knows_layout
from filters.long_form.finetune import (
    SentenceClassifier,
    State,
    Tokenize,
    fine_tune,
    frozen_features,
    load_encoder,
    mean_state,
    predict,
    seconds_a_step,
    weights_digest,
)
from filters.long_form.metrics import (
    Interval,
    average_precision,
    bootstrap,
    brier,
    expected_calibration_error,
    paired_gain,
    roc_auc,
    wilson,
)
from filters.long_form.ngrams import FirstStage, NgramModel, threshold_for_recall
from filters.long_form.tuning import FineTuneConfig
from filters.long_form.unfinished import Unfinished
from schemas.digest import digest_bytes, digest_json
from schemas.fastest import bfloat16_is_faster

log = logging.getLogger(__name__)

SUSPICIOUS = 40
# What an unfinished run is kept as.
_HELD_OUT = "held-out"


def _fold_name(outer: int, seed: int) -> str:
    return f"fold-{outer}-seed-{seed}"


def _final_name(seed: int) -> str:
    return f"final-seed-{seed}"


@dataclass(frozen=True, kw_only=True)
class FitConfig:
    """What is fitted and how it is judged. The threshold's aim is a precision or, if given, a keep-rate.

    Without a `scoring_precision` scores are computed in int8 where the encoder's layout is known, else in float32.
    """

    encoder: str = "bert-base-uncased"
    name: str = "openmulan-lf"
    folds: int = 5
    seeds: int = 2
    base_rate: float | None = None
    precision_aim: float = 0.9
    keep_rate: float | None = None
    first_stage_recall: float | None = None
    scoring_precision: Precision | None = None
    tuning: FineTuneConfig = field(default_factory=FineTuneConfig)

    def __post_init__(self) -> None:
        if self.folds < 3:
            raise ValueError("folds must be at least 3: one to test on, one to stop on, one to train on")
        if self.seeds < 1:
            raise ValueError("seeds must be at least 1")
        for name in ("base_rate", "precision_aim", "keep_rate", "first_stage_recall"):
            value = getattr(self, name)
            if value is not None and not 0 < value < 1:
                raise ValueError(f"{name} must be above 0 and below 1")


@dataclass(frozen=True, kw_only=True)
class Figures:
    """Of scores that no model gave to a sentence it was trained on."""

    roc_auc: Interval
    average_precision: Interval

    def to_json(self) -> dict[str, Any]:
        return {name: interval.to_json() for name, interval in vars(self).items()}


@dataclass(frozen=True, kw_only=True)
class Fitted:
    """A classifier and what is known of it."""

    state: State
    encoder_config: dict[str, Any]
    tokenizer_json: str
    calibration: Calibration
    threshold: Threshold
    record: dict[str, Any]
    suspicious: list[dict[str, Any]]
    first_stage: FirstStage | None = None


class _Trainer:
    """One encoder, reused by every run."""

    def __init__(self, config: FitConfig, examples: Sequence[Example], place: Path | None, *, folds: bool) -> None:
        log.info("reading the encoder %s", config.encoder)
        encoder, self.tokenizer_json = load_encoder(config.encoder)
        self.config = config
        self.examples = examples
        self.tokenize = Tokenize(self.tokenizer_json, config.tuning.max_tokens)
        self.ids = self.tokenize([example.text for example in examples])
        self.model = SentenceClassifier(encoder, config.tuning.pooling, config.tuning.dropout)
        self.pretrained = {name: value.clone() for name, value in self.model.state_dict().items()}
        self.encoder_config: dict[str, Any] = encoder.config.to_dict()  # type: ignore[union-attr, operator]
        self.scoring_precision = _scoring_precision(config, self.encoder_config)
        self.unfinished = Unfinished(place, self._asked(folds=folds))
        half = config.tuning.half
        if half is None:
            # A trial, which may end otherwise the next time.
            half = self.unfinished.value("half", lambda: bfloat16_is_faster(self.model.hidden_size))
        self.tuning = dataclasses.replace(config.tuning, half=half)
        self.countdown = Countdown()

    def _asked(self, *, folds: bool) -> dict[str, Any]:
        """All that the weights and scores of a run depend on."""
        examples = [[one.text, one.is_music, one.group] for one in self.examples]
        return {
            "sentences": digest_json(examples),
            "encoder": weights_digest(self.pretrained),
            "tokenizer": digest_bytes(self.tokenizer_json.encode()),
            "folds": self.config.folds if folds else 0,
            "seeds": self.config.seeds,
            "tuning": asdict(self.config.tuning),
            "threads": torch.get_num_threads(),
            "torch": torch.__version__,
        }

    @cached_property
    def features_NH(self) -> NDArray[np.float64]:
        """Of the encoder as it was."""
        log.info("computing the features of %d sentences", len(self.ids))
        self.model.load_state_dict(self.pretrained)
        return frozen_features(self.model, self.ids)

    def run(
        self,
        train: NDArray[np.int64],
        *,
        seed: int,
        epochs: int | None = None,
        after_epoch: Callable[[State], None] | None = None,
    ) -> State:
        return fine_tune(
            self.model,
            self.pretrained,
            self.tokenize,
            [self.examples[i] for i in train],
            dataclasses.replace(self.tuning, epochs=epochs or self.tuning.epochs),
            seed=seed,
            features_NH=self.features_NH[train],
            after_step=self.countdown.step,
            after_epoch=after_epoch,
        )

    def logits(self, of: NDArray[np.int64], state: State | None = None) -> NDArray[np.float64]:
        """Of these sentences, by `state` or what the model holds."""
        if state is not None:
            self.model.load_state_dict(state)
        return predict(self.model, [self.ids[i] for i in of], half=bool(self.tuning.half))

    def say_time_ahead(self, fold_of: NDArray[np.int64], *, cross_validate: bool) -> None:
        """How many steps there will be at most, and how long they will take, by a few that are thrown away."""
        config, tuning = self.config, self.tuning
        counts = np.bincount(fold_of, minlength=config.folds)
        runs = {_final_name(seed): tuning.steps(len(fold_of)) for seed in range(config.seeds)}
        if cross_validate:
            runs |= {
                _fold_name(outer, seed): tuning.steps(
                    len(fold_of) - counts[outer] - counts[inner_fold(outer, seed, config)]
                )
                for outer in range(config.folds)
                for seed in range(config.seeds)
            }
        else:
            runs[_HELD_OUT] = tuning.steps(len(fold_of) - counts[0])
        done = [name for name in runs if self.unfinished.has(name)]
        if done:
            log.info("going on: %d of %d runs were finished before", len(done), len(runs))
        steps = sum(steps for name, steps in runs.items() if name not in done)
        step_s = seconds_a_step(self.model, self.tokenize, self.examples, tuning)
        log.info(
            "training in %s on %d threads: at most %d optimizer steps of %.2f s, about %s",
            tuning.precision,
            torch.get_num_threads(),
            steps,
            step_s,
            duration(steps * step_s),
        )
        self.countdown.start(steps)


def fit(
    examples: Sequence[Example], config: FitConfig, *, cross_validate: bool = True, place: Path | None = None
) -> Fitted:
    """Raises DataError. Without cross-validation there are no figures, and calibration is that of an inner fold.

    `place` is a folder for what is finished meanwhile: the same fit goes on from it.
    """
    check_trainable(examples, config.folds)
    is_music = np.array([example.is_music for example in examples])
    fold_of = np.array(grouped_folds(examples, config.folds, seed=0))
    started_s = time.monotonic()
    log.info("%d sentences, %d of them music", len(examples), is_music.sum())
    trainer = _Trainer(config, examples, place, folds=cross_validate)
    trainer.say_time_ahead(fold_of, cross_validate=cross_validate)
    if cross_validate:
        logits, epochs, scored = _nested_logits(trainer, is_music, fold_of)
    else:
        logits, epochs, scored = _held_out_logits(trainer, fold_of)
    final_epochs = max(1, round(float(np.median(epochs))))
    calibration = fit_platt(logits[scored], is_music[scored], base_rate=config.base_rate)
    probabilities = np.full(len(examples), np.nan)
    probabilities[scored] = calibration.probabilities(logits[scored])
    threshold = _threshold(probabilities[scored], is_music[scored], config, calibration)
    figures = _figures(trainer, is_music, fold_of, logits, calibration) if cross_validate else None
    first_stage, first_stage_record = _first_stage(trainer, is_music, fold_of)
    states = []
    everything = np.arange(len(examples))
    final_tuning = dataclasses.replace(trainer.tuning, epochs=final_epochs)
    left = sum(not trainer.unfinished.has(_final_name(seed)) for seed in range(config.seeds))
    trainer.countdown.expect(left * final_tuning.steps(len(examples)))
    for seed in range(config.seeds):
        run = partial(trainer.run, everything, seed=seed, epochs=final_epochs)
        states.append(trainer.unfinished.state(_final_name(seed), run))
        log.info("trained seed %d of %d", seed + 1, config.seeds)
    record = {
        "name": config.name,
        "encoder": config.encoder if not Path(config.encoder).is_dir() else Path(config.encoder).name,
        "pooling": config.tuning.pooling,
        "max_tokens": config.tuning.max_tokens,
        "precision": str(trainer.scoring_precision),
        "calibration": calibration.to_json(),
        "threshold": threshold.to_json(),
        "training": {
            "sentences": len(examples),
            "positive": int(is_music.sum()),
            "groups": len({example.group for example in examples}),
            "examples_digest": examples_digest(examples),
            "seeds": config.seeds,
            "epochs": final_epochs,
            "precision": trainer.tuning.precision,
            "tuning": {**asdict(trainer.tuning), "learning_rate": config.tuning.rate(trainer.model.hidden_size)},
        },
        "cross_validation": figures,
        "first_stage": first_stage_record,
    }
    log.info(
        "%d optimizer steps took %.0f s of %.0f s in all",
        trainer.countdown.done,
        trainer.countdown.steps_s,
        time.monotonic() - started_s,
    )
    return Fitted(
        state=mean_state(states),
        encoder_config=trainer.encoder_config,
        tokenizer_json=trainer.tokenizer_json,
        calibration=calibration,
        threshold=threshold,
        record=record,
        suspicious=_suspicious(examples, probabilities, is_music) if cross_validate else [],
        first_stage=first_stage,
    )


def _scoring_precision(config: FitConfig, encoder_config: dict[str, Any]) -> Precision:
    """Raises DataError, before anything is trained."""
    if knows_layout(encoder_config):
        return config.scoring_precision or Precision.INT8
    if config.scoring_precision is Precision.INT8:
        kind = encoder_config["model_type"]
        raise DataError(
            f"encoder {config.encoder!r}: int8 is for encoders of BERT's layout, which {kind!r} is not; "
            "leave --scoring_precision out, or ask for float32 or bfloat16"
        )
    return config.scoring_precision or Precision.FLOAT32


def save(fitted: Fitted, folder: Path) -> str:
    """Write the classifier with its card; returns its digest."""
    return model_files.save(
        folder,
        encoder_config=fitted.encoder_config,
        state=fitted.state,
        tokenizer_json=fitted.tokenizer_json,
        record=fitted.record,
        card=card(fitted.record),
        first_stage=fitted.first_stage,
    )


def _nested_logits(
    trainer: _Trainer, is_music: NDArray[np.bool_], fold_of: NDArray[np.int64]
) -> tuple[NDArray[np.float64], list[int], NDArray[np.bool_]]:
    """Logits of every sentence by models that saw neither it nor its fold; the epochs that the inner folds chose."""
    config = trainer.config
    logits = np.zeros(len(is_music))
    epochs = []
    for outer in range(config.folds):
        for seed in range(config.seeds):
            run = partial(_fold_run, trainer, is_music, fold_of, outer, seed)
            found = trainer.unfinished.value(_fold_name(outer, seed), run)
            epochs.append(found["epochs"])
            logits[fold_of == outer] += np.array(found["logits"]) / config.seeds
            log.info("fold %d of %d, seed %d: %d epochs", outer + 1, config.folds, seed, found["epochs"])
    return logits, epochs, np.ones(len(is_music), bool)


def _fold_run(
    trainer: _Trainer, is_music: NDArray[np.bool_], fold_of: NDArray[np.int64], outer: int, seed: int
) -> dict[str, Any]:
    inner = inner_fold(outer, seed, trainer.config)
    test, stop = np.flatnonzero(fold_of == outer), np.flatnonzero(fold_of == inner)
    best = _BestEpoch(trainer, stop, is_music[stop])
    trainer.run(np.flatnonzero((fold_of != outer) & (fold_of != inner)), seed=seed, after_epoch=best.look)
    return {"epochs": best.epochs, "logits": trainer.logits(test, best.state).tolist()}


def _held_out_logits(
    trainer: _Trainer, fold_of: NDArray[np.int64]
) -> tuple[NDArray[np.float64], list[int], NDArray[np.bool_]]:
    """One run that leaves the first fold out, for a calibration without cross-validation."""
    scored = fold_of == 0
    logits = np.zeros(len(fold_of))

    def run() -> list[float]:
        state = trainer.run(np.flatnonzero(~scored), seed=0)
        found: list[float] = trainer.logits(np.flatnonzero(scored), state).tolist()
        return found

    logits[scored] = trainer.unfinished.value(_HELD_OUT, run)
    return logits, [trainer.config.tuning.epochs], scored


def inner_fold(outer: int, seed: int, config: FitConfig) -> int:
    """On which the number of epochs is chosen while this one is left out."""
    return (outer + 1 + seed % (config.folds - 1)) % config.folds


class _BestEpoch:
    """The first epoch that ranks best. Not the smallest loss: that stops early, and calibration comes later."""

    def __init__(self, trainer: _Trainer, stop: NDArray[np.int64], is_music: NDArray[np.bool_]) -> None:
        self._trainer, self._stop, self._is_music = trainer, stop, is_music
        self._seen = 0
        self._best = -np.inf
        self.epochs = 0
        self.state: State = {}

    def look(self, state: State) -> None:
        self._seen += 1
        ranking = round(roc_auc(self._is_music, self._trainer.logits(self._stop)), 3)
        if not self.state or ranking > self._best:
            self._best, self.epochs, self.state = ranking, self._seen, state


def _threshold(
    probabilities: NDArray[np.float64], is_music: NDArray[np.bool_], config: FitConfig, calibration: Calibration
) -> Threshold:
    if config.keep_rate is not None:
        return threshold_for_keep_rate(
            probabilities, is_music, keep_rate=config.keep_rate, base_rate=calibration.base_rate
        )
    return threshold_for_precision(
        probabilities, is_music, precision=config.precision_aim, base_rate=calibration.base_rate
    )


def _figures(
    trainer: _Trainer,
    is_music: NDArray[np.bool_],
    fold_of: NDArray[np.int64],
    logits: NDArray[np.float64],
    calibration: Calibration,
) -> dict[str, Any]:
    """The classifier beside its baselines on the same outer folds."""
    ngrams, embeddings = _ngram_log_odds(trainer, is_music, fold_of), np.zeros(len(is_music))
    for fold in range(trainer.config.folds):
        test, train = fold_of == fold, fold_of != fold
        embeddings[test] = embedding_scores(
            trainer.features_NH[train], is_music[train], trainer.features_NH[test], trainer.config.tuning.head_c
        )
    at_share = Calibration(**{**calibration.to_json(), "base_rate": calibration.label_share}).probabilities(logits)
    return {
        "folds": trainer.config.folds,
        "fine_tuned": _ranking(is_music, logits).to_json(),
        "hashed_ngrams": _ranking(is_music, ngrams).to_json(),
        "frozen_embeddings": _ranking(is_music, embeddings).to_json(),
        "gain_over_hashed_ngrams": paired_gain(is_music, logits, ngrams, roc_auc).to_json(),
        "gain_over_frozen_embeddings": paired_gain(is_music, logits, embeddings, roc_auc).to_json(),
        "brier": round(brier(is_music, at_share), 4),
        "expected_calibration_error": round(expected_calibration_error(is_music, at_share), 4),
    }


def _ngram_log_odds(trainer: _Trainer, is_music: NDArray[np.bool_], fold_of: NDArray[np.int64]) -> NDArray[np.float64]:
    texts = np.array([example.text for example in trainer.examples], dtype=object)
    found = np.zeros(len(is_music))
    for fold in range(trainer.config.folds):
        test, train = fold_of == fold, fold_of != fold
        found[test] = ngram_scores(list(texts[train]), is_music[train], list(texts[test]))
    return found


def _first_stage(
    trainer: _Trainer, is_music: NDArray[np.bool_], fold_of: NDArray[np.int64]
) -> tuple[FirstStage | None, dict[str, Any] | None]:
    """Hashed n-grams before the encoder, where asked for; its recall is that on folds that it did not see."""
    recall = trainer.config.first_stage_recall
    if recall is None:
        return None, None
    log_odds = _ngram_log_odds(trainer, is_music, fold_of)
    threshold = threshold_for_recall(log_odds, is_music, recall)
    passed = int((log_odds[is_music] >= threshold).sum())
    low, high = wilson(passed, int(is_music.sum()))
    model = NgramModel.fit([example.text for example in trainer.examples], is_music)
    return FirstStage(model, threshold), {
        "threshold": threshold,
        "aim": recall,
        "recall": {"value": passed / int(is_music.sum()), "low": low, "high": high},
        "negatives_removed": float((log_odds[~is_music] < threshold).mean()),
    }


def _ranking(is_music: NDArray[np.bool_], scores: NDArray[np.float64]) -> Figures:
    return Figures(
        roc_auc=bootstrap(is_music, scores, roc_auc),
        average_precision=bootstrap(is_music, scores, average_precision),
    )


def _suspicious(
    examples: Sequence[Example], probabilities: NDArray[np.float64], is_music: NDArray[np.bool_]
) -> list[dict[str, Any]]:
    """Sentences whose label the models that did not see them find least likely: look at these again."""
    of_label = np.where(is_music, probabilities, 1 - probabilities)
    return [
        {
            "item_id": examples[i].item_id,
            "text": examples[i].text,
            "label": "yes" if is_music[i] else "no",
            "probability_of_label": round(float(of_label[i]), 4),
        }
        for i in np.argsort(of_label, kind="stable")[:SUSPICIOUS]
        if of_label[i] < 0.5
    ]


def use_threads(threads: int) -> None:
    """How many cores a fit may use."""
    torch.set_num_threads(threads)
