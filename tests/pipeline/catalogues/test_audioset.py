"""AudioSet's csv and ontology as a catalogue, and the account of every segment by class and by reason."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from beam_runner import main
from pipeline import options
from pipeline.catalogues.audioset import (
    AudioSetInput,
    LocalCopies,
    Segment,
    read_classes,
    read_segments,
    write_catalogue,
)
from pipeline.media.fetching.config import FetchConfig, YouTubeConfig
from schemas.exits import InputError
from schemas.run import Run
from tests.pipeline.mining import report, write_chord
from tests.pipeline.misbehaving import Misbehaving
from tests.shared_files import SharedFolder

pytestmark = pytest.mark.slow

ONTOLOGY = [
    {"id": "/m/04rlf", "name": "Music", "child_ids": []},
    {"id": "/m/05r5c", "name": "Piano", "child_ids": []},
    {"id": "/m/09x0r", "name": "Speech", "child_ids": []},
]
CSV = """# Segments csv created Sun Mar  5 10:54:25 2017
# YTID, start_seconds, end_seconds, positive_labels
whole_3.5__, 3.500, 13.500, "/m/04rlf,/m/05r5c"
-dashed-id-, 0.000, 10.000, "/m/09x0r"
cut_out_one, 130.000, 140.000, "/m/05r5c,/m/unknown"
too_short__, 5.000, 15.000, "/m/04rlf"
no_copy____, 30.000, 40.000, "/m/04rlf"
no_class___, 30.000, 40.000, "/m/unknown"
whole_3.5__, 9.000, 19.000, "/m/04rlf"
broken, x, 40.000, "/m/04rlf"
broken, 40.000, 30.000, "/m/04rlf"
broken, nan, 30.000, "/m/04rlf"
three, 1.000, "/m/04rlf"
"""


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("audioset")
    (folder / "ontology.json").write_text(json.dumps(ONTOLOGY), encoding="utf-8")
    (folder / "segments.csv").write_text(CSV, encoding="utf-8")
    (folder / "audio" / "deep").mkdir(parents=True)
    for name, seconds in (("whole_3.5__", 14), ("-dashed-id-", 10), ("cut_out_one_130.000_140.000", 10)):
        write_chord(folder / "audio" / f"{name}.flac", seed=seconds, seconds=seconds)
    write_chord(folder / "audio" / "deep" / "too_short__.wav", seed=3, seconds=12)
    (folder / "audio" / "whole_3.5__.txt").write_text("not media", encoding="utf-8")
    return folder


def mine_audioset(corpus: Path, output: Path, *options: str) -> int:
    return main(
        [
            *("--audioset", str(corpus / "segments.csv"), "--audioset_ontology", str(corpus / "ontology.json")),
            *("--output", str(output), "--quiet", "--tokenizer", "none", "--max_failure_rate=1", *options),
        ]
    )


def test_segments_become_clips_with_the_names_of_their_classes(
    corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "run"
    assert mine_audioset(corpus, output, "--audioset_audio", str(corpus / "audio")) == 0
    said = capsys.readouterr().out
    assert "11 segments, 3 kept; 3 of 4 classes have clips" in said
    assert "3  of 4  Music" in said
    run = Run.open(output)
    rows = {row["recording_id"]: row for group in run.row_groups() for row in run.read(group).to_pylist()}
    assert {name: (row["aset"], row["start_s"], row["duration_s"]) for name, row in rows.items()} == {
        "whole_3.5__": (["Music", "Piano"], 3.5, 10.0),
        "-dashed-id-": (["Speech"], 0.0, 10.0),
        "cut_out_one": (["Piano"], 0.0, 10.0),
    }
    assert all(row["text_sources"] == 8 for row in rows.values())
    found = json.loads((output / "audioset" / "report.json").read_text(encoding="utf-8"))
    assert found["segments"] == {
        "read": 11,
        "kept": 3,
        "dropped": {"repeated_id": 1, "too_short": 1},
        "failed_permanent": {"bad_value": 4, "no_local_copy": 1, "unknown_class": 1},
        "pending": 0,
        "not_planned": 0,
    }
    assert found["classes"]["Music"] == {
        "segments": 4,
        "kept": 1,
        "repeated_id": 1,
        "too_short": 1,
        "no_local_copy": 1,
    }
    assert found["classes"]["Speech"] == {"segments": 1, "kept": 1}
    left_out = [json.loads(line) for line in (output / "audioset" / "left-out.jsonl").read_text().splitlines()]
    assert {(value["line"], value["reason"]) for value in left_out} >= {(7, "no_local_copy"), (8, "unknown_class")}
    assert report(output)["recordings"]["kept"] == 3

    before = (output / "audioset" / "catalog.jsonl").stat().st_mtime_ns
    assert mine_audioset(corpus, output, "--audioset_audio", str(corpus / "audio")) == 0
    assert (output / "audioset" / "catalog.jsonl").stat().st_mtime_ns == before


def test_a_copy_that_turns_up_later_is_mined_then(corpus: Path, tmp_path: Path) -> None:
    folder = tmp_path / "audio"
    folder.mkdir()
    (folder / "-dashed-id-.flac").write_bytes((corpus / "audio" / "-dashed-id-.flac").read_bytes())
    assert mine_audioset(corpus, tmp_path / "run", "--audioset_audio", str(folder)) == 0
    write_chord(folder / "no_copy____.flac", seed=5, seconds=41)
    assert mine_audioset(corpus, tmp_path / "run", "--audioset_audio", str(folder)) == 0
    found = json.loads((tmp_path / "run" / "audioset" / "report.json").read_text(encoding="utf-8"))
    assert found["segments"]["kept"] == 2
    assert found["segments"]["failed_permanent"]["no_local_copy"] == 3


def test_without_a_copy_the_id_is_asked_for(corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By yt-dlp itself, with its generic extractor in the place of YouTube's and a server on this machine."""
    write_chord(tmp_path / "long.flac", seed=5, seconds=41)
    with Misbehaving({"/watch/no_copy____": (tmp_path / "long.flac").read_bytes()}) as server:
        youtube = YouTubeConfig(extractors=("generic",), watch_url=server.url("/watch/{id}"), interval_s=0)
        fetch = FetchConfig(youtube=youtube, allow_private_hosts=(server.host_and_port,), attempts=1)
        monkeypatch.setattr(options, "fetch_config", lambda arguments: fetch)
        copies = ("--audioset_audio", str(corpus / "audio" / "deep"))
        assert mine_audioset(corpus, tmp_path / "run", "--audioset_by_id", *copies) == 0
    asked = {"/watch/no_copy____", "/watch/-dashed-id-", "/watch/cut_out_one"}
    assert set(server.requests) == asked
    catalogue = (tmp_path / "run" / "audioset" / "catalog.jsonl").read_text(encoding="utf-8").splitlines()
    rows = {row["recording_id"]: row for row in map(json.loads, catalogue)}
    assert rows["no_copy____"]["audio_uri"] == "https://www.youtube.com/watch?v=no_copy____"
    assert rows["cut_out_one"]["start_s"] == 130.0
    found = json.loads((tmp_path / "run" / "audioset" / "report.json").read_text(encoding="utf-8"))["segments"]
    assert found["kept"] == 1
    assert found["dropped"] == {"repeated_id": 1, "too_short": 1}
    # `whole_3.5__` is no id of YouTube, and nobody is asked for it.
    assert found["failed_permanent"] == {"bad_value": 4, "not_found": 2, "unknown_class": 1, "unsupported_uri": 1}


