"""A clip that cannot be measured is counted and named, and the rest is measured as if it were not in the set."""

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import soundfile

from tests.trainer.evaluation.test_evaluation_readers import write_annotations, write_jamendo
from tests.trainer.evaluation.tone_sets import RATE_HZ, Tones, WriteRun, tone
from trainer.evaluation.cli import main
from trainer.evaluation.clips import EvaluationDataError, FileClip, FileClips, WindowConfig
from trainer.evaluation.embedding import embed_clips
from trainer.evaluation.leakage import clip_exclusions
from trainer.evaluation.model import RandomModel

pytestmark = pytest.mark.slow

CLIPS = 40


@pytest.fixture
def table(tmp_path: Path, tones: Tones) -> Path:
    """Two classes, in a folder of its own."""
    folder = tmp_path / "set"
    lines = ["path,calm,loud"]
    for i in range(CLIPS):
        tones.write(folder / f"{i}.flac", [("calm", "loud")[i % 2]])
        lines.append(f"{i}.flac,{int(i % 2 == 0)},{int(i % 2)}")
    (folder / "set.csv").write_text("\n".join(lines) + "\n")
    return folder / "set.csv"


def garbage(path: Path) -> None:
    path.write_bytes(b"not audio at all" * 100)


def cut_off(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:60])


def no_bytes(path: Path) -> None:
    path.write_bytes(b"")


def no_samples(path: Path) -> None:
    soundfile.write(path, np.zeros(0, np.float32), RATE_HZ)


def folder_of_that_name(path: Path) -> None:
    path.unlink()
    path.mkdir()


def measured(output: Path) -> list[dict[str, Any]]:
    models = json.loads((output / "results.json").read_text())["models"]
    return [measurement for model in models for measurement in model["measurements"]]


