"""Who is who in another tool: its accounts by e-mail address or name, never by a number that it gave.

The number 7 is somebody else in every Label Studio, so a number alone names nobody. `--people FILE` is the lead's own
table, one line a person: `name` (our pseudonym) and, where there is one, `email` and `account` (a user name, or an id
that nobody else in the world has, as Argilla's). `--accounts FILE` is Label Studio's own list of its users, the answer
of its `GET /api/users`, and turns the numbers of its exports into addresses. No address enters the database.
"""

import csv
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from filters.annotation.records import AnnotationError, check_name

_MAX_BYTES = 16 * 1024 * 1024
_COLUMNS = ("name", "email", "account")


@dataclass(frozen=True, kw_only=True)
class Account:
    """One account of another tool, as far as its export or its list of users describes it."""

    email: str | None = None
    names: tuple[str, ...] = ()

    @property
    def shown(self) -> str:
        return ", ".join(part for part in (self.email, *self.names) if part)


@dataclass(frozen=True, kw_only=True)
class People:
    """The table of `--people`: pseudonyms by address or account name, and back."""

    names: Mapping[str, str] = field(default_factory=dict)
    emails: Mapping[str, str] = field(default_factory=dict)
    accounts: Mapping[str, str] = field(default_factory=dict)

    def name_of(self, account: Account) -> str | None:
        """The pseudonym; an address says more than a name."""
        known = (self.names.get(_folded(one)) for one in (account.email, *account.names) if one)
        return next((name for name in known if name is not None), None)


def read_people(path: Path) -> People:
    """Raises AnnotationError naming file and line."""
    names: dict[str, str] = {}
    emails: dict[str, str] = {}
    accounts: dict[str, str] = {}
    try:
        lines = _content(path).decode("utf-8-sig").splitlines()
        rows = csv.DictReader(lines, strict=True)
        heads = rows.fieldnames or ()
        if "name" not in heads or not set(_COLUMNS[1:]) & set(heads):
            raise AnnotationError(f"{path}:1: expected the columns name and email (or account, or both)")
        for row in rows:
            where = f"{path}:{rows.line_num}"
            try:
                name = check_name((row.get("name") or "").strip())
            except AnnotationError as error:
                raise AnnotationError(f"{where}: {error}") from error
            for column, known in (("email", emails), ("account", accounts)):
                value = (row.get(column) or "").strip()
                if not value:
                    continue
                if names.setdefault(_folded(value), name) != name:
                    raise AnnotationError(f"{where}: {value!r} is {names[_folded(value)]} further up")
                if known.setdefault(name, value) != value:
                    raise AnnotationError(f"{where}: {name} has another {column} further up")
    except (UnicodeDecodeError, csv.Error) as error:
        raise AnnotationError(f"{path}: not a CSV file in UTF-8 ({error})") from error
    return People(names=names, emails=emails, accounts=accounts)


def read_accounts(path: Path) -> dict[int, Account]:
    """Label Studio's users by number. Raises AnnotationError."""
    try:
        users = json.loads(_content(path))
    except (ValueError, RecursionError) as error:
        raise AnnotationError(f"{path}: not JSON ({error})") from error
    if isinstance(users, dict):
        users = users.get("results")
    if not isinstance(users, list) or not all(isinstance(user, dict) and type(user.get("id")) is int for user in users):
        raise AnnotationError(f"{path}: not the list of users that Label Studio gives at /api/users")
    return {user["id"]: account_of(user) for user in users}


def account_of(user: Mapping[str, Any]) -> Account:
    """What one user object of Label Studio says."""
    email, username, first, last = (
        user[part] if isinstance(user.get(part), str) else ""
        for part in ("email", "username", "first_name", "last_name")
    )
    names = [name for name in (username, f"{first} {last}".strip()) if name]
    return Account(email=email or None, names=tuple(names))


def _content(path: Path) -> bytes:
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise AnnotationError(f"{path}: larger than {_MAX_BYTES >> 20} MiB")
        return path.read_bytes()
    except OSError as error:
        raise AnnotationError(f"{path}: cannot be read ({error.strerror})") from error


def _folded(account: str) -> str:
    return account.casefold()
