"""What a worker process does: decode windows of encoded clips. It imports little, so workers start quickly.

Clips go to the worker, and windows come back, in shared memory, some at a time: a pipe would copy half a megabyte a
clip, which takes a third of the time that decoding does.

Legend: N windows, S samples of a window.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset, get_worker_info

from pipeline.media.encode import UnreadableClipError, decode_clip
from schemas.shard import AudioEncoding


@dataclass(frozen=True, kw_only=True, slots=True)
class Window:
    """A stretch of a clip; `clip_samples` is how long the whole clip is."""

    encoding: str
    start_sample: int
    clip_samples: int


@dataclass(frozen=True, kw_only=True, slots=True)
class WindowChunk:
    """Windows that are decoded together; `audio` holds their encoded clips end to end, `ends` where each ends."""

    audio: Tensor
    ends: tuple[int, ...]
    windows: tuple[Window, ...]
    window_samples: int


def window_chunk(
    clips: Sequence[bytes], windows: Sequence[Window], window_samples: int, *, shared: bool
) -> WindowChunk:
    """`shared` puts the clips where another process can read them without a copy."""
    ends, end = [], 0
    for clip in clips:
        end += len(clip)
        ends.append(end)
    audio = torch.empty(end, dtype=torch.uint8)
    if shared:
        audio.share_memory_()
    target = audio.numpy()
    for end, clip in zip(ends, clips, strict=True):
        target[end - len(clip) : end] = np.frombuffer(clip, np.uint8)
    return WindowChunk(audio=audio, ends=tuple(ends), windows=tuple(windows), window_samples=window_samples)


class Windows(Dataset[tuple[Tensor, list[str | None]]]):
    """`windows[chunk]` is wave_NS, int16, and for each window None or why it cannot be decoded.

    A worker writes into `outputs` blocks of shared memory in turn, since new memory costs a sixth of the time that
    decoding does: what it gave is overwritten so many chunks later, and has to be copied before.
    """

    def __init__(self, outputs: int) -> None:
        self._blocks: list[Tensor | None] = [None] * outputs
        self._next = 0

    def __getitem__(self, chunk: WindowChunk) -> tuple[Tensor, list[str | None]]:
        wave_NS = self._output(len(chunk.windows), chunk.window_samples)
        rows = wave_NS.numpy()
        clips = chunk.audio.numpy()
        reasons: list[str | None] = []
        for row, window, first, end in zip(rows, chunk.windows, (0, *chunk.ends), chunk.ends, strict=False):
            length = min(window.clip_samples - window.start_sample, chunk.window_samples)
            row[length:] = 0
            try:
                decode_clip(
                    clips[first:end].tobytes(),
                    AudioEncoding(window.encoding),
                    window.start_sample,
                    length,
                    out_T=row[:length],
                )
            except (UnreadableClipError, ValueError) as error:
                reasons.append(str(error))
            else:
                reasons.append(None)
        return wave_NS, reasons

    def _output(self, windows: int, samples: int) -> Tensor:
        if get_worker_info() is None:
            return torch.empty(windows, samples, dtype=torch.int16)
        block, place = self._blocks[self._next], self._next
        self._next = (place + 1) % len(self._blocks)
        if block is None or block.shape[0] < windows or block.shape[1] != samples:
            block = self._blocks[place] = torch.empty(windows, samples, dtype=torch.int16).share_memory_()
        return block[:windows]
