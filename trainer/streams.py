"""Streams of rows, one a source, and the global mini-batches that are drawn from them.

A stream has its own cursor over the row groups that hold its source: in each pass the groups come in an order of that
pass, their rows go through a buffer that is drawn from at random, and the pass ends when the buffer is empty, so each
eligible row is drawn exactly once a pass. Every draw is named by (seed, stream, pass, …) (`trainer.draw`), so the state
is a few numbers and the places of the rows in the buffer.

All ranks plan the same global mini-batch and take their share of it, so the number of ranks changes nothing.
"""

from dataclasses import dataclass, replace
from typing import Any

from schemas.run import RunError
from schemas.sources import TextSource
from trainer.augment import Masks, SpecAugment
from trainer.data import Corpus, Row
from trainer.draw import draw_below, permutation
from trainer.mixture import Mixture, Quotas
from trainer.split import Split


@dataclass(frozen=True, kw_only=True, slots=True)
class Example:
    """One pair to be made: where its window starts, which text it takes, what SpecAugment hides."""

    source: TextSource
    row: Row
    text: str
    start_sample: int
    masks: Masks

    def without_audio(self) -> "Example":
        return replace(self, row=replace(self.row, audio=b""))


class Stream:
    """Rows of one source, each once a pass, in an order of that pass."""

    def __init__(self, corpus: Corpus, source: TextSource, split: Split, seed: int, *, audio: bool = True) -> None:
        self._corpus, self._source, self._split, self._audio = corpus, source, split, audio
        self._name = (seed, str(split), str(source.name))
        self._candidates = corpus.candidates(source, split)
        self._pass, self._position, self._drawn = 0, 0, 0
        self._buffer: list[Row] = []

    def next(self) -> tuple[int, Row]:
        """(pass, row)."""
        self._fill()
        if not self._buffer:
            if self._drawn == 0:
                raise RunError(
                    f"no {self._split} row has a usable text of {self._source.name}; is its filter too strict?"
                )
            self._pass, self._position, self._drawn = self._pass + 1, 0, 0
            self._fill()
        chosen = draw_below(len(self._buffer), *self._name, "pick", self._pass, self._drawn)
        self._drawn += 1
        self._buffer[chosen], self._buffer[-1] = self._buffer[-1], self._buffer[chosen]
        return self._pass, self._buffer.pop()

    def state(self) -> dict[str, Any]:
        places = [list(row.place) for row in self._buffer]
        return {"pass": self._pass, "position": self._position, "drawn": self._drawn, "buffer": places}

    def restore(self, state: dict[str, Any]) -> None:
        self._pass, self._position, self._drawn = state["pass"], state["position"], state["drawn"]
        groups = sorted({group for group, _ in state["buffer"]})
        rows = {row.place: row for group in groups for row in self._read(group)}
        self._buffer = [rows[group, row] for group, row in state["buffer"]]

    def _fill(self) -> None:
        order = permutation(len(self._candidates), *self._name, "groups", self._pass)
        while self._position < len(order) and len(self._buffer) < self._corpus.config.buffer_rows:
            self._buffer.extend(self._read(int(self._candidates[order[self._position]])))
            self._position += 1

    def _read(self, group: int) -> list[Row]:
        return self._corpus.read(group, self._source, self._split, audio=self._audio)


class GlobalBatches:
    """The mini-batches of a seed, in order: exact quotas, random windows and texts, a random order of the pairs."""

    def __init__(
        self,
        corpus: Corpus,
        mixture: Mixture,
        batch_size: int,
        seed: int,
        *,
        split: Split = Split.TRAIN,
        augment: SpecAugment | None = None,
        audio: bool = True,
    ) -> None:
        self.batch_size, self.quotas = batch_size, Quotas(mixture, batch_size)
        self._corpus, self._seed, self._split, self._augment = corpus, seed, split, augment
        self._window_samples = corpus.config.window_samples
        self._streams = {
            source: Stream(corpus, source, split, seed, audio=audio)
            for source, weight in mixture.weights.items()
            if weight
        }
        self.step = 0

    def next(self) -> list[Example]:
        """The global mini-batch of the next step."""
        examples = [
            self._example(source, *self._streams[source].next())
            for source, seats in self.quotas.of(self.step).items()
            for _ in range(seats)
        ]
        order = permutation(len(examples), self._seed, str(self._split), "order", self.step)
        self.step += 1
        return [examples[i] for i in order]

    def name_of(self, example: Example) -> str:
        """Where an example comes from, for errors."""
        return f"{self._corpus.describe(example.row.place[0])}: recording {example.row.recording_id}"

    def state(self) -> dict[str, Any]:
        """JSON: with it, `restore` goes on exactly here."""
        return {"step": self.step, "streams": {str(s.name): stream.state() for s, stream in self._streams.items()}}

    def restore(self, state: dict[str, Any]) -> None:
        self.step = state["step"]
        for source, stream in self._streams.items():
            stream.restore(state["streams"][str(source.name)])

    def _example(self, source: TextSource, passed: int, row: Row) -> Example:
        name = (self._seed, str(self._split), str(source.name), passed, row.recording_id)
        return Example(
            source=source,
            row=row,
            text=row.texts[draw_below(len(row.texts), *name, "text")],
            start_sample=draw_below(max(row.samples - self._window_samples, 0) + 1, *name, "window"),
            masks=self._augment.draw(*name) if self._augment else Masks(),
        )
