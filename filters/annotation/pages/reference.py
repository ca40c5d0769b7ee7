"""What is only read: the guideline, and the keys, which the browser keeps."""

from typing import Annotated

from fastapi import APIRouter, Depends
from fastapi.responses import HTMLResponse

from filters.annotation.pages.site import Site
from filters.annotation.people import Person


def routes(site: Site) -> APIRouter:
    router = APIRouter()
    Signed = Annotated[Person, Depends(site.signed_in)]

    @router.get("/guideline")
    async def guideline(person: Signed) -> HTMLResponse:
        return site.page("guideline.html", person)

    @router.get("/keys")
    async def keys(person: Signed) -> HTMLResponse:
        return site.page("keys.html", person)

    return router
