"""The exact mixture of text sources in every global mini-batch: 2:2:1:1 of SF:LF:PL:ASET (section 3.4 of the paper).

Where the batch size does not divide, seats go to the sources by largest remainder and what is owed is carried on, so
that over a stated period (`period` batches) the proportions are exact.
"""

import dataclasses
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from schemas.sources import SOURCES, TextSource

NAMES = ":".join(str(source.bit.name) for source in SOURCES)  # as weights are written
_LEAST = max(i for i, source in enumerate(SOURCES, 1) if source.seats)


class MixtureError(ValueError):
    """The asked mixture cannot be drawn from the data."""


_Weights: Any = dataclasses.make_dataclass(
    "_Weights", [(source.key, int, source.seats) for source in SOURCES], frozen=True, kw_only=True
)


@dataclass(frozen=True, kw_only=True)
class Mixture(_Weights):  # type: ignore[misc]  # its fields are made above
    """The weight of each source in every batch, a field for each (`sf`, `lf`, `pl`, `aset`); 0 leaves a source out."""

    def __post_init__(self) -> None:
        if min(self.weights.values()) < 0 or not any(self.weights.values()):
            raise ValueError(f"mixture {self.text} must have weights >= 0, one of them positive")

    @property
    def weights(self) -> dict[TextSource, int]:
        return {source.bit: getattr(self, source.key) for source in SOURCES}

    @property
    def sources(self) -> TextSource:
        """The sum of those that have weight."""
        return TextSource(sum(source for source, weight in self.weights.items() if weight))

    @property
    def text(self) -> str:
        return ":".join(str(weight) for weight in self.weights.values())

    @classmethod
    def of(cls, weights: Mapping[TextSource, int]) -> "Mixture":
        """Of these sources alone. Raises ValueError."""
        return cls(**{source.key: weights.get(source.bit, 0) for source in SOURCES})

    @classmethod
    def among(cls, sources: Iterable[TextSource]) -> "Mixture":
        """The default proportions among some sources. Raises ValueError."""
        return cls.of({source: cls().weights[source] for source in sources})

    @classmethod
    def parse(cls, text: str) -> "Mixture":
        """From `2:2:1:1`; last sources that the default mixture leaves out may be left out here. Raises ValueError."""
        parts = text.split(":")
        if not _LEAST <= len(parts) <= len(SOURCES) or not all(part.isdigit() for part in parts):
            raise ValueError(f"mixture {text!r} is not whole numbers {NAMES} such as {cls().text}")
        return cls.of(dict(zip(TextSource, map(int, parts), strict=False)))

    @classmethod
    def from_json(cls, weights: Mapping[str, int]) -> "Mixture":
        """A source that was not known when this was saved has no weight."""
        return cls(**{**dict.fromkeys((source.key for source in SOURCES), 0), **weights})

    def without(self, missing: set[TextSource]) -> "Mixture":
        """The same proportions among the sources that are there. Raises MixtureError where none is left."""
        left = {source: weight for source, weight in self.weights.items() if source not in missing}
        if not any(left.values()):
            raise MixtureError("the data has no text of any source of the mixture")
        return self.of(left)


class Quotas:
    """How many pairs of each source a lane has in the batch of a step: a pure function of both.

    Over `period` steps the whole batch has the exact proportions, and over `period` × `lanes` steps each lane has.
    """

    def __init__(self, mixture: Mixture, batch_size: int, lanes: int = 1) -> None:
        weights = {source: weight for source, weight in mixture.weights.items() if weight}
        total = sum(weights.values())
        if batch_size * min(weights.values()) < total:
            raise MixtureError(
                f"a batch of {batch_size} cannot hold each source of {mixture.text}; "
                f"it needs at least {math.ceil(total / min(weights.values()))} pairs"
            )
        size = batch_size // lanes
        self._lanes = lanes
        self._table: list[dict[TextSource, int]] = []
        owed = dict.fromkeys(weights, 0)  # in units of 1/total of a pair
        for _ in range(total // math.gcd(total, size)):
            owed = {source: owed[source] + size * weight for source, weight in weights.items()}
            seats = {source: owed[source] // total for source in weights}
            by_remainder = sorted(weights, key=lambda source: (-(owed[source] % total), source))
            for source in by_remainder[: size - sum(seats.values())]:
                seats[source] += 1
            owed = {source: owed[source] - seats[source] * total for source in weights}
            self._table.append(seats)
        self.period = len(self._table) // math.gcd(len(self._table), lanes)

    def of(self, step: int, lane: int = 0) -> dict[TextSource, int]:
        # Lanes change places after each period, so that none of them has more of a source for good.
        place = (lane + step // self.period) % self._lanes
        return self._table[(step * self._lanes + place) % len(self._table)]
