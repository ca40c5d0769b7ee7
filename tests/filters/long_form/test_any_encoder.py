"""Encoders of other kinds than BERT, each from a small checkpoint of random weights to the scores of its classifier."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoModel as Auto
from transformers import (
    DistilBertConfig,
    ModernBertConfig,
    MPNetConfig,
    PreTrainedConfig,
    T5Config,
    XLMRobertaConfig,
)

from filters.long_form import cli
from filters.long_form.bert_scorer import BertScorer
from filters.long_form.data import DataError, read_seed
from filters.long_form.encoder import Precision
from filters.long_form.finetune import SentenceClassifier, Tokenize, load_encoder, parameter_groups, predict
from filters.long_form.fit import FitConfig, Fitted, fit, save
from filters.long_form.model_files import CONFIG, ModelError
from filters.long_form.tuning import FineTuneConfig
from tests.filters.long_form.tiny_bert import make_checkpoint

pytestmark = pytest.mark.slow

TUNING = FineTuneConfig(epochs=1, learning_rate=2e-3, max_tokens=32, half=False)
SIZE: dict[str, Any] = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64}
KINDS: dict[str, PreTrainedConfig] = {
    "mpnet": MPNetConfig(**SIZE),
    "modernbert": ModernBertConfig(**SIZE, pad_token_id=0),
    "distilbert": DistilBertConfig(dim=32, n_layers=2, n_heads=4, hidden_dim=64),
    "xlm-roberta": XLMRobertaConfig(**SIZE, max_position_embeddings=514, type_vocab_size=1),
}
OF_BERTS_LAYOUT = {"xlm-roberta"}


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_checkpoint(tmp_path_factory.mktemp("bert") / "tiny-bert")


def checkpoint(kind: str, bert: Path, folder: Path) -> Path:
    """A folder as `transformers` saves it, with the vocabulary of the small BERT."""
    torch.manual_seed(0)
    config = KINDS[kind]
    config.vocab_size = len((bert / "vocab.txt").read_text(encoding="utf-8").splitlines())
    Auto.from_config(config).save_pretrained(folder)  # type: ignore[no-untyped-call]
    write_tokenizer(bert, folder)
    return folder


def write_tokenizer(bert: Path, folder: Path) -> None:
    (folder / "tokenizer.json").write_text(load_encoder(str(bert))[1], encoding="utf-8")
    (folder / "tokenizer_config.json").write_text('{"tokenizer_class": "PreTrainedTokenizerFast"}', encoding="utf-8")


@pytest.fixture(scope="module", params=sorted(KINDS))
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def encoder(kind: str, bert: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return checkpoint(kind, bert, tmp_path_factory.mktemp(kind) / "encoder")


@pytest.fixture(scope="module")
def fitted(encoder: Path) -> Fitted:
    torch.set_num_threads(1)
    config = FitConfig(encoder=str(encoder), folds=3, seeds=1, tuning=TUNING)
    return fit(read_seed()[::7], config, cross_validate=False)


@pytest.fixture(scope="module")
def model(fitted: Fitted, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model") / "lf"
    save(fitted, folder)
    return folder


def test_scores_are_those_of_the_training_code(kind: str, encoder: Path, fitted: Fitted, model: Path) -> None:
    network, _ = load_encoder(str(encoder))
    reference = SentenceClassifier(network, "mean", 0.0)
    started_from = {name: value.clone() for name, value in reference.state_dict().items()}
    reference.load_state_dict(fitted.state)
    texts = [example.text for example in read_seed()][:60]
    expected = predict(reference, Tokenize(fitted.tokenizer_json, TUNING.max_tokens)(texts))
    assert expected.std() > 0
    exact = BertScorer.load(model, precision="float32")
    assert np.abs(exact.logits(texts) - expected).max() < 1e-4
    alone = np.concatenate([exact.logits([text]) for text in texts[::10]])
    assert np.abs(alone - exact.logits(texts)[::10]).max() < 1e-4
    assert np.abs(BertScorer.load(model, precision="bfloat16").logits(texts) - expected).max() < 0.1
    by_default = Precision.INT8 if kind in OF_BERTS_LAYOUT else Precision.FLOAT32
    assert fitted.record["precision"] == by_default
    # Every layer has learnt, the lower one in smaller steps, and the words have not.
    moved = {name for name, value in fitted.state.items() if not torch.equal(value, started_from[name])}
    assert all(any(f".{number}." in name for name in moved) for number in range(2))
    assert not any("embeddings" in name for name in moved)
    rates = sorted({group["lr"] for group in parameter_groups(reference, TUNING)})
    assert rates == pytest.approx([TUNING.head_learning_rate, 2e-3 * TUNING.layer_decay, 2e-3])


def test_int8_is_for_berts_layout(kind: str, encoder: Path, model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    texts = [example.text for example in read_seed()][:60]
    if kind in OF_BERTS_LAYOUT:
        rough = BertScorer.load(model).logits(texts)
        assert np.abs(rough - BertScorer.load(model, precision="float32").logits(texts)).max() < 0.2
        return
    with pytest.raises(ModelError, match="not in int8"):
        BertScorer.load(model, precision="int8")
    command = ["fit", "--encoder", str(encoder), "--output", str(model / "new"), "--scoring_precision", "int8"]
    assert cli.main(command) == 2
    (line,) = [line for line in capsys.readouterr().err.splitlines() if "int8" in line]
    assert f"which {kind!r} is not" in line


def test_what_does_not_encode_a_text_by_itself_is_refused(bert: Path, tmp_path: Path) -> None:
    config = T5Config(vocab_size=50, d_model=32, d_kv=8, d_ff=64, num_layers=2, num_heads=4)
    Auto.from_config(config).save_pretrained(tmp_path)  # type: ignore[no-untyped-call]
    write_tokenizer(bert, tmp_path)
    with pytest.raises(DataError, match="'t5' does not encode a text by itself"):
        load_encoder(str(tmp_path))


def test_a_classifier_of_an_unknown_kind_is_refused(fitted: Fitted, tmp_path: Path) -> None:
    save(dataclasses.replace(fitted, record={**fitted.record, "precision": "float32"}), tmp_path)
    config = json.loads((tmp_path / CONFIG).read_text())
    (tmp_path / CONFIG).write_text(json.dumps({**config, "model_type": "no-such-thing"}))
    with pytest.raises(ModelError, match="'no-such-thing': transformers does not run it"):
        BertScorer.load(tmp_path)
