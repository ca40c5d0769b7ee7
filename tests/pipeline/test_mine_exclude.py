"""`mulan mine --exclude`: what an evaluation set has is left out, and counted."""

import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from filters.music.load import BUILTIN, load_detector
from pipeline.build import ClipMaker
from pipeline.run_folder import exclusions
from pipeline.settings import MineConfig
from pipeline.storage import DamagedError
from schemas.exclusion import ExclusionList
from tests.pipeline.mining import manifest, mine, rejects, report, row, write_catalogue

pytestmark = pytest.mark.slow


def exclude(folder: Path, *lines: dict[str, str]) -> str:
    path = folder / "exclude.jsonl"
    path.write_text("".join(json.dumps({"origin": "set test", **line}) + "\n" for line in lines))
    return str(path)


def shard_rows(output: Path) -> dict[str, dict[str, Any]]:
    rows = [row for shard in manifest(output)["shards"] for row in pq.read_table(output / shard["path"]).to_pylist()]
    return {row["recording_id"]: row for row in rows}


def test_ids_audio_and_titles_are_left_out_and_counted(tmp_path: Path) -> None:
    catalogue = write_catalogue(tmp_path, [row(number) for number in range(4)])
    playlists = tmp_path / "playlists.jsonl"
    titles = {"Rainy-Day Jazz!": ["rec-002", "rec-003"], "Sunny day jazz": ["rec-003"]}
    playlists.write_text(
        "".join(
            json.dumps({"playlist_id": title, "title": title, "recording_ids": ids}) + "\n"
            for title, ids in titles.items()
        )
    )
    given = ("--playlists", str(playlists))
    assert mine(catalogue, tmp_path / "all", *given) == 0
    audio = shard_rows(tmp_path / "all")["rec-001"]["audio_sha256"]

    listed = exclude(tmp_path, {"recording_id": "rec-000"}, {"audio_sha256": audio}, {"title": "rainy day  jazz"})
    output = tmp_path / "run"
    assert mine(catalogue, output, *given, "--exclude", listed) == 0
    kept = shard_rows(output)
    assert {name: kept[name]["pl"] for name in kept} == {"rec-002": [], "rec-003": ["Sunny day jazz"]}
    assert {name: kept[name]["counts"]["pl_annotations"] for name in kept} == {"rec-002": 0, "rec-003": 1}
    assert [(line["recording_id"], line["reason"]) for line in rejects(output)] == [
        ("rec-000", "excluded"),
        ("rec-001", "excluded"),
    ]
    accounts = manifest(output)["accounting"]
    assert accounts["recordings"] == {"read": 4, "kept": 2, "dropped": {"excluded": 2}}
    assert accounts["annotations"]["pl"] == {"read": 3, "kept": 1, "dropped": {"excluded": 2}}
    assert "excluded" in json.dumps(report(output))
    assert "an evaluation set has it" in (output / "report.html").read_text(encoding="utf-8")
    assert list(output.glob("tmp/*")) == []


def test_a_worker_that_does_not_find_the_list_makes_nothing(tmp_path: Path) -> None:
    config = MineConfig(detector_digest=load_detector(BUILTIN).digest)
    with exclusions.written(str(tmp_path), ExclusionList(recording_ids=frozenset({"rec-000"}))) as path:
        ClipMaker(config, (), exclude=path).close()
    with pytest.raises(DamagedError, match="no such file"):
        ClipMaker(config, (), exclude=path)


def test_a_run_keeps_the_list_that_it_began_with(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    catalogue = write_catalogue(tmp_path, [row(number) for number in range(2)])
    listed = exclude(tmp_path, {"recording_id": "rec-000"}, {"title": "x"})
    assert mine(catalogue, tmp_path / "run", "--exclude", listed) == 0
    before = sorted((tmp_path / "run" / "shards").iterdir())
    # The same list in another order, with other origins, is the same list.
    listed = exclude(tmp_path, {"title": "X"}, {"recording_id": "rec-000", "origin": "elsewhere"})
    assert mine(catalogue, tmp_path / "run", "--exclude", listed) == 0
    assert sorted((tmp_path / "run" / "shards").iterdir()) == before
    assert mine(catalogue, tmp_path / "run") == 2
    assert "exclude_digest" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("content", "message"),
    [(None, "there is no such file"), ("{}\n", "exclude.jsonl:1: an exclusion names one")],
)
def test_a_bad_list_is_one_line(
    tmp_path: Path, content: str | None, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    catalogue = write_catalogue(tmp_path, [row(0)])
    path = tmp_path / "exclude.jsonl"
    if content is not None:
        path.write_text(content)
    assert mine(catalogue, tmp_path / "run", "--exclude", str(path)) == 2
    error = capsys.readouterr().err
    assert message in error
    assert "Traceback" not in error
