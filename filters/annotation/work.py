"""Handing out sentences and taking labels: overlap, leases, retries and undo.

An item is wanted from `overlap` annotators, first come, first served. Who is shown it holds a lease; labels plus live
leases never exceed the overlap, and so neither do labels. A label carries a key made by the browser: the same key again
(after a lost answer, a crash, a reload) changes nothing and gives the first answer again.
"""

import itertools
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from types import EllipsisType

from filters.annotation.log import Log
from filters.annotation.projection import Event
from filters.annotation.records import AnnotationError, check_item
from schemas.label import LabelItem, LabelValue

LEASE_MS = 10 * 60_000
# A gap between two labels that is longer than this was a break, not a hard sentence.
_BREAK_MS = 2 * 60_000


class Conflict(AnnotationError):
    """What was asked contradicts what is stored."""


class Overtaken(Conflict):
    """The person has another answer to that sentence by now, given in another window; `standing` is that one."""

    def __init__(self, standing: "PastLabel") -> None:
        self.standing = standing
        super().__init__("You have answered this sentence in another window meanwhile.")


class Taken(StrEnum):
    """What became of a label that came in."""

    SAVED = "saved"
    REPEATED = "repeated"  # the key was known: the label stood already
    LATE = "late"  # the lease had run out and others took the item: kept in the log, not counted


@dataclass(frozen=True, kw_only=True)
class Judgement:
    """What an annotator says of one sentence."""

    value: LabelValue
    unsure: bool = False
    skip_reason: str | None = None
    note: str | None = None
    guideline: str | None = None


@dataclass(frozen=True, kw_only=True)
class Task:
    """A sentence as an annotator may see it: no source, no stratum, no score."""

    item_id: str
    text: str


@dataclass(frozen=True, kw_only=True)
class PastLabel:
    """One of an annotator's own labels, to look at and to correct."""

    item_id: str
    text: str
    judgement: Judgement
    seq: int
    over: int | None = None  # the event of the label that it corrected


@dataclass(frozen=True, kw_only=True)
class Progress:
    """`wanted` counts labels over all annotators; `open_to_me` is what this annotator may still be given."""

    mine: int
    taken: int
    wanted: int
    open_to_me: int
    pace_s: float | None  # median seconds a label, without breaks


def add_items(log: Log, items: Sequence[LabelItem], overlap: int) -> int:
    """Add what is not there yet, in the given order; returns how many were new. Only inside a transaction.

    An item that is there keeps its text (another text under its id is an error) and its larger overlap.
    """
    if overlap < 1:
        raise AnnotationError(f"overlap {overlap}: at least one annotator has to see a sentence")
    new = 0
    for item in items:
        check_item(item)
        row = log.connection.execute("SELECT text, overlap FROM items WHERE item_id = ?", (item.item_id,)).fetchone()
        if row is None:
            new += 1
            log.append(
                "item",
                {
                    "text": item.text,
                    "source": item.source,
                    "stratum": item.stratum,
                    "inclusion_probability": item.inclusion_probability,
                    "overlap": overlap,
                },
                item_id=item.item_id,
            )
        elif row["text"] != item.text:
            raise Conflict(f"item {item.item_id}: the database has another text under this id")
        elif row["overlap"] < overlap:
            log.append("overlap", {"overlap": overlap}, item_id=item.item_id)
    return new


def next_tasks(log: Log, person: int, count: int) -> list[Task]:
    """The sentences that the person is to see next, `count` at most, all leased to the person afresh."""
    now = log.clock_ms()
    run = log.connection.execute
    with log.transaction(durable=False):
        run("DELETE FROM leases WHERE expires_ms <= ?", (now,))
        held = run(
            "SELECT items.item_id, items.text FROM leases JOIN items USING (item_id) WHERE leases.person = ?"
            " ORDER BY items.position",
            (person,),
        ).fetchall()[:count]
        fresh = run(
            "SELECT item_id, text FROM items WHERE taken < overlap"
            " AND NOT EXISTS (SELECT 1 FROM labels WHERE labels.item_id = items.item_id AND person = :person)"
            " AND NOT EXISTS (SELECT 1 FROM leases WHERE leases.item_id = items.item_id AND person = :person)"
            " AND taken + (SELECT count(*) FROM leases WHERE leases.item_id = items.item_id) < overlap"
            " ORDER BY position LIMIT :count",
            {"person": person, "count": count - len(held)},
        ).fetchall()
        tasks = [Task(item_id=row["item_id"], text=row["text"]) for row in [*held, *fresh]]
        _lease(log, person, [task.item_id for task in tasks], now + LEASE_MS)
    return tasks


