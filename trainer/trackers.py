"""Trackers: the numbers of `metrics.jsonl` in a dashboard as well, by an extra package that is imported when asked for.

Trackio keeps its runs on this machine (a SQLite file under `TRACKIO_DIR`) without an account, and `trackio show` draws
them. Another tracker is a class of one's own, as `package.module:Class`.
"""

import importlib.util
import sys
from collections.abc import Callable, Mapping
from contextlib import redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from schemas.lookup import find_factory

if TYPE_CHECKING:
    from trainer.recipes import Recipe

TRACKERS = {"trackio": "trainer.trackers:Trackio"}


class Tracker(Protocol):
    """Made from the output folder and the recipe, by the first rank alone."""

    def log(self, values: Mapping[str, float], step: int) -> None: ...

    def close(self) -> None: ...


def find_tracker(name: str) -> Callable[[Path, "Recipe"], Tracker]:
    """Raises ValueError where there is none of this name, or its package is not installed."""
    found: Any = find_factory(name, TRACKERS, "tracker")
    if available := getattr(found, "check_available", None):
        available()
    return found  # type: ignore[no-any-return]  # as the protocol says


class Trackio:
    """The project is named for the recipe, the run for the output folder; a run that goes on is taken up again."""

    def __init__(self, output: Path, recipe: "Recipe") -> None:
        import trackio

        self._trackio: Any = trackio
        name = output.resolve().name
        with redirect_stdout(sys.stderr):  # which is for the command's own words
            trackio.init(project=f"openmulan-{recipe.name}", name=name, config=recipe.to_json(), resume="allow")

    @staticmethod
    def check_available() -> None:
        if importlib.util.find_spec("trackio") is None:
            raise ValueError('tracker trackio: it is not installed; pip install "openmulan[trackio]"')

    def log(self, values: Mapping[str, float], step: int) -> None:
        self._trackio.log(dict(values), step=step)

    def close(self) -> None:
        with redirect_stdout(sys.stderr):
            self._trackio.finish()
