"""Where sentences are labelled: the page, and what its script asks of the server for each key press."""

from dataclasses import asdict
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Response
from fastapi.responses import RedirectResponse
from pydantic import BaseModel, ConfigDict, Field

from filters.annotation import warmup, work
from filters.annotation.pages.forms import KEY_PATTERN, judgement_of
from filters.annotation.pages.site import Site
from filters.annotation.pages.welcome import has_joined
from filters.annotation.people import Person
from filters.annotation.records import MAX_NOTE_CHARS, AnnotationError
from schemas.label import LabelValue

# Sentences for a browser that does not say how many it needs ready, the one on its screen included.
TASKS_AHEAD = 5
MAX_AHEAD = 64

Ahead = Annotated[int, Field(ge=1, le=MAX_AHEAD)]


class LabelBody(BaseModel):
    """What the page sends for one key press."""

    model_config = ConfigDict(extra="forbid")
    key: Annotated[str, Field(pattern=KEY_PATTERN)]
    item_id: Annotated[str, Field(max_length=128)]
    label: LabelValue
    unsure: bool = False
    skip_reason: str | None = None
    note: Annotated[str, Field(max_length=MAX_NOTE_CHARS)] | None = None
    guideline: Annotated[str, Field(max_length=200)] | None = None
    # The event of the answer that the page knew to stand; pages from before 2026-11 send neither.
    over: int | None = None
    owner: Annotated[str, Field(max_length=64)] | None = None
    ahead: Ahead = TASKS_AHEAD


class UndoBody(BaseModel):
    model_config = ConfigDict(extra="forbid")
    key: Annotated[str, Field(pattern=KEY_PATTERN)]
    label_key: Annotated[str, Field(pattern=KEY_PATTERN)] | None = None
    owner: Annotated[str, Field(max_length=64)] | None = None
    ahead: Ahead = TASKS_AHEAD


class OtherOwner(AnnotationError):
    """What came was given by somebody else, or for another project, than the browser is signed in for by now."""


def routes(site: Site) -> APIRouter:
    router = APIRouter()
    log = site.log
    Signed = Annotated[Person, Depends(site.signed_in)]

    def owner(person: Person) -> str:
        """What binds a page and what it keeps offline to this project and this person."""
        return f"{site.project}.{person.id}"

    def check_owner(given: str | None, person: Person) -> None:
        if given not in (None, owner(person)):
            raise OtherOwner(f"This browser is signed in as {person.name} by now.")

    def state(person: Person, ahead: int) -> dict[str, Any]:
        # Towards the end what one holds ready is what others wait for.
        count = min(ahead, max(TASKS_AHEAD, work.fair_share(log)))
        tasks = work.next_tasks(log, person.id, count)
        progress = work.progress(log, person.id)
        return {
            "owner": owner(person),
            "tasks": [asdict(task) for task in tasks],
            "news": site.news(),
            "progress": {
                "mine": progress.mine,
                "taken": progress.taken,
                "wanted": progress.wanted,
                "open": progress.open_to_me,
                "pace_s": progress.pace_s,
            },
        }

    @router.get("/")
    async def label_page(person: Signed) -> Response:
        if not has_joined(log, person):
            return site.page("welcome.html", person, exercises=len(site.exercises))
        if warmup.next_exercise(log, person.id, site.exercises) is not None:
            return RedirectResponse("/warmup", 303)
        return site.page("label.html", person)

    @router.get("/api/work")
    async def give_work(person: Signed, ahead: Ahead = TASKS_AHEAD) -> dict[str, Any]:
        return state(person, ahead)

    @router.post("/api/label")
    async def take_label(body: LabelBody, person: Signed) -> dict[str, Any]:
        check_owner(body.owner, person)
        judgement = judgement_of(body.label, body.unsure, body.skip_reason, body.note, body.guideline)
        over = body.over if "over" in body.model_fields_set else ...
        taken = work.put_label(log, person.id, body.item_id, judgement, body.key, over=over)
        return {"taken": taken, **state(person, body.ahead)}

    @router.post("/api/undo")
    async def take_back(body: UndoBody, person: Signed) -> dict[str, Any]:
        check_owner(body.owner, person)
        past = work.undo(log, person.id, body.key, label_key=body.label_key)
        again = None
        if past is not None:
            again = {"item_id": past.item_id, "text": past.text, "over": past.over, **asdict(past.judgement)}
        return {"again": again, **state(person, body.ahead)}

    return router
