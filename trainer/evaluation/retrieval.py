"""Text-to-music retrieval: the text of an evaluation playlist against every recording.

The recordings of a playlist are relevant to its text. All recordings are ranked, those of no playlist too.
"""

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol, Self

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from schemas.eval_playlist import EvalPlaylist, read_eval_playlists
from schemas.jsonl import read_objects
from schemas.one_line import one_line
from schemas.run import Run
from trainer.evaluation.clips import (
    ClipSource,
    EvaluationDataError,
    FileClip,
    FileClips,
    RunClips,
    WindowConfig,
    missing_clips,
    require_audio,
)
from trainer.evaluation.embedding import embed_clips
from trainer.evaluation.evaluator import Evaluator, Measurement, Unmeasured, failed_clips, own_training
from trainer.evaluation.metrics import Bootstrap, Value, mean_with_interval
from trainer.evaluation.model import JointModel, embed_texts
from trainer.evaluation.ranking import DEFAULT_BLOCK_ROWS, DEFAULT_RECALL_AT, query_scores, rank_relevant
from trainer.evaluation.readers.mined import run_rows, trained_on_run
from trainer.evaluation.readers.tagged import digest_of, existing, safe_join
from trainer.trained_on import Training


class Collection(Protocol):
    """Where the recordings are."""

    def clips(self, skip_missing: bool) -> tuple[ClipSource, tuple[Unmeasured, ...]]:
        """Those that are there, and those that are known not to be."""
        ...

    def sources(self) -> dict[str, str]: ...


@dataclass(frozen=True, kw_only=True)
class RunCollection:
    """Every clip of a mined run."""

    run: str

    def clips(self, skip_missing: bool) -> tuple[ClipSource, tuple[Unmeasured, ...]]:
        run = Run.open(self.run)
        unreadable: list[Unmeasured] = []
        rows = tuple(
            (values["recording_id"], group, row) for group, row, values in run_rows(run, ["recording_id"], unreadable)
        )
        return RunClips(run=run, rows=rows), tuple(unreadable)

    def sources(self) -> dict[str, str]:
        return {"manifest": Run.open(self.run).manifest.digest()}


