"""The reader of a run: exactly the shards of the manifest, and one line for whatever cannot be read."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.dataset
import pyarrow.parquet as pq
import pytest

from schemas.run import Run, RunError
from tests.schemas.conftest import FlakyStore
from tests.trainer.fixture_runs import shard_row, write_run

pytestmark = pytest.mark.slow


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """Eight recordings in two shards, beside a shard of an older generation."""
    folder = write_run(tmp_path / "a run [1]", [shard_row(f"r{i}", sf=["slow"]) for i in range(8)])
    (folder / "shards" / "g0000-00000.parquet").write_bytes((folder / "shards" / "g0001-00000.parquet").read_bytes())
    return folder


def change(path: Path, **changes: Any) -> None:
    value = json.loads(path.read_text())
    path.write_text(json.dumps({**value, **changes}))


def test_files_have_each_recording_once(run: Path) -> None:
    assert len(list((run / "shards").glob("*.parquet"))) == 3
    files = Run.open(run).files()
    assert files == [str(run / "shards" / f"g0001-0000{i}.parquet") for i in range(2)]
    ids = pyarrow.dataset.dataset(files).to_table(columns=["recording_id"])["recording_id"].to_pylist()
    assert sorted(ids) == [f"r{i}" for i in range(8)]
    assert Run.open(run.as_uri()).files() == files


def test_older_manifests_are_known_across_gaps(run: Path) -> None:
    content = json.loads((run / "manifest-0001.json").read_text())
    for number in (3, 12):
        (run / f"manifest-{number:04d}.json").write_text(json.dumps({**content, "number": number}))
    (run / "manifest-0002.json.tmp").write_text("")
    assert Run.open(run).numbers() == [12, 3, 1]


Damage = Callable[[Path], None]


@pytest.mark.parametrize(
    ("damage", "named", "said"),
    [
        (lambda run: (run / "manifest.json").write_text('{"manif'), "manifest.json", "cannot be read"),
        (lambda run: (run / "manifest.json").write_text("{}"), "manifest.json", "does not name a manifest"),
        (lambda run: (run / "manifest.json").write_text('{"manifest": 3}'), "manifest.json", "does not name"),
        (lambda run: (run / "manifest.json").write_text('{"manifest": "../x"}'), "manifest.json", "does not name"),
        (lambda run: (run / "manifest-0001.json").unlink(), "manifest-0001.json", "manifest.json names it"),
        (
            lambda run: (run / "manifest-0001.json").write_text((run / "manifest-0001.json").read_text()[:100]),
            "manifest-0001.json",
            "cannot be read",
        ),
        (lambda run: (run / "manifest-0001.json").write_text("[]"), "manifest-0001.json", "not a JSON object"),
        (lambda run: change(run / "manifest-0001.json", format_version=9), "manifest-0001.json", "format_version 9"),
        (
            lambda run: change(run / "manifest-0001.json", withdrawn=["r1"]),
            "manifest-0001.json",
            "has withdrawn, which openmulan",
        ),
        (
            lambda run: change(run / "manifest-0001.json", shards=[{"path": "x"}]),
            "manifest-0001.json",
            "a shard of the manifest lacks bytes, generation",
        ),
        (lambda run: change(run / "manifest-0001.json", shards=None), "manifest-0001.json", "shards are not a list"),
        (lambda run: change(run / "manifest-0001.json", detector=[]), "manifest-0001.json", "detector is not"),
    ],
)
def test_a_manifest_that_cannot_be_used_is_one_line(run: Path, damage: Damage, named: str, said: str) -> None:
    damage(run)
    with pytest.raises(RunError, match=said) as caught:
        Run.open(run)
    assert f"{run / named}: " in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_field_of_a_later_version_in_an_entry_is_one_line(run: Path) -> None:
    path = run / "manifest-0001.json"
    shards = json.loads(path.read_text())["shards"]
    change(path, shards=[{**shard, "codec": "x"} for shard in shards])
    with pytest.raises(RunError, match=r"a shard of the manifest has codec, which openmulan .* does not know"):
        Run.open(run)


def test_a_file_that_is_no_shard_is_named(run: Path) -> None:
    pq.write_table(pa.table({"other": [1]}), run / "shards" / "g0001-00001.parquet")
    with pytest.raises(RunError, match=r"g0001-00001\.parquet: not a readable shard \(it lacks max_lf_score"):
        list(Run.open(run).row_groups())


def test_a_uri_that_pyarrow_does_not_know_is_one_line() -> None:
    with pytest.raises(RunError, match=r"^nowhere://x: cannot be opened"):
        Run.open("nowhere://x")


def test_a_store_that_answers_badly_is_asked_again_and_never_means_absent(
    run: Path, store: FlakyStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.upload(run, "music/run")
    uri = store.uri("music/run")
    store.fail(2)
    found = Run.open(uri)
    assert [group.rows for group in found.row_groups()] == [4, 4]
    assert found.files() == [f"s3://music/run/shards/g0001-0000{i}.parquet" for i in range(2)]
    paths = [name.removeprefix("s3://") for name in found.files()]
    assert pyarrow.dataset.dataset(paths, filesystem=found.filesystem).count_rows() == 8
    monkeypatch.setattr("schemas.run._WAITS_S", ())  # pyarrow itself asks for six seconds
    store.fail(1000)
    with pytest.raises(RunError, match="not a readable shard") as caught:
        found.check(found.manifest.shards[0], content=False)
    assert "\n" not in str(caught.value)
    assert "secret" not in str(caught.value)
