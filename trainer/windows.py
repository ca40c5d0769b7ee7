"""What a worker process does: decode windows of encoded clips. It imports no torch, so that it starts quickly.

Clips come and windows go in memory that the worker shares with the trainer, since a pipe would copy half a megabyte a
clip; what is to be decoded comes as a line of JSON on standard input, and each line is answered by one.
"""

import json
import mmap
import os
import signal
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.media.encode import decode_clip
from schemas.shard import AudioEncoding


@dataclass(frozen=True, kw_only=True, slots=True)
class Window:
    """A stretch of a clip; `clip_samples` is how long the whole clip is."""

    encoding: str
    start_sample: int
    clip_samples: int


@dataclass(frozen=True, kw_only=True)
class Layout:
    """How shared memory is cut: slots, each with room for the clips and then for the windows of one request."""

    slots: int
    windows: int
    window_samples: int
    clip_bytes: int  # of all clips of a slot; even, as samples follow

    @property
    def bytes(self) -> int:
        return self.slots * self._slot_bytes

    def clips(self, memory: mmap.mmap, slot: int) -> NDArray[np.uint8]:
        return np.frombuffer(memory, np.uint8, self.clip_bytes, slot * self._slot_bytes)

    def waves(self, memory: mmap.mmap, slot: int) -> NDArray[np.int16]:
        """Windows × samples."""
        at = slot * self._slot_bytes + self.clip_bytes
        flat = np.frombuffer(memory, np.int16, self.windows * self.window_samples, at)
        return flat.reshape(self.windows, self.window_samples)

    @property
    def _slot_bytes(self) -> int:
        return self.clip_bytes + 2 * self.windows * self.window_samples


def decode_window(clip: bytes | memoryview, window: Window, out_T: NDArray[np.int16]) -> str | None:
    """Write a window, with zeros behind a clip that is shorter. Gives why it cannot be decoded, or None."""
    length = min(window.clip_samples - window.start_sample, len(out_T))
    out_T[length:] = 0
    try:
        decode_clip(clip, AudioEncoding(window.encoding), window.start_sample, length, out_T=out_T[:length])
    except ValueError as error:
        return str(error)
    return None


def request(slot: int, windows: Sequence[Window], ends: Sequence[int]) -> bytes:
    """A line: windows of the clips that lie in a slot end to end; `ends` says where each ends."""
    parts = [[window.encoding, window.start_sample, window.clip_samples] for window in windows]
    return json.dumps([slot, parts, list(ends)]).encode() + b"\n"


def arguments(descriptor: int, layout: Layout) -> list[str]:
    return [str(descriptor), json.dumps(asdict(layout))]


def serve(descriptor: str, layout_json: str) -> None:
    """Answer requests until the trainer closes the pipe, or ends: with the reasons for what could not be decoded.

    A signal to the whole group is the trainer's to handle, which may have a checkpoint to save.
    """
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    layout = Layout(**json.loads(layout_json))
    memory = mmap.mmap(int(descriptor), layout.bytes)
    os.close(int(descriptor))
    for line in sys.stdin.buffer:
        slot, windows, ends = json.loads(line)
        clips, waves = layout.clips(memory, slot).data, layout.waves(memory, slot)
        reasons = [
            decode_window(
                clips[first:end],
                Window(encoding=encoding, start_sample=start_sample, clip_samples=clip_samples),
                wave_T,
            )
            for wave_T, (encoding, start_sample, clip_samples), first, end in zip(
                waves, windows, (0, *ends), ends, strict=False
            )
        ]
        sys.stdout.buffer.write(json.dumps(reasons).encode() + b"\n")
        sys.stdout.buffer.flush()
