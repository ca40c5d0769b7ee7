"""The recording that a sentence was said of: what to hear and read of it, where the project allows a look.

Context may bias: who hears the music judges the music, not the sentence. So it is off unless the project turns it on,
by default it comes after one's own label alone, and what was turned on and each first look stand in the log. The score
of a sentence is no part of it.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from filters.annotation.log import Log
from filters.annotation.records import AnnotationError, item_id_of
from schemas.run import RowGroup, Run, RunError
from schemas.serving.sound import playable
from schemas.shard import AudioEncoding

_SHOWN_TEXTS = 12


class When(StrEnum):
    """When an annotator may look: only after his own label of the sentence, or on a key before it as well."""

    AFTER = "after"
    KEY = "key"


@dataclass(frozen=True, kw_only=True)
class Context:
    """`says` is what the catalogue has as title, artist, album and tags, in this order."""

    recording_id: str
    says: list[str]
    source: str
    start_s: float
    duration_s: float


class Contexts:
    """The rows of a run behind the sentences of a database; of several recordings the first in the run's order."""

    def __init__(self, run: Run, when: When) -> None:
        self._run = run
        self.when = when
        self._places: dict[str, tuple[RowGroup, int]] = {}
        self._looked_for: frozenset[str] = frozenset()

    def of(self, log: Log, item_id: str) -> Context | None:
        """None where the run has no such sentence. Raises AnnotationError."""
        row = self._row(log, item_id, ["recording_id", "sf_unfiltered", "source", "start_s", "duration_s"])
        if row is None:
            return None
        return Context(
            recording_id=row["recording_id"],
            says=row["sf_unfiltered"][:_SHOWN_TEXTS],
            source=row["source"] or "",
            start_s=row["start_s"],
            duration_s=row["duration_s"],
        )

    def audio(self, log: Log, item_id: str) -> tuple[bytes, str] | None:
        """The clip as a browser plays it, and its media type."""
        row = self._row(log, item_id, ["audio", "audio_encoding"])
        if row is None:
            return None
        return playable(row["audio"], AudioEncoding(row["audio_encoding"]))

    def _row(self, log: Log, item_id: str, columns: list[str]) -> dict[str, Any] | None:
        item = log.connection.execute("SELECT text FROM items WHERE item_id = ?", (item_id,)).fetchone()
        if item is None:
            raise AnnotationError(f"item {item_id}: there is no such item")
        wanted = item_id_of(item["text"])
        try:
            if wanted not in self._looked_for:
                # Sentences may be added while the page is served; each of them is looked for once.
                self._look(item_id_of(row["text"]) for row in log.connection.execute("SELECT text FROM items"))
            place = self._places.get(wanted)
            if place is None:
                return None
            row: dict[str, Any] = self._run.read(place[0], columns, [place[1]]).to_pylist()[0]
            return row
        except RunError as error:
            raise AnnotationError(f"the run cannot be read: {error}") from error

    def _look(self, wanted: Iterable[str]) -> None:
        self._looked_for = frozenset(wanted)
        for group in self._run.row_groups():
            for number, sentences in enumerate(self._run.read(group, ["lf"])["lf"].to_pylist()):
                for sentence in sentences:
                    mark = item_id_of(sentence["text"])
                    if mark in self._looked_for:
                        self._places.setdefault(mark, (group, number))


def remember(log: Log, when: When | None) -> None:
    """Write down what the project allows from now on, where that is something else than before."""
    row = log.connection.execute("SELECT body FROM events WHERE kind = 'contexts' ORDER BY seq DESC LIMIT 1").fetchone()
    if (json.loads(row["body"])["when"] if row else None) != when:
        with log.transaction():
            log.append("contexts", {"when": when})


def before_label(log: Log, person: int, item_id: str, when: When) -> bool:
    """Whether a look would come before the person's own label. Raises AnnotationError where he may not look yet."""
    labelled = "SELECT 1 FROM labels WHERE item_id = ? AND person = ?"
    before = log.connection.execute(labelled, (item_id, person)).fetchone() is None
    if before and when is When.AFTER:
        raise AnnotationError("The recording can be heard after your own answer to the sentence.")
    return before


def looked(log: Log, person: int, item_id: str, *, before: bool) -> None:
    """Write down the first look before the label, and the first one after it."""
    key = f"{person}:context:{item_id}:{'before' if before else 'after'}"
    with log.transaction():
        if log.event_of_key(key) is None:
            log.append("context", {"before": before}, person=person, item_id=item_id, key=key)
