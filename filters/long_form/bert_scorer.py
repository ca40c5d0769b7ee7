"""The trained classifier as a SentenceScorer: text in, calibrated probability out, fast on one core.

Sentences are sorted by length into buckets and every batch of a bucket has one of a few fixed shapes, the last one
filled up with empty sentences. So no token is padded by more than the step of the buckets, and a score does not depend
on the batch.
Sentences seen lately are not scored again: comments repeat.
"""

from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from filters.long_form import model_files
from filters.long_form.any_encoder import AnyEncoder
from filters.long_form.encoder import EncoderError, FastEncoder, Precision, knows_layout
from filters.long_form.int8 import Kernel
from filters.long_form.model_files import ModelError

# Lengths that sentences are padded to, in tokens with the special ones, and tokens of a batch. Part of the digest's
# format version: another shape may move a score by its rounding.
BUCKETS = (8, 10, 12, 14, 16, 20, 24, 28, 32, 40, 48, 64, 96, 128, 192, 256, 384, 512)
BATCH_TOKENS = 512
# The last batch of a bucket may be shorter, by steps of about this many tokens: from there on a product of float32
# matrices has the same bits for a row whatever the number of rows. One of bfloat16 has not, and takes full batches.
STEP_TOKENS = 64
REMEMBERED = 50_000


class BertScorer:
    """`BertScorer.load(folder)`; see SentenceScorer."""

    def __init__(
        self,
        files: model_files.ClassifierFiles,
        weights: dict[str, Any],
        precision: Precision,
        remembered: int,
        kernel: Kernel | None,
    ) -> None:
        from tokenizers import Tokenizer

        try:
            self._encoder: FastEncoder | AnyEncoder = (
                FastEncoder(files.encoder_config, weights, precision, kernel)
                if knows_layout(files.encoder_config)
                else AnyEncoder(files.encoder_config, weights, precision)
            )
        except EncoderError as error:
            raise ModelError(f"{files.folder}: {error}") from error
        self._head_weight = weights["head.weight"][0].double()
        self._head_bias = float(weights["head.bias"][0])
        self._tokenizer = Tokenizer.from_str(files.tokenizer_json)
        self._tokenizer.no_padding()
        self._tokenizer.enable_truncation(files.max_tokens)
        self._empty = self._tokenizer.encode("").ids
        self._files = files
        self._first_stage = model_files.load_first_stage(files)
        self._remembered = remembered
        self._memory: OrderedDict[str, float] = OrderedDict()

    @classmethod
    def load(
        cls,
        folder: str | Path,
        *,
        precision: str | None = None,
        remembered: int = REMEMBERED,
        kernel: Kernel | None = None,
    ) -> "BertScorer":
        """`precision` other than the stored one changes scores and digest, `kernel` neither. Raises ModelError."""
        files = model_files.load(Path(folder))
        if precision is not None and precision != files.precision:
            files = model_files.with_precision(files, precision)
        try:
            chosen = Precision(files.precision)
        except ValueError as error:
            raise ModelError(f"{folder}: precision {files.precision!r} is none of {', '.join(Precision)}") from error
        return cls(files, model_files.load_weights(Path(folder)), chosen, remembered, kernel)

    @property
    def model(self) -> str:
        return self._files.name

    @property
    def digest(self) -> str:
        return self._files.digest

    @property
    def threshold(self) -> float | None:
        return self._files.threshold

    def score(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Calibrated probabilities, shape (len(texts),)."""
        unknown = list(dict.fromkeys(text for text in texts if text not in self._memory))
        fresh: dict[str, float] = {}
        if unknown:
            fresh = self._fresh(unknown)
        found = np.empty(len(texts), np.float32)
        for index, text in enumerate(texts):
            if text in fresh:
                found[index] = self._memory[text] = fresh[text]
            else:
                found[index] = self._memory[text]
                self._memory.move_to_end(text)
        while len(self._memory) > self._remembered:
            self._memory.popitem(last=False)
        return found

    def _fresh(self, texts: list[str]) -> dict[str, float]:
        found = dict.fromkeys(texts, 0.0)
        if self._first_stage is not None:
            passes = self._first_stage.passes(texts)
            texts = [text for text, hopeful in zip(texts, passes, strict=True) if hopeful]
        if texts:
            probabilities = self._files.calibration.probabilities(self.logits(texts))
            found.update(zip(texts, (float(p) for p in probabilities), strict=True))
        return found

    def logits(self, texts: Sequence[str]) -> NDArray[np.float64]:
        """Uncalibrated, and not remembered."""
        clean = [text if text.isascii() else text.encode("utf-8", "replace").decode("utf-8") for text in texts]
        return self.logits_of_ids([encoding.ids for encoding in self._tokenizer.encode_batch_fast(clean)])

    def logits_of_ids(self, ids: Sequence[list[int]]) -> NDArray[np.float64]:
        """The same for sentences that are token ids already, special tokens included."""
        import torch

        by_bucket: dict[int, list[int]] = {}
        for index, tokens in enumerate(ids):
            by_bucket.setdefault(next(size for size in BUCKETS if size >= len(tokens)), []).append(index)
        logits = np.empty(len(ids), np.float64)
        with torch.inference_mode():
            for size in sorted(by_bucket):
                rows = max(1, BATCH_TOKENS // size)
                step = rows if self._encoder.precision is Precision.BFLOAT16 else -(-STEP_TOKENS // size)
                members = by_bucket[size]
                for start in range(0, len(members), rows):
                    part = members[start : start + rows]
                    shape = min(rows, -(-len(part) // step) * step)
                    logits[part] = self._batch([ids[i] for i in part], shape, size)[: len(part)]
        return logits

    def _batch(self, ids: list[list[int]], rows: int, size: int) -> NDArray[Any]:
        import torch

        filled = ids + [self._empty] * (rows - len(ids))
        ids_BT = torch.zeros((rows, size), dtype=torch.long)
        for row, tokens in enumerate(filled):
            ids_BT[row, : len(tokens)] = torch.tensor(tokens)
        lengths_B = torch.tensor([len(tokens) for tokens in filled])
        hidden_BTH = self._encoder(ids_BT, lengths_B).float()
        if self._files.pooling == "cls":
            pooled_BH = hidden_BTH[:, 0]
        else:
            kept_BT1 = (torch.arange(size) < lengths_B[:, None]).unsqueeze(-1)
            pooled_BH = (hidden_BTH * kept_BT1).sum(1) / lengths_B[:, None]
        # Row by row and in float64: a matrix product may order its sums by the shape of the batch.
        result: NDArray[Any] = ((pooled_BH.double() * self._head_weight).sum(1) + self._head_bias).numpy()
        return result
