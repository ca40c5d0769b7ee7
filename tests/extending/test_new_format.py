"""The worked example of `docs/extending.md`, "A shard format": its text, in a copy of the package, on a real job."""

from pathlib import Path
from textwrap import indent

import pytest

from tests.extending.document import blocks, copy_packages, python, touched
from tests.pipeline.mining import manifest, row, write_catalogue

pytestmark = pytest.mark.slow

READ = """
import sys
from schemas.run import Run
from schemas.sources import TextSource
from trainer.data import Corpus, DataConfig
from trainer.split import Split

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


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """A copy of the packages with the example in it: one new file, and one record more in another."""
    folder = copy_packages(tmp_path / "package")
    file, record = blocks("A shard format", "python")
    (folder / "schemas" / "formats" / "arrow.py").write_text(file, encoding="utf-8")
    table = folder / "schemas" / "shard_format.py"
    head, start, entries = table.read_text(encoding="utf-8").partition("\nFORMATS = ")
    last = entries.index("\n    )\n}\n")  # where the table ends
    entry = indent(f"\n{record.rstrip()},", 8 * " ")
    table.write_text(f"{head}{start}{entries[:last]}{entry}{entries[last:]}", encoding="utf-8")
    return folder


def test_a_format_is_one_file_and_its_record(package: Path, tmp_path: Path) -> None:
    assert touched(package) == {"schemas/formats/arrow.py": 49, "schemas/shard_format.py": 6}
    catalogue = write_catalogue(tmp_path, [row(i) for i in range(6)])
    mine = ("-m", "openmulan", "mine", "--catalog", str(catalogue), "--output", str(tmp_path / "run"))
    options = ("--format=arrow", "--rows_per_shard=4", "--tokenizer=none", "--quiet")
    python(package, *mine, *options)
    assert manifest(tmp_path / "run")["shard_format"] == "arrow"
    shards = {path: path.stat().st_mtime_ns for path in tmp_path.glob("run/shards/*")}
    assert {path.suffix for path in shards} == {".arrow"}
    python(package, *mine, *options)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.glob("run/shards/*")} == shards, "adopted"
    python(package, "-m", "openmulan", "report", str(tmp_path / "run"), "--verify")
    python(package, "-c", READ, str(tmp_path / "run"))
