"""The worked example of `docs/extending.md`, "A shard format": its text, in a copy of the package, on a real job."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from textwrap import indent

import pytest

from tests.pipeline.mining import manifest, row, write_catalogue

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
READ = """
import sys
from schemas.run import Run
from schemas.shard import TextSource
from trainer.data import Corpus, DataConfig, Split

run = Run.open(sys.argv[1])
rows = [row for group in run.row_groups() for row in run.read(group).to_pylist()]
assert sorted(row["recording_id"] for row in rows) == [f"rec-{i:03d}" for i in range(6)]
assert all(row["audio"][:4] == b"fLaC" and row["sf"] for row in rows)
corpus = Corpus.open([run.location], DataConfig(validation_fraction=0, verify_shards=True))
drawn = {
    row.recording_id
    for group in corpus.candidates(TextSource.SF, Split.TRAIN)
    for row in corpus.read(int(group), TextSource.SF, Split.TRAIN)
}
assert len(drawn) == 6, drawn
"""


def written() -> tuple[str, str]:
    """The two blocks of the page: the new file, and the record."""
    page = (ROOT / "docs" / "extending.md").read_text(encoding="utf-8")
    section = page.partition("## A shard format\n")[2].partition("\n## ")[0]
    file, record = re.findall(r"```python\n(.*?)```", section, flags=re.DOTALL)
    return file, record


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """A copy of `schemas` with the example in it: one new file, and one record more in another."""
    shutil.copytree(ROOT / "schemas", tmp_path / "package" / "schemas", ignore=shutil.ignore_patterns("__pycache__"))
    schemas = tmp_path / "package" / "schemas"
    file, record = written()
    (schemas / "formats" / "arrow.py").write_text(file, encoding="utf-8")
    table = schemas / "shard_format.py"
    before = table.read_text(encoding="utf-8")
    head, start, entries = before.partition("\nFORMATS = ")
    last = entries.index("\n    )\n}\n")  # where the table ends
    entry = indent(f"\n{record.rstrip()},", 8 * " ")
    table.write_text(f"{head}{start}{entries[:last]}{entry}{entries[last:]}", encoding="utf-8")
    return tmp_path / "package"


def run(package: Path, *command: str) -> None:
    environment = {**os.environ, "PYTHONPATH": f"{package}{os.pathsep}{ROOT}", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, *command], cwd=package, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_a_format_is_one_file_and_its_record(package: Path, tmp_path: Path) -> None:
    catalogue = write_catalogue(tmp_path, [row(i) for i in range(6)])
    mine = ("-m", "openmulan", "mine", "--catalog", str(catalogue), "--output", str(tmp_path / "run"))
    options = ("--format=arrow", "--rows_per_shard=4", "--tokenizer=none", "--quiet")
    run(package, *mine, *options)
    assert manifest(tmp_path / "run")["shard_format"] == "arrow"
    shards = {path: path.stat().st_mtime_ns for path in tmp_path.glob("run/shards/*")}
    assert {path.suffix for path in shards} == {".arrow"}
    run(package, *mine, *options)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.glob("run/shards/*")} == shards, "adopted"
    run(package, "-m", "openmulan", "report", str(tmp_path / "run"), "--verify")
    run(package, "-c", READ, str(tmp_path / "run"))