def fair_share(log: Log) -> int:
    """Half of what each of those who are at work would get of the labels that are wanted still."""
    run = log.connection.execute
    left = run("SELECT coalesce(sum(overlap - taken), 0) FROM items WHERE taken < overlap").fetchone()[0]
    at_work = run("SELECT count(DISTINCT person) FROM leases WHERE expires_ms > ?", (log.clock_ms(),)).fetchone()[0]
    share: int = left // (2 * max(at_work, 1))
    return share


def put_label(
    log: Log, person: int, item_id: str, judgement: Judgement, key: str, *, over: int | EllipsisType | None = ...
) -> Taken:
    """Take a label, or a correction of one's own.

    `over` is the event of the person's own label that was on the screen, None where there was none; left out it is not
    compared. Raises AnnotationError; Conflict where the key stands for another; Overtaken where the person has said
    something else of the sentence meanwhile, in another window: nobody overwrites himself unseen.
    """
    key = f"{person}:{key}"
    now = log.clock_ms()
    run = log.connection.execute
    with log.transaction():
        known = said_before(log, key, item_id, judgement.value)
        if known is not None:
            return Taken.LATE if known.kind == "late" else Taken.REPEATED
        item = run("SELECT taken, overlap FROM items WHERE item_id = ?", (item_id,)).fetchone()
        if item is None:
            raise AnnotationError(f"item {item_id}: there is no such item")
        former = run("SELECT seq FROM labels WHERE item_id = ? AND person = ?", (item_id, person)).fetchone()
        if former is not None and over is not ... and former["seq"] != over:
            standing = _past(log, log.event(former["seq"]))
            if standing.judgement == judgement:
                return Taken.REPEATED
            raise Overtaken(standing)
        claimed_by_others = run(
            "SELECT count(*) FROM leases WHERE item_id = ? AND person <> ? AND expires_ms > ?", (item_id, person, now)
        ).fetchone()[0]
        late = former is None and item["taken"] + claimed_by_others >= item["overlap"]
        log.append(
            "late" if late else "label",
            {
                "value": judgement.value,
                "unsure": judgement.unsure,
                "skip_reason": judgement.skip_reason,
                "note": log.keep_note(person, judgement.note) if judgement.note else None,
                "guideline": judgement.guideline,
                "previous": former["seq"] if former else None,
                "imported": False,
            },
            person=person,
            item_id=item_id,
            key=key,
        )
        run("DELETE FROM leases WHERE item_id = ? AND person = ?", (item_id, person))
    return Taken.LATE if late else Taken.SAVED


def undo(log: Log, person: int, key: str, *, label_key: str | None = None) -> PastLabel | None:
    """Take back a label that the person gave here; returns what was taken back, None where there is nothing.

    It is the one that came under `label_key`, or the newest. Raises Conflict where that one does not stand any more.
    The item is leased to the person again in the same transaction, so nobody can slip in between.
    """
    key = f"{person}:{key}"
    with log.transaction():
        known = undone_before(log, key, "undo")
        if known is not None:
            return _past(log, known)
        if label_key is None:
            row = log.connection.execute(
                "SELECT seq FROM labels WHERE person = ? AND NOT imported ORDER BY seq DESC LIMIT 1", (person,)
            ).fetchone()
        else:
            given = log.event_of_key(f"{person}:{label_key}")
            row = log.connection.execute(
                "SELECT seq FROM labels WHERE person = ? AND seq = ?", (person, given.seq if given else None)
            ).fetchone()
            if row is None:
                raise Conflict("That answer does not stand any more: it was changed or taken back in another window.")
        if row is None:
            return None
        past = _past(log, log.event(row["seq"]))
        log.append("undo", {"undoes": past.seq, "back_to": past.over}, person=person, item_id=past.item_id, key=key)
        if past.over is None:
            _lease(log, person, [past.item_id], log.clock_ms() + LEASE_MS)
    return past


