"""What yt-dlp writes: `.info.json` beside its media or without them, and dumps of playlists (`-J`, `-j`).

| in the dump | in the catalogue |
|---|---|
| `id`, `extractor_key` | `recording_id`: YouTube's id as it is (as AudioSet has it), `EXTRACTOR:ID` of other sites |
| the media of the same name beside it, or else YouTube's address | `audio_uri`; other sites need their media |
| `track`, else `title`; `artists`, `artist`, `creators`, `creator`, or a channel `NAME - Topic` | `title`, `artist` |
| `album`; `tags`, `genres`, `categories`; `description`; `license` | `album`, `tags`, `description`, `licence` |
| `comments` | their texts, without authors |
| `webpage_url` | `source` |
| `playlist_id`, `playlist_title`, `playlist_index`, or `entries` | a playlist |

Chapters and the upload date have no column: a chapter names what is heard at another place than the clip.
Paths that a dump names (`_filename`, `filepath`) are never used.
"""

import itertools
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipeline.catalogues.fields import Fields, clean_long
from pipeline.catalogues.reader import Entry, Item, LeftOut, ListedPlaylist, Recording
from pipeline.catalogues.tags import year_of
from pipeline.media.protocol import MEDIA_SUFFIXES
from schemas.cells import RowError, as_number, as_text, type_name
from schemas.exits import InputError
from schemas.playlist_files.million import parsed_json
from schemas.playlist_files.text import MAX_ENTRIES, isrc, names_of, real_folder, regular_file, whole
from schemas.reasons import LeftOutError, Reason, legible
from schemas.youtube_address import video_id

SUFFIX = ".info.json"
MAX_DUMP_BYTES = 64 << 20  # of a file, or of a line where each is a dump
MAX_DEPTH = 4  # of playlists in playlists: a channel has tabs, and these have playlists
_TOPIC = " - Topic"
_GONE = ("[Deleted video]", "[Private video]")
_LISTS = ("playlist", "multi_video")


def read(source: Path) -> Iterator[Item]:
    """A dump, or every `.info.json` below a folder. Raises InputError where there is none."""
    if source.is_dir():
        files = sorted(path for path in source.rglob(f"*{SUFFIX}") if not path.name.startswith("."))
        if not files:
            raise InputError(f"{source}: has no {SUFFIX} file (yt-dlp --write-info-json writes them)")
    else:
        files = [source]
    dumps = _Dumps()
    for path in files:
        yield from dumps.file(path)
    yield from dumps.listed()


