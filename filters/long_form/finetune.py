"""Fine-tuning BERT on a few hundred sentences (the paper does it on 700, section 3.4).

What keeps few examples from ruining a pretrained encoder, each by its source: bias-corrected Adam, warm-up and more
than three epochs (Mosbach et al. 2021, Zhang et al. 2021), smaller steps in lower layers, a head that starts as a
logistic regression on the frozen features, so that the first steps do not distort them (Kumar et al. 2022), and the
mean of several runs' weights in place of one lucky run, and a part of the weights from before (both Wortsman et al.
2022), which cost no speed.

Shapes: B sentences of a batch, T tokens, H hidden, N sentences.
"""

import hashlib
import logging
import random
import re
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from filters.long_form.augment import augment
from filters.long_form.data import DataError, Example
from filters.long_form.tuning import FineTuneConfig
from schemas.hub import check_answers
from schemas.one_line import one_line

log = logging.getLogger(__name__)

State = dict[str, Tensor]
_BATCHES_SORTED_TOGETHER = 8
_TIMED_STEPS = 4


class SentenceClassifier(nn.Module):
    """An encoder of `transformers`, a pooling, and one linear output: the logit of being music-descriptive."""

    def __init__(self, encoder: nn.Module, pooling: str, dropout: float) -> None:
        super().__init__()
        self.encoder = encoder
        self.pooling = pooling
        self.dropout = nn.Dropout(dropout)
        self.hidden_size = int(encoder.config.hidden_size)  # type: ignore[union-attr, arg-type]
        self.head = nn.Linear(self.hidden_size, 1)

    def features(self, ids_BT: Tensor, mask_BT: Tensor) -> Tensor:
        hidden_BTH: Tensor = self.encoder(input_ids=ids_BT, attention_mask=mask_BT).last_hidden_state
        if self.pooling == "cls":
            return hidden_BTH[:, 0]
        weights_BT1 = mask_BT.unsqueeze(-1).to(hidden_BTH.dtype)
        return (hidden_BTH * weights_BT1).sum(1) / weights_BT1.sum(1)

    def forward(self, ids_BT: Tensor, mask_BT: Tensor) -> Tensor:
        logits_B: Tensor = self.head(self.dropout(self.features(ids_BT, mask_BT))).squeeze(-1)
        return logits_B


class Tokenize:
    """Sentences to token ids with the special tokens, cut to a length."""

    def __init__(self, tokenizer_json: str, max_tokens: int) -> None:
        from tokenizers import Tokenizer

        self._tokenizer = Tokenizer.from_str(tokenizer_json)
        self._tokenizer.no_padding()
        self._tokenizer.enable_truncation(max_tokens)

    def __call__(self, texts: Sequence[str]) -> list[list[int]]:
        return [encoding.ids for encoding in self._tokenizer.encode_batch(list(texts))]


def load_encoder(spec: str) -> tuple[nn.Module, str]:
    """An encoder by folder or name on the hub, without its pooler, and its tokenizer as JSON. Raises DataError."""
    from transformers import AutoModel, AutoTokenizer
    from transformers.utils import logging as transformers_logging

    # It reports the pooler that is left out on purpose.
    transformers_logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    transformers_logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    try:
        check_answers(spec)
        try:
            encoder = AutoModel.from_pretrained(spec, add_pooling_layer=False)
        except TypeError:  # of a kind that has no pooler
            encoder = AutoModel.from_pretrained(spec)
        tokenizer = AutoTokenizer.from_pretrained(spec, use_fast=True)
    except (OSError, ValueError, TypeError) as error:
        where = "the folder cannot be read" if Path(spec).is_dir() else "no such folder, and the hub did not give it"
        reason = one_line(error)[:200]
        raise DataError(
            f"encoder {spec!r}: {where}; pass --encoder FOLDER with a checkpoint of a text encoder ({reason})"
        ) from error
    kind = encoder.config.model_type
    if encoder.config.is_encoder_decoder or encoder.main_input_name != "input_ids":
        raise DataError(f"encoder {spec!r}: model_type {kind!r} does not encode a text by itself; BERT's kind does")
    if not any(_depth(name) is not None for name, _ in encoder.named_parameters()):
        raise DataError(f"encoder {spec!r}: model_type {kind!r} has no layers that are numbered; BERT's kind has")
    if not tokenizer.is_fast:
        raise DataError(f"encoder {spec!r}: its tokenizer has no tokenizer.json, which scoring needs")
    return encoder, tokenizer.backend_tokenizer.to_str()


