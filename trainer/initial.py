"""Fine-tuning: a model that begins with the towers of another one, its tokenizer and its front end."""

import dataclasses
import logging
from typing import Any

import torch

from trainer.model import Model, load
from trainer.recipes import Recipe
from trainer.settings import differences
from trainer.towers import AudioTower, MuLan, TextTower
from trainer.trained_on import Training

log = logging.getLogger(__name__)


def fine_tuned(recipe: Recipe, name: str, device: torch.device, training: Training) -> Model:
    """The recipe's model with the weights of a model folder, or of one on the hub.

    What the model was trained on counts as seen. Raises ValueError where there is no model, or the towers of the recipe
    are others.
    """
    source = load(name)
    if found := next(differences(_towers(source.recipe), _towers(recipe)), None):
        setting, there, asked = found
        raise ValueError(
            f"--init_from {name}: its {setting} is {there!r}, that of recipe {recipe.name} is {asked!r}; give the "
            "recipe that it was trained by, or --set it"
        )
    folder = source.tokenizer.name_or_path
    front_end = dataclasses.replace(recipe.audio, warm_start=None, log_mel=source.recipe.audio.log_mel)
    words = dataclasses.replace(recipe.text, warm_start=None, tokenizer=folder)
    towers = MuLan(
        AudioTower(front_end, source.towers.audio.body.config.to_diff_dict()),
        TextTower(words, source.towers.text.body.config.to_diff_dict()),
        recipe.loss.initial_temperature,
    )
    towers.load_state_dict(source.towers.state_dict())
    seen = dict.fromkeys((*training.manifests, *source.training.manifests))
    training = dataclasses.replace(training, manifests=tuple(seen))
    log.info("weights of %s, which was trained on %d manifests", name, len(source.training.manifests))
    audio = dataclasses.replace(recipe.audio, log_mel=towers.audio.config.log_mel)
    return Model(towers.to(device), source.tokenizer, dataclasses.replace(recipe, audio=audio), training)


def _towers(recipe: Recipe) -> dict[str, Any]:
    """What a recipe says of the shapes; what a warm start brings is in the weights."""
    log_mel = dataclasses.asdict(recipe.audio.log_mel) | {"mean": None, "std": None}
    return {
        "audio": {"body": recipe.audio.body, "options": recipe.audio.options, "log_mel": log_mel},
        "text": {"options": recipe.text.options},
    }