@dataclass
class _Dumps:
    """All dumps of a source; playlists are whole only at its end."""

    playlists: dict[str, "_Playlist"] = field(default_factory=dict)

    def file(self, path: Path) -> Iterator[Item]:
        try:
            for where, value in _values(path):
                if isinstance(value, LeftOut):
                    yield value
                else:
                    yield from self._value(where, path, value, depth=0)
        except LeftOutError as error:
            yield LeftOut(where=str(path), reason=error.reason, detail=error.detail)

    def listed(self) -> Iterator[Item]:
        for playlist_id, known in sorted(self.playlists.items()):
            entries = tuple(entry for _, entry in sorted(known.entries, key=lambda pair: pair[0]))
            yield ListedPlaylist(
                playlist_id=playlist_id,
                title=known.title or "",
                where=known.where,
                description=known.description,
                entries=entries,
            )

    def _value(self, where: str, path: Path, value: Any, depth: int) -> Iterator[Item]:
        if not isinstance(value, dict):
            detail = f"a dump is {type_name(value)}; it must be an object"
            yield LeftOut(where=where, reason=Reason.WRONG_TYPE, detail=detail)
        elif value.get("_type") in _LISTS:
            yield from self._list(where, path, value, depth)
        else:
            fields = Fields(where, value)
            playlist = self._playlist(fields, where, fields.short("playlist_id"), fields.short("playlist_title"))
            yield from fields.left_out
            yield from self._recording(where, path, value, playlist)

    def _list(self, where: str, path: Path, value: Mapping[str, Any], depth: int) -> Iterator[Item]:
        fields = Fields(where, value)
        entries = value.get("entries") or []
        playlist = self._playlist(fields, where, fields.short("id"), fields.short("title"))
        if playlist is not None:
            playlist.description = playlist.description or fields.long("description")
        yield from fields.left_out
        if not isinstance(entries, list) or depth == MAX_DEPTH:
            detail = f"entries is {type_name(entries)}, {depth} playlists deep; it must be a list, at most {MAX_DEPTH}"
            yield LeftOut(where=where, reason=Reason.WRONG_TYPE, detail=detail)
            return
        for number, entry in enumerate(entries):
            place = f"{where}:entries[{number}]"
            if entry is None:  # as yt-dlp writes a video that it could not see
                yield LeftOut(where=place, reason=Reason.VIDEO_UNAVAILABLE, detail="the dump has nothing of it")
            elif isinstance(entry, dict) and entry.get("_type") not in _LISTS:
                yield from self._recording(place, path, entry, playlist)
            else:
                yield from self._value(place, path, entry, depth + 1)

    def _playlist(self, fields: Fields, where: str, name: str | None, title: str | None) -> "_Playlist | None":
        if name is None:
            return None
        site = (fields.short("extractor_key", "ie_key") or "playlist").removesuffix("Tab").lower()
        playlist_id = f"{site}:{name}"
        known = self.playlists.setdefault(playlist_id, _Playlist(where=where))
        known.title = known.title or title
        return known

    def _recording(
        self, where: str, path: Path, value: Mapping[str, Any], playlist: "_Playlist | None"
    ) -> Iterator[Item]:
        fields = Fields(where, value)
        try:
            found = _recording(where, path, value, fields)
        except LeftOutError as error:
            yield LeftOut(where=where, reason=error.reason, detail=error.detail)
            found = None
        if playlist is not None:
            try:
                playlist.add(where, value, fields, found)
            except LeftOutError as error:
                yield LeftOut(where=where, reason=error.reason, detail=error.detail)
        yield from fields.left_out
        if found is not None:
            yield found


@dataclass
class _Playlist:
    """One that is still being put together."""

    where: str
    title: str | None = None
    description: str | None = None
    entries: list[tuple[tuple[float, int], Entry]] = field(default_factory=list)

    def add(self, where: str, value: Mapping[str, Any], fields: Fields, found: Recording | None) -> None:
        """Raises RowError."""
        if len(self.entries) == MAX_ENTRIES:
            raise RowError(Reason.OVER_CAP, f"a playlist has at most {MAX_ENTRIES} entries")
        index = as_number(value.get("playlist_index"), "playlist_index")
        place = (float("inf") if index is None else index, len(self.entries))
        names = found.names if found is not None else _names(fields)
        row = found.row if found is not None else {}
        title = row.get("title") or fields.short("track", "title")
        entry = Entry(
            where=where, names=names, artist=row.get("artist"), title=title, duration_s=fields.seconds("duration")
        )
        self.entries.append((place, entry))


def _values(path: Path) -> Iterator[tuple[str, Any]]:
    """The values of a file: one, or one a line, of which one is held. A line that is none is a LeftOut. Raises
    LeftOutError.
    """
    with regular_file(path) as stream:
        first = stream.readline(MAX_DUMP_BYTES + 1)
        second = stream.readline(MAX_DUMP_BYTES + 1)
        if not second.strip() or not _is_json(first):
            yield str(path), parsed_json(whole(stream, MAX_DUMP_BYTES, first + second))
            return
        lines = itertools.chain((first, second), iter(lambda: stream.readline(MAX_DUMP_BYTES + 1), b""))
        for number, line in enumerate(lines, start=1):
            if not line.strip():
                continue
            where = f"{path}:{number}"
            try:
                if len(line) > MAX_DUMP_BYTES:
                    raise LeftOutError(Reason.LINE_TOO_LONG, f"has more than {MAX_DUMP_BYTES >> 20} MiB")
                yield where, parsed_json(line)
            except LeftOutError as error:
                yield where, LeftOut(where=where, reason=error.reason, detail=error.detail)


