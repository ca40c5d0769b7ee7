"""Lyrics as a fifth text source, as `docs/extending.md` adds them: mined, accounted for, reported and drawn."""

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.extending.document import ROOT, apply, blocks, copy_packages, python, touched
from tests.pipeline.mining import manifest, report, row, write_catalogue

pytestmark = pytest.mark.slow

BEFORE = ROOT / "tests" / "compat" / "f40d036" / "mined" / "parquet"
LINES = ["Rain on the roof", "and none in the glass"]

_DRAW = """
import json, sys
from schemas.sources import TextSource
from trainer.data import Corpus, DataConfig
from trainer.split import Split
from trainer.mixture import Mixture
from trainer.streams import Lanes

config = DataConfig(mixture=Mixture.parse("1:0:0:0:1"), validation_fraction=0.0)
corpus = Corpus.open([sys.argv[1], sys.argv[2]], config)
batch = Lanes(corpus, corpus.mixture(), 6, 1, 0).next()
print(json.dumps({
    "rows": corpus.rows_of(TextSource.LYRICS, Split.TRAIN),
    "drawn": [(example.row.recording_id, example.text) for example in batch if example.source == TextSource.LYRICS],
    "paper": [Mixture().text, Mixture.parse("2:2:1:1").text],
    "saved": Mixture.from_json({"sf": 2, "lf": 2, "pl": 1, "aset": 1}).text,
}))
"""


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = copy_packages(tmp_path_factory.mktemp("lyrics"))
    for diff in blocks("A text source: lyrics", "diff"):
        apply(diff, folder)
    python(folder, "-m", "schemas.sources_page")
    return folder


def test_four_files_are_touched_and_one_of_them_is_generated(copy: Path) -> None:
    assert touched(copy) == {
        "docs/text-sources.md": 1,
        "pipeline/text.py": 10,
        "schemas/sources.py": 8,
        "tests/pipeline/test_lyrics.py": 16,
    }
    assert "| LYRICS | 16 |" in (copy / "docs" / "text-sources.md").read_text(encoding="utf-8")
    assert "1 passed" in python(copy, "-m", "pytest", "-p", "no:cacheprovider", "--import-mode=importlib", "tests")


def test_lyrics_are_mined_reported_and_drawn(copy: Path, tmp_path: Path) -> None:
    rows = [row(0, lyrics="\n".join([*LINES, LINES[0]])), row(1, lyrics="Lights"), row(2)]
    catalogue = write_catalogue(tmp_path / "in", rows)
    run = tmp_path / "run"
    options = ("--quiet", "--tokenizer", "none", "--max_lyrics", "2")
    python(copy, "-m", "openmulan", "mine", "--catalog", str(catalogue), "--output", str(run), *options)

    shards = pa.concat_tables(pq.read_table(run / shard["path"]) for shard in manifest(run)["shards"])
    mined = {value["recording_id"]: value for value in shards.to_pylist()}
    assert {name: value["lyrics"] for name, value in mined.items()} == {
        "rec-000": LINES, "rec-001": ["Lights"], "rec-002": []
    }  # fmt: skip
    assert {name: value["text_sources"] & 16 for name, value in mined.items()} == {
        "rec-000": 16, "rec-001": 16, "rec-002": 0
    }  # fmt: skip
    assert mined["rec-000"]["counts"]["lyrics_annotations"] == 2

    told = report(run)
    assert told["annotations"]["lyrics"] == {"read": 4, "kept": 3, "dropped": {"duplicate_text": 1}}
    (of_lyrics,) = [line for line in told["table_2"] if line["label"] == "LYRICS"]
    assert (of_lyrics["annotations"], round(3 * of_lyrics["coverage"]), of_lyrics["paper"]) == (3, 2, {})
    assert told["settings"]["text.max_lyrics"] == 2

    # Beside a run of before, which has no such column.
    drawn = json.loads(python(copy, "-c", _DRAW, str(run), str(BEFORE)))
    assert drawn["rows"] == 2
    assert len(drawn["drawn"]) == 3
    assert {tuple(pair) for pair in drawn["drawn"]} <= {("rec-001", "Lights"), *(("rec-000", line) for line in LINES)}
    assert drawn["paper"] == ["2:2:1:1:0", "2:2:1:1:0"]
    assert drawn["saved"] == "2:2:1:1:0"
