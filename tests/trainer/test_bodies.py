"""Bodies of the audio tower: any AutoModel, from its configuration or a checkpoint, trained, saved and loaded whole;
what cannot be a body is refused in one line."""

import dataclasses
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from transformers import (
    ASTConfig,
    ASTModel,
    AutoModel,
    HubertConfig,
    HubertModel,
    ResNetConfig,
    ResNetModel,
    Wav2Vec2Config,
    Wav2Vec2FeatureExtractor,
    Wav2Vec2Model,
)

import openmulan
from tests.trainer.test_gradcache import WAV2VEC2
from tests.trainer.test_loop import losses, options, smallest
from trainer.bodies.body import AudioTowerConfig
from trainer.bodies.resnet import MuLanResNet, MuLanResNetConfig
from trainer.bodies.waves import Waves
from trainer.logmel import LogMelConfig
from trainer.loop import Ending
from trainer.model import Model, build
from trainer.recipes import Recipe, m_ast
from trainer.tasks.contrastive import train
from trainer.towers import AudioTower

pytestmark = pytest.mark.slow

TINY_RESNET: dict[str, Any] = {"embedding_size": 4, "hidden_sizes": [4, 8], "depths": [1, 1], "layer_type": "basic"}


def recipe_of(text_checkpoint: Path, **audio: Any) -> Recipe:
    return dataclasses.replace(smallest(text_checkpoint), audio=AudioTowerConfig(**audio))


def wave() -> torch.Tensor:
    return torch.randn(20_000, generator=torch.Generator().manual_seed(0)).mul(0.1)


def folder_of(path: Path, model: Any, **extractor: Any) -> Path:
    model.save_pretrained(path)
    if extractor:
        (path / "preprocessor_config.json").write_text(json.dumps(extractor))
    return path


@pytest.fixture
def wav2vec2(tmp_path: Path) -> Path:
    """A checkpoint that was trained without normalised waves."""
    torch.manual_seed(5)
    model = Wav2Vec2Model(Wav2Vec2Config(**{k: v for k, v in WAV2VEC2.items() if k != "model_type"}))
    return folder_of(tmp_path / "wav2vec2", model, sampling_rate=16_000, do_normalize=False)


@pytest.mark.parametrize("from_checkpoint", [False, True])
def test_a_wav2vec2_trains_and_is_saved_and_loaded_whole(
    from_checkpoint: bool, wav2vec2: Path, tone_run: Path, text_checkpoint: Path, tmp_path: Path
) -> None:
    start: dict[str, Any] = {"warm_start": str(wav2vec2)} if from_checkpoint else {"options": WAV2VEC2}
    recipe = recipe_of(text_checkpoint, body="auto_waves", **start)
    run = options(tone_run, tmp_path / "out", steps=3, workers=0, checkpoint_every=2)
    before = build(recipe, torch.device("cpu"))
    assert train(recipe, run) == Ending.DONE
    assert np.isfinite(losses(run.output)).all()
    for file in wav2vec2.iterdir():  # the model's folder stands alone
        file.unlink()
    model = openmulan.load(run.output / "model")
    assert model.towers.audio.front_end.extra_repr() == ("waves" if from_checkpoint else "normalised waves")
    assert "auto_waves, " in (run.output / "model" / "README.md").read_text()
    trained = load_file(run.output / "model" / "model.safetensors")
    moved = [name for name, value in before.towers.state_dict().items() if not torch.equal(value, trained[name])]
    assert any(name.startswith("audio.body.feature_extractor.") for name in moved)
    embeddings = model.embed_audio([wave()])
    assert np.abs(embeddings - before.embed_audio([wave()])).max() > 1e-4
    check_it_comes_back(model, tmp_path)


def check_it_comes_back(model: Model, folder: Path) -> None:
    model.save(folder / "again")
    again = openmulan.load(folder / "again")
    assert (again.embed_audio([wave()]) == model.embed_audio([wave()])).all()
    assert (again.embed_text(["slow piano"]) == model.embed_text(["slow piano"])).all()


def test_a_checkpoint_s_states_are_averaged_over_time(wav2vec2: Path) -> None:
    tower = AudioTower(AudioTowerConfig(body="auto_waves", warm_start=str(wav2vec2))).eval()
    theirs: Any = Wav2Vec2Model.from_pretrained(wav2vec2)
    with torch.inference_mode():
        wanted = theirs.eval()(wave()[None]).last_hidden_state.mean(dim=1)
        assert torch.equal(tower.features(tower.inputs(wave()[None])), wanted)


