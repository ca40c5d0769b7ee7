"""One's own labels, to look at and to correct."""

from typing import Annotated, Any

from fastapi import APIRouter, Depends, HTTPException, Request, Response
from fastapi.responses import HTMLResponse, RedirectResponse

from filters.annotation import work
from filters.annotation.pages.forms import fields_of, judgement_of, key_of, over_of, within
from filters.annotation.pages.site import Site, fresh_key, listed
from filters.annotation.people import Person


def routes(site: Site) -> APIRouter:
    router = APIRouter()
    log = site.log
    Signed = Annotated[Person, Depends(site.signed_in)]

    def show(person: Person, number: int, status: int = 200, **clash: Any) -> HTMLResponse:
        labels = listed(lambda limit, offset: work.history(log, person.id, limit, offset), number)
        return site.page("history.html", person, status, clash=clash, progress=work.progress(log, person.id), **labels)

    @router.get("/history")
    async def history(person: Signed, page_number: int = 1) -> HTMLResponse:
        return show(person, within(page_number))

    @router.post("/history")
    async def correct(request: Request, person: Signed) -> Response:
        form = await fields_of(request)
        answer, _, reason = form.get("label", "").partition(":")
        judgement = judgement_of(
            answer, form.get("unsure") == "on", reason or None, form.get("note") or None, site.guideline.version
        )
        own = "SELECT 1 FROM labels WHERE item_id = ? AND person = ?"
        if log.connection.execute(own, (form.get("item_id"), person.id)).fetchone() is None:
            raise HTTPException(404, "You have no label of that sentence.")
        try:
            work.put_label(log, person.id, form["item_id"], judgement, key_of(form), over=over_of(form))
        except work.Overtaken as error:
            return show(person, 1, 409, standing=error.standing, given=judgement, key=fresh_key())
        return RedirectResponse("/history", 303)

    return router
