"""Spare the tests Beam's looking twice: half of a small job's CPU goes into the signatures of the same functions and
the same options, some hundreds of times each.

Only what runs in the tests' own processes is spared it; jobs that tests start as a user does run Beam as it is.
"""

import copy
import functools
import inspect
from collections.abc import Callable
from typing import Any

from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.transforms import core


def spare_beam() -> None:
    core.get_function_args_defaults = _remembered(core.get_function_args_defaults)
    PipelineOptions.__init__ = _parsed_once(PipelineOptions.__init__)


def _remembered(look: Callable[[Any], Any]) -> Callable[[Any], Any]:
    found: dict[Any, Any] = {}

    @functools.wraps(look)
    def arguments_and_defaults(function: Any) -> Any:
        try:
            # A bound method lacks the first argument of its function, whatever it is bound to.
            key = getattr(function, "__func__", function), inspect.ismethod(function)
            if key not in found:
                found[key] = look(function)
        except TypeError:  # not hashable
            return look(function)
        arguments, defaults = found[key]
        return list(arguments), list(defaults)

    return arguments_and_defaults


def _parsed_once(parse: Callable[..., None]) -> Callable[..., None]:
    parsed: dict[Any, Any] = {}

    @functools.wraps(parse)
    def init(self: Any, flags: Any = None, **overrides: Any) -> None:
        if not isinstance(flags, list) or overrides:
            parse(self, flags, **overrides)
            return
        key = type(self), tuple(flags)
        if key not in parsed:
            parse(self, flags)
            parsed[key] = copy.deepcopy(self.__dict__)
        self.__dict__.update(copy.deepcopy(parsed[key]), _flags=flags)

    return init
