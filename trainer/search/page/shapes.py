"""What the API takes and gives, as its OpenAPI says it."""

from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from schemas.cells import RowError, utf8
from trainer.search.index import MAX_TEXT
from trainer.search.page.playlists import FORMATS

MAX_HITS = 200
MAX_PLAYLIST = 1_000
MAX_SEEDS = 50


def _unicode(text: str) -> str:
    try:
        utf8(text, "the text")
    except RowError as error:
        raise ValueError(error.detail) from error
    return text


Text = Annotated[str, Field(max_length=MAX_TEXT), AfterValidator(_unicode)]
RecordingId = Annotated[str, Field(max_length=2_000), AfterValidator(_unicode)]
Seeds = Annotated[list[RecordingId], Field(max_length=MAX_SEEDS)]
Count = Annotated[int, Field(ge=1, le=MAX_HITS)]


class Failure(BaseModel):
    error: str


class About(BaseModel):
    """`caution`: what a reader should know of the model before he believes an answer."""

    recordings: int
    model: str
    has_windows: bool
    caution: str | None


class Found(BaseModel):
    """`start_s`: the moment that fits best, in the sound that /audio gives; null where it is not known."""

    recording_id: str
    score: float
    title: str
    artist: str
    start_s: float | None
    how: str


class Hits(BaseModel):
    hits: list[Found]


class Recording(BaseModel):
    recording_id: str
    title: str
    artist: str
    album: str
    licence: str
    source: str
    year: int | None
    tags: list[str]
    duration_s: float | None


class TagScore(BaseModel):
    name: str
    score: float


class Tags(BaseModel):
    tags: list[TagScore]


class Point(BaseModel):
    recording_id: str
    title: str
    artist: str
    x: float
    y: float


class Map(BaseModel):
    """`recordings` are in the index, of which the points are those that are shown."""

    recordings: int
    points: list[Point]


class HealthAnswer(BaseModel):
    """`lines`: for a person, the worst first."""

    is_well: bool
    lines: list[str]


class PlaylistOrder(BaseModel):
    model_config = ConfigDict(extra="forbid")
    format: Literal["m3u8", "xspf", "csv"]
    recording_ids: Annotated[list[RecordingId], Field(min_length=1, max_length=MAX_PLAYLIST)]


assert set(FORMATS) == {"m3u8", "xspf", "csv"}
