"""What tests of every folder share."""

import signal
from pathlib import Path

import pytest

from tests.shared_files import SharedFolder

# A shell that starts the tests in the background has them ignore Ctrl-C, nohup a hang-up, and every command that they
# start would: what is ignored stays ignored.
for number, handler in ((signal.SIGINT, signal.default_int_handler), (signal.SIGHUP, signal.SIG_DFL)):
    if signal.getsignal(number) == signal.SIG_IGN:
        signal.signal(number, handler)


# What takes longest is begun first, so that no process is left alone with it at the end.
LONGEST = (
    *("test_kill.py", "test_remove.py", "test_two_launchers.py", "test_ends.py", "test_zoo.py", "test_mine.py"),
    *("test_ranks.py", "test_loop.py", "test_step.py", "test_beginnings.py", "test_embed_command.py"),
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    rank = {name: number for number, name in enumerate(LONGEST)}
    items.sort(key=lambda item: rank.get(item.path.name, len(LONGEST)))


@pytest.fixture(scope="session")
def shared_folder() -> SharedFolder:
    """The folder `shared` beside the checkout."""
    return SharedFolder(Path(__file__).resolve().parents[2] / "shared")
