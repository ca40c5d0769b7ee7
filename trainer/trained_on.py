"""What a model knows of its own training: on which manifests it was, and how their recordings were split."""

from dataclasses import dataclass

from trainer.data import DataConfig


@dataclass(frozen=True, kw_only=True)
class Training:
    """`manifests` are digests, none where nothing says so; `runs` is where they lay, as far as that is known.

    `model` names the model in what is said of it.
    """

    data: DataConfig
    manifests: tuple[str, ...] = ()
    runs: tuple[str, ...] = ()
    model: str = "the model"
