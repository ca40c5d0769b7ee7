"""Evaluators as a configuration declares them: plain JSON, the same in a training recipe and in `mulan evaluate`.

    {"task": "zero_shot", "data": {"kind": "magnatagatune", "folder": "mtat", "tags": "top50"}}

`task` chooses the evaluator; the other keys are the fields of its configuration, and inside `data` and `collection`
`kind` chooses the reader. Both are names of ours or `package.module:Class` of the user's own: an evaluator is a
subclass of `Evaluator` that names its configuration, a reader a dataclass with the methods that the field asks for.
Paths are relative to the file that the declaration stands in.
"""

import dataclasses
import json
import types
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from schemas.lookup import find_factory, lacking
from trainer.evaluation.evaluator import Evaluator
from trainer.evaluation.readers.captions import CaptionReader
from trainer.evaluation.retrieval import Collection
from trainer.evaluation.tagging import TaggedReader
from trainer.evaluation.triplets import TripletSource

TASKS = {
    "zero_shot": "trainer.evaluation.tagging:ZeroShotTagging",
    "linear_probe": "trainer.evaluation.tagging:LinearProbe",
    "retrieval": "trainer.evaluation.retrieval:TextToMusicRetrieval",
    "text_triplets": "trainer.evaluation.triplets:TextTriplets",
    "captions": "trainer.evaluation.captions:CaptionRetrieval",
    "graded": "trainer.evaluation.captions:GradedRetrieval",
    "negation": "trainer.evaluation.wording:Negation",
    "synonyms": "trainer.evaluation.wording:Synonyms",
}
# What a field of a configuration asks of its reader → our readers that have it.
KINDS: dict[type[Any], dict[str, str]] = {
    TaggedReader: {
        "magnatagatune": "trainer.evaluation.readers.magnatagatune:MagnaTagATune",
        "audioset": "trainer.evaluation.readers.audioset:AudioSet",
        "jamendo": "trainer.evaluation.readers.jamendo:Jamendo",
        "gtzan": "trainer.evaluation.readers.gtzan:Gtzan",
        "fma_small": "trainer.evaluation.readers.fma:FmaSmall",
        "table": "trainer.evaluation.readers.table:ClipTable",
        "mined": "trainer.evaluation.readers.mined:MinedRun",
    },
    Collection: {
        "run": "trainer.evaluation.retrieval:RunCollection",
        "catalogue": "trainer.evaluation.retrieval:CatalogueCollection",
    },
    CaptionReader: {
        "caption_table": "trainer.evaluation.readers.captions:CaptionTable",
        "graded_table": "trainer.evaluation.readers.captions:GradedTable",
        "musiccaps": "trainer.evaluation.readers.captions:MusicCaps",
        "song_describer": "trainer.evaluation.readers.captions:SongDescriber",
    },
    TripletSource: {
        "ontology": "trainer.evaluation.triplets:OntologyTriplets",
        "playlists": "trainer.evaluation.triplets:PlaylistTriplets",
    },
}


def read_evaluators(path: Path) -> list[Evaluator[Any]]:
    """The evaluators of a JSON file `{"evaluators": [...]}`. Raises ValueError that says which one is wrong."""
    try:
        declared = json.loads(path.read_text(encoding="utf-8"))["evaluators"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ValueError(f'{path}: not a JSON object with "evaluators" ({error!r})') from error
    evaluators = []
    for number, value in enumerate(declared, start=1):
        try:
            evaluators.append(evaluator_from_json(value, path.parent))
        except (ValueError, AttributeError) as error:
            raise ValueError(f"{path}: evaluator {number}: {error}") from error
    return evaluators


def evaluator_from_json(value: Mapping[str, Any], folder: Path) -> Evaluator[Any]:
    """Raises ValueError that says what the declaration has wrong."""
    task = value.get("task")
    evaluator = find_factory(str(task), TASKS, "task")
    if not (isinstance(evaluator, type) and issubclass(evaluator, Evaluator) and hasattr(evaluator, "config_class")):
        raise ValueError(f"task {task!r}: not a subclass of Evaluator that has a config_class")
    fields = {name: given for name, given in value.items() if name != "task"}
    # Every subclass is made from its configuration, which the base class does not say.
    built: Evaluator[Any] = evaluator(_build(evaluator.config_class, fields, folder))  # type: ignore[call-arg]
    return built


def _build(kind: type[Any], given: Mapping[str, Any], folder: Path) -> Any:
    """A configuration from JSON: lists become tuples, and where the field is one, strings paths and objects readers or
    dataclasses."""
    hints = typing.get_type_hints(kind)
    names = {field.name for field in dataclasses.fields(kind)}
    if unknown := sorted(set(given) - names):
        raise ValueError(f"{kind.__name__}: no field {', '.join(unknown)}; there are {', '.join(sorted(names))}")
    fields = {}
    for name, v in given.items():
        hint = hints[name]
        if hint in KINDS or (isinstance(v, Mapping) and "kind" in v):
            v = _reader(name, hint, v, folder)
        elif isinstance(v, Mapping) and dataclasses.is_dataclass(hint):
            v = _build(hint, v, folder)  # type: ignore[arg-type] # a dataclass, as was asked, is a type
        elif isinstance(v, list):
            v = tuple(v)
        elif isinstance(v, str) and _is_path(hint):
            v = folder / v
        fields[name] = v
    try:
        return kind(**fields)
    except TypeError as error:
        raise ValueError(f"{kind.__name__}: {error}") from error


def _reader(name: str, asked: Any, given: Any, folder: Path) -> Any:
    """What `{"kind": …}` in the field `name` stands for."""
    kind = given.get("kind") if isinstance(given, Mapping) else None
    found = find_factory(str(kind), KINDS.get(asked, {}), f"{name}: kind")
    if not (isinstance(found, type) and dataclasses.is_dataclass(found)):
        raise ValueError(f"{name}: kind {kind!r} is no dataclass, whose fields the other keys would be")
    made = _build(found, {key: v for key, v in given.items() if key != "kind"}, folder)
    if isinstance(asked, type) and (missing := lacking(made, asked)):
        raise ValueError(f"{name}: kind {kind!r} has no {', '.join(missing)}, as a {asked.__name__} has")
    return made


def _is_path(hint: Any) -> bool:
    return hint is Path or (isinstance(hint, types.UnionType) and Path in typing.get_args(hint))
