"""The sentence classifier from labels to scores, on a small BERT of random weights: files, figures, invariance."""

import dataclasses
import json
import logging
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import BertModel

from filters.long_form import cli, model_files
from filters.long_form.bert_scorer import BertScorer
from filters.long_form.countdown import Countdown
from filters.long_form.data import SEED_PATH, read_seed
from filters.long_form.encoder import FastEncoder, Precision
from filters.long_form.finetune import SentenceClassifier, Tokenize, load_encoder, parameter_groups, predict
from filters.long_form.fit import FitConfig, Fitted, fit, save
from filters.long_form.int8 import Kernel, integers_are_right
from filters.long_form.model_files import ModelError
from filters.long_form.scorer import SentenceScorer, describe_scorer
from filters.long_form.tuning import FineTuneConfig
from filters.long_form.unfinished import Unfinished, place_of
from tests.filters.long_form.tiny_bert import make_checkpoint

pytestmark = pytest.mark.slow

TEXTS = [
    "the bass line carries it",
    "love this song",
    "check out my channel [url]",
    "soft piano and rain, perfect for quiet evenings, and then the whole orchestra comes in at the end",
    "これは最高のギターです",
    "ok",
    "a" * 400,
    "\ud800 broken",
]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_checkpoint(tmp_path_factory.mktemp("bert") / "tiny-bert")


@pytest.fixture(scope="module")
def fitted(checkpoint: Path) -> Fitted:
    torch.set_num_threads(1)
    config = FitConfig(
        encoder=str(checkpoint),
        folds=3,
        seeds=2,
        base_rate=0.1,
        tuning=FineTuneConfig(epochs=2, learning_rate=1e-3, max_tokens=48),
    )
    return fit(read_seed()[::3], config)


