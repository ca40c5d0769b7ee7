"""Evaluation playlist: 10 to 100 recordings, a title and a description; for retrieval and triplets as in the paper
(sections 4.1.3 and 4.1.4).

A schema of its own, so that a playlist that trains (`playlist_id, title, recording_ids`) is never taken for one.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from schemas.jsonl import read_objects

MIN_RECORDINGS = 10
MAX_RECORDINGS = 100


@dataclass(frozen=True, kw_only=True)
class EvalPlaylist:
    """Raises ValueError where a text is empty, or the recordings are not 10 to 100 distinct ids."""

    playlist_id: str
    title: str
    description: str
    recording_ids: tuple[str, ...]

    def __post_init__(self) -> None:
        for name in ("playlist_id", "title", "description"):
            if not getattr(self, name).strip():
                raise ValueError(f"{name} is empty")
        if not MIN_RECORDINGS <= len(self.recording_ids) <= MAX_RECORDINGS:
            raise ValueError(
                f"{len(self.recording_ids)} recordings; an evaluation playlist has {MIN_RECORDINGS} to {MAX_RECORDINGS}"
            )
        if len(set(self.recording_ids)) != len(self.recording_ids):
            raise ValueError("a recording stands in it twice")

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> "EvalPlaylist":
        """Raises ValueError where a field is missing, of the wrong type or unknown."""
        texts = {"playlist_id", "title", "description"}
        fields = {*texts, "recording_ids"}
        if set(value) != fields:
            raise ValueError(f"the fields must be {', '.join(sorted(fields))}, not {', '.join(sorted(value))}")
        ids = value["recording_ids"]
        if not isinstance(ids, list) or not all(isinstance(v, str) for v in [*ids, *(value[name] for name in texts)]):
            raise ValueError("playlist_id, title and description are strings and recording_ids is a list of strings")
        return cls(**{**value, "recording_ids": tuple(ids)})


def read_eval_playlists(path: Path) -> list[EvalPlaylist]:
    """One JSON object a line. Raises ValueError that names the file and the line."""
    playlists: dict[str, EvalPlaylist] = {}
    for where, value in read_objects(path):
        try:
            playlist = EvalPlaylist.from_json(value)
        except ValueError as error:
            raise ValueError(f"{where}: {error}") from error
        if playlist.playlist_id in playlists:
            raise ValueError(f"{where}: playlist_id {playlist.playlist_id!r} stands in the file twice")
        playlists[playlist.playlist_id] = playlist
    if not playlists:
        raise ValueError(f"{path}: there is no playlist in it")
    return list(playlists.values())
