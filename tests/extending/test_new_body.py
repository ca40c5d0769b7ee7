"""The audio body of `docs/extending.md`, as it stands there: trained, saved, loaded."""

import dataclasses
import importlib
import sys
from pathlib import Path

import numpy as np
import pytest

import openmulan
from tests.extending.document import blocks
from tests.trainer.test_loop import losses, options, smallest
from trainer.loop import Ending
from trainer.tasks.contrastive import train

pytestmark = pytest.mark.slow


def test_a_body_of_ones_own(
    tone_run: Path, text_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (code,) = blocks("An audio body", "python")
    (tmp_path / "my_bodies.py").write_text(code, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    try:
        recipe = importlib.import_module("my_bodies").tiny_vit()
        # Texts without the hub, and shuffled in a run this small.
        recipe = dataclasses.replace(
            recipe,
            text=smallest(text_checkpoint).text,
            data=dataclasses.replace(recipe.data, buffer_rows=24),
        )
        run = options(tone_run, tmp_path / "out", steps=2, workers=0)
        assert train(recipe, run) == Ending.DONE
        assert np.isfinite(losses(run.output)).all()
        model = openmulan.load(run.output / "model")
        assert type(model.towers.audio.body).__name__ == "ViTModel"
        assert model.recipe.audio.body == "my_bodies:ViT"
        waves = [np.sin(np.arange(80_000) * pitch / 16_000).astype(np.float32) for pitch in (700, 9000)]
        found = model.embed_audio(waves)
        assert found.shape == (2, 128)
        assert np.abs(found[0] - found[1]).max() > 1e-4
        again = openmulan.load(run.output / "checkpoints" / "step-00000002")
        assert (again.embed_audio(waves) == found).all()
    finally:
        sys.modules.pop("my_bodies", None)
