"""With the trainer: the ablation trains and measures its rows, and the loop takes an evaluator."""

import json
from pathlib import Path

import numpy as np
import pytest

from schemas.run import Run
from schemas.sources import TextSource
from tests.trainer.evaluation.tone_sets import IN_SMALL_BATCHES, WriteRun, tone
from trainer import train
from trainer.data import Corpus, DataConfig
from trainer.evaluation.cli import main
from trainer.mixture import Mixture
from trainer.split import Split

pytestmark = pytest.mark.slow

transformers = pytest.importorskip("transformers")


@pytest.fixture
def run(tmp_path: Path, write_run: WriteRun) -> Path:
    """36 clips of five seconds, half of them with text of every source, the others with all but AudioSet's labels."""
    rows = []
    for i in range(36):
        name, labelled = ("low", "high")[i % 2], i % 4 < 2
        rows.append(
            {
                "recording_id": f"r{i:02d}",
                "pcm": (tone(i % 2 * 100 + i, 5.0) * 20_000).astype(np.int16),
                "aset": [f"{name} tone"] if labelled else [],
                "sf": [name],
                "lf": [f"A {name} tone."],
                "pl": [f"{name} tones"],
                "text_sources": int(Mixture().sources if labelled else Mixture(aset=0).sources),
            }
        )
    return write_run(tmp_path / "run", rows)


@pytest.fixture
def tokenizer(tmp_path: Path) -> Path:
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "low", "high", "tone", "tones", "."]
    (tmp_path / "vocab.txt").write_text("\n".join(words))
    transformers.models.bert.BertTokenizer(vocab=str(tmp_path / "vocab.txt")).save_pretrained(tmp_path / "tokenizer")
    return tmp_path / "tokenizer"


@pytest.fixture
def playlists(tmp_path: Path) -> Path:
    rows = [
        {
            "playlist_id": name,
            "title": f"{name} tones",
            "description": f"A {name} tone.",
            "recording_ids": [f"r{i:02d}" for i in range(36) if ("low", "high")[i % 2] == name],
        }
        for name in ("low", "high")
    ]
    path = tmp_path / "playlists.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_ablation_trains_and_measures_its_rows(
    tmp_path: Path, run: Path, tokenizer: Path, playlists: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "ablation"
    command = [
        *("ablation", "--recipe", "tiny", "--data", str(run), "--tokenizer", str(tokenizer), "--epochs", "2"),
        *(*IN_SMALL_BATCHES, "--output", str(output), "--mined", str(run), "--rows", "1", "5"),
        *("--split", "all"),
    ]
    assert main(command) == 0
    shown = capsys.readouterr().out
    assert "Text ablation: zero_shot/mined/aset" in shown
    results = json.loads((output / "results.json").read_text())
    names = [model["model"] for model in results["models"]]
    assert names == ["ASET, seed 0", "ASET + SF + LF + PL, unfiltered, seed 0", "random (control)"]
    digests = {model["digest"] for model in results["models"]}
    assert len(digests) == 3
    recipe = json.loads((output / "aset-seed0" / "model" / "config.json").read_text())["recipe"]["data"]
    assert {source for source, weight in recipe["mixture"].items() if weight} == {"aset"}
    assert recipe["filtered"] is True
    recipe = json.loads((output / "aset-sf-lf-pl-unfiltered-seed0" / "model" / "config.json").read_text())["recipe"]
    assert (recipe["data"]["mixture"]["sf"], recipe["data"]["filtered"]) == (2, False)
    corpus = Corpus.open([run], DataConfig(validation_fraction=0.1))
    reached = [corpus.rows_of(sources, Split.TRAIN) for sources in (TextSource.ASET, Mixture().sources)]
    steps = [
        sum(json.loads(line)["kind"] == "train" for line in (output / row / "metrics.jsonl").read_text().splitlines())
        for row in ("aset-seed0", "aset-sf-lf-pl-unfiltered-seed0")
    ]
    assert steps == [round(2 * rows / 16) for rows in reached]
    assert steps[0] < steps[1]  # an epoch is of what the row's sources reach
    assert "2 epochs of the recordings" in shown
    before = (output / "results.json").read_bytes()
    assert main(command) == 0  # trained already: taken up, not trained anew
    assert (output / "results.json").read_bytes() == before

    folder = output / "aset-seed0" / "model"
    sets = (
        "--mined",
        str(run),
        "--split",
        "all",
        "--labels",
        "sf",
        "--playlists",
        str(playlists),
        "--collection",
        str(run),
    )
    capsys.readouterr()
    assert main([str(folder), *sets, "--output", str(tmp_path / "alone")]) == 0
    shown = capsys.readouterr().out
    for title in ("Zero-shot tagging: mined/sf", "Text-to-music retrieval: playlists/description", "Text triplets"):
        assert title in shown
    assert "random (control)" in shown
    model = json.loads((tmp_path / "alone" / "results.json").read_text())["models"][0]
    assert model["trained_on"] == [Run.open(run).manifest.digest()]


def test_training_measures_the_evaluators_of_a_file(
    tmp_path: Path, run: Path, tokenizer: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = {"kind": "mined", "run": str(run), "split": "all"}
    declared = {"task": "zero_shot", "data": data, "bootstrap": {"resamples": 5}}
    (tmp_path / "evaluators.json").write_text(json.dumps({"evaluators": [declared]}))
    output = tmp_path / "out"
    command = ["--recipe", "tiny", "--tokenizer", str(tokenizer), "--data", str(run), "--output", str(output)]
    command += ["--steps", "2", *IN_SMALL_BATCHES, "--evaluators"]
    assert train.main([*command, str(tmp_path / "evaluators.json"), "--evaluate_every", "1"]) == 0
    looks = [json.loads(line) for line in (output / "metrics.jsonl").read_text().splitlines()]
    assert [look["step"] for look in looks if look["kind"] == "zero_shot"] == [0, 1]
    assert "zero_shot/mined/aset/roc_auc" in (output / "model" / "README.md").read_text()
    assert train.main([*command, str(tmp_path / "nothing.json")]) == 2
    assert "nothing.json: not a JSON object" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (["--recipe", "huge"], "recipe 'huge': it is one of"),
        (["--seeds", "1", "1"], "distinct seeds"),
        (["--steps", "0"], "steps"),
        (["--rows", "6"], "numbers from 1 to 5"),
    ],
)
def test_ablation_mistakes_are_one_line(
    change: list[str], message: str, tmp_path: Path, run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["ablation", "--recipe", "tiny", "--data", str(run), "--steps", "1", "--output", str(tmp_path / "o")]
    assert main([*command, "--mined", str(run), *change]) == 2
    assert message in capsys.readouterr().err


def test_a_row_without_its_text_is_named(
    tmp_path: Path, write_run: WriteRun, tokenizer: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pcm = (tone(100, 5.0) * 20_000).astype(np.int16)
    texts = ("low", "high", "low", "high")
    rows = [{"recording_id": f"r{i}", "pcm": pcm, "sf": [text], "text_sources": 1} for i, text in enumerate(texts)]
    run = write_run(tmp_path / "run", rows)
    command = ["ablation", "--recipe", "tiny", "--data", str(run), "--steps", "1", "--output", str(tmp_path / "o")]
    command += ["--tokenizer", str(tokenizer), "--mined", str(run), "--labels", "sf", "--split", "all"]
    assert main([*command, "--min_positives", "1"]) == 2
    said = capsys.readouterr().err
    assert "row 1 (ASET): no training row has text of ASET; add a run that has" in said
    assert "--rows leaves a row out" in said
