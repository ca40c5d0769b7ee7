"""Which rows of which row groups a training may draw: what the opening scan learns, and all that planning has to know.

A byte a row says its split and the sources that it has text of; so nothing is known of a row by its name, and a corpus
of 44 million clips is 44 MB. The first rank scans, keeps the index beside the output, and hands it to the others.
"""

import io
import json
import logging
import sys
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from tqdm import tqdm

from schemas.manifest import ShardEntry
from schemas.run import Run, RunError
from schemas.sources import SOURCES, TextSource
from trainer.split import Split, Splitter

log = logging.getLogger(__name__)

SCAN_THREADS = 64  # most of them wait for a store
_LIGHT_COLUMNS = ("recording_id", "text_sources", "max_lf_score")
_FORMAT_VERSION = 1
_SPLITS = tuple(Split)
_SPLIT_SHIFT = len(SOURCES)
_SOURCES = (1 << _SPLIT_SHIFT) - 1
_CODE = np.min_scalar_type((len(_SPLITS) << _SPLIT_SHIFT) - 1)


@dataclass(frozen=True, kw_only=True)
class RowIndex:
    """Row groups in the order of runs, shards and groups; `codes` has the rows of all, one after another.

    `shards` are (number of the run, shard); `left_out` are broken shards that the scan was told to leave out.
    """

    shards: tuple[tuple[int, ShardEntry], ...]
    shard_G: NDArray[np.int32]
    group_G: NDArray[np.int32]  # within its shard
    first_row_G: NDArray[np.int64]  # and the number of all rows at the end
    codes: NDArray[Any]
    left_out: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.shard_G)

    @property
    def nbytes(self) -> int:
        """What it takes of a rank's memory, without the shards' own entries."""
        return sum(part.nbytes for part in (self.shard_G, self.group_G, self.first_row_G, self.codes))

    def recordings(self, split: Split) -> int:
        return int(np.count_nonzero(self.codes >> _SPLIT_SHIFT == _SPLITS.index(split)))

    def counts(self, split: Split, source: TextSource) -> NDArray[np.int32]:
        """For each row group, its rows that the source may draw, or any in a sum of sources; the rules may leave some
        no text."""
        if not len(self):
            return np.zeros(0, np.int32)
        chosen = _chosen(self.codes, split, source)
        return np.add.reduceat(chosen, self.first_row_G[:-1], dtype=np.int32)

    def rows(self, group: int, split: Split, source: TextSource) -> NDArray[np.intp]:
        """The rows of a group that the source may draw, in the order of the shard."""
        return np.flatnonzero(_chosen(self.codes[self.first_row_G[group] : self.first_row_G[group + 1]], split, source))

    def digest(self) -> str:
        """Of what may be drawn."""
        known = blake2b(json.dumps([entry.sha256 for _, entry in self.shards]).encode(), digest_size=16)
        for part in (self.shard_G, self.group_G, self.first_row_G, self.codes):
            known.update(np.ascontiguousarray(part).data)
        return known.hexdigest()

    def to_bytes(self, key: str) -> bytes:
        """As a Parquet file; `key` says what it was made from."""
        value = {
            "format_version": _FORMAT_VERSION,
            "key": key,
            "shards": [[run, entry.sha256] for run, entry in self.shards],
            "left_out": list(self.left_out),
        }
        codes = pa.LargeBinaryArray.from_buffers(
            pa.large_binary(),
            len(self),
            [None, pa.py_buffer(self.first_row_G * self.codes.itemsize), pa.py_buffer(self.codes)],
        )
        table = pa.table({"shard": self.shard_G, "group": self.group_G, "rows": codes})
        table = table.replace_schema_metadata({"openmulan": json.dumps(value)})
        stream = io.BytesIO()
        pq.write_table(table, stream, compression="zstd")
        return stream.getvalue()

    @classmethod
    def from_bytes(cls, content: bytes, runs: Sequence[Run], key: str | None = None) -> "RowIndex":
        """Raises ValueError where it was made from something else than `key` (None: whatever it was), or is damaged."""
        try:
            table = pq.read_table(io.BytesIO(content))
            value = json.loads(table.schema.metadata[b"openmulan"])
            entries = {(i, shard.sha256): shard for i, run in enumerate(runs) for shard in run.manifest.shards}
            if value["format_version"] != _FORMAT_VERSION or (key is not None and value["key"] != key):
                raise ValueError("it was made from other data or by other settings")
            codes = table["rows"].combine_chunks()
            offsets = np.frombuffer(codes.buffers()[1], np.int64)[: len(codes) + 1]
            return cls(
                shards=tuple((run, entries[run, digest]) for run, digest in value["shards"]),
                shard_G=table["shard"].to_numpy(),
                group_G=table["group"].to_numpy(),
                first_row_G=offsets // _CODE.itemsize,
                codes=np.frombuffer(codes.buffers()[2] or b"", _CODE)[: int(offsets[-1]) // _CODE.itemsize],
                left_out=tuple(value["left_out"]),
            )
        except (pa.ArrowException, KeyError, TypeError, IndexError) as error:
            raise ValueError(f"not an index of rows ({error})") from error


@dataclass(frozen=True, kw_only=True)
class ScanRules:
    """What decides whether a row may be drawn, beside its split. A threshold of None takes each manifest's own."""

    filtered: bool = True
    lf_threshold: float | None = None
    verify: bool = False  # every shard's hash
    skip_corrupt: bool = False

    def threshold(self, run: Run) -> float | None:
        """The score that a sentence of a run needs; None where any will do."""
        if not self.filtered:
            return None
        return self.lf_threshold if self.lf_threshold is not None else run.manifest.long_form.threshold


def scan(runs: Sequence[Run], splitter: Splitter, rules: ScanRules) -> RowIndex:
    """From each shard's footer and light columns, never audio. Raises RunError for a shard that is missing or broken,
    unless those are to be left out."""
    everything = [(i, shard) for i, run in enumerate(runs) for shard in run.manifest.shards]
    shards: list[tuple[int, ShardEntry]] = []
    shard_G, group_G, sizes_G, codes = [], [], [], []
    left_out = []
    with ThreadPoolExecutor(SCAN_THREADS) as pool:
        found = pool.map(lambda place: _scan(runs[place[0]], place[1], splitter, rules), everything)
        bar = tqdm(found, total=len(everything), desc="opening", unit="shard", disable=not sys.stderr.isatty())
        for (i, shard), groups in zip(everything, bar, strict=True):
            if groups is None:
                left_out.append(f"{shard.path} of data {i + 1}")
                continue
            for group, code_R in groups.items():
                shard_G.append(len(shards))
                group_G.append(group)
                sizes_G.append(len(code_R))
                codes.append(code_R)
            shards.append((i, shard))
    return RowIndex(
        shards=tuple(shards),
        shard_G=np.array(shard_G, np.int32),
        group_G=np.array(group_G, np.int32),
        first_row_G=np.concatenate([[0], np.cumsum(sizes_G, dtype=np.int64)]).astype(np.int64),
        codes=np.concatenate([*codes, np.zeros(0, _CODE)]),
        left_out=tuple(left_out),
    )


def row_codes(splits: Sequence[Split], sources: NDArray[np.integer[Any]]) -> NDArray[Any]:
    """The codes of some rows, by split and by the sources that each has text of."""
    split_R = np.fromiter((_SPLITS.index(split) for split in splits), np.int64, len(splits))
    return (split_R << _SPLIT_SHIFT | sources & _SOURCES).astype(_CODE)


def _chosen(codes: NDArray[Any], split: Split, source: TextSource) -> NDArray[np.bool_]:
    of_split = codes >> _SPLIT_SHIFT == _SPLITS.index(split)
    return np.asarray(of_split & ((codes & _CODE.type(source)) != 0))


def _scan(run: Run, shard: ShardEntry, splitter: Splitter, rules: ScanRules) -> Mapping[int, NDArray[Any]] | None:
    """The codes of each row group that has rows; None for a shard that is left out."""
    try:
        run.check(shard, content=rules.verify)
        return dict(_groups(run, shard, splitter, rules.threshold(run)))
    except (RunError, OSError, pa.ArrowInvalid) as error:
        if not rules.skip_corrupt:
            where = "" if isinstance(error, RunError) else f"{run.root}/{shard.path}: "
            raise RunError(f"{where}{error} (or leave broken shards out with --skip_corrupt)") from error
        log.warning("shard left out: %s", error)
        return None


def _groups(
    run: Run, shard: ShardEntry, splitter: Splitter, threshold: float | None
) -> Iterator[tuple[int, NDArray[Any]]]:
    for group in run.row_groups([shard]):
        table = run.read(group, _LIGHT_COLUMNS)
        sources = table["text_sources"].to_numpy().astype(np.int64)
        if threshold is not None:
            scores = table["max_lf_score"].to_numpy(zero_copy_only=False).astype(np.float32)
            scored = sum(int(source.bit) for source in SOURCES if source.scored)
            sources = np.where(scores >= np.float32(threshold), sources, sources & ~scored)
        if len(sources):
            yield group.index, row_codes([splitter.split_of(n) for n in table["recording_id"].to_pylist()], sources)