def catalogue_rows(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Each row with its place, of JSON lines or of Parquet as `mulan catalog` writes it. Raises ValueError."""
    if path.suffix.lower() != ".parquet":
        yield from read_objects(path)
        return
    try:
        with pq.ParquetFile(path) as file:
            number = 0
            for batch in file.iter_batches():
                for row in batch.to_pylist():
                    number += 1
                    yield f"{path}:{number}", row
    except (OSError, pa.ArrowException) as error:
        raise EvaluationDataError(f"{path}: cannot be read ({one_line(error)})") from error


@dataclass(frozen=True, kw_only=True)
class CatalogueCollection:
    """Every local recording of a catalogue (`recording_id`, `audio_uri` relative to the file), whole."""

    catalogue: Path

    def clips(self, skip_missing: bool) -> tuple[ClipSource, tuple[Unmeasured, ...]]:
        clips = []
        existing(self.catalogue, "a catalogue, JSON lines or Parquet")
        for where, row in catalogue_rows(self.catalogue):
            recording_id, uri = row.get("recording_id"), row.get("audio_uri")
            if not isinstance(recording_id, str) or not isinstance(uri, str):
                raise EvaluationDataError(f"{where}: recording_id and audio_uri must be strings")
            path = safe_join(self.catalogue.parent, uri, where)
            clips.append(FileClip(clip_id=recording_id, path=path, recording_ids=(recording_id,)))
        found = FileClips(clips=tuple(clips))
        keep = require_audio(self.catalogue.name, found, skip_missing)
        return FileClips(clips=tuple(found.clips[i] for i in keep)), missing_clips(found, keep)

    def sources(self) -> dict[str, str]:
        return {self.catalogue.name: digest_of(self.catalogue)}


@dataclass(frozen=True, kw_only=True)
class RetrievalConfig:
    """`query` is the playlist's text that is searched with; `name` tells these playlists from others."""

    playlists: Path
    collection: Collection
    query: Literal["title", "description"] = "description"
    recall_at: tuple[int, ...] = DEFAULT_RECALL_AT
    name: str = "playlists"
    block_rows: int = DEFAULT_BLOCK_ROWS
    skip_missing: bool = False
    windows: WindowConfig = field(default_factory=WindowConfig)
    bootstrap: Bootstrap = field(default_factory=lambda: Bootstrap(resamples=1000))

    def __post_init__(self) -> None:
        if self.query not in ("title", "description") or self.block_rows < 1 or min(self.recall_at, default=0) < 1:
            raise ValueError("retrieval: query is title or description, block_rows and recall_at are at least 1")


class TextToMusicRetrieval(Evaluator[JointModel]):
    """Blocked: no query × recording matrix is ever held.

    Every recording is ranked, those that a model was trained on too, since a smaller collection is an easier one; the
    result says so.
    """

    name = "retrieval"
    config_class = RetrievalConfig

    def __init__(self, config: RetrievalConfig, trainings: Sequence[Training] | None = None) -> None:
        self.config = config
        self._trainings = trainings

    def of_models(self, trainings: Sequence[Training]) -> Self:
        return type(self)(self.config, trainings)

    def check(self) -> None:
        clips, _ = self.config.collection.clips(self.config.skip_missing)
        self._relevant(read_eval_playlists(self.config.playlists), clips.ids)

    def measure(self, model: JointModel) -> Measurement:
        config = self.config
        playlists = read_eval_playlists(config.playlists)
        clips, unmeasured = config.collection.clips(config.skip_missing)
        embedded = embed_clips(model, clips, config.windows)
        ids = [clips.ids[i] for i in embedded.kept]
        used, relevant, skipped = self._relevant(playlists, ids)
        unmeasured = (*unmeasured, *embedded.unmeasured)
        text = embed_texts(model, [getattr(playlist, config.query) for playlist in used])
        ranks = rank_relevant(text, embedded.rows, relevant, config.block_rows)
        scores = query_scores(ranks, config.recall_at)

        def mean(values: NDArray[np.float64]) -> Value:
            return mean_with_interval(values[~np.isnan(values)], config.bootstrap)

        metrics = {"roc_auc": mean(scores.roc_auc)} if not np.isnan(scores.roc_auc).all() else {}
        metrics["mean_average_precision"] = mean(scores.average_precision)
        metrics |= {f"recall_at_{k}": mean(values) for k, values in scores.recall.items()}
        metrics["median_rank"] = mean_with_interval(scores.first_rank, config.bootstrap, np.median)
        return Measurement(
            task=self.name,
            dataset=f"{config.name}/{config.query}",
            split="all",
            metrics=metrics,
            units={
                "queries": len(used),
                "recordings": len(ids),
                "failed_recordings": failed_clips(unmeasured),
                "relevant": len(ranks.above),
                "absent_recordings": sum(len(set(p.recording_ids) - set(ids)) for p in playlists),
            },
            settings={
                "query": config.query,
                "windows": dataclasses.asdict(config.windows.of(model)),
                "bootstrap": dataclasses.asdict(config.bootstrap),
            },
            sources={config.playlists.name: digest_of(config.playlists), **config.collection.sources()},
            notes={
                "ties": "half in the AUC; rank and recall take the worst order",
                "median_rank": "of the best relevant recording",
                **self._seen(model),
            },
            skipped=skipped,
            unmeasured=unmeasured,
        )

    def _seen(self, model: JointModel) -> dict[str, str]:
        if not isinstance(self.config.collection, RunCollection):
            return {}
        trainings = own_training(model) if self._trainings is None else self._trainings
        models = trained_on_run(Run.open(self.config.collection.run), trainings)
        return {"collection": f"{', '.join(models)} was trained on recordings of it"} if models else {}

    def _relevant(
        self, playlists: Sequence[EvalPlaylist], ids: Sequence[str]
    ) -> tuple[list[EvalPlaylist], list[list[int]], dict[str, str]]:
        found = _relevant(playlists, ids)
        if not found[0]:
            raise EvaluationDataError(f"{self.config.playlists}: no playlist has a recording of the collection")
        return found


def _relevant(
    playlists: Sequence[EvalPlaylist], ids: Sequence[str]
) -> tuple[list[EvalPlaylist], list[list[int]], dict[str, str]]:
    place = {recording_id: i for i, recording_id in enumerate(ids)}
    if len(place) != len(ids):
        raise EvaluationDataError("the collection has a recording_id twice")
    used, relevant, skipped = [], [], {}
    for playlist in playlists:
        found = [place[r] for r in playlist.recording_ids if r in place]
        if found:
            used.append(playlist)
            relevant.append(found)
        else:
            skipped[playlist.playlist_id] = "none of its recordings is in the collection"
    return used, relevant, skipped
