"""`mulan evaluate` from arguments to files, and one line for each mistake."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.trainer.evaluation.tone_sets import Tones, WriteRun
from trainer.evaluation.cli import main
from trainer.evaluation.model import FloatArray, RandomModel

pytestmark = pytest.mark.slow


def peer() -> RandomModel:
    """A peer's model, as `package.module:factory` finds it."""
    return RandomModel(seed=7)


PEER = "tests.trainer.evaluation.test_evaluation_cli:peer"


@pytest.fixture
def table(tmp_path: Path, tones: Tones) -> Path:
    lines = ["path,split,calm,loud"]
    for split in ("train", "validation", "test"):
        for i in range(12):
            tones.write(tmp_path / f"{split}{i}.flac", [("calm", "loud")[i % 2]])
            lines.append(f"{split}{i}.flac,{split},{int(i % 2 == 0)},{int(i % 2)}")
    path = tmp_path / "set.csv"
    path.write_text("\n".join(lines) + "\n")
    return path


def test_tables_of_two_models_and_a_control(tmp_path: Path, table: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = tmp_path / "out"
    assert main([PEER, "--table", str(table), "--probes", "--output", str(output), "--bootstrap", "20"]) == 0
    shown = capsys.readouterr().out
    assert "Zero-shot tagging: table/set" in shown
    assert "Linear probes: table/set" in shown
    results = json.loads((output / "results.json").read_text())
    assert [m["model"] for m in results["models"]] == [PEER, "random (control)"]
    assert [m["task"] for m in results["models"][0]["measurements"]] == ["zero_shot", "linear_probe"]
    assert (output / "tables.md").read_text().count("random (control)") >= 2
    assert (output / "report.html").read_text().startswith("<!doctype html>")
    first = {p.name: p.read_bytes() for p in output.iterdir()}
    assert main([PEER, "--table", str(table), "--probes", "--output", str(output), "--bootstrap", "20"]) == 0
    assert {p.name: p.read_bytes() for p in output.iterdir()} == first


def test_config_and_an_earlier_result_beside(tmp_path: Path, table: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = tmp_path / "evaluation.json"
    declared: dict[str, Any] = {"task": "zero_shot", "data": {"kind": "table", "file": table.name}}
    config.write_text(json.dumps({"evaluators": [{**declared, "bootstrap": {"resamples": 10}}]}))
    assert main(["random", "--config", str(config), "--output", str(tmp_path / "a")]) == 0
    earlier = tmp_path / "a" / "results.json"
    assert main([PEER, "--config", str(config), "--no_control", "--compare", str(earlier)]) == 0
    shown = capsys.readouterr().out
    assert PEER in shown.rpartition("Zero-shot")[2]
    assert "random (control)" in shown.rpartition("Zero-shot")[2]
    config.write_text(json.dumps({"evaluators": [{**declared, "task": "magic"}]}))
    assert main(["random", "--config", str(config)]) == 2
    assert "evaluation.json: evaluator 1: task 'magic'" in capsys.readouterr().err


def test_captions_both_ways(tmp_path: Path, tones: Tones, capsys: pytest.CaptureFixture[str]) -> None:
    for i in range(3):
        tones.write(tmp_path / f"{i}.wav", [f"words {i}"])
    (tmp_path / "mine.csv").write_text("path,caption\n" + "".join(f"{i}.wav,words {i}\n" for i in range(3)))
    assert main(["random", "--captions", str(tmp_path / "mine.csv"), "--output", str(tmp_path / "out")]) == 0
    shown = capsys.readouterr().out
    assert "Retrieval by captions: captions/mine/text_to_music" in shown
    assert "captions/mine/music_to_text" in shown
    assert "mAP@10" in shown
    excluded = tmp_path / "exclude.jsonl"
    assert main(["--captions", str(tmp_path / "mine.csv"), "--write_exclude", str(excluded)]) == 0
    assert {json.loads(line).get("recording_id") for line in excluded.read_text().splitlines()} >= {"0", "1", "2"}


def test_text_encoder_through_the_real_ontology(
    tmp_path: Path, audioset_files: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    given = ["--ontology", str(audioset_files[0]), "--class_labels", str(audioset_files[1])]
    assert main(["random", *given, "--output", str(tmp_path)]) == 0
    shown = capsys.readouterr().out
    assert "705 triplets" in shown
    assert "0.847" in shown
    assert "0.889" in shown
    assert main(["--text_encoder", "./nowhere", *given]) == 2
    assert "no such sentence encoder" in capsys.readouterr().err


def test_mined_run_and_held_out_list(
    tmp_path: Path, tones: Tones, write_run: WriteRun, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [
        {"recording_id": f"r{i}", "pcm": np.full(16_000, i + 1, np.int16), "aset": ["Jazz"] * (i % 2)}
        for i in range(12)
    ]
    run = write_run(tmp_path / "run", rows)
    assert main(["random", "--mined", str(run), "--bootstrap", "10"]) == 0
    assert "12 clips" in capsys.readouterr().out
    (tmp_path / "ids").write_text("nobody\n")
    assert main(["random", "--mined", str(run), "--recordings", str(tmp_path / "ids")]) == 2
    assert "none of the recordings" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "nothing to evaluate"),
        (["random"], "nothing to evaluate"),
        (["--table", "{table}"], "name a model"),
        (["no-such-folder", "--table", "{table}"], "neither a model directory nor"),
        (["no_module:at_all", "--table", "{table}"], "there is no module 'no_module'"),
        (["json:loads", "--table", "{table}"], "cannot be made"),
        (["builtins:dict", "--table", "{table}"], "no embed_audio"),
        (["random", "--table", "nothing.csv"], "nothing.csv: not found"),
        (["random", "--jamendo", "x"], "--jamendo needs --jamendo_audio"),
        (["random", "--gtzan_lists", "x"], "--gtzan_lists needs --gtzan"),
        (["random", "--gtzan", "x"], "train_filtered.txt: not found; it should be the train list"),
        (["random", "--fma_small", "x"], "tracks.csv: not found; it should be FMA's tracks.csv"),
        (["random", "--graded", "x"], "x: not found; it should be a csv of graded captions"),
        (["random", "--ontology", "x"], "--ontology needs --class_labels"),
        (["random", "--musiccaps", "x"], "--musiccaps needs --musiccaps_audio"),
        (["random", "--captions", "x"], "x: not found; it should be a csv of captions"),
        (["random", "--triplets", "5"], "--triplets is of --playlists"),
        (["random", "--audioset_segments", "x", "--audioset_train", "y"], "--audioset_segments needs"),
        (["random", "--magnatagatune", "x"], "annotations_final.csv: not found"),
        (["random", "--mined", "nowhere"], "is it the output of a finished"),
        (["random", "--config", "none.json"], "none.json"),
        (["random", "--no_such_flag"], ""),
    ],
)
def test_mistakes_are_one_line_and_exit_code_2(
    arguments: list[str], message: str, table: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([a.format(table=table) for a in arguments]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert "Traceback" not in error


def test_missing_audio_stops_the_evaluation_unless_it_may_be_skipped(
    table: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (table.parent / "test3.flac").unlink()
    assert main(["random", "--table", str(table)]) == 2
    error = capsys.readouterr().err
    assert "1 of 12 audio files are missing" in error
    assert "test3.flac" in error
    assert main(["random", "--table", str(table), "--skip_missing"]) == 0
    assert "1 missing clips" in capsys.readouterr().out


def test_a_second_command_embeds_nothing_again_and_the_first_says_what_it_has(
    tmp_path: Path, table: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    embedded: list[int] = []
    model = RandomModel(5)

    class Counting:
        embed_text = staticmethod(model.embed_text)
        cut_off = False

        def embed_audio(self, waves: list[FloatArray]) -> FloatArray:
            if self.cut_off and embedded:
                raise KeyboardInterrupt
            embedded.append(len(waves))
            return model.embed_audio(waves)

    counting = Counting()
    made = (counting, "counting", "d" * 64, ())
    monkeypatch.setattr("trainer.evaluation.cli.load_model", lambda *_: made)
    data = {"kind": "table", "file": str(table)}
    config = tmp_path / "evaluation.json"
    config.write_text(
        json.dumps({"evaluators": [{"task": "zero_shot", "data": data, "windows": {"batch_windows": 4}}]})
    )
    given = ["m", "--config", str(config), "--no_control", "--output", str(tmp_path / "out")]
    counting.cut_off = True
    assert main(given) == 3
    first = sum(embedded)
    counting.cut_off = False
    embedded.clear()
    assert main(given) == 0
    again = json.loads((tmp_path / "out" / "results.json").read_text())
    assert not (tmp_path / "out" / "results.unfinished.json").exists()
    clips = again["models"][0]["measurements"][0]["units"]["clips"]
    assert 0 < first < clips == first + sum(embedded)
    embedded.clear()
    other = ["--embeddings", str(tmp_path / "out" / "embeddings.sqlite"), "--bootstrap", "10"]
    assert main(["m", "--table", str(table), "--no_control", *other]) == 0
    assert not embedded
    (tmp_path / "out" / "embeddings.sqlite").write_text("no database" * 100)
    assert main(given) == 2
    assert "remove the file" in capsys.readouterr().err


def test_help_is_no_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    assert "--check_leakage" in capsys.readouterr().out
