"""A planted leak is found, each kind by its own check; what the check cannot find is pinned too."""

import importlib
import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

from schemas.eval_playlist import EvalPlaylist, read_eval_playlists
from schemas.exclusion import Exclusion, ExclusionList, read_exclusions, title_key, write_exclusions
from schemas.run import Run
from schemas.shard import AudioEncoding
from tests.trainer.evaluation.tone_sets import RATE_HZ, WriteRun, tone
from trainer.evaluation.cli import main
from trainer.evaluation.clips import EvaluationDataError, FileClip, FileClips
from trainer.evaluation.leakage import (
    clip_exclusions,
    file_hashes,
    find_leaks,
    playlist_exclusions,
    refuse_leaks,
    run_cuts,
)

pytestmark = pytest.mark.slow


def recording(seed: int, duration_s: float = 70.0) -> NDArray[np.int16]:
    """Noise over a tone: no two samples of two recordings agree for long."""
    rng = np.random.default_rng(seed)
    wave = tone(seed, duration_s) * 0.5 + 0.1 * rng.standard_normal(round(duration_s * RATE_HZ))
    return (np.clip(wave, -1, 1) * 32_000).astype(np.int16)


def mined(pcm: NDArray[np.int16], start_s: float = 30.0, duration_s: float = 30.0) -> NDArray[np.int16]:
    return pcm[round(start_s * RATE_HZ) : round((start_s + duration_s) * RATE_HZ)]


@pytest.fixture
def evaluated(tmp_path: Path) -> FileClips:
    """Two evaluation recordings: one in flac, one in wav."""
    clips = []
    for seed, name in ((1, "one.flac"), (2, "two.wav")):
        soundfile.write(tmp_path / name, recording(seed), RATE_HZ, subtype="PCM_16")
        clips.append(FileClip(clip_id=name, path=tmp_path / name, recording_ids=(Path(name).stem,)))
    return FileClips(clips=tuple(clips))


def test_each_plant_is_found_by_its_own_check(tmp_path: Path, evaluated: FileClips, write_run: WriteRun) -> None:
    playlist = EvalPlaylist(
        playlist_id="p",
        title="Rainy-Day  Jazz!",
        description="Slow jazz for a rainy day",
        recording_ids=tuple(f"x{i}" for i in range(10)),
    )
    run = write_run(
        tmp_path / "run",
        [
            {"recording_id": "clean", "pcm": mined(recording(9)), "pl": ["Sunny day jazz"]},
            {"recording_id": "one", "pcm": mined(recording(8))},  # the id alone
            {"recording_id": "renamed", "pcm": mined(recording(1)), "encoding": AudioEncoding.PCM16},  # the audio alone
            {"recording_id": "listed", "pcm": mined(recording(7)), "pl": ["rainy day jazz", "other"]},
            {"recording_id": "x3", "pcm": mined(recording(6))},  # relevant to the playlist
        ],
    )
    exclusions = [
        *clip_exclusions(evaluated, "set test", run_cuts([str(run)])),
        *playlist_exclusions([playlist], "playlists.jsonl"),
    ]
    leaks = find_leaks([str(run)], exclusions)
    assert [(leak.check, leak.recording_id, leak.origin) for leak in leaks] == [
        ("audio_sha256", "renamed", "set test"),
        ("recording_id", "one", "set test"),
        ("recording_id", "x3", "playlists.jsonl"),
        ("title", "listed", "playlists.jsonl"),
    ]
    with pytest.raises(EvaluationDataError, match=r"2 by recording_id, 1 by audio_sha256, 1 by title(?s:.*)renamed"):
        refuse_leaks(leaks)


def test_clean_run_passes(tmp_path: Path, evaluated: FileClips, write_run: WriteRun) -> None:
    run = write_run(tmp_path / "run", [{"recording_id": "clean", "pcm": mined(recording(9))}])
    leaks = find_leaks([str(run)], list(clip_exclusions(evaluated, "set", run_cuts([str(run)]))))
    assert leaks == []
    refuse_leaks(leaks)


def test_run_whose_recordings_are_the_evaluation_clips(
    tmp_path: Path, evaluated: FileClips, write_run: WriteRun
) -> None:
    rows = [{"recording_id": "whole", "pcm": recording(2), "start_s": 0.0}]
    run = write_run(tmp_path / "run", rows)
    leaks = find_leaks([str(run)], list(clip_exclusions(evaluated, "set", run_cuts([str(run)]))))
    assert [(leak.check, leak.recording_id) for leak in leaks] == [("audio_sha256", "whole")]


