"""What a lead wants to know: who does how much, where people part, what is left.

All of it follows from the log and the labels that stand; nothing here is kept. Names go with counts alone: what one of
them said of a sentence is nobody's business but the adjudicator's, who sees it without names.
"""

import difflib
import json
import sqlite3
from collections import Counter
from dataclasses import dataclass

from filters.annotation.agreement import Agreement, Estimate, agreement_of
from filters.annotation.log import Log
from filters.annotation.people import people
from filters.annotation.work import pace_s
from schemas.label import LabelValue

DAY_MS = 24 * 3_600_000
# Whoever gave a label within this time is at work.
AT_WORK_MS = 15 * 60_000
# The pace of a week has the week's free days in it.
_RECENT_MS = 7 * DAY_MS
_PERIODS = 8
_SPLITS = 20


@dataclass(frozen=True, kw_only=True)
class Share:
    """What one person has given that stands. `pace_s` is the median, without breaks; `heard` counts sentences whose
    recording was heard before the label."""

    name: str
    labels: int
    yes: int
    skips: int
    unsure: int
    undone: int
    heard: int
    pace_s: float | None
    last_ms: int | None
    at_work: bool


@dataclass(frozen=True, kw_only=True)
class Left:
    """Labels that are wanted still; `unreachable` of them nobody can give, since everybody has seen the sentence.

    `now_s` is how long those who are at work would take, `days` how long at the pace of the last week.
    """

    labels: int
    sentences: int
    unreachable: int
    now_s: float | None
    days: float | None


@dataclass(frozen=True, kw_only=True)
class Period:
    """Agreement among sentences that came together, in the order in which they got their second judgement."""

    from_ms: int
    to_ms: int
    sentences: int
    observed: Estimate


@dataclass(frozen=True, kw_only=True)
class Split:
    """A sentence on which people part: how many said what."""

    item_id: str
    text: str
    yes: int
    no: int
    skips: int
    decided: bool


@dataclass(frozen=True, kw_only=True)
class Edition:
    """A version of the guideline, what it changed of the one before it, and the labels that stand on it."""

    version: str
    since_ms: int
    labels: int
    sentences: int
    disputed: int
    changes: list[str]


def shares(log: Log) -> list[Share]:
    """Everybody, in the order in which they came."""
    now = log.clock_ms()
    run = log.connection.execute
    undone = dict(run("SELECT person, count(*) FROM events WHERE kind = 'undo' GROUP BY person").fetchall())
    heard: Counter[int] = Counter()
    for row in run("SELECT person, body FROM events WHERE kind = 'context'"):
        heard[row["person"]] += json.loads(row["body"])["before"]
    found = []
    for person in people(log):
        rows = run(
            "SELECT value, unsure, at_ms, imported FROM labels WHERE person = ? ORDER BY seq", (person.id,)
        ).fetchall()
        times = [row["at_ms"] for row in rows if not row["imported"]]
        values = Counter(row["value"] for row in rows)
        found.append(
            Share(
                name=person.name,
                labels=len(rows),
                yes=values[LabelValue.YES],
                skips=values[LabelValue.SKIP],
                unsure=sum(row["unsure"] for row in rows),
                undone=undone.get(person.id, 0),
                heard=heard[person.id],
                pace_s=pace_s(times),
                last_ms=max(times, default=None),
                at_work=bool(times) and now - max(times) < AT_WORK_MS,
            )
        )
    return found


def what_is_left(log: Log, everybody: list[Share]) -> Left:
    run = log.connection.execute
    now = log.clock_ms()
    open_items = run("SELECT item_id, overlap - taken AS wanted FROM items WHERE taken < overlap").fetchall()
    seen = dict(run("SELECT item_id, count(*) FROM labels GROUP BY item_id").fetchall())
    labels = sum(row["wanted"] for row in open_items)
    unreachable = sum(max(0, row["wanted"] - (len(everybody) - seen.get(row["item_id"], 0))) for row in open_items)
    reachable = labels - unreachable
    a_second = sum(1 / one.pace_s for one in everybody if one.at_work and one.pace_s)
    since = now - _RECENT_MS
    first, recent = run(
        "SELECT min(at_ms), count(*) FROM labels WHERE NOT imported AND at_ms >= ?", (since,)
    ).fetchone()
    days = None
    if recent:
        # A project that began yesterday has no week to look back on.
        days = reachable / recent * max(1.0, (now - first) / DAY_MS)
    return Left(
        labels=labels,
        sentences=len(open_items),
        unreachable=unreachable,
        now_s=reachable / a_second if a_second else None,
        days=days,
    )


