"""From events to tables: what the items, the labels that stand and the decisions are after a given log.

`apply` is the only code that writes these tables. It runs once as an event is appended and again when a log is checked,
so it reads nothing but the event, the events before it, and the tables themselves.
"""

import json
import sqlite3
from dataclasses import dataclass
from typing import Any

TABLE_NAMES = ("items", "labels", "decisions")
TABLES = """
CREATE TABLE items (
    item_id TEXT PRIMARY KEY,
    position INTEGER NOT NULL,
    text TEXT NOT NULL,
    source TEXT NOT NULL,
    stratum TEXT NOT NULL,
    inclusion_probability REAL,
    overlap INTEGER NOT NULL,
    taken INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE INDEX items_in_order ON items (position);
CREATE TABLE labels (
    item_id TEXT NOT NULL,
    person INTEGER NOT NULL,
    value TEXT NOT NULL,
    unsure INTEGER NOT NULL,
    skip_reason TEXT,
    note TEXT,
    guideline TEXT,
    seq INTEGER NOT NULL,
    at_ms INTEGER NOT NULL,
    imported INTEGER NOT NULL,
    PRIMARY KEY (item_id, person)
) STRICT, WITHOUT ROWID;
CREATE INDEX labels_by_person ON labels (person, seq);
CREATE TABLE decisions (
    item_id TEXT PRIMARY KEY,
    person INTEGER,
    value TEXT NOT NULL,
    note TEXT,
    guideline TEXT,
    seq INTEGER NOT NULL
) STRICT;
"""


@dataclass(frozen=True, kw_only=True)
class Event:
    """One row of the log; `body` is canonical JSON."""

    seq: int
    at_ms: int
    kind: str
    person: int | None
    item_id: str | None
    key: str | None
    body: str

    def data(self) -> dict[str, Any]:
        data: dict[str, Any] = json.loads(self.body)
        return data


def apply(connection: sqlite3.Connection, event: Event) -> None:
    """Bring the tables up to date with one more event. Kinds that change no table are only remembered."""
    body = event.data()
    if event.kind == "item":
        # An item that comes again may ask for more annotators; its text never changes.
        connection.execute(
            "INSERT INTO items (item_id, position, text, source, stratum, inclusion_probability, overlap)"
            " VALUES (?,?,?,?,?,?,?)",
            (
                event.item_id,
                event.seq,
                body["text"],
                body["source"],
                body["stratum"],
                body["inclusion_probability"],
                body["overlap"],
            ),
        )
    elif event.kind == "overlap":
        connection.execute("UPDATE items SET overlap = ? WHERE item_id = ?", (body["overlap"], event.item_id))
    elif event.kind == "label":
        _put_label(connection, event, body)
    elif event.kind == "undo":
        connection.execute("DELETE FROM labels WHERE item_id = ? AND person = ?", (event.item_id, event.person))
        connection.execute("UPDATE items SET taken = taken - 1 WHERE item_id = ?", (event.item_id,))
        if body["back_to"] is not None:
            former = _event_of(connection, body["back_to"])
            _put_label(connection, former, former.data())
    elif event.kind == "decide":
        _put_decision(connection, event, body)
    elif event.kind == "undecide":
        connection.execute("DELETE FROM decisions WHERE item_id = ?", (event.item_id,))
        if body["back_to"] is not None:
            former = _event_of(connection, body["back_to"])
            _put_decision(connection, former, former.data())


def _event_of(connection: sqlite3.Connection, seq: int) -> Event:
    row = connection.execute("SELECT * FROM events WHERE seq = ?", (seq,)).fetchone()
    return Event(**{name: row[name] for name in Event.__dataclass_fields__})


def _put_decision(connection: sqlite3.Connection, event: Event, body: dict[str, Any]) -> None:
    connection.execute(
        "INSERT OR REPLACE INTO decisions (item_id, person, value, note, guideline, seq) VALUES (?,?,?,?,?,?)",
        (event.item_id, event.person, body["value"], body["note"], body["guideline"], event.seq),
    )


def _put_label(connection: sqlite3.Connection, event: Event, body: dict[str, Any]) -> None:
    gone = connection.execute(
        "DELETE FROM labels WHERE item_id = ? AND person = ?", (event.item_id, event.person)
    ).rowcount
    connection.execute(
        "INSERT INTO labels (item_id, person, value, unsure, skip_reason, note, guideline, seq, at_ms, imported)"
        " VALUES (?,?,?,?,?,?,?,?,?,?)",
        (
            event.item_id,
            event.person,
            body["value"],
            int(body["unsure"]),
            body["skip_reason"],
            body["note"],
            body["guideline"],
            event.seq,
            event.at_ms,
            int(body["imported"]),
        ),
    )
    connection.execute("UPDATE items SET taken = taken + ? WHERE item_id = ?", (1 - gone, event.item_id))
