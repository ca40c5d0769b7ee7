"""The encoded clips of planned rows, read by threads ahead of their use.

A stream says which rows of a row group have entered its buffer (`expect`), and whoever decodes takes each clip once
(`take`). Between the two a clip is in memory, so what is held is bounded by the rows that streams hold in their buffers
and the pairs that are planned ahead.
"""

from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from threading import Lock
from typing import Any

import numpy as np
import pyarrow as pa

from schemas.allocation import keep_freed_memory
from schemas.run import RunError
from trainer.data import Corpus, Place

# An object store answers in 100 to 200 ms: so many row groups are asked for at once.
_READ_THREADS = 32
_KEPT_BLOCK_BYTES, _KEPT_BYTES = 32 << 20, 256 << 20

Clip = Any  # bytes, or another buffer of bytes


@dataclass(slots=True)
class _Expected:
    times: int  # that it will be taken
    clips: "Future[dict[int, Clip]]"


class Audio:
    """Clips by place.

    A row that is expected several times (by the streams of two sources, or by the next pass while the last one is not
    decoded yet) is read once and can be taken as often.
    """

    def __init__(self, corpus: Corpus) -> None:
        self._corpus = corpus
        self._expected: dict[Place, _Expected] = {}
        self._lock = Lock()
        # Clips come and go all the time: new memory from the system for each costs three times what reading it does.
        keep_freed_memory(_KEPT_BLOCK_BYTES, _KEPT_BYTES)
        self._pool = ThreadPoolExecutor(_READ_THREADS, thread_name_prefix="audio")
        shards = [shard for run in corpus.runs for shard in run.manifest.shards]
        self.mean_clip_bytes = sum(shard.bytes for shard in shards) // max(sum(shard.rows for shard in shards), 1)

    def expect(self, group: int, rows: Sequence[int]) -> None:
        """These rows of a row group will be taken, each once more. Returns at once."""
        with self._lock:
            if new := {row for row in rows if (group, row) not in self._expected}:
                clips = self._pool.submit(self._read, group, sorted(new))
                self._expected |= {Place(group, row): _Expected(times=0, clips=clips) for row in new}
            for row in rows:
                self._expected[Place(group, row)].times += 1

    def take(self, place: Place) -> Clip:
        """The clip of a row that was expected; waits until it is read. Raises RunError."""
        expected = self._expected[place]
        clips = expected.clips.result()
        with self._lock:
            expected.times -= 1
            if expected.times:
                return clips[place.row]
            del self._expected[place]
            return clips.pop(place.row)

    def close(self) -> None:
        """Stop reading; nothing can be taken any more."""
        self._pool.shutdown(cancel_futures=True)

    def _read(self, group: int, rows: Sequence[int]) -> dict[int, Clip]:
        run, found = self._corpus.run_and_group(group)
        try:
            column = run.read(found, ["audio"], rows)["audio"]
        except (RunError, OSError, pa.ArrowInvalid) as error:
            raise self._corpus.unreadable(group, error) from error
        # A chunk of one row has memory of its own; a part of a larger one would keep all of it.
        whole = column.num_chunks == len(rows)
        return {row: _only_value(column.chunk(i)) if whole else column[i].as_py() for i, row in enumerate(rows)}


def _only_value(array: pa.Array) -> pa.Buffer:
    """Of an array of one byte string, without the copy that a scalar of it would be."""
    _, ends, content = array.buffers()
    width = np.int64 if pa.types.is_large_binary(array.type) else np.int32
    start, end = np.frombuffer(ends, width, 2, array.offset * np.dtype(width).itemsize)
    return content.slice(start, end - start)
