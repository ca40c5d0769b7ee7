"""The mining job from front to back on small catalogues of real files: accounting, bytes, generations, bad input."""

import json
import os
import random
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from beam_runner import main
from pipeline.media.encode import decode_clip
from pipeline.run_folder.lock import locked
from schemas.run import Run, RunError
from schemas.shard import SHARD_SCHEMA, AudioEncoding
from schemas.sources import TextSource
from tests.pipeline.mining import (
    DURATION_S,
    RATE_HZ,
    manifest,
    mine,
    rejects,
    report,
    row,
    shard_hashes,
    write_catalogue,
    write_chord,
)

pytestmark = pytest.mark.slow

SHARDS = "--rows_per_shard=4"


def closes(account: dict[str, Any]) -> bool:
    outcomes = ("dropped", "failed_transient", "failed_permanent")
    left_out = sum(sum(account.get(outcome, {}).values()) for outcome in outcomes)
    return bool(account["read"] == account["kept"] + left_out)


def write_lines(path: Path, values: Iterable[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(value) + "\n" for value in values), encoding="utf-8")


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve recordings and everything that can be wrong with a few more."""
    folder = tmp_path_factory.mktemp("corpus")
    rows = [row(number) for number in range(12)]
    write_catalogue(folder, rows)
    write_chord(folder / "audio" / "short.wav", seed=99, seconds=3.0)
    (folder / "audio" / "broken.ogg").write_bytes(b"OggS" + bytes(2000))
    (folder / "audio" / "page.mp3").write_text("<html>not found</html>", encoding="utf-8")
    (folder / "audio" / "empty.flac").write_bytes(b"")
    odd = [
        row(20, audio_uri="audio/short.wav"),
        row(21, audio_uri="audio/broken.ogg"),
        row(22, audio_uri="audio/page.mp3"),
        row(23, audio_uri="audio/empty.flac"),
        row(24, audio_uri="audio/missing.flac"),
        row(25, audio_uri="../../etc/passwd"),
        row(26, audio_uri="/etc/passwd"),
        row(27, audio_uri="ftp://media.example/a.ogg"),
        row(28, audio_uri="audio"),
        {**row(3), "title": "zz a repeated id"},
        {"audio_uri": "audio/001.flac"},
    ]
    lines = [json.dumps(value) for value in [*rows, *odd]] + ["{broken"]
    (folder / "all.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    write_lines(
        folder / "comments.jsonl",
        ({"recording_id": f"rec-{i % 14:03d}", "text": f"Comment {i} likes the drums."} for i in range(60)),
    )
    write_lines(
        folder / "playlists.jsonl",
        (
            {
                "playlist_id": f"p{i}",
                "title": f"Evening {i % 3}",
                "recording_ids": [f"rec-{j:03d}" for j in range(i, 14)],
            }
            for i in range(6)
        ),
    )
    return folder


@pytest.fixture(scope="module")
def mined(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One run over all of it."""
    output = tmp_path_factory.mktemp("mined") / "run"
    tables = ("--comments", str(corpus / "comments.jsonl"), "--playlists", str(corpus / "playlists.jsonl"))
    assert mine(corpus / "all.jsonl", output, SHARDS, "--max_failure_rate=0.5", *tables) == 0
    return output


def test_every_row_is_accounted_for_by_reason(mined: Path) -> None:
    recordings = report(mined)["recordings"]
    assert recordings["read"] == 24
    assert recordings["kept"] == 12
    assert recordings["dropped"] == {"repeated_id": 1, "too_short": 1}
    assert recordings["failed_permanent"] == {
        "corrupt_media": 1,
        "media_empty": 1,
        "missing_field": 1,
        "not_a_file": 1,
        "not_found": 1,
        "not_json": 1,
        "outside_root": 2,
        "unknown_container": 1,
        "unsupported_uri": 1,
    }
    assert closes(recordings)
    assert manifest(mined)["accounting"]["recordings"]["read"] == 24
    assert all(closes(account) for account in report(mined)["annotations"].values())


