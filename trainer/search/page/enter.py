"""Coming in by a link, where the page is served beyond this machine. The link holds until the server ends."""

from urllib.parse import parse_qs

from fastapi import APIRouter, HTTPException, Request, Response
from fastapi.responses import HTMLResponse, RedirectResponse

from trainer.search.page.site import Site

_NO_LINK = "This link does not let anybody in (any more). Ask the person who runs this page for the one of today."


def routes(site: Site) -> APIRouter:
    router = APIRouter(include_in_schema=False)

    # The cookie is for our own pages alone (SameSite=Strict), so a link from elsewhere ends at a button of ours.
    @router.get("/enter")
    async def enter(token: str = "") -> HTMLResponse:
        if not site.is_invited(token):
            raise HTTPException(401, _NO_LINK)
        return site.page("enter.html", token=token)

    @router.post("/enter")
    async def entered(request: Request) -> Response:
        form = parse_qs((await request.body()).decode("utf-8", "replace"), max_num_fields=5)
        if not site.is_invited(form.get("token", [""])[0]):
            raise HTTPException(401, _NO_LINK)
        response = RedirectResponse("/", 303)
        response.set_cookie(site.cookie, site.session, httponly=True, samesite="strict", secure=site.address.secure)
        return response

    return router