def test_what_equal_hashes_cannot_find(tmp_path: Path, evaluated: FileClips, write_run: WriteRun) -> None:
    """One sample later, or one bit louder, is another hash: such copies need the ids or the fingerprints."""
    late, loud = mined(recording(1)[1:]), mined(recording(1))
    loud = loud.copy()
    loud[100] += 1
    run = write_run(tmp_path / "run", [{"recording_id": "late", "pcm": late}, {"recording_id": "loud", "pcm": loud}])
    assert find_leaks([str(run)], list(clip_exclusions(evaluated, "set", run_cuts([str(run)])))) == []


def test_short_evaluation_clip_has_no_hash_of_a_later_cut(tmp_path: Path) -> None:
    path = tmp_path / "short.flac"
    soundfile.write(path, recording(3, 29.0), RATE_HZ)
    assert len(file_hashes(path, [(30.0, 30.0)])) == 1
    assert len(file_hashes(path, [(0.0, 10.0), (10.0, 10.0), (20.0, 10.0)])) == 3


def test_command_writes_the_exclusions_and_refuses_the_run(
    tmp_path: Path, evaluated: FileClips, write_run: WriteRun, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "set.csv").write_text("path,calm\none.flac,1\ntwo.wav,0\n")
    leaky = write_run(tmp_path / "leaky", [{"recording_id": "renamed", "pcm": mined(recording(2))}])
    clean = write_run(tmp_path / "clean", [{"recording_id": "fine", "pcm": mined(recording(9))}])
    given = ["--table", str(tmp_path / "set.csv")]
    assert main([*given, "--check_leakage", str(leaky)]) == 2
    assert "1 by audio_sha256" in capsys.readouterr().err
    assert main([*given, "--check_leakage", str(clean)]) == 0
    assert "no leakage found" in capsys.readouterr().out
    written = tmp_path / "exclude.jsonl"
    assert main([*given, "--write_exclude", str(written)]) == 0
    listed = ExclusionList.read(written)
    assert listed.recording_ids == {"one", "one.flac", "two", "two.wav"}
    first = written.read_bytes()
    assert len(listed.audio_sha256) == 4  # 30-60 s and the whole, of each
    assert main([*given, "--write_exclude", str(written)]) == 0
    assert written.read_bytes() == first


