"""Three things that an engine may do with a graph and that this project counts on it not doing, as a job of its own:

    python -m tests.engines.traps FOLDER --runner=…

What becomes of it is read from FOLDER, since every step leaves a file for each thing that it does:
- `side`: a step with a side output, which an engine that does not keep its results would compute once for each output
- `spread`: the tasks of a file, which a shuffle has to spread over the workers, in the bundles that they came in
- `last`: what a step has held back until its bundle is done
"""

import collections
import sys
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.transforms.window import GlobalWindows

from pipeline import task_file

ELEMENTS = 40
MOST_OF_A_BUNDLE = 0.8
SIDE, SPREAD, LAST = "side", "spread", "last"


def main(argv: list[str]) -> None:
    run(Path(argv[0]), argv[1:])


def run(folder: Path, options: list[str]) -> None:
    for name in (SIDE, SPREAD, LAST):
        (folder / name).mkdir(parents=True)
    path = str(folder / "tasks.jsonl")
    task_file.write(path, range(ELEMENTS))
    with beam.Pipeline(options=PipelineOptions(options)) as pipeline:
        tasks = pipeline | "tasks" >> task_file.ReadTasks(path, int)
        both = tasks | "side" >> beam.ParDo(_Side(str(folder / SIDE))).with_outputs("odd", main="even")
        last = str(folder / LAST)
        _ = both["odd"] | "hold odd" >> beam.ParDo(_HoldBack()) | "leave odd" >> beam.Map(_leave, last)
        # Behind a shuffle, so that the two outputs are not of one stage.
        even = both["even"] | beam.Reshuffle()
        _ = even | "hold even" >> beam.ParDo(_HoldBack()) | "leave even" >> beam.Map(_leave, last)
        _ = tasks | "spread" >> beam.ParDo(_Spread(str(folder / SPREAD)))


def assert_none_is_met(folder: Path, *, spreads: bool = True) -> None:
    """`spreads`: there is more than one worker."""
    every = sorted(map(str, range(ELEMENTS)))
    assert sorted(left(folder / SIDE)) == every, "a step with a side output was computed more than once, or not"
    assert sorted(left(folder / LAST)) == every, "finish_bundle was not called, or what it gave is lost"
    assert sorted(name.split("@")[1] for name in left(folder / SPREAD)) == every
    bundles = collections.Counter(name.split("@")[0] for name in left(folder / SPREAD))
    if spreads:
        assert max(bundles.values()) <= MOST_OF_A_BUNDLE * ELEMENTS, f"the tasks were not spread: {bundles}"


def left(folder: Path) -> list[str]:
    return [path.name.split("~")[0] for path in folder.iterdir()]


def _leave(what: Any, folder: str) -> None:
    (Path(folder) / f"{what}~{uuid.uuid4().hex}").touch()


class _Side(beam.DoFn):
    def __init__(self, folder: str) -> None:
        self._folder = folder

    def process(self, element: int) -> Iterator[Any]:
        _leave(element, self._folder)
        yield beam.pvalue.TaggedOutput("odd", element) if element % 2 else element


class _HoldBack(beam.DoFn):
    def start_bundle(self) -> None:
        self._held: list[int] = []

    def process(self, element: int) -> None:
        self._held.append(element)

    def finish_bundle(self) -> Iterator[Any]:
        for element in self._held:
            yield GlobalWindows.windowed_value(element)


class _Spread(beam.DoFn):
    def __init__(self, folder: str) -> None:
        self._folder = folder

    def start_bundle(self) -> None:
        self._bundle = uuid.uuid4().hex

    def process(self, element: int) -> None:
        time.sleep(0.01)
        _leave(f"{self._bundle}@{element}", self._folder)


if __name__ == "__main__":
    main(sys.argv[1:])
