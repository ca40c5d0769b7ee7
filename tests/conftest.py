"""What tests of every folder share."""

import signal
from pathlib import Path

import pytest

from tests.shared_files import SharedFolder

# A shell that starts the tests in the background has them ignore Ctrl-C, and every command that they start would: what
# is ignored stays ignored.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def shared_folder() -> SharedFolder:
    """The folder `shared` beside the checkout."""
    return SharedFolder(Path(__file__).resolve().parents[2] / "shared")
