"""What names a run: the settings that decide bytes and the versions of the code, and not how, where or by what path."""

import dataclasses
import json
from pathlib import Path

import pytest

from filters.short_form import rules
from pipeline import settings
from pipeline.media.protocol import DecodeConfig
from pipeline.settings import MineConfig, TextConfig, Versions
from tests.pipeline.killing import DRY_RUN_POINTS, mine_and_die_at
from tests.pipeline.mining import manifest, mine, report, row, shard_hashes, write_catalogue

pytestmark = pytest.mark.slow

OPTIONS = ("--rows_per_shard=4", "--max_failure_rate=0.5")


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("corpus")
    write_catalogue(folder, [row(number) for number in range(5)], "smaller.jsonl")
    write_catalogue(folder, [row(number) for number in range(6)])
    (folder / "vocab.txt").write_text("[UNK]\na\nslow\ntune\n", encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def clean(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Shards of a run that no dry run came before."""
    output = tmp_path_factory.mktemp("clean") / "run"
    assert mine(corpus / "catalog.jsonl", output, *OPTIONS) == 0
    return shard_hashes(output)


def plans(output: Path) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in output.glob("plans/*/*.parquet")}


# --- Identity ----------------------------------------------------------------------------------------------------


def test_settings_are_the_same_after_a_round_trip_through_json() -> None:
    for text in (TextConfig(), TextConfig(lf_languages=("de", "en"))):
        config = MineConfig(text=text)
        assert not config.differences(json.loads(json.dumps(config.to_json())))


def test_how_a_machine_tries_and_where_things_are_is_no_part_of_it() -> None:
    assert settings._NOT_IDENTITY - MineConfig().to_json().keys() == {"rules_digest"}
    config = MineConfig(
        detector="/elsewhere/yamnet.tflite",
        detector_hop_s=0.5,
        lf_model="/elsewhere/classifier",
        tokenizer="vocab.txt",
        decode=DecodeConfig(
            deadline_s=1.0, start_timeout_s=1.0, memory_bytes=1 << 31, recycle_after=3, recycle_rss_bytes=1 << 20
        ),
    )
    assert config.digest() == MineConfig().digest()
    assert not config.differences(MineConfig().to_json())
    assert MineConfig(decode=DecodeConfig(end_tolerance_s=0.0)).digest() != MineConfig().digest()


def test_a_run_without_versions_is_of_the_first_ones() -> None:
    before = {name: value for name, value in MineConfig().to_json().items() if not name.startswith("versions.")}
    before["rules_digest"] = "of source text"
    first = Versions(**dict.fromkeys(Versions.__dataclass_fields__, 1))
    assert not MineConfig(versions=first).differences(before)
    later = MineConfig(versions=dataclasses.replace(first, gates=2))
    assert later.differences(before) == {"versions.gates": (1, 2)}


def test_a_setting_of_a_newer_openmulan_is_not_passed_over() -> None:
    assert MineConfig().differences({**MineConfig().to_json(), "loudness": -14}) == {"loudness": (-14, None)}


def test_another_path_to_the_same_is_the_same_run(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    catalogue, output = corpus / "catalog.jsonl", tmp_path / "run"
    assert mine(catalogue, output, *OPTIONS, "--tokenizer", str(corpus / "vocab.txt")) == 0
    before = shard_hashes(output)
    (tmp_path / "words.txt").write_bytes((corpus / "vocab.txt").read_bytes())
    monkeypatch.chdir(tmp_path)
    assert mine(catalogue, "run", *OPTIONS, "--tokenizer", "words.txt", "--fetch_lanes=3", "--pass_bytes=1000") == 0
    assert manifest(output)["number"] == 1
    assert shard_hashes(output) == before


def test_another_version_or_reading_of_the_tables_is_refused_in_one_line(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "run"
    assert mine(corpus / "catalog.jsonl", output, *OPTIONS, "--map=title=title") == 0
    capsys.readouterr()
    for other in ("--tags_separator=;", "--map=title=name"):
        assert mine(corpus / "catalog.jsonl", output, *OPTIONS, other) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert line == (
            f"mulan mine: {output}: these tables were read by no --map and no --tags_separator when they were planned; "
            "use the same, or another --output"
        )
    later = dataclasses.replace(Versions(), rules=rules.VERSION + 1)
    monkeypatch.setattr("pipeline.options.Versions", lambda detector: later)
    capsys.readouterr()
    assert mine(corpus / "catalog.jsonl", output, *OPTIONS) == 2
    (line,) = capsys.readouterr().err.splitlines()
    change = f"versions.rules {rules.VERSION} → {rules.VERSION + 1}"
    assert line == (
        f"mulan mine: {output} was mined with other settings ({change}); use the openmulan that it was mined with, or "
        "another --output"
    )


# --- Dry runs ----------------------------------------------------------------------------------------------------


def test_a_dry_run_fixes_no_settings_and_its_plan_is_not_taken_by_others(
    corpus: Path, tmp_path: Path, clean: dict[str, str]
) -> None:
    output = tmp_path / "run"
    assert mine(corpus / "catalog.jsonl", output, "--rows_per_shard=2", "--max_sf=1", "--dry_run") == 0
    first = plans(output)
    assert mine(corpus / "catalog.jsonl", output, "--rows_per_shard=1", "--dry_run") == 0
    second = plans(output)
    assert second.keys() != first.keys()
    assert mine(corpus / "catalog.jsonl", output, *OPTIONS) == 0
    assert shard_hashes(output) == clean
    assert not plans(output).keys() & second.keys(), "what it planned is swept"
    assert len(report(output)["settings"]) == len(MineConfig().to_json())
    assert mine(corpus / "catalog.jsonl", output, "--rows_per_shard=2") == 2


@pytest.mark.parametrize("change", [("--map=title=artist",), ("--on_removed=keep",)])
def test_a_plan_is_taken_by_the_very_command_alone(
    change: tuple[str, ...], corpus: Path, tmp_path: Path, clean: dict[str, str]
) -> None:
    output = tmp_path / "run"
    assert mine(corpus / "catalog.jsonl", output, *OPTIONS, *change, "--dry_run") == 0
    planned = output / "plans" / "g0001" / "plan.json"
    assert mine(corpus / "catalog.jsonl", output, *OPTIONS) == 0
    assert json.loads(planned.read_text(encoding="utf-8"))["dry_run"] == ""
    assert shard_hashes(output) == clean


def test_a_dry_run_over_a_run_leaves_no_generation_behind(corpus: Path, tmp_path: Path) -> None:
    output = tmp_path / "run"
    assert mine(corpus / "smaller.jsonl", output, *OPTIONS) == 0
    before = shard_hashes(output)
    assert mine(corpus / "catalog.jsonl", output, *OPTIONS, "--dry_run") == 0
    assert report(output)["recordings"]["pending"] == 1
    assert mine(corpus / "smaller.jsonl", output, *OPTIONS) == 0
    assert manifest(output)["number"] == 1
    assert shard_hashes(output) == before
    assert report(output)["generations"] == 1


def test_a_dry_run_removes_nothing_for_good(corpus: Path, tmp_path: Path) -> None:
    output = tmp_path / "run"
    assert mine(corpus / "catalog.jsonl", output, *OPTIONS) == 0
    assert mine(corpus / "smaller.jsonl", output, *OPTIONS, "--on_removed=tombstone", "--dry_run") == 0
    assert not (output / "suppressed.json").exists()
    assert mine(corpus / "catalog.jsonl", output, *OPTIONS) == 0
    assert report(output)["recordings"]["kept"] == 6
    assert mine(corpus / "smaller.jsonl", output, *OPTIONS, "--on_removed=tombstone", "--dry_run") == 0
    assert mine(corpus / "smaller.jsonl", output, *OPTIONS, "--on_removed=tombstone") == 0
    assert (output / "suppressed.json").exists()
    assert report(output)["recordings"]["kept"] == 5


@pytest.mark.slow
@pytest.mark.parametrize(("point", "same"), zip(DRY_RUN_POINTS, (True, False), strict=True))
def test_a_job_that_dies_over_the_plan_of_a_dry_run_is_gone_on_from(
    point: str, same: bool, corpus: Path, tmp_path: Path, clean: dict[str, str]
) -> None:
    output = tmp_path / "run"
    options = OPTIONS if same else ("--rows_per_shard=2",)
    assert mine(corpus / "catalog.jsonl", output, *options, "--dry_run") == 0
    mine_and_die_at(point, corpus / "catalog.jsonl", output, OPTIONS)
    assert mine(corpus / "catalog.jsonl", output, *OPTIONS) == 0
    assert shard_hashes(output) == clean
