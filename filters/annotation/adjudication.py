"""Settling what annotators disagree on: the hardest disagreements first, blind to names.

An adjudicator sees the votes of a sentence, shuffled by nothing but their value: not whose they are, not in which order
they came. A decision is an event like a label; it leaves the labels as they are and goes beside them.
"""

import json
from dataclasses import dataclass

from filters.annotation.log import Log
from filters.annotation.records import AnnotationError
from filters.annotation.work import Conflict, said_before, sentence_of, undone_before
from schemas.label import LabelValue


@dataclass(frozen=True, kw_only=True)
class Vote:
    """One annotator's view without the annotator."""

    value: LabelValue
    unsure: bool
    skip_reason: str | None
    note: str | None


@dataclass(frozen=True, kw_only=True)
class Disagreement:
    """A sentence with its votes. Rank 0: yes against no; 1: a skip against a judgement; 2: agreed, but not surely."""

    item_id: str
    text: str
    rank: int
    votes: list[Vote]


def disagreements(log: Log) -> list[Disagreement]:
    """What is undecided, the hardest first, then in the order of the sample. One doubtful vote alone does not count."""
    found = []
    votes: dict[str, list[Vote]] = {}
    texts: dict[str, str] = {}
    rows = log.connection.execute(
        "SELECT items.item_id, items.text, labels.*, notes.text AS note_text FROM items JOIN labels USING (item_id)"
        " LEFT JOIN notes ON notes.digest = labels.note"
        " WHERE items.item_id NOT IN (SELECT item_id FROM decisions) ORDER BY items.position"
    )
    for row in rows:
        texts[row["item_id"]] = row["text"]
        votes.setdefault(row["item_id"], []).append(
            Vote(
                value=LabelValue(row["value"]),
                unsure=bool(row["unsure"]),
                skip_reason=row["skip_reason"],
                note=row["note_text"],
            )
        )
    for item_id, cast in votes.items():
        rank = _rank(cast)
        if rank is not None:
            # Sorted by what they say: the order of arrival would tell who is who.
            shown = sorted(cast, key=lambda vote: (vote.value, vote.unsure, vote.skip_reason or "", vote.note or ""))
            found.append(Disagreement(item_id=item_id, text=texts[item_id], rank=rank, votes=shown))
    return sorted(found, key=lambda one: one.rank)


def _rank(votes: list[Vote]) -> int | None:
    values = {vote.value for vote in votes}
    if {LabelValue.YES, LabelValue.NO} <= values:
        return 0
    if len(values) > 1:
        return 1
    if len(votes) > 1 and any(vote.unsure for vote in votes):
        return 2
    return None


class Overruled(Conflict):
    """Somebody has decided on that sentence, or taken that back, since the adjudicator looked."""


def decide(
    log: Log,
    person: int,
    item_id: str,
    value: LabelValue,
    *,
    key: str,
    note: str | None = None,
    guideline: str | None = None,
    over: int | None = None,
) -> None:
    """Write a decision. The same key again changes nothing.

    `over` is the event of the decision that the adjudicator saw standing, None where there was none. Raises Overruled
    where another stands by now: nobody's decision is replaced unseen.
    """
    key = f"{person}:{key}"
    with log.transaction():
        if said_before(log, key, item_id, value) is not None:
            return
        if log.connection.execute("SELECT 1 FROM items WHERE item_id = ?", (item_id,)).fetchone() is None:
            raise AnnotationError(f"item {item_id}: there is no such item")
        former = log.connection.execute("SELECT seq, value FROM decisions WHERE item_id = ?", (item_id,)).fetchone()
        if (former["seq"] if former else None) != over:
            now = f"{former['value']} by now" if former else "undecided again"
            raise Overruled(f"item {item_id}: is {now}, in another window or by somebody else; look at the decisions")
        digest = log.keep_note(person, note) if note else None
        log.append(
            "decide",
            {"value": value, "note": digest, "guideline": guideline, "previous": over},
            person=person,
            item_id=item_id,
            key=key,
        )


@dataclass(frozen=True, kw_only=True)
class Decision:
    """A decision that stands; `mine` is whether the one who asks made it, `seq` its event."""

    item_id: str
    text: str
    value: LabelValue
    note: str | None
    at_ms: int
    mine: bool
    seq: int


def decisions(log: Log, person: int, limit: int = -1, offset: int = 0) -> list[Decision]:
    """What has been decided, by whomever, the newest first."""
    rows = log.connection.execute(
        "SELECT decisions.*, items.text AS item_text, notes.text AS note_text, events.at_ms FROM decisions"
        " JOIN items USING (item_id) JOIN events ON events.seq = decisions.seq"
        " LEFT JOIN notes ON notes.digest = decisions.note ORDER BY decisions.seq DESC LIMIT ? OFFSET ?",
        (limit, offset),
    )
    return [
        Decision(
            item_id=row["item_id"],
            text=row["item_text"],
            value=LabelValue(row["value"]),
            note=row["note_text"],
            at_ms=row["at_ms"],
            mine=row["person"] == person,
            seq=row["seq"],
        )
        for row in rows
    ]


def take_back(log: Log, person: int, *, key: str, decision: int | None = None) -> Decision | None:
    """Undo a decision that stands, by default the newest of the person's own; what it replaced stands again.

    Returns what was taken back, None where there is nothing. The same key again takes back nothing more. Raises
    Conflict where that decision does not stand any more.
    """
    key = f"{person}:{key}"
    with log.transaction():
        known = undone_before(log, key, "undecide")
        if known is not None:
            return _past(log, person, known.seq)
        if decision is None:
            row = log.connection.execute("SELECT max(seq) AS seq FROM decisions WHERE person = ?", (person,)).fetchone()
            if row["seq"] is None:
                return None
            decision = row["seq"]
        elif log.connection.execute("SELECT 1 FROM decisions WHERE seq = ?", (decision,)).fetchone() is None:
            raise Conflict("that decision was changed or taken back meanwhile; look at the past decisions")
        past = _past(log, person, decision)
        body = {"undoes": decision, "back_to": _replaced(log, decision)}
        log.append("undecide", body, person=person, item_id=past.item_id, key=key)
    return past


def taken_back(log: Log, person: int, item_id: str) -> Decision | None:
    """The decision on that sentence which the person took back last, to go on from."""
    row = log.connection.execute(
        "SELECT body FROM events WHERE person = ? AND kind = 'undecide' AND item_id = ? ORDER BY seq DESC LIMIT 1",
        (person, item_id),
    ).fetchone()
    return _past(log, person, json.loads(row["body"])["undoes"]) if row else None


def _replaced(log: Log, decision: int) -> int | None:
    """The decision that this one replaced. Until 2026-11 it was not noted, but then none was ever taken back either."""
    event = log.event(decision)
    body = event.data()
    if "previous" in body:
        previous: int | None = body["previous"]
        return previous
    row = log.connection.execute(
        "SELECT max(seq) FROM events WHERE kind = 'decide' AND item_id = ? AND seq < ?", (event.item_id, decision)
    ).fetchone()
    replaced: int | None = row[0]
    return replaced


def _past(log: Log, person: int, decision: int) -> Decision:
    """What an event decided, whether it stands or not."""
    event = log.event(decision)
    body = event.data()
    sentence = sentence_of(log, event)
    return Decision(
        item_id=sentence.item_id,
        text=sentence.text,
        value=LabelValue(body["value"]),
        note=log.note(body["note"]),
        at_ms=event.at_ms,
        mine=event.person == person,
        seq=event.seq,
    )
