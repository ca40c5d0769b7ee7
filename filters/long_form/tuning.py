"""The settings of fine-tuning, apart from the code that uses them: `--help` shows their defaults without torch."""

from dataclasses import dataclass

# The step that suited the one encoder it was chosen on, MiniLM with its 384 hidden units.
RATE_TIMES_WIDTH = 2e-4 * 384


@dataclass(frozen=True, kw_only=True)
class FineTuneConfig:
    """How an encoder is fine-tuned. `pooling` is `mean` of the last layer's tokens, or `cls`.

    `interpolation` is the share of the fine-tuned weights in the result; the rest is what the run started from.
    `half` trains with bfloat16 products, which is several times as fast where the processor has instructions for them
    and many times as slow where it has not: None measures which.
    Without a `learning_rate` the top layer's is 2e-4 for 384 hidden units and in inverse proportion to them for others
    (Yang et al. 2022): 1e-4 for BERT-base.
    """

    pooling: str = "mean"
    max_tokens: int = 128
    epochs: int = 8
    batch_size: int = 16
    learning_rate: float | None = None
    head_learning_rate: float = 1e-3
    layer_decay: float = 0.9
    warmup_share: float = 0.1
    weight_decay: float = 0.01
    max_gradient_norm: float = 1.0
    dropout: float = 0.1
    head_c: float = 0.003
    interpolation: float = 0.7
    augmentation: bool = True
    half: bool | None = None

    def __post_init__(self) -> None:
        if self.pooling not in ("mean", "cls"):
            raise ValueError(f"pooling is {self.pooling!r}, not mean or cls")
        if not 1 <= self.epochs <= 100 or self.batch_size < 1 or self.max_tokens < 8:
            raise ValueError("epochs must be 1 to 100, batch_size at least 1, max_tokens at least 8")
        if not 0 <= self.interpolation <= 1:
            raise ValueError("interpolation must be from 0 to 1")
        if self.learning_rate is not None and not self.learning_rate > 0:
            raise ValueError("learning_rate must be above 0")

    @property
    def precision(self) -> str:
        """What a run is trained in, once it is known."""
        return "bfloat16" if self.half else "float32"

    def rate(self, hidden_size: int) -> float:
        """The top layer's learning rate for an encoder of this width."""
        return RATE_TIMES_WIDTH / hidden_size if self.learning_rate is None else self.learning_rate

    def steps(self, sentences: int) -> int:
        """Of the optimizer in one run."""
        return self.epochs * -(-sentences // self.batch_size)
