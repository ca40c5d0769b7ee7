"""What a body of the audio tower is: an `AudioBody`, found by one of our names or as `package.module:Class`.

A body is a model of `transformers` between the front end (log-mel or waves) and the tower's linear head. This contract
is all that the rest of the trainer knows of it; docs/extending.md adds one in a file of its own.

Legend: B examples, S samples, H width of the body.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, ClassVar

from torch import Tensor, nn
from transformers import PretrainedConfig

from schemas.lookup import find_factory
from trainer.augment import SpecAugment
from trainer.batchnorm import GhostBatchNorm2d, use_ghost_batches
from trainer.bodies.pretrained import pretrained
from trainer.logmel import LogMel, LogMelConfig

BODIES = {
    "resnet": "trainer.bodies.resnet:ResNet",
    "ast": "trainer.bodies.ast:AST",
    "auto_waves": "trainer.bodies.auto:AutoWaves",
    "auto_log_mel": "trainer.bodies.auto:AutoLogMel",
}


@dataclass(frozen=True, kw_only=True)
class AudioTowerConfig:
    """`body` is one of `BODIES` or `package.module:Class`; `options` go to its `transformers` configuration, and
    `warm_start` is a directory or hub name of a checkpoint, which then fixes the body.

    Batch norm takes its statistics from ghost batches of `ghost_batch_size`, or stays as it was loaded where
    `freeze_batch_norm` is set. SpecAugment's maxima are in bins and frames of the log-mel.
    """

    body: str
    options: dict[str, Any] = field(default_factory=dict)
    log_mel: LogMelConfig = field(default_factory=LogMelConfig)
    max_masked_bins: int = 0
    max_masked_frames: int = 0
    ghost_batch_size: int = 16
    freeze_batch_norm: bool = False
    warm_start: str | None = None

    def __post_init__(self) -> None:
        if self.ghost_batch_size < 2:
            raise ValueError("ghost_batch_size must be at least 2")
        _ = self.kind  # what it cannot be is said here

    @cached_property
    def kind(self) -> "AudioBody":
        """Raises ValueError where the name stands for no body, or the rest does not suit it."""
        factory = find_factory(self.body, BODIES, "audio body")
        if not isinstance(factory, type) or not issubclass(factory, AudioBody):
            raise ValueError(f"audio body {self.body!r}: it is no class that derives from AudioBody")
        return factory(self)

    @property
    def block_size(self) -> int:
        """Examples that must stay together in chunks and on ranks."""
        return self.ghost_batch_size if self.kind.has_batch_norm and not self.freeze_batch_norm else 1

    @property
    def augment(self) -> SpecAugment | None:
        """Raises ValueError where a mask is larger than the log-mel; None where there is no log-mel."""
        return self.kind.augment()


class AudioBody(ABC):
    """A kind of body with its configuration; light, the weights come with `build`.

    A body has to name its `architecture`, make a fresh `configuration` of it, and give its `features`.
    """

    architecture: ClassVar[Any]
    """The model class of `transformers`."""
    has_batch_norm: ClassVar[bool] = False
    """Its `BatchNorm2d` layers then take ghost batches."""

    def __init__(self, config: AudioTowerConfig) -> None:
        self.config = config

    @abstractmethod
    def configuration(self) -> PretrainedConfig:
        """Of a body that starts at random."""

    @abstractmethod
    def features(self, body: Any, inputs: Tensor) -> Tensor:
        """h_BH, what the tower's head sees, of what the front end makes: mel_BFT where it is a log-mel."""

    def width(self, body: Any) -> int:
        """H."""
        return int(body.config.hidden_size)

    def said_by_checkpoint(self) -> AudioTowerConfig:
        """The configuration with what the checkpoint says of its front end, where it says so. Raises ValueError."""
        return self.config

    def front_end(self) -> nn.Module:
        """wave_BS (float in [−1, 1], or int16) to the body's inputs."""
        return LogMel(self.config.log_mel)

    def augment(self) -> SpecAugment | None:
        return SpecAugment(
            mel_bins=self.config.log_mel.mel_bins,
            mel_frames=self.config.log_mel.frames,
            max_bins=self.config.max_masked_bins,
            max_frames=self.config.max_masked_frames,
        )

    def build(self, saved: dict[str, Any] | None = None) -> Any:
        """The body: with the shape of a `saved` configuration, from the checkpoint, or at random.

        Raises ValueError where the checkpoint does not fit.
        """
        if saved is not None:
            body = self.model(self.restored(saved))
        elif self.config.warm_start is not None:
            body = self.fitted(pretrained(self.architecture, self.config.warm_start))
        else:
            body = self.model(self.configuration())
        if self.has_batch_norm:
            use_ghost_batches(body, self.config.ghost_batch_size, frozen=self.config.freeze_batch_norm)
        _refuse_plain_batch_norm(self.config.body, body)
        return body

    def checkpoint_gradients(self, body: Any) -> None:
        """Keep the inputs of its blocks alone, and compute the rest again in the backward pass. Raises ValueError."""
        checkpoint_gradients(body, f"audio body {self.config.body}")

    def model(self, configuration: PretrainedConfig) -> Any:
        return self.architecture(configuration)

    def restored(self, saved: dict[str, Any]) -> PretrainedConfig:
        """A configuration that was saved by its `to_diff_dict()`."""
        configuration: PretrainedConfig = self.architecture.config_class.from_dict(saved)
        return configuration

    def fitted(self, body: Any) -> Any:
        """A checkpoint's body, fitted to the tower's configuration. Raises ValueError where it cannot be."""
        return body


def checkpoint_gradients(body: Any, name: str) -> None:
    """As `transformers` does it for its model. Raises ValueError where it does not."""
    if not body.supports_gradient_checkpointing:
        raise ValueError(f"{name}: {type(body).__name__} of transformers has no gradient checkpointing; leave it off")
    body.activation_checkpointing_enable({"use_reentrant": False})
    if body.main_input_name == "input_ids":
        body.disable_input_require_grads()  # which re-entrant checkpointing alone would need


def _refuse_plain_batch_norm(name: str, body: nn.Module) -> None:
    for layer, module in body.named_modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm) and not isinstance(module, GhostBatchNorm2d):
            raise ValueError(
                f"audio body {name}: {layer} is a batch norm whose statistics would depend on how a batch is cut into "
                "chunks; a body of BatchNorm2d says has_batch_norm = True, another one cannot be trained here"
            )
