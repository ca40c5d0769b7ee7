"""Whatever embeds audio and text into one space, as an index needs it: a model of `mulan train`, or `clap:FOLDER`."""

import json
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from trainer.checkpoint import STATE_NAME
from trainer.embed_inputs import load_on
from trainer.evaluation.model import CLAP, digest_folder
from trainer.model import CARD_NAME, Embedded, model_folder
from trainer.recordings import Item, UnusableAudioError, Wave

_STEPS = re.compile(r"^\| steps \| (\d+) \|$", re.MULTILINE)  # of a model's card


class Embeds(Protocol):
    """What a model has to have: windows of `window_s`, rows of unit length."""

    @property
    def window_s(self) -> float: ...

    def embed_text(self, texts: list[str], /) -> NDArray[np.float32]: ...

    def embed_waves(
        self, waves: Iterable[tuple[Item, Wave | UnusableAudioError]], /
    ) -> Iterator[tuple[Item, Embedded | UnusableAudioError]]: ...


class OpenedModel:
    """A model with its name as others may open it, the digest of its files, and what is known of it."""

    def __init__(self, name: str, digest: str, kind: str, model: Embeds, about: dict[str, Any]) -> None:
        self.name, self.digest, self.kind, self.model, self._about = name, digest, kind, model, about

    def embed_text(self, texts: list[str]) -> NDArray[np.float32]:
        return np.asarray(self.model.embed_text(texts), np.float32)

    @property
    def fields(self) -> dict[str, Any]:
        """What an index says of it."""
        return {
            "model": self.name,
            "model_digest": self.digest,
            "kind": self.kind,
            "window_s": self.model.window_s,
            "recipe": self._about.get("recipe"),
            "trained_steps": self._about.get("trained_steps"),
        }


def folder_of(name: str, revision: str | None = None) -> Path:
    """Raises ValueError."""
    return Path(name.removeprefix(CLAP)) if name.startswith(CLAP) else model_folder(name, revision)


def open_model(name: str, device: str | None = None) -> OpenedModel:
    """Raises ValueError where there is none."""
    folder = folder_of(name)
    if name.startswith(CLAP):
        from trainer.evaluation.peers.clap import Clap

        clap = Clap(folder, device)
        return OpenedModel(f"{CLAP}{folder.resolve()}", digest_folder(folder), "clap", clap, {})
    model = load_on(folder, device)
    kept = str(folder.resolve()) if Path(name).exists() else name
    about = {"recipe": model.recipe.name, "trained_steps": _trained_steps(folder)}
    return OpenedModel(kept, digest_folder(folder), "mulan", model, about)


def _trained_steps(folder: Path) -> int | None:
    """As a checkpoint or the card of a model says it."""
    try:
        return int(json.loads((folder / STATE_NAME).read_text(encoding="utf-8"))["step"])
    except (OSError, ValueError, KeyError, TypeError):
        pass
    try:
        found = _STEPS.search((folder / CARD_NAME).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError):
        return None
    return int(found[1]) if found else None
