"""The page: routes that turn requests into calls of `work`, `adjudication` and `people`, and back into HTML or JSON.

One process, one thread, one connection: handlers are coroutines that call SQLite directly, so writes queue up by
themselves and no lock is needed. Nothing is kept in memory between requests but a cache of the agreement table, so a
killed server loses nothing that it has answered for, and the page sends again what was not answered.
"""

import contextlib
import logging
import re
import secrets
import signal
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import EllipsisType
from typing import Annotated, Any
from urllib.parse import parse_qsl, quote

import jinja2
from fastapi import Depends, FastAPI, HTTPException, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, JSONResponse, RedirectResponse
from fastapi.staticfiles import StaticFiles
from pydantic import BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException as StarletteHTTPException

from filters.annotation import adjudication, people, warmup, work
from filters.annotation.agreement import Agreement, agreement_table
from filters.annotation.exchange import read_bundle
from filters.annotation.guideline import Guideline, remember
from filters.annotation.log import Log
from filters.annotation.people import Person
from filters.annotation.records import MAX_NOTE_CHARS, SKIP_REASONS, AnnotationError, check_text
from filters.annotation.security import Address, Gate
from filters.annotation.work import Conflict, Judgement, Progress
from schemas.label import LabelValue

logger = logging.getLogger(__name__)
HERE = Path(__file__).parent
# The sentence on the screen and those that the browser holds ready.
TASKS_AHEAD = 5
HISTORY_PAGE = 50
_KEY_PATTERN = r"^[A-Za-z0-9-]{8,64}$"


@dataclass(frozen=True, kw_only=True)
class ServerSettings:
    address: Address
    guideline: Guideline
    exercises: list[warmup.Exercise] = field(default_factory=list)


class LabelBody(BaseModel):
    """What the page sends for one key press."""

    model_config = ConfigDict(extra="forbid")
    key: Annotated[str, Field(pattern=_KEY_PATTERN)]
    item_id: Annotated[str, Field(max_length=128)]
    label: LabelValue
    unsure: bool = False
    skip_reason: str | None = None
    note: Annotated[str, Field(max_length=MAX_NOTE_CHARS)] | None = None
    guideline: Annotated[str, Field(max_length=200)] | None = None
    # The event of the answer that the page knew to stand; pages from before 2026-11 send neither.
    over: int | None = None
    owner: Annotated[str, Field(max_length=64)] | None = None


class UndoBody(BaseModel):
    model_config = ConfigDict(extra="forbid")
    key: Annotated[str, Field(pattern=_KEY_PATTERN)]
    label_key: Annotated[str, Field(pattern=_KEY_PATTERN)] | None = None
    owner: Annotated[str, Field(max_length=64)] | None = None


class OtherOwner(AnnotationError):
    """What came was given by somebody else, or for another project, than the browser is signed in for by now."""


