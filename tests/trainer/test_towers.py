"""Warm starts: a BERT, an AST with its normalisation and its grid of positions, a ResNet of `mulan pretrain`."""

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import (
    ASTConfig,
    ASTFeatureExtractor,
    ASTForAudioClassification,
    BertConfig,
    BertForPreTraining,
    ResNetConfig,
    ResNetModel,
)

import openmulan
from tests.trainer.test_loop import smallest
from trainer.bodies.body import AudioTowerConfig
from trainer.logmel import LogMelConfig
from trainer.mixture import Mixture
from trainer.model import build
from trainer.recipes import m_ast, m_resnet50, tiny
from trainer.towers import AudioTower, TextTower, TextTowerConfig

SMALL_AST: dict[str, Any] = {
    "hidden_size": 24,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 48,
    "num_labels": 5,
}


@pytest.fixture
def ast_checkpoint(tmp_path: Path) -> Path:
    """A classifier of the ecosystem's shape (1024 frames, a grid of 12 × 101), with a normalisation of its own."""
    torch.manual_seed(3)
    model = ASTForAudioClassification(ASTConfig(**SMALL_AST))
    positions = model.audio_spectrogram_transformer.embeddings.position_embeddings
    with torch.no_grad():
        positions.copy_(torch.arange(positions.numel()).view_as(positions).float() / positions.numel())
    model.save_pretrained(tmp_path / "ast")
    extractor: Any = ASTFeatureExtractor
    extractor(mean=-6.8, std=5.5).save_pretrained(tmp_path / "ast")
    return tmp_path / "ast"


def test_an_ast_checkpoint_is_cropped_and_keeps_its_normalisation(ast_checkpoint: Path, text_checkpoint: Path) -> None:
    recipe = smallest(text_checkpoint)
    audio = dataclasses.replace(m_ast().audio, warm_start=str(ast_checkpoint), options={})
    model = build(dataclasses.replace(recipe, audio=audio), torch.device("cpu"))
    config = model.recipe.audio.log_mel
    assert (config.mean, config.std, config.frames) == (-6.8, 5.5, 1000)
    assert model.towers.audio.front_end.config == config
    theirs = ASTForAudioClassification.from_pretrained(ast_checkpoint).audio_spectrogram_transformer
    before, after = (body.embeddings.position_embeddings for body in (theirs, model.towers.audio.body))
    assert after.shape == (1, 2 + 12 * 99, 24)
    assert torch.equal(after[:, :2], before[:, :2])
    # One column of positions falls away at either end of each row of the grid.
    grid = before[:, 2:].view(12, 101, 24)[:, 1:100].reshape(1, -1, 24)
    assert torch.equal(after[:, 2:], grid)
    ours, weights = model.towers.audio.body.state_dict(), theirs.state_dict()
    changed = {name for name in weights if ours[name].shape != weights[name].shape}
    assert changed == {"embeddings.position_embeddings"}
    assert all(torch.equal(ours[name], weights[name]) for name in weights.keys() - changed)


@pytest.mark.slow
def test_a_warm_started_model_is_saved_and_loaded_whole(
    ast_checkpoint: Path, text_checkpoint: Path, tmp_path: Path
) -> None:
    recipe = smallest(text_checkpoint)
    audio = dataclasses.replace(m_ast().audio, warm_start=str(ast_checkpoint), options={})
    text = TextTowerConfig(warm_start=str(text_checkpoint))
    compute = dataclasses.replace(recipe.compute, text_tokens=text.max_tokens)
    model = build(dataclasses.replace(recipe, audio=audio, text=text, compute=compute), torch.device("cpu"))
    model.save(tmp_path / "model")
    for file in ast_checkpoint.iterdir():  # the folder stands alone
        file.unlink()
    again = openmulan.load(tmp_path / "model")
    wave = torch.randn(20_000, generator=torch.Generator().manual_seed(0)).mul(0.1)
    assert (again.embed_audio([wave]) == model.embed_audio([wave])).all()
    assert (again.embed_text(["slow piano"]) == model.embed_text(["slow piano"])).all()


def test_a_bert_checkpoint_gives_its_states(tmp_path: Path) -> None:
    torch.manual_seed(0)
    config = BertConfig(vocab_size=40, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32)
    theirs: Any = BertForPreTraining(config)
    theirs.eval()
    theirs.save_pretrained(tmp_path)
    tower = TextTower(TextTowerConfig(warm_start=str(tmp_path))).eval()
    tokens, attention = torch.tensor([[1, 7, 9, 2]]), torch.ones(1, 4, dtype=torch.int64)
    with torch.no_grad():
        wanted = theirs.bert(input_ids=tokens, attention_mask=attention).last_hidden_state[:, 0]
        ours = tower.body(input_ids=tokens, attention_mask=attention).last_hidden_state[:, 0]
    assert torch.equal(ours, wanted)


def test_checkpoints_of_another_kind_are_refused(ast_checkpoint: Path, tmp_path: Path) -> None:
    mel = LogMelConfig(mel_bins=64)
    audio = AudioTowerConfig(
        body="ast", log_mel=mel, max_masked_bins=0, max_masked_frames=0, warm_start=str(ast_checkpoint)
    )
    with pytest.raises(ValueError, match="has 128 mel bins, the recipe 64"):
        AudioTower(audio)
    with pytest.raises(ValueError, match="lacks"):
        TextTower(TextTowerConfig(warm_start=str(ast_checkpoint)))
    ResNetModel(ResNetConfig(num_channels=3, hidden_sizes=[8], depths=[1], embedding_size=4)).save_pretrained(
        tmp_path / "images"
    )
    with pytest.raises(ValueError, match="takes 3 channels"):
        AudioTower(dataclasses.replace(audio, body="resnet", warm_start=str(tmp_path / "images")))


def test_the_recipes_are_the_paper_s() -> None:
    """Shapes that the paper fixes or that our copy has lost (docs/paper.md), without building the large models."""
    resnet, ast = m_resnet50(), m_ast()
    assert (resnet.audio.log_mel.mel_bins, resnet.audio.log_mel.frames, resnet.batch_size) == (64, 1000, 6144)
    assert (ast.audio.log_mel.mel_bins, ast.audio.log_mel.frames, ast.batch_size) == (128, 1000, 3072)
    assert resnet.text.max_tokens == ast.text.max_tokens == 512
    assert resnet.data.mixture == ast.data.mixture == Mixture.parse("2:2:1:1")
    assert (ast.audio.max_masked_bins, ast.audio.max_masked_frames) == (48, 192)
    with torch.device("meta"):
        body: Any = ResNetModel(ResNetConfig(num_channels=1, **resnet.audio.options))
    assert [len(stage.layers) for stage in body.encoder.stages] == [3, 4, 6, 3]
    tower = AudioTower(tiny("none").audio)
    assert tower.body.embedder.embedder.convolution.stride == (1, 1)
    assert tower.head.out_features == 128
