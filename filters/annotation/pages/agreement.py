"""How far annotators agree, for adjudicators; the table follows the labels as they come in."""

from typing import Annotated

from fastapi import APIRouter, Depends
from fastapi.responses import HTMLResponse

from filters.annotation import adjudication
from filters.annotation.pages.site import Site
from filters.annotation.people import Person


def routes(site: Site) -> APIRouter:
    router = APIRouter()
    Adjudicator = Annotated[Person, Depends(site.adjudicator)]

    @router.get("/agreement")
    async def agreement(person: Adjudicator) -> HTMLResponse:
        waiting = len(adjudication.disagreements(site.log))
        return site.page("agreement.html", person, rows=site.agreement(), waiting=waiting)

    @router.get("/agreement/table")
    async def rows(person: Adjudicator) -> HTMLResponse:
        return site.page("agreement_table.html", person, rows=site.agreement())

    return router
