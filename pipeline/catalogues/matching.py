"""The playlists of a catalogue: what its readers listed, made of its own recordings."""

from collections.abc import Iterable, Iterator
from pathlib import Path

from pipeline.catalogues.reader import ListedPlaylist, Recording
from schemas.playlist_files.matching import Key, Matcher, Unmatched
from schemas.side_tables import Playlist


def key_of(recording: Recording) -> Key:
    """What a recording may be meant by."""
    row = recording.row
    artist, title = (text if isinstance(text := row.get(field), str) else None for field in ("artist", "title"))
    return Key(
        recording_id=str(row["recording_id"]),
        path=str(row["audio_uri"]),
        names=recording.names,
        artist=artist,
        title=title,
        duration_s=recording.duration_s,
    )


def match(
    recordings: Iterable[Key], playlists: Iterable[ListedPlaylist], folder: Path | None = None
) -> Iterator[Playlist | Unmatched]:
    """Every playlist with the recordings that its entries mean, followed by those that mean none for sure.

    `recordings` are read once, and lie in a file below `folder` while this runs.
    """
    with Matcher(recordings, folder) as matcher:
        for listed in playlists:
            playlist, unmatched = matcher.playlist(listed)
            yield playlist
            yield from unmatched
