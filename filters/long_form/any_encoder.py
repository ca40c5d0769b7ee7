"""An encoder whose layout FastEncoder does not know, run by `transformers` from the classifier's own files."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from filters.long_form.encoder import EncoderError, Precision
from schemas.one_line import one_line


class AnyEncoder:
    """In float32 or bfloat16; called as FastEncoder is."""

    def __init__(self, config: Mapping[str, Any], weights: Mapping[str, Tensor], precision: Precision) -> None:
        """Raises EncoderError."""
        from transformers import AutoConfig, AutoModel

        kind = str(config.get("model_type"))
        if precision is Precision.INT8:
            raise EncoderError(f"model_type {kind!r}: runs in float32 or bfloat16, not in int8")
        rest = {name: value for name, value in config.items() if name != "model_type"}
        try:
            self._network = AutoModel.from_config(AutoConfig.for_model(kind, **rest))  # type: ignore[no-untyped-call]
        except (ValueError, TypeError, AttributeError) as error:
            reason = one_line(error)[:200]
            raise EncoderError(f"model_type {kind!r}: transformers does not run it ({reason})") from error
        absent, _ = self._network.load_state_dict(weights, strict=False)
        lacking = sorted(set(absent) & {name for name, _ in self._network.named_parameters() if "pooler." not in name})
        if lacking:
            raise EncoderError(f"the checkpoint has no weight {lacking[0]!r}")
        self.precision = precision
        self._network.to(torch.bfloat16 if precision is Precision.BFLOAT16 else torch.float32).eval()

    def __call__(self, ids_BT: Tensor, lengths_B: Tensor) -> Tensor:
        """Last hidden states, (B, T, H); those beyond a sentence's length mean nothing."""
        mask_BT = (torch.arange(ids_BT.shape[1]) < lengths_B[:, None]).long()
        hidden_BTH: Tensor = self._network(input_ids=ids_BT, attention_mask=mask_BT).last_hidden_state
        return hidden_BTH
