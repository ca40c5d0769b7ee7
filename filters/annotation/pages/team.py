"""The lead's page: the work as a whole, and what an edit of the guideline touches."""

from datetime import UTC, datetime
from typing import Annotated

from fastapi import APIRouter, Depends, HTTPException
from fastapi.responses import HTMLResponse

from filters.annotation import lead
from filters.annotation.pages.forms import within
from filters.annotation.pages.site import Site, listed
from filters.annotation.people import Person

# Of the picture of agreement over time, in its own units.
_WIDTH, _HEIGHT = 640, 160


def routes(site: Site) -> APIRouter:
    router = APIRouter()
    log = site.log
    Adjudicator = Annotated[Person, Depends(site.adjudicator)]

    @router.get("/team")
    async def team(person: Adjudicator) -> HTMLResponse:
        everybody = lead.shares(log)
        left = lead.what_is_left(log, everybody)
        periods = lead.agreement_over_time(log)
        return site.page(
            "team.html",
            person,
            everybody=everybody,
            left=left,
            duration=_duration,
            ends=_day(log.clock_ms() + int(left.days * lead.DAY_MS)) if left.days else None,
            periods=periods,
            points=_points(periods),
            strata=lead.by_stratum(site.agreement(), log),
            splits=lead.splits(log),
            editions=lead.editions(log),
            day=_day,
            when=_when,
        )

    @router.get("/team/guideline")
    async def touched(person: Adjudicator, version: str, page_number: int = 1) -> HTMLResponse:
        edition = next((one for one in lead.editions(log) if one.version == version), None)
        if edition is None:
            raise HTTPException(404, "There is no such version of the guideline.")
        number = within(page_number)
        past = listed(lambda limit, offset: lead.labelled_under(log, version, limit, offset), number)
        return site.page("touched.html", person, edition=edition, when=_when, **past)

    return router


def _day(at_ms: int) -> str:
    return f"{datetime.fromtimestamp(at_ms / 1000, UTC):%Y-%m-%d}"


def _when(at_ms: int) -> str:
    return f"{datetime.fromtimestamp(at_ms / 1000, UTC):%Y-%m-%d %H:%M} UTC"


def _duration(seconds: float) -> str:
    minutes = round(seconds / 60)
    return f"{max(minutes, 1)} min" if minutes < 100 else f"{seconds / 3600:.1f} h"


def _points(periods: list[lead.Period]) -> list[tuple[float, float, float, float]]:
    """Of each period: its place, its share of agreement, and the ends of the interval, as the picture has them."""

    def height(share: float) -> float:
        return round((1 - share) * _HEIGHT, 1)

    step = _WIDTH / max(len(periods), 1)
    return [
        (round((place + 0.5) * step, 1), height(one.value), height(one.low), height(one.high))
        for place, one in enumerate(period.observed for period in periods)
    ]
