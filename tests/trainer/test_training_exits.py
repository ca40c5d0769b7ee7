"""How trainings end that cannot begin or go on: an output that cannot be used, a device that is full."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from trainer.commands import exit_code
from trainer.evaluation.cli import main as evaluate
from trainer.loop import Ending
from trainer.pretrain import main as pretrain
from trainer.train import main as train


@pytest.mark.parametrize(
    ("command", "arguments"),
    [
        (train, ["--recipe", "tiny", "--data", "nowhere"]),
        (pretrain, ["--recipe", "tiny", "--data", "nowhere"]),
        (evaluate, ["random", "--mined", "nowhere"]),
    ],
)
def test_an_output_that_is_a_file(
    command: Callable[[list[str]], int], arguments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "file"
    output.write_text("x", encoding="utf-8")
    assert command([*arguments, "--output", str(output)]) == 2
    said = capsys.readouterr().err.strip().splitlines()
    assert said[-1].endswith(f"{output}: {output} is a file, not a folder; give another --output")


def test_a_full_device_is_said_in_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    """As torch says it, without its advice on its own settings; `test_cuda.py` fills a real one."""
    said = (
        "CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 79.18 GiB of which 1.00 GiB is "
        "free. Including non-PyTorch memory, this process has 78.00 GiB memory in use. See PYTORCH_ALLOC_CONF\n"
    )

    def run() -> Ending:
        raise torch.OutOfMemoryError(said)

    assert exit_code("mulan train", run) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("mulan train: CUDA out of memory. Tried to allocate 2.00 GiB. Less is taken with a smaller")
    assert "PYTORCH" not in line