def create_app(log: Log, settings: ServerSettings) -> Gate:
    """The whole application as ASGI, gate included."""
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    app.mount("/static", StaticFiles(directory=HERE / "static"), name="static")
    pages = jinja2.Environment(
        loader=jinja2.FileSystemLoader(HERE / "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    pages.globals["skip_reasons"] = SKIP_REASONS
    remember(log, settings.guideline)
    guideline_html = settings.guideline.html()
    cached: dict[int, list[Agreement]] = {}
    project = log.project
    # Two projects that take turns on one port must not log each other out.
    cookie = f"{settings.address.cookie}_{project}"

    def page(template: str, person: Person | None, status: int = 200, **values: Any) -> HTMLResponse:
        return HTMLResponse(
            pages.get_template(template).render(
                person=person,
                project=project,
                guideline=settings.guideline,
                here=template.removesuffix(".html"),
                **values,
            ),
            status,
        )

    def visitor(request: Request) -> Person | None:
        # The second name is that of sessions from before 2026-11.
        for name in (cookie, settings.address.cookie):
            if person := people.person_of_session(log, request.cookies.get(name, "")):
                return person
        return None

    def signed_in(request: Request) -> Person:
        person = visitor(request)
        if person is None:
            raise HTTPException(401, "You are not signed in. Ask the person who runs this page for a new link.")
        return person

    def adjudicator(request: Request) -> Person:
        person = signed_in(request)
        if not person.adjudicator:
            raise HTTPException(403, "This page is for adjudicators: annotators do not see each other's labels.")
        return person

    Signed = Annotated[Person, Depends(signed_in)]
    Adjudicator = Annotated[Person, Depends(adjudicator)]

    def has_joined(person: Person) -> bool:
        query = "SELECT 1 FROM events WHERE person = ? AND kind = 'joined'"
        return log.connection.execute(query, (person.id,)).fetchone() is not None

    def owner(person: Person) -> str:
        """What binds a page and what it keeps offline to this project and this person."""
        return f"{project}.{person.id}"

    def check_owner(given: str | None, person: Person) -> None:
        if given not in (None, owner(person)):
            raise OtherOwner(f"This browser is signed in as {person.name} by now.")

    def state(person: Person) -> dict[str, Any]:
        tasks = work.next_tasks(log, person.id, TASKS_AHEAD)
        return {
            "owner": owner(person),
            "tasks": [asdict(task) for task in tasks],
            "progress": _progress(work.progress(log, person.id)),
        }

    @app.get("/enter")
    async def enter(token: str = "") -> HTMLResponse:
        person = people.invited(log, token)
        if person is None:
            return page("message.html", None, 401, title="This link is used up", message=_USED_UP)
        return page("enter.html", None, name=person.name, token=token)

    @app.post("/enter")
    async def entered(request: Request) -> Response:
        session = people.redeem(log, (await _form(request)).get("token", ""))
        if session is None:
            return page("message.html", None, 401, title="This link is used up", message=_USED_UP)
        response = RedirectResponse("/", 303)
        response.set_cookie(
            cookie,
            session,
            max_age=people.SESSION_MS // 1000,
            httponly=True,
            samesite="strict",
            secure=settings.address.secure,
        )
        return response

    @app.post("/leave")
    async def leave(request: Request) -> HTMLResponse:
        response = page("message.html", None, title="Signed out", message="Your labels are saved. See you next time.")
        for name in (cookie, settings.address.cookie):
            people.end_session(log, request.cookies.get(name, ""))
            response.delete_cookie(name)
        return response

    @app.get("/")
    async def label_page(person: Signed) -> Response:
        if not has_joined(person):
            return page("welcome.html", person, exercises=len(settings.exercises))
        if warmup.next_exercise(log, person.id, settings.exercises) is not None:
            return RedirectResponse("/warmup", 303)
        return page("label.html", person, guideline_html=guideline_html, max_note_chars=MAX_NOTE_CHARS)

    @app.post("/join")
    async def join(person: Signed) -> Response:
        if not has_joined(person):
            with log.transaction():
                log.append("joined", {"guideline": settings.guideline.version}, person=person.id)
        return RedirectResponse("/", 303)

    @app.get("/warmup")
    async def warmup_page(person: Signed) -> Response:
        exercise = warmup.next_exercise(log, person.id, settings.exercises)
        if exercise is None:
            return RedirectResponse("/", 303)
        return page("warmup.html", person, exercise=exercise, said=None, **warmup_place(exercise))

    @app.post("/warmup")
    async def warmup_answer(request: Request, person: Signed) -> Response:
        form = await _form(request)
        exercise = next((one for one in settings.exercises if one.exercise_id == form.get("exercise")), None)
        if exercise is None or form.get("label") not in ("yes", "no"):
            raise HTTPException(400, "There is no such exercise or answer.")
        said = LabelValue(form["label"])
        warmup.answer(log, person.id, exercise, said)
        return page("warmup.html", person, exercise=exercise, said=said, **warmup_place(exercise))

    def warmup_place(exercise: warmup.Exercise) -> dict[str, int]:
        return {"number": settings.exercises.index(exercise) + 1, "total": len(settings.exercises)}

    @app.get("/api/work")
    async def give_work(person: Signed) -> dict[str, Any]:
        return state(person)

    @app.post("/api/label")
    async def take_label(body: LabelBody, person: Signed) -> dict[str, Any]:
        check_owner(body.owner, person)
        judgement = _judgement(body.label, body.unsure, body.skip_reason, body.note, body.guideline)
        over = body.over if "over" in body.model_fields_set else ...
        taken = work.put_label(log, person.id, body.item_id, judgement, body.key, over=over)
        return {"taken": taken, **state(person)}

    @app.post("/api/undo")
    async def take_back(body: UndoBody, person: Signed) -> dict[str, Any]:
        check_owner(body.owner, person)
        past = work.undo(log, person.id, body.key, label_key=body.label_key)
        again = None
        if past is not None:
            again = {"item_id": past.item_id, "text": past.text, "over": past.over, **asdict(past.judgement)}
        return {"again": again, **state(person)}

    def history(person: Person, page_number: int, status: int = 200, **clash: Any) -> HTMLResponse:
        labels = work.history(log, person.id, HISTORY_PAGE + 1, (page_number - 1) * HISTORY_PAGE)
        return page(
            "history.html",
            person,
            status,
            clash=clash,
            labels=[(one, secrets.token_hex(8)) for one in labels[:HISTORY_PAGE]],
            page_number=page_number,
            more=len(labels) > HISTORY_PAGE,
            progress=work.progress(log, person.id),
        )

    @app.get("/history")
    async def history_page(person: Signed, page_number: int = 1) -> HTMLResponse:
        return history(person, _page_number(page_number))

    @app.post("/history")
    async def correct(request: Request, person: Signed) -> Response:
        form = await _form(request)
        answer, _, reason = form.get("label", "").partition(":")
        judgement = _judgement(
            answer, form.get("unsure") == "on", reason or None, form.get("note") or None, settings.guideline.version
        )
        own = "SELECT 1 FROM labels WHERE item_id = ? AND person = ?"
        if log.connection.execute(own, (form.get("item_id"), person.id)).fetchone() is None:
            raise HTTPException(404, "You have no label of that sentence.")
        try:
            work.put_label(log, person.id, form["item_id"], judgement, _key(form), over=_over(form))
        except work.Overtaken as error:
            return history(person, 1, 409, standing=error.standing, given=judgement, key=secrets.token_hex(8))
        return RedirectResponse("/history", 303)

    @app.get("/guideline")
    async def guideline_page(person: Signed) -> HTMLResponse:
        return page("guideline.html", person, guideline_html=guideline_html)

    @app.get("/keys")
    async def keys_page(person: Signed) -> HTMLResponse:
        return page("keys.html", person)

    def agreement() -> list[Agreement]:
        seq = log.last_seq()
        if seq not in cached:
            cached.clear()
            bundle = read_bundle(log)
            cached[seq] = agreement_table(bundle.items, bundle.labels)
        return cached[seq]

    @app.get("/agreement")
    async def agreement_page(person: Adjudicator) -> HTMLResponse:
        return page("agreement.html", person, rows=agreement(), number=_number, waiting=waiting())

    @app.get("/agreement/table")
    async def agreement_rows(person: Adjudicator) -> HTMLResponse:
        return page("agreement_table.html", person, rows=agreement(), number=_number)

    def waiting() -> int:
        return len(adjudication.disagreements(log))

    @app.get("/adjudicate")
    async def adjudicate_page(person: Adjudicator, after: str = "", item: str = "") -> HTMLResponse:
        left = adjudication.disagreements(log)
        # "Later" goes on behind the sentence that was put off, and round again at the end.
        start = next(
            (place + (one.item_id == after) for place, one in enumerate(left) if one.item_id in (after, item)), 0
        )
        ahead = left[start:] + left[:start]
        one = ahead[0] if ahead else None
        return page(
            "adjudicate.html",
            person,
            one=one,
            left=len(left),
            key=secrets.token_hex(8),
            before=adjudication.taken_back(log, person.id, one.item_id) if one else None,
        )

    @app.post("/adjudicate")
    async def decide(request: Request, person: Adjudicator) -> Response:
        return decided(await _form(request), person, "/adjudicate")

    def decided(form: dict[str, str], person: Person, back_to: str) -> Response:
        value = _value(form.get("label", ""))
        note = _note(form.get("note"))
        over = _over(form)
        try:
            adjudication.decide(
                log,
                person.id,
                form.get("item_id", ""),
                value,
                key=_key(form),
                note=note,
                guideline=settings.guideline.version,
                # A form without the field is of a page on which only undecided sentences stand.
                over=None if over is ... else over,
            )
        except adjudication.Overruled as error:
            everything = adjudication.decisions(log, person.id)
            standing = next((one for one in everything if one.item_id == form["item_id"]), None)
            clash = {"item_id": form["item_id"], "standing": standing, "value": value, "note": note}
            return past_decisions(person, 1, 409, **clash, reason=str(error), key=secrets.token_hex(8))
        return RedirectResponse(back_to, 303)

    @app.post("/adjudicate/undo")
    async def take_back_last(request: Request, person: Adjudicator) -> Response:
        past = adjudication.take_back(log, person.id, key=_key(await _form(request)))
        return after_taking_back(past.item_id if past else "")

    def after_taking_back(item_id: str) -> Response:
        undecided = any(one.item_id == item_id for one in adjudication.disagreements(log))
        return RedirectResponse(f"/adjudicate?item={quote(item_id)}" if undecided else "/decisions", 303)

    def past_decisions(person: Person, page_number: int, status: int = 200, **clash: Any) -> HTMLResponse:
        past = adjudication.decisions(log, person.id, HISTORY_PAGE + 1, (page_number - 1) * HISTORY_PAGE)
        return page(
            "decisions.html",
            person,
            status,
            clash=clash,
            decisions=[(one, secrets.token_hex(8)) for one in past[:HISTORY_PAGE]],
            page_number=page_number,
            more=len(past) > HISTORY_PAGE,
        )

    @app.get("/decisions")
    async def decisions_page(person: Adjudicator, page_number: int = 1) -> HTMLResponse:
        return past_decisions(person, _page_number(page_number))

    @app.post("/decisions")
    async def redecide(request: Request, person: Adjudicator) -> Response:
        form = await _form(request)
        if "take_back" not in form:
            return decided(form, person, "/decisions")
        over = _over(form)
        if not isinstance(over, int):
            raise HTTPException(400, "The form names no decision.")
        past = adjudication.take_back(log, person.id, key=_key(form), decision=over)
        return after_taking_back(past.item_id if past else "")

    def failed(request: Request, status: int, reason: str, **more: Any) -> Response:
        if request.url.path.startswith("/api/"):
            return JSONResponse({"error": reason, **more}, status)
        titles = {401: "Please sign in", 403: "Not for you", 404: "Not found", 500: "Something went wrong"}
        title = titles.get(status, "This cannot be done")
        return page("message.html", visitor(request), status, title=title, message=reason)

    @app.exception_handler(StarletteHTTPException)
    async def on_http_error(request: Request, error: StarletteHTTPException) -> Response:
        return failed(request, error.status_code, str(error.detail))

    @app.exception_handler(AnnotationError)
    async def on_bad_request(request: Request, error: AnnotationError) -> Response:
        if isinstance(error, work.Overtaken):
            standing = {"seq": error.standing.seq, **asdict(error.standing.judgement)}
            return failed(request, 409, str(error), standing=standing)
        if isinstance(error, OtherOwner):
            return failed(request, 409, str(error), owner="")
        return failed(request, 409 if isinstance(error, Conflict) else 400, str(error))

    @app.exception_handler(RequestValidationError)
    async def on_bad_shape(request: Request, error: RequestValidationError) -> Response:
        first = error.errors()[0]
        return failed(request, 400, f"{'.'.join(str(part) for part in first['loc'])}: {first['msg']}")

    return Gate(app, settings.address)


_USED_UP = "A link works once and for a week. Ask the person who runs this page for a new one."


def serve(log: Log, settings: ServerSettings, on_start: Callable[[], None] = lambda: None) -> None:
    """Serve until SIGINT, SIGTERM or SIGHUP; what is under way is answered, then the caller closes the log."""
    import uvicorn

    class Server(uvicorn.Server):
        @contextlib.contextmanager
        def capture_signals(self) -> Iterator[None]:
            # uvicorn's own does not know SIGHUP, and raises the signal again at the end, which ends the process.
            numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
            ends = [number for number in numbers if signal.getsignal(number) is not signal.SIG_IGN]
            before = {number: signal.signal(number, self.handle_exit) for number in ends}
            try:
                yield
            finally:
                for number, handler in before.items():
                    signal.signal(number, handler)

        async def startup(self, sockets: Any = None) -> None:
            await super().startup(sockets)
            if self.started:
                on_start()

    Server(
        uvicorn.Config(
            create_app(log, settings),
            host=settings.address.host,
            port=settings.address.port,
            # Links with tokens must not end up in a log.
            access_log=False,
            log_level="warning",
            server_header=False,
            proxy_headers=False,
            lifespan="off",
            timeout_graceful_shutdown=3,
        )
    ).run()


async def _form(request: Request) -> dict[str, str]:
    """The fields of a plain HTML form."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/x-www-form-urlencoded":
        raise HTTPException(415, "Expected a form.")
    try:
        return dict(parse_qsl((await request.body()).decode("utf-8"), keep_blank_values=True, max_num_fields=50))
    except ValueError as error:
        raise HTTPException(400, "The form cannot be read.") from error


def _key(form: dict[str, str]) -> str:
    if not re.match(_KEY_PATTERN, form.get("key", "")):
        raise HTTPException(400, "The form has no key.")
    return form["key"]


def _over(form: dict[str, str]) -> int | EllipsisType | None:
    """The event of what stood on the page that the form is of: None for nothing, ... where the form does not say."""
    if "over" not in form:
        return ...
    if form["over"] == "":
        return None
    if not re.fullmatch(r"[0-9]{1,15}", form["over"]):
        raise HTTPException(400, "The form cannot be read.")
    return int(form["over"])


def _page_number(given: int) -> int:
    return min(max(given, 1), 10_000)


def _value(answer: str) -> LabelValue:
    try:
        return LabelValue(answer)
    except ValueError as error:
        raise HTTPException(400, f"{answer!r} is no answer.") from error


def _judgement(
    answer: str, unsure: bool, skip_reason: str | None, note: str | None, guideline: str | None
) -> Judgement:
    value = _value(answer)
    if (value is LabelValue.SKIP) != (skip_reason is not None) or skip_reason not in (None, *SKIP_REASONS):
        raise AnnotationError(f"a skip needs a reason, one of {', '.join(SKIP_REASONS)}; other answers have none")
    note = _note(note)
    if guideline is not None:
        check_text(guideline, "guideline", 200)
    return Judgement(value=value, unsure=unsure, skip_reason=skip_reason, note=note, guideline=guideline or None)


def _note(given: str | None) -> str | None:
    # Browsers send form line breaks as CR LF.
    return check_text((given or "").replace("\r\n", "\n").strip(), "note", MAX_NOTE_CHARS) or None


def _progress(progress: Progress) -> dict[str, Any]:
    return {
        "mine": progress.mine,
        "taken": progress.taken,
        "wanted": progress.wanted,
        "open": progress.open_to_me,
        "pace_s": progress.pace_s,
    }


def _number(value: float) -> str:
    """A coefficient as people read it."""
    return "–" if value != value else f"{value:.3f}"
