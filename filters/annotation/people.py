"""Who is who: pseudonyms, one-time links, sessions, and being forgotten.

A link carries a token that works once and for a limited time; it is exchanged for a session cookie. Of both only
hashes are stored, so a copy of the database lets nobody in.
"""

import hashlib
import secrets
import sqlite3
from dataclasses import dataclass

from filters.annotation.log import Log
from filters.annotation.records import AnnotationError, check_name

INVITE_MS = 7 * 24 * 3_600_000
# Under this name the database knows the address of the server that ran last.
URL = "url"
SESSION_MS = 30 * 24 * 3_600_000


@dataclass(frozen=True, kw_only=True)
class Person:
    """An annotator; an adjudicator also sees agreement and disagreements."""

    id: int
    name: str
    adjudicator: bool


def ensure_person(log: Log, name: str, *, adjudicator: bool | None = None) -> Person:
    """The person of that pseudonym, made where there is none. Only inside a transaction."""
    name = check_name(name)
    row = log.connection.execute("SELECT * FROM people WHERE name = ?", (name,)).fetchone()
    if row is None:
        # Not the row's own number: an id that was erased must never be given to somebody else.
        person = 1 + int(log.connection.execute("SELECT coalesce(max(id), 0) FROM people").fetchone()[0])
        log.connection.execute(
            "INSERT INTO people (id, name, adjudicator) VALUES (?,?,?)", (person, name, int(bool(adjudicator)))
        )
        log.append("person", {"adjudicator": bool(adjudicator)}, person=person)
        return Person(id=person, name=name, adjudicator=bool(adjudicator))
    if adjudicator is not None and bool(row["adjudicator"]) != adjudicator:
        log.connection.execute("UPDATE people SET adjudicator = ? WHERE id = ?", (int(adjudicator), row["id"]))
        log.append("role", {"adjudicator": adjudicator}, person=row["id"])
        row = log.connection.execute("SELECT * FROM people WHERE id = ?", (row["id"],)).fetchone()
    return _person(row)


def people(log: Log) -> list[Person]:
    return [_person(row) for row in log.connection.execute("SELECT * FROM people ORDER BY id")]


def find_person(log: Log, name: str) -> Person:
    """Raises AnnotationError where nobody has the name."""
    row = log.connection.execute("SELECT * FROM people WHERE name = ?", (name,)).fetchone()
    if row is None:
        raise AnnotationError(f"{log.path}: nobody is called {name!r}")
    return _person(row)


@dataclass(frozen=True, kw_only=True)
class Standing:
    """A person as the lead sees him: what he has given, and the ways by which he can come in."""

    person: Person
    labels: int
    decisions: int
    sessions: int
    links: int


def standings(log: Log) -> list[Standing]:
    """Everybody, in the order in which they came."""
    now = log.clock_ms()

    def count(query: str, *values: object) -> int:
        number: int = log.connection.execute(query, values).fetchone()[0]
        return number

    ways_in = "SELECT count(*) FROM secrets WHERE person = ? AND kind = ? AND expires_ms > ?"
    return [
        Standing(
            person=one,
            labels=count("SELECT count(*) FROM labels WHERE person = ?", one.id),
            decisions=count("SELECT count(*) FROM decisions WHERE person = ?", one.id),
            sessions=count(ways_in, one.id, "session", now),
            links=count(ways_in, one.id, "invite", now),
        )
        for one in people(log)
    ]


def revoke(log: Log, name: str, *, role_only: bool = False) -> Person:
    """Shut somebody out: links, sessions and the role of adjudicator go, labels stay. A running server obeys at once.

    With `role_only` the person stays an annotator and signed in. Raises AnnotationError where nobody has the name.
    """
    person = find_person(log, name)
    with log.transaction():
        if not role_only:
            log.connection.execute("DELETE FROM secrets WHERE person = ?", (person.id,))
            log.connection.execute("DELETE FROM leases WHERE person = ?", (person.id,))
            log.append("revoke", {}, person=person.id)
        return ensure_person(log, name, adjudicator=False)


def invite(log: Log, person: Person) -> str:
    """A new one-time token for the person."""
    token = secrets.token_urlsafe(32)
    with log.transaction():
        _forget_expired(log)
        _keep_secret(log, token, "invite", person.id, INVITE_MS)
    return token


def link(log: Log, person: Person, url: str) -> str:
    """A new one-time link to the page at that address."""
    return f"{url}/enter?token={invite(log, person)}"


def invited(log: Log, token: str) -> Person | None:
    """Whom a token is for, without using it up."""
    return _whose(log, token, "invite")


def redeem(log: Log, token: str) -> str | None:
    """Exchange a token for a session, once; None where the token is unknown, used or too old."""
    with log.transaction():
        person = _whose(log, token, "invite")
        if person is None:
            return None
        log.connection.execute("DELETE FROM secrets WHERE hash = ?", (_hash(token),))
        session = secrets.token_urlsafe(32)
        _keep_secret(log, session, "session", person.id, SESSION_MS)
    return session


def person_of_session(log: Log, session: str) -> Person | None:
    return _whose(log, session, "session")


def end_session(log: Log, session: str) -> None:
    with log.transaction():
        log.connection.execute("DELETE FROM secrets WHERE hash = ? AND kind = 'session'", (_hash(session),))


def erase(log: Log, name: str) -> Person:
    """Forget who somebody was: name, notes, links and sessions go, labels stay under a name without meaning.

    The file is rewritten, so that nothing is left of the name in free pages either. Back-ups are not touched.
    """
    person = find_person(log, name)
    # No count: another database has its own number 3, and an export of one may be brought into the other.
    forgotten = f"erased-{secrets.token_hex(4)}"
    with log.transaction():
        run = log.connection.execute
        run("UPDATE people SET name = ?, adjudicator = 0 WHERE id = ?", (forgotten, person.id))
        run("DELETE FROM secrets WHERE person = ?", (person.id,))
        run("DELETE FROM notes WHERE person = ?", (person.id,))
        run("DELETE FROM leases WHERE person = ?", (person.id,))
        log.append("erase", {}, person=person.id)
    log.connection.execute("VACUUM")
    busy = log.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]
    if busy:
        raise AnnotationError(f"{log.path}: erased, but the database is in use; stop the server and erase again")
    return Person(id=person.id, name=forgotten, adjudicator=False)


def _person(row: sqlite3.Row) -> Person:
    return Person(id=row["id"], name=row["name"], adjudicator=bool(row["adjudicator"]))


def _hash(secret: str) -> str:
    # The secrets are 256 random bits, so a fast hash is enough: there is nothing to guess.
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()


def _whose(log: Log, secret: str, kind: str) -> Person | None:
    row = log.connection.execute(
        "SELECT people.* FROM secrets JOIN people ON people.id = secrets.person"
        " WHERE secrets.hash = ? AND secrets.kind = ? AND secrets.expires_ms > ?",
        (_hash(secret), kind, log.clock_ms()),
    ).fetchone()
    return _person(row) if row else None


def _keep_secret(log: Log, secret: str, kind: str, person: int, lifetime_ms: int) -> None:
    log.connection.execute(
        "INSERT INTO secrets (hash, kind, person, expires_ms) VALUES (?,?,?,?)",
        (_hash(secret), kind, person, log.clock_ms() + lifetime_ms),
    )


def _forget_expired(log: Log) -> None:
    log.connection.execute("DELETE FROM secrets WHERE expires_ms <= ?", (log.clock_ms(),))
