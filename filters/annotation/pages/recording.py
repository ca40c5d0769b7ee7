"""The recording behind a sentence: to hear, with its title and source, when the project allows it."""

from collections.abc import Callable
from typing import Annotated, TypeVar

from fastapi import APIRouter, Depends, HTTPException, Response
from fastapi.responses import HTMLResponse

from filters.annotation import context
from filters.annotation.context import Contexts
from filters.annotation.pages.site import Site
from filters.annotation.people import Person

Found = TypeVar("Found")


def routes(site: Site) -> APIRouter:
    router = APIRouter()
    log = site.log
    Signed = Annotated[Person, Depends(site.signed_in)]

    def found(person: Person, item_id: str, read: Callable[[Contexts], Found | None]) -> Found | None:
        if site.contexts is None:
            raise HTTPException(404, "This project shows no recordings.")
        before = context.before_label(log, person.id, item_id, site.contexts.when)
        one = read(site.contexts)
        if one is not None:
            context.looked(log, person.id, item_id, before=before)
        return one

    @router.get("/recording/{item_id}")
    async def recording(person: Signed, item_id: str) -> HTMLResponse:
        one = found(person, item_id, lambda contexts: contexts.of(log, item_id))
        return site.page("recording.html", person, item_id=item_id, one=one)

    @router.get("/recording/{item_id}/part")
    async def part(person: Signed, item_id: str) -> HTMLResponse:
        one = found(person, item_id, lambda contexts: contexts.of(log, item_id))
        return site.page("recording_part.html", person, item_id=item_id, one=one)

    @router.get("/recording/{item_id}/audio")
    async def audio(person: Signed, item_id: str) -> Response:
        heard = found(person, item_id, lambda contexts: contexts.audio(log, item_id))
        if heard is None:
            raise HTTPException(404, "The run has no such sentence.")
        return Response(heard[0], media_type=heard[1])

    return router
