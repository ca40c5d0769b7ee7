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
    the kind of thing in words. Raises UnknownNameError.
    """
    place = known.get(name, name)
    if not is_factory(place):
        raise UnknownNameError(
            f"{what} {name!r}: it is one of {', '.join(known)}, or package.module:factory of your own"
        )
    module, _, attribute = place.partition(":")
    try:
        factory = getattr(importlib.import_module(module), attribute)
    except ModuleNotFoundError as error:
        # A package that ours or theirs needs is another matter, and whoever asked says how to get it.
        if error.name is None or not f"{module}.".startswith(f"{error.name}."):
            raise
        raise UnknownNameError(f"{what} {name!r}: there is no module {module!r} on the Python path") from error
    except AttributeError as error:
        raise UnknownNameError(f"{what} {name!r}: {module} has no {attribute!r}") from error
    if not callable(factory):
        raise UnknownNameError(f"{what} {name!r}: {attribute!r} of {module} cannot be called")
    found: Callable[..., Any] = factory
    return found


def lacking(made: object, contract: type) -> list[str]:
    """What a Protocol asks for and an object does not have."""
    asked = {*vars(contract), *getattr(contract, "__annotations__", ())}
    return sorted(name for name in asked if not name.startswith("_") and not hasattr(made, name))
