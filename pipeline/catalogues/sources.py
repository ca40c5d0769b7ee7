"""A SOURCE of `mulan catalog`: a path, which is read by what it looks like, or `NAME=PATH` with the reader's name."""

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline.catalogues import folder
from pipeline.catalogues.folder import PLAYLIST, SUFFIXES, YT_DLP, FolderSettings
from pipeline.catalogues.reader import READERS, Item, find_reader
from schemas.exits import InputError
from schemas.lookup import UnknownNameError, is_factory
from schemas.playlist_files import files

FOLDER = "folder"
# Of dumps that are named; in a tree such files may be anything.
DUMP_SUFFIXES = (".json", ".jsonl", ".ndjson")


@dataclass(frozen=True, kw_only=True)
class Source:
    """`reader`: its name."""

    reader: str
    path: Path

    @classmethod
    def parse(cls, text: str) -> "Source":
        """Raises InputError."""
        name, separator, path = text.partition("=")
        named = bool(separator) and not os.path.lexists(text) and (name in READERS or is_factory(name))
        where = Path(path if named else text)
        if not os.path.lexists(where):
            known = f"; readers are {', '.join(READERS)}" if separator and not named else ""
            raise InputError(f"{text}: there is no such file or folder{known}")
        return cls(reader=name if named else _reader_of(where), path=where)


def _reader_of(path: Path) -> str:
    """Raises InputError."""
    if path.is_dir():
        return FOLDER
    if files.is_playlist_file(path):  # a slice of Spotify's is a .json too
        return PLAYLIST
    known = {**dict.fromkeys(files.SUFFIXES, PLAYLIST), **dict.fromkeys(DUMP_SUFFIXES, YT_DLP), **SUFFIXES}
    for suffix, reader in sorted(known.items(), key=lambda pair: -len(pair[0])):
        if path.name.lower().endswith(suffix):
            return reader
    raise InputError(
        f"{path}: a file whose name does not say what it is ({', '.join(known)}); say it as NAME={path}, where NAME is "
        f"one of {', '.join(READERS)}, or package.module:factory of your own"
    )


def read_sources(sources: Sequence[Source], settings: FolderSettings, counts: Counter[str]) -> Iterator[Item]:
    """What all of them give, one after the other. Raises InputError and UnknownNameError."""
    for source in sources:
        if source.reader == FOLDER:
            yield from folder.read(source.path, settings, counts)
        else:
            yield from find_reader(source.reader)(source.path)


def check_readers(sources: Sequence[Source]) -> None:
    """That each can be found, before hours are spent on the first. Raises InputError."""
    for source in sources:
        try:
            find_reader(source.reader)
        except UnknownNameError as error:
            raise InputError(str(error)) from error
