"""One collection, and one server of it a module."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.trainer.search.page_server import PageServer, write_collection


@pytest.fixture(scope="session")
def collection(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_collection(tmp_path_factory.mktemp("collection"))


@pytest.fixture(scope="module")
def server(collection: Path) -> Iterator[PageServer]:
    with PageServer(collection) as one:
        yield one
