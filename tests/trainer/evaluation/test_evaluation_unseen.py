"""A model is measured on what it has not seen of the run that it was trained on, and the result says so."""

import dataclasses
import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from schemas.digest import hash64
from schemas.manifest import Manifest, manifest_name
from tests.trainer.evaluation.tone_sets import IN_SMALL_BATCHES
from tests.trainer.fixture_runs import shard_row, tone_flac, write_run
from trainer import train
from trainer.evaluation.cli import main
from trainer.evaluation.model import RandomModel

pytestmark = pytest.mark.slow

transformers = pytest.importorskip("transformers")
VALIDATION = 0.3
HELD_OUT = ("r00", "r07")
NAMES = [f"r{i:02d}" for i in range(40)]
# A copy in each half; a group's split is that of its first recording.
GROUPS = {"r01": "a", "r21": "a", "r07": "b", "r30": "b"}
FIRST = {"r21": "r01", "r30": "r07"}
PEER = "tests.trainer.evaluation.test_evaluation_unseen:peer"


def peer() -> RandomModel:
    return RandomModel(seed=3)


def rows(names: Sequence[str]) -> list[dict[str, Any]]:
    audio = tone_flac(440, 5.0)
    return [
        shard_row(name, sf=[f"tag {i % 2}"], aset=[("Jazz", "Rock")[i % 2]], audio=audio, duration_s=5.0)
        for i, name in enumerate(names)
    ]


def split_of(name: str) -> str:
    """By the rule of the docs, written anew."""
    first = FIRST.get(name, name)
    if first in HELD_OUT:
        return "held_out"
    return "validation" if hash64(f"split/{first}") / 2**64 < VALIDATION else "train"