def test_planted_leaks_are_refused_by_mining_and_by_the_evaluation(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """From real files through both commands: an id, a re-encoded copy under another id, a playlist's title."""
    pytest.importorskip("apache_beam", reason="needs the packages of `mulan mine`")
    rate_hz, start_s, duration_s = 44_100, 1.0, 4.0
    waves = {name: recording(seed, 6.0 * rate_hz / RATE_HZ) for seed, name in enumerate(("one", "two", "fine"), 1)}
    evaluation, catalogue = tmp_path / "evaluation", tmp_path / "catalogue"
    evaluation.mkdir()
    catalogue.mkdir()
    for name in ("one", "two"):
        soundfile.write(evaluation / f"{name}.wav", waves[name], rate_hz, subtype="PCM_16")
    (evaluation / "set.csv").write_text("path,calm\none.wav,1\ntwo.wav,0\n")
    ids = [f"elsewhere {i}" for i in range(10)]
    described = {"playlist_id": "p", "title": "Rainy-Day Jazz!", "description": "slow", "recording_ids": ids}
    (evaluation / "playlists.jsonl").write_text(json.dumps(described) + "\n")
    files = {"one": "fine", "renamed": "two", "listed": "fine", "clean": "fine"}  # recording_id -> wave
    rows = []
    for number, (recording_id, wave) in enumerate(files.items()):
        # One sample of each tells recordings apart that are the same wave and no leak.
        pcm = waves[wave].copy()
        pcm[0] += 0 if recording_id == "renamed" else 1
        pcm[2 * rate_hz] += 0 if recording_id == "renamed" else 200 * (number + 1)
        soundfile.write(catalogue / f"{recording_id}.flac", pcm, rate_hz, subtype="PCM_16")
        cut = {"start_s": start_s, "duration_s": duration_s, "music_gate": "score_only"}
        rows.append({"recording_id": recording_id, "audio_uri": f"{recording_id}.flac", **cut})
    (catalogue / "catalog.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    titled = {"playlist_id": "mine", "title": "rainy day  jazz", "recording_ids": ["listed"]}
    (catalogue / "playlists.jsonl").write_text(json.dumps(titled) + "\n")

    def mulan(*command: str) -> int:
        return int(importlib.import_module("openmulan").main(list(command)))

    tables = ("--catalog", str(catalogue / "catalog.jsonl"), "--playlists", str(catalogue / "playlists.jsonl"))
    mine = ("mine", *tables, "--tokenizer", "none", "--quiet")
    sets = ("--table", str(evaluation / "set.csv"), "--playlists", str(evaluation / "playlists.jsonl"))
    assert mulan(*mine, "--output", str(tmp_path / "leaky")) == 0
    assert mulan("evaluate", *sets, "--check_leakage", str(tmp_path / "leaky")) == 2
    error = capsys.readouterr().err
    assert "1 by recording_id, 1 by audio_sha256, 1 by title" in error
    for found in ("recording_id: one (", "audio_sha256: renamed (", "title: listed ("):
        assert found in error

    exclude = ("--write_exclude", str(tmp_path / "exclude.jsonl"), "--exclude_cut", str(start_s), str(duration_s))
    assert mulan("evaluate", *sets, *exclude) == 0
    clean = tmp_path / "clean"
    assert mulan(*mine, "--output", str(clean), "--exclude", str(tmp_path / "exclude.jsonl")) == 0
    assert mulan("evaluate", *sets, "--check_leakage", str(clean)) == 0
    assert "no leakage found" in capsys.readouterr().out
    accounting = Run.open(clean).manifest.accounting
    assert accounting["recordings"] == {"read": 4, "kept": 2, "dropped": {"excluded": 2}}
    assert accounting["annotations"]["pl"] == {"read": 1, "kept": 0, "dropped": {"excluded": 1}}


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("Rainy-Day  Jazz!", "rainy day jazz", True),
        ("ＣＡＦＥ ミュージック", "cafe ミュージック", True),
        ("Straße", "STRASSE", True),
        ("!!!", "!!!", True),
        ("!!!", "???", False),
        ("Jazz", "Jazzy", False),
    ],
)
def test_titles_are_compared_without_case_and_punctuation(one: str, other: str, same: bool) -> None:
    assert (title_key(one) == title_key(other)) is same


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("[]", ":1: not a JSON object"),
        ("{}", ":1: an exclusion names one"),
        ('{"recording_id": "a", "title": "b"}', ":1: an exclusion names one"),
        ('{"recording_id": 7}', ":1: the fields are"),
        ('{"audio_sha256": "beef"}', "64 hexadecimal"),
        ('{"id": "a"}', ":1: the fields are"),
    ],
)
def test_bad_exclusion_lines_are_named(tmp_path: Path, line: str, message: str) -> None:
    path = tmp_path / "e.jsonl"
    path.write_text(line + "\n")
    with pytest.raises(ValueError, match=message):
        list(read_exclusions(path))


def test_exclusions_survive_a_round_trip(tmp_path: Path) -> None:
    path = tmp_path / "e.jsonl"
    given = [
        Exclusion(title="a\u2028b", origin="o"),
        Exclusion(recording_id="r", origin="o"),
        Exclusion(audio_sha256="0" * 64),
    ]
    assert write_exclusions(path, [*given, given[0]]) == 3
    assert set(read_exclusions(path)) == set(given)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"description": " "}, "description is empty"),
        ({"recording_ids": ["a"] * 10}, "twice"),
        ({"recording_ids": ["a"]}, "10 to 100"),
        ({"recording_ids": [str(i) for i in range(101)]}, "10 to 100"),
        ({"recording_ids": "abcdefghijkl"}, "list of strings"),
        ({"title": None}, "strings"),
        ({"mood": "calm"}, "the fields must be"),
    ],
)
def test_evaluation_playlists_are_checked(tmp_path: Path, change: dict[str, object], message: str) -> None:
    good: dict[str, object] = {
        "playlist_id": "p",
        "title": "t",
        "description": "d",
        "recording_ids": [str(i) for i in range(10)],
    }
    path = tmp_path / "p.jsonl"
    path.write_text(json.dumps(good) + "\n" + json.dumps({**good, "playlist_id": "q", **change}) + "\n")
    with pytest.raises(ValueError, match=rf"p\.jsonl:2: .*{message}"):
        read_eval_playlists(path)
    path.write_text((json.dumps(good) + "\n") * 2)
    with pytest.raises(ValueError, match=r":2: playlist_id 'p' stands in the file twice"):
        read_eval_playlists(path)
