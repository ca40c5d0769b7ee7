"""The trained model in three functions: `load`, `embed_audio`, `embed_text`; docs/embedding.md shows them.

A model folder follows the hub's conventions: `model.safetensors`, `config.json`, the tokenizer's files and a card
(`README.md`). It needs no network and runs no code of its own when it is read.

Legend: N items, D embedding size (128).
"""

import contextlib
import dataclasses
import json
import logging
import math
import os
import sys
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence, Sized
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from tqdm import tqdm
from transformers import PreTrainedTokenizerBase

from schemas.lookup import is_factory
from schemas.shard import CLIP_SAMPLE_RATE_HZ
from trainer.checkpoint import WEIGHTS_NAME
from trainer.cuts import CUTS_VERSION, cut, window_starts
from trainer.hub import fetched, is_hub_name, push
from trainer.onnx_export import export_towers
from trainer.recipes import Recipe
from trainer.recordings import MAX_FILE_S, Audio, Item, Reader, Recording, UnusableAudioError, Wave
from trainer.tokens import load_tokenizer, text_chunks, tokenize
from trainer.towers import EMBEDDING_SIZE, AudioTower, MuLan, TextTower
from trainer.trained_on import Training

CONFIG_NAME, CARD_NAME = "config.json", "README.md"
FORMAT_VERSION = 2
_WITH_OPTIONS = 1  # the version whose bodies are what their `options` were
_WINDOWS_AT_ONCE = 32
_TOKENS_AT_ONCE = 16_384  # padded

log = logging.getLogger(__name__)