def agreement_over_time(log: Log) -> list[Period]:
    """At most eight periods with equally many sentences. Imported labels have no time of their own and stay out."""
    votes: dict[str, dict[str, LabelValue]] = {}
    second_ms: dict[str, int] = {}
    for row in log.connection.execute(
        "SELECT item_id, person, value, at_ms FROM labels WHERE NOT imported AND value <> 'skip' ORDER BY seq"
    ):
        vote = votes.setdefault(row["item_id"], {})
        vote[str(row["person"])] = LabelValue(row["value"])
        if len(vote) == 2:
            second_ms[row["item_id"]] = row["at_ms"]
    order = sorted(second_ms, key=lambda item_id: (second_ms[item_id], item_id))
    periods = []
    for part in range(_PERIODS):
        members = order[part * len(order) // _PERIODS : (part + 1) * len(order) // _PERIODS]
        if members:
            periods.append(
                Period(
                    from_ms=second_ms[members[0]],
                    to_ms=second_ms[members[-1]],
                    sentences=len(members),
                    observed=agreement_of("", [votes[item_id] for item_id in members]).observed,
                )
            )
    return periods


def by_stratum(table: list[Agreement], log: Log) -> list[Agreement]:
    """The rows of a table of agreement that are strata, where people agree least first."""
    found = log.connection.execute("SELECT DISTINCT stratum, source FROM items").fetchall()
    names = {row["stratum"] or row["source"] or "(no stratum)" for row in found}
    rows = [row for row in table if row.name in names]
    return sorted(rows, key=lambda row: (row.observed.value, row.name))


def splits(log: Log) -> list[Split]:
    """The sentences that people part on most: yes against no, the most even first, then the newest."""
    rows = log.connection.execute(
        "SELECT items.item_id, items.text, sum(value = 'yes') AS yes, sum(value = 'no') AS no,"
        " sum(value = 'skip') AS skips, max(labels.seq) AS newest,"
        " EXISTS (SELECT 1 FROM decisions WHERE decisions.item_id = items.item_id) AS decided"
        " FROM labels JOIN items USING (item_id) GROUP BY items.item_id HAVING yes > 0 AND no > 0"
        " ORDER BY min(yes, no) DESC, abs(yes - no), newest DESC LIMIT ?",
        (_SPLITS,),
    )
    return [_split(row) for row in rows]


def _split(row: sqlite3.Row) -> Split:
    return Split(
        item_id=row["item_id"],
        text=row["text"],
        yes=row["yes"],
        no=row["no"],
        skips=row["skips"],
        decided=bool(row["decided"]),
    )


def editions(log: Log) -> list[Edition]:
    """Every version of the guideline that was on the screen, the newest first."""
    run = log.connection.execute
    disputed = {
        row["item_id"]
        for row in run(
            "SELECT item_id FROM labels GROUP BY item_id HAVING count(DISTINCT value) > 1 OR max(unsure) = 1"
        )
    }
    found = []
    before: list[str] | None = None
    for row in run("SELECT at_ms, body FROM events WHERE kind = 'guideline' ORDER BY seq").fetchall():
        body = json.loads(row["body"])
        lines = body["markdown"].splitlines()
        touched = [one["item_id"] for one in run("SELECT item_id FROM labels WHERE guideline = ?", (body["version"],))]
        changes = [] if before is None else list(difflib.unified_diff(before, lines, lineterm="", n=0))[2:]
        found.append(
            Edition(
                version=body["version"],
                since_ms=row["at_ms"],
                labels=len(touched),
                sentences=len(set(touched)),
                disputed=len(disputed & set(touched)),
                changes=[line for line in changes if not line.startswith("@@")],
            )
        )
        before = lines
    return found[::-1]


def labelled_under(log: Log, version: str, limit: int, offset: int) -> list[Split]:
    """The sentences with labels that stand on a version, disputed and doubted ones first, as they stand now."""
    rows = log.connection.execute(
        "SELECT items.item_id, items.text, sum(value = 'yes') AS yes, sum(value = 'no') AS no,"
        " sum(value = 'skip') AS skips,"
        " EXISTS (SELECT 1 FROM decisions WHERE decisions.item_id = items.item_id) AS decided"
        " FROM labels JOIN items USING (item_id)"
        " WHERE item_id IN (SELECT item_id FROM labels WHERE guideline = ?) GROUP BY items.item_id"
        " ORDER BY count(DISTINCT value) > 1 OR max(unsure) = 1 DESC, items.position LIMIT ? OFFSET ?",
        (version, limit, offset),
    )
    return [_split(row) for row in rows]
