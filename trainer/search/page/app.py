"""The application: its page and its API put together, errors made readable, the gate in front."""

from pathlib import Path

from fastapi import APIRouter, Depends, FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, JSONResponse
from fastapi.staticfiles import StaticFiles
from starlette.exceptions import HTTPException

from schemas.serving.gate import Gate
from schemas.serving.server import LOOK
from schemas.version import VERSION
from trainer.search.index import Index, IndexError_
from trainer.search.page import api, audio, enter
from trainer.search.page.site import PageSettings, Site

_STATIC = Path(__file__).with_name("static")
_TITLES = {401: "A link is needed", 404: "Not found", 500: "Something went wrong"}


def create_app(index: Index, settings: PageSettings) -> Gate:
    """The whole application as ASGI, gate included. A page with interactive documentation would need a CDN."""
    app = FastAPI(title="OpenMuLan search", version=VERSION, docs_url=None, redoc_url=None)
    app.mount("/static", StaticFiles(directory=_STATIC, packages=[LOOK]), name="static")
    site = Site(index, settings)
    for routes in (_page, api.routes, audio.routes, enter.routes):
        app.include_router(routes(site))
    _answer_errors(app, site)
    return Gate(app, settings.address, also_allowed=("media-src 'self'",))


def _page(site: Site) -> APIRouter:
    router = APIRouter(dependencies=[Depends(site.admitted)], include_in_schema=False)

    @router.get("/")
    async def page() -> HTMLResponse:
        return site.page("index.html", about=await site.ask(api.about_of))

    return router


def _answer_errors(app: FastAPI, site: Site) -> None:
    """JSON for the page's script and other programs, a page for people, and the reason in both."""

    def failed(request: Request, status: int, reason: str, headers: dict[str, str] | None = None) -> Response:
        if request.url.path.startswith(("/api/", "/audio")):
            return JSONResponse({"error": reason}, status, headers)
        return site.page("message.html", status, title=_TITLES.get(status, "This cannot be done"), message=reason)

    @app.exception_handler(HTTPException)
    async def on_http_error(request: Request, error: HTTPException) -> Response:
        return failed(request, error.status_code, str(error.detail), dict(error.headers or {}))

    @app.exception_handler(IndexError_)
    async def on_missing(request: Request, error: IndexError_) -> Response:
        return failed(request, 404, str(error))

    @app.exception_handler(ValueError)
    async def on_bad_request(request: Request, error: ValueError) -> Response:
        # The page has a field where the command has an option.
        return failed(request, 400, str(error).removeprefix("--where: "))

    @app.exception_handler(RequestValidationError)
    async def on_bad_shape(request: Request, error: RequestValidationError) -> Response:
        first = error.errors()[0]
        return failed(request, 422, f"{'.'.join(str(part) for part in first['loc'])}: {first['msg']}")
