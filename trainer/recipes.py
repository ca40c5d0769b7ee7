"""A recipe is a function that returns a frozen configuration: `m_resnet50()`, `m_ast()`, `tiny()`, or one of your own.

`trainer/flags.py` finds it by name, and changes it by `--set` and the flags of a command.

Initial learning rate, batch size and initial temperature could not be recovered from our copy of the paper: the values
here are ours, and every one is a named field.
"""

import dataclasses
from dataclasses import dataclass, field
from typing import Any

from trainer.bodies.body import AudioTowerConfig
from trainer.data import DataConfig
from trainer.logmel import LogMelConfig
from trainer.loss import LossConfig
from trainer.optimizer import OptimizerConfig
from trainer.settings import from_plain
from trainer.towers import TextTowerConfig

PRECISIONS = ("float32", "tf32", "bfloat16")


@dataclass(frozen=True, kw_only=True)
class ComputeConfig:
    """How a step is computed; but for rounding (and the masks of dropout), none of it changes the result.

    GradCache puts `audio_chunk` windows, and texts of at most `text_tokens` padded WordPieces, through a tower at once.
    Texts are padded to a multiple of `text_bucket` WordPieces within their chunk. `precision` bfloat16 is autocast of
    the towers, tf32 rounds every product of float32 matrices on a GPU to 10 bits.
    """

    audio_chunk: int = 256
    text_tokens: int = 32_768
    text_bucket: int = 16
    precision: str = "float32"
    compile: bool = False
    sort_texts: bool = True
    gradient_checkpointing: bool = False

    def __post_init__(self) -> None:
        if self.precision not in PRECISIONS:
            raise ValueError(f"precision is {self.precision!r}; it may be {', '.join(PRECISIONS)}")
        if min(self.audio_chunk, self.text_tokens, self.text_bucket) < 1:
            raise ValueError("chunks and bucket must be positive")

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> "ComputeConfig":
        """An older version had a chunk of texts in `text_chunk`, a number of texts of any length."""
        return from_plain(cls, {name: given for name, given in value.items() if name != "text_chunk"})


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Everything that decides what a training run learns, and how it is computed.

    A mini-batch is made of so many `lanes`, which may be spread over as many ranks as divide them.
    """

    name: str
    audio: AudioTowerConfig
    text: TextTowerConfig
    batch_size: int
    lanes: int = 1
    epochs: float = 14.0
    seed: int = 0
    loss: LossConfig = field(default_factory=LossConfig)
    data: DataConfig = field(default_factory=DataConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    compute: ComputeConfig = field(default_factory=ComputeConfig)

    def __post_init__(self) -> None:
        if self.batch_size < 2 or self.epochs <= 0:
            raise ValueError("batch_size must be at least 2 and epochs positive")
        block = self.audio.block_size
        if self.lanes < 1 or self.batch_size % (self.lanes * block):
            raise ValueError(
                f"batch_size {self.batch_size} is not {self.lanes} lanes of whole ghost batches of {block}: it must be "
                f"a multiple of {self.lanes * block}, or lanes and ghost batch others, such as {self._fitting(block)}"
            )
        if self.compute.audio_chunk % block:
            raise ValueError(f"audio_chunk {self.compute.audio_chunk} must be a multiple of the ghost batch of {block}")
        if self.compute.text_tokens < self.text.max_tokens:
            raise ValueError(
                f"text_tokens {self.compute.text_tokens} is less than one text may have: max_tokens is "
                f"{self.text.max_tokens}"
            )

    def _fitting(self, block: int) -> str:
        """Settings by which this batch size fits, with lanes of about as much as a ghost batch."""
        wanted = range(min(max(self.lanes, 1), max(self.batch_size // block, 1)), 0, -1)
        lanes = next(lanes for lanes in wanted if self.batch_size % lanes == 0)
        return f"--set lanes={lanes} --set audio.ghost_batch_size={self.batch_size // lanes}"

    def to_json(self) -> dict[str, Any]:
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> "Recipe":
        """Settings that an older version did not write have their default."""
        return from_plain(cls, value)


def m_resnet50() -> Recipe:
    """M-ResNet-50: 64 mel bins, batches of 6144."""
    return Recipe(
        name="m_resnet50",
        audio=AudioTowerConfig(
            body="resnet",
            log_mel=LogMelConfig(mel_bins=64, convention="htk", min_frequency_hz=60.0, max_frequency_hz=7800.0),
            max_masked_bins=24,
            max_masked_frames=192,
            ghost_batch_size=96,
        ),
        text=TextTowerConfig(),
        batch_size=6144,
        lanes=64,
        compute=ComputeConfig(audio_chunk=288, text_tokens=49_152, precision="bfloat16"),
    )


def m_ast() -> Recipe:
    """M-AST: 12 blocks, 768 wide, 128 mel bins, 16×16 patches every 10, batches of 3072."""
    return Recipe(
        name="m_ast",
        audio=AudioTowerConfig(body="ast", log_mel=LogMelConfig(), max_masked_bins=48, max_masked_frames=192),
        text=TextTowerConfig(),
        batch_size=3072,
        lanes=64,
        compute=ComputeConfig(audio_chunk=96, text_tokens=49_152, precision="bfloat16"),
    )


def tiny(tokenizer: str | None = None) -> Recipe:
    """A model for tests and demonstrations: 5 s windows, and it trains in minutes on a CPU.

    `tokenizer` is a directory or a hub name.
    """
    return Recipe(
        name="tiny",
        audio=AudioTowerConfig(
            body="resnet",
            options={
                "embedding_size": 8,
                "hidden_sizes": [16, 32, 64, 128],
                "depths": [1, 1, 1, 1],
                "layer_type": "basic",
            },
            log_mel=LogMelConfig(
                mel_bins=64, frames=500, convention="htk", min_frequency_hz=60.0, max_frequency_hz=7800.0
            ),
            max_masked_bins=24,
            max_masked_frames=96,
            ghost_batch_size=6,
        ),
        text=TextTowerConfig(
            warm_start=None,
            tokenizer=tokenizer or "bert-base-uncased",
            options={
                "hidden_size": 128,
                "num_hidden_layers": 2,
                "num_attention_heads": 2,
                "intermediate_size": 512,
                "hidden_dropout_prob": 0.0,
                "attention_probs_dropout_prob": 0.0,
            },
            max_tokens=64,
        ),
        batch_size=48,
        lanes=8,
        loss=LossConfig(block_rows=512),
        data=DataConfig(window_s=5.0, buffer_rows=256, validation_fraction=0.1),
        optimizer=OptimizerConfig(learning_rate=1e-3),
        compute=ComputeConfig(audio_chunk=48, text_tokens=3072),
    )