def test_rejects_name_file_line_and_reason(mined: Path, corpus: Path) -> None:
    found = {(reject.get("line"), reject.get("recording_id"), reject["reason"]) for reject in rejects(mined)}
    assert (24, None, "not_json") in found
    assert (23, None, "missing_field") in found
    assert (None, "rec-025", "outside_root") in found
    assert {reject["file"] for reject in rejects(mined) if "file" in reject} == {str(corpus / "all.jsonl")}
    assert len(rejects(mined)) == 12


def test_shard_rows_hold_what_the_schema_says(mined: Path) -> None:
    run = Run.open(mined)
    tables = [run.read(group) for group in run.row_groups()]
    rows = [value for table in tables for value in table.to_pylist()]
    assert all(table.schema.remove_metadata() == SHARD_SCHEMA for table in tables)
    assert sorted(value["recording_id"] for value in rows) == [f"rec-{i:03d}" for i in range(12)]
    for shard in run.manifest.shards:
        order = [
            (value["text_sources"], value["recording_id"])
            for group in run.row_groups()
            if group.shard == shard
            for value in run.read(group).to_pylist()
        ]
        assert order == sorted(order)
    first = next(value for value in rows if value["recording_id"] == "rec-003")
    pcm_T = decode_clip(first["audio"], AudioEncoding.FLAC)
    assert pcm_T.shape == (DURATION_S * RATE_HZ,)
    assert pcm_T.std() > 500
    assert first["sf"][:2] == ["A dark tune", "The dark band"]
    assert first["sf_unfiltered"][0] == "A dark tune (Official Video) [HD]"
    assert first["pl"] == sorted(first["pl"], key=lambda title: first["pl"].index(title))
    assert len(first["pl"]) == 4
    assert any("likes the drums" in sentence["text"] for sentence in first["lf"])
    assert TextSource(first["text_sources"]) == TextSource.SF | TextSource.LF | TextSource.PL
    assert first["start_s"] == 1.0


def test_texts_of_unknown_recordings_are_counted(mined: Path) -> None:
    orphans = report(mined)["orphans"]
    assert orphans == {"recordings": 2, "lf_annotations": 8, "pl_annotations": 12}


def test_groups_join_recordings_with_the_same_audio(corpus: Path, tmp_path: Path) -> None:
    shutil.copy(corpus / "audio" / "001.flac", corpus / "audio" / "copy.flac")
    catalogue = write_catalogue(corpus, [row(0), row(1), row(30, audio_uri="audio/copy.flac")], "groups.jsonl")
    assert mine(catalogue, tmp_path / "run") == 0
    import pyarrow.parquet as pq

    table = pq.read_table(tmp_path / "run" / manifest(tmp_path / "run")["groups_path"]).to_pydict()
    groups = dict(zip(table["recording_id"], table["group"], strict=True))
    assert groups["rec-001"] == groups["rec-030"] != groups["rec-000"]


