"""How far annotators agree, for adjudicators; the table follows the labels as they come in."""

from typing import Annotated

from fastapi import APIRouter, Depends
from fastapi.responses import HTMLResponse

from filters.annotation import adjudication
from filters.annotation.agreement import Agreement, agreement_table
from filters.annotation.exchange import read_bundle
from filters.annotation.pages.site import Site
from filters.annotation.people import Person


def routes(site: Site) -> APIRouter:
    router = APIRouter()
    Adjudicator = Annotated[Person, Depends(site.adjudicator)]
    cached: dict[int, list[Agreement]] = {}

    def table() -> list[Agreement]:
        seq = site.log.last_seq()
        if seq not in cached:
            cached.clear()
            bundle = read_bundle(site.log)
            cached[seq] = agreement_table(bundle.items, bundle.labels)
        return cached[seq]

    @router.get("/agreement")
    async def agreement(person: Adjudicator) -> HTMLResponse:
        waiting = len(adjudication.disagreements(site.log))
        return site.page("agreement.html", person, rows=table(), number=_number, waiting=waiting)

    @router.get("/agreement/table")
    async def rows(person: Adjudicator) -> HTMLResponse:
        return site.page("agreement_table.html", person, rows=table(), number=_number)

    return router


def _number(value: float) -> str:
    """A coefficient as people read it."""
    return "–" if value != value else f"{value:.3f}"
