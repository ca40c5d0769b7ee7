"""Tasks of the `mteb` package on clips that are made here, where its own fetch them from the hub, and an oracle.

A clip is a tone; the tone's number is its class.
"""

import io

import soundfile
from datasets import Audio, Dataset, DatasetDict
from mteb import TaskMetadata
from mteb.abstasks import AbsTaskClassification, AbsTaskRetrieval
from mteb.abstasks.retrieval_dataset_loaders import RetrievalSplitData
from mteb.abstasks.zeroshot_classification import AbsTaskZeroShotClassification

from tests.trainer.evaluation.tone_sets import RATE_HZ, Oracle, Tones, tone

GENRES = ("calm", "wild", "slow", "loud")
CLIPS_OF_EACH = 6


def metadata(name: str, kind: str, score: str, category: str) -> TaskMetadata:
    return TaskMetadata(
        name=name,
        type=kind,
        main_score=score,
        category=category,
        description="Tones.",
        reference=None,
        dataset={"path": "none", "revision": "none"},
        eval_splits=["test"],
        eval_langs=["eng-Latn"],
        date=("2026-01-01", "2026-01-02"),
        domains=["Music"],
        task_subtypes=[],
        license="cc0-1.0",
        annotations_creators="derived",
        dialect=[],
        modalities=["audio", "text"],
        sample_creation="created",
        bibtex_citation="",
    )


def sentence(genre: str) -> str:
    return f"This is {genre} music."


def oracle() -> Oracle:
    """It knows a genre by each of its clips, which are of different lengths."""
    tones = Tones()
    tones.texts_of = {number: [sentence(genre)] for number, genre in enumerate(GENRES)}
    return tones.oracle()


def file_of(number: int, duration_s: float) -> bytes:
    held = io.BytesIO()
    soundfile.write(held, tone(number, duration_s), RATE_HZ, format="FLAC")
    return held.getvalue()


def clips(broken: bool = False) -> Dataset:
    numbers = [number for _ in range(CLIPS_OF_EACH) for number in range(len(GENRES))]
    media = [file_of(number, 0.5 + place / 40) for place, number in enumerate(numbers)]
    if broken:
        media[3] = b"no sound"
    rows = {"audio": [{"bytes": content, "path": None} for content in media], "label": numbers}
    return Dataset.from_dict(rows).cast_column("audio", Audio())


class ToneZeroShot(AbsTaskZeroShotClassification):
    metadata = metadata("ToneZeroShot", "AudioZeroshotClassification", "accuracy", "a2t")
    input_column_name = "audio"
    broken = False

    def load_data(self, **_: object) -> None:
        self.dataset = DatasetDict({"test": clips(self.broken)})
        self.data_loaded = True

    def get_candidate_labels(self) -> list[str]:
        return [sentence(genre) for genre in GENRES]


class BrokenZeroShot(ToneZeroShot):
    broken = True


class ToneClassification(AbsTaskClassification):
    metadata = metadata("ToneClassification", "AudioClassification", "accuracy", "a2c")
    input_column_name = "audio"
    n_experiments = 2
    samples_per_label = 3

    def load_data(self, **_: object) -> None:
        self.dataset = DatasetDict({"train": clips(), "test": clips()})
        self.data_loaded = True


class ToneRetrieval(AbsTaskRetrieval):
    """A sentence's clip, of one clip a sentence."""

    metadata = metadata("ToneRetrieval", "Any2AnyRetrieval", "ndcg_at_10", "t2a")

    def load_data(self, **_: object) -> None:
        ids = [f"d{number}" for number in range(len(GENRES))]
        corpus = clips().select(range(len(GENRES))).remove_columns("label").add_column("id", ids)
        queries = Dataset.from_dict({"id": [f"q{n}" for n in ids], "text": [sentence(genre) for genre in GENRES]})
        relevant = {f"q{n}": {n: 1} for n in ids}
        split = RetrievalSplitData(corpus=corpus, queries=queries, relevant_docs=relevant, top_ranked=None)
        self.dataset = {"default": {"test": split}}
        self.data_loaded = True
