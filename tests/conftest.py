"""What tests of every folder share."""

import signal
import sys
from collections.abc import Iterator
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


# What every model of transformers is made of, and what brings most of torch.
MODELS = "transformers.modeling_utils"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--without-models", action="store_true", help=f"a test that loads {MODELS} into its process fails")


def pytest_collection_finish(session: pytest.Session) -> None:
    if session.config.getoption("--without-models") and MODELS in sys.modules:
        raise pytest.UsageError(f"a module of these tests loads {MODELS}: name it in TORCH_TESTS of the Makefile")


@pytest.fixture(autouse=True)
def loads_no_models(request: pytest.FixtureRequest) -> Iterator[None]:
    """Where it was asked for; tests that do are TORCH_TESTS in the Makefile."""
    had = MODELS in sys.modules
    yield
    if request.config.getoption("--without-models") and not had and MODELS in sys.modules:
        pytest.fail(f"loads {MODELS}: name its file in TORCH_TESTS of the Makefile")


@pytest.fixture(scope="session")
def shared_folder() -> SharedFolder:
    """The folder `shared` beside the checkout."""
    return SharedFolder(Path(__file__).resolve().parents[2] / "shared")