def said_before(log: Log, key: str, item_id: str, value: LabelValue) -> Event | None:
    """What the same answer wrote when it came under this key before. Raises Conflict where that was another answer."""
    known = log.event_of_key(key)
    if known is not None and (known.item_id != item_id or known.data().get("value") != value):
        raise Conflict(f"key {key}: was used for another answer")
    return known


def undone_before(log: Log, key: str, kind: str) -> Event | None:
    """What was taken back when the same undo came under this key before. Raises Conflict where the key was for else."""
    known = log.event_of_key(key)
    if known is not None and known.kind != kind:
        raise Conflict(f"key {key}: was used for something else")
    return log.event(known.data()["undoes"]) if known else None


def sentence_of(log: Log, event: Event) -> Task:
    assert event.item_id is not None
    text = log.connection.execute("SELECT text FROM items WHERE item_id = ?", (event.item_id,)).fetchone()["text"]
    return Task(item_id=event.item_id, text=text)


def history(log: Log, person: int, limit: int = 50, offset: int = 0) -> list[PastLabel]:
    """The person's own labels that stand, newest first."""
    rows = log.connection.execute(
        "SELECT labels.*, items.text AS item_text, notes.text AS note_text FROM labels JOIN items USING (item_id)"
        " LEFT JOIN notes ON notes.digest = labels.note WHERE labels.person = ?"
        " ORDER BY labels.seq DESC LIMIT ? OFFSET ?",
        (person, limit, offset),
    )
    return [
        PastLabel(
            item_id=row["item_id"],
            text=row["item_text"],
            seq=row["seq"],
            judgement=Judgement(
                value=LabelValue(row["value"]),
                unsure=bool(row["unsure"]),
                skip_reason=row["skip_reason"],
                note=row["note_text"],
                guideline=row["guideline"],
            ),
        )
        for row in rows
    ]


def progress(log: Log, person: int) -> Progress:
    """Counts for the progress bar."""
    run = log.connection.execute
    whole = run("SELECT coalesce(sum(taken), 0) AS taken, coalesce(sum(overlap), 0) AS wanted FROM items").fetchone()
    mine = run("SELECT count(*) FROM labels WHERE person = ?", (person,)).fetchone()[0]
    open_to_me = run(
        "SELECT count(*) FROM items WHERE taken < overlap"
        " AND NOT EXISTS (SELECT 1 FROM labels WHERE labels.item_id = items.item_id AND person = ?)",
        (person,),
    ).fetchone()[0]
    times = [
        row["at_ms"]
        for row in run(
            "SELECT at_ms FROM labels WHERE person = ? AND NOT imported ORDER BY seq DESC LIMIT 31", (person,)
        )
    ]
    return Progress(
        mine=mine,
        taken=whole["taken"],
        wanted=whole["wanted"],
        open_to_me=open_to_me,
        pace_s=pace_s(times[::-1]),
    )


def pace_s(times_ms: Sequence[int]) -> float | None:
    """Median seconds from one label to the next, breaks left out."""
    gaps = [later - earlier for earlier, later in itertools.pairwise(times_ms)]
    gaps = [gap for gap in gaps if 0 <= gap < _BREAK_MS]
    return statistics.median(gaps) / 1000 if gaps else None


def _lease(log: Log, person: int, item_ids: Sequence[str], expires_ms: int) -> None:
    log.connection.executemany(
        "INSERT OR REPLACE INTO leases (item_id, person, expires_ms) VALUES (?,?,?)",
        [(item_id, person, expires_ms) for item_id in item_ids],
    )


def _past(log: Log, event: Event) -> PastLabel:
    """What a label event said, with its sentence."""
    body = event.data()
    sentence = sentence_of(log, event)
    return PastLabel(
        item_id=sentence.item_id,
        text=sentence.text,
        seq=event.seq,
        over=body["previous"],
        judgement=Judgement(
            value=LabelValue(body["value"]),
            unsure=body["unsure"],
            skip_reason=body["skip_reason"],
            note=log.note(body["note"]),
            guideline=body["guideline"],
        ),
    )
