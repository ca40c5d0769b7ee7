"""The trained model in three functions: `load`, `embed_audio`, `embed_text`.

A model folder follows the hub's conventions: `model.safetensors`, `config.json`, the tokenizer's files and a card
(`README.md`). It needs no network and runs no code of its own when it is read.

Legend: N items, D embedding size (128).
"""

import dataclasses
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from transformers import PreTrainedTokenizerBase

from pipeline.media.clip import ClipDecoder, ClipError, ClipSpec, DecodeConfig, ShortPolicy
from schemas.lookup import is_factory
from schemas.shard import CLIP_SAMPLE_RATE_HZ
from trainer.checkpoint import WEIGHTS_NAME
from trainer.recipes import Recipe
from trainer.tokens import load_tokenizer, text_chunks, tokenize
from trainer.towers import EMBEDDING_SIZE, AudioTower, MuLan, TextTower
from trainer.trained_on import Training

CONFIG_NAME, CARD_NAME = "config.json", "README.md"
FORMAT_VERSION = 2
_WITH_OPTIONS = 1  # the version whose bodies are what their `options` were
MAX_FILE_S = 600.0
_WINDOWS_AT_ONCE = 32
_TOKENS_AT_ONCE = 16_384  # padded

Audio = NDArray[Any] | torch.Tensor | str | os.PathLike[str] | bytes


