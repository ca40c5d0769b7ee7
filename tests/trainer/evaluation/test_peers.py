"""Models of others by their names: the documented factory, and the packages of MS-CLAP and MuQ-MuLan where they are."""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace

from trainer.evaluation.model import digest_folder
from trainer.evaluation.models import load_model
from trainer.evaluation.peers.peer import Peer

DOCS = Path(__file__).resolve().parents[3] / "docs" / "evaluation.md"
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


@pytest.mark.parametrize("name", ["msclap", "muq"])
def test_a_package_that_is_not_there_is_one_line(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ValueError, match=f"needs the package {name}, which is not installed"):
        load_model(f"{name}:{tmp_path}")


def write_tokenizer(folder: Path) -> None:
    words = Tokenizer(WordLevel({word: number for number, word in enumerate(WORDS)}, unk_token="<unk>"))
    words.pre_tokenizer = Whitespace()
    fast: Any = transformers.PreTrainedTokenizerFast
    fast(tokenizer_object=words, pad_token="<pad>", unk_token="<unk>", eos_token="</s>").save_pretrained(folder)


def check(name: str, folder: Path, rate_hz: int, window_s: float, dimension: int) -> None:
    model, _, digest, _ = load_model(name, device="cpu")
    assert isinstance(model, Peer)
    assert digest == digest_folder(folder)
    assert (model.rate_hz, model.window_s, model.dimension) == (rate_hz, window_s, dimension)
    wave = np.random.default_rng(0).uniform(-0.5, 0.5, 16_000).astype(np.float32)
    rows = model.embed_audio([wave, np.tile(wave, round(window_s))])
    np.testing.assert_allclose(rows[0], rows[1], atol=1e-4)  # a short one is repeated
    texts = model.embed_text(["slow piano", "loud drums"])
    assert texts.shape == (2, dimension)
    assert not np.allclose(texts[0], texts[1])


def test_ms_clap(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its package finds `gpt2` in the current folder, as it would on the hub."""
    clap = pytest.importorskip("msclap.models.clap")
    monkeypatch.chdir(tmp_path)
    sizes: dict[str, Any] = {
        "vocab_size": 16,
        "n_positions": 128,
        "n_embd": 768,
        "n_layer": 1,
        "n_head": 2,
        "n_inner": 16,
    }
    transformers.GPT2Model(transformers.GPT2Config(**sizes)).save_pretrained("gpt2")
    write_tokenizer(Path("gpt2"))
    torch.manual_seed(0)
    audio = {"audioenc_name": "HTSAT", "sample_rate": 44_100, "window_size": 1024, "hop_size": 320, "mel_bins": 64}
    text = {"text_model": "gpt2", "transformer_embed_dim": 768, "d_proj": 1024}
    made = clap.CLAP(**audio, **text, fmin=50, fmax=8000, classes_num=527, out_emb=768)
    folder = tmp_path / "weights"
    folder.mkdir()
    weights = made.state_dict()
    torch.save({"model": weights}, folder / "CLAP_weights_2023.pth")
    check(f"msclap:{folder}", folder, 44_100, 7.0, 1024)
    weights.pop("caption_encoder.projection.linear1.weight")
    torch.save({"model": weights}, folder / "CLAP_weights_2023.pth")
    with pytest.raises(ValueError, match=r"has no weights for caption_encoder\.projection\.linear1\.weight"):
        load_model(f"msclap:{folder}")


def test_muq_mulan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    muq = pytest.importorskip("muq")
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
    check(f"muq:{folder}", folder, 24_000, 10.0, 8)
    config["text_model"]["name"] = "someone/xlm-roberta-base"  # type: ignore[index]
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match="its towers are not"):
        load_model(f"muq:{folder}")