@pytest.mark.parametrize(
    "options",
    [
        ("--direct_running_mode=multi_processing", "--direct_num_workers=2"),
        ("--pass_bytes=2000",),
    ],
    ids=["two worker processes", "many partitions"],
)
def test_the_same_bytes_however_it_is_run(mined: Path, corpus: Path, tmp_path: Path, options: tuple[str, ...]) -> None:
    lines = (corpus / "all.jsonl").read_text(encoding="utf-8").splitlines()
    random.Random(1).shuffle(lines)
    (corpus / "shuffled.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    tables = ("--comments", str(corpus / "comments.jsonl"), "--playlists", str(corpus / "playlists.jsonl"))
    output = tmp_path / "run"
    assert mine(corpus / "shuffled.jsonl", output, SHARDS, "--max_failure_rate=0.5", *tables, *options) == 0
    assert shard_hashes(output) == shard_hashes(mined)
    assert manifest(output) == manifest(mined)
    assert report(output)["annotations"] == report(mined)["annotations"]


def test_the_same_command_again_changes_nothing(mined: Path, corpus: Path, tmp_path: Path) -> None:
    output = tmp_path / "run"
    shutil.copytree(mined, output)
    before = {path: path.stat().st_mtime_ns for path in output.rglob("*.parquet")}
    tables = ("--comments", str(corpus / "comments.jsonl"), "--playlists", str(corpus / "playlists.jsonl"))
    assert mine(corpus / "all.jsonl", output, SHARDS, "--max_failure_rate=0.5", *tables) == 0
    after = {path: path.stat().st_mtime_ns for path in output.rglob("*.parquet") if path.name[:6] != "groups"}
    assert after == {path: time for path, time in before.items() if path.name[:6] != "groups"}
    assert not (output / "manifest-0002.json").exists()


def test_failures_above_the_rate_give_exit_code_1(corpus: Path, tmp_path: Path) -> None:
    catalogue = write_catalogue(corpus, [row(0), row(24, audio_uri="audio/nothing.ogg")], "half.jsonl")
    assert mine(catalogue, tmp_path / "run") == 1
    assert manifest(tmp_path / "run")["shards"][0]["rows"] == 1


def test_limit_takes_the_same_recordings_in_any_order(corpus: Path, tmp_path: Path) -> None:
    rows = [row(number) for number in range(12)]
    forward = write_catalogue(corpus, rows, "forward.jsonl")
    backward = write_catalogue(corpus, rows[::-1], "backward.jsonl")
    assert mine(forward, tmp_path / "a", "--limit=5") == 0
    assert mine(backward, tmp_path / "b", "--limit=5") == 0
    assert report(tmp_path / "a")["recordings"]["dropped"] == {"over_limit": 7}
    assert report(tmp_path / "a")["recordings"]["kept"] == 5
    assert shard_hashes(tmp_path / "a") == shard_hashes(tmp_path / "b")


def test_a_dry_run_touches_no_audio_and_is_gone_on_from(
    corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    catalogue = write_catalogue(corpus, [row(number) for number in range(6)], "dry.jsonl")
    assert mine(catalogue, tmp_path / "run", SHARDS, "--dry_run") == 0
    said = capsys.readouterr().out
    assert "recordings to mine   6" in said
    assert "shards               2" in said
    assert not (tmp_path / "run" / "shards").exists()
    plans = {path: path.stat().st_mtime_ns for path in (tmp_path / "run" / "plans").rglob("*.parquet")}
    assert mine(catalogue, tmp_path / "run", SHARDS) == 0
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "run" / "plans").rglob("*.parquet")} == plans
    assert report(tmp_path / "run")["recordings"]["kept"] == 6


@pytest.mark.parametrize("encoding", ["pcm16", "opus"])
def test_other_audio_encodings(corpus: Path, tmp_path: Path, encoding: str) -> None:
    catalogue = write_catalogue(corpus, [row(0)], "encodings.jsonl")
    assert mine(catalogue, tmp_path / "run", f"--audio={encoding}") == 0
    run = Run.open(tmp_path / "run")
    (value,) = run.read(next(run.row_groups())).to_pylist()
    assert len(decode_clip(value["audio"], AudioEncoding(encoding))) == DURATION_S * RATE_HZ


def test_a_short_recording_can_be_padded(corpus: Path, tmp_path: Path) -> None:
    catalogue = write_catalogue(corpus, [row(20, audio_uri="audio/short.wav")], "pad.jsonl")
    assert mine(catalogue, tmp_path / "run", "--short_policy=pad") == 0
    run = Run.open(tmp_path / "run")
    (value,) = run.read(next(run.row_groups())).to_pylist()
    pcm_T = decode_clip(value["audio"], AudioEncoding.FLAC)
    assert pcm_T[: 2 * RATE_HZ].any()
    assert not pcm_T[2 * RATE_HZ + 100 :].any()