EXPECTED = {split: {n for n in NAMES if split_of(n) == split} for split in ("train", "validation", "held_out")}
UNSEEN = EXPECTED["validation"] | EXPECTED["held_out"]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run in `run` and a model of it in `out/model`; copy it before you change anything."""
    folder = tmp_path_factory.mktemp("trained")
    write_run(folder / "run", rows(NAMES), groups=GROUPS)
    (folder / "held_out.txt").write_text("\n".join(HELD_OUT))
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "tag", "jazz", "rock", "0", "1"]
    (folder / "vocab.txt").write_text("\n".join(words))
    transformers.models.bert.BertTokenizer(vocab=str(folder / "vocab.txt")).save_pretrained(folder / "tokenizer")
    command = ["--recipe", "tiny", "--tokenizer", str(folder / "tokenizer"), "--data", str(folder / "run")]
    command += ["--output", str(folder / "out"), "--hold_out", str(folder / "held_out.txt"), "--steps", "1"]
    command += ["--validation_fraction", str(VALIDATION), "--missing_sources", "reweight"]
    assert train.main([*command, *IN_SMALL_BATCHES]) == 0
    return folder


@pytest.fixture
def folder(trained: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(trained, tmp_path / "work"))


def evaluate(folder: Path, *arguments: str, models: Sequence[str] | None = None) -> list[dict[str, Any]]:
    """The measurement of each model."""
    given = [str(folder / "out" / "model")] if models is None else list(models)
    command = [*given, "--mined", str(folder / "run"), "--min_positives", "1", "--bootstrap", "0", *arguments]
    assert main([*command, "--output", str(folder / "results")]) == 0
    results = json.loads((folder / "results" / "results.json").read_text())
    return [model["measurements"][0] for model in results["models"]]


def test_what_was_trained_on_is_left_out_for_every_model(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert all(EXPECTED.values())
    assert FIRST.keys() & UNSEEN  # a copy that goes with its first
    models = [str(folder / "out" / "model"), PEER]
    found = evaluate(folder, models=models)
    which = f"{len(UNSEEN)} of 40 recordings of the run, not trained on by out/model"
    assert [m["units"]["clips"] for m in found] == [len(UNSEEN)] * 3  # the control too
    assert {m["notes"]["split"] for m in found} == {which}
    assert which in capsys.readouterr().out
    jazz = sum(NAMES.index(name) % 2 == 0 for name in UNSEEN)
    assert {c["name"]: c["positives"] for c in found[0]["classes"]} == {"Jazz": jazz, "Rock": len(UNSEEN) - jazz}


@pytest.mark.parametrize("split", ["train", "validation", "held_out"])
def test_another_split_is_taken_where_it_is_asked_for(folder: Path, split: str) -> None:
    found = evaluate(folder, "--split", split)
    assert found[0]["units"]["clips"] == len(EXPECTED[split])
    assert (
        found[0]["notes"]["split"]
        == f"{len(EXPECTED[split])} of 40 recordings of the run, {split} in the training by out/model"
    )


def test_all_are_taken_where_that_is_asked_for(folder: Path) -> None:
    found = evaluate(folder, "--split", "all")
    assert found[0]["units"]["clips"] == 40
    assert found[0]["notes"]["split"] == "every recording of the run, whether a model was trained on them or not"


def test_listed_recordings_that_were_trained_on_do_not_count(folder: Path) -> None:
    listed = [*sorted(UNSEEN), *sorted(EXPECTED["train"])[:5]]
    (folder / "ids.txt").write_text("\n".join(listed))
    found = evaluate(folder, "--recordings", str(folder / "ids.txt"))
    assert found[0]["units"]["clips"] == len(UNSEEN)
    assert found[0]["notes"]["split"].startswith(f"{len(UNSEEN)} of {len(listed)} listed recordings, not trained on by")


def test_a_search_among_recordings_that_were_trained_on_is_said(folder: Path) -> None:
    lists = [{"playlist_id": n, "title": n, "description": f"of {n}", "recording_ids": NAMES[:10]} for n in "ab"]
    (folder / "p.jsonl").write_text("".join(json.dumps(row) + "\n" for row in lists))
    command = [str(folder / "out" / "model"), "--playlists", str(folder / "p.jsonl"), "--bootstrap", "0"]
    assert main([*command, "--collection", str(folder / "run"), "--output", str(folder / "results")]) == 0
    results = json.loads((folder / "results" / "results.json").read_text())
    searched = [m for model in results["models"] for m in model["measurements"] if m["task"] == "retrieval"]
    assert [m["notes"]["collection"] for m in searched] == ["out/model was trained on recordings of it"] * 4


def test_a_model_that_was_moved_knows_it_still(folder: Path, tmp_path: Path) -> None:
    model = shutil.copytree(folder / "out" / "model", tmp_path / "elsewhere" / "copy")
    assert evaluate(folder, models=[str(model)])[0]["units"]["clips"] == len(UNSEEN)


def test_a_checkpoint_knows_it_too(folder: Path) -> None:
    (checkpoint,) = (folder / "out" / "checkpoints").iterdir()
    assert evaluate(folder, models=[str(checkpoint)])[0]["units"]["clips"] == len(UNSEEN)


def forget(model: Path) -> None:
    """As a model was before it knew on what it was trained."""
    config = json.loads((model / "config.json").read_text())
    del config["trained_on"]
    (model / "config.json").write_text(json.dumps(config))


def test_an_older_model_knows_it_by_its_output_folder(folder: Path) -> None:
    forget(folder / "out" / "model")
    assert evaluate(folder)[0]["units"]["clips"] == len(UNSEEN)


def test_where_nothing_is_known_one_line_says_so(
    folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    model = shutil.copytree(folder / "out" / "model", tmp_path / "elsewhere" / "copy")
    forget(model)
    found = evaluate(folder, models=[str(model)])
    assert found[0]["units"]["clips"] == 40
    assert found[0]["notes"]["split"] == "every recording of the run"
    (line,) = [r.getMessage() for r in caplog.records if "not known" in r.getMessage()]
    assert line.startswith(f"it is not known whether copy was trained on {folder / 'run'}")
    assert main([str(model), "--mined", str(folder / "run"), "--split", "held_out"]) == 2


def test_a_model_of_other_data_is_measured_on_all_and_that_is_said(
    folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    other = write_run(tmp_path / "other", rows([f"o{i}" for i in range(6)]))
    command = [str(folder / "out" / "model"), "--mined", str(other), "--min_positives", "1", "--bootstrap", "0"]
    assert main(command) == 0
    assert "out/model was trained on other manifests than" in caplog.text


def grow(run: Path, names: Sequence[str], groups: dict[str, str]) -> None:
    """A second generation: other recordings beside those of the first."""
    first = Manifest.from_json(json.loads((run / manifest_name(1)).read_text()))
    added = write_run(run.with_name("added"), rows(names), shards=1)
    source = Manifest.from_json(json.loads((added / manifest_name(1)).read_text()))
    path = "shards/g0002-00000.parquet"
    (added / source.shards[0].path).rename(run / path)
    shard = dataclasses.replace(source.shards[0], path=path, generation=2)
    everyone = [*NAMES, *names]
    table = {"recording_id": everyone, "group": [{**GROUPS, **groups}.get(name, name) for name in everyone]}
    pq.write_table(pa.table(table), run / "groups-2.parquet")
    manifest = dataclasses.replace(first, number=2, shards=(*first.shards, shard), groups_path="groups-2.parquet")
    (run / manifest_name(2)).write_text(json.dumps(manifest.to_json()))
    (run / "manifest.json").write_text(json.dumps({"manifest": manifest_name(2)}))


def test_of_a_run_that_has_grown_new_recordings_count_but_not_copies_of_seen_ones(folder: Path) -> None:
    # The copy's name comes first, so that it gives its group another split than the training's.
    seen = sorted(EXPECTED["train"] - GROUPS.keys())[0]
    grow(folder / "run", ["new 1", "new 2", "a copy"], {seen: "c", "a copy": "c"})
    found = evaluate(folder)
    assert found[0]["units"]["clips"] == len(UNSEEN) + 2
    assert found[0]["notes"]["split"].startswith(f"{len(UNSEEN) + 2} of 43 recordings")
    assert evaluate(folder, "--split", "train")[0]["units"]["clips"] == len(EXPECTED["train"])


def test_copies_in_another_run_of_the_training_count(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Two recordings of the run are one by the groups of the other."""
    held = min(UNSEEN - GROUPS.keys())
    late = max(EXPECTED["train"] - GROUPS.keys())
    other = write_run(folder / "other", rows([held, late]), groups={held: "c", late: "c"}, shards=1)
    command = ["--recipe", "tiny", "--tokenizer", str(folder / "tokenizer"), "--data", str(folder / "run")]
    command += ["--data", str(other), "--output", str(folder / "two"), "--hold_out", str(folder / "held_out.txt")]
    command += ["--validation_fraction", str(VALIDATION), "--missing_sources", "reweight", "--steps", "1"]
    assert train.main([*command, *IN_SMALL_BATCHES]) == 0
    assert held < late
    expected = UNSEEN | {late}
    model = str(folder / "two" / "model")
    assert evaluate(folder, models=[model])[0]["units"]["clips"] == len(expected)
    assert "not found" not in caplog.text
    shutil.rmtree(other)
    evaluate(folder, models=[model])
    assert "two/model was trained on 1 further manifests, which are not found" in caplog.text


def test_evaluators_of_a_training_leave_out_what_it_trains_on(folder: Path) -> None:
    data = {"kind": "mined", "run": str(folder / "run"), "min_positives": 1}
    declared = {"evaluators": [{"task": "zero_shot", "data": data, "bootstrap": {"resamples": 0}}]}
    (folder / "evaluators.json").write_text(json.dumps(declared))
    command = ["--recipe", "tiny", "--tokenizer", str(folder / "tokenizer"), "--data", str(folder / "run")]
    command += ["--output", str(folder / "looked"), "--hold_out", str(folder / "held_out.txt"), "--steps", "1"]
    command += ["--validation_fraction", str(VALIDATION), "--missing_sources", "reweight"]
    command += ["--evaluators", str(folder / "evaluators.json"), *IN_SMALL_BATCHES]
    assert train.main(command) == 0
    (look,) = [json.loads(line) for line in (folder / "looked" / "metrics.jsonl").read_text().splitlines()][-1:]
    found = evaluate(folder, models=[str(folder / "looked" / "model")])
    assert look["mined/aset/roc_auc"] == found[0]["metrics"]["roc_auc"]["value"]
    assert found[0]["units"]["clips"] == len(UNSEEN)
