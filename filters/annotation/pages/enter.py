"""Coming in by a link and going out again."""

from fastapi import APIRouter, Request, Response
from fastapi.responses import HTMLResponse, RedirectResponse

from filters.annotation import people
from filters.annotation.pages.forms import fields_of
from filters.annotation.pages.site import Site

_USED_UP = "A link works once and for a week. Ask the person who runs this page for a new one."


def routes(site: Site) -> APIRouter:
    router = APIRouter()

    def used_up() -> HTMLResponse:
        return site.page("message.html", None, 401, title="This link is used up", message=_USED_UP)

    @router.get("/enter")
    async def enter(token: str = "") -> HTMLResponse:
        person = people.invited(site.log, token)
        if person is None:
            return used_up()
        return site.page("enter.html", None, name=person.name, token=token)

    @router.post("/enter")
    async def entered(request: Request) -> Response:
        session = people.redeem(site.log, (await fields_of(request)).get("token", ""))
        if session is None:
            return used_up()
        response = RedirectResponse("/", 303)
        response.set_cookie(
            site.cookies[0],
            session,
            max_age=people.SESSION_MS // 1000,
            httponly=True,
            samesite="strict",
            secure=site.address.secure,
        )
        return response

    @router.post("/leave")
    async def leave(request: Request) -> HTMLResponse:
        message = "Your labels are saved. See you next time."
        response = site.page("message.html", None, title="Signed out", message=message)
        for name in site.cookies:
            people.end_session(site.log, request.cookies.get(name, ""))
            response.delete_cookie(name)
        return response

    return router