class Model:
    """Audio and text in one space of 128 dimensions; a dot product is a cosine.

    A recording is one of
    - a wave, float in [-1, 1] or int16, of 16 kHz or the `sampling_rate` that is given: one row of samples, or channels
      by samples either way round, with at most 8 channels, whose mean is taken
    - a file by its path, or the bytes of one (a shard's `audio`)

    Its embedding is the mean over its windows (trainer/cuts.py), made unit length again. Once a call, a warning counts
    what was not embedded as it is: samples beyond ±1 are clipped (beyond ±4 the wave is refused), a file is cut after
    its first ten minutes, a recording shorter than a window is padded with silence.
    """

    def __init__(
        self, towers: MuLan, tokenizer: PreTrainedTokenizerBase, recipe: Recipe, training: Training | None = None
    ) -> None:
        self.towers, self.tokenizer, self.recipe = towers, tokenizer, recipe
        self.training = training or Training(data=recipe.data)

    @property
    def device(self) -> torch.device:
        return self.towers.log_temperature.device

    @property
    def window_s(self) -> float:
        return self.recipe.data.window_s

    def embed_audio(
        self,
        audio: Iterable[Audio],
        *,
        sampling_rate: int | None = None,
        workers: int = 1,
        progress: bool = False,
    ) -> NDArray[np.float32]:
        """(N, 128), unit rows. Raises UnusableAudioError, a ValueError, that names the recording which cannot be used.

        `sampling_rate` in Hz is that of all waves; files have their own. `workers` processes decode files. `progress`
        shows a bar on a terminal.
        """
        rows = []
        _refuse_one("embed_audio", audio)
        for _, found in self.iter_audio(audio, sampling_rate=sampling_rate, workers=workers, progress=progress):
            if isinstance(found, UnusableAudioError):
                raise found
            rows.append(found)
        return np.stack(rows) if rows else np.zeros((0, EMBEDDING_SIZE), np.float32)

    def iter_audio(
        self,
        audio: Iterable[Recording],
        *,
        sampling_rate: int | None = None,
        workers: int = 2,
        progress: bool = False,
    ) -> Generator[tuple[Recording, NDArray[np.float32] | UnusableAudioError], None, None]:
        """Each recording with its unit row, or with why it has none, in the order given: for as many as there are,
        since a few are held at once. Otherwise as `embed_audio`."""
        _refuse_one("iter_audio", audio)
        total = len(audio) if isinstance(audio, Sized) else None
        changes = Changes()
        with Reader(workers) as reader:
            waves = reader.waves(audio, lambda item: item, sampling_rate)
            for item, found in tqdm(self.embed_waves(waves), total=total, disable=None if progress else True):
                if isinstance(found, UnusableAudioError):
                    yield item, found
                else:
                    changes.add(found)
                    yield item, found.row
        changes.warn()

    def embed_waves(
        self, waves: Iterable[tuple[Item, Wave | UnusableAudioError]]
    ) -> Iterator[tuple[Item, "Embedded | UnusableAudioError"]]:
        """What a `Reader` reads, embedded in its order; windows of several recordings share a batch."""
        return embed_windows(waves, self._embed, self.recipe.data.window_samples, EMBEDDING_SIZE)

    @torch.inference_mode()
    def embed_text(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """(N, 128), unit rows; of a text, the recipe's `max_tokens` WordPieces are read."""
        _refuse_one("embed_text", texts)
        for number, text in enumerate(texts):
            if not isinstance(text, str):
                raise ValueError(f"embed_text: item {number} is a {type(text).__name__}, not a text")
        rows = np.zeros((len(texts), EMBEDDING_SIZE), np.float32)
        config = self.recipe.text
        chunks = text_chunks(
            tokenize(self.tokenizer, texts, config.max_tokens),
            budget=_TOKENS_AT_ONCE,
            bucket=1,
            max_tokens=config.max_tokens,
            pad_id=pad_id(self.tokenizer),
        )
        with self.evaluating():
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
            "cuts_version": CUTS_VERSION,
            "recipe": self.recipe.to_json(),
            "bodies": {"audio": _shape(self.towers.audio), "text": _shape(self.towers.text)},
            "trained_on": list(self.training.manifests),
        }
        text = json.dumps(config, indent=1, sort_keys=True, allow_nan=False)
        (folder / CONFIG_NAME).write_text(f"{text}\n", encoding="utf-8")
        self.tokenizer.save_pretrained(folder)
        if card is not None:
            (folder / CARD_NAME).write_text(card, encoding="utf-8")

    def export_onnx(self, folder: Path) -> None:
        """`audio.onnx` (from samples) and `text.onnx` (from WordPieces); needs the extra `onnx`."""
        sizes = {"window_samples": self.recipe.data.window_samples, "max_tokens": self.recipe.text.max_tokens}
        with self.evaluating():
            export_towers(self.towers, folder, **sizes)
        self.tokenizer.save_pretrained(folder)

    def push_to_hub(
        self, name: str, *, card: str | None = None, private: bool = False, revision: str | None = None
    ) -> str:
        """Commit the model's files to `user/name` on the hub; returns the commit's address. Raises ValueError."""
        return push(name, lambda folder: self.save(folder, card), private=private, revision=revision)

    @contextlib.contextmanager
    def evaluating(self) -> Iterator[None]:
        """Evaluation mode inside, the mode from before outside."""
        before = self.towers.training
        self.towers.eval()
        try:
            yield
        finally:
            self.towers.train(before)

    @torch.inference_mode()
    def _embed(self, pcm_NS: NDArray[np.int16]) -> NDArray[np.float32]:
        with self.evaluating():
            z_ND: NDArray[np.float32] = self.towers.audio(torch.from_numpy(pcm_NS).to(self.device)).cpu().numpy()
        return z_ND


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Embedded:
    """A recording's unit row, how many seconds it stands for, and what was changed of it before.

    `windows_WD` are the rows of its windows, which begin at `starts_s`.
    """

    row: NDArray[np.float32]
    windows_WD: NDArray[np.float32]
    starts_s: tuple[float, ...]
    duration_s: float
    clipped: bool
    shortened: bool
    padded: bool


class Changes:
    """How many recordings were not embedded as they are."""

    def __init__(self) -> None:
        self.counts = dict.fromkeys(_CHANGES, 0)

    def add(self, found: Embedded) -> None:
        for name in _CHANGES:
            self.counts[name] += getattr(found, name)

    def warn(self) -> None:
        for name, count in self.counts.items():
            if count:
                log.warning("%d recordings %s", count, _CHANGES[name])


_CHANGES = {
    "clipped": "have samples beyond [-1, 1], which were clipped",
    "shortened": f"are longer than {MAX_FILE_S:g} s: what comes after was not embedded",
    "padded": "are shorter than one window and were padded with silence",
}


