"""The scoring stage: every planned sentence gets its score, the same bytes whatever the batches."""

import importlib.util
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import apache_beam as beam
import numpy as np
import pytest
from apache_beam.testing.util import assert_that

from filters.long_form import cli
from filters.long_form.audit import draw, sentences_of_run
from filters.long_form.data import DataError
from filters.long_form.model_files import ModelError
from filters.long_form.scorer import ScorerEntry, describe_scorer, load_scorer
from pipeline.report import UNFILTERED_NOTE
from pipeline.score import ScoreSentences, SentenceModelHandler, with_scores
from schemas.plan import PlannedRow
from schemas.run import Run
from tests.filters.long_form.tiny_bert import make_checkpoint
from tests.pipeline.mining import manifest, mine, report, row, shard_hashes, write_catalogue

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Two small classifiers of different weights."""
    folder = tmp_path_factory.mktemp("models")
    for name, seed in (("one", 0), ("two", 1)):
        encoder = make_checkpoint(folder / f"bert-{name}", seed=seed)
        arguments = ["fit", "--output", str(folder / name), "--encoder", str(encoder), "--name", name, "--threads=1"]
        limits = ["--no_cross_validation", "--epochs=1", "--seeds=1", "--keep_rate=0.5"]
        assert cli.main([*arguments, *limits]) == 0
    return folder / "one", folder / "two"


def planned(number: int, texts: list[str]) -> PlannedRow:
    sentences = [{"text": text, "score": None, "tokens": 1, "occurrences": 1} for text in texts]
    return "0", {"recording_id": f"r{number}", "lf": sentences, "max_lf_score": None}


def test_with_scores_leaves_the_row_alone() -> None:
    _, row = planned(1, ["a", "b"])
    scored = with_scores(row, [0.25, 0.75])
    assert [sentence["score"] for sentence in scored["lf"]] == [0.25, 0.75]
    assert scored["max_lf_score"] == 0.75
    assert row["lf"][0]["score"] is None
    assert with_scores(planned(1, [])[1], [])["max_lf_score"] is None


def test_stage_gives_the_scores_of_the_bare_scorer(models: tuple[Path, Path]) -> None:
    folder = str(models[0])
    rows = [planned(i, [f"take {i} has a warm bass", "check my channel"][: i % 3]) for i in range(40)]
    scorer = load_scorer(folder)
    expected = {
        row["recording_id"]: scorer.score([sentence["text"] for sentence in row["lf"]]).tolist() for _, row in rows
    }

    def check(found: list[Any]) -> None:
        assert {r["recording_id"]: [s["score"] for s in r["lf"]] for _, r in found} == expected
        assert all(r["max_lf_score"] == max(expected[r["recording_id"]], default=None) for _, r in found)

    with beam.Pipeline(runner="FnApiRunner") as pipeline:
        assert_that(pipeline | beam.Create(rows) | ScoreSentences(folder), check)


class OwnScorer:
    """A classifier of one's own: the longer, the likelier."""

    model, digest, threshold = "length", "1", 0.5

    def score(self, texts: Sequence[str]) -> Any:
        return np.array([min(len(text) / 32, 1.0) for text in texts], np.float32)


def test_a_classifier_of_ones_own() -> None:
    spec = f"{__name__}:OwnScorer"
    assert describe_scorer(spec) == ScorerEntry(model="length", digest="1", threshold=0.5)

    def check(found: list[Any]) -> None:
        assert [s["score"] for _, row in found for s in row["lf"]] == [0.5, 0.25]

    with beam.Pipeline(runner="FnApiRunner") as pipeline:
        rows = pipeline | beam.Create([planned(1, ["a" * 16, "b" * 8])])
        assert_that(rows | ScoreSentences(spec), check)


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ("no_module:f", "there is no module 'no_module' on the Python path"),
        ("builtins:dict", "what it makes has no digest, model, score, threshold"),
        ("json:loads", "cannot be used (TypeError: "),
    ],
)
def test_what_is_no_classifier_is_said_in_one_line(spec: str, words: str) -> None:
    with pytest.raises(ModelError, match="sentence classifier") as caught:
        describe_scorer(spec)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_without_a_model_rows_pass(models: tuple[Path, Path]) -> None:
    del models
    with beam.Pipeline(runner="FnApiRunner") as pipeline:
        rows = pipeline | beam.Create([planned(1, ["a"])])
        assert ScoreSentences("none").expand(rows) is rows


def test_batches_are_capped_by_sentences() -> None:
    kwargs = SentenceModelHandler("x").batch_elements_kwargs()
    assert kwargs["max_batch_size"] >= 512
    size = kwargs["element_size_fn"]
    assert size(planned(1, [])) == 1
    assert size(planned(1, ["a"] * 7)) == 7
    assert size(planned(1, ["a"] * 100_000)) <= kwargs["max_batch_size"]


