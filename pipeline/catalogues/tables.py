"""What the readers of published data sets share: rows of csv and tsv one at a time, audio looked for in their folders,
and each recording once.
"""

import csv
import io
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from pipeline.catalogue import MAX_LINE_BYTES
from pipeline.catalogues.reader import Item, LeftOut, Recording
from schemas.digest import hash64
from schemas.exits import InputError
from schemas.playlist_files.text import real_folder
from schemas.reasons import LeftOutError, Reason, legible

MAX_PATH_CHARS = 1000
MAX_LIST_CHARS = 100_000
_QUOTED = re.compile(r"'((?:[^'\\]|\\.)*)'|\"((?:[^\"\\]|\\.)*)\"", re.DOTALL)
_ESCAPED = re.compile(r"\\(.)", re.DOTALL)


def named_file(folder: Path, names: Sequence[str], what: str) -> Path:
    """The first of these files that the folder has. Raises InputError."""
    for name in names:
        if (path := folder / name).is_file():
            return path
    raise InputError(f"{folder}: has no {' or '.join(names)}; it should be {what}")


def header_and_rows(
    path: Path, delimiter: str, header_lines: int = 1
) -> tuple[list[list[str]], Iterator[tuple[str, list[str] | LeftOut]]]:
    """The first lines, and then each row with its place; bytes that are not UTF-8 stay in their cell, to be refused
    there. Raises InputError where the file cannot be read.
    """
    csv.field_size_limit(MAX_LINE_BYTES)
    try:
        stream = path.open(encoding="utf-8-sig", errors="surrogateescape", newline="")
        reader = csv.reader(stream, delimiter=delimiter)
        header = [[name.strip() for name in next(reader, [])] for _ in range(header_lines)]
    except (OSError, csv.Error) as error:
        raise InputError(f"{path}: cannot be read ({legible(str(error))})") from error
    return header, _rows(path, stream, reader)


def _rows(path: Path, stream: io.TextIOBase, reader: Iterator[list[str]]) -> Iterator[tuple[str, list[str] | LeftOut]]:
    with stream:
        while True:
            where = f"{path}:{reader.line_num + 1}"  # type: ignore[attr-defined]
            try:
                cells = next(reader)
            except StopIteration:
                return
            except csv.Error as error:
                yield where, LeftOut(where=where, reason=Reason.BAD_VALUE, detail=legible(str(error)))
                continue
            except OSError as error:
                yield where, LeftOut(where=where, reason=Reason.UNREADABLE_FILE, detail=legible(str(error)))
                return
            if any(cells):
                yield where, cells


def need_columns(path: Path, header: Sequence[str], needed: Sequence[str]) -> None:
    """Raises InputError."""
    if lacking := [name for name in needed if name not in header]:
        raise InputError(f"{path}:1: the header has no {', '.join(lacking)}; is it the file as published?")


def local_copy(folders: Sequence[Path], relatives: Sequence[str]) -> Path:
    """The audio, under the first of its names in the first folder that has it. Raises LeftOutError."""
    for relative in relatives:
        parts = relative.replace("\\", "/").split("/")
        if relative.startswith(("/", "\\")) or ".." in parts or ":" in parts[0] or not relative.isprintable():
            raise LeftOutError(Reason.OUTSIDE_ROOT, f"{legible(relative)!r} is no path inside the data set")
        if not relative.strip() or len(relative) > MAX_PATH_CHARS:
            raise LeftOutError(Reason.BAD_VALUE, "the path of the audio is empty or endless")
    for folder in folders:
        for relative in relatives:
            if (path := folder / relative).is_file():
                return real_folder(path) / path.name
    raise LeftOutError(Reason.NO_LOCAL_COPY, f"there is no {relatives[0]}")


def python_list(text: str) -> list[str]:
    """The texts of a list as Python prints it, `['a', "b"]`, as pandas leaves them in a csv. Read, never evaluated; an
    endless one is one endless text, which no field takes.
    """
    if len(text) > MAX_LIST_CHARS:
        return [text]
    found = (single or double for single, double in _QUOTED.findall(text))
    return [_ESCAPED.sub(r"\1", item) for item in found]


def each_once(items: Iterable[Item]) -> Iterator[Item]:
    """Of several recordings with one id the first; the others are left out."""
    seen: set[int] = set()
    for item in items:
        if isinstance(item, Recording):
            recording_id = item.row["recording_id"]
            if (known := hash64(recording_id)) in seen:
                yield LeftOut(where=item.where, reason=Reason.REPEATED_ID, detail=f"{recording_id} stands there twice")
                continue
            seen.add(known)
        yield item