def embed_windows(
    waves: Iterable[tuple[Item, Wave | UnusableAudioError]],
    embed: Callable[[NDArray[np.int16]], NDArray[np.float32]],
    window: int,
    dimension: int,
    *,
    cut_into: Callable[[NDArray[Any], int], list[NDArray[Any]]] = cut,
) -> Iterator[tuple[Item, Embedded | UnusableAudioError]]:
    """What a `Reader` reads, in its order: `embed` is given windows of so many samples, of several recordings at once,
    and returns a row of so many dimensions for each."""
    waiting: deque[_Waiting[Item]] = deque()
    batch: list[tuple[_Waiting[Item], NDArray[Any]]] = []

    def embed_batch() -> None:
        if batch:
            z_ND = embed(np.stack([window_S for _, window_S in batch]))
            for (entry, _), z_D in zip(batch, z_ND, strict=True):
                entry.add(z_D)
            batch.clear()

    for item, wave in waves:
        windows = [] if isinstance(wave, UnusableAudioError) else cut_into(wave.pcm_T, window)
        waiting.append(_Waiting(item, wave, len(windows), dimension))
        for window_S in windows:
            batch.append((waiting[-1], window_S))
            if len(batch) == _WINDOWS_AT_ONCE:
                embed_batch()
        while waiting and not waiting[0].left:
            yield waiting.popleft().done(window)
    embed_batch()
    for entry in waiting:
        yield entry.done(window)


class _Waiting(Generic[Item]):
    """A recording of whose windows `left` are not embedded yet."""

    def __init__(self, item: Item, wave: Wave | UnusableAudioError, windows: int, dimension: int) -> None:
        self._item, self._wave, self.left = item, wave, windows
        self._sum = np.zeros(dimension, np.float32)
        self._windows: list[NDArray[np.float32]] = []

    def add(self, z_D: NDArray[np.float32]) -> None:
        self._sum += z_D
        self._windows.append(z_D)
        self.left -= 1

    def done(self, window: int) -> tuple[Item, Embedded | UnusableAudioError]:
        wave = self._wave
        if isinstance(wave, UnusableAudioError):
            return self._item, wave
        length = float(np.linalg.norm(self._sum))
        if not math.isfinite(length):
            raise ValueError("the model's embedding is not finite: its training went wrong, or its weights are damaged")
        found = Embedded(
            row=self._sum / max(length, 1e-12),
            windows_WD=np.stack(self._windows),
            starts_s=tuple(start / CLIP_SAMPLE_RATE_HZ for start in window_starts(len(wave.pcm_T), window)),
            duration_s=len(wave.pcm_T) / CLIP_SAMPLE_RATE_HZ,
            clipped=wave.clipped,
            shortened=wave.shortened,
            padded=len(wave.pcm_T) < window,
        )
        return self._item, found


def load(name: str | Path, device: str = "cpu", *, revision: str | None = None) -> Model:
    """A model folder, as `mulan train` writes it (checkpoints too), or `user/name` on the hub, there at `revision`.

    Raises ValueError where it is none.
    """
    path = model_folder(name, revision)
    try:
        value = json.loads((path / CONFIG_NAME).read_text(encoding="utf-8"))
        version, bodies = value.get("format_version"), value["bodies"]
        if version not in (_WITH_OPTIONS, FORMAT_VERSION):
            raise ValueError(f"format_version {version!r}, this openmulan reads {FORMAT_VERSION}")
        if value.get("cuts_version", CUTS_VERSION) > CUTS_VERSION:
            raise ValueError("a newer openmulan made it, which cuts recordings in another way")
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


def model_folder(name: str | Path, revision: str | None = None) -> Path:
    """The folder of that name, which is fetched where the name is one of the hub. Raises ValueError."""
    if isinstance(name, str) and is_hub_name(name):
        return fetched(name, revision)
    if revision is not None:
        raise ValueError(f"{name}: is a folder, which has no revision {revision}")
    return Path(name)


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


def _refuse_one(name: str, given: object) -> None:
    """One thing where a list is taken would be embedded letter by letter or row by row."""
    if isinstance(given, str | bytes | bytearray | os.PathLike | np.ndarray | torch.Tensor):
        raise ValueError(f"{name} takes a list, not one {type(given).__name__}; put it in a list: {name}([…])")
