"""Settings by name: what a command line says is a value of its field's type, or one line that names the fields."""

import argparse
import dataclasses
import functools
import json
from pathlib import Path
from typing import Any

import pytest

from trainer.flags import FLAGS, RECIPES, add_recipe_arguments, find_recipe, recipe_from
from trainer.mixture import Mixture
from trainer.recipes import Recipe, tiny
from trainer.settings import with_settings
from trainer.tasks.classification import for_classes


def leaf(recipe: Recipe, name: str) -> Any:
    return functools.reduce(lambda plain, field: plain[field], name.split("."), recipe.to_json())


def parsed(*arguments: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    add_recipe_arguments(parser, tuple(FLAGS))
    return parser.parse_args(["--recipe", "tiny", *arguments])


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("optimizer.beta2=0.98", 0.98),
        ("optimizer.learning_rate=1", 1.0),
        ("batch_size=96", 96),
        ("audio.log_mel.mel_bins=32", 32),
        ("audio.freeze_batch_norm=True", True),
        ("data.filtered=false", False),
        ("data.lf_threshold=0.25", 0.25),
        ("data.lf_threshold=none", None),
        ("data.mixture=1:0:2:0", {"sf": 1, "lf": 0, "pl": 2, "aset": 0}),
        ("data.mixture.aset=7", 7),
        ('data.held_out_ids=["a", "b"]', ("a", "b")),
        ('audio.options={"depths": [1, 2]}', {"depths": [1, 2]}),
        ("audio.options.depths=[1, 2]", [1, 2]),
        ("audio.options.layer_type=bottleneck", "bottleneck"),
        ("text.tokenizer=a=b", "a=b"),
    ],
)
def test_a_setting_is_read_by_the_type_of_its_field(setting: str, value: Any) -> None:
    found = leaf(recipe_from(parsed("--set", setting)), setting.partition("=")[0])
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("optimiser.beta2=1", "optimiser.beta2=1: Recipe has no 'optimiser'; it has name, audio, text, batch_size, "),
        ("optimizer.beta3=1", "optimizer has no 'beta3'; it has learning_rate, schedule, "),
        ("audio.log_mel.bins=1", "log_mel has no 'bins'; it has mel_bins, frames, "),
        ("audio.log_mel=1", "log_mel is a section; set one of log_mel.mel_bins, "),
        ("seed.x=1", "seed has no 'x'; it is a value"),
        ("seed=0.5", "seed=0.5: 0.5 is not a whole number"),
        ("seed=none", "none is not a whole number"),
        ("optimizer.beta1=nan", "nan is not a finite number"),
        ("data.filtered=yes", "yes is not true or false"),
        ("data.held_out_ids=a", "a is not a JSON list"),
        ("audio.options=[]", "[] is not a JSON object"),
        ("data.mixture=2:2", "data.mixture=2:2: mixture '2:2' is not "),
        (
            "batch_size=50",
            "a multiple of 48, or lanes and ghost batch others, such as --set lanes=5 --set audio.ghost_batch_size=10",
        ),
        ("loss.kind=l2", "loss is 'l2'; it may be mulan or clip"),
        ("seed", "--set seed: it has the form section.field=value"),
    ],
)
def test_a_setting_that_is_none_is_one_line(setting: str, message: str) -> None:
    with pytest.raises(ValueError, match=r"^[^\n]*$") as caught:
        recipe_from(parsed("--set", setting))
    assert message in str(caught.value)


def test_flags_are_short_names_of_settings_and_set_comes_last() -> None:
    for name, flag in FLAGS.items():
        leaf(tiny(), flag.setting)
        assert parsed(f"--{name}", *([] if flag.value else ["x"])) is not None
    recipe = recipe_from(parsed("--seed", "3", "--compile", "--unfiltered", "--set", "seed=4", "--mixture", "1:1:0:0"))
    assert recipe == dataclasses.replace(
        tiny(),
        seed=4,
        compute=dataclasses.replace(tiny().compute, compile=True),
        data=dataclasses.replace(tiny().data, filtered=False, mixture=Mixture(sf=1, lf=1, pl=0, aset=0)),
    )
    assert recipe_from(parsed()) == tiny()


def test_a_text_checkpoint_brings_its_tokenizer_unless_another_is_named() -> None:
    assert recipe_from(parsed("--text_checkpoint", "bert")).text.tokenizer is None
    assert recipe_from(parsed("--tokenizer", "words", "--text_checkpoint", "bert")).text.tokenizer == "words"


def test_what_a_task_needs_comes_before_the_command_line() -> None:
    assert recipe_from(parsed(), for_classes).optimizer.learning_rate == 1e-4
    changed = recipe_from(parsed("--learning_rate", "0.5"), for_classes)
    assert (changed.optimizer.learning_rate, changed.data.mixture.text) == (0.5, "0:0:0:1")


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_is_read_back_from_json_and_lacking_settings_have_their_default(name: str) -> None:
    recipe = find_recipe(name)
    plain = json.loads(json.dumps(recipe.to_json()))
    assert Recipe.from_json(plain) == recipe
    del plain["optimizer"]["beta2"], plain["loss"]["mask_shared_texts"]
    assert Recipe.from_json(plain) == recipe


def test_a_recipe_that_is_none_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "faulty_recipes.py").write_text(
        "from trainer.recipes import tiny\ndef needy(size):\n    return tiny()\ndef wrong():\n    return 3\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    for name, message in (
        ("huge", "recipe 'huge': it is one of m_resnet50, m_ast, tiny, or package.module:factory of your own"),
        ("faulty_recipes:none", "recipe 'faulty_recipes:none': faulty_recipes has no 'none'"),
        ("faulty_recipes:wrong", "it returns no trainer.recipes.Recipe but a int"),
        ("faulty_recipes:needy", "missing 1 required positional argument"),
    ):
        with pytest.raises(ValueError, match="recipe") as caught:
            find_recipe(name)
        assert message in str(caught.value)


def test_settings_are_taken_together() -> None:
    """Each alone would not fit the other's old value."""
    recipe = with_settings(
        tiny(), [("audio.ghost_batch_size", "8"), ("batch_size", "64"), ("compute.audio_chunk", "32")]
    )
    assert (recipe.audio.ghost_batch_size, recipe.batch_size) == (8, 64)
