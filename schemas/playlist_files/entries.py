"""What a playlist file says, before anyone has decided which recordings it means."""

from dataclasses import dataclass, field
from pathlib import Path

from schemas.reasons import Reason


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One line of a playlist: whatever it says of the recording that it means. `path` is as it stands there."""

    where: str
    path: str | None = None
    names: tuple[str, ...] = ()
    artist: str | None = None
    title: str | None = None
    duration_s: float | None = None


@dataclass(frozen=True, kw_only=True)
class ListedPlaylist:
    """`folder` is what the paths of its entries are relative to."""

    playlist_id: str
    title: str
    where: str
    folder: Path | None = None
    description: str | None = None
    entries: tuple[Entry, ...] = field(default=())


@dataclass(frozen=True, kw_only=True)
class LeftOut:
    """A file, row or entry that gives nothing, or gives it without one of its fields."""

    where: str
    reason: Reason
    detail: str