def _depth(name: str) -> int | None:
    """The number of the layer that a parameter is of, by the names that `transformers` gives to layers."""
    found = re.search(r"\b(?:layer|layers|h|block|blocks)\.(\d+)\.", name)
    return int(found[1]) if found else None


def collate(ids: Sequence[list[int]]) -> tuple[Tensor, Tensor]:
    """Ids and mask of shape (B, T), T the longest of the batch."""
    longest = max(map(len, ids))
    ids_BT = torch.zeros((len(ids), longest), dtype=torch.long)
    mask_BT = torch.zeros((len(ids), longest), dtype=torch.long)
    for row, tokens in enumerate(ids):
        ids_BT[row, : len(tokens)] = torch.tensor(tokens)
        mask_BT[row, : len(tokens)] = 1
    return ids_BT, mask_BT


def apply_by_length(
    function: Callable[[Tensor, Tensor], Tensor], ids: Sequence[list[int]], batch_size: int = 32
) -> NDArray[np.float64]:
    """`function` over all sentences without gradients, batched by length, results in the order of the sentences."""
    order = sorted(range(len(ids)), key=lambda i: len(ids[i]))
    parts = []
    with torch.inference_mode():
        for start in range(0, len(order), batch_size):
            parts.append(function(*collate([ids[i] for i in order[start : start + batch_size]])).float().numpy())
    back = np.empty(len(order), np.int64)
    back[order] = np.arange(len(order))
    return np.concatenate(parts).astype(np.float64)[back]


def predict(model: SentenceClassifier, ids: Sequence[list[int]], *, half: bool = False) -> NDArray[np.float64]:
    """Logits, in the order of the sentences."""
    model.eval()
    with _autocast(half):
        return apply_by_length(model.forward, ids)


def _autocast(half: bool) -> torch.autocast:
    return torch.autocast("cpu", dtype=torch.bfloat16, enabled=half)


def frozen_features(model: SentenceClassifier, ids: Sequence[list[int]]) -> NDArray[np.float64]:
    """Pooled features of the encoder as it is, shape (N, H)."""
    model.eval()
    return apply_by_length(model.features, ids)


def start_head(model: SentenceClassifier, features_NH: NDArray[np.float64], is_music_N: NDArray[Any], c: float) -> None:
    """Set the head to a logistic regression on frozen features."""
    from sklearn.linear_model import LogisticRegression

    mean_H, scale = features_NH.mean(0), float(np.mean(features_NH.std(0)) + 1e-6)
    fitted = LogisticRegression(C=c, max_iter=2_000, class_weight="balanced").fit(
        (features_NH - mean_H) / scale, is_music_N
    )
    weight_H = fitted.coef_[0] / scale
    with torch.no_grad():
        model.head.weight.copy_(torch.from_numpy(weight_H[None]).float())
        model.head.bias.fill_(float(fitted.intercept_[0] - weight_H @ mean_H))


def parameter_groups(model: SentenceClassifier, config: FineTuneConfig) -> list[dict[str, Any]]:
    """Learning rates that shrink from the head down; embeddings stay as they are (most words occur once)."""
    layers = int(model.encoder.config.num_hidden_layers)  # type: ignore[union-attr, arg-type]
    top_rate = config.rate(model.hidden_size)
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        if name.startswith("head."):
            rate = config.head_learning_rate
        elif (depth := _depth(name)) is not None:
            rate = top_rate * config.layer_decay ** (layers - 1 - depth)
        else:
            parameter.requires_grad_(False)
            continue
        decay = 0.0 if parameter.ndim < 2 else config.weight_decay
        groups.setdefault((rate, decay), []).append(parameter)
    return [{"params": params, "lr": rate, "weight_decay": decay} for (rate, decay), params in groups.items()]


