"""How a training ends that cannot go on: a loss that is no number, a full disk, an output that cannot be written."""

import dataclasses
import json
import logging
import resource
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file, save_file

from schemas.readers import ReaderState, read_readers
from schemas.run import Run
from tests.trainer.fixture_runs import tone_rows, write_run
from tests.trainer.test_loop import options, smallest
from tests.trainer.test_pretrain import only_aset
from trainer.card import filter_words, write_card
from trainer.checkpoint import checkpoints
from trainer.commands import exit_code
from trainer.data import Corpus, DataConfig
from trainer.logs import METRICS_NAME, loss_table, read_metrics
from trainer.loop import Ending, TrainOptions
from trainer.mixture import Mixture
from trainer.model import Model, load
from trainer.recipes import Recipe
from trainer.tasks.classification import pretrain
from trainer.tasks.contrastive import train
from trainer.train import main

pytestmark = pytest.mark.slow


def strict_lines(output: Path) -> list[dict[str, Any]]:
    """The lines of the metrics, as a reader takes them that knows JSON and no more."""

    def refuse(name: str) -> None:
        raise AssertionError(f"{name} is not JSON")

    return [json.loads(line, parse_constant=refuse) for line in (output / METRICS_NAME).read_text().splitlines()]


def spoil(checkpoint: Path, name: str) -> None:
    """Weights that are finite, and whose products are not."""
    weights = load_file(checkpoint / "model.safetensors")
    save_file({**weights, name: weights[name] * 0 + 1e38}, checkpoint / "model.safetensors")


def mulan(tokenizer: Path) -> Recipe:
    return smallest(tokenizer)


def classifier(tokenizer: Path) -> Recipe:
    return only_aset()


