"""The facts of a file, in the helper process: its tags, duration and container, without decoding any of it.

A file is given by pieces, since reading whole recordings for a few hundred bytes of tags would take as long as copying
the collection. What a demuxer reaches for beyond them is an answer too: the bytes that are wanted, with which the same
file is asked about once more. So nothing depends on where a container keeps its tags, and no byte is taken for zero.
"""

from __future__ import annotations  # PyAV's classes are generic in its stubs only

import io
import json
from typing import Any

import av

from pipeline.media.opened import ENOMEM, Refusal, choose_stream, open_container
from pipeline.media.protocol import MAX_FACTS_BYTES, DecodeConfig, Pieces
from pipeline.media.sniff import SEARCH_BYTES, behind_tags, sniff
from schemas.reasons import Reason

MAX_TAGS = 200
MAX_TAG_CHARS = 8_000
MAX_KEY_CHARS = 100
_MOST_OF_A_CHAR = 12  # in JSON's ASCII: a surrogate pair
# Nobody's description, and long: kept from crowding out what is.
NOT_KEPT = ("lyrics", "unsyncedlyrics", "metadata_block_picture", "coverart", "acoustid_fingerprint")
# These say in front how long they are. ffmpeg waits for a time stamp in 50 packets all the same, and tries its demuxers
# on up to 32 that are called PCM, since they may be something else: the first says that as well, for a small part of
# the bytes and of the time.
_OPTIONS = {name: {"max_ts_probe": "1", "max_probe_packets": "1"} for name in ("wav", "w64", "aiff", "au")}
_BEHIND_TAGS_BYTES = 64 << 10
_LEAST_WANTED_BYTES = 256 << 10


class WantedBytesError(Exception):
    """A look at bytes that were not sent."""

    def __init__(self, start: int, end: int) -> None:
        super().__init__(f"bytes {start} to {end}")
        self.start, self.end = start, end


class PiecedFile(io.RawIOBase):
    """A file of which some pieces are there, from its byte `begin` on. The first look at another byte is kept in
    `wanted`: of what it raises ffmpeg may make an end of the file."""

    def __init__(self, size: int, pieces: list[tuple[int, memoryview]], begin: int) -> None:
        self._size, self._pieces, self._begin = size, pieces, begin
        self._at = begin
        self.wanted: WantedBytesError | None = None

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: self._begin, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        if base + offset < self._begin:
            raise ValueError("before the beginning")
        self._at = base + offset
        return self.tell()

    def tell(self) -> int:
        return self._at - self._begin

    def read(self, size: int = -1) -> bytes:
        end = self._size if size < 0 else min(self._at + size, self._size)
        if self._at >= end:
            return b""
        for start, content in self._pieces:
            if start <= self._at < start + len(content):
                found = bytes(content[self._at - start : end - start])
                self._at += len(found)
                return found
        if self.wanted is None:
            self.wanted = WantedBytesError(self._at, min(max(end, self._at + _LEAST_WANTED_BYTES), self._size))
        raise self.wanted


def answer_each(files: list[Pieces], content: memoryview, config: DecodeConfig) -> list[dict[str, Any]]:
    """The reply to one request, a file each: facts, or a reason, or what is wanted."""
    answers = []
    at = 0
    for file in files:
        pieces = []
        for start, length in file.pieces:
            pieces.append((start, content[at : at + length]))
            at += length
        answers.append(_answer(file.size, pieces, config))
    return answers


def _answer(size: int, pieces: list[tuple[int, memoryview]], config: DecodeConfig) -> dict[str, Any]:
    try:
        return {"facts": _facts(size, pieces, config)}
    except WantedBytesError as wanted:
        return {"wanted": [wanted.start, wanted.end]}
    except Refusal as refusal:
        return {"reason": refusal.reason.value, "detail": refusal.detail}
    except MemoryError:
        return {"reason": Reason.DECODER_MEMORY.value, "detail": f"more than {config.memory_bytes} bytes"}
    except (av.FFmpegError, OSError, ValueError, OverflowError) as error:
        memory = isinstance(error, OSError) and error.errno == ENOMEM
        reason = Reason.DECODER_MEMORY if memory else Reason.CORRUPT_MEDIA
        return {"reason": reason.value, "detail": str(error)}


def _facts(size: int, pieces: list[tuple[int, memoryview]], config: DecodeConfig) -> dict[str, Any]:
    start, content = pieces[0]
    head = bytes(content) if start == 0 else b""
    behind = behind_tags(head)
    if len(head) < (least := min(size, behind + _BEHIND_TAGS_BYTES)):
        raise WantedBytesError(0, least)
    found = sniff(head)
    if found is None:
        if len(head) < (far := min(size, behind + SEARCH_BYTES)):
            raise WantedBytesError(0, far)
        raise Refusal(Reason.UNKNOWN_CONTAINER, f"begins with {head[:12]!r}")
    file = PiecedFile(size, pieces, found.start)
    # What is whole needs no look at what is there, and most files of a large collection of short ones are.
    whole = len(head) == size and found.start == 0
    try:
        with open_container(io.BytesIO(head) if whole else file, found.name, _OPTIONS.get(found.name, {})) as container:
            stream = choose_stream(container, found.name, config)
            length = container.duration
            facts = {
                "container": found.name,
                "duration_s": length / av.time_base if length is not None and length > 0 else None,
                # Of Ogg and Matroska the stream has tags too; those of the whole file count where both say something.
                "tags": _bounded({**stream.metadata, **container.metadata}),
            }
    except Exception:
        if file.wanted is not None:
            raise file.wanted from None
        raise
    if file.wanted is not None:
        raise file.wanted
    return facts


def _bounded(tags: dict[str, str]) -> dict[str, str]:
    """Tags with their names in lower case, cut to what a reply may have; in the order in which they stand."""
    kept: dict[str, str] = {}
    left = MAX_FACTS_BYTES // 2
    is_small = _MOST_OF_A_CHAR * (4 * len(tags) + sum(map(len, [*tags, *tags.values()]))) <= left
    for key, value in list(tags.items())[:MAX_TAGS]:
        name = key.lower()[:MAX_KEY_CHARS]
        text = value[:MAX_TAG_CHARS]
        if not is_small:
            # As it stands in the reply, in ASCII.
            left -= len(json.dumps(name)) + len(json.dumps(text))
            if left < 0:
                break
        if not name.startswith(NOT_KEPT):
            kept[name] = text
    return kept
