"""The encoded clips of planned rows, read by threads ahead of their use.

A stream says which rows of a row group have entered its buffer (`expect`), and whoever decodes takes each clip once
(`take`). Between the two a clip is in memory, so what is held is bounded by the rows that streams hold in their buffers
and the pairs that are planned ahead.
"""

from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from threading import Lock
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from schemas.run import RunError

if TYPE_CHECKING:
    from trainer.data import Corpus

# An object store answers in 100 to 200 ms: so many row groups are asked for at once.
_READ_THREADS = 32

Clip = Any  # bytes, or another buffer of bytes


@dataclass(slots=True)
class _Expected:
    times: int  # that it will be taken
    group: "Future[dict[int, Clip]]"


class Audio:
    """Clips by (group, row), indices into the corpus.

    A row that is expected several times (by the streams of two sources, or by the next pass while the last one is not
    decoded yet) is read once and can be taken as often.
    """

    def __init__(self, corpus: "Corpus") -> None:
        self._corpus = corpus
        self._expected: dict[tuple[int, int], _Expected] = {}
        self._lock = Lock()
        self._pool = ThreadPoolExecutor(_READ_THREADS, thread_name_prefix="audio")

    def expect(self, group: int, rows: Sequence[int]) -> None:
        """These rows of a row group will be taken, each once more. Returns at once."""
        with self._lock:
            new = [row for row in rows if (group, row) not in self._expected]
            future = self._pool.submit(self._read, group, new) if new else None
            for row in rows:
                if future is not None and (group, row) not in self._expected:
                    self._expected[group, row] = _Expected(times=0, group=future)
                self._expected[group, row].times += 1

    def take(self, place: tuple[int, int]) -> Clip:
        """The clip of a row that was expected; waits until it is read. Raises RunError."""
        with self._lock:
            expected = self._expected[place]
            expected.times -= 1
            if not expected.times:
                del self._expected[place]
        return expected.group.result()[place[1]]

    def close(self) -> None:
        """Stop reading; nothing can be taken any more."""
        self._pool.shutdown(cancel_futures=True)

    def _read(self, group: int, rows: Sequence[int]) -> dict[int, Clip]:
        run, found = self._corpus.run_and_group(group)
        try:
            column = run.read(found, ["audio"], rows)["audio"]
        except (OSError, pa.ArrowInvalid) as error:
            raise RunError(
                f"{run.root}/{found.shard.path}: row group {found.index} cannot be read ({error}); "
                "mine again to repair the run, or train with --verify_shards --skip_corrupt"
            ) from error
        return {row: column[i].as_py() for i, row in enumerate(rows)}
