"""What the engines mine, and what one process makes of it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.engines.held import Held, held_recording
from tests.engines.jobs import mined, write_corpus
from tests.shared_files import SharedFolder


@pytest.fixture(scope="session")
def detector(shared_folder: SharedFolder) -> tuple[str, str]:
    """The option for YAMNet where its file is at hand, which each worker has to find under its name."""
    yamnet = shared_folder.find("models/yamnet.tflite")
    return "--music_detector", str(yamnet) if yamnet is not None else "builtin"


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_corpus(tmp_path_factory.mktemp("corpus"))


@pytest.fixture(scope="module")
def in_memory(corpus: Path, detector: tuple[str, str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return mined(corpus, tmp_path_factory.mktemp("in-memory") / "run", *detector)


@pytest.fixture(scope="module")
def held(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Held]:
    with held_recording(tmp_path_factory.mktemp("held")) as held:
        yield held


@pytest.fixture(scope="module")
def held_in_memory(held: Held, detector: tuple[str, str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    held.let_go()
    return mined(held.corpus, tmp_path_factory.mktemp("held-in-memory") / "run", *held.options, *detector)
