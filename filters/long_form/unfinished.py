"""What a fit that was cut off has finished, so that the same command goes on from there and makes the same bytes.

A fit is a number of runs, each from the pretrained weights under a seed of its own, so what is kept is whole runs: the
scores of a fold, the weights of a seed. They lie beside the output under a name with `.unfinished`, each file written
under another name first, and go when the classifier is saved. What was asked otherwise, or of another encoder, starts
anew.
"""

import json
import logging
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from torch import Tensor

log = logging.getLogger(__name__)

_ASKED = "asked.json"
_KINDS = ("json", "safetensors")


def place_of(output: Path) -> Path:
    """Where the unfinished runs of a fit lie whose classifier goes to `output`."""
    return output.with_name(f"{output.name}.unfinished")


def forget(place: Path) -> None:
    shutil.rmtree(place, ignore_errors=True)


class Unfinished:
    """Values and weights by name, each computed once; without a place nothing is kept."""

    def __init__(self, place: Path | None, asked: dict[str, Any]) -> None:
        self._place = place
        if place is None:
            return
        try:
            before = json.loads((place / _ASKED).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            before = None
        if before is not None and before != asked:
            changed = sorted(name for name in asked if before.get(name) != asked[name])
            log.info("%s: was begun with other %s, and is begun anew", place, ", ".join(changed) or "settings")
        if before != asked:
            forget(place)
            place.mkdir(parents=True, exist_ok=True)
            self._write_json(place / _ASKED, asked)

    def has(self, name: str) -> bool:
        return self._place is not None and any((self._place / f"{name}.{kind}").exists() for kind in _KINDS)

    def value(self, name: str, compute: Callable[[], Any]) -> Any:
        """Of JSON, whose numbers come back as they were."""
        if self._place is None:
            return compute()
        path = self._place / f"{name}.json"
        if path.exists():
            return json.loads(path.read_text(encoding="utf-8"))
        value = compute()
        self._write_json(path, value)
        return value

    def state(self, name: str, compute: Callable[[], dict[str, Tensor]]) -> dict[str, Tensor]:
        from safetensors.torch import load_file, save_file

        if self._place is None:
            return compute()
        path = self._place / f"{name}.safetensors"
        if path.exists():
            return load_file(path)
        state = compute()
        partial = path.with_suffix(".part")
        save_file({key: tensor.contiguous() for key, tensor in state.items()}, partial)
        partial.replace(path)
        return state

    def _write_json(self, path: Path, value: Any) -> None:
        partial = path.with_suffix(".part")
        partial.write_text(json.dumps(value), encoding="utf-8")
        partial.replace(path)
