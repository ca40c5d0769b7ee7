"""The first visit: what awaits an annotator, then the warm-up, of which nothing is scored."""

from typing import Annotated

from fastapi import APIRouter, Depends, HTTPException, Request, Response
from fastapi.responses import HTMLResponse, RedirectResponse

from filters.annotation import warmup
from filters.annotation.log import Log
from filters.annotation.pages.forms import fields_of
from filters.annotation.pages.site import Site
from filters.annotation.people import Person
from schemas.label import LabelValue


def has_joined(log: Log, person: Person) -> bool:
    query = "SELECT 1 FROM events WHERE person = ? AND kind = 'joined'"
    return log.connection.execute(query, (person.id,)).fetchone() is not None


def routes(site: Site) -> APIRouter:
    router = APIRouter()
    log = site.log
    Signed = Annotated[Person, Depends(site.signed_in)]

    @router.post("/join")
    async def join(person: Signed) -> Response:
        if not has_joined(log, person):
            with log.transaction():
                log.append("joined", {"guideline": site.guideline.version}, person=person.id)
        return RedirectResponse("/", 303)

    def show(person: Person, exercise: warmup.Exercise, said: LabelValue | None) -> HTMLResponse:
        number, total = site.exercises.index(exercise) + 1, len(site.exercises)
        return site.page("warmup.html", person, exercise=exercise, said=said, number=number, total=total)

    @router.get("/warmup")
    async def ask(person: Signed) -> Response:
        exercise = warmup.next_exercise(log, person.id, site.exercises)
        return RedirectResponse("/", 303) if exercise is None else show(person, exercise, None)

    @router.post("/warmup")
    async def explain(request: Request, person: Signed) -> Response:
        form = await fields_of(request)
        exercise = next((one for one in site.exercises if one.exercise_id == form.get("exercise")), None)
        if exercise is None or form.get("label") not in ("yes", "no"):
            raise HTTPException(400, "There is no such exercise or answer.")
        said = LabelValue(form["label"])
        warmup.answer(log, person.id, exercise, said)
        return show(person, exercise, said)

    return router
