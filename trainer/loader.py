"""Mini-batches of one rank, ready for the device: windows decoded by worker processes, texts cut to WordPieces.

The rank's process plans and reads shards; workers get encoded clips and decode a window of each, nothing else, so what
a batch holds does not depend on how many workers there are. A thread keeps batches ahead of the loop. The state that a
checkpoint takes is the planner's as it was after the batch that the loop has used.

Legend: R pairs of this rank, S samples of a window.
"""

import multiprocessing
import os
import queue
import threading
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader
from transformers import PreTrainedTokenizerBase

from schemas.digest import hash64
from schemas.run import RunError
from schemas.sources import TextSource
from trainer.audio import Audio
from trainer.streams import Example, Lanes, LanesState
from trainer.tokens import tokenize
from trainer.windows import Window, WindowChunk, Windows, window_chunk

_DECODE_CHUNK = 32  # windows that a worker decodes at once
_CHUNKS_AHEAD = 4  # of a worker
_BATCHES_AHEAD = 2


def _end_with_parent(worker: int) -> None:
    """A trainer that is killed takes its workers along: they hang on the fork server, which nobody tells."""

    def wait() -> None:
        if (parent := multiprocessing.parent_process()) is not None:
            parent.join()
        os._exit(0)

    threading.Thread(target=wait, name="end-with-parent", daemon=True).start()


@dataclass(frozen=True, kw_only=True)
class Batch:
    """This rank's pairs of a global mini-batch. `text_ids_R` names texts: equal where texts are."""

    step: int
    wave_RS: Tensor  # int16
    masks_R4: Tensor
    tokens: list[list[int]]  # empty where no text is needed
    text_ids_R: Tensor
    examples: tuple[Example, ...]

    @property
    def sources(self) -> dict[TextSource, int]:
        return dict(Counter(example.source for example in self.examples))


class Loader:
    """`for batch in loader`: endless, in order. `state(step)` is where its lanes were after that step.

    Without a tokenizer, batches have no tokens.
    """

    def __init__(
        self,
        batches: Lanes,
        audio: Audio,
        tokenizer: PreTrainedTokenizerBase | None,
        *,
        max_tokens: int,
        window_samples: int,
        workers: int,
    ) -> None:
        self._audio = audio
        self._batches, self._tokenizer, self._max_tokens = batches, tokenizer, max_tokens
        self._window_samples = window_samples
        self._states: dict[int, LanesState] = {}
        self._planned: queue.SimpleQueue[tuple[int, list[Example]]] = queue.SimpleQueue()
        self._ready: queue.Queue[Batch | BaseException] = queue.Queue(_BATCHES_AHEAD)
        self._stopped = threading.Event()
        self._decoder: DataLoader[Any] = DataLoader(
            # A worker is at most the chunks that it was asked for ahead of the one that `_run` copies.
            Windows(outputs=_CHUNKS_AHEAD + 2),
            batch_size=None,
            sampler=self._plan(shared=workers > 0),
            num_workers=workers,
            multiprocessing_context="forkserver" if workers else None,
            prefetch_factor=_CHUNKS_AHEAD if workers else None,
            worker_init_fn=_end_with_parent,
        )
        self._thread = threading.Thread(target=self._run, name="loader", daemon=True)
        self._thread.start()

    def __iter__(self) -> Iterator[Batch]:
        while True:
            item = self._ready.get()
            if isinstance(item, BaseException):
                raise item
            for step in [step for step in self._states if step < item.step]:
                del self._states[step]
            yield item

    def state(self, step: int) -> LanesState:
        """Where the lanes were after the batch of `step`, the last one that was taken."""
        return self._states[step]

    def close(self) -> None:
        """Stop the thread and the workers."""
        self._stopped.set()
        while self._thread.is_alive():
            try:
                self._ready.get(timeout=0.05)
            except queue.Empty:
                continue
        self._thread.join()
        self._batches.close()
        self._audio.close()

    def _plan(self, *, shared: bool) -> Iterator[WindowChunk]:
        while not self._stopped.is_set():
            step = self._batches.step
            mine = self._batches.next()
            self._states[step] = self._batches.state()
            self._planned.put((step, mine))
            for start in range(0, len(mine), _DECODE_CHUNK):
                part = mine[start : start + _DECODE_CHUNK]
                windows = [
                    Window(
                        encoding=example.row.encoding,
                        start_sample=example.start_sample,
                        clip_samples=example.row.samples,
                    )
                    for example in part
                ]
                yield window_chunk(
                    [self._audio.take(example.row.place) for example in part],
                    windows,
                    self._window_samples,
                    shared=shared,
                )

    def _run(self) -> None:
        try:
            wave_RS = torch.empty(0)
            examples: list[Example] = []
            step, decoded = -1, 0
            for wave_NS, reasons in self._decoder:
                if decoded == len(examples):
                    step, examples = self._planned.get()
                    wave_RS, decoded = torch.empty(len(examples), self._window_samples, dtype=torch.int16), 0
                for example, reason in zip(examples[decoded : decoded + len(reasons)], reasons, strict=True):
                    if reason is not None:
                        raise RunError(self._batches.name_of(example) + f" cannot be decoded ({reason})")
                wave_RS[decoded : decoded + len(reasons)] = wave_NS
                decoded += len(reasons)
                if decoded == len(examples) and not self._put(self._batch(step, examples, wave_RS)):
                    return
        except BaseException as error:  # the loop raises it
            self._put(error)

    def _batch(self, step: int, examples: list[Example], wave_RS: Tensor) -> Batch:
        texts = [example.text for example in examples]
        return Batch(
            step=step,
            wave_RS=wave_RS,
            masks_R4=torch.tensor([example.masks for example in examples]),
            tokens=tokenize(self._tokenizer, texts, self._max_tokens) if self._tokenizer is not None else [],
            text_ids_R=torch.tensor([hash64(text) - 2**63 for text in texts]),
            examples=tuple(examples),
        )

    def _put(self, item: Batch | BaseException) -> bool:
        while not self._stopped.is_set():
            try:
                self._ready.put(item, timeout=0.1)
            except queue.Full:
                continue
            return True
        return False
