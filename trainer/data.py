"""What a trainer may draw: the rows of mined runs, by source of text and by split.

Runs are read by their manifests alone (`schemas.run`). Opening a corpus reads each shard's footer and the light
columns (ids, `text_sources`, `max_lf_score`), never audio, so that it is known before the first step which row groups
hold which source, how many recordings there are, and whether a shard is missing or broken.

Train, validation and held-out come from the hash of a recording's near-duplicate group, so copies of one recording are
never on both sides.
"""

import logging
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from schemas.manifest import ShardEntry
from schemas.run import RowGroup, Run, RunError
from schemas.shard import CLIP_SAMPLE_RATE_HZ
from schemas.sources import SOURCES, Source, TextSource
from trainer.mixture import Mixture, MixtureError
from trainer.split import Split, Splitter

log = logging.getLogger(__name__)

_SCAN_THREADS = 16
_LIGHT_COLUMNS = ("recording_id", "text_sources", "max_lf_score")


@dataclass(frozen=True, kw_only=True)
class DataConfig:
    """Which rows and texts are drawn. `lf_threshold` None takes each manifest's own; `filtered` False takes short-form
    text before the rules and every sentence whatever its score."""

    mixture: Mixture = field(default_factory=Mixture)
    missing_sources: str = "refuse"
    filtered: bool = True
    lf_threshold: float | None = None
    window_s: float = 10.0
    buffer_rows: int = 1024
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


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """One recording as a source sees it; `audio` is empty where it was not asked for."""

    place: tuple[int, int]  # row group of the corpus, row of the group
    recording_id: str
    texts: tuple[str, ...]
    audio: bytes
    encoding: str
    samples: int


@dataclass(frozen=True, kw_only=True)
class _Group:
    run: int
    group: RowGroup
    counts: dict[tuple[Split, TextSource], int]  # by all the sources that a row may be drawn from

    def rows_of(self, sources: TextSource, split: Split) -> int:
        return sum(rows for (of, drawn), rows in self.counts.items() if of == split and drawn & sources)


class Corpus:
    """Several runs as one. `Corpus.open([folder, …], config)`; raises RunError or MixtureError with one clear line."""

    def __init__(self, runs: Sequence[Run], config: DataConfig) -> None:
        self.runs = tuple(runs)
        self.config = config
        self.split_of = Splitter(self.runs, config).split_of
        self.recordings: dict[Split, int] = dict.fromkeys(Split, 0)
        self._groups: list[_Group] = []
        left_out = []
        shards = [(index, shard) for index, run in enumerate(self.runs) for shard in run.manifest.shards]
        with ThreadPoolExecutor(_SCAN_THREADS) as pool:
            for (index, shard), scanned in zip(shards, pool.map(self._scan, shards), strict=True):
                if scanned is None:
                    left_out.append(f"{shard.path} of data {index + 1}")
                    continue
                groups, recordings = scanned
                self._groups.extend(groups)
                for split, count in recordings.items():
                    self.recordings[split] += count
        self.left_out = tuple(left_out)  # broken shards, by `skip_corrupt`

    @classmethod
    def open(cls, folders: Sequence[str | Path], config: DataConfig, numbers: Sequence[int] | None = None) -> "Corpus":
        """The newest manifest of each run, or those of `numbers`."""
        chosen: Sequence[int | None] = numbers if numbers is not None else [None] * len(folders)
        return cls([Run.open(folder, number) for folder, number in zip(folders, chosen, strict=True)], config)

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

    def rows_of(self, source: TextSource, split: Split) -> int:
        """Rows that may be drawn from a source, or from any in a sum of them; the rules may leave some no text."""
        return sum(group.rows_of(source, split) for group in self._groups)

    def candidates(self, source: TextSource, split: Split) -> NDArray[np.int64]:
        """The row groups that a stream has to visit."""
        return np.array([i for i, group in enumerate(self._groups) if group.rows_of(source, split)], np.int64)

    def read(self, index: int, source: TextSource, split: Split, *, audio: bool = True) -> list[Row]:
        """The rows of a group that the source may draw, in the order of the shard."""
        entry = self._groups[index]
        run = self.runs[entry.run]
        column = source.record.column(filtered=self.config.filtered)
        columns = ["recording_id", "audio_encoding", "duration_s", column, *(["audio"] if audio else [])]
        try:
            table = run.read(entry.group, columns)
        except (OSError, pa.ArrowInvalid) as error:
            raise RunError(
                f"{run.root}/{entry.group.shard.path}: row group {entry.group.index} cannot be read ({error}); "
                "mine again to repair the run, or train with --verify_shards --skip_corrupt"
            ) from error
        ids, texts = table["recording_id"].to_pylist(), table[column].to_pylist()
        encodings, durations_s = table["audio_encoding"].to_pylist(), table["duration_s"].to_pylist()
        threshold = self._lf_threshold(run)
        rows = []
        for i, recording_id in enumerate(ids):
            usable = tuple(_usable(texts[i], source.record, threshold))
            if usable and self.split_of(recording_id) == split:
                rows.append(
                    Row(
                        place=(index, i),
                        recording_id=recording_id,
                        texts=usable,
                        audio=table["audio"][i].as_py() if audio else b"",
                        encoding=encodings[i],
                        samples=round(durations_s[i] * CLIP_SAMPLE_RATE_HZ),
                    )
                )
        return rows

    def describe(self, index: int) -> str:
        """A row group in words, for errors."""
        entry = self._groups[index]
        return f"{self.runs[entry.run].root}/{entry.group.shard.path}, row group {entry.group.index}"

    def _lf_threshold(self, run: Run) -> float | None:
        if not self.config.filtered:
            return None
        return self.config.lf_threshold if self.config.lf_threshold is not None else run.manifest.long_form.threshold

    def _scan(self, place: tuple[int, ShardEntry]) -> tuple[list[_Group], dict[Split, int]] | None:
        run_index, shard = place
        run, groups = self.runs[run_index], []
        recordings: dict[Split, int] = dict.fromkeys(Split, 0)
        threshold = self._lf_threshold(run)
        try:
            run.check(shard, content=self.config.verify_shards)
            for group in run.row_groups([shard]):
                table = run.read(group, _LIGHT_COLUMNS)
                sources = table["text_sources"].to_numpy()
                scores = np.array([np.nan if s is None else s for s in table["max_lf_score"].to_pylist()], np.float32)
                splits = np.array([self.split_of(name) for name in table["recording_id"].to_pylist()])
                if threshold is not None:
                    scored = sum(source.bit for source in SOURCES if source.scored)
                    sources = np.where(scores >= np.float32(threshold), sources, sources & ~sources.dtype.type(scored))
                counts = {}
                for split in Split:
                    here = splits == split
                    recordings[split] += int(here.sum())
                    for drawn, rows in zip(*np.unique(sources[here], return_counts=True), strict=True):
                        counts[split, TextSource(int(drawn))] = int(rows)
                groups.append(_Group(run=run_index, group=group, counts=counts))
        except (RunError, OSError, pa.ArrowInvalid) as error:
            if not self.config.skip_corrupt:
                where = "" if isinstance(error, RunError) else f"{run.root}/{shard.path}: "
                raise RunError(f"{where}{error} (or leave broken shards out with --skip_corrupt)") from error
            log.warning("shard left out: %s", error)
            return None
        return groups, recordings


def _usable(texts: Sequence[Any], source: Source, threshold: float | None) -> Iterator[str]:
    for text in texts:
        if not source.scored:
            yield text
        elif threshold is None or (text["score"] is not None and text["score"] >= np.float32(threshold)):
            yield text["text"]
