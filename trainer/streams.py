"""Lanes: the streams of rows that the global mini-batches are drawn from.

A global mini-batch is a fixed number of lanes. A lane has its exact share of the pairs, and a stream of its own for
each source; a rank takes the lanes ≡ its own number, and plans and reads for those alone. So the number of ranks
changes nothing of what is drawn.

In each pass over a source the row groups come in an order of that pass, and their rows, one group after another, are
dealt over the lanes in equal parts; so a lane reads groups of its own, but for one at either end. A lane's rows go
through a buffer that is drawn from at random, and its pass ends when the buffer is empty, so each eligible row is drawn
exactly once a pass. Every draw is named by (seed, stream, pass, …) (`trainer.draw`), so the state is a few numbers and
the places of the rows in the buffer, by the digest of their shard.
"""

import functools
from collections import deque
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from schemas.run import RunError
from schemas.sources import TextSource
from trainer.augment import Masks, SpecAugment
from trainer.data import DataConfig, Place, Row
from trainer.dist import Ranks
from trainer.draw import draw_below, permutation
from trainer.mixture import Mixture, Quotas
from trainer.row_index import RowIndex
from trainer.split import Split

_READERS = 32  # most of them wait for a store
_FEW_GROUPS = 4  # of a lane: it then reads a quarter more than it draws
_PIECES_AHEAD = 2  # of a stream, whose texts are read before they are needed


class Rows(Protocol):
    """What planning asks of a corpus."""

    @property
    def config(self) -> DataConfig: ...

    @property
    def index(self) -> RowIndex: ...

    def read(self, group: int, source: TextSource, split: Split, part: slice) -> list[Row]: ...

    def describe(self, group: int) -> str: ...


class Expecting(Protocol):
    """Is told of rows whose audio will be asked for."""

    def expect(self, group: int, rows: Sequence[int]) -> None: ...


@dataclass(frozen=True, kw_only=True, slots=True)
class Example:
    """One pair to be made: where its window starts, which text it takes, what SpecAugment hides."""

    source: TextSource
    row: Row
    text: str
    start_sample: int
    masks: Masks


class Piece(NamedTuple):
    """Of the rows of a group that a source may draw, those from `first` to `end`."""

    group: int
    first: int
    end: int


class Share:
    """What a lane draws in a pass, row group by row group; those at either end may be shared with another lane."""

    def __init__(self, groups: NDArray[np.int32], end_G: NDArray[np.int64], before: int, first: int, end: int) -> None:
        """Row counts are those of the pass: `end_G` at the end of each group, `before` at the start of the first."""
        self._groups, self._end_G, self._before, self._first, self._end = groups, end_G, before, first, end

    def __len__(self) -> int:
        return len(self._groups)

    def __getitem__(self, position: int) -> Piece:
        start = int(self._end_G[position - 1]) if position else self._before
        end = min(int(self._end_G[position]), self._end)
        return Piece(int(self._groups[position]), max(self._first - start, 0), end - start)


