"""An output that cannot be used is said before anything is trained or measured."""

from collections.abc import Callable
from pathlib import Path

import pytest

from trainer.evaluation.cli import main as evaluate
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
