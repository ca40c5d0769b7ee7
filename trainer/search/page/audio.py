"""The sound of a recording that the index knows: whole, by ranges, or as an excerpt that every browser plays.

The request names an id and never a path. A file is opened as it was when it was indexed: a regular one, to which no
link leads.
"""

import asyncio
import io
import os
import stat
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Annotated, BinaryIO

from fastapi import APIRouter, Depends, Header, HTTPException, Query, Response
from fastapi.responses import StreamingResponse

from pipeline.media.clip import ClipDecoder, ClipError, ClipSpec, DecodeConfig, DecoderUnavailableError, ShortPolicy
from pipeline.media.encode import encode
from schemas.shard import AudioEncoding
from trainer.search.index import AudioPlace
from trainer.search.page.ranges import OutOfRangeError, part_of
from trainer.search.page.shapes import Failure, RecordingId
from trainer.search.page.site import Site

EXCERPT_S = 30.0
_CHUNK_BYTES = 1 << 16
# A browser keeps it while one listens; what was taken out of the index is not played for long after.
_KEPT = "private, max-age=600"
# Nothing but sound is ever said to come from here, whatever a file is called.
_MEDIA = ("audio/", "video/")
_UNKNOWN_TYPE = "application/octet-stream"


def routes(site: Site) -> APIRouter:
    refusals = {"4XX": {"model": Failure}}
    router = APIRouter(dependencies=[Depends(site.admitted)], responses=refusals)  # type: ignore[arg-type]
    excerpts = _Excerpts()

    async def place_of(recording_id: str) -> AudioPlace:
        return await site.ask(lambda index: index.audio(recording_id))

    @router.get("/audio", response_class=Response)
    async def audio(
        recording_id: Annotated[RecordingId, Query()], range: Annotated[str | None, Header(max_length=200)] = None
    ) -> Response:
        """The sound as it is stored; a range of it where one is asked for."""
        place = await place_of(recording_id)
        file = _opened(place)
        size = file.seek(0, os.SEEK_END)
        headers = {"accept-ranges": "bytes", "cache-control": _KEPT}
        try:
            part = part_of(range, size)
        except OutOfRangeError as error:
            file.close()
            headers["content-range"] = f"bytes */{size}"
            raise HTTPException(416, str(error), headers) from error
        start, stop = part or (0, size)
        headers["content-length"] = str(stop - start)
        if part is not None:
            headers["content-range"] = f"bytes {start}-{stop - 1}/{size}"
        return StreamingResponse(_chunks(file, start, stop), 200 if part is None else 206, headers, _media_type(place))

    @router.get("/audio/excerpt", response_class=Response)
    async def excerpt(
        recording_id: Annotated[RecordingId, Query()],
        start_s: Annotated[float, Query(ge=0, le=86_400, allow_inf_nan=False)] = 0.0,
    ) -> Response:
        """At most 30 seconds as FLAC, decoded as the index was: for formats that a browser does not know."""
        place = await place_of(recording_id)
        flac = await excerpts.cut(place, start_s)
        return Response(flac, headers={"cache-control": _KEPT}, media_type="audio/flac")

    return router


class _Excerpts:
    """Cut one at a time, by the decoder that has no rights."""

    def __init__(self) -> None:
        self._decoder = ClipDecoder(DecodeConfig(short_policy=ShortPolicy.PAD))
        self._cutting = ThreadPoolExecutor(1, thread_name_prefix="excerpt")

    async def cut(self, place: AudioPlace, start_s: float) -> bytes:
        return await asyncio.get_running_loop().run_in_executor(self._cutting, self._cut, place, start_s)

    def _cut(self, place: AudioPlace, start_s: float) -> bytes:
        with _opened(place) as file:
            if file.seek(0, os.SEEK_END) > self._decoder.config.max_media_bytes:
                raise HTTPException(404, "The file is too large to cut an excerpt from.")
            file.seek(0)
            media = file.read()
        try:
            clip = self._decoder.cut(media, ClipSpec(start_s=start_s, duration_s=EXCERPT_S))
        except ClipError as error:
            raise HTTPException(404, f"This recording cannot be played ({error.detail}).") from error
        except DecoderUnavailableError as error:
            raise HTTPException(503, str(error)) from error
        pcm_T = clip.pcm_T[: len(clip.pcm_T) - clip.padded_samples]
        if not len(pcm_T):
            raise HTTPException(404, "The recording ends before that moment.")
        return encode(pcm_T, AudioEncoding.FLAC)


def _opened(place: AudioPlace) -> BinaryIO:
    """Raises HTTPException where what was indexed is not there any more, or is something else by now."""
    if place.path is None:
        return io.BytesIO(place.content or b"")
    gone = HTTPException(404, "The file is not where it was when the collection was indexed.")
    # The index has names with all links resolved: one that leads elsewhere by now was put there since.
    if os.path.realpath(place.path) != str(place.path):
        raise gone
    try:
        # Without waiting for whoever writes into a pipe that was put there.
        descriptor = os.open(place.path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError as error:
        raise gone from error
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise gone
    return os.fdopen(descriptor, "rb")


def _media_type(place: AudioPlace) -> str:
    return place.mime if place.mime.startswith(_MEDIA) else _UNKNOWN_TYPE


def _chunks(file: BinaryIO, start: int, stop: int) -> Iterator[bytes]:
    with file:
        file.seek(start)
        while start < stop and (chunk := file.read(min(_CHUNK_BYTES, stop - start))):
            start += len(chunk)
            yield chunk
