"""The recipe of `docs/extending.md`, as it stands there."""

import argparse
import re
from pathlib import Path

import pytest

from trainer.flags import FLAGS, add_recipe_arguments, recipe_from

pytestmark = pytest.mark.slow

PAGE = Path(__file__).resolve().parents[2] / "docs" / "extending.md"


def test_a_recipe_of_ones_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    section = PAGE.read_text(encoding="utf-8").partition("\n## A recipe\n")[2].partition("\n## ")[0]
    code, command = (re.search(f"```{kind}\n(.*?)```", section, re.DOTALL) for kind in ("python", "sh"))
    assert code
    assert command
    (tmp_path / "own_recipes.py").write_text(code[1], encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    parser = argparse.ArgumentParser()
    add_recipe_arguments(parser, tuple(FLAGS))
    given, _ = parser.parse_known_args(command[1].partition("mulan train ")[2].split())
    recipe = recipe_from(given)
    assert (recipe.name, recipe.epochs, recipe.seed, recipe.batch_size) == ("patient", 99.0, 8, 48)
    assert (recipe.optimizer.learning_rate, recipe.optimizer.beta2) == (3e-4, 0.98)
