"""A part that a user names: by the short name of one of ours, or as `package.module:factory` of their own.

The one place where a name from a command line or a configuration turns into code. Only what can be imported here is
run; a name is never a file or an expression.
"""

import importlib
from collections.abc import Callable, Mapping
from typing import Any


class UnknownNameError(ValueError):
    """A name that stands for nothing; the message is one line for the user."""


def is_factory(name: str) -> bool:
    """Whether a name has the form `package.module:factory`; addresses, which have a colon too, do not."""
    module, separator, factory = name.partition(":")
    return bool(separator) and factory.isidentifier() and all(part.isidentifier() for part in module.split("."))


def find_factory(name: str, known: Mapping[str, str], what: str) -> Callable[..., Any]:
    """The factory that `name` stands for. `known` has our own names, each with its `package.module:factory`; `what` is
    the kind of thing in words. Raises UnknownNameError; of what one of ours needs and is not installed
    ModuleNotFoundError, since whoever asked says how to get it.
    """
    place = known.get(name, name)
    if not is_factory(place):
        ours = f"one of {', '.join(known)}, or " if known else ""
        raise UnknownNameError(f"{what} {name!r}: it is {ours}package.module:factory of your own")
    module, _, attribute = place.partition(":")
    try:
        imported = importlib.import_module(module)
    except Exception as error:
        if isinstance(error, ModuleNotFoundError) and error.name and f"{module}.".startswith(f"{error.name}."):
            raise UnknownNameError(f"{what} {name!r}: there is no module {module!r} on the Python path") from error
        if name in known:
            raise
        # A module of the user's may fail in any way.
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise UnknownNameError(f"{what} {name!r}: {module} cannot be imported ({reason})") from error
    if not hasattr(imported, attribute):
        raise UnknownNameError(f"{what} {name!r}: {module} has no {attribute!r}")
    if not callable(factory := getattr(imported, attribute)):
        raise UnknownNameError(f"{what} {name!r}: {attribute!r} of {module} cannot be called")
    found: Callable[..., Any] = factory
    return found


def lacking(made: object, contract: type) -> list[str]:
    """What a Protocol asks for and an object does not have."""
    asked = {*vars(contract), *getattr(contract, "__annotations__", ())}
    return sorted(name for name in asked if not name.startswith("_") and not hasattr(made, name))
