"""Frozen configurations as plain values, and changed by name: `optimizer.beta2=0.98`.

A name leads through the fields of nested dataclasses and the keys of their options. A text is read by the type that its
field declares, so what a command line says is either a value of that type or an error that names the fields there are.
"""

import dataclasses
import json
import math
import types
import typing
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

Config = TypeVar("Config")


def from_plain(kind: type[Config], value: Mapping[str, Any]) -> Config:
    """The configuration of which `value` is `dataclasses.asdict`, or that as JSON; what it lacks has its default.

    Raises TypeError where a field is unknown or has no default, ValueError where a value does not fit.
    """
    hints = typing.get_type_hints(kind)
    return kind(**{name: _structured(hints.get(name), given) for name, given in value.items()})


def with_settings(config: Config, settings: Iterable[tuple[str, str]]) -> Config:
    """With each (name, text) taken over, a later one last. Raises ValueError, one line."""
    kind = type(config)
    plain: Any = dataclasses.asdict(config)  # type: ignore[call-overload]  # a dataclass, which the type does not say
    for name, text in settings:
        try:
            plain = _changed(kind, plain, name.split("."), text, kind.__name__)
        except ValueError as error:
            raise ValueError(f"{name}={text}: {error}") from error
    return from_plain(kind, plain)


def differences(before: Mapping[str, Any], now: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any, Any]]:
    """(dotted name, value before, value now) of all plain values that differ; None where there is none."""
    for name in sorted(before.keys() | now.keys()):
        old, new = before.get(name), now.get(name)
        if isinstance(old, Mapping) and isinstance(new, Mapping):
            yield from differences(old, new, f"{prefix}{name}.")
        elif old != new:
            yield f"{prefix}{name}", old, new


def _structured(kind: Any, value: Any) -> Any:
    if dataclasses.is_dataclass(kind) and isinstance(value, Mapping):
        read = getattr(kind, "from_json", None)  # of one that reads what older versions wrote
        return read(value) if read is not None else from_plain(typing.cast(type[Any], kind), value)
    return tuple(value) if typing.get_origin(kind) is tuple and isinstance(value, list) else value


def _changed(kind: Any, value: Any, names: Sequence[str], text: str, where: str) -> Any:
    """A plain value of a type with what `names` lead to read from the text."""
    if not names:
        return _read(kind, text, where)
    name, *rest = names
    if typing.get_origin(kind) is dict:
        return {**value, name: _changed(Any, None, rest, text, name)}
    fields = _fields(kind)
    if name not in fields:
        known = f"it has {', '.join(fields)}" if fields else "it is a value"
        raise ValueError(f"{where} has no {name!r}; {known}")
    return {**value, name: _changed(fields[name], value[name], rest, text, name)}


def _read(kind: Any, text: str, where: str) -> Any:
    kinds = typing.get_args(kind) if isinstance(kind, types.UnionType) else (kind,)
    if types.NoneType in kinds and text.lower() in ("none", "null"):
        return None
    kind = kinds[0]
    if parse := getattr(kind, "parse", None):  # a small configuration with a notation of its own, such as 2:2:1:1
        return dataclasses.asdict(parse(text))
    if fields := _fields(kind):
        raise ValueError(f"{where} is a section; set one of {', '.join(f'{where}.{name}' for name in fields)}")
    read, wanted = _READERS[typing.get_origin(kind) or kind]
    try:
        return read(text)
    except (ValueError, KeyError) as error:
        raise ValueError(f"{text} is not {wanted}") from error


def _fields(kind: Any) -> dict[str, Any]:
    """Field -> type; none where it is no dataclass."""
    return typing.get_type_hints(kind) if dataclasses.is_dataclass(kind) else {}


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError
    return value


def _json(kind: type[Any]) -> Callable[[str], Any]:
    def read(text: str) -> Any:
        value = json.loads(text)
        if not isinstance(value, kind):
            raise ValueError
        return value

    return read


def _json_or_text(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


# Type -> how its text is read, and what the text should have been.
_READERS: dict[Any, tuple[Callable[[str], Any], str]] = {
    bool: (lambda text: {"true": True, "false": False}[text.lower()], "true or false"),
    int: (int, "a whole number"),
    float: (_finite, "a finite number"),
    str: (str, "a text"),
    tuple: (lambda text: tuple(_json(list)(text)), "a JSON list"),
    dict: (_json(dict), "a JSON object"),
    Any: (_json_or_text, "a text"),
}
