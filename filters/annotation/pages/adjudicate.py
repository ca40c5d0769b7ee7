"""Settling disagreements, one sentence at a time, and looking through what was decided."""

from typing import Annotated, Any
from urllib.parse import quote

from fastapi import APIRouter, Depends, HTTPException, Request, Response
from fastapi.responses import HTMLResponse, RedirectResponse

from filters.annotation import adjudication
from filters.annotation.pages.forms import fields_of, key_of, note_of, over_of, value_of, within
from filters.annotation.pages.site import Site, fresh_key, listed
from filters.annotation.people import Person


def routes(site: Site) -> APIRouter:
    router = APIRouter()
    log = site.log
    Adjudicator = Annotated[Person, Depends(site.adjudicator)]

    @router.get("/adjudicate")
    async def adjudicate(person: Adjudicator, after: str = "", item: str = "") -> HTMLResponse:
        left = adjudication.disagreements(log)
        # "Later" goes on behind the sentence that was put off, and round again at the end.
        start = next(
            (place + (one.item_id == after) for place, one in enumerate(left) if one.item_id in (after, item)), 0
        )
        ahead = left[start:] + left[:start]
        one = ahead[0] if ahead else None
        before = adjudication.taken_back(log, person.id, one.item_id) if one else None
        return site.page("adjudicate.html", person, one=one, left=len(left), key=fresh_key(), before=before)

    @router.post("/adjudicate")
    async def decide(request: Request, person: Adjudicator) -> Response:
        return decided(await fields_of(request), person, "/adjudicate")

    @router.post("/adjudicate/undo")
    async def take_back_last(request: Request, person: Adjudicator) -> Response:
        key = key_of(await fields_of(request))
        return after_taking_back(adjudication.take_back(log, person.id, key=key))

    @router.get("/decisions")
    async def decisions(person: Adjudicator, page_number: int = 1) -> HTMLResponse:
        return show_decisions(person, within(page_number))

    @router.post("/decisions")
    async def redecide(request: Request, person: Adjudicator) -> Response:
        form = await fields_of(request)
        if "take_back" not in form:
            return decided(form, person, "/decisions")
        over = over_of(form)
        if not isinstance(over, int):
            raise HTTPException(400, "The form names no decision.")
        return after_taking_back(adjudication.take_back(log, person.id, key=key_of(form), decision=over))

    def show_decisions(person: Person, number: int, status: int = 200, **clash: Any) -> HTMLResponse:
        past = listed(lambda limit, offset: adjudication.decisions(log, person.id, limit, offset), number)
        return site.page("decisions.html", person, status, clash=clash, **past)

    def decided(form: dict[str, str], person: Person, back_to: str) -> Response:
        value = value_of(form.get("label", ""))
        note = note_of(form.get("note"))
        over = over_of(form)
        try:
            adjudication.decide(
                log,
                person.id,
                form.get("item_id", ""),
                value,
                key=key_of(form),
                note=note,
                guideline=site.guideline.version,
                # A form without the field is of a page on which only undecided sentences stand.
                over=None if over is ... else over,
            )
        except adjudication.Overruled as error:
            everything = adjudication.decisions(log, person.id)
            standing = next((one for one in everything if one.item_id == form["item_id"]), None)
            clash = {"item_id": form["item_id"], "standing": standing, "value": value, "note": note}
            return show_decisions(person, 1, 409, **clash, reason=str(error), key=fresh_key())
        return RedirectResponse(back_to, 303)

    def after_taking_back(past: adjudication.Decision | None) -> Response:
        undecided = past is not None and any(one.item_id == past.item_id for one in adjudication.disagreements(log))
        if past is None or not undecided:
            return RedirectResponse("/decisions", 303)
        return RedirectResponse(f"/adjudicate?item={quote(past.item_id)}", 303)

    return router
