"""`python beam_runner.py` of a checkout that is not installed, started in another folder, which has its own modules."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.pipeline.mining import row, shard_hashes, write_catalogue

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[1]


def test_worker_processes_find_the_project_from_anywhere(tmp_path: Path) -> None:
    catalogue = write_catalogue(tmp_path, [row(number) for number in range(4)])
    for name in ("filters", "pipeline", "schemas"):
        (tmp_path / f"{name}.py").write_text("raise RuntimeError('the user has this')\n", encoding="utf-8")
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    command = [
        *(sys.executable, str(ROOT / "beam_runner.py"), "--catalog", str(catalogue), "--output", "run"),
        *("--tokenizer", "none", "--rows_per_shard", "2", "--direct_num_workers", "2"),
    ]
    mined = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300, check=False
    )
    assert mined.returncode == 0, mined.stderr
    assert len(shard_hashes(tmp_path / "run")) >= 2
