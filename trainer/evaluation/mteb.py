"""`mulan evaluate mteb`: any model in the audio tasks of MTEB, which are MAEB's, by that benchmark's own code.

    mulan evaluate mteb MODEL --tasks GTZANGenre GTZANAudioReranking --output results

The package `mteb` (Apache-2.0) fetches its data sets from the hub, asks the model for rows, and scores them. Here a
clip is read from the file that the data set has in it and cut into windows as everywhere else, so a figure differs from
that of a wrapper which takes a clip's beginning.
"""

import argparse
import hashlib
import sys
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from schemas.exits import check_output
from schemas.lookup import is_factory
from trainer.evaluation.clips import ClipAudio, EvaluationDataError, UndecodableError, WindowConfig, decode_media
from trainer.evaluation.embedding import FrozenModel, embed_clips
from trainer.evaluation.kept import NAME as KEPT_NAME
from trainer.evaluation.kept import KeptEmbeddings
from trainer.evaluation.model import FloatArray, JointModel, embed_texts
from trainer.evaluation.models import find_here, load_model


@dataclass(frozen=True, kw_only=True, eq=False)
class DatasetClips:
    """The files in the column `audio` of a data set of the package `datasets`, which is told not to decode them."""

    dataset: Any

    @property
    def ids(self) -> Sequence[str]:
        return [f"row {number}" for number in range(len(self.dataset))]

    def key(self, index: int) -> Hashable:
        return index

    def audio(self, index: int) -> ClipAudio:
        held = self.dataset[index]["audio"]
        try:
            media = held["bytes"] if held["bytes"] is not None else Path(held["path"]).read_bytes()
        except OSError as error:
            raise UndecodableError(self.ids[index], error.strerror or type(error).__name__) from error
        return ClipAudio(digest=hashlib.sha256(media).hexdigest(), decode=lambda: decode_media(media, self.ids[index]))


class MtebModel:
    """What `mteb.evaluate` takes (its EncoderProtocol), around any of our models. Rows are of unit length; of what has
    sound and text both they are the sum, as in the benchmark's own wrappers."""

    def __init__(
        self, model: JointModel, name: str, digest: str | None, *, workers: int = 2, kept: KeptEmbeddings | None = None
    ) -> None:
        from mteb.models import ModelMeta
        from mteb.models.model_meta import ScoringFunction

        self._model, self._workers, self._kept = model, workers, kept
        self.mteb_model_meta = ModelMeta.create_empty(
            {
                "name": f"openmulan/{name.replace('/', '-')}",
                "revision": digest,
                "modalities": ["audio", "text"],
                "similarity_fn_name": ScoringFunction.COSINE,
            }
        )

    def encode(self, inputs: Any, **_: Any) -> FloatArray:
        """(N, D) of the rows of one of the benchmark's `DataLoader`s. Raises EvaluationDataError where a clip has no
        sound: the benchmark has a figure of all or none."""
        dataset = inputs.dataset
        found = [self._embed_audio(dataset)] if "audio" in dataset.column_names else []
        if "text" in dataset.column_names:
            found.append(embed_texts(self._model, list(dataset["text"])))
        if not found:
            raise EvaluationDataError(f"a data set with {', '.join(dataset.column_names)} has neither audio nor text")
        return np.asarray(sum(found), np.float32)

    def _embed_audio(self, dataset: Any) -> FloatArray:
        from datasets import Audio

        clips = DatasetClips(dataset=dataset.cast_column("audio", Audio(decode=False)))
        # Nothing but the audio tells a clip of one data set from that of another, so rows are kept on disk alone.
        frozen = FrozenModel(self._model, workers=self._workers, kept=self._kept)
        embedded = embed_clips(frozen, clips, WindowConfig())
        if embedded.unmeasured:
            first = embedded.unmeasured[0]
            count = f"{len(embedded.unmeasured)} of {len(dataset)} clips"
            raise EvaluationDataError(f"{count} cannot be used, {first.clip_id} first ({first.reason})")
        return embedded.rows

    def similarity(self, embeddings1: Any, embeddings2: Any) -> Any:
        from mteb.similarity_functions import cos_sim

        return cos_sim(embeddings1, embeddings2)

    def similarity_pairwise(self, embeddings1: Any, embeddings2: Any) -> Any:
        from mteb.similarity_functions import pairwise_cos_sim

        return pairwise_cos_sim(embeddings1, embeddings2)


def run_mteb(arguments: argparse.Namespace) -> None:
    """Results into the output folder, as the benchmark lays them out, and each task's main score to the terminal. A
    task that is done already is not measured again. Raises ValueError."""
    try:
        import mteb
    except ModuleNotFoundError as error:
        raise ValueError(f"`mulan evaluate mteb` needs the package mteb, which is not installed ({error})") from error
    check_output(arguments.output)
    tasks = [_task(name) for name in arguments.tasks]
    model, label, digest, _ = load_model(arguments.model, 0, arguments.device)
    arguments.output.mkdir(parents=True, exist_ok=True)
    kept = KeptEmbeddings(arguments.output / KEPT_NAME, digest) if digest is not None else None
    found = mteb.evaluate(
        MtebModel(model, label, digest, workers=arguments.workers, kept=kept),
        tasks,
        cache=mteb.ResultCache(arguments.output),
        show_progress_bar=sys.stderr.isatty(),
        co2_tracker=False,
    )
    for result, task in zip(found.task_results, tasks, strict=True):
        sys.stdout.write(f"{result.task_name}  {task.metadata.main_score} {result.get_score():.4f}\n")


def _task(name: str) -> Any:
    """One of the benchmark's, or `package.module:Task` of one's own."""
    import mteb

    if is_factory(name):
        return find_here(name, "task")()
    try:
        return mteb.get_task(name)
    except KeyError as error:
        raise ValueError(f"{name}: neither a task of mteb (`mteb available-tasks`) nor package.module:Task") from error