def fine_tune(
    model: SentenceClassifier,
    pretrained: State,
    tokenize: Tokenize,
    train: Sequence[Example],
    config: FineTuneConfig,
    *,
    seed: int,
    features_NH: NDArray[np.float64],
    after_step: Callable[[float], None],
    after_epoch: Callable[[State], None] | None = None,
) -> State:
    """One run from the pretrained weights to the final state.

    `model` is worked on in place; `pretrained` is what it starts from and `features_NH` what that makes of `train`.
    `after_step` is told each step's seconds, `after_epoch` the state that would be the final one, which `model` holds
    meanwhile.
    """
    torch.manual_seed(seed)
    model.load_state_dict(pretrained)
    start_head(model, features_NH, _labels(train), config.head_c)
    start = _copy(model)
    optimizer = _optimizer(model, config)
    steps = config.steps(len(train))
    warmup = max(1, int(config.warmup_share * steps))
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: min((step + 1) / warmup, max(0.0, (steps - step) / max(1, steps - warmup)))
    )
    for epoch in range(config.epochs):
        number = 1_000 * seed + epoch
        seen = augment(train, count=len(train), seed=number) if config.augmentation else list(train)
        for step_s in _epoch(model, optimizer, seen, tokenize, config, seed=number):
            schedule.step()
            after_step(step_s)
        if after_epoch is not None:
            tuned = _copy(model)
            state = interpolate(start, tuned, config.interpolation)
            model.load_state_dict(state)
            after_epoch(state)
            model.load_state_dict(tuned)
    return interpolate(start, _copy(model), config.interpolation)


def seconds_a_step(
    model: SentenceClassifier, tokenize: Tokenize, train: Sequence[Example], config: FineTuneConfig
) -> float:
    """What a step takes here: the mean of a few after the first one. The model is worked on in place."""
    count = config.batch_size * (1 + _TIMED_STEPS)
    seen = augment(train, count=count, seed=0) if config.augmentation else list(train)[:count]
    times_s = list(_epoch(model, _optimizer(model, config), seen, tokenize, config, seed=0))
    return float(np.mean(times_s[1:] or times_s))


def _optimizer(model: SentenceClassifier, config: FineTuneConfig) -> torch.optim.Optimizer:
    return torch.optim.AdamW(parameter_groups(model, config), betas=(0.9, 0.999), eps=1e-8)


def _epoch(
    model: SentenceClassifier,
    optimizer: torch.optim.Optimizer,
    examples: Sequence[Example],
    tokenize: Tokenize,
    config: FineTuneConfig,
    *,
    seed: int,
) -> Iterator[float]:
    """Takes a step for each batch, and says how many seconds it took."""
    model.train()
    ids = tokenize([example.text for example in examples])
    targets_N = torch.from_numpy(_labels(examples).astype(np.float32))
    share = float(targets_N.mean())
    weights_N = torch.where(targets_N > 0, 0.5 / max(share, 1e-6), 0.5 / max(1 - share, 1e-6))
    for indices in random_batches([len(tokens) for tokens in ids], config.batch_size, seed):
        started_s = time.perf_counter()
        with _autocast(bool(config.half)):
            logits_B = model(*collate([ids[i] for i in indices]))
        loss = nn.functional.binary_cross_entropy_with_logits(
            logits_B.float(), targets_N[indices], weight=weights_N[indices]
        )
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_([p for p in model.parameters() if p.grad is not None], config.max_gradient_norm)
        optimizer.step()
        yield time.perf_counter() - started_s


def random_batches(lengths: Sequence[int], batch_size: int, seed: int) -> list[list[int]]:
    """Random batches whose sentences are of similar length: sorted within stretches of a few batches."""
    order = np.random.default_rng(seed).permutation(len(lengths)).tolist()
    stretch = batch_size * _BATCHES_SORTED_TOGETHER
    batches: list[list[int]] = []
    for start in range(0, len(order), stretch):
        part = sorted(order[start : start + stretch], key=lambda i: lengths[i])
        batches.extend(part[i : i + batch_size] for i in range(0, len(part), batch_size))
    random.Random(seed).shuffle(batches)  # noqa: S311 -- an order, not a secret
    return batches


def _labels(examples: Sequence[Example]) -> NDArray[np.bool_]:
    return np.array([example.is_music for example in examples])


def _copy(model: nn.Module) -> State:
    return {name: value.clone() for name, value in model.state_dict().items()}


def weights_digest(state: State) -> str:
    """Of what a run starts from, but for the head, which every run makes for itself."""
    digest = hashlib.blake2b(digest_size=16)
    for name, value in sorted(state.items()):
        if not name.startswith("head."):
            digest.update(value.contiguous().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def interpolate(start: State, tuned: State, share: float) -> State:
    """Weights between two states that share a start."""
    if share == 1.0:
        return tuned
    return {
        name: torch.lerp(start[name], value, share) if value.is_floating_point() else value
        for name, value in tuned.items()
    }


def mean_state(states: Sequence[State]) -> State:
    """The mean of several runs' weights."""
    return {
        name: torch.stack([state[name] for state in states]).mean(0) if value.is_floating_point() else value
        for name, value in states[0].items()
    }
