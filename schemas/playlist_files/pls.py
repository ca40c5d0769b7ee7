"""`.pls`: `[playlist]` and numbered `File1=`, `Title1=`, `Length1=`, in any order."""

import re
from collections.abc import Iterator
from pathlib import Path

from schemas.playlist_files.entries import Entry, LeftOut, ListedPlaylist
from schemas.playlist_files.text import (
    MAX_ENTRIES,
    MAX_LINE_BYTES,
    clean,
    decoded,
    file_id,
    lines_of,
    over_cap,
    place,
    real_folder,
    seconds,
    split_artist,
)
from schemas.reasons import LeftOutError, Reason

_FIELD = re.compile(r"(file|title|length)([0-9]{1,9})\s*=\s*(.*)", re.IGNORECASE)


def read(path: Path, content: bytes) -> Iterator[ListedPlaylist | LeftOut]:
    """Raises LeftOutError where the file is no playlist."""
    found: dict[int, dict[str, tuple[int, str]]] = {}
    headed = False
    for number, line in lines_of(decoded(content, latin=True)):
        if len(line) > MAX_LINE_BYTES:
            detail = f"has {len(line)} characters"
            yield LeftOut(where=f"{path}:{number}", reason=Reason.LINE_TOO_LONG, detail=detail)
            continue
        headed = headed or line.lower() == "[playlist]"
        if (field := _FIELD.fullmatch(line)) is not None:
            if int(field[2]) not in found and len(found) == MAX_ENTRIES:
                yield over_cap(f"{path}:{number}")
                break
            entry = found.setdefault(int(field[2]), {})
            if field[1].lower() in entry:
                detail = f"{field[1]}{field[2]} stands in the file twice; the first is read"
                yield LeftOut(where=f"{path}:{number}", reason=Reason.REPEATED_ID, detail=detail)
            entry.setdefault(field[1].lower(), (number, field[3]))
    if not headed:
        raise LeftOutError(Reason.BAD_VALUE, "has no line [playlist]")
    entries: list[Entry] = []
    for number, fields in sorted(found.items()):
        at, address = fields.get("file", (next(iter(fields.values()))[0], ""))
        where = f"{path}:{at}"
        try:
            if not (file := clean(address, f"File{number}")):
                raise LeftOutError(Reason.MISSING_FIELD, f"File{number} is missing")
            place_path, names = place(file)
            artist, title = split_artist(clean(fields.get("title", (0, ""))[1], f"Title{number}") or "")
            length = seconds(fields.get("length", (0, ""))[1])
            entries.append(
                Entry(where=where, path=place_path, names=names, artist=artist, title=title, duration_s=length)
            )
        except LeftOutError as error:
            yield LeftOut(where=where, reason=error.reason, detail=error.detail)
    yield ListedPlaylist(
        playlist_id=file_id(path, content),
        title=path.stem,
        where=str(path),
        folder=real_folder(path),
        entries=tuple(entries),
    )
