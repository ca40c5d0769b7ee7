"""A record from the JSON that another version, or a hand, may have written: what does not fit is said in one line."""

import dataclasses
from collections.abc import Mapping
from typing import Any, TypeVar

from schemas.version import VERSION

Record = TypeVar("Record")


def record_of(kind: type[Record], value: Any, what: str) -> Record:
    """The dataclass `kind` with the fields of `value`, which `what` names in errors.

    Raises ValueError where a field is missing or is one that this version does not know: to pass over it could be to
    pass over something that a reader has to respect.
    """
    if not isinstance(value, Mapping):
        raise ValueError(f"{what} is not a JSON object")
    fields = dataclasses.fields(kind)  # type: ignore[arg-type] # every caller's kind is a dataclass
    if unknown := sorted(value.keys() - {f.name for f in fields}):
        raise ValueError(
            f"{what} has {', '.join(unknown)}, which openmulan {VERSION} does not know; read it with the version that "
            "wrote it, or a later one"
        )
    needed = {f.name for f in fields if f.default is f.default_factory is dataclasses.MISSING}
    if missing := sorted(needed - value.keys()):
        raise ValueError(f"{what} lacks {', '.join(missing)}")
    return kind(**value)
