"""Models of others by their names: the documented factory, and the packages of MS-CLAP and MuQ-MuLan where they are."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace

from trainer.evaluation.model import digest_folder, prompt_of
from trainer.evaluation.models import load_model
from trainer.evaluation.peers.peer import Peer

DOCS = Path(__file__).resolve().parents[3] / "docs" / "evaluation.md"
NEEDS = "needs packages of other people's models: run `make test-peers`"
WORDS = ("!", "<|endoftext|>", "<s>", "<pad>", "</s>", "<unk>", "slow", "piano", "loud", "drums")


def documented_module() -> str:
    """The code block of the page that begins with its file's name."""
    (block,) = (part for part in DOCS.read_text(encoding="utf-8").split("```python\n") if part.startswith("# peers.py"))
    return block.partition("```")[0]


def test_the_documented_factory_is_found_in_the_current_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert len([line for line in documented_module().splitlines() if line.strip()]) <= 20
    (tmp_path / "peers.py").write_text(documented_module(), encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if entry not in ("", str(tmp_path))])
    monkeypatch.delitem(sys.modules, "peers", raising=False)
    model, label, digest, manifests = load_model("peers:load(bands=16)")
    assert (label, digest, manifests) == ("peers:load(bands=16)", "sha256 of the weights", ())
    assert prompt_of(model) == "a {} song"
    assert model.embed_audio([np.ones(16_000, np.float32)]).shape == (1, 16)
    assert load_model("peers:load")[0].embed_text(["a", "bc"]).shape == (2, 8)
    for name, said in (
        ("peers:load(bands=open('x'))", "not name=value"),
        ("peers:load(16)", "not name=value"),
        ("peers:load(**{'bands': 1})", "not name=value"),
        ("peers:load(bands=1", "not name=value"),
        ("peers:load(bands=1) + 1", "not name=value"),
        ("peers:load(layers=1)", "cannot be made so"),
        ("peers:absent()", "has no 'absent'"),
        ("nowhere:load(bands=1)", "there is no module"),
        ("muq:absent", "there is no such folder, so no MuQ-MuLan"),
    ):
        with pytest.raises(ValueError, match=said.replace("(", r"\(")):
            load_model(name)
    monkeypatch.delitem(sys.modules, "peers")
    model.prompt = "a song"
    with pytest.raises(ValueError, match="prompt is 'a song'; it needs one"):
        prompt_of(model)


@pytest.mark.parametrize("name", ["msclap", "muq"])
def test_a_package_that_is_not_there_is_one_line(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ValueError, match=f"needs the package {name}, which is not installed"):
        load_model(f"{name}:{tmp_path}")


def write_tokenizer(folder: Path, *inputs: str) -> None:
    """`inputs`: what it gives besides `input_ids` and `attention_mask`."""
    words = Tokenizer(WordLevel({word: number for number, word in enumerate(WORDS)}, unk_token="<unk>"))
    words.pre_tokenizer = Whitespace()
    fast: Any = transformers.PreTrainedTokenizerFast
    names = ["input_ids", *inputs, "attention_mask"]
    special = {"pad_token": "<pad>", "unk_token": "<unk>", "eos_token": "</s>"}
    fast(tokenizer_object=words, model_input_names=names, **special).save_pretrained(folder)


def check(name: str, folder: Path, rate_hz: int, window_s: float, dimension: int, prompt: str) -> None:
    model, _, digest, _ = load_model(name, device="cpu")
    assert isinstance(model, Peer)
    assert prompt_of(model) == prompt
    assert digest == digest_folder(folder)
    assert (model.rate_hz, model.window_s, model.dimension) == (rate_hz, window_s, dimension)
    wave = np.random.default_rng(0).uniform(-0.5, 0.5, 16_000).astype(np.float32)
    rows = model.embed_audio([wave, np.tile(wave, round(window_s))])
    np.testing.assert_allclose(rows[0], rows[1], atol=1e-4)  # a short one is repeated
    texts = model.embed_text(["slow piano", "loud drums"])
    assert texts.shape == (2, dimension)
    assert not np.allclose(texts[0], texts[1])


CNN14 = {"audioenc_name": "Cnn14", "fmax": 14_000, "out_emb": 2048}
HTSAT = {"audioenc_name": "HTSAT", "fmax": 8_000, "out_emb": 768}


def write_gpt2(folder: Path) -> None:
    config = transformers.GPT2Config(vocab_size=16, n_positions=128, n_embd=768, n_layer=1, n_head=2, n_inner=16)
    transformers.GPT2Model(config).save_pretrained(folder)
    write_tokenizer(folder)


