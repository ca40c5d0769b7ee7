"""Both towers as ONNX, for who runs them without torch: `Model.export_onnx`.

`audio.onnx` takes windows of samples (the log-mel is inside), `text.onnx` WordPieces of any length. Both take any batch
and give unit rows. What stands before and after is the caller's: cutting a recording into windows and the mean over
them (trainer/cuts.py), and the tokenizer, whose files are written beside. docs/embedding.md shows both.

Legend: B examples, S samples of a window, L WordPieces, D embedding size.
"""

import contextlib
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.export import Dim

from schemas.quiet import errors_alone
from schemas.shard import CLIP_SAMPLE_RATE_HZ
from trainer.cuts import CUTS_VERSION
from trainer.towers import MuLan

AUDIO_NAME, TEXT_NAME = "audio.onnx", "text.onnx"


def export_towers(towers: MuLan, folder: Path, *, window_samples: int, max_tokens: int) -> None:
    """Of towers in evaluation mode. Raises ModuleNotFoundError without the extra `onnx`."""
    import onnxscript  # noqa: F401 - torch says it in twenty lines

    folder.mkdir(parents=True, exist_ok=True)
    device = towers.log_temperature.device
    wave_BS = torch.zeros(2, window_samples, device=device)
    tokens_BL = torch.ones(2, min(8, max_tokens), dtype=torch.int64, device=device)
    batch, length = Dim("batch", min=1), Dim("length", min=2, max=max_tokens)
    with _quiet():
        audio = _exported(towers.audio, {"wave_BS": wave_BS}, {0: batch})
        notes = {"sample_rate_hz": CLIP_SAMPLE_RATE_HZ, "cuts_version": CUTS_VERSION, "window_samples": window_samples}
        _save(audio, folder / AUDIO_NAME, notes)
        words = {"tokens_BL": tokens_BL, "attention_BL": torch.ones_like(tokens_BL)}
        _save(_exported(towers.text, words, {0: batch, 1: length}), folder / TEXT_NAME, {"max_tokens": max_tokens})


def _exported(tower: torch.nn.Module, inputs: dict[str, Tensor], shape: dict[int, Any]) -> Any:
    return torch.onnx.export(
        tower,
        tuple(inputs.values()),
        input_names=list(inputs),
        output_names=["z_BD"],
        dynamic_shapes=dict.fromkeys(inputs, shape),
        dynamo=True,
        verbose=False,
    )


def _save(program: Any, path: Path, notes: dict[str, int]) -> None:
    program.model.metadata_props.update({name: str(value) for name, value in notes.items()})
    program.save(path)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without what torch says of packages that it does not need here."""
    with errors_alone("torch.onnx"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