def test_a_folder_whose_name_is_not_text_is_left_aside(corpus: Path, tmp_path: Path) -> None:
    folder = os.fsencode(tmp_path) + b"/caf\xe9"
    os.mkdir(folder)
    for where in (folder, os.fsencode(tmp_path)):
        with open(where + b"/-dashed-id-.flac", "wb") as stream:
            stream.write((corpus / "audio" / "-dashed-id-.flac").read_bytes())
    copies = LocalCopies([str(tmp_path)])
    assert copies.find(Segment(ytid="-dashed-id-", start_s=0.0, mids=())) == (str(tmp_path / "-dashed-id-.flac"), 0.0)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ((), "--audioset_audio DIR, --audioset_by_id"),
        (("--audioset_audio", "/nowhere"), "has no media files"),
        (("--catalog", "x.jsonl", "--audioset_by_id"), "--catalog or --audioset"),
        (("--audioset_by_id", "--audioset_ontology", "/etc/hostname"), "neither AudioSet's ontology.json"),
    ],
)
def test_bad_arguments_are_one_line(
    corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], options: tuple[str, ...], said: str
) -> None:
    assert mine_audioset(corpus, tmp_path / "run", *options) == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith("mulan mine: ")
    assert said in error


def test_where_nothing_can_be_mined_the_report_says_why(
    corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "audio").mkdir()
    write_chord(tmp_path / "audio" / "another.wav", seed=1, seconds=1)
    assert mine_audioset(corpus, tmp_path / "run", "--audioset_audio", str(tmp_path / "audio")) == 2
    assert "5 no_local_copy" in capsys.readouterr().err
    found = json.loads((tmp_path / "run" / "audioset" / "report.json").read_text(encoding="utf-8"))
    assert found["classes"]["Piano"] == {"segments": 2, "kept": 0, "no_local_copy": 2}


def test_of_two_copies_the_choice_does_not_depend_on_the_listing(tmp_path: Path) -> None:
    for name in ("b/x.mp3", "a/x.mp3", "c/x.flac", "a/x_3.ogg"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    copies = LocalCopies([str(tmp_path)])
    assert copies.find(Segment(ytid="x", start_s=3.0, mids=())) == (str(tmp_path / "c/x.flac"), 3.0)
    assert copies.find(Segment(ytid="y", start_s=3.0, mids=())) is None


def test_the_real_ontology_and_evaluation_segments(shared_folder: SharedFolder, tmp_path: Path) -> None:
    """Every one of the 20,371 segments becomes a row, with names for all its labels, over all 527 classes."""
    folder = shared_folder.need("data/eval")
    labels = folder / "audioset_class_labels_indices.csv"
    ontology, classes = read_classes(str(folder / "audioset_ontology.json")), read_classes(str(labels))
    assert len(classes) == 527
    assert all(ontology[mid] == name for mid, name in classes.items())
    segments = str(folder / "audioset_eval_segments.csv")
    assert sum(isinstance(segment, Segment) for _, segment in read_segments(segments)) == 20_371
    path = write_catalogue(AudioSetInput(segments=(segments,), classes=str(labels), by_id=True), str(tmp_path))
    rows: list[dict[str, Any]] = [json.loads(line) for line in Path(path).read_text(encoding="utf-8").splitlines()]
    assert len(rows) == 20_371
    assert sum(len(row["aset"]) for row in rows) == 51_804
    assert {name for row in rows for name in row["aset"]} == set(classes.values())


def test_what_cannot_be_mined_is_said_at_once() -> None:
    with pytest.raises(InputError, match="where is the audio"):
        AudioSetInput(segments=("x.csv",), classes="x.json")
    with pytest.raises(InputError, match=r"x.csv.gz: AudioSet's segment files are plain"):
        AudioSetInput(segments=("x.csv.gz",), classes="x.json", by_id=True)
