"""The settings of a recipe on a command line: `--set section.field=value`, and short names for the common ones.

Every setting has one name, its place in the `Recipe`, and a flag is no more than another spelling of it. Nothing heavy
is imported before a recipe is asked for.
"""

import argparse
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from schemas.lookup import find_factory
from trainer.mixture import NAMES
from trainer.settings import with_settings

if TYPE_CHECKING:
    from trainer.recipes import Recipe

# Name -> its function, which returns a Recipe.
RECIPES = {name: f"trainer.recipes:{name}" for name in ("m_resnet50", "m_ast", "tiny")}


def find_recipe(name: str) -> "Recipe":
    """One of ours, or `package.module:function` of your own. Raises ValueError."""
    from trainer.recipes import Recipe

    try:
        recipe = find_factory(name, RECIPES, "recipe")()
    except TypeError as error:
        raise ValueError(f"recipe {name!r}: {error}") from error
    if not isinstance(recipe, Recipe):
        raise ValueError(f"recipe {name!r}: it returns no trainer.recipes.Recipe but a {type(recipe).__name__}")
    return recipe


def _ids_of(path: str) -> str:
    from trainer.evaluation.readers.mined import read_id_list

    return json.dumps(sorted(read_id_list(Path(path))))


@dataclass(frozen=True, kw_only=True)
class Flag:
    """A short name of a setting. One with a `value` takes none; `read` makes the setting's text of what is given, and
    `also` are settings that go with it."""

    setting: str
    help: str
    metavar: str | None = None
    value: str | None = None
    read: Callable[[str], str] = str
    also: tuple[tuple[str, str], ...] = ()


FLAGS: dict[str, Flag] = {
    "epochs": Flag(setting="epochs", help="an epoch is the recordings that its sources reach ÷ batch size, in steps"),
    "batch_size": Flag(setting="batch_size", help="pairs of a global mini-batch, over all ranks"),
    "seed": Flag(setting="seed", help="of weights, draws and dropout"),
    "learning_rate": Flag(setting="optimizer.learning_rate", help="at the first step"),
    "schedule": Flag(
        setting="optimizer.schedule", help="of the learning rate; step is the paper's", metavar="step|cosine|constant"
    ),
    "warmup_steps": Flag(setting="optimizer.warmup_steps", help="in which the learning rate rises"),
    "weight_decay": Flag(setting="optimizer.weight_decay", help="AdamW's, of matrices and kernels alone"),
    "clip_norm": Flag(setting="optimizer.clip_norm", help="of the gradient"),
    "audio_rate": Flag(setting="optimizer.audio_rate", help="multiplies the learning rate of the audio tower"),
    "text_rate": Flag(setting="optimizer.text_rate", help="multiplies the learning rate of the text tower"),
    "lock": Flag(
        setting="optimizer.locked",
        help="what stays as it is",
        metavar="audio|audio.body|text|text.body",
        read=lambda names: json.dumps(names.split(",")),
    ),
    "mixture": Flag(setting="data.mixture", help="of every batch", metavar=NAMES),
    "missing_sources": Flag(
        setting="data.missing_sources", help="where no row has text of a source", metavar="refuse|reweight"
    ),
    "unfiltered": Flag(setting="data.filtered", value="false", help="the texts before rules and classifier"),
    "lf_threshold": Flag(setting="data.lf_threshold", help="score that a sentence needs, or none: each manifest's"),
    "validation_fraction": Flag(setting="data.validation_fraction", help="of the recordings, never trained on"),
    "hold_out": Flag(
        setting="data.held_out_ids",
        help="recording ids, one a line, that are never trained on",
        metavar="FILE",
        read=_ids_of,
    ),
    "buffer_rows": Flag(setting="data.buffer_rows", help="rows of a stream that are shuffled at once"),
    "verify_shards": Flag(
        setting="data.verify_shards", value="true", help="check every shard's hash before the first step"
    ),
    "skip_corrupt": Flag(setting="data.skip_corrupt", value="true", help="leave broken shards out instead of refusing"),
    "audio_checkpoint": Flag(
        setting="audio.warm_start", help="an AST, or a ResNet of `mulan pretrain`", metavar="DIR|NAME"
    ),
    "freeze_batch_norm": Flag(setting="audio.freeze_batch_norm", value="true", help="as the checkpoint has it"),
    "ghost_batch_size": Flag(setting="audio.ghost_batch_size", help="examples that batch norm sees together"),
    "text_checkpoint": Flag(
        setting="text.warm_start",
        help="a BERT to start from, which brings its tokenizer",
        metavar="DIR|NAME",
        also=(("text.tokenizer", "none"),),
    ),
    "tokenizer": Flag(setting="text.tokenizer", help="for a text tower that starts at random", metavar="DIR|NAME"),
    "loss": Flag(setting="loss.kind", help="the paper's, or CLIP's to compare with", metavar="mulan|clip"),
    "initial_temperature": Flag(setting="loss.initial_temperature", help="τ at the first step"),
    "mask_shared_texts": Flag(
        setting="loss.mask_shared_texts", value="true", help="leave pairs of one text out of denominators"
    ),
    "audio_chunk": Flag(setting="compute.audio_chunk", help="windows that go through the tower at once"),
    "text_tokens": Flag(setting="compute.text_tokens", help="padded WordPieces that go through the tower at once"),
    "precision": Flag(setting="compute.precision", help="of the towers", metavar="float32|tf32|bfloat16"),
    "gradient_checkpointing": Flag(
        setting="compute.gradient_checkpointing", value="true", help="less memory, a second forward pass more"
    ),
    "compile": Flag(setting="compute.compile", value="true", help="torch.compile the towers"),
}


def add_recipe_arguments(parser: argparse.ArgumentParser, flags: Sequence[str]) -> None:
    """`--recipe`, `--set`, and those of the flags that a command takes."""
    group = parser.add_argument_group("recipe", "Each flag is short for --set with the name in brackets.")
    group.add_argument(
        "--recipe", required=True, metavar="NAME", help=f"{', '.join(RECIPES)}, or package.module:function of your own"
    )
    group.add_argument(
        "--set",
        dest="settings",
        action="append",
        default=[],
        metavar="SECTION.FIELD=VALUE",
        help="any setting of the recipe, as optimizer.beta2=0.98; may be repeated",
    )
    parser.set_defaults(flags=[name for name in FLAGS if name in flags])
    for name in flags:
        flag = FLAGS[name]
        text = f"{flag.help} [{flag.setting}]"
        if flag.value is not None:
            group.add_argument(f"--{name}", action="store_const", const=flag.value, help=text)
        else:
            group.add_argument(f"--{name}", metavar=flag.metavar or "X", help=text)


def recipe_from(arguments: argparse.Namespace, adapt: Callable[["Recipe"], "Recipe"] | None = None) -> "Recipe":
    """The named recipe, adapted to what the command learns, with what the command line changes. Raises ValueError."""
    recipe = find_recipe(arguments.recipe)
    return with_settings(adapt(recipe) if adapt is not None else recipe, _settings(arguments))


def _settings(arguments: argparse.Namespace) -> list[tuple[str, str]]:
    """(name, text) of each, those of `--set` last."""
    settings: list[tuple[str, str]] = []
    for name in arguments.flags:
        if (given := getattr(arguments, name)) is not None:
            flag = FLAGS[name]
            settings += [*flag.also, (flag.setting, flag.read(given))]
    for setting in arguments.settings:
        name, separator, text = setting.partition("=")
        if not separator:
            raise ValueError(f"--set {setting}: it has the form section.field=value")
        settings.append((name, text))
    return settings
