"""What tests of every folder share."""

from pathlib import Path

import pytest

from tests.shared_files import SharedFolder


@pytest.fixture(scope="session")
def shared_folder() -> SharedFolder:
    """The folder `shared` beside the checkout."""
    return SharedFolder(Path(__file__).resolve().parents[2] / "shared")
