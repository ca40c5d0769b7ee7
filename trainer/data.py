"""What a trainer may draw: the rows of mined runs, by source of text and by split.

Runs are read by their manifests alone (`schemas.run`). Which row groups hold which source, how many recordings there
are, and whether a shard is missing or broken is known before the first step (`trainer.row_index`).

Train, validation and held-out come from the hash of a recording's near-duplicate group, so copies of one recording are
never on both sides.
"""

import logging
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from schemas.digest import digest_json
from schemas.manifest import ShardEntry
from schemas.run import RowGroup, Run, RunError
from schemas.shard import CLIP_SAMPLE_RATE_HZ
from schemas.sources import Source, TextSource
from trainer import dist
from trainer.agreement import from_first
from trainer.checkpoint import replace_file
from trainer.mixture import Mixture, MixtureError
from trainer.row_index import SCAN_THREADS, RowIndex, ScanRules, scan
from trainer.split import Split, Splitter

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class DataConfig:
    """Which rows and texts are drawn. `lf_threshold` None takes each manifest's own; `filtered` False takes short-form
    text before the rules and every sentence whatever its score. `buffer_rows` of a source, over all lanes, are shuffled
    at once."""

    mixture: Mixture = field(default_factory=Mixture)
    missing_sources: str = "refuse"
    filtered: bool = True
    lf_threshold: float | None = None
    window_s: float = 10.0
    buffer_rows: int = 8192
    validation_fraction: float = 0.01
    held_out_fraction: float = 0.0
    held_out_ids: tuple[str, ...] = ()
    verify_shards: bool = False
    skip_corrupt: bool = False

    def __post_init__(self) -> None:
        if self.missing_sources not in ("refuse", "reweight"):
            raise ValueError(f"missing_sources is {self.missing_sources!r}; it may be refuse or reweight")
        if not 0 <= self.validation_fraction + self.held_out_fraction < 1:
            raise ValueError("validation and held-out fractions must leave something to train on")
        if self.window_s <= 0 or self.buffer_rows < 1:
            raise ValueError("window_s and buffer_rows must be positive")

    @property
    def window_samples(self) -> int:
        return round(self.window_s * CLIP_SAMPLE_RATE_HZ)

    @property
    def rules(self) -> ScanRules:
        return ScanRules(
            filtered=self.filtered,
            lf_threshold=self.lf_threshold,
            verify=self.verify_shards,
            skip_corrupt=self.skip_corrupt,
        )


class Place(NamedTuple):
    """A row by its group in the corpus and its place there."""

    group: int
    row: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """One recording as a source sees it; its audio is read when it is used."""

    place: Place
    recording_id: str
    texts: tuple[str, ...]
    encoding: str
    samples: int