@pytest.fixture(scope="module")
def model(fitted: Fitted, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model") / "lf"
    save(fitted, folder)
    return folder


def test_fast_encoder_computes_what_transformers_computes(checkpoint: Path) -> None:
    encoder = BertModel.from_pretrained(checkpoint, add_pooling_layer=False)
    encoder.eval()  # type: ignore[no-untyped-call]
    fast = FastEncoder(encoder.config.to_dict(), encoder.state_dict(), Precision.FLOAT32)
    lengths = torch.tensor([12, 3, 7])
    ids = torch.randint(5, 50, (3, 12))
    mask = (torch.arange(12) < lengths[:, None]).long()
    with torch.inference_mode():
        expected = encoder(input_ids=ids, attention_mask=mask).last_hidden_state
        found = fast(ids, lengths)
        assert torch.allclose(found[mask.bool()], expected[mask.bool()], atol=1e-5)
        for precision, bound in ((Precision.BFLOAT16, 0.1), (Precision.INT8, 0.1)):
            rough = FastEncoder(encoder.config.to_dict(), encoder.state_dict(), precision)(ids, lengths).float()
            assert (rough - expected)[mask.bool()].abs().max() < bound


def test_scorer_agrees_with_the_training_code(fitted: Fitted, model: Path, checkpoint: Path) -> None:
    encoder, _ = load_encoder(str(checkpoint))
    reference = SentenceClassifier(encoder, "mean", 0.0)
    reference.load_state_dict(fitted.state)
    texts = [text for text in TEXTS if text.isprintable()]
    expected = predict(reference, Tokenize(fitted.tokenizer_json, 48)(texts))
    found = BertScorer.load(model, precision="float32").logits(texts)
    assert np.abs(found - expected).max() < 1e-4


@pytest.mark.parametrize("precision", list(Precision))
def test_a_score_does_not_depend_on_the_batch(model: Path, precision: Precision) -> None:
    texts = [example.text for example in read_seed()][:150] + TEXTS
    together = BertScorer.load(model, precision=precision).score(texts)
    alone = np.concatenate([BertScorer.load(model, precision=precision, remembered=0).score([t]) for t in texts[::10]])
    backwards = BertScorer.load(model, precision=precision).score(texts[::-1])[::-1]
    assert np.abs(together - backwards).max() <= 1e-3
    assert np.abs(together[::10] - alone).max() <= 1e-3
    if precision is Precision.INT8:
        assert (together == backwards).all()
        assert (together[::10] == alone).all()
    assert together.dtype == np.float32
    assert ((together >= 0) & (together <= 1)).all()


def test_a_score_has_the_same_bits_by_either_kernel(model: Path) -> None:
    config = json.loads((model / "config.json").read_text())
    if not integers_are_right(config["hidden_size"], config["intermediate_size"]):
        pytest.skip("the integer kernel of this processor is wrong, so nothing takes it")
    by_integers, by_floats = (BertScorer.load(model, kernel=kernel).logits(TEXTS) for kernel in Kernel)
    assert (by_integers == by_floats).all()


def test_scorer_remembers_and_forgets(model: Path) -> None:
    scorer: SentenceScorer = BertScorer.load(model, remembered=2)
    first = scorer.score(["one bass", "two bass", "one bass", "three bass", "four bass"])
    assert first[0] == first[2]
    assert (scorer.score(["one bass", "two bass", "one bass", "three bass", "four bass"]) == first).all()
    assert scorer.score([]).shape == (0,)


def test_digest_names_weights_precision_and_calibration_but_not_the_threshold(model: Path, tmp_path: Path) -> None:
    scorer = BertScorer.load(model)
    assert (
        scorer.digest
        == describe_scorer(str(model)).digest
        == json.loads((model / "classifier.json").read_text())["digest"]
    )
    assert BertScorer.load(model, precision="float32").digest != scorer.digest
    record = json.loads((model / "classifier.json").read_text())
    copy = tmp_path / "copy"
    copy.mkdir()
    for path in model.iterdir():
        (copy / path.name).write_bytes(path.read_bytes())
    (copy / "classifier.json").write_text(json.dumps({**record, "threshold": {**record["threshold"], "value": 0.123}}))
    assert BertScorer.load(copy).digest == scorer.digest
    assert BertScorer.load(copy).threshold == 0.123
    moved = {**record, "calibration": {**record["calibration"], "offset": 1.0}}
    (copy / "classifier.json").write_text(json.dumps(moved))
    assert BertScorer.load(copy).digest != scorer.digest


def test_fit_states_figures_beside_its_baselines(fitted: Fitted, model: Path) -> None:
    figures = fitted.record["cross_validation"]
    for name in ("fine_tuned", "hashed_ngrams", "frozen_embeddings"):
        auc = figures[name]["roc_auc"]
        assert 0 <= auc["low"] <= auc["value"] <= auc["high"] <= 1
    assert figures["hashed_ngrams"]["roc_auc"]["value"] > 0.6
    assert fitted.record["calibration"]["base_rate"] == 0.1
    assert fitted.record["training"]["precision"] in ("float32", "bfloat16")
    card = (model / "README.md").read_text(encoding="utf-8")
    assert fitted.record["training"]["examples_digest"] in card
    assert BertScorer.load(model).digest in card
    assert all(item["probability_of_label"] < 0.5 for item in fitted.suspicious)


def test_fit_is_reproducible(checkpoint: Path) -> None:
    config = FitConfig(encoder=str(checkpoint), folds=3, seeds=1, tuning=FineTuneConfig(epochs=1, max_tokens=32))
    examples = read_seed()[::10]
    one, two = (fit(examples, config, cross_validate=False) for _ in range(2))
    assert one.record == two.record
    assert all(torch.equal(one.state[name], two.state[name]) for name in one.state)


class _Break(logging.Handler):
    """Ends what is under way once the second of six folds is finished."""

    def emit(self, record: logging.LogRecord) -> None:
        if record.getMessage().startswith("fold 1 of 3, seed 1"):
            raise KeyboardInterrupt


def test_a_fit_that_was_cut_off_goes_on_and_makes_the_same_bytes(
    checkpoint: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level("INFO", logger="filters")
    # A trial of speed may end otherwise each time: one for each fit, and the one that goes on has none.
    trials = iter([False, False])
    monkeypatch.setattr("filters.long_form.fit.bfloat16_is_faster", lambda _: next(trials))
    labels = tmp_path / "labels.jsonl"
    labels.write_text("\n".join(SEED_PATH.read_text(encoding="utf-8").splitlines()[::12]) + "\n", encoding="utf-8")

    def fit_to(name: str) -> int:
        arguments = ["fit", "--output", str(tmp_path / name), "--labels", str(labels), "--encoder", str(checkpoint)]
        return cli.main([*arguments, "--epochs=1", "--seeds=2", "--folds=3", "--threads=1"])

    assert fit_to("undisturbed") == 0
    cut, place = _Break(), place_of(tmp_path / "lf")
    logging.getLogger("filters.long_form.fit").addHandler(cut)
    try:
        assert fit_to("lf") == 3
    finally:
        logging.getLogger("filters.long_form.fit").removeHandler(cut)
    assert {path.stem for path in place.iterdir()} == {"asked", "half", "fold-0-seed-0", "fold-0-seed-1"}
    # What a kill in the middle of writing leaves.
    (place / "fold-1-seed-0.part").write_text("[1.0, ", encoding="utf-8")
    caplog.clear()
    assert fit_to("lf") == 0
    assert "going on: 2 of 8 runs were finished before" in [record.getMessage() for record in caplog.records]
    for path in (tmp_path / "undisturbed").iterdir():
        assert (tmp_path / "lf" / path.name).read_bytes() == path.read_bytes(), path.name
    assert not place.exists()


def test_another_fit_does_not_go_on_from_this_one(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", logger="filters")
    place = tmp_path / "lf.unfinished"
    for seeds in (1, 2, 2):
        kept = Unfinished(place, {"seeds": seeds, "threads": 1})
        assert kept.value("fold", lambda: seeds) == seeds  # noqa: B023
    assert [record.getMessage() for record in caplog.records] == [
        f"{place}: was begun with other seeds, and is begun anew"
    ]


def test_progress_is_told_from_the_first_seconds(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A step of 2.9 s at a time, 100 of them: after 3, 6, 12, 26 and 55 s, then every half minute."""
    caplog.set_level("INFO", logger="filters")
    now = [0.0]
    monkeypatch.setattr("filters.long_form.countdown.time.monotonic", lambda: now[0])
    countdown = Countdown()
    countdown.start(100)
    for _ in range(30):
        now[0] += 2.9
        countdown.step(2.9)
    said = [int(record.getMessage().split()[1]) for record in caplog.records]
    assert said == [1, 2, 4, 9, 19, 30]
    assert caplog.records[0].getMessage() == "step 1 of 100, at most 5 min left"


def test_the_learning_rate_follows_the_width_of_the_encoder_unless_given(fitted: Fitted, checkpoint: Path) -> None:
    assert FineTuneConfig().rate(384) == pytest.approx(2e-4)
    assert FineTuneConfig().rate(768) == pytest.approx(1e-4)
    assert fitted.record["training"]["tuning"]["learning_rate"] == 1e-3
    encoder, _ = load_encoder(str(checkpoint))
    model = SentenceClassifier(encoder, "mean", 0.0)
    config = FineTuneConfig()
    rates = {group["lr"] for group in parameter_groups(model, config)} - {config.head_learning_rate}
    assert max(rates) == config.rate(model.hidden_size)


def test_first_stage_spares_the_encoder_the_hopeless(checkpoint: Path, tmp_path: Path) -> None:
    config = FitConfig(
        encoder=str(checkpoint),
        folds=3,
        seeds=1,
        first_stage_recall=0.8,
        tuning=FineTuneConfig(epochs=1, max_tokens=32),
    )
    examples = read_seed()[::3]
    fitted = fit(examples, config, cross_validate=False)
    save(fitted, tmp_path)
    stage = fitted.record["first_stage"]
    assert 0.8 <= stage["recall"]["value"] < 0.85
    assert stage["negatives_removed"] > 0.3
    texts = [example.text for example in examples]
    scores = BertScorer.load(tmp_path).score(texts)
    assert fitted.first_stage is not None
    passes = fitted.first_stage.passes(texts)
    assert 0.2 < passes.mean() < 0.95
    assert ((scores > 0) == passes).all()
    assert "first stage" in (tmp_path / "README.md").read_text(encoding="utf-8")
    save(dataclasses.replace(fitted, first_stage=None, record={**fitted.record, "first_stage": None}), tmp_path)
    again = BertScorer.load(tmp_path)
    assert (again.score(texts)[passes] == scores[passes]).all()
    assert (again.score(texts) > 0).all()


def test_weights_are_plain_safetensors_that_transformers_loads(model: Path, fitted: Fitted) -> None:
    encoder = BertModel.from_pretrained(model, add_pooling_layer=False)
    name = "encoder.layer.1.output.dense.weight"
    assert torch.equal(encoder.state_dict()[name], fitted.state[f"encoder.{name}"])
    assert not list(model.glob("*.bin")) + list(model.glob("*.pt")) + list(model.glob("*.pkl"))


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("classifier.json", "{"),
        ("classifier.json", '{"format_version": 99}'),
        ("classifier.json", '{"format_version": 1}'),
        ("model.safetensors", "not weights"),
    ],
)
def test_broken_models_are_told_in_one_line(model: Path, tmp_path: Path, file: str, content: str) -> None:
    copy = tmp_path / "copy"
    copy.mkdir()
    for path in model.iterdir():
        (copy / path.name).write_bytes(path.read_bytes())
    (copy / file).write_text(content, encoding="utf-8")
    with pytest.raises(ModelError) as caught:
        BertScorer.load(copy)
    assert "\n" not in str(caught.value)


def test_commands(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", logger="filters")
    labels = tmp_path / "labels.jsonl"
    lines = SEED_PATH.read_text(encoding="utf-8").splitlines()[::12]
    labels.write_text("\n".join(lines) + "\n", encoding="utf-8")
    folder = tmp_path / "model"
    arguments = ["fit", "--output", str(folder), "--labels", str(labels), "--encoder", str(checkpoint), "--epochs=1"]
    arguments += ["--training_precision=bfloat16"]
    assert (
        cli.main([*arguments, "--seeds=1", "--folds=3", "--no_cross_validation", "--keep_rate=0.1", "--threads=1"]) == 0
    )
    card = capsys.readouterr().out
    assert "keep a share of 0.1" in card
    assert "mean of 1 runs, in bfloat16" in card
    said = [record.getMessage() for record in caplog.records]
    # 59 sentences, of which a third is left out once, in batches of 16: 3 steps, and 4 for the model that is kept.
    assert any(line.startswith("training in bfloat16 on 1 threads: at most 7 optimizer steps of ") for line in said)
    assert said[-1].startswith("7 optimizer steps took ")
    assert said[2] == f"reading the encoder {checkpoint}"
    assert not place_of(folder).exists(), "what was unfinished goes when the classifier is saved"
    text = tmp_path / "text.txt"
    text.write_text("nice guitar\n\nmail me@example.com &amp; listen\n", encoding="utf-8")
    assert cli.main(["score", str(text), "--lf_model", str(folder)]) == 0
    scored = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["text"] for line in scored] == ["nice guitar", "mail [email] & listen"]
    assert all(0 <= line["score"] <= 1 for line in scored)
    assert cli.main(["score", str(text), "--lf_model", str(folder), "--split"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 2


def test_user_mistakes_are_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str], checkpoint: Path) -> None:
    bad = tmp_path / "bad.jsonl"
    bad.write_text('{"text": "x", "label": "maybe"}\n', encoding="utf-8")
    few = tmp_path / "few.jsonl"
    few.write_text('{"text": "nice bass", "label": "yes"}\n{"text": "hello", "label": "no"}\n', encoding="utf-8")
    for arguments in (
        ["fit", "--output", str(tmp_path / "m"), "--labels", str(bad)],
        ["fit", "--output", str(tmp_path / "m"), "--labels", str(few), "--encoder", str(checkpoint)],
        ["fit", "--output", str(tmp_path / "m"), "--encoder", str(tmp_path)],
        ["fit", "--output", str(tmp_path / "m"), "--folds", "2"],
        ["fit", "--output", str(tmp_path / "m"), "--learning_rate", "0"],
        ["score", str(few), "--lf_model", str(tmp_path)],
        ["score", str(tmp_path / "missing.txt"), "--lf_model", str(tmp_path)],
    ):
        assert cli.main(arguments) == 2
        lines = capsys.readouterr().err.strip().splitlines()
        assert lines[-1].startswith("mulan lf-filter: ")
        assert "Traceback" not in "".join(lines)


def test_saving_refuses_what_is_not_a_number(tmp_path: Path, fitted: Fitted) -> None:
    with pytest.raises(ValueError, match="JSON"):
        model_files.save(
            tmp_path / "m",
            encoder_config=fitted.encoder_config,
            state=fitted.state,
            tokenizer_json=fitted.tokenizer_json,
            record={**fitted.record, "extra": float("nan")},
            card="",
        )
