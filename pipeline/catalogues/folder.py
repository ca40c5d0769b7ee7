"""Any tree of media: the tags of its files, and what the files beside them say.

One walk hands each file to whom it belongs: media to the tags, `.info.json` to yt-dlp's reader, playlists to theirs.
An `.info.json` and the media of the same name are one recording. Of it each field is what the first of these says:

1. the file's own tags, since whoever has written them has held the file
2. the `.info.json`
3. the path, by the rule of `pipeline.catalogues.guess`

but for `recording_id`, `description`, `licence` and `source`, of which the `.info.json` knows more, and tags, which are
of both. Elsewhere a recording's id is its path within the tree, in Unicode's form NFC. Of two paths with one such form,
which few disks can hold, the one that is not written in it has a digest of its bytes behind.
"""

import os
import unicodedata
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from pipeline.catalogues.guess import Guess, guess
from pipeline.catalogues.reader import Item, LeftOut, Recording, find_reader
from pipeline.catalogues.scan import MEDIA, Found, Scan, shown
from pipeline.catalogues.tags import describe
from pipeline.media.look import Facts
from schemas.digest import digest_bytes
from schemas.exits import InputError
from schemas.machine import usable_cores
from schemas.playlist_files.files import SURE_SUFFIXES
from schemas.reasons import Reason

YT_DLP = "yt_dlp"
PLAYLIST = "playlist"
# How a file's name ends -> the reader that has it.
SUFFIXES = {".info.json": YT_DLP, **dict.fromkeys(SURE_SUFFIXES, PLAYLIST)}
# Of these the dump beside the media knows more than its tags.
_OF_THE_DUMP = ("recording_id", "description", "licence", "source")
_DIGEST_CHARS = 8
DATABASE = "files.sqlite"
MOST_WORKERS = 8  # unless more are asked for: rows are made by one process, which is then what is waited for


@dataclass(frozen=True, kw_only=True)
class FolderSettings:
    """workers: processes that read tags; None: one a core, MOST_WORKERS at most.
    work: a folder that keeps what was found, for a second scan; None: nothing is kept.
    """

    guesses: bool = True
    workers: int | None = None
    work: Path | None = None

    def __post_init__(self) -> None:
        if self.workers is not None and self.workers < 1:
            raise ValueError(f"workers is {self.workers}; at least one reads")


def read(source: Path, settings: FolderSettings | None = None, counts: Counter[str] | None = None) -> Iterator[Item]:
    """The recordings and playlists of a tree, in the order of their paths. `counts` gets what was passed over. Raises
    InputError."""
    settings = settings or FolderSettings()
    if not source.is_dir():
        raise InputError(f"{source}: there is no such folder")
    with ExitStack() as stack:
        work = settings.work or Path(stack.enter_context(TemporaryDirectory(prefix="mulan-scan-")))
        workers = settings.workers or min(MOST_WORKERS, usable_cores())
        scan = stack.enter_context(Scan(work / DATABASE, SUFFIXES, workers))
        tree = _Tree(os.fsencode(os.path.realpath(source)), scan, guesses=settings.guesses)
        yield from tree.items()
        if counts is not None:
            counts.update(scan.counts)


class _Tree:
    def __init__(self, root: bytes, scan: Scan, *, guesses: bool) -> None:
        self._root = root
        self._scan = scan
        self._guesses = guesses
        self._name = shown(os.path.basename(root)) or None
        self._has_dumps = False

    def items(self) -> Iterator[Item]:
        for number, found in enumerate(self._scan.files(self._root)):
            if number == 0:
                self._has_dumps = self._scan.has(self._root, YT_DLP)
            yield from self._items(found)

    def _items(self, found: Found) -> Iterator[Item]:
        if found.left_out is not None:
            yield found.left_out
        elif found.facts is not None:
            yield from self._recording(found.path, found.facts)
        elif found.kind != YT_DLP or not self._scan.beside(self._root, found.path, MEDIA):
            yield from self._read_by(found.kind, found.path)

    def _read_by(self, kind: str, path: bytes) -> Iterator[Item]:
        where = os.path.join(self._root, path)
        try:
            yield from find_reader(kind)(Path(os.fsdecode(where)))
        except InputError as error:
            yield LeftOut(where=shown(where), reason=Reason.UNREADABLE_FILE, detail=str(error))

    def _recording(self, path: bytes, facts: Facts) -> Iterator[Item]:
        full = os.path.join(self._root, path)
        where = shown(full)
        try:
            name, audio_uri = path.decode(), full.decode()
        except UnicodeDecodeError as error:
            yield LeftOut(where=where, reason=Reason.NOT_UTF8, detail=f"the name: byte {error.start}; rename the file")
            return
        said = describe(facts.tags, facts.container)
        for tag in said.lost:
            yield LeftOut(where=where, reason=Reason.NOT_UTF8, detail=f"the tag {tag} alone: its encoding is not known")
        guessed = guess(name) if self._guesses else Guess()
        dump = None
        for item in self._dumps(path) if self._has_dumps else ():
            if isinstance(item, Recording) and dump is None:
                dump = item
            else:
                yield item
        row: dict[str, Any] = {"recording_id": self._id_of(path, name), "source": self._name}
        row |= {field: text for field in ("artist", "album", "title") if (text := getattr(guessed, field))}
        names = (*said.names, *guessed.names)
        if dump is not None:
            row |= _there(dump.row)
            names = (*dump.names, *names)
        row |= {
            field: value
            for field, value in said.row.items()
            if not (dump and dump.row.get(field) and field in _OF_THE_DUMP)
        }
        if dump is not None and (tags := dump.row.get("tags")):
            row["tags"] = list(dict.fromkeys([*said.row.get("tags", ()), *tags]))
        yield Recording(
            row=row | {"audio_uri": audio_uri},
            where=where,
            names=tuple(dict.fromkeys(names)),
            duration_s=facts.duration_s or (dump.duration_s if dump is not None else None),
        )

    def _dumps(self, path: bytes) -> Iterator[Item]:
        for beside in self._scan.beside(self._root, path, YT_DLP):
            yield from self._read_by(YT_DLP, beside)

    def _id_of(self, path: bytes, name: str) -> str:
        composed = name if name.isascii() else unicodedata.normalize("NFC", name)
        if composed == name or not os.path.lexists(os.path.join(self._root, composed.encode())):
            return composed
        return f"{composed}#{digest_bytes(path)[:_DIGEST_CHARS]}"


def _there(row: Mapping[str, Any]) -> dict[str, Any]:
    return {field: value for field, value in row.items() if value}