@pytest.fixture(scope="module")
def scored_run(models: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("scored")
    catalogue = write_catalogue(folder, [row(number) for number in range(6)])
    output = folder / "run"
    assert mine(catalogue, output, "--rows_per_shard=3", f"--lf_model={models[0]}") == 0
    return output


def test_mining_with_a_model(scored_run: Path, models: tuple[Path, Path], tmp_path: Path) -> None:
    entry = manifest(scored_run)["long_form"]
    scorer = load_scorer(str(models[0]))
    assert (entry["digest"], entry["threshold"]) == (scorer.digest, scorer.threshold)
    run = Run.open(scored_run)
    seen = 0
    for group in run.row_groups():
        for found in run.read(group, ["lf", "max_lf_score"]).to_pylist():
            texts = [sentence["text"] for sentence in found["lf"]]
            scores = np.array([sentence["score"] for sentence in found["lf"]], np.float32)
            assert (scores == scorer.score(texts)).all()
            assert found["max_lf_score"] == max(scores)
            seen += len(texts)
    assert seen >= 12
    labels = [line["label"] for line in report(scored_run)["table_2"]]
    assert "LF" in labels
    assert "LF, unfiltered" in labels
    backwards = write_catalogue(scored_run.parent, [row(number) for number in reversed(range(6))], "backwards.jsonl")
    again = tmp_path / "again"
    assert mine(backwards, again, "--rows_per_shard=3", f"--lf_model={models[0]}") == 0
    assert shard_hashes(again) == shard_hashes(scored_run)


def test_sentences_that_nothing_filters_are_said_in_one_line(
    scored_run: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    catalogue = write_catalogue(tmp_path, [row(0)])
    said = "no --lf_model: 4 sentences are kept and trained on unfiltered, spam included; `mulan lf-filter fit` makes a"
    assert mine(catalogue, tmp_path / "run", "--dry_run") == 0  # and --quiet, which hides no warning
    assert [line.startswith(said) for line in caplog.messages].count(True) == 1
    caplog.clear()
    silent = row(1, description=None, comments=[])
    assert mine(write_catalogue(tmp_path, [silent], "silent.jsonl"), tmp_path / "silent", "--dry_run") == 0
    assert not caplog.messages
    assert UNFILTERED_NOTE not in (scored_run / "report.html").read_text(encoding="utf-8")
    assert UNFILTERED_NOTE in (tmp_path / "run" / "report.html").read_text(encoding="utf-8")


def test_a_missing_model_is_bad_input(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    catalogue = write_catalogue(tmp_path, [row(0)])
    assert mine(catalogue, tmp_path / "run", f"--lf_model={tmp_path}") == 2
    assert "mulan lf-filter fit" in capsys.readouterr().err


def test_another_model_needs_no_audio(
    scored_run: Path, models: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "rescored"
    command = ["score", str(scored_run), "--lf_model", str(models[1]), "--output", str(output)]
    assert cli.main(command) == 0
    table = json.loads(capsys.readouterr().out)["table_2"]
    assert table["LF, unfiltered"]["annotations"] >= table["LF"]["annotations"]
    before, after = Run.open(scored_run), Run.open(output)
    scorer = load_scorer(str(models[1]))
    assert after.manifest.long_form.digest == scorer.digest
    for old, new in zip(before.row_groups(), after.row_groups(), strict=True):
        one, two = before.read(old), after.read(new)
        assert one.drop_columns(["lf", "max_lf_score"]).equals(two.drop_columns(["lf", "max_lf_score"]))
        texts = [sentence["text"] for found in two["lf"].to_pylist() for sentence in found]
        assert [s["score"] for found in two["lf"].to_pylist() for s in found] == scorer.score(texts).tolist()
        assert new.max_lf_score == max(two["max_lf_score"].to_pylist())
    assert cli.main(command) == 2
    assert "not empty" in capsys.readouterr().err
    hashes = shard_hashes(output)
    catalogue = write_catalogue(tmp_path, [row(number) for number in range(6)])
    assert mine(catalogue, output, f"--lf_model={models[1]}") == 2
    assert "holds a run without its plan" in capsys.readouterr().err
    assert shard_hashes(output) == hashes, "what is there stays as it was"


def test_a_worker_without_torch_says_what_to_install(
    models: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *rest: None if name == "torch" else find_spec(name, *rest)
    )
    with pytest.raises(ModelError, match=r"torch is not installed here.*openmulan\[mine,lf\]"):
        SentenceModelHandler(str(models[0])).load_model()
    catalogue = write_catalogue(tmp_path, [row(0)])
    assert mine(catalogue, tmp_path / "run", f"--lf_model={models[0]}") == 2
    assert "torch is not installed here" in capsys.readouterr().err


def test_another_threshold_needs_no_mining(scored_run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    kept = {}
    for threshold in (0.0, 0.5, 1.1):
        assert cli.main(["score", str(scored_run), "--threshold", str(threshold)]) == 0
        kept[threshold] = json.loads(capsys.readouterr().out)["table_2"]["LF"]["annotations"]
    assert kept[0.0] >= kept[0.5] >= kept[1.1] == 0
    assert kept[0.0] > 0


def test_audit_draws_from_a_run(scored_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sentences = list(sentences_of_run(Run.open(scored_run)))
    drawn, sizes = draw(sentences, threshold=0.5, accepted=4, rejected=4, seed=0)
    assert sum(sizes.values()) == len({sentence.text for sentence in sentences})
    assert all(0 < item.inclusion_probability <= 1 for item in drawn)
    output = tmp_path / "drawn.jsonl"
    assert cli.main(["audit", "draw", str(scored_run), "--output", str(output), "--accepted=4", "--rejected=4"]) == 0
    assert output.read_text(encoding="utf-8")
    unscored = scored_run.parent / "unscored"
    assert mine(scored_run.parent / "catalog.jsonl", unscored) == 0
    with pytest.raises(DataError, match="not scored"):
        list(sentences_of_run(Run.open(unscored)))
    capsys.readouterr()
