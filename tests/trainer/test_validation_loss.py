"""The validation loss looks at a recording as `embed_audio` does: at all of its windows, cut by one policy."""

import dataclasses
from pathlib import Path

import pytest
import torch

from schemas.run import Run
from tests.trainer.fixture_runs import tone_rows, write_run
from tests.trainer.test_loop import smallest
from trainer.data import Corpus
from trainer.dist import Ranks
from trainer.loss import contrastive_loss
from trainer.mixture import Mixture
from trainer.model import build
from trainer.validation_loss import Validation


@pytest.mark.slow
def test_it_is_the_loss_of_what_the_api_embeds(tmp_path: Path, text_checkpoint: Path) -> None:
    folder = write_run(tmp_path / "run", tone_rows(60, duration_s=2.6))
    run = Run.open(folder)
    recipe = smallest(text_checkpoint)
    recipe = dataclasses.replace(recipe, data=dataclasses.replace(recipe.data, validation_fraction=0.5))
    corpus = Corpus.open([str(folder)], recipe.data)
    model = build(recipe, torch.device("cpu"))
    validation = Validation.open(corpus, model, Mixture(), Ranks())
    assert validation._batch is not None
    batch, owners_N = validation._batch
    assert owners_N.tolist() == [pair for pair in range(len(batch.examples)) for _ in range(3)]  # 0, 1 and 1.6 s
    clips = {row["recording_id"]: row["audio"] for group in run.row_groups() for row in run.read(group).to_pylist()}
    audio = model.embed_audio([clips[example.row.recording_id] for example in batch.examples])
    text = model.embed_text([example.text for example in batch.examples])
    temperature = model.towers.log_temperature.detach()
    expected = contrastive_loss(
        torch.from_numpy(audio), torch.from_numpy(text), temperature, batch.text_ids_R, recipe.loss
    )
    assert validation.run()["loss"] == pytest.approx(float(expected.loss), abs=1e-5)
