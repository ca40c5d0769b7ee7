"""The server of the annotators' tool: its pages put together, errors made readable, start and stop.

One process, one thread, one connection: handlers are coroutines that call SQLite directly, so writes queue up by
themselves and no lock is needed. Nothing is kept in memory between requests but a cache of the agreement table, so a
killed server loses nothing that it has answered for, and the page sends again what was not answered.
"""

import logging
import sqlite3
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from fastapi.staticfiles import StaticFiles
from starlette.exceptions import HTTPException

from filters.annotation.log import Log
from filters.annotation.pages import adjudicate, agreement, enter, history, label, recording, reference, team, welcome
from filters.annotation.pages.label import OtherOwner
from filters.annotation.pages.site import ServerSettings, Site
from filters.annotation.records import AnnotationError
from filters.annotation.trouble import trouble_of
from filters.annotation.work import Conflict, Overtaken
from schemas.serving import server
from schemas.serving.gate import Gate

__all__ = ["ServerSettings", "create_app", "serve"]
logger = logging.getLogger(__name__)

PAGES = (enter, welcome, label, history, recording, reference, team, agreement, adjudicate)
_STATIC = Path(__file__).with_name("static")


def create_app(log: Log, settings: ServerSettings) -> Gate:
    """The whole application as ASGI, gate included."""
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    app.mount("/static", StaticFiles(directory=_STATIC, packages=[server.LOOK]), name="static")
    site = Site(log, settings)
    for page in PAGES:
        app.include_router(page.routes(site))
    _answer_errors(app, site)
    return Gate(app, settings.address, ("media-src 'self'",) if settings.contexts else ())


def _answer_errors(app: FastAPI, site: Site) -> None:
    """A page for people, JSON for the page's script, and the reason in both."""

    def failed(request: Request, status: int, reason: str, **more: Any) -> Response:
        if request.url.path.startswith("/api/"):
            return JSONResponse({"error": reason, **more}, status)
        titles = {401: "Please sign in", 403: "Not for you", 404: "Not found", 500: "Something went wrong"}
        title = titles.get(status, "This cannot be done")
        return site.page("message.html", site.visitor(request), status, title=title, message=reason)

    @app.exception_handler(HTTPException)
    async def on_http_error(request: Request, error: HTTPException) -> Response:
        return failed(request, error.status_code, str(error.detail))

    @app.exception_handler(AnnotationError)
    async def on_bad_request(request: Request, error: AnnotationError) -> Response:
        if isinstance(error, Overtaken):
            standing = {"seq": error.standing.seq, **asdict(error.standing.judgement)}
            return failed(request, 409, str(error), standing=standing)
        if isinstance(error, OtherOwner):
            return failed(request, 409, str(error), owner="")
        return failed(request, 409 if isinstance(error, Conflict) else 400, str(error))

    said: set[str] = set()

    @app.exception_handler(sqlite3.Error)
    async def on_storage(request: Request, error: sqlite3.Error) -> Response:
        trouble = trouble_of(error)
        words = trouble.words if trouble else str(error)
        # The page asks again every few seconds: the terminal is told once of each kind.
        if words not in said:
            said.add(words)
            logger.error("%s: %s (%s)", site.log.path, words, error)
        reason = trouble.page if trouble else "The database of the server does not answer."
        if request.url.path.startswith("/api/"):
            return JSONResponse({"error": reason}, 503)
        # Who is signed in cannot be asked either.
        return site.page("message.html", None, 503, title="The server is in trouble", message=reason)

    @app.exception_handler(RequestValidationError)
    async def on_bad_shape(request: Request, error: RequestValidationError) -> Response:
        first = error.errors()[0]
        return failed(request, 400, f"{'.'.join(str(part) for part in first['loc'])}: {first['msg']}")


def serve(log: Log, settings: ServerSettings, on_start: Callable[[], None] = lambda: None) -> None:
    """Serve until a signal ends it; then the caller closes the log."""
    server.serve(create_app(log, settings), settings.address, on_start)
