"""A CLAP checkpoint behind the evaluator's contract, and behind an index."""

from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

import openmulan
from tests.trainer.evaluation.clap_world import write_clap
from tests.trainer.test_embed_command import write_music
from trainer.evaluation.model import JointModel, digest_folder
from trainer.evaluation.models import load_model
from trainer.evaluation.peers.clap import Clap
from trainer.search.index import Index


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_clap(tmp_path_factory.mktemp("clap") / "model")


@pytest.mark.parametrize("fusion", [False, True])
def test_rows_are_unit_and_the_same_each_time(fusion: bool, tmp_path: Path) -> None:
    model: JointModel = Clap(write_clap(tmp_path / "model", fusion=fusion), "cpu")
    rng = np.random.default_rng(0)
    waves = [rng.uniform(-0.5, 0.5, size).astype(np.float32) for size in (4_000, 16_000, 40_000)]
    rows, texts = model.embed_audio(waves), model.embed_text(["slow piano", "loud drums"])
    assert rows.shape == (3, 16)
    np.testing.assert_allclose(np.linalg.norm(np.concatenate([rows, texts]), axis=1), 1, atol=1e-5)
    np.testing.assert_allclose(model.embed_audio(waves), rows, atol=1e-6)  # a fused one draws nothing at random
    assert not np.allclose(texts[0], texts[1])
    # A short one goes on with itself, as the checkpoint's own processor has it.
    np.testing.assert_allclose(model.embed_audio([np.tile(waves[0], 4)]), rows[:1], atol=1e-4)
    assert model.embed_text([]).shape == (0, 16)


def test_the_evaluator_takes_it_by_its_name(folder: Path) -> None:
    model, label, digest, manifests = load_model(f"clap:{folder}")
    assert isinstance(model, Clap)
    assert (label, digest, manifests) == (f"CLAP {folder.parent.name}/{folder.name}", digest_folder(folder), ())


def test_an_index_by_it(folder: Path, tmp_path: Path) -> None:
    write_music(tmp_path / "music", 4, seconds=1.5)
    words = ["search", "index", f"clap:{folder}", str(tmp_path / "music"), "--output", str(tmp_path / "index")]
    assert openmulan.main([*words, "--windows", "--device", "cpu"]) == 0
    index = Index.open(tmp_path / "index")
    assert (index.about.kind, index.about.dimension, index.about.window_s) == ("clap", 16, 1.0)
    assert index.about.model_digest == digest_folder(folder)
    assert index.about.caution is None
    assert len(index.search("slow piano", k=4)) == 4
    moved = tmp_path / "moved"
    moved.mkdir()
    for path in folder.iterdir():
        (moved / path.name).write_bytes(path.read_bytes())
    assert len(Index.open(tmp_path / "index", model=f"clap:{moved}").search("slow piano", k=4)) == 4


def test_what_is_none_is_one_line(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="there is no such folder"):
        Clap(tmp_path / "absent")
    tmp_path.joinpath("config.json").write_text("{}")
    with pytest.raises(ValueError, match="not a CLAP checkpoint of transformers") as error:
        Clap(tmp_path)
    assert "\n" not in str(error.value)
    # What transformers would draw at random is refused.
    partial = tmp_path / "partial"
    partial.mkdir()
    for path in folder.iterdir():
        (partial / path.name).write_bytes(path.read_bytes())
    weights = load_file(partial / "model.safetensors")
    del weights["audio_projection.linear1.weight"]
    save_file(weights, partial / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ValueError, match=r"has no weights for audio_projection\.linear1\.weight"):
        Clap(partial)
