"""Bytes and texts of a stranger's playlist: bounded, and refused with a reason where they are no text.

What a text may be: at most MAX_TEXT_CHARS, without control characters, and without the marks that turn the direction of
what is shown (a name that reads `song.mp3` and ends otherwise).
"""

import contextlib
import os
import re
import stat
import unicodedata
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO
from urllib.parse import unquote, urlsplit

from schemas.cells import RowError, utf8
from schemas.digest import digest_bytes
from schemas.playlist_files.entries import LeftOut
from schemas.reasons import LeftOutError, Reason, legible
from schemas.youtube_address import video_id

MAX_FILE_BYTES = 40 << 20  # a slice of Spotify's Million Playlist Dataset has 33 MiB
MAX_LINE_BYTES = 64 << 10
MAX_TEXT_CHARS = 2000
MAX_ENTRIES = 100_000
MAX_DURATION_S = 1e6
_TURNING = re.compile("[\u202a-\u202e\u2066-\u2069]")
_ISRC = re.compile(r"[A-Z]{2}[A-Z0-9]{3}[0-9]{7}")
_SPOTIFY = re.compile(r"(?:spotify:track:|https?://open\.spotify\.com/(?:intl-[a-z]+/)?track/)([A-Za-z0-9]{22})\b.*")
_LINE = re.compile(r"([^\r\n]*)(?:\r\n|\n|\r|\Z)")
_BOMS = ((b"\xef\xbb\xbf", "utf-8"), (b"\xff\xfe", "utf-16-le"), (b"\xfe\xff", "utf-16-be"))


def read_bounded(path: Path, max_bytes: int = MAX_FILE_BYTES) -> bytes:
    """The content of a regular file. Raises LeftOutError."""
    with regular_file(path) as stream:
        return whole(stream, max_bytes)


def whole(stream: BinaryIO, max_bytes: int, begun: bytes = b"") -> bytes:
    """What is left of a file after what was read of it. Raises LeftOutError."""
    content = begun + stream.read(max(0, max_bytes + 1 - len(begun)))
    if len(content) > max_bytes:
        raise LeftOutError(Reason.UNREADABLE_FILE, f"has more than the {max_bytes >> 20} MiB that are read")
    return content


@contextlib.contextmanager
def regular_file(path: Path) -> Iterator[BinaryIO]:
    """A file that holds something: no folder, no pipe to wait for. Raises LeftOutError, also while it is read."""
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise LeftOutError(Reason.NOT_A_FILE, "not a file that holds something")
        with path.open("rb") as stream:
            yield stream
    except FileNotFoundError as error:
        raise LeftOutError(Reason.NOT_FOUND, "there is no such file") from error
    except PermissionError as error:
        raise LeftOutError(Reason.PERMISSION_DENIED, "may not be read") from error
    except (OSError, ValueError) as error:
        raise LeftOutError(Reason.UNREADABLE_FILE, legible(str(error))) from error


def decoded(content: bytes, *, latin: bool = False) -> str:
    """UTF-8, or what a byte order mark says; `latin`: what is neither is Windows-1252, as old players wrote it.

    Raises LeftOutError.
    """
    mark, encoding = next((known for known in _BOMS if content.startswith(known[0])), (b"", "utf-8"))
    try:
        return content[len(mark) :].decode(encoding)
    except UnicodeDecodeError as error:
        if not latin or encoding != "utf-8":
            raise LeftOutError(Reason.NOT_UTF8, f"byte {error.start} is not {encoding.upper()}") from error
        # The five bytes that Windows-1252 leaves undefined are latin-1's control characters, refused later.
        return content.decode("cp1252", errors="replace")


def lines_of(text: str) -> Iterator[tuple[int, str]]:
    """Number and content of each line. Not `splitlines`: a title may hold U+2028 and its like."""
    for number, line in enumerate(_LINE.finditer(text), start=1):
        yield number, line[1].strip(" \t")


def clean(value: str, field: str) -> str | None:
    """A text without blanks around it, None where nothing is left. Raises RowError."""
    text = value.strip()
    if len(text) > MAX_TEXT_CHARS:
        raise RowError(Reason.BAD_VALUE, f"{field} has {len(text)} characters; at most {MAX_TEXT_CHARS} are read")
    utf8(text, field)
    if any(unicodedata.category(character) == "Cc" for character in text):
        raise RowError(Reason.BAD_VALUE, f"{field} has control characters")
    if _TURNING.search(text):
        raise RowError(Reason.BAD_VALUE, f"{field} has marks that turn the direction of what is shown")
    return text or None


def seconds(value: str, *, per_second: float = 1.0) -> float | None:
    """A length in seconds; None where it is none, as the -1 of a stream."""
    try:
        found = float(value) / per_second
    except ValueError:
        return None
    return found if 0 < found <= MAX_DURATION_S else None


def split_artist(text: str) -> tuple[str | None, str | None]:
    """`Artist - Title`; without the dash it is a title."""
    artist, dash, title = text.partition(" - ")
    return (artist.strip() or None, title.strip() or None) if dash else (None, text.strip() or None)


def isrc(value: str) -> tuple[str, ...]:
    """`isrc:…` of a text that is one, with or without its dashes."""
    code = value.strip().upper().removeprefix("ISRC:").replace("-", "").replace(" ", "")
    return (f"isrc:{code}",) if _ISRC.fullmatch(code) else ()


def names_of(address: str) -> tuple[str, ...]:
    """The names that an address or an identifier stands for: a video of YouTube, a track of Spotify, an ISRC, a URL."""
    if (found := _SPOTIFY.fullmatch(address)) is not None:
        return (f"spotify:{found[1]}",)
    if address.lower().startswith("isrc:"):
        return isrc(address)
    if address.startswith(("http://", "https://")):
        identifier = video_id(address)
        return (f"youtube:{identifier}",) if identifier else (f"url:{address}",)
    return ()


def place(address: str) -> tuple[str | None, tuple[str, ...]]:
    """What a line that says where the media is gives: a path (also of a `file:` address), or names."""
    if names := names_of(address):
        return None, names
    if address.lower().startswith("file:"):
        try:
            parts = urlsplit(address)
        except ValueError:
            return address, ()
        host = "" if parts.netloc.lower() in ("", "localhost") else f"//{parts.netloc}"
        return clean(host + unquote(parts.path), "the path"), ()
    return address, ()


def over_cap(where: str) -> LeftOut:
    return LeftOut(
        where=where,
        reason=Reason.OVER_CAP,
        detail=f"a playlist has at most {MAX_ENTRIES} entries; from here on they are not read",
    )


def real_folder(path: Path) -> Path:
    """Of a file, as the paths of a catalogue name it."""
    return Path(os.path.realpath(path.parent))


def file_id(path: Path, content: bytes) -> str:
    """Names a playlist by its file's name and content, so that a copy elsewhere is the same one."""
    return f"{legible(path.stem)}-{digest_bytes(content)[:12]}"
