"""What the page's script asks of the index, and anybody else who reads /openapi.json.

Ids are any text, so they are given by query parameters and never in a path.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated
from urllib.parse import urlencode

from fastapi import APIRouter, Depends, Query, Response

from trainer.search.index import Entry, Hit, Index
from trainer.search.page.playlists import FORMATS
from trainer.search.page.playlists import Entry as PlaylistEntry
from trainer.search.page.shapes import (
    MAX_HITS,
    About,
    Count,
    Failure,
    Found,
    HealthAnswer,
    Hits,
    Map,
    PlaylistOrder,
    Point,
    Recording,
    RecordingId,
    Seeds,
    Tags,
    TagScore,
    Text,
)
from trainer.search.page.site import Site

# More than one sees on a map, and few enough to be sent and drawn at once.
MAX_POINTS = 4_000


def routes(site: Site) -> APIRouter:
    refusals = {"4XX": {"model": Failure}}
    router = APIRouter(prefix="/api", dependencies=[Depends(site.admitted)], responses=refusals)  # type: ignore[arg-type]

    @router.get("/about")
    async def about() -> About:
        """What the collection and its model are."""
        return await site.ask(about_of)

    @router.get("/search")
    async def search(
        text: Annotated[Text, Query()] = "",
        k: Annotated[Count, Query()] = 20,
        away_from: Annotated[list[Text], Query(max_length=10)] = [],  # noqa: B006 - FastAPI copies it
        like: Annotated[Seeds, Query()] = [],  # noqa: B006
        unlike: Annotated[Seeds, Query()] = [],  # noqa: B006
        where: Annotated[Text | None, Query()] = None,
    ) -> Hits:
        """Recordings that a text describes or names; more like some, less like others."""
        steered = {"away_from": away_from, "like": like, "unlike": unlike}
        return _hits(await site.ask(lambda index: index.search(text, k=k, where=where or None, **steered)))

    @router.get("/similar")
    async def similar(recording_id: Annotated[RecordingId, Query()], k: Annotated[Count, Query()] = 20) -> Hits:
        """Recordings that sound like one."""
        return _hits(await site.ask(lambda index: index.similar(recording_id, k=k)))

    @router.get("/tags")
    async def tags(recording_id: Annotated[RecordingId, Query()]) -> Tags:
        """Words that describe a recording, found by its sound alone."""
        found = await site.ask(lambda index: index.tags(recording_id))
        return Tags(tags=[TagScore(name=tag.name, score=tag.score) for tag in found])

    @router.get("/recordings")
    async def recording(recording_id: Annotated[RecordingId, Query()]) -> Recording:
        """What is known of a recording."""
        return _recording(await site.ask(lambda index: index.row(recording_id)))

    @router.get("/map")
    async def map_of_all() -> Map:
        """The collection on a plane: what sounds alike is near. Of a large one, an even choice."""
        return await site.ask(_map)

    @router.get("/path")
    async def path(
        from_id: Annotated[RecordingId, Query()],
        to_id: Annotated[RecordingId, Query()],
        text: Annotated[Text | None, Query()] = None,
        n: Annotated[int, Query(ge=2, le=MAX_HITS)] = 20,
    ) -> Hits:
        """Recordings that lead from one to another, as a text such as "calm to wild" says."""
        return _hits(await site.ask(lambda index: index.path(from_id, to_id, text or None, n)))

    @router.get("/health")
    async def health() -> HealthAnswer:
        """Whether the answers of this index mean anything."""
        found = await site.ask(lambda index: index.health())
        return HealthAnswer(is_well=found.is_well, lines=[line.strip() for line in found.lines()])

    @router.post("/playlist", response_class=Response)
    async def playlist(order: PlaylistOrder) -> Response:
        """A playlist as a file of one of the formats."""
        entries = await site.ask(lambda index: [_playlist_entry(site, index, one) for one in order.recording_ids])
        form = FORMATS[order.format]
        headers = {"content-disposition": f'attachment; filename="playlist.{order.format}"'}
        return Response(form.write(entries).encode(), headers=headers, media_type=form.media_type)

    return router


def about_of(index: Index) -> About:
    about = index.about
    return About(recordings=index.count, model=about.model, has_windows=about.has_windows, caution=about.caution)


def _hits(found: Sequence[Hit]) -> Hits:
    return Hits(
        hits=[
            Found(
                recording_id=hit.recording_id,
                score=hit.score,
                title=hit.title or "",
                artist=hit.artist or "",
                start_s=hit.start_s,
                how=hit.how,
            )
            for hit in found
        ]
    )


def _recording(entry: Entry) -> Recording:
    return Recording(
        recording_id=entry.recording_id,
        title=entry.title or "",
        artist=entry.artist or "",
        album=entry.album or "",
        licence=entry.licence or "",
        source=entry.source or "",
        year=entry.year,
        tags=list(entry.tags),
        duration_s=entry.duration_s,
    )


def _map(index: Index) -> Map:
    everywhere = index.map()
    step = max(1, -(-len(everywhere) // MAX_POINTS))
    points = []
    for recording_id, x, y in everywhere[::step]:
        entry = index.row(recording_id)
        points.append(Point(recording_id=recording_id, title=entry.title or "", artist=entry.artist or "", x=x, y=y))
    return Map(recordings=len(everywhere), points=points)


def _playlist_entry(site: Site, index: Index, recording_id: str) -> PlaylistEntry:
    entry = index.row(recording_id)
    # On this machine a player opens the file itself; elsewhere, and for clips of a run, it asks this server.
    if entry.path is not None and site.is_private:
        location = Path(entry.path).as_uri()
    else:
        location = f"{site.address.url}/audio?{urlencode({'recording_id': recording_id})}"
    return PlaylistEntry(
        recording_id=recording_id,
        location=location,
        title=entry.title or recording_id,
        artist=entry.artist or "",
        album=entry.album or "",
        licence=entry.licence or "",
        duration_s=entry.duration_s,
    )
