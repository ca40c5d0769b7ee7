"""Real sentences that two annotators labelled: `sentences.jsonl`, `annotator_1.jsonl` and `annotator_2.jsonl`."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from filters.long_form.data import prepare_sentence


def agreed_sentences(folder: Path) -> Iterator[tuple[str, str, str, bool]]:
    """Id, source, prepared text and label of what the annotators agree on."""
    labels = [
        {value["item_id"]: value["label"] for value in _jsonl(folder / f"annotator_{number}.jsonl")}
        for number in (1, 2)
    ]
    for item in _jsonl(folder / "sentences.jsonl"):
        one, two = (by_item.get(item["item_id"]) for by_item in labels)
        if one == two and one in ("yes", "no"):
            yield item["item_id"], item["source"], prepare_sentence(item["text"]), one == "yes"


def is_caption(source: str) -> bool:
    return source.startswith("musiccaps")


def read_agreed(folder: Path) -> tuple[list[str], np.ndarray[Any, Any]]:
    """Texts and labels on which the annotators agree, MusicCaps left out."""
    found = [one for one in agreed_sentences(folder) if not is_caption(one[1])]
    return [text for _, _, text, _ in found], np.array([is_music for *_, is_music in found])


def _jsonl(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
