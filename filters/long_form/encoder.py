"""BERT's forward pass on a CPU, for scoring many short sentences: same weights, fewer bytes and no padding to speak of.

Three precisions. `float32` is the reference. `bfloat16` halves the bytes of weights and activations. `int8` holds the
weights of the linear layers as int8 with one scale an output channel, and turns each *token's* activations into int8 by
that token's own largest value; `int8.py` sums the products as exact integers. A token's scale depends on no other
token, so, unlike with one scale a tensor, a sentence has the same score whatever stands beside it in the batch.

Shapes: B sentences, T tokens, H hidden, A heads, D = H / A; N = B * T tokens in a row.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.nn import functional

from filters.long_form.int8 import MAX_INT8, Kernel, Product, fastest_kernel, product

_MASKED = -1e4
# Of the same layers under the same names, but that the others count positions from behind their padding id.
_COUNTED_FROM_0 = ("bert",)
_COUNTED_FROM_PADDING = ("roberta", "xlm-roberta", "camembert")


class Precision(StrEnum):
    FLOAT32 = "float32"
    BFLOAT16 = "bfloat16"
    INT8 = "int8"


class EncoderError(ValueError):
    """A checkpoint that this encoder cannot run: says what is missing."""


def knows_layout(config: Mapping[str, Any]) -> bool:
    """Whether FastEncoder runs it; what it does not know runs by `transformers` (AnyEncoder)."""
    return (
        config.get("model_type") in _COUNTED_FROM_0 + _COUNTED_FROM_PADDING
        and config.get("hidden_act", "gelu") == "gelu"
        and config.get("position_embedding_type", "absolute") == "absolute"
    )


class _Linear(Protocol):
    """y = x W + b, with the weights in the precision of the encoder."""

    def __call__(self, x_NK: Tensor) -> Tensor: ...


@dataclass(frozen=True)
class _FloatLinear:
    weight_MK: Tensor
    bias_M: Tensor

    def __call__(self, x_NK: Tensor) -> Tensor:
        return functional.linear(x_NK, self.weight_MK, self.bias_M)


@dataclass(frozen=True)
class _Int8Linear:
    product: Product
    bias_M: Tensor
    scale_M: Tensor

    @classmethod
    def of(cls, weight_MK: Tensor, bias_M: Tensor, kernel: Kernel) -> "_Int8Linear":
        scale_M = weight_MK.abs().amax(1).clamp_min(1e-12) / MAX_INT8
        quantized_MK = (weight_MK / scale_M[:, None]).round_().to(torch.int8)
        return cls(product(quantized_MK, kernel), bias_M.contiguous(), scale_M)

    def __call__(self, x_NK: Tensor) -> Tensor:
        # The largest and the smallest take less time than an array of absolute values.
        largest_N1 = torch.maximum(x_NK.amax(1, keepdim=True), x_NK.amin(1, keepdim=True).neg_())
        scale_N1 = largest_N1.clamp_min_(1e-12).div_(MAX_INT8)
        sums_NM = self.product(x_NK, scale_N1)
        return torch.addcmul(self.bias_M, sums_NM.mul_(scale_N1), self.scale_M, out=sums_NM)


@dataclass(frozen=True)
class _Layer:
    attention_in: _Linear
    attention_out: _Linear
    attention_norm: tuple[Tensor, Tensor]
    feed_in: _Linear
    feed_out: _Linear
    feed_norm: tuple[Tensor, Tensor]


class FastEncoder:
    """An encoder of BERT's layout from the weights of `transformers`' BertModel, RobertaModel or XLMRobertaModel."""

    def __init__(
        self,
        config: Mapping[str, Any],
        weights: Mapping[str, Tensor],
        precision: Precision,
        kernel: Kernel | None = None,
    ) -> None:
        """`kernel` of int8, the fastest if None, does not change a bit of the result. Raises EncoderError."""
        if not knows_layout(config):
            raise EncoderError(f"model_type {config.get('model_type')!r}: not of BERT's layout")
        self.precision = precision
        self.hidden = int(config["hidden_size"])
        self._heads = int(config["num_attention_heads"])
        self._eps = float(config.get("layer_norm_eps", 1e-12))
        self._type = torch.bfloat16 if precision is Precision.BFLOAT16 else torch.float32
        try:
            if precision is Precision.INT8:
                self.kernel = kernel or fastest_kernel(self.hidden, int(config["intermediate_size"]))
            skipped = config["pad_token_id"] + 1 if config["model_type"] in _COUNTED_FROM_PADDING else 0
            self._load(weights, int(config["num_hidden_layers"]), skipped)
        except KeyError as error:
            raise EncoderError(f"the checkpoint has no weight {error}") from error

    def _load(self, weights: Mapping[str, Tensor], layers: int, skipped_positions: int) -> None:
        def take(name: str) -> Tensor:
            return weights[name].to(torch.float32)

        def linear(*names: str) -> _Linear:
            weight_MK = torch.cat([take(f"{name}.weight") for name in names])
            bias_M = torch.cat([take(f"{name}.bias") for name in names])
            if self.precision is Precision.INT8:
                return _Int8Linear.of(weight_MK, bias_M, self.kernel)
            return _FloatLinear(weight_MK.to(self._type).contiguous(), bias_M.to(self._type).contiguous())

        def norm(name: str) -> tuple[Tensor, Tensor]:
            return take(f"{name}.weight").to(self._type), take(f"{name}.bias").to(self._type)

        self._words = take("embeddings.word_embeddings.weight").to(self._type)
        self._positions = (
            take("embeddings.position_embeddings.weight") + take("embeddings.token_type_embeddings.weight")[0]
        ).to(self._type)[skipped_positions:]
        self._embedding_norm = norm("embeddings.LayerNorm")
        self._layers = []
        for number in range(layers):
            at = f"encoder.layer.{number}"
            self._layers.append(
                _Layer(
                    attention_in=linear(*(f"{at}.attention.self.{part}" for part in ("query", "key", "value"))),
                    attention_out=linear(f"{at}.attention.output.dense"),
                    attention_norm=norm(f"{at}.attention.output.LayerNorm"),
                    feed_in=linear(f"{at}.intermediate.dense"),
                    feed_out=linear(f"{at}.output.dense"),
                    feed_norm=norm(f"{at}.output.LayerNorm"),
                )
            )

    def __call__(self, ids_BT: Tensor, lengths_B: Tensor) -> Tensor:
        """Last hidden states, (B, T, H); those beyond a sentence's length mean nothing."""
        batch, tokens = ids_BT.shape
        x_NH = self._norm(
            (functional.embedding(ids_BT, self._words) + self._positions[:tokens]).view(-1, self.hidden),
            self._embedding_norm,
        )
        is_pad_BT = torch.arange(tokens) >= lengths_B[:, None]
        mask_B11T = (is_pad_BT * _MASKED).to(self._type)[:, None, None]
        for layer in self._layers:
            mixed_NH = layer.attention_out(self._attend(layer.attention_in(x_NH), mask_B11T, batch, tokens))
            x_NH = self._norm(mixed_NH.add_(x_NH), layer.attention_norm)
            fed_NH = layer.feed_out(torch.ops.aten.gelu_(layer.feed_in(x_NH)))
            x_NH = self._norm(fed_NH.add_(x_NH), layer.feed_norm)
        return x_NH.view(batch, tokens, self.hidden)

    def _norm(self, x_NH: Tensor, norm: tuple[Tensor, Tensor]) -> Tensor:
        return functional.layer_norm(x_NH, (self.hidden,), *norm, eps=self._eps)

    def _attend(self, qkv_N3H: Tensor, mask_B11T: Tensor, batch: int, tokens: int) -> Tensor:
        # Written out: for sentences this short the fused kernel costs more than it saves.
        q, k, v = qkv_N3H.view(batch, tokens, 3, self._heads, -1).permute(2, 0, 3, 1, 4)
        scale = 1.0 / math.sqrt(q.shape[-1])
        weights_BATT = torch.matmul(q, k.transpose(-1, -2)).mul_(scale).add_(mask_B11T).softmax(-1)
        return torch.matmul(weights_BATT, v).transpose(1, 2).reshape(batch * tokens, self.hidden)
