"""A model at random is told so, and so is one whose audio or texts stand on one point."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.trainer.search.worlds import KnowingModel, direction, near, write_index
from trainer.search.entries import Entry
from trainer.search.health import Health
from trainer.search.index import Index

NAMES = ("piano", "drums", "choir", "flute", "sad", "fast", "strange tag", "another")


class RandomModel:
    def __init__(self, seed: int) -> None:
        self.seed = seed

    def embed_text(self, texts: list[str]) -> NDArray[np.float32]:
        return np.stack([direction(f"{self.seed} {text}") for text in texts])


class OnePoint:
    def embed_text(self, texts: list[str]) -> NDArray[np.float32]:
        return np.stack([near("a point", hash(text) % 1000, noise=0.05) for text in texts])


@pytest.fixture(scope="module")
def tagged(tmp_path_factory: pytest.TempPathFactory) -> Path:
    recordings = [
        (Entry(recording_id=f"r{number}", tags=(NAMES[number % 8],)), near(NAMES[number % 8], number))
        for number in range(240)
    ]
    return write_index(tmp_path_factory.mktemp("health") / "tagged", recordings)


def test_a_model_that_knows_is_well(tagged: Path) -> None:
    health = Index.open(tagged, model=KnowingModel()).health()
    assert health.is_well
    assert health.better_than_chance is True
    assert len(health.queries) == 8
    assert not any(query.is_chance for query in health.queries)


def test_one_at_random_is_told_so_though_its_recordings_of_one_tag_lie_together(tagged: Path) -> None:
    for seed in range(5):
        health = Index.open(tagged, model=RandomModel(seed)).health()
        assert health.better_than_chance is False, seed
        assert not health.is_well
        assert "NO BETTER THAN CHANCE" in health.lines()[0]
        # Bare AUCs would not have shown it.
        assert max(abs(query.auc - 0.5) for query in health.queries) > 0.2


def test_texts_on_one_point(tagged: Path) -> None:
    health = Index.open(tagged, model=OnePoint()).health()
    assert health.text_collapsed
    assert not health.audio_collapsed
    assert not health.is_well
    assert health.lines()[0].startswith("COLLAPSED: all texts lie on one point (mean cosine 0.9")


def test_audio_on_one_point(tmp_path: Path) -> None:
    recordings = [(Entry(recording_id=f"r{number}"), near("x", number, noise=0.05)) for number in range(50)]
    health = Index.open(write_index(tmp_path / "i", recordings), model=KnowingModel()).health()
    assert health.audio_collapsed
    assert not health.text_collapsed


def test_by_their_names_where_there_are_no_tags(tmp_path: Path) -> None:
    recordings = [(Entry(recording_id=f"r{n}", title=f"song {n}"), near(f"song {n}", n)) for n in range(60)]
    folder = write_index(tmp_path / "i", recordings)
    assert Index.open(folder, model=KnowingModel()).health().better_than_chance is True
    assert Index.open(folder, model=RandomModel(0)).health().better_than_chance is False


def test_where_nothing_is_known_it_cannot_be_told(tmp_path: Path) -> None:
    recordings = [(Entry(recording_id=f"r{n}"), direction(f"{n}")) for n in range(60)]
    health: Health = Index.open(write_index(tmp_path / "i", recordings), model=KnowingModel()).health()
    assert health.better_than_chance is None
    assert "cannot be told: it has too few tags and names" in "\n".join(health.lines())
    one = Index.open(write_index(tmp_path / "one", recordings[:1]), model=KnowingModel()).health()
    assert one.recordings == 1