def write_bert(folder: Path) -> None:
    sizes: dict[str, Any] = {"num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    transformers.BertModel(transformers.BertConfig(vocab_size=16, hidden_size=768, **sizes)).save_pretrained(folder)
    write_tokenizer(folder, "token_type_ids")


@pytest.mark.peers
@pytest.mark.parametrize(
    ("version", "text_model", "write_text_model", "audio", "window_s", "prompt"),
    [
        (
            "2022",
            "bert-base-uncased",
            write_bert,
            {"audioenc_name": "Cnn14", "fmax": 14_000, "out_emb": 2048},
            5.0,
            "this is a sound of {}",
        ),
        (
            "2023",
            "gpt2",
            write_gpt2,
            {"audioenc_name": "HTSAT", "fmax": 8_000, "out_emb": 768},
            7.0,
            "this is the sound of {}",
        ),
    ],
)
def test_ms_clap(
    version: str,
    text_model: str,
    write_text_model: Callable[[Path], None],
    audio: dict[str, Any],
    window_s: float,
    prompt: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its package finds the text encoder in the current folder, as it would on the hub."""
    clap = pytest.importorskip("msclap.models.clap", reason=NEEDS)
    monkeypatch.chdir(tmp_path)
    write_text_model(Path(text_model))
    torch.manual_seed(0)
    mels = {"sample_rate": 44_100, "window_size": 1024, "hop_size": 320, "mel_bins": 64, "fmin": 50}
    text = {"text_model": text_model, "transformer_embed_dim": 768, "d_proj": 1024}
    folder = tmp_path / "weights"
    folder.mkdir()
    weights = clap.CLAP(**audio, **mels, **text, classes_num=527).state_dict()
    torch.save({"model": weights}, folder / f"CLAP_weights_{version}.pth")
    check(f"msclap:{folder}", folder, 44_100, window_s, 1024, prompt)
    weights.pop("caption_encoder.projection.linear1.weight")
    torch.save({"model": weights}, folder / f"CLAP_weights_{version}.pth")
    with pytest.raises(ValueError, match=r"has no weights for caption_encoder\.projection\.linear1\.weight"):
        load_model(f"msclap:{folder}")


@pytest.mark.peers
def test_muq_mulan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    muq = pytest.importorskip("muq", reason=NEEDS)
    monkeypatch.chdir(tmp_path)
    small: dict[str, Any] = {"hidden_size": 16, "num_attention_heads": 2, "intermediate_size": 16}
    text = transformers.XLMRobertaConfig(**small, vocab_size=16, num_hidden_layers=1, max_position_embeddings=64)
    transformers.XLMRobertaModel(text).save_pretrained("xlm-roberta-base")
    write_tokenizer(Path("xlm-roberta-base"))
    conformer = transformers.Wav2Vec2ConformerConfig(
        **small, num_hidden_layers=24, num_conv_pos_embedding_groups=2, position_embeddings_type="rotary"
    )
    from muq.muq.muq import MuQConfig

    statistics = {"melspec_2048_mean": 0.0, "melspec_2048_std": 1.0}
    plain = json.loads(json.dumps(conformer.to_dict()))
    tower = MuQConfig(encoder_dim=16, encoder_depth=24, conv_dim=8, w2v2_config=plain, stat=statistics)
    muq.MuQ(tower).save_pretrained("OpenMuQ/MuQ-large-msd-iter")
    transformer = {"dim": 8, "tf_depth": 0, "heads": 2, "dim_head": 4, "ff_mult": 1, "attn_dropout": 0, "ff_dropout": 0}
    config = {
        "mulan": {"sr": 24_000, "clip_secs": 10, "dim_latent": 8},
        "audio_model": {"name": "OpenMuQ/MuQ-large-msd-iter", "model_dim": 16, "use_layer_idx": -1},
        "text_model": {"name": "xlm-roberta-base", "model_dim": 16, "use_layer_idx": -1},
        "audio_transformer": transformer,
        "text_transformer": {**transformer, "max_seq_len": 64},
    }
    folder = tmp_path / "mulan"
    muq.MuQMuLan(config).save_pretrained(folder, config=config)
    check(f"muq:{folder}", folder, 24_000, 10.0, 8, "{}")
    config["text_model"]["name"] = "someone/xlm-roberta-base"  # type: ignore[index]
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match="its towers are not"):
        load_model(f"muq:{folder}")
