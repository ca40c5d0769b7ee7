"""Mini-batches of one rank, ready for the device: windows decoded, texts cut to WordPieces and chunks.

Three stages, each ahead of the next, none of them on the thread that trains. A thread plans some batches, which is
cheap, and so the clips that they need are asked for long before (`trainer.audio`): an object store's delay is hidden.
Others decode (`trainer.decoders`), in worker processes where there are workers. A thread puts the batches together, in
order. What a batch holds depends on none of that. The state that a checkpoint takes is the planner's as it was after
the batch that the loop has used.

Legend: R pairs of this rank, S samples of a window.
"""

import dataclasses
import logging
import os
import queue
import threading
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from schemas.digest import hash64
from schemas.run import RunError
from schemas.sources import TextSource
from trainer.audio import Audio
from trainer.cuts import window_starts
from trainer.data import Corpus, Place
from trainer.decoders import DECODED_TOGETHER, Decoders, Reasons
from trainer.model import pad_id
from trainer.recipes import Recipe
from trainer.streams import Example, Lanes, LanesState
from trainer.tokens import TextChunk, text_chunks, tokenize
from trainer.windows import Window

log = logging.getLogger(__name__)

_PLANNED_AHEAD = 4  # batches, and as many more as hold
_PAIRS_AHEAD = 1024  # so that a GPU that takes 3,000 pairs/s does not wait for an object store
_DECODED_AHEAD = 2  # batches that are decoded at once, so that nobody waits for the last windows of one
_READY_AHEAD = 1
_LOOK_UP_S = 0.1  # how soon a waiting thread sees that the loader is closed


@dataclass(frozen=True, kw_only=True)
class Batch:
    """This rank's pairs of a global mini-batch. `text_ids_R` names texts, equal where texts are;
    `recording_ids_R` names recordings."""

    step: int
    wave_RS: Tensor  # int16
    masks_R4: Tensor
    tokens: list[list[int]]  # empty where no text is needed
    chunks: list[TextChunk]  # of the tokens, padded
    text_ids_R: Tensor
    recording_ids_R: Tensor
    examples: tuple[Example, ...]

    @property
    def sources(self) -> dict[TextSource, int]:
        return dict(Counter(example.source for example in self.examples))


@dataclass(frozen=True, kw_only=True)
class Texts:
    """How texts become tokens, and tokens chunks."""

    tokenizer: PreTrainedTokenizerBase
    recipe: Recipe

    def __call__(self, texts: Sequence[str]) -> tuple[list[list[int]], list[TextChunk]]:
        compute, max_tokens = self.recipe.compute, self.recipe.text.max_tokens
        tokens = tokenize(self.tokenizer, texts, max_tokens)
        return tokens, text_chunks(
            tokens,
            budget=compute.text_tokens,
            bucket=compute.text_bucket,
            max_tokens=max_tokens,
            pad_id=pad_id(self.tokenizer),
            by_length=compute.sort_texts,
        )


@dataclass(frozen=True, kw_only=True)
class _Decoding:
    """A batch whose windows are on their way."""

    batch: Batch
    parts: "list[Future[Reasons]]"


class Loader:
    """`for batch in loader`: endless, in order. `state(step)` is where its lanes were after that step.

    The lanes expect their rows of `audio`; both are closed with the loader. Without `texts`, batches have no tokens.
    `pin` puts waves where a CUDA device reads them at full speed.
    """

    def __init__(
        self,
        lanes: Lanes,
        audio: Audio,
        texts: Texts | None,
        *,
        window_samples: int,
        workers: int,
        pin: bool = False,
    ) -> None:
        self._lanes, self._audio, self._texts = lanes, audio, texts
        self._window_samples, self._pin = window_samples, pin
        self._states: dict[int, LanesState] = {}
        self._planned: queue.Queue[tuple[int, list[Example]] | BaseException] = queue.Queue(_planned_ahead(lanes))
        self._ready: queue.Queue[Batch | BaseException] = queue.Queue(_READY_AHEAD)
        self._stopped = threading.Event()
        _say_what_is_held(lanes, audio)
        self._decoders = Decoders(
            audio.take, workers=workers, window_samples=window_samples, mean_clip_bytes=audio.mean_clip_bytes
        )
        self._planner = threading.Thread(target=self._plan, name="planner", daemon=True)
        self._assembler = threading.Thread(target=self._assemble, name="loader", daemon=True)
        self._planner.start()
        self._assembler.start()

    def __iter__(self) -> Iterator[Batch]:
        while True:
            item = self._ready.get()
            if isinstance(item, BaseException):
                raise item
            for step in [step for step in list(self._states) if step < item.step]:
                del self._states[step]
            yield item

    def state(self, step: int) -> LanesState:
        """Where the lanes were after the batch of `step`, the last one that was taken."""
        return self._states[step]

    def close(self) -> None:
        """Leaves no thread, no worker and no shared memory."""
        self._stopped.set()
        self._planner.join()
        self._audio.close()
        self._decoders.close()
        self._assembler.join()
        self._lanes.close()

    def _plan(self) -> None:
        try:
            while not self._stopped.is_set():
                step = self._lanes.step
                examples = self._lanes.next()
                self._states[step] = self._lanes.state()
                self._put(self._planned, (step, examples))
        except BaseException as error:  # the loop raises it, after the batches before
            self._put(self._planned, error)

    def _assemble(self) -> None:
        decoding: deque[_Decoding | BaseException] = deque()
        try:
            while not self._stopped.is_set():
                if len(decoding) < _DECODED_AHEAD:
                    try:
                        planned = self._planned.get(block=not decoding, timeout=_LOOK_UP_S)
                    except queue.Empty:
                        pass
                    else:
                        decoding.append(planned if isinstance(planned, BaseException) else self._begin(*planned))
                        continue
                if decoding:
                    self._put(self._ready, self._finish(decoding.popleft()))
        except BaseException as error:  # the loop raises it
            self._put(self._ready, error)

    def _begin(self, step: int, examples: list[Example]) -> _Decoding:
        wave_RS = _waves(len(examples), self._window_samples, pin=self._pin)
        parts = [
            self._decoders.submit(*windows_of(examples[part]), wave_RS[part].numpy())
            for start in range(0, len(examples), DECODED_TOGETHER)
            for part in [slice(start, start + DECODED_TOGETHER)]
        ]
        return _Decoding(batch=_batch(step, examples, wave_RS, self._texts), parts=parts)

    def _finish(self, decoding: _Decoding | BaseException) -> Batch:
        if isinstance(decoding, BaseException):
            raise decoding
        reasons = [reason for part in decoding.parts for reason in part.result()]
        _refuse_undecoded(self._lanes, decoding.batch.examples, reasons)
        return decoding.batch

    def _put(self, target: "queue.Queue[Any]", item: Any) -> None:
        while not self._stopped.is_set():
            try:
                target.put(item, timeout=_LOOK_UP_S)
            except queue.Full:
                continue
            return


