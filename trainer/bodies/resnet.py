"""A residual network on the log-mel as a picture of one channel (section 3.2 of the paper): mean over time and mel.

The paper takes the stride of 2 out of the first convolution. A `ResNetConfig` cannot say so, and plain `transformers`
would load our weights with its own stride and give other features; so ours is an architecture of its own name, which
plain `transformers` refuses. Of the two ResNet-50 in use it is version 1.5, whose bottlenecks have their stride in the
3×3 convolution; the paper does not say which it took.
"""

from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint
from transformers import ResNetConfig, ResNetModel

from trainer.bodies.body import AudioBody


class MuLanResNetConfig(ResNetConfig):  # type: ignore[no-untyped-call]
    """Of one channel, always."""

    model_type = "mulan_resnet"
    num_channels: int = 1

    def to_dict(self) -> dict[str, Any]:
        # Where the file does not say it, `ResNetModel` takes three channels, and the first weights do not fit.
        values: dict[str, Any] = super().to_dict()  # type: ignore[no-untyped-call]
        return {name: value for name, value in values.items() if name != "num_channels"}


class MuLanResNet(ResNetModel):  # type: ignore[no-untyped-call]
    """`ResNetModel` with a first convolution of stride 1. `MuLanResNet.from_pretrained` reads what `mulan pretrain`
    leaves."""

    config_class = MuLanResNetConfig

    def __init__(self, config: MuLanResNetConfig) -> None:
        super().__init__(config)
        self.embedder.embedder.convolution.stride = (1, 1)


class ResNet(AudioBody):
    architecture = MuLanResNet
    has_batch_norm = True

    def configuration(self) -> MuLanResNetConfig:
        return MuLanResNetConfig(**self.config.options)

    def fitted(self, body: Any) -> Any:
        if body.config.num_channels != 1:
            raise ValueError(
                f"{self.config.warm_start}: takes {body.config.num_channels} channels; `mulan pretrain` makes 1"
            )
        return body

    def build(self, saved: dict[str, Any] | None = None) -> Any:
        return super().build(saved).to(memory_format=torch.channels_last)

    def checkpoint_gradients(self, body: Any) -> None:
        """`transformers` has none for a ResNet: ours is a residual block at a time."""
        for stage in body.encoder.stages:
            for block in stage.layers:
                block.forward = partial(checkpoint, block.forward, use_reentrant=False)

    def width(self, body: Any) -> int:
        return int(body.config.hidden_sizes[-1])

    def features(self, body: Any, mel_BFT: Tensor) -> Tensor:
        image = mel_BFT[:, None].contiguous(memory_format=torch.channels_last)
        h_BH: Tensor = body(image).pooler_output.flatten(1)
        return h_BH