def _is_json(line: bytes) -> bool:
    try:
        json.loads(line)
    except (ValueError, RecursionError):
        return False
    return True


def _recording(where: str, path: Path, value: Mapping[str, Any], fields: Fields) -> Recording:
    """Raises LeftOutError."""
    names = _names(fields)
    youtube = next((name.partition(":")[2] for name in names if name.startswith("youtube:")), None)
    identifier, site = fields.short("id"), fields.short("extractor_key", "ie_key", "extractor")
    if identifier is None:
        raise RowError(Reason.MISSING_FIELD, "id is missing")
    title = fields.short("track", "title")
    if title in _GONE:
        raise LeftOutError(Reason.VIDEO_UNAVAILABLE, f"the video is called {title}")
    media = _media_beside(path)
    if media is None and youtube is None:
        raise LeftOutError(
            Reason.NO_LOCAL_COPY, f"no media beside it, and videos of {legible(site or 'no site')} are not fetched"
        )
    row = {
        "recording_id": youtube or f"{(site or 'unknown').lower()}:{identifier}",
        "audio_uri": str(media) if media is not None else f"https://www.youtube.com/watch?v={youtube}",
        "title": title,
        "artist": _artist(fields, value),
        "album": fields.short("album"),
        "tags": fields.shorts("tags", "genres", "categories"),
        "description": fields.long("description"),
        "comments": _comments(fields, value),
        "licence": fields.short("license"),
        "source": fields.short("webpage_url", "original_url"),
        "year": year_of(fields.short("release_year") or fields.short("release_date") or ""),
    }
    return Recording(
        row={name: found for name, found in row.items() if found},
        where=where,
        names=names,
        duration_s=fields.seconds("duration"),
        only_named=value.get("_type") == "url",
    )


def _names(fields: Fields) -> tuple[str, ...]:
    """YouTube's id above all, then the addresses, the site's own id and an ISRC."""
    site = (fields.short("extractor_key", "ie_key", "extractor") or "").lower()
    identifier = fields.short("id")
    found = []
    if site == "youtube" and identifier and video_id(identifier) == identifier:
        found.append(f"youtube:{identifier}")
    for address in ("webpage_url", "original_url", "url"):
        # The `url` of a video is its media's, with a signature that is over in hours; that of a flat entry is its own.
        if address != "url" or not found:
            found += names_of(fields.short(address) or "")
    if identifier and site and site != "youtube":
        found.append(f"{site}:{identifier}")
    found += isrc(fields.short("isrc") or "")
    return tuple(dict.fromkeys(found))


def _artist(fields: Fields, value: Mapping[str, Any]) -> str | None:
    for name in ("artists", "artist", "creators", "creator"):
        found = fields.shorts(name) if isinstance(value.get(name), list) else [fields.short(name) or ""]
        if any(found):
            return ", ".join(found)
    channel = fields.short("channel", "uploader") or ""
    return channel.removesuffix(_TOPIC) if channel.endswith(_TOPIC) else None


def _comments(fields: Fields, value: Mapping[str, Any]) -> list[str]:
    """What they say; who says it is not read."""
    comments = value.get("comments")
    if comments is None:
        return []
    if not isinstance(comments, list):
        fields.leave_out(RowError(Reason.WRONG_TYPE, f"comments is {type_name(comments)}; it must be a list"))
        return []
    found = []
    for comment in comments:
        try:
            if not isinstance(comment, dict):
                raise RowError(Reason.WRONG_TYPE, f"a comment is {type_name(comment)}; it must be an object")
            text = clean_long(as_text(comment.get("text"), "a comment's text") or "", "a comment")
        except RowError as error:
            fields.leave_out(error)
            continue
        if text is not None:
            found.append(text)
    return fields.bounded(found, "comments")


def _media_beside(path: Path) -> Path | None:
    """The media that yt-dlp wrote under the same name, of several the one in the better container."""
    if not path.name.endswith(SUFFIX):
        return None
    stem = path.name.removesuffix(SUFFIX)
    found = (real_folder(path) / f"{stem}{suffix}" for suffix in MEDIA_SUFFIXES)
    return next((media for media in found if media.is_file()), None)
