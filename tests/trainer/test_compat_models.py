"""Models, checkpoints and sentence classifiers of older commits: the same embeddings and scores.

The files are those of `tests/compat/make_fixtures.py`.
"""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.compat.make_fixtures import ROOT, read_models, read_scores
from trainer.loop import TrainOptions
from trainer.model import load
from trainer.tasks.contrastive import train

FIXTURES = Path(__file__).resolve().parents[1] / "compat"
COMMITS = sorted(path.parent.name for path in FIXTURES.glob("*/expected.json"))
# Kernels of another CPU, or another release of torch, add up in another order.
TOLERANCE = 1e-4


@pytest.fixture(params=COMMITS)
def old(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "old"
    shutil.copytree(FIXTURES / request.param, folder)
    monkeypatch.chdir(folder)
    return folder


def expected(folder: Path, name: str) -> Any:
    return json.loads((folder / "expected.json").read_text(encoding="utf-8"))[name]


def test_models_and_checkpoints_embed_as_they_did(old: Path) -> None:
    found, wanted = read_models(old), expected(old, "models")
    assert found.keys() == wanted.keys()
    for name, embeddings in wanted.items():
        for kind, rows in embeddings.items():
            np.testing.assert_allclose(found[name][kind], rows, atol=TOLERANCE, err_msg=f"{name}, {kind}")


def test_a_sentence_classifier_scores_as_it_did(old: Path) -> None:
    np.testing.assert_allclose(read_scores(old), expected(old, "classifier"), atol=TOLERANCE)


@pytest.mark.slow
def test_training_does_not_go_on_with_other_batches(old: Path) -> None:
    """This version draws them otherwise than the one that made the checkpoint."""
    shutil.copytree(old / "trained" / "model", old / "bert")  # the tokenizer that the recipe names
    options = TrainOptions(
        data=(str(ROOT / "mined" / "parquet"),), output=old / "trained", steps=3, workers=0, checkpoint_every=1
    )
    before = sorted(path.name for path in (old / "trained" / "checkpoints").iterdir())
    with pytest.raises(ValueError, match=r"an older openmulan, which drew its mini-batches otherwise.*--init_from"):
        train(load(old / "trained" / "model").recipe, options)
    assert sorted(path.name for path in (old / "trained" / "checkpoints").iterdir()) == before