class Passes:
    """The passes over a source's row groups, and how each is dealt over the lanes."""

    def __init__(self, index: RowIndex, source: TextSource, split: Split, lanes: int, seed: int) -> None:
        self.source, self.split, self.lanes = source, split, lanes
        self.name = (seed, str(split), str(source.name))
        counts = index.counts(split, source)
        self.groups = np.flatnonzero(counts).astype(np.int32)
        self._counts = counts[self.groups]
        self.rows = int(self._counts.sum())
        # All lanes are in one pass, or some of them in the next.
        self._dealt = functools.lru_cache(maxsize=2)(self._deal)

    def share(self, passed: int, lane: int) -> Share:
        """Those of two lanes differ by one row at most."""
        order, end_G = self._dealt(passed)
        # Turned in every pass: where there are fewer rows than lanes, each lane has one in some pass.
        part = (lane + passed) % self.lanes
        first, end = (self.rows * bound // self.lanes for bound in (part, part + 1))
        start = int(np.searchsorted(end_G, first, "right"))
        stop = int(np.searchsorted(end_G, end, "left")) + 1 if first < end else start
        return Share(order[start:stop], end_G[start:stop], int(end_G[start - 1]) if start else 0, first, end)

    def _deal(self, passed: int) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
        """The row groups in the order of a pass, and how many rows have come by the end of each."""
        order = permutation(len(self.groups), *self.name, "groups", passed)
        return self.groups[order], np.cumsum(self._counts[order], dtype=np.int64)


class StreamState(NamedTuple):
    """Where a stream is: pass, row groups that it has taken in, rows that it has drawn, and what is in its buffer."""

    passed: int
    position: int
    drawn: int
    buffer: tuple[Row, ...]


class Stream:
    """Rows of one source in one lane, each once a pass, in an order of that pass."""

    def __init__(
        self, rows: Rows, passes: Passes, lane: int, buffer_rows: int, pool: ThreadPoolExecutor, audio: Expecting | None
    ) -> None:
        self._rows, self._passes, self._lane, self._pool, self._audio = rows, passes, lane, pool, audio
        self._buffer_rows = buffer_rows
        self._draw = (*passes.name, "pick", lane)
        self._buffer: list[Row] = []
        self._pass, self._position, self._drawn, self._empty = 0, 0, 0, 0
        self._share = passes.share(0, lane)
        self._ahead: deque[Future[list[Row]]] = deque()

    def next(self) -> tuple[int, Row]:
        """(pass, row)."""
        self._fill()
        while not self._buffer:
            self._empty = 0 if self._drawn else self._empty + 1
            if self._empty == self._passes.lanes:
                raise RunError(
                    f"no {self._passes.split} row has a usable text of {self._passes.source.name}; is its filter too "
                    "strict?"
                )
            self._begin(self._pass + 1)
            self._fill()
        chosen = draw_below(len(self._buffer), *self._draw, self._pass, self._drawn)
        self._drawn += 1
        self._buffer[chosen], self._buffer[-1] = self._buffer[-1], self._buffer[chosen]
        return self._pass, self._buffer.pop()

    def state(self) -> StreamState:
        return StreamState(self._pass, self._position, self._drawn, tuple(self._buffer))

    def restore(self, passed: int, position: int, drawn: int, buffer: Sequence[Place]) -> None:
        self._begin(passed)
        self._position, self._drawn = position, drawn
        passes, groups = self._passes, sorted({place.group for place in buffer})
        read = self._pool.map(lambda group: self._rows.read(group, passes.source, passes.split, slice(None)), groups)
        rows = {row.place: row for group in read for row in group}
        # A shard may be lost since, where the training goes on without it.
        self._buffer = [rows[place] for place in buffer if place in rows]
        self._expect(self._buffer)

    def piece_after(self, state: StreamState) -> Piece | None:
        """What is taken in next, in the pass of then."""
        share = self._passes.share(state.passed, self._lane)
        return share[state.position] if state.position < len(share) else None

    def _begin(self, passed: int) -> None:
        self._pass, self._position, self._drawn = passed, 0, 0
        self._share = self._passes.share(passed, self._lane)
        self._ahead.clear()

    def _fill(self) -> None:
        while self._position < len(self._share) and len(self._buffer) < self._buffer_rows:
            while len(self._ahead) <= _PIECES_AHEAD and self._position + len(self._ahead) < len(self._share):
                self._ahead.append(self._pool.submit(self._read, self._share[self._position + len(self._ahead)]))
            found = self._ahead.popleft().result()
            self._position += 1
            self._buffer.extend(found)
            self._expect(found)

    def _read(self, piece: Piece) -> list[Row]:
        return self._rows.read(piece.group, self._passes.source, self._passes.split, slice(piece.first, piece.end))

    def _expect(self, rows: Sequence[Row]) -> None:
        if self._audio is not None:
            by_group: dict[int, list[int]] = {}
            for row in rows:
                by_group.setdefault(row.place.group, []).append(row.place.row)
            for group, places in by_group.items():
                self._audio.expect(group, places)


@dataclass(frozen=True, kw_only=True)
class LanesState:
    """After which step the lanes of a rank are where."""

    step: int
    streams: Mapping[tuple[int, TextSource], StreamState]


class Lanes:
    """The mini-batches of a seed, in order, as far as a rank has them: exact quotas, random windows and texts, a random
    order of the pairs within a lane.

    Raises ValueError where the lanes do not divide over the ranks, MixtureError where a batch is too small.
    """

    def __init__(
        self,
        corpus: Rows,
        mixture: Mixture,
        batch_size: int,
        lanes: int,
        seed: int,
        *,
        ranks: Ranks | None = None,
        split: Split = Split.TRAIN,
        augment: SpecAugment | None = None,
        audio: Expecting | None = None,
    ) -> None:
        if batch_size % lanes:
            raise ValueError(f"a batch of {batch_size} pairs is not a whole number of pairs in each of {lanes} lanes")
        self.batch_size, self.count, self.quotas = batch_size, lanes, Quotas(mixture, batch_size, lanes)
        self.step = 0
        self._corpus, self._seed, self._split, self._augment = corpus, seed, split, augment
        self._window_samples = corpus.config.window_samples
        self._pool = ThreadPoolExecutor(_READERS, thread_name_prefix="plan")
        self.passes = [
            Passes(corpus.index, source, split, lanes, seed) for source, weight in mixture.weights.items() if weight
        ]
        self._buffer_rows = -(-corpus.config.buffer_rows // lanes)
        self._lanes = lanes_of(lanes, ranks or Ranks())
        self._streams = {
            (lane, passes.source): Stream(corpus, passes, lane, self._buffer_rows, self._pool, audio)
            for lane in self._lanes
            for passes in self.passes
        }

    @property
    def pairs(self) -> int:
        """Of this rank in each mini-batch."""
        return self.batch_size // self.count * len(self._lanes)

    def shared_groups(self) -> list[Passes]:
        """Sources with so few row groups that those at the ends of lanes' shares count: each is read by two lanes."""
        return [passes for passes in self.passes if len(passes.groups) < _FEW_GROUPS * self.count]

    @property
    def rows_held(self) -> int:
        """In the buffers of this rank, at most: a buffer is filled by whole row groups."""
        return len(self._lanes) * sum(
            min(self._buffer_rows + passes.rows // max(len(passes.groups), 1), -(-passes.rows // self.count))
            for passes in self.passes
        )

    def next(self) -> list[Example]:
        """This rank's part of the next step's mini-batch, lane after lane."""
        examples = []
        for lane in self._lanes:
            drawn = [
                self._example(source, *self._streams[lane, source].next())
                for source, seats in self.quotas.of(self.step, lane).items()
                for _ in range(seats)
            ]
            order = permutation(len(drawn), self._seed, str(self._split), "order", self.step, lane)
            examples += [drawn[i] for i in order]
        self.step += 1
        return examples

    def name_of(self, example: Example) -> str:
        """Where an example comes from, for errors."""
        return f"{self._corpus.describe(example.row.place.group)}: recording {example.row.recording_id}"

    def state(self) -> LanesState:
        """A snapshot, cheap enough for every step; `to_json` makes what a checkpoint keeps of it."""
        return LanesState(step=self.step, streams={name: stream.state() for name, stream in self._streams.items()})

    def to_json(self, state: LanesState) -> dict[str, Any]:
        """Rows by the digest of their shard: a number of a group would mean another one in another corpus."""
        index = self._corpus.index
        shards: dict[int, int] = {}

        def place(group: int, row: int) -> list[int]:
            shard = int(index.shard_G[group])
            return [shards.setdefault(shard, len(shards)), int(index.group_G[group]), row]

        lanes: dict[str, dict[str, Any]] = {}
        for (lane, source), at in state.streams.items():
            following = self._streams[lane, source].piece_after(at)
            lanes.setdefault(str(lane), {})[str(source.name)] = {
                "pass": at.passed,
                "position": at.position,
                "next": place(following.group, following.first) if following is not None else None,
                "drawn": at.drawn,
                "buffer": [place(*row.place) for row in at.buffer],
            }
        digests = [[index.shards[shard][0], index.shards[shard][1].sha256] for shard in shards]
        return {"step": state.step, "shards": digests, "lanes": lanes}

    def restore(self, parts: Sequence[Mapping[str, Any]]) -> None:
        """Go on exactly where the ranks were that `to_json` made these parts of, one each. Raises ValueError where the
        corpus is not the one of then."""
        if not isinstance(parts, list):
            raise ValueError(
                "the checkpoint is of an older openmulan, which drew its mini-batches otherwise; begin in another "
                "--output, from its model (--init_from)"
            )
        places = _Places(self._corpus.index)
        waiting = dict(self._streams)
        for part in parts:
            self.step, shards = part["step"], part["shards"]
            for (lane, source), stream in self._streams.items():
                if (at := part["lanes"].get(str(lane), {}).get(str(source.name))) is None:
                    continue
                buffer = [places.of(shards, place) for place in at["buffer"]]
                stream.restore(at["pass"], at["position"], at["drawn"], buffer)
                piece = stream.piece_after(stream.state())
                following = Place(piece.group, piece.first) if piece is not None else None
                if following != (places.of(shards, at["next"]) if at["next"] is not None else None):
                    raise ValueError(f"lane {lane} of {source.name} would go on with other rows than it stopped before")
                del waiting[lane, source]
        if waiting:
            lane, source = next(iter(waiting))
            raise ValueError(f"the checkpoint does not say where lane {lane} of {source.name} was")

    def close(self) -> None:
        self._pool.shutdown(cancel_futures=True)

    def _example(self, source: TextSource, passed: int, row: Row) -> Example:
        name = (self._seed, str(self._split), str(source.name), passed, row.recording_id)
        return Example(
            source=source,
            row=row,
            text=row.texts[draw_below(len(row.texts), *name, "text")],
            start_sample=draw_below(max(row.samples - self._window_samples, 0) + 1, *name, "window"),
            masks=self._augment.draw(*name) if self._augment else Masks(),
        )


class _Places:
    """The number of a row group by its shard's digest."""

    def __init__(self, index: RowIndex) -> None:
        self._index = index
        self._shards = {(run, shard.sha256): number for number, (run, shard) in enumerate(index.shards)}

    def of(self, shards: Sequence[Sequence[Any]], place: Sequence[int]) -> Place:
        """Of [shard of `shards`, row group in it, row]. Raises ValueError."""
        run, digest = shards[place[0]]
        shard = self._shards.get((run, digest), -1)
        first, end = np.searchsorted(self._index.shard_G, [shard, shard + 1])
        found = np.flatnonzero(self._index.group_G[first:end] == place[1])
        if not len(found):
            raise ValueError(f"shard {digest[:12]}… of data {run + 1} has no row group {place[1]} here")
        return Place(int(first + found[0]), place[2])


def lanes_of(count: int, ranks: Ranks) -> range:
    """The lanes of a rank. Raises ValueError where they do not divide."""
    if count % ranks.count:
        fitting = ", ".join(str(n) for n in range(1, count + 1) if count % n == 0)
        raise ValueError(f"{count} lanes do not divide over {ranks.count} ranks; {fitting} ranks fit")
    return range(ranks.rank, count, ranks.count)