class Model:
    """Audio and text in one space of 128 dimensions; a dot product is a cosine.

    `embed_audio` takes 16 kHz mono waves (float in [−1, 1], or int16), files, or the bytes of one (a shard's `audio`).
    Longer ones are cut into the recipe's windows side by side, whose mean is the recording's embedding; shorter ones
    are padded with silence.
    """

    def __init__(
        self, towers: MuLan, tokenizer: PreTrainedTokenizerBase, recipe: Recipe, training: Training | None = None
    ) -> None:
        self.towers, self.tokenizer, self.recipe = towers, tokenizer, recipe
        self.training = training or Training(data=recipe.data)

    @property
    def device(self) -> torch.device:
        return self.towers.log_temperature.device

    @torch.inference_mode()
    def embed_audio(self, audio: Sequence[Audio]) -> NDArray[np.float32]:
        """(N, 128), unit rows. Raises ValueError that names the item which cannot be used."""
        windows, owners = [], []
        rows = np.zeros((len(audio), EMBEDDING_SIZE), np.float32)
        with _Evaluating(self.towers), ClipDecoder(_FILES) as decoder:
            for i, item in enumerate(audio):
                wave = _wave(item, decoder, f"item {i}")
                for window in _windows(wave, self.recipe.data.window_samples):
                    windows.append(window)
                    owners.append(i)
                if len(windows) >= _WINDOWS_AT_ONCE:
                    self._add_windows(rows, windows, owners)
                    windows, owners = [], []
            self._add_windows(rows, windows, owners)
        return _unit_rows(rows)

    @torch.inference_mode()
    def embed_text(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """(N, 128), unit rows."""
        if isinstance(texts, str):
            raise ValueError("embed_text takes a list of texts, not one text")
        rows = np.zeros((len(texts), EMBEDDING_SIZE), np.float32)
        config = self.recipe.text
        chunks = text_chunks(
            tokenize(self.tokenizer, texts, config.max_tokens),
            budget=_TOKENS_AT_ONCE,
            bucket=1,
            max_tokens=config.max_tokens,
            pad_id=pad_id(self.tokenizer),
        )
        with _Evaluating(self.towers):
            for chunk in chunks:
                placed = chunk.to(self.device)
                rows[chunk.order_B.numpy()] = self.towers.text(placed.tokens_BL, placed.attention_BL).cpu().numpy()
        return rows

    def save(self, folder: Path, card: str | None = None) -> None:
        """Write the model's files into a folder, which is made."""
        folder.mkdir(parents=True, exist_ok=True)
        weights = {name: value.contiguous() for name, value in self.towers.state_dict().items()}
        save_file(weights, folder / WEIGHTS_NAME, metadata={"format": "pt"})
        config = {
            "format_version": FORMAT_VERSION,
            "recipe": self.recipe.to_json(),
            "bodies": {"audio": _shape(self.towers.audio), "text": _shape(self.towers.text)},
            "trained_on": list(self.training.manifests),
        }
        text = json.dumps(config, indent=1, sort_keys=True, allow_nan=False)
        (folder / CONFIG_NAME).write_text(f"{text}\n", encoding="utf-8")
        self.tokenizer.save_pretrained(folder)
        if card is not None:
            (folder / CARD_NAME).write_text(card, encoding="utf-8")

    def _add_windows(self, rows: NDArray[np.float32], windows: list[NDArray[Any]], owners: list[int]) -> None:
        for start in range(0, len(windows), _WINDOWS_AT_ONCE):
            part = slice(start, start + _WINDOWS_AT_ONCE)
            z_ND = self.towers.audio(torch.from_numpy(np.stack(windows[part])).to(self.device))
            np.add.at(rows, owners[part], z_ND.cpu().numpy())


_FILES = DecodeConfig(short_policy=ShortPolicy.PAD)


def load(folder: str | Path, device: str = "cpu") -> Model:
    """A model folder, as `mulan train` writes it (checkpoints too). Raises ValueError where it is none."""
    path = Path(folder)
    try:
        value = json.loads((path / CONFIG_NAME).read_text(encoding="utf-8"))
        version, bodies = value.get("format_version"), value["bodies"]
        if version not in (_WITH_OPTIONS, FORMAT_VERSION):
            raise ValueError(f"format_version {version!r}, this openmulan reads {FORMAT_VERSION}")
        _refuse_unknown_code(value["recipe"]["audio"]["body"])
        recipe = Recipe.from_json(value["recipe"])
        # The weights are in the folder, so nothing is to be warm-started.
        audio = dataclasses.replace(recipe.audio, warm_start=None)
        text = dataclasses.replace(recipe.text, warm_start=None, tokenizer=str(path))
        if version == _WITH_OPTIONS:
            audio_tower = AudioTower(dataclasses.replace(audio, options=bodies["audio"]))
        else:
            audio_tower = AudioTower(audio, bodies["audio"])
        towers = MuLan(audio_tower, TextTower(text, bodies["text"]), recipe.loss.initial_temperature)
        towers.load_state_dict(load_file(path / WEIGHTS_NAME))
    except (OSError, ValueError, KeyError, TypeError, RuntimeError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ValueError(f"{path}: not a model folder of `mulan train` ({reason})") from error
    training = Training(data=recipe.data, manifests=tuple(value.get("trained_on", ())))
    return Model(towers.to(device).eval(), load_tokenizer(str(path)), recipe, training)


def build(recipe: Recipe, device: torch.device, training: Training | None = None) -> Model:
    """A model to be trained: warm-started as the recipe says, the rest random by its seed."""
    torch.manual_seed(recipe.seed)
    tokenizer = load_tokenizer(recipe.text.tokenizer or str(recipe.text.warm_start))
    towers = MuLan(AudioTower(recipe.audio), TextTower(recipe.text), recipe.loss.initial_temperature)
    if towers.text.body.config.vocab_size < len(tokenizer):
        raise ValueError("the tokenizer has more WordPieces than the text tower")
    recipe = dataclasses.replace(recipe, audio=towers.audio.config)
    return Model(towers.to(device), tokenizer, recipe, training)


def pad_id(tokenizer: PreTrainedTokenizerBase) -> int:
    return int(tokenizer.pad_token_id or 0)


def _shape(tower: AudioTower | TextTower) -> dict[str, Any]:
    """What it takes to build a body again without its checkpoint."""
    configuration: dict[str, Any] = tower.body.config.to_diff_dict()
    return configuration


def _refuse_unknown_code(body: str) -> None:
    """A folder that came from elsewhere may name a body, but not bring its module in."""
    module, _, _ = body.partition(":")
    if is_factory(body) and module not in sys.modules:
        raise ValueError(f"its audio body is {body}: import {module} first, if you trust that code")


class _Evaluating:
    """Evaluation mode inside, the mode from before outside."""

    def __init__(self, module: torch.nn.Module) -> None:
        self._module = module

    def __enter__(self) -> None:
        self._was = self._module.training
        self._module.eval()

    def __exit__(self, *_: object) -> None:
        self._module.train(self._was)


def _wave(item: Audio, decoder: ClipDecoder, name: str) -> NDArray[Any]:
    """One row of samples; a file is decoded by the mining job's guarded decoder, up to its first ten minutes."""
    if isinstance(item, str | os.PathLike | bytes):
        try:
            media = item if isinstance(item, bytes) else Path(item).read_bytes()
            clip = decoder.cut(media, ClipSpec(start_s=0.0, duration_s=MAX_FILE_S))
        except (OSError, ClipError) as error:
            where = name if isinstance(item, bytes) else os.fspath(item)
            raise ValueError(f"{where}: cannot be decoded ({error})") from error
        return clip.pcm_T[: len(clip.pcm_T) - clip.padded_samples]
    wave = np.asarray(item.detach().cpu() if isinstance(item, torch.Tensor) else item)
    if wave.ndim != 1 or not len(wave):
        raise ValueError(f"{name}: a wave is one row of samples, not an array of shape {wave.shape}")
    if wave.dtype == np.int16:
        return wave
    if not np.issubdtype(wave.dtype, np.floating) or not np.isfinite(wave).all():
        raise ValueError(f"{name}: a wave holds finite floats in [-1, 1] or int16 at {CLIP_SAMPLE_RATE_HZ} Hz")
    return np.round(wave.clip(-1, 1) * 32767).astype(np.int16)


def _windows(wave: NDArray[Any], samples: int) -> list[NDArray[Any]]:
    """Windows side by side; a rest of less than half a window is left out where there is a whole one."""
    starts = [start for start in range(0, len(wave), samples) if start == 0 or len(wave) - start >= samples / 2]
    return [np.pad(wave[s : s + samples], (0, max(0, samples - len(wave[s : s + samples])))) for s in starts]


def _unit_rows(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.asarray(rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12), np.float32)
