"""Files of other tools: one module a format, which reads a file into a `Bundle` and writes one out of it.

What a format cannot hold is said in its docstring. One of our own is a module here and a line of `FORMATS`; anybody
else's is named as `package.module:factory`. `reading` has what every reader needs.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from filters.annotation.formats.accounts import People
from filters.annotation.formats.reading import (
    Collector,
    FormatError,
    ReadOptions,
    flag_of,
    item_of,
    json_lines,
    json_list,
    label_of,
    optional_text_of,
    text_of,
)
from filters.annotation.records import AnnotationError, Bundle
from schemas.lookup import find_factory

__all__ = [
    "FORMATS",
    "MAX_FILE_BYTES",
    "Collector",
    "FormatError",
    "LabelFormat",
    "People",
    "ReadOptions",
    "find",
    "flag_of",
    "format_of",
    "item_of",
    "json_lines",
    "json_list",
    "label_of",
    "optional_text_of",
    "read",
    "text_of",
    "write",
]

FORMATS = {
    "jsonl": "filters.annotation.formats.jsonl:label_format",
    "csv": "filters.annotation.formats.csv_table:label_format",
    "labelstudio": "filters.annotation.formats.label_studio:label_format",
    "doccano": "filters.annotation.formats.doccano:label_format",
    "argilla": "filters.annotation.formats.argilla:label_format",
}
MAX_FILE_BYTES = 512 * 1024 * 1024


@dataclass(frozen=True, kw_only=True)
class LabelFormat:
    """How files of a kind are read and written, and the endings by which one is known, if it has any of its own.

    `read` raises FormatError with all mistakes of a file; `write` raises AnnotationError for what it cannot hold.
    """

    read: Callable[[Path, ReadOptions], Bundle]
    write: Callable[[Bundle, Path, People], None]
    endings: tuple[str, ...] = ()


def find(name: str) -> LabelFormat:
    """One of `FORMATS`, or `package.module:factory`, which returns a LabelFormat.

    Raises UnknownNameError, or AnnotationError where that factory returns something else.
    """
    found = find_factory(name, FORMATS, "label format")()
    if not isinstance(found, LabelFormat):
        raise AnnotationError(f"label format {name!r}: its factory returned {type(found).__name__}, not a LabelFormat")
    return found


def format_of(path: Path) -> str:
    """The format that a file's ending names. Raises AnnotationError where it names none, or more than one."""
    for name in FORMATS:
        if path.suffix.lower() in find(name).endings:
            return name
    raise AnnotationError(f"{path}: the ending does not tell the format; add --format with one of {', '.join(FORMATS)}")


def read(path: Path, name: str, options: ReadOptions) -> Bundle:
    """Raises FormatError, or AnnotationError where there is no file or it is too large."""
    reader = find(name).read
    if not path.is_file():
        raise AnnotationError(f"{path}: no such file")
    if path.stat().st_size > MAX_FILE_BYTES:
        raise AnnotationError(f"{path}: larger than {MAX_FILE_BYTES >> 20} MiB")
    return reader(path, options)


def write(bundle: Bundle, path: Path, name: str, people: People | None = None) -> None:
    """The file appears whole or not at all. Raises AnnotationError where the format cannot hold the bundle."""
    writer = find(name).write
    unfinished = path.with_name(f"{path.name}.unfinished")
    try:
        writer(bundle, unfinished, people or People())
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)
