"""What all pages share: the open database, the settings, who is signed in, and how a template becomes an answer."""

import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jinja2
from fastapi import HTTPException, Request
from fastapi.responses import HTMLResponse

from filters.annotation import context, people
from filters.annotation.agreement import Agreement, agreement_table
from filters.annotation.context import Contexts
from filters.annotation.exchange import read_bundle
from filters.annotation.guideline import Guideline, remember
from filters.annotation.log import Log
from filters.annotation.people import Person
from filters.annotation.records import MAX_NOTE_CHARS, SKIP_REASONS
from filters.annotation.warmup import Exercise
from schemas.serving.gate import Address

ROWS_PER_PAGE = 50
_TEMPLATES = Path(__file__).parents[1] / "templates"


@dataclass(frozen=True, kw_only=True)
class ServerSettings:
    address: Address
    guideline: Guideline
    exercises: list[Exercise] = field(default_factory=list)
    # What is being done where nothing is left to label, as long as more will come.
    news: Callable[[], str] = str
    contexts: Contexts | None = None


class Site:
    """One project, as it is served."""

    def __init__(self, log: Log, settings: ServerSettings) -> None:
        self.log = log
        self.address = settings.address
        self.guideline = settings.guideline
        self.exercises = settings.exercises
        self.news = settings.news
        self.contexts = settings.contexts
        self.project = log.project
        # Two projects that take turns on one port must not log each other out. The second name is that of sessions
        # from before 2026-11.
        self.cookies = (f"{settings.address.cookie}_{self.project}", settings.address.cookie)
        self._agreement: dict[int, list[Agreement]] = {}
        remember(log, settings.guideline)
        context.remember(log, self.contexts.when if self.contexts else None)
        self._templates = jinja2.Environment(
            loader=jinja2.FileSystemLoader(_TEMPLATES),
            autoescape=True,
            undefined=jinja2.StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._templates.globals |= {
            "project": self.project,
            "guideline": self.guideline,
            "guideline_html": self.guideline.html(),
            "skip_reasons": SKIP_REASONS,
            "max_note_chars": MAX_NOTE_CHARS,
            "number": _number,
            "recordings": str(self.contexts.when) if self.contexts else "",
        }

    def page(self, template: str, person: Person | None, status: int = 200, **values: Any) -> HTMLResponse:
        here = template.removesuffix(".html")
        return HTMLResponse(self._templates.get_template(template).render(person=person, here=here, **values), status)

    def agreement(self) -> list[Agreement]:
        """The table of agreement, made again when something was written."""
        seq = self.log.last_seq()
        if seq not in self._agreement:
            bundle = read_bundle(self.log)
            self._agreement = {seq: agreement_table(bundle.items, bundle.labels)}
        return self._agreement[seq]

    def visitor(self, request: Request) -> Person | None:
        known = (people.person_of_session(self.log, request.cookies.get(name, "")) for name in self.cookies)
        return next((person for person in known if person), None)

    async def signed_in(self, request: Request) -> Person:
        person = self.visitor(request)
        if person is None:
            raise HTTPException(401, "You are not signed in. Ask the person who runs this page for a new link.")
        return person

    async def adjudicator(self, request: Request) -> Person:
        person = await self.signed_in(request)
        if not person.adjudicator:
            raise HTTPException(403, "This page is for adjudicators: annotators do not see each other's labels.")
        return person


def _number(value: float) -> str:
    """A coefficient as people read it."""
    return "–" if value != value else f"{value:.3f}"


def fresh_key() -> str:
    """What a form sends with it, so that sending it twice does it once."""
    return secrets.token_hex(8)


def listed(rows: Callable[[int, int], Sequence[Any]], page_number: int) -> dict[str, Any]:
    """A page of a long list, for its template: `rows(limit, offset)`, each row with the key of its form."""
    found = rows(ROWS_PER_PAGE + 1, (page_number - 1) * ROWS_PER_PAGE)
    return {
        "rows": [(row, fresh_key()) for row in found[:ROWS_PER_PAGE]],
        "page_number": page_number,
        "more": len(found) > ROWS_PER_PAGE,
    }
