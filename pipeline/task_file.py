"""Tasks: what a pipeline is to work on, as the lines of a file in the run folder.

A graph that holds each task itself grows with the catalogue, and an engine takes graphs of a few megabytes only. So the
graph has the name of a file, one worker reads its lines, and a shuffle spreads them.
"""

import contextlib
import json
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import apache_beam as beam

from pipeline import storage


def write(path: str, tasks: Iterable[Any]) -> None:
    """A line of JSON for each task."""
    storage.write_bytes(path, _lines(tasks))


def written(run_dir: str, tasks: Iterable[Any]) -> contextlib.AbstractContextManager[str]:
    """The path of a file of tasks that is there as long as the body lasts."""
    return storage.temporary_file(run_dir, _lines(tasks))


def _lines(tasks: Iterable[Any]) -> bytes:
    return b"".join(f"{json.dumps(task)}\n".encode() for task in tasks)


class ReadTasks(beam.PTransform):
    """The tasks of a file, spread over the workers; `parse` makes them of their JSON."""

    def __init__(self, path: str, parse: Callable[[Any], Any]) -> None:
        super().__init__()
        self._path = path
        self._parse = parse

    def expand(self, begin: Any) -> Any:
        return (
            begin
            | beam.Create([self._path], reshuffle=False)
            | beam.FlatMap(_read, self._parse)
            | "spread" >> beam.Reshuffle()
        )


def _read(path: str, parse: Callable[[Any], Any]) -> Iterator[Any]:
    with storage.open_file(path) as stream:
        for line in stream:
            yield parse(json.loads(line))
