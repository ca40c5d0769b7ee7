"""The facts of files on this machine: tags, duration and container, asked of the guarded helper.

Small files go as they are, many in a request. Of large ones the beginning and the end go, where nearly all containers
keep what is asked, and then what the helper says that it lacks; at last the whole file.
"""

import math
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

from pipeline.media.clip import HELPER_REASONS, ClipDecoder, ClipError, DecodeConfig
from pipeline.media.fetching.local import opened
from pipeline.media.protocol import MAX_FACTS_FILES, Pieces
from schemas.reasons import LeftOutError, Reason, legible

_WHOLE_BYTES = 512 << 10
_HEAD_BYTES = 256 << 10
_TAIL_BYTES = 128 << 10  # more than the last page of an Ogg file, which says how long it is
_BATCH_BYTES = 4 << 20
_ROUNDS = 8
_GROWTH = 4  # of what is sent besides, from round to round
_RECYCLE_AFTER = 2_000  # requests: nothing is decoded, and to start a helper takes as long as to look at 800 files


@dataclass(frozen=True, kw_only=True)
class Facts:
    """tags: names in lower case, as ffmpeg has them; a byte that is no UTF-8 is a lone surrogate."""

    container: str
    duration_s: float | None
    tags: Mapping[str, str]


@dataclass(frozen=True, kw_only=True)
class _Sent:
    path: bytes
    pieces: Pieces
    content: bytes


class FactsReader:
    """Looks at files in a helper process of its own; a context manager, for one thread at a time."""

    def __init__(self, config: DecodeConfig | None = None) -> None:
        self._decoder = ClipDecoder(config or DecodeConfig(recycle_after=_RECYCLE_AFTER))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        self._decoder.close()

    def look(self, paths: Sequence[bytes]) -> list[Facts | LeftOutError]:
        """Of each file its facts, or why there are none. Raises DecoderUnavailableError."""
        found: dict[bytes, Facts | LeftOutError] = {}
        batch: list[_Sent] = []
        size = 0
        for path in paths:
            try:
                batch.append(self._first(path))
            except LeftOutError as error:
                found[path] = error
                continue
            size += len(batch[-1].content)
            if len(batch) == MAX_FACTS_FILES or size >= _BATCH_BYTES:
                found.update(self._answered(batch))
                batch, size = [], 0
        if batch:
            found.update(self._answered(batch))
        return [found[path] for path in paths]

    def _first(self, path: bytes) -> _Sent:
        """Raises LeftOutError."""
        with opened(path, self._decoder.config.max_media_bytes) as (descriptor, size):
            if size == 0:
                raise LeftOutError(Reason.MEDIA_EMPTY, "0 bytes")
            whole = [(0, size)]
            return _sent(path, descriptor, size, whole if size <= _WHOLE_BYTES else _ends(size))

    def _answered(self, batch: Sequence[_Sent]) -> Iterator[tuple[bytes, Facts | LeftOutError]]:
        try:
            answers = self._decoder.facts([sent.pieces for sent in batch], b"".join(sent.content for sent in batch))
        except ClipError as error:
            if len(batch) == 1:
                yield batch[0].path, error
                return
            # One of them has ended the helper, and the others have no part in it.
            for sent in batch:
                yield from self._answered([sent])
            return
        for sent, answer in zip(batch, answers, strict=True):
            try:
                yield sent.path, self._settled(sent, answer)
            except LeftOutError as error:
                yield sent.path, error

    def _settled(self, sent: _Sent, answer: Mapping[str, Any]) -> Facts:
        """Raises LeftOutError."""
        for number in range(_ROUNDS + 1):
            if (wanted := answer.get("wanted")) is None:
                return _facts(answer)
            with opened(sent.path, self._decoder.config.max_media_bytes) as (descriptor, size):
                pieces = [(0, size)] if number == _ROUNDS else _with(sent.pieces, wanted, _GROWTH**number, size)
                sent = _sent(sent.path, descriptor, size, pieces)
            (answer,) = self._decoder.facts([sent.pieces], sent.content)
        raise LeftOutError(Reason.CORRUPT_MEDIA, "asks for bytes beyond its end")


def _ends(size: int) -> list[tuple[int, int]]:
    return [(0, _HEAD_BYTES), (size - _TAIL_BYTES, _TAIL_BYTES)]


def _with(pieces: Pieces, wanted: Any, growth: int, size: int) -> list[tuple[int, int]]:
    """The pieces and the bytes that are wanted, with what touches in one. Raises LeftOutError for nonsense."""
    match wanted:
        case [int(start), int(end)] if 0 <= start < end <= size and pieces.size == size:
            spans = sorted(
                [
                    *((at, at + length) for at, length in pieces.pieces),
                    (start, min(size, start + (end - start) * growth)),
                ]
            )
        case _:
            raise LeftOutError(Reason.DECODER_CRASHED, "the helper's reply makes no sense, or the file has changed")
    merged: list[list[int]] = []
    for start, end in spans:
        if merged and start <= merged[-1][1]:
            merged[-1][1] = max(end, merged[-1][1])
        else:
            merged.append([start, end])
    return [(start, end - start) for start, end in merged]


def _sent(path: bytes, descriptor: int, size: int, pieces: Sequence[tuple[int, int]]) -> _Sent:
    content = b"".join([os.pread(descriptor, length, start) for start, length in pieces])
    if len(content) != sum(length for _, length in pieces):
        raise LeftOutError(Reason.READ_FAILED, "the file became shorter while it was read")
    return _Sent(path=path, pieces=Pieces(size=size, pieces=tuple(pieces)), content=content)


def _facts(answer: Mapping[str, Any]) -> Facts:
    """Raises LeftOutError for a refusal, and for what a helper cannot have meant."""
    try:
        if "reason" in answer:
            raise LeftOutError(HELPER_REASONS[answer["reason"]], legible(str(answer["detail"])))
        facts = answer["facts"]
        duration_s, tags = facts["duration_s"], facts["tags"]
        if duration_s is not None and not (math.isfinite(duration_s) and duration_s > 0):
            raise ValueError(f"duration_s {duration_s}")
        if not all(isinstance(text, str) for pair in tags.items() for text in pair):
            raise TypeError("tags that are no texts")
        return Facts(container=str(facts["container"])[:20], duration_s=duration_s, tags=tags)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise LeftOutError(Reason.DECODER_CRASHED, f"the helper's reply makes no sense ({error})") from error
