"""Models by the names that a command line has for them: our own folders, the peers that are known, any factory."""

import ast
import importlib.util
import os
import sys
from pathlib import Path
from typing import Any

from schemas.lookup import find_factory, is_factory
from trainer.evaluation.model import CLAP, RandomModel, digest_folder, trained_on

RANDOM = "random"
# What stands before the folder of a peer's checkpoint → what reads it, how it is called, what has to be installed.
PEERS = {
    CLAP: ("trainer.evaluation.peers.clap:Clap", "CLAP", "transformers"),
    "msclap:": ("trainer.evaluation.peers.msclap:MsClap", "MS-CLAP", "msclap"),
    "muq:": ("trainer.evaluation.peers.muq:MuqMulan", "MuQ-MuLan", "muq"),
}


def load_model(name: str, seed: int = 0, device: str | None = None) -> tuple[Any, str, str | None, tuple[str, ...]]:
    """(model, label, digest of its weights, manifests that it was trained on).

    `name` is `random`, a model directory, one of PEERS and the folder of its checkpoint, or `package.module:factory`
    of another one, as it stands or with arguments: `peers:load(folder="weights", layers=4)`. Raises ValueError where it
    is none of them.
    """
    if name == RANDOM:
        return RandomModel(seed), "random (control)", None, ()
    for prefix, (place, called, package) in PEERS.items():
        if name.startswith(prefix):
            folder = Path(name.removeprefix(prefix))
            if not folder.is_dir():
                raise ValueError(f"{folder}: there is no such folder, so no {called} checkpoint")
            try:
                made = find_factory(place, {place: place}, "model")(folder, device)
            except ModuleNotFoundError as error:
                raise ValueError(f"{name}: needs the package {package}, which is not installed ({error})") from error
            return made, f"{called} {model_label(folder)}", digest_folder(folder), ()
    folder = Path(name)
    if folder.is_dir():
        from trainer.embed_inputs import load_on

        return load_on(folder, device), model_label(folder), digest_folder(folder), trained_on(folder)
    place, arguments = _call(name)
    factory = find_here(place, "model")
    try:
        made = factory(**arguments)
    except TypeError as error:
        raise ValueError(f"{name}: cannot be made so ({error})") from error
    if not (hasattr(made, "embed_audio") and hasattr(made, "embed_text")):
        raise ValueError(f"{name}: what it returns has no embed_audio and embed_text")
    digest = getattr(made, "digest", None)
    return made, name, digest if isinstance(digest, str) else None, ()


def model_label(folder: Path) -> str:
    path = folder.resolve()
    return f"{path.parent.name}/{path.name}" if path.name == "model" else path.name


def _call(name: str) -> tuple[str, dict[str, Any]]:
    """`package.module:factory` and its arguments, which are literals: read, never evaluated. Raises ValueError."""
    place, bracket, rest = name.partition("(")
    if not is_factory(place):
        peers = ", ".join(f"{prefix}FOLDER" for prefix in PEERS)
        raise ValueError(f"{name}: neither a model directory nor {peers} nor package.module:factory")
    if not bracket:
        return place, {}
    try:
        call = ast.parse(f"_({rest}", mode="eval").body
        if not isinstance(call, ast.Call) or call.args or not isinstance(call.func, ast.Name):
            raise ValueError("not a call with arguments by name")
        arguments = {}
        for given in call.keywords:
            if given.arg is None:
                raise ValueError("** is no name")
            arguments[given.arg] = ast.literal_eval(given.value)
        return place, arguments
    except (SyntaxError, ValueError, MemoryError, RecursionError) as error:
        raise ValueError(
            f"{name}: its arguments are not name=value, … with texts, numbers, True, False, None"
        ) from error


def find_here(place: str, what: str) -> Any:
    """`package.module:factory`, in the current folder too, which is not on the path of an installed command; behind
    everything else there. Raises ValueError."""
    here, package = os.getcwd(), place.partition(":")[0].partition(".")[0]
    if here not in sys.path and importlib.util.find_spec(package) is None:
        sys.path.append(here)
    return find_factory(place, {}, what)
