"""Side tables of a catalogue: comments and playlists, where they are too many to stand in its rows."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from schemas.catalogue import MAX_ID_BYTES, required_name
from schemas.cells import RowError, is_no_value, optional_text, text_list
from schemas.reasons import Reason


@dataclass(frozen=True, kw_only=True)
class Comment:
    recording_id: str
    text: str


@dataclass(frozen=True, kw_only=True)
class Playlist:
    playlist_id: str
    title: str
    recording_ids: tuple[str, ...]


COMMENT_FIELDS = tuple(Comment.__dataclass_fields__)
PLAYLIST_FIELDS = tuple(Playlist.__dataclass_fields__)
PLAYLIST_LIST_FIELDS = ("recording_ids",)


def parse_comment(value: Mapping[str, Any]) -> Comment:
    """Raises RowError."""
    return Comment(
        recording_id=required_name(value, "recording_id", MAX_ID_BYTES),
        text=optional_text(value, "text") or "",
    )


def parse_playlist(value: Mapping[str, Any]) -> Playlist:
    """Raises RowError."""
    if is_no_value(value.get("recording_ids")):
        raise RowError(Reason.MISSING_FIELD, "recording_ids is missing")
    return Playlist(
        playlist_id=required_name(value, "playlist_id", MAX_ID_BYTES),
        title=optional_text(value, "title") or "",
        recording_ids=text_list(value, "recording_ids"),
    )