@pytest.mark.parametrize(
    ("command", "recipe", "weight"),
    [(train, mulan, "text.body.embeddings.LayerNorm.weight"), (pretrain, classifier, "logits.weight")],
    ids=["train", "pretrain"],
)
def test_a_loss_that_is_no_number_stops_before_the_weights_take_it(
    command: Callable[[Recipe, TrainOptions], Ending],
    recipe: Callable[[Path], Recipe],
    weight: str,
    tone_run: Path,
    text_checkpoint: Path,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    changes = {"workers": 0, "checkpoint_every": 1, "keep": 1, "validate_every": 100}
    assert command(recipe(text_checkpoint), options(tone_run, tmp_path, steps=1, **changes)) == Ending.DONE
    (last,) = checkpoints(tmp_path / "checkpoints")
    spoil(last, weight)
    before = {path.name: path.read_bytes() for path in last.iterdir()}
    caplog.clear()
    further = options(tone_run, tmp_path, steps=4, **changes)
    assert exit_code("mulan", lambda: command(recipe(text_checkpoint), further)) == 1
    (line,) = [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR]
    assert line.startswith("step 1: the loss is ")
    assert f"{last} is the last good checkpoint; go on from it with" in line
    assert checkpoints(tmp_path / "checkpoints") == [last]
    assert {path.name: path.read_bytes() for path in last.iterdir()} == before
    assert [entry["loss"] is None for entry in strict_lines(tmp_path) if entry["kind"] == "train"] == [False, True]
    assert len(loss_table(tmp_path).splitlines()) == 2
    # The spoiled step is no part of the run: what goes on from the checkpoint begins with it again.
    assert [entry["step"] for entry in read_metrics(tmp_path, "train")] == [0, 1]


def test_weights_that_are_no_number_are_not_saved(
    tone_run: Path, text_checkpoint: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    recipe = smallest(text_checkpoint)
    wild = dataclasses.replace(recipe, optimizer=dataclasses.replace(recipe.optimizer, learning_rate=1e39))
    run = options(tone_run, tmp_path, workers=0, checkpoint_every=1, validate_every=100)
    assert train(wild, run) == Ending.LOST
    assert "after step 1 a weight is not finite; it is not saved; there is no checkpoint yet" in caplog.text
    assert not checkpoints(tmp_path / "checkpoints")
    assert not (tmp_path / "model").exists()


LOST_RANKS = """
import dataclasses, logging
from pathlib import Path
from tests.trainer.fixture_runs import tone_rows, write_run
from tests.trainer.test_loop import options, smallest
from trainer.loop import Ending
from trainer.tasks.contrastive import train
logging.basicConfig(force=True, filename={log!r}, level=logging.ERROR, format="%(message)s")
recipe = smallest(Path({tokenizer!r}))
wild = dataclasses.replace(recipe, optimizer=dataclasses.replace(recipe.optimizer, learning_rate=1e30))
ending = train(wild, options(Path({run!r}), Path({output!r}), workers=0, checkpoint_every=100, validate_every=100))
assert ending == Ending.LOST, ending
"""


def test_all_ranks_stop(tone_run: Path, text_checkpoint: Path, tmp_path: Path, torchrun: Callable[[str], None]) -> None:
    output, log = tmp_path / "out", tmp_path / "log.txt"
    torchrun(LOST_RANKS.format(log=str(log), tokenizer=str(text_checkpoint), run=str(tone_run), output=str(output)))
    assert [line["loss"] is None for line in strict_lines(output)] == [False, True]
    assert len(log.read_text().splitlines()) == 1


def test_a_figure_that_is_no_number_is_said_on_the_card(tone_run: Path, text_checkpoint: Path, tmp_path: Path) -> None:
    import torch

    from trainer.model import build

    model = build(smallest(text_checkpoint), torch.device("cpu"))
    corpus = Corpus.open([tone_run], DataConfig())
    write_card(model, tmp_path / "model", corpus, Mixture(), 1, {"validation/loss": float("nan"), "x": 0.5})
    assert "- validation/loss: not finite\n- x: 0.5000" in (tmp_path / "model" / "README.md").read_text()


def test_what_was_not_filtered_is_said_at_the_start_and_on_the_card(
    text_checkpoint: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    rows = tone_rows(24)
    scored = write_run(tmp_path / "scored", rows)
    for found in rows:
        found["lf"] = [{**sentence, "score": None} for sentence in found["lf"]]
        found["max_lf_score"] = None
    unscored = write_run(tmp_path / "unscored", rows, lf_threshold=None)
    recipe = smallest(text_checkpoint)
    warned = "are trained on unfiltered, spam included: it was mined without --lf_model"
    assert train(recipe, options(unscored, tmp_path / "out", workers=0, steps=1)) == Ending.DONE
    assert [warned in line for line in caplog.messages].count(True) == 1
    card = " ".join((tmp_path / "out" / "model" / "README.md").read_text().split())
    assert "Sentences were **not filtered**, spam included: they were mined without a classifier." in card
    no_sentences = Mixture(lf=0)
    for data, mixture, config, said in (
        ([scored], Mixture(), DataConfig(), "Sentences are those that a classifier gave 0.5 or more."),
        ([scored, unscored], Mixture(), DataConfig(), "0.5 or more. Those of 1 of 2 runs were **not filtered**"),
        ([unscored], Mixture(), DataConfig(filtered=False), "Texts were not filtered"),
        ([unscored], no_sentences, DataConfig(), "Short forms are what the rules have left."),
    ):
        corpus = Corpus.open(data, config)
        assert said in filter_words(corpus, mixture)
        assert bool(corpus.unscored(mixture)) == ("**not filtered**" in said)
    assert "Sentences" not in filter_words(corpus, no_sentences)


@contextmanager
def no_room_for(size: int) -> Iterator[None]:
    """Files may not grow beyond this many bytes, which is to a writer what a full disk is."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize(("room", "named"), [(1 << 20, "step-00000002"), (100, METRICS_NAME)])
def test_a_full_disk_leaves_the_checkpoint_before_it(
    room: int, named: str, tone_run: Path, text_checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    changes = {"workers": 0, "checkpoint_every": 1, "keep": 1, "validate_every": 100}
    assert train(smallest(text_checkpoint), options(tone_run, tmp_path, steps=1, **changes)) == Ending.DONE
    (last,) = checkpoints(tmp_path / "checkpoints")
    kept = [*last.iterdir(), tmp_path / "run.json", tmp_path / METRICS_NAME]
    before = [path.read_bytes() for path in kept[:-1]]
    lines = strict_lines(tmp_path)
    left = last.with_name("step-00000007.tmp")  # by a kill
    left.mkdir()
    further = options(tone_run, tmp_path, steps=3, **changes)
    capsys.readouterr()
    with no_room_for(room):
        assert exit_code("mulan train", lambda: train(smallest(text_checkpoint), further)) == 3
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("mulan train: ")
    assert named in line
    assert [path.read_bytes() for path in kept[:-1]] == before
    assert strict_lines(tmp_path)[: len(lines)] == lines
    assert not [path for root in (tmp_path, tone_run) for path in root.rglob("*.tmp") if path != left]
    assert train(smallest(text_checkpoint), further) == Ending.DONE
    assert not left.exists()
    assert [entry["step"] for entry in read_metrics(tmp_path, "train")] == [0, 1, 2]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--learning_rate", "nan"], "nan is not a finite number"),
        (["--initial_temperature", "inf"], "inf is not a finite number"),
        (["--output", "FILE"], "give another --output"),
    ],
)
def test_bad_settings_are_said_before_anything_is_done(
    arguments: list[str],
    message: str,
    tone_run: Path,
    text_checkpoint: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "file").touch()
    given = [str(tmp_path / "file") if a == "FILE" else a for a in arguments]
    command = ["--recipe", "tiny", "--data", str(tone_run), "--output", str(tmp_path / "o"), "--workers", "0"]
    try:
        code = main([*command, "--tokenizer", str(text_checkpoint), *given])
    except SystemExit as stop:
        code = int(str(stop.code))
    assert code == 2
    assert message in capsys.readouterr().err.splitlines()[-1]
    assert not (tmp_path / "o").exists()


def test_a_run_knows_who_reads_it(
    tone_run: Path, text_checkpoint: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run, output = Run.open(tone_run), tmp_path / "out"
    before = read_readers(run)
    changes = {"workers": 0, "checkpoint_every": 1, "validate_every": 100}

    class Stop(Exception):
        pass

    class Look:
        """Sees what stands in the run while it is read."""

        name = "look"

        def run(self, model: Model) -> list[tuple[str, float]]:
            (mine,) = [record for record in read_readers(run) if record.output == str(output)]
            assert mine.state == ReaderState.RUNNING
            raise Stop

    with pytest.raises(Stop):
        train(smallest(text_checkpoint), options(tone_run, output, steps=1, evaluators=(Look(),), **changes))
    (first,) = [record for record in read_readers(run) if record not in before]
    assert (first.manifest, first.manifest_digest, first.recipe) == (1, run.manifest.digest(), "tiny")
    assert first.state == ReaderState.RUNNING
    assert train(smallest(text_checkpoint), options(tone_run, output, steps=1, **changes)) == Ending.DONE
    (last,) = [record for record in read_readers(run) if record.id == first.id]
    assert (last.state, last.started) == (ReaderState.DONE, first.started)
    assert last.last_seen >= first.last_seen
    assert "cannot be told" not in caplog.text
    for folder in (output / "model", checkpoints(output / "checkpoints")[-1]):
        assert load(folder).training.manifests == (run.manifest.digest(),)


def test_a_run_that_may_only_be_read_is_trained_on_with_a_warning(
    tone_run: Path, text_checkpoint: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run = tmp_path / "run"
    run.mkdir()
    for path in tone_run.iterdir():
        if path.name != "readers":
            (run / path.name).symlink_to(path)
    (run / "readers").touch()  # for root, whom no permission stops
    changes = {"workers": 0, "checkpoint_every": 1, "validate_every": 100}
    assert train(smallest(text_checkpoint), options(run, tmp_path / "out", steps=2, **changes)) == Ending.DONE
    (line,) = [record.getMessage() for record in caplog.records if "cannot be told" in record.getMessage()]
    assert line.startswith(f"{run}: ")
    assert line.endswith("keep manifest 1 of it until the end")


@pytest.mark.parametrize("begun_with_it", [False, True])
def test_a_lost_shard_costs_its_rows_and_no_more(
    begun_with_it: bool, text_checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run, output = write_run(tmp_path / "run", tone_rows(60, duration_s=2.0), shards=4), tmp_path / "out"

    def go_on(steps: int, *, skip: bool) -> int:
        recipe = smallest(text_checkpoint)
        recipe = dataclasses.replace(recipe, data=dataclasses.replace(recipe.data, skip_corrupt=skip))
        asked = options(run, output, steps=steps, workers=0, validate_every=100)
        return exit_code("mulan train", lambda: train(recipe, asked))

    assert go_on(2, skip=begun_with_it) == 0
    (run / "shards" / "g0001-00001.parquet").unlink()
    capsys.readouterr()
    assert go_on(4, skip=False) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "g0001-00001.parquet" in line
    assert "--skip_corrupt" in line
    assert go_on(4, skip=True) == 0
    assert [line["step"] for line in read_metrics(output, "train")] == [0, 1, 2, 3]
