"""The finished model folder: weights, configuration, tokenizer, and a card that names data, recipe and results."""

import math
from collections.abc import Mapping
from pathlib import Path

from schemas.run import Run
from schemas.sources import TextSource
from trainer.data import Corpus
from trainer.mixture import NAMES, Mixture
from trainer.model import Model
from trainer.split import Split

_CARD = """---
library_name: openmulan
pipeline_tag: feature-extraction
tags: [music, audio, text, contrastive]
---

# {name}: a joint embedding of music audio and natural language

Trained by `mulan train`, after MuLan (Huang et al., 2022).

```python
import openmulan

model = openmulan.load("THIS FOLDER")
similarity = model.embed_audio(["song.mp3"]) @ model.embed_text(["slow piano"]).T
```

## Data

{data}

{recordings} recordings were trained on; {validation} were kept for validation and {held_out} held out, by
near-duplicate group. Mixture {mixture} ({sources}) in every batch. {filtered}

## Recipe

| | |
|---|---|
{recipe}

## Results

{results}
"""


def write_card(
    model: Model, folder: Path, corpus: Corpus, mixture: Mixture, steps: int, results: Mapping[str, float]
) -> None:
    """Save the model with its card."""
    recipe = model.recipe
    rows = {
        "recipe": recipe.name,
        "audio tower": f"{recipe.audio.body}, {model.towers.audio.front_end.extra_repr()}",
        "audio warm start": recipe.audio.warm_start or "none",
        "text warm start": recipe.text.warm_start or "none",
        "batch size": recipe.batch_size,
        "steps": steps,
        "loss": recipe.loss.kind,
        "learning rate": recipe.optimizer.learning_rate,
        "initial temperature": recipe.loss.initial_temperature,
        "seed": recipe.seed,
    }
    measured = "\n".join(f"- {name}: {_number(value)}" for name, value in sorted(results.items()))
    card = _CARD.format(
        name=recipe.name,
        data="\n".join(_describe(run) for run in corpus.runs),
        recordings=corpus.recordings[Split.TRAIN],
        validation=corpus.recordings[Split.VALIDATION],
        held_out=corpus.recordings[Split.HELD_OUT],
        mixture=mixture.text,
        sources=NAMES,
        filtered=filter_words(corpus, mixture),
        recipe="\n".join(f"| {name} | {value} |" for name, value in rows.items()),
        results=measured or "None were measured.",
    )
    model.save(folder, card)


def _number(value: float) -> str:
    return f"{value:.4f}" if math.isfinite(value) else "not finite"


def filter_words(corpus: Corpus, mixture: Mixture) -> str:
    """What stands between the texts that were mined and those that were trained on."""
    if not corpus.config.filtered:
        return "Texts were not filtered: short forms from before the rules, sentences whatever their score."
    said = ["Short forms are what the rules have left."] if TextSource.SF in mixture.sources else []
    if TextSource.LF in mixture.sources:
        unscored = corpus.unscored(mixture)
        thresholds = sorted({score for run in corpus.runs if (score := corpus.config.rules.threshold(run)) is not None})
        if thresholds:
            scores = " and ".join(f"{score:.3g}" for score in thresholds)
            said.append(f"Sentences are those that a classifier gave {scores} or more.")
        if unscored:
            whose = (
                "Sentences"
                if len(unscored) == len(corpus.runs)
                else f"Those of {len(unscored)} of {len(corpus.runs)} runs"
            )
            said.append(f"{whose} were **not filtered**, spam included: they were mined without a classifier.")
    return " ".join(said)


def _describe(run: Run) -> str:
    manifest = run.manifest
    return (
        f"- a mined run of {sum(shard.rows for shard in manifest.shards)} recordings: manifest {manifest.digest()}, "
        f"catalogue {manifest.catalogue_digest}, music detector {manifest.detector.name}, "
        f"sentence classifier {manifest.long_form.model}"
    )