def read_batch(lanes: Lanes, corpus: Corpus, texts: Texts | None, *, window_samples: int) -> tuple[Batch, Tensor]:
    """The next mini-batch of lanes that expect no audio, with all windows of its clips (trainer/cuts.py), and which
    pair each window belongs to: of the rows that they have looked at, only the clips of those that are in it are read.
    Closes the lanes."""
    step, examples, audio = lanes.step, lanes.next(), Audio(corpus)
    decoders = Decoders(audio.take, workers=0, window_samples=window_samples, mean_clip_bytes=audio.mean_clip_bytes)
    try:
        owners, windows = [], []
        for owner, example in enumerate(examples):
            for start in window_starts(example.row.samples, window_samples):
                owners.append(owner)
                windows.append(dataclasses.replace(example, start_sample=start))
        wanted: dict[int, list[int]] = {}
        for window in windows:
            wanted.setdefault(window.row.place.group, []).append(window.row.place.row)
        for group, rows in wanted.items():
            audio.expect(group, rows)
        wave_NS = _waves(len(windows), window_samples)
        reasons = decoders.submit(*windows_of(windows), wave_NS.numpy()).result()
        _refuse_undecoded(lanes, windows, reasons)
        return _batch(step, examples, wave_NS, texts), torch.tensor(owners)
    finally:
        decoders.close()
        audio.close()
        lanes.close()


def _planned_ahead(lanes: Lanes) -> int:
    return max(_PLANNED_AHEAD, -(-_PAIRS_AHEAD // lanes.pairs))


def _say_what_is_held(lanes: Lanes, audio: Audio) -> None:
    """The memory of the clips that streams hold in their buffers, and that planned batches need."""
    rows = lanes.rows_held + lanes.pairs * (_planned_ahead(lanes) + _DECODED_AHEAD)
    held, memory = rows * audio.mean_clip_bytes, os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    ranks = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    log.info("at most %d clips of this rank are in memory, about %.1f GiB", rows, held / 2**30)
    if held * ranks > memory / 2:
        log.warning(
            "the clips of %d ranks take %.1f GiB of this machine's %.1f: make --buffer_rows smaller",
            ranks,
            held * ranks / 2**30,
            memory / 2**30,
        )


def _waves(pairs: int, samples: int, *, pin: bool = False) -> Tensor:
    if pin:
        return torch.empty(pairs, samples, dtype=torch.int16, pin_memory=True)
    # numpy asks the system for huge pages, torch does not.
    return torch.from_numpy(np.empty((pairs, samples), np.int16))


def windows_of(examples: Sequence[Example]) -> tuple[list[Place], list[Window]]:
    """Which clips examples need, and which windows of them."""
    return [example.row.place for example in examples], [
        Window(encoding=example.row.encoding, start_sample=example.start_sample, clip_samples=example.row.samples)
        for example in examples
    ]


def _batch(step: int, examples: Sequence[Example], wave_RS: Tensor, texts: Texts | None) -> Batch:
    said = [example.text for example in examples]
    tokens, chunks = texts(said) if texts is not None else ([], [])
    return Batch(
        step=step,
        wave_RS=wave_RS,
        masks_R4=torch.tensor([example.masks for example in examples]),
        tokens=tokens,
        chunks=chunks,
        text_ids_R=_ids(said),
        recording_ids_R=_ids([example.row.recording_id for example in examples]),
        examples=tuple(examples),
    )


def _ids(names: Sequence[str]) -> Tensor:
    return torch.tensor([hash64(name) - 2**63 for name in names])


def _refuse_undecoded(lanes: Lanes, examples: Sequence[Example], reasons: Reasons) -> None:
    for example, reason in zip(examples, reasons, strict=True):
        if reason is not None:
            raise RunError(f"{lanes.name_of(example)} cannot be decoded ({reason})")