def test_waves_are_normalised_as_by_their_extractor() -> None:
    extractor: Any = Wav2Vec2FeatureExtractor(do_normalize=True)  # type: ignore[no-untyped-call]
    pcm = (wave() * 20_000 + 900).to(torch.int16)
    theirs = extractor((pcm / 32768).numpy(), sampling_rate=16_000, return_tensors="pt")["input_values"]
    torch.testing.assert_close(Waves(normalise=True)(pcm[None]), theirs, atol=1e-5, rtol=0)
    assert torch.equal(Waves(normalise=False)(pcm[None]), (pcm / 32768)[None])
    assert torch.equal(Waves(normalise=True)(torch.zeros(1, 400)), torch.zeros(1, 400))


@pytest.mark.parametrize(
    "shape",
    [
        {"model_type": "audio-spectrogram-transformer", "num_mel_bins": 32, "max_length": 100, "hidden_size": 16,
         "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16},
        {"model_type": "convnext", "num_channels": 1, "hidden_sizes": [4, 8, 8, 16], "depths": [1, 1, 1, 1],
         "hidden_size": 16},
    ],
)  # fmt: skip
def test_an_auto_model_takes_log_mels_as_frames_or_as_a_picture(
    shape: dict[str, Any], text_checkpoint: Path, tmp_path: Path
) -> None:
    mel = LogMelConfig(mel_bins=32, frames=100)
    model = build(
        recipe_of(text_checkpoint, body="auto_log_mel", options=shape, log_mel=mel, max_masked_bins=4),
        torch.device("cpu"),
    )
    assert model.towers.audio.features(torch.randn(3, 32, 100)).shape == (3, 16)
    check_it_comes_back(model, tmp_path)


def test_no_code_of_a_checkpoint_is_run(tmp_path: Path) -> None:
    """MERT on the hub: a class of its own in the repository."""
    folder = folder_of(tmp_path / "mert", Wav2Vec2Model(Wav2Vec2Config(**WAV2VEC2)), sampling_rate=16_000)
    (folder / "modeling_mert.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\n")
    config = json.loads((folder / "config.json").read_text())
    remote = {"AutoConfig": "modeling_mert.MERTConfig", "AutoModel": "modeling_mert.MERTModel"}
    (folder / "config.json").write_text(json.dumps({**config, "model_type": "mert_model", "auto_map": remote}))
    with pytest.raises(ValueError, match=r"mert: no AutoModel could be loaded .*custom code"):
        AudioTower(AudioTowerConfig(body="auto_waves", warm_start=str(folder)))
    assert not (tmp_path / "ran").exists()


def test_a_hubert_in_another_name_is_read(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = HubertModel(HubertConfig(**{k: v for k, v in WAV2VEC2.items() if k != "model_type"}))
    tower = AudioTower(AudioTowerConfig(body="auto_waves", warm_start=str(folder_of(tmp_path / "hubert", model))))
    assert tower.front_end.extra_repr() == "normalised waves"  # where nothing is said
    assert tower.width == 16


def test_what_cannot_be_a_body_is_one_line(wav2vec2: Path, tmp_path: Path) -> None:
    def tower(**values: Any) -> AudioTower:
        return AudioTower(AudioTowerConfig(**values))

    (wav2vec2 / "preprocessor_config.json").write_text(json.dumps({"sampling_rate": 24_000, "do_normalize": True}))
    for values, message in (
        ({"body": "auto_waves", "warm_start": str(wav2vec2)}, "takes audio at 24000 Hz, our clips have 16000"),
        ({"body": "auto_waves", "options": WAV2VEC2, "max_masked_frames": 20}, "SpecAugment has nothing to hide"),
        ({"body": "auto_waves"}, "needs a warm_start, or a model_type"),
        ({"body": "auto_waves", "options": {"model_type": "whisper", "d_model": 8, "encoder_layers": 1,
          "decoder_layers": 1, "encoder_attention_heads": 2,
          "decoder_attention_heads": 2, "vocab_size": 9, "pad_token_id": 0}}, "has a decoder"),
        ({"body": "auto_log_mel", "options": {"model_type": "resnet", **TINY_RESNET}}, "batch norm whose statistics"),
        ({"body": "wav2vec"}, "audio body 'wav2vec': it is one of resnet, ast, auto_waves, auto_log_mel, or package"),
        ({"body": "os:getcwd"}, "no class that derives from AudioBody"),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=message) as caught:
            tower(**values)
        assert "\n" not in str(caught.value)


def test_a_folder_does_not_bring_code_in(
    text_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a model's folder names is read from elsewhere; only what is already imported is a body of the user's."""
    build(smallest(text_checkpoint), torch.device("cpu")).save(tmp_path / "model")
    path = tmp_path / "model" / "config.json"
    value = json.loads(path.read_text())
    value["recipe"]["audio"]["body"] = "foreign_bodies:Body"
    path.write_text(json.dumps(value))
    (tmp_path / "foreign_bodies.py").write_text(
        "from pathlib import Path\nfrom trainer.bodies.resnet import ResNet as Body\n"
        "Path(__file__).with_name('ran').touch()\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ValueError, match="import foreign_bodies first, if you trust that code"):
        openmulan.load(tmp_path / "model")
    assert not (tmp_path / "ran").exists()
    try:
        __import__("foreign_bodies")
        assert openmulan.load(tmp_path / "model").embed_audio([wave()]).shape == (1, 128)
    finally:
        sys.modules.pop("foreign_bodies", None)


def test_plain_transformers_refuses_our_resnet_and_never_gives_it_another_stride(tmp_path: Path) -> None:
    torch.manual_seed(0)
    body: Any = MuLanResNet(MuLanResNetConfig(**TINY_RESNET))
    body.eval().save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="model type `mulan_resnet` but Transformers does not recognize"):
        AutoModel.from_pretrained(tmp_path)
    with pytest.raises(RuntimeError, match=r"(?i)mismatch"):
        ResNetModel.from_pretrained(tmp_path)
    again: Any = MuLanResNet.from_pretrained(tmp_path)
    assert again.embedder.embedder.convolution.stride == (1, 1)
    mel = torch.randn(2, 1, 32, 40)
    with torch.inference_mode():
        assert torch.equal(again(mel).pooler_output, body(mel).pooler_output)


def test_a_resnet_that_was_saved_under_the_name_of_transformers_is_taken(tmp_path: Path) -> None:
    """What `mulan pretrain` left before, which had no stride either."""
    ResNetModel(ResNetConfig(num_channels=1, **TINY_RESNET)).save_pretrained(tmp_path)
    tower = AudioTower(AudioTowerConfig(body="resnet", warm_start=str(tmp_path)))
    assert tower.body.embedder.embedder.convolution.stride == (1, 1)
    tower.body.save_pretrained(tmp_path / "again")
    assert json.loads((tmp_path / "again" / "config.json").read_text())["model_type"] == "mulan_resnet"
    with pytest.raises(RuntimeError, match=r"(?i)mismatch"):
        ResNetModel.from_pretrained(tmp_path / "again")


def test_a_model_that_was_saved_by_its_options_is_read(text_checkpoint: Path, tmp_path: Path) -> None:
    """Format 1 held a list of fields that was kept by hand, without what the log-mel decides."""
    shape = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    model = build(
        recipe_of(text_checkpoint, body="ast", options=shape, log_mel=LogMelConfig(mel_bins=32, frames=100)),
        torch.device("cpu"),
    )
    model.save(tmp_path / "model")
    path = tmp_path / "model" / "config.json"
    value = json.loads(path.read_text())
    assert value["format_version"] == 2
    kept = {name: value["bodies"]["audio"][name] for name in (*shape, "patch_size", "time_stride", "qkv_bias")}
    path.write_text(json.dumps({**value, "format_version": 1, "bodies": {**value["bodies"], "audio": kept}}))
    again = openmulan.load(tmp_path / "model")
    assert (again.embed_audio([wave()]) == model.embed_audio([wave()])).all()


def test_every_field_of_a_body_is_saved(text_checkpoint: Path, tmp_path: Path) -> None:
    """Fields that no list of ours ever had."""
    torch.manual_seed(1)
    theirs: Any = ASTModel(ASTConfig(
        hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16, layer_norm_eps=0.1,
        num_mel_bins=128, max_length=1024, frequency_stride=16, initializer_range=0.5, qkv_bias=False,
    ))  # fmt: skip
    audio = dataclasses.replace(m_ast().audio, warm_start=str(folder_of(tmp_path / "ast", theirs)))
    text = {**smallest(text_checkpoint).text.options, "layer_norm_eps": 0.1, "hidden_act": "relu"}
    recipe = smallest(text_checkpoint)
    recipe = dataclasses.replace(recipe, audio=audio, text=dataclasses.replace(recipe.text, options=text))
    model = build(recipe, torch.device("cpu"))
    model.save(tmp_path / "model")
    again = openmulan.load(tmp_path / "model")
    for ours, saved in ((model.towers.audio, again.towers.audio), (model.towers.text, again.towers.text)):
        before, after = (tower.body.config.to_dict() for tower in (ours, saved))
        ignored = {"_name_or_path", "architectures", "transformers_version", "dtype"}
        assert {k: v for k, v in before.items() if k not in ignored} == {
            k: v for k, v in after.items() if k not in ignored
        }
    check_it_comes_back(model, tmp_path)
