"""Batches: rows go between steps some at a time, since a step of Beam costs as much for one row as for many."""

import itertools
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

import apache_beam as beam

ROWS_AT_ONCE = 64
Item = TypeVar("Item")


def batched(items: Iterable[Item], size: int = ROWS_AT_ONCE) -> Iterator[list[Item]]:
    """No more of them is in memory than is in a batch."""
    left = iter(items)
    while some := list(itertools.islice(left, size)):
        yield some


def as_it_is(batch: Iterable[Any]) -> Iterable[Any]:
    return batch


class Each(beam.PTransform):
    """Batches in, what `of` makes of each of them out, one by one: for a shuffle, or where a step takes one."""

    def __init__(self, of: Callable[[Any], Iterable[Any]] = as_it_is) -> None:
        super().__init__()
        self._of = of

    def expand(self, batches: Any) -> Any:
        return batches | beam.FlatMap(self._of)


class Alone(beam.PTransform):
    """What comes one by one, as batches of one."""

    def expand(self, items: Any) -> Any:
        return items | beam.Map(_alone)


def _alone(item: Any) -> list[Any]:
    return [item]
