"""What an older commit made stays usable: runs are read and mined into, label databases keep what people said.

Each folder beside this file was made at the commit that it is named after (`make_fixtures.py`). Models and classifiers
are tried in `tests/trainer`, in processes that torch has for itself.
"""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from filters.annotation import people, work
from filters.annotation.frozen import is_frozen
from filters.annotation.log import Log
from filters.annotation.work import Judgement
from pipeline.run_folder.layout import LOCK
from pipeline.settings import Versions
from schemas.label import LabelValue
from schemas.run import Run
from tests.compat.make_fixtures import OPTIONS, ROOT, read_databases, read_rows, read_runs, tables, write_media
from tests.pipeline.mining import manifest, mine, report

pytestmark = pytest.mark.slow

COMMITS = sorted(path.parent.name for path in Path(__file__).parent.glob("*/expected.json"))


@pytest.fixture(params=COMMITS)
def old(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of a commit's folder, which the job finds under the paths that its plans name."""
    folder = tmp_path / "old"
    shutil.copytree(Path(__file__).parent / request.param, folder)
    write_media(folder / "corpus")
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def as_then(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if the code that decides bytes put out today what it did then, which the texts of these corpora allow."""
    first = Versions(**dict.fromkeys(Versions.__dataclass_fields__, 1))
    monkeypatch.setattr("pipeline.options.Versions", lambda detector: first)


def expected(folder: Path, name: str) -> Any:
    return json.loads((folder / "expected.json").read_text(encoding="utf-8"))[name]


def assert_has(found: Any, wanted: Any, where: str = "") -> None:
    """Equal in every field that was there then; a field that came later is no loss."""
    if isinstance(wanted, dict):
        assert wanted.keys() <= found.keys(), where
        for name, value in wanted.items():
            assert_has(found[name], value, f"{where}.{name}")
    elif isinstance(wanted, list):
        assert len(found) == len(wanted), where
        for i, value in enumerate(wanted):
            assert_has(found[i], value, f"{where}[{i}]")
    else:
        assert found == wanted, where


def test_runs_are_read(old: Path) -> None:
    assert_has(json.loads(json.dumps(read_runs(old))), expected(old, "runs"))
    for name in ("parquet", "tfrecord"):
        run = Run.open(old / "mined" / name)
        for shard in run.manifest.shards:
            run.check(shard, content=True)
        assert run.groups().num_rows == 8


@pytest.mark.usefixtures("as_then")
@pytest.mark.parametrize("name", ["parquet", "tfrecord"])
def test_a_run_is_mined_into_again(old: Path, name: str) -> None:
    corpus, output = ROOT / "corpus", old / "mined" / name
    options = (*OPTIONS, *tables(), f"--format={name}")
    before = {path: path.read_bytes() for folder in ("shards", "rejects", "commits") for path in files(output, folder)}
    assert mine(corpus / "second.jsonl", ROOT / "mined" / name, *options) == 0
    assert manifest(output)["number"] == 2, "there is nothing to do"
    assert {path: path.read_bytes() for path in before} == before
    rows = (old / "corpus" / "second.jsonl").read_text(encoding="utf-8").splitlines()
    more = {**json.loads(rows[0]), "recording_id": "rec-009", "audio_uri": "audio/009.flac"}
    (old / "corpus" / "grown.jsonl").write_text("\n".join([*rows, json.dumps(more)]) + "\n", encoding="utf-8")
    assert mine(corpus / "grown.jsonl", ROOT / "mined" / name, *options) == 0
    assert manifest(output)["number"] == 3
    assert {path: path.read_bytes() for path in before} == before
    rows_now = {row["recording_id"]: row for row in read_rows(Run.open(output))}
    assert rows_now.keys() == {f"rec-00{i}" for i in (0, 1, 2, 4, 5, 6, 7, 8, 9)}
    assert_has(
        [rows_now[row["recording_id"]] for row in expected(old, "runs")[f"{name}/2"]],
        expected(old, "runs")[f"{name}/2"],
    )


def files(output: Path, folder: str) -> list[Path]:
    return sorted((output / folder).iterdir())


def test_a_run_of_other_versions_is_left_as_it_is(old: Path, capsys: pytest.CaptureFixture[str]) -> None:
    paths = (path for path in (old / "mined" / "parquet").rglob("*") if path.is_file() and path.name != LOCK)
    before = {path: path.read_bytes() for path in paths}
    capsys.readouterr()
    assert mine(ROOT / "corpus" / "second.jsonl", ROOT / "mined" / "parquet", *OPTIONS, *tables()) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "versions.rules 1 → " in line
    assert line.endswith("use the openmulan that it was mined with, or another --output")
    assert {path: path.read_bytes() for path in before} == before


@pytest.mark.usefixtures("as_then")
@pytest.mark.parametrize("name", ["planned", "interrupted"])
def test_a_run_that_was_not_finished_is_gone_on_from(old: Path, name: str) -> None:
    output = old / "mined" / name
    kept = [path for folder in ("commits", "shards", "plans/g0001") for path in output.glob(f"{folder}/*[0-9a-f].*")]
    before = {path: path.read_bytes() for path in kept}
    assert len(before) > 3
    assert mine(ROOT / "corpus" / "first.jsonl", ROOT / "mined" / name, *OPTIONS, *tables()) == 0
    assert report(output)["state"] == "finished"
    assert {path: path.read_bytes() for path in kept} == before, "what was committed stands as it was"
    texts = [
        {name: row[name] for name in ("recording_id", "sf", "lf", "pl", "counts")}
        for row in read_rows(Run.open(output))
    ]
    assert_has([{name: row[name] for name in texts[0]} for row in expected(old, "runs")["parquet/1"]], texts)


def test_labels_are_intact(old: Path) -> None:
    found, wanted = json.loads(json.dumps(read_databases(old))), expected(old, "labels")
    assert_has(found, wanted)
    frozen = [item["text"] for item in wanted["labels.db"]["items"][3:]]
    assert len(frozen) == 5
    assert all(map(is_frozen, frozen)), "a sentence of the test set stays out of every sample"


def test_labelling_goes_on(old: Path) -> None:
    with Log(old / "labels" / "labels.db") as log:
        ben = people.find_person(log, "ben")
        (again,) = work.next_tasks(log, ben.id, 1)
        assert work.put_label(log, ben.id, again.item_id, Judgement(value=LabelValue.YES), key="new") == "saved"
        assert log.verify().problems == []
        assert work.undo(log, ben.id, key="undo-new") is not None