class Corpus:
    """Several runs as one. `Corpus.open([folder, …], config)`; raises RunError or MixtureError with one clear line."""

    def __init__(self, runs: Sequence[Run], config: DataConfig, index: RowIndex, lost: Mapping[int, str]) -> None:
        """`lost` are shards of the index that cannot be read any more: its number, and why."""
        self.runs, self.config, self.index = tuple(runs), config, index
        self.recordings = {split: index.recordings(split) for split in Split}
        self._lost: set[int] = set()
        self._lose(lost)

    @classmethod
    def open(
        cls,
        folders: Sequence[str | Path],
        config: DataConfig,
        numbers: Sequence[int] | None = None,
        *,
        index_at: Path | None = None,
        keep_index: bool = True,
    ) -> "Corpus":
        """The newest manifest of each run, or those of `numbers`. All ranks have to open it: the first one scans, or
        takes what an earlier scan has kept in the file `index_at`."""
        chosen: Sequence[int | None] = numbers if numbers is not None else [None] * len(folders)
        runs = [Run.open(folder, number) for folder, number in zip(folders, chosen, strict=True)]
        known = index_at is not None and index_at.exists()
        content = dist.from_first(lambda: _index_of(runs, config, index_at, keep=keep_index))
        try:
            index = RowIndex.from_bytes(content, runs)
        except ValueError as error:
            raise RunError(f"this rank has other data than the first one ({error})") from error
        # A scan has verified what it has read.
        verify = config.verify_shards and known
        lost = from_first(lambda: _lost(index, runs, config, verify=verify))
        return cls(runs, config, index, {int(shard): why for shard, why in lost.items()})

    @property
    def left_out(self) -> tuple[str, ...]:
        """Shards that were broken when the training began, by `skip_corrupt`."""
        return self.index.left_out

    def mixture(self) -> Mixture:
        """The mixture that the training rows can serve, by the configured rule for missing sources."""
        wanted = self.config.mixture
        missing = {
            source for source, weight in wanted.weights.items() if weight and not self.rows_of(source, Split.TRAIN)
        }
        if not missing:
            return wanted
        names = ", ".join(str(source.name) for source in sorted(missing))
        if self.config.missing_sources == "refuse":
            raise MixtureError(
                f"no training row has text of {names}; add a run that has (--data), or let the other sources "
                "take its share (--missing_sources reweight)"
            )
        log.warning("no training row has text of %s; the other sources take its share", names)
        return wanted.without(missing)

    def unscored(self, mixture: Mixture) -> tuple[Run, ...]:
        """The runs of which the mixture draws sentences, although filtered ones are asked for and nothing has scored
        theirs: mined without `--lf_model`, they have every sentence, spam included."""
        if not self.config.filtered or TextSource.LF not in mixture.sources:
            return ()
        shards = np.unique(self.index.shard_G[self.candidates(TextSource.LF, Split.TRAIN)])
        drawn = {self.index.shards[int(shard)][0] for shard in shards}
        return tuple(run for i, run in enumerate(self.runs) if i in drawn and self.config.rules.threshold(run) is None)

    def rows_of(self, source: TextSource, split: Split) -> int:
        """Rows that may be drawn from a source, or from any in a sum of them; the rules may leave some no text."""
        return int(self.index.counts(split, source).sum())

    def candidates(self, source: TextSource, split: Split) -> NDArray[np.intp]:
        """The row groups that a stream has to visit."""
        return np.flatnonzero(self.index.counts(split, source))

    def read(self, group: int, source: TextSource, split: Split, part: slice = slice(None)) -> list[Row]:
        """Of the rows of a group that the source may draw, in the order of the shard, those of a part. A shard that has
        been lost since the corpus was opened has none, where broken shards are left out."""
        run, place = self.run_and_group(group)
        if (shard := int(self.index.shard_G[group])) in self._lost:
            return []
        column = source.record.column(filtered=self.config.filtered)
        try:
            table = run.read(place, ["recording_id", "audio_encoding", "duration_s", column])
        except (RunError, OSError, pa.ArrowInvalid) as error:
            if not self.config.skip_corrupt:
                raise self.unreadable(group, error) from error
            self._lose({shard: str(error)})
            return []
        rows = self.index.rows(group, split, source)[part]
        table = table.take(rows)
        ids, texts = table["recording_id"].to_pylist(), table[column].to_pylist()
        encodings, durations_s = table["audio_encoding"].to_pylist(), table["duration_s"].to_pylist()
        threshold = self.config.rules.threshold(run)
        found = []
        for i, row in enumerate(rows.tolist()):
            if usable := tuple(_usable(texts[i], source.record, threshold)):
                found.append(
                    Row(
                        place=Place(group, row),
                        recording_id=ids[i],
                        texts=usable,
                        encoding=encodings[i],
                        samples=round(durations_s[i] * CLIP_SAMPLE_RATE_HZ),
                    )
                )
        return found

    def run_and_group(self, group: int) -> tuple[Run, RowGroup]:
        """Where a row group lies."""
        number, shard = self.index.shards[self.index.shard_G[group]]
        rows = int(self.index.first_row_G[group + 1] - self.index.first_row_G[group])
        index = int(self.index.group_G[group])
        return self.runs[number], RowGroup(shard=shard, index=index, rows=rows, text_sources=None, max_lf_score=None)

    def describe(self, group: int) -> str:
        """A row group in words, for errors."""
        run, place = self.run_and_group(group)
        return f"{run.root}/{place.shard.path}, row group {place.index}"

    def unreadable(self, group: int, error: Exception) -> RunError:
        """What a training ends with that cannot read a row group."""
        return RunError(
            f"{self.describe(group)}: cannot be read ({error}); mine again to repair the run, or go on without broken "
            "shards (--skip_corrupt)"
        )

    def _lose(self, lost: Mapping[int, str]) -> None:
        for shard, why in lost.items():
            if shard not in self._lost:
                self._lost.add(shard)
                log.warning("a shard is lost, and the training goes on without it: %s", why)


def _index_of(runs: Sequence[Run], config: DataConfig, path: Path | None, *, keep: bool) -> bytes:
    """An earlier scan's index where it fits, or that of a new scan."""
    key = digest_json(
        {
            "data": [run.manifest.digest() for run in runs],
            "filtered": config.filtered,
            "lf_threshold": config.lf_threshold,
            "validation_fraction": config.validation_fraction,
            "held_out_fraction": config.held_out_fraction,
            "held_out_ids": sorted(config.held_out_ids),
        }
    )
    if path is not None and path.exists():
        try:
            content: bytes = path.read_bytes()
            RowIndex.from_bytes(content, runs, key)
        except (OSError, ValueError) as error:
            log.info("%s: %s; the shards are scanned again", path, error)
        else:
            return content
    content = scan(runs, Splitter(runs, config), config.rules).to_bytes(key)
    if path is not None and keep:
        path.parent.mkdir(parents=True, exist_ok=True)
        replace_file(path, content)
    return content


def _lost(index: RowIndex, runs: Sequence[Run], config: DataConfig, *, verify: bool) -> dict[int, str]:
    """Shards that the index names and that are missing or have changed since, and how. Raises RunError, unless those
    are to be left out."""
    sizes = [run.sizes() for run in runs]

    def complaint(place: tuple[int, ShardEntry]) -> str | None:
        number, shard = place
        if not verify and sizes[number].get(shard.path) == shard.bytes:
            return None
        try:
            runs[number].check(shard, content=verify)
        except RunError as error:
            return str(error)
        return None

    with ThreadPoolExecutor(SCAN_THREADS) as pool:
        found = {i: why for i, why in enumerate(pool.map(complaint, index.shards)) if why is not None}
    if found and not config.skip_corrupt:
        raise RunError(f"{next(iter(found.values()))} (or go on without broken shards: --skip_corrupt)")
    return found


def _usable(texts: Sequence[Any], source: Source, threshold: float | None) -> Iterator[str]:
    for text in texts:
        if not source.scored:
            yield text
        elif threshold is None or (text["score"] is not None and text["score"] >= np.float32(threshold)):
            yield text["text"]