@pytest.mark.parametrize("damage", [garbage, cut_off, no_bytes, no_samples])
def test_one_clip_that_cannot_be_decoded_is_counted_and_named(
    damage: Callable[[Path], None],
    table: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    damage(table.parent / "7.flac")
    assert main(["random", "--table", str(table), "--output", str(tmp_path / "out"), "--bootstrap", "10"]) == 0
    shown = capsys.readouterr().out
    (result,) = measured(tmp_path / "out")
    assert (result["units"]["clips"], result["units"]["failed_clips"]) == (CLIPS - 1, 1)
    (entry,) = result["unmeasured"]
    assert (entry["clip_id"], entry["clips"], entry["missing"]) == ("7.flac", 1, False)
    assert entry["reason"]
    assert str(tmp_path) not in json.dumps(result)
    named = f"not measured: 7.flac ({entry['reason']})"
    assert named in shown
    assert named in (tmp_path / "out" / "tables.md").read_text()
    assert f"1 of {CLIPS} clips cannot be measured: 7.flac" in caplog.text

    lines = table.read_text().splitlines()
    table.write_text("\n".join(line for line in lines if not line.startswith("7.flac")) + "\n")
    assert main(["random", "--table", str(table), "--output", str(tmp_path / "without"), "--bootstrap", "10"]) == 0
    (without,) = measured(tmp_path / "without")
    assert (without["metrics"], without["classes"]) == (result["metrics"], result["classes"])
    again = tmp_path / "out" / "results.json"
    assert main(["random", "--table", str(table), "--no_control", "--compare", str(again)]) == 0


def test_a_clip_of_another_rate_is_measured(table: Path, capsys: pytest.CaptureFixture[str]) -> None:
    soundfile.write(table.parent / "7.flac", tone(7), 44_100)
    assert main(["random", "--table", str(table), "--bootstrap", "0"]) == 0
    assert f"{CLIPS} clips" in capsys.readouterr().out


def test_more_failures_than_are_allowed_are_exit_code_1(
    table: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for i in range(3):
        garbage(table.parent / f"{i}.flac")
    command = ["random", "--table", str(table), "--bootstrap", "0", "--output", str(tmp_path / "out")]
    assert main(command) == 1
    line = capsys.readouterr().err.splitlines()[-1]
    assert "3 clips of zero_shot/table/set are there but unusable, 7.5% where --max_unusable allows 5.0%" in line
    assert measured(tmp_path / "out")[0]["units"]["clips"] == CLIPS - 3
    assert main([*command, "--max_unusable", "0.1"]) == 0
    assert main([*command, "--max_unusable", "2"]) == 2
    for i in range(CLIPS):
        garbage(table.parent / f"{i}.flac")
    assert main(command) == 1
    assert f"none of {CLIPS} clips can be measured; 0.flac (" in capsys.readouterr().err.splitlines()[-1]


def test_missing_clips_are_named_too_and_are_no_failure(table: Path, tmp_path: Path) -> None:
    for i in range(4):
        (table.parent / f"{i}.flac").unlink()
    folder_of_that_name(table.parent / "4.flac")
    command = ["random", "--table", str(table), "--bootstrap", "0", "--output", str(tmp_path / "out")]
    assert main(command) == 2
    assert main([*command, "--skip_missing", "--max_unusable", "0"]) == 0
    (result,) = measured(tmp_path / "out")
    assert result["units"] == {"clips": CLIPS - 5, "missing_clips": 5, "failed_clips": 0, "classes": 2}
    assert [entry["clip_id"] for entry in result["unmeasured"]] == [f"{i}.flac" for i in range(5)]


def test_a_file_that_goes_while_it_is_measured_is_a_failure(tmp_path: Path, tones: Tones) -> None:
    tones.write(tmp_path / "0.flac", [])
    clips = FileClips(clips=tuple(FileClip(clip_id=str(i), path=tmp_path / f"{i}.flac") for i in range(2)))
    embedded = embed_clips(RandomModel(), clips, WindowConfig())
    assert (embedded.kept, embedded.rows.shape[0]) == ([0], 1)
    assert [(entry.clip_id, entry.reason) for entry in embedded.unmeasured] == [("1", "No such file or directory")]


def test_probes_and_the_sets_of_others_go_on_too(tmp_path: Path, tones: Tones) -> None:
    """MagnaTagATune with its splits, and Jamendo with an excerpt: one bad clip in each."""
    rows = [
        (str(i), {("opera", "techno")[i % 2]}, f"{digit}/song-{i}.mp3")
        for i, digit in enumerate(12 * ("0", "c", "d") + 2 * ("0", "0", "c", "c", "d", "d"))
    ]
    write_annotations(tmp_path / "mtat", rows)
    for _, tags, path in rows:
        tones.write((tmp_path / "mtat" / path).with_suffix(".wav"), sorted(tags))
        (tmp_path / "mtat" / path).with_suffix(".wav").rename(tmp_path / "mtat" / path)
    garbage(tmp_path / "mtat" / rows[0][2])  # a clip to train on
    track = "track_{0}\ta\tb\t0/{0}.mp3\t0.5\tgenre---{1}\n"
    tracks = "".join(track.format(i, ("rock", "pop")[i % 2]) for i in range(30))
    for subset in ("top50tags", "genre", "instrument", "moodtheme"):
        write_jamendo(tmp_path / "jamendo", subset, train=tracks, validation=tracks, test=tracks)
    for i in range(30):
        tones.write(tmp_path / "audio" / "0" / f"{i}.wav", [])
        (tmp_path / "audio" / "0" / f"{i}.wav").rename(tmp_path / "audio" / "0" / f"{i}.mp3")
    no_bytes(tmp_path / "audio" / "0" / "3.mp3")
    sets = ["--magnatagatune", str(tmp_path / "mtat"), "--probes", "--jamendo", str(tmp_path / "jamendo")]
    command = ["random", *sets, "--jamendo_audio", str(tmp_path / "audio"), "--bootstrap", "0"]
    assert main([*command, "--output", str(tmp_path / "out")]) == 0
    found = {(m["task"], m["dataset"]): m for m in measured(tmp_path / "out")}
    probe = found["linear_probe", "magnatagatune/top50"]
    assert [entry["clip_id"] for entry in probe["unmeasured"]] == ["0"]
    assert probe["units"]["train_clips"] + 1 == sum(path[0] == "0" for _, _, path in rows)
    assert found["zero_shot", "magnatagatune/top50"]["unmeasured"] == []
    assert [entry["clip_id"] for entry in found["zero_shot", "mtg_jamendo/genre"]["unmeasured"]] == ["track_3"]


@pytest.fixture
def run(tmp_path: Path, write_run: WriteRun) -> Path:
    """Thirty recordings in row groups of three."""
    rows = [
        {
            "recording_id": f"r{i:02d}",
            "pcm": (tone(i, 1) * 20_000).astype(np.int16),
            "aset": [("Jazz", "Rock")[i % 2]],
        }
        for i in range(30)
    ]
    return write_run(tmp_path / "run", rows)


def spoil_column(run: Path, column: str, group: int) -> None:
    """Flip bytes of one column of one row group."""
    (shard,) = (run / "shards").iterdir()
    metadata = pq.ParquetFile(shard).metadata.row_group(group)
    places = {metadata.column(i).path_in_schema: metadata.column(i) for i in range(metadata.num_columns)}
    chunk = places[column]
    start = chunk.dictionary_page_offset or chunk.data_page_offset
    content = bytearray(shard.read_bytes())
    content[start : start + chunk.total_compressed_size] = b"\xff" * chunk.total_compressed_size
    shard.write_bytes(content)


def test_rows_of_a_shard_that_cannot_be_read_are_counted(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spoil_column(run, "audio", 1)
    spoil_column(run, "aset.list.element", 4)
    ids = [f"r{i:02d}" for i in range(10)]
    rows = [{"playlist_id": n, "title": n, "description": f"of {n}", "recording_ids": ids} for n in "ab"]
    (tmp_path / "p.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    command = ["random", "--mined", str(run), "--playlists", str(tmp_path / "p.jsonl"), "--collection", str(run)]
    assert main([*command, "--bootstrap", "0", "--output", str(tmp_path / "out"), "--max_unusable", "0.2"]) == 0
    found = {(m["task"], m["dataset"]): m for m in measured(tmp_path / "out")}
    tagged = found["zero_shot", "mined/aset"]
    (shard,) = (path.name for path in (run / "shards").iterdir())
    assert [(entry["clip_id"], entry["reason"], entry["clips"]) for entry in tagged["unmeasured"]] == [
        (f"row group 4 of shards/{shard}", "3 recordings cannot be read", 3),
        *((f"r{i:02d}", f"row group 1 of shards/{shard} cannot be read", 1) for i in (3, 4, 5)),
    ]
    assert (tagged["units"]["clips"], tagged["units"]["failed_clips"]) == (24, 6)
    searched = found["retrieval", "playlists/title"]
    assert (searched["units"]["recordings"], searched["units"]["failed_recordings"]) == (27, 3)
    assert (searched["units"]["relevant"], searched["units"]["absent_recordings"]) == (14, 6)
    assert str(tmp_path) not in json.dumps(list(found.values()))
    capsys.readouterr()
    assert main([*command, "--bootstrap", "0"]) == 1


def test_a_row_of_another_rate_or_encoding_is_counted(run: Path, tmp_path: Path) -> None:
    (path,) = (run / "shards").iterdir()
    rows = pq.read_table(path).to_pylist()
    other = io.BytesIO()
    soundfile.write(other, tone(1), 8_000, format="FLAC")
    rows[4]["audio"] = other.getvalue()
    rows[5]["audio_encoding"] = "speex"
    pq.write_table(pa.Table.from_pylist(rows, pq.read_schema(path)), path, row_group_size=3)
    command = ["random", "--mined", str(run), "--bootstrap", "0", "--max_unusable", "0.1"]
    assert main([*command, "--output", str(tmp_path / "out")]) == 0
    (result,) = measured(tmp_path / "out")
    assert [entry["clip_id"] for entry in result["unmeasured"]] == ["r04", "r05"]
    assert "8000 Hz" in result["unmeasured"][0]["reason"]


def test_a_clip_that_cannot_be_decoded_is_checked_for_leakage_by_its_ids(
    table: Path, run: Path, caplog: pytest.LogCaptureFixture
) -> None:
    garbage(table.parent / "7.flac")
    clips = FileClips(
        clips=tuple(FileClip(clip_id=n, path=table.parent / f"{n}.flac", recording_ids=(n,)) for n in ("6", "7"))
    )
    exclusions = list(clip_exclusions(clips, "set", [(0.0, 0.25)]))
    assert {e.recording_id for e in exclusions if e.recording_id} == {"6", "7"}
    assert sum(e.audio_sha256 is not None for e in exclusions) == 2
    assert "1 files are checked by their ids alone" in caplog.text
    assert "7.flac" in caplog.text
    assert main(["--table", str(table), "--check_leakage", str(run)]) == 0


def test_an_installation_without_a_decoder_is_no_fault_of_a_clip(
    table: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from pipeline.media.clip import ClipDecoder, DecoderUnavailableError

    def unavailable(*_: object) -> None:
        raise DecoderUnavailableError("no helper")

    monkeypatch.setattr(ClipDecoder, "cut", unavailable)
    with pytest.raises(EvaluationDataError, match="no helper"):
        embed_clips(
            RandomModel(),
            FileClips(clips=(FileClip(clip_id="0", path=table.parent / "0.flac"),)),
            WindowConfig(),
        )
    assert main(["random", "--table", str(table)]) == 2