class TestGenerations:
    """A catalogue that changes after it was mined."""

    def test_a_grown_catalogue_adds_shards_and_keeps_the_old(self, corpus: Path, tmp_path: Path) -> None:
        output = tmp_path / "run"
        assert mine(write_catalogue(corpus, [row(i) for i in range(5)], "g1.jsonl"), output, SHARDS) == 0
        first = manifest(output)
        assert mine(write_catalogue(corpus, [row(i) for i in range(8)], "g2.jsonl"), output, SHARDS) == 0
        second = manifest(output)
        assert (first["number"], second["number"]) == (1, 2)
        assert [shard for shard in second["shards"] if shard["generation"] == 1] == first["shards"]
        assert sum(shard["rows"] for shard in second["shards"] if shard["generation"] == 2) == 3
        assert report(output)["recordings"]["kept"] == 8
        assert json.loads((output / "manifest-0001.json").read_text()) == first

    def test_the_same_rows_in_another_order_are_no_new_generation(self, corpus: Path, tmp_path: Path) -> None:
        output = tmp_path / "run"
        rows = [row(i) for i in range(5)]
        assert mine(write_catalogue(corpus, rows, "same1.jsonl"), output, SHARDS) == 0
        assert mine(write_catalogue(corpus, rows[::-1], "same2.jsonl"), output, SHARDS) == 0
        assert manifest(output)["number"] == 1
        assert not (output / "plans" / "g0002" / "plan.json").exists()

    def test_removed_recordings_need_a_word(
        self, corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        output = tmp_path / "run"
        assert mine(write_catalogue(corpus, [row(i) for i in range(8)], "r1.jsonl"), output, SHARDS) == 0
        first = manifest(output)
        smaller = write_catalogue(corpus, [row(i) for i in range(8) if i != 3], "r2.jsonl")
        assert mine(smaller, output, SHARDS) == 2
        said = capsys.readouterr().err
        assert "1 recordings of" in said
        assert "--on_removed=tombstone" in said
        assert manifest(output) == first
        old_audio = {value["recording_id"]: value["audio_sha256"] for value in all_rows(output)}
        shutil.rmtree(corpus / "audio.away", ignore_errors=True)
        # What is kept is taken from the old shard: no media is read again.
        (corpus / "audio").rename(corpus / "audio.away")
        try:
            assert mine(smaller, output, SHARDS, "--on_removed=tombstone") == 0
        finally:
            (corpus / "audio.away").rename(corpus / "audio")
        assert {value["recording_id"]: value["audio_sha256"] for value in all_rows(output)} == {
            name: sha256 for name, sha256 in old_audio.items() if name != "rec-003"
        }
        assert all((output / shard["path"]).exists() for shard in first["shards"])
        (name,) = manifest(output)["tombstones"]
        assert json.loads((output / name).read_text())["recording_id"] == "rec-003"

    def test_removed_recordings_can_be_kept(self, corpus: Path, tmp_path: Path) -> None:
        output = tmp_path / "run"
        assert mine(write_catalogue(corpus, [row(i) for i in range(4)], "k1.jsonl"), output, SHARDS) == 0
        later = write_catalogue(corpus, [row(i) for i in range(2, 6)], "k2.jsonl")
        assert mine(later, output, SHARDS, "--on_removed=keep") == 0
        assert sorted(value["recording_id"] for value in all_rows(output)) == [f"rec-{i:03d}" for i in range(6)]

    def test_a_changed_row_replaces_the_old_one(self, corpus: Path, tmp_path: Path) -> None:
        output = tmp_path / "run"
        rows = [row(i) for i in range(4)]
        assert mine(write_catalogue(corpus, rows, "c1.jsonl"), output, SHARDS) == 0
        rows[2]["title"] = "Another name"
        assert mine(write_catalogue(corpus, rows, "c2.jsonl"), output, SHARDS) == 0
        found = all_rows(output)
        assert sorted(value["recording_id"] for value in found) == [f"rec-{i:03d}" for i in range(4)]
        assert next(value["sf"][0] for value in found if value["recording_id"] == "rec-002") == "Another name"


def all_rows(output: Path) -> list[dict[str, Any]]:
    run = Run.open(output)
    return [value for group in run.row_groups() for value in run.read(group).to_pylist()]


def test_a_transient_failure_is_tried_again_and_nothing_else(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pipeline.media.fetch import Fetcher, FetchError
    from schemas.reasons import Reason

    missing = row(24, audio_uri="audio/nothing.ogg")
    catalogue = write_catalogue(corpus, [*(row(i) for i in range(5)), missing], "t.jsonl")
    asked: list[str] = []

    fetch = Fetcher.fetch

    def flaky(self: Fetcher, audio_uri: str, *, base_uri: str) -> bytes:
        asked.append(audio_uri)
        if audio_uri.endswith("002.flac") and len(asked) < 7:
            raise FetchError(Reason.READ_FAILED, "the disk hiccups")
        return fetch(self, audio_uri, base_uri=base_uri)

    monkeypatch.setattr(Fetcher, "fetch", flaky)
    assert mine(catalogue, tmp_path / "run", "--max_failure_rate=0.5") == 0
    assert report(tmp_path / "run")["recordings"]["failed_transient"] == {"read_failed": 1}
    assert len(asked) == 6
    assert mine(catalogue, tmp_path / "run", "--max_failure_rate=0.5") == 0
    assert asked[6:] == ["audio/002.flac"]
    assert report(tmp_path / "run")["recordings"]["kept"] == 5
    assert manifest(tmp_path / "run")["number"] == 2
    assert mine(catalogue, tmp_path / "clean", "--max_failure_rate=0.5") == 0
    assert shard_hashes(tmp_path / "run") == shard_hashes(tmp_path / "clean")


class TestBadInput:
    """One clear line and exit code 2."""

    @pytest.mark.parametrize(
        ("options", "said"),
        [
            (["--no_such_option=1"], "unknown argument --no_such_option=1"),
            (["--runner=NoSuchRunner"], "--runner NoSuchRunner: Unexpected pipeline runner"),
            (["--comments=nowhere/*.jsonl"], "--comments"),
            (["--map=titel=name"], "--map titel=name: must be FIELD=COLUMN"),
            (["--rows_per_shard=0"], "rows_per_shard is 0"),
            (["--music_detector=nowhere.tflite"], "nowhere.tflite"),
            (["--tokenizer=./no_vocab.txt"], "./no_vocab.txt: no such file"),
            (["--max_failure_rate=2"], "max_failure_rate is 2.0"),
            (["--music_threshold=7"], "threshold"),
        ],
    )
    def test_arguments(
        self, corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], options: list[str], said: str
    ) -> None:
        assert mine(corpus / "all.jsonl", tmp_path / "run", *options) == 2
        error = capsys.readouterr().err.strip().splitlines()[-1]
        assert error.startswith("mulan mine: ")
        assert said in error

    def test_a_catalogue_without_a_good_row(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        (tmp_path / "c.jsonl").write_text("{}\n{}\n", encoding="utf-8")
        assert mine(tmp_path / "c.jsonl", tmp_path / "run") == 2
        assert "no row can be used (2 read)" in capsys.readouterr().err

    def test_other_settings_in_the_same_folder(
        self, mined: Path, corpus: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert mine(corpus / "all.jsonl", mined, "--rows_per_shard=9") == 2
        assert "rows_per_shard 4 → 9" in capsys.readouterr().err

    def test_a_second_writer(self, corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        with locked(str(tmp_path / "run")):
            assert mine(corpus / "all.jsonl", tmp_path / "run") == 2
        assert "another job writes to this folder (job " in (said := capsys.readouterr().err)
        assert f"process {os.getpid()} on " in said

    def test_a_folder_that_is_no_run(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        from pipeline.report_command import main as report_main

        assert report_main([str(tmp_path)]) == 2
        assert "not the output folder of `mulan mine`" in capsys.readouterr().err
        with pytest.raises(RunError, match="is it the output of a finished `mulan mine`"):
            Run.open(tmp_path)


def test_help_names_every_option(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["--help"])
    assert stopped.value.code == 0
    assert "--music_detector" in capsys.readouterr().out
