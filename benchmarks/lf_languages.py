"""What becomes of text that is not English in rules, sentences and gates, and how much of it the seed has.

    python -m benchmarks.lf_languages
    python -m benchmarks.lf_languages --cells DIR    # the classifier as well: five trainings, which go on from DIR

The sample is the packaged seed: its 82 sentences in 19 other languages, beside its 618 in English. Rules: what a title
in another language gets added by those who upload it (a list below). Sentences: two of a language, one behind the other
with that script's stop, are to be cut apart again. Gates: by default, with English alone wanted, and with the own
language wanted. Classifier: how the packaged MiniLM (or `--encoder`), which was pretrained on English, ranks the
sentences of each fold of the seed after a training on the others.
"""

import argparse
import json
import sys
from collections import Counter, defaultdict
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.fine_tuned import FineTuned
from benchmarks.machine import write_result
from filters.annotation.sampling import script_of
from filters.long_form.data import SEED_PATH, examples_digest, grouped_folds, read_seed
from filters.long_form.gates import judge
from filters.long_form.metrics import average_precision, bootstrap, roc_auc
from filters.long_form.sentences import sentences
from filters.long_form.unfinished import Unfinished
from filters.short_form.rules import Field, clean

TITLES = {
    "de": "Nachtzug (Offizielles Video)",
    "fr": "Train de nuit (Clip officiel)",
    "es": "Tren nocturno (Vídeo oficial)",
    "pt": "Trem noturno (Clipe oficial)",
    "it": "Treno notturno (Video ufficiale)",
    "pl": "Nocny pociąg (Oficjalny teledysk)",
    "tr": "Gece treni (Resmi video)",
    "ru": "Ночной поезд (Официальный клип)",
    "ja": "夜行列車（公式ミュージックビデオ）",
    "ko": "밤기차 (공식 뮤직비디오)",
    "zh": "夜行列车（官方MV）",
    "ar": "قطار الليل (الفيديو الرسمي)",
    "en": "Night Train (Official Video)",
}
FOLDS = 5
_STOPS = {"cjk": "。", "devanagari": "।", "bengali": "।", "arabic": "؟"}


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cells", type=Path, metavar="DIR", help="measure the classifier; finished trainings lie here")
    parser.add_argument("--encoder", default="", help="what is fine-tuned (default: the packaged MiniLM)")
    arguments = parser.parse_args(argv)
    rows = [json.loads(line) for line in SEED_PATH.read_text(encoding="utf-8").splitlines()]
    texts: defaultdict[str, list[str]] = defaultdict(list)
    for row in rows:
        texts[row["language"]].append(row["text"])
    result: dict[str, Any] = {
        "seed": {
            language: {
                "sentences": len(found),
                "positive": sum(row["label"] == "yes" for row in rows if row["language"] == language),
            }
            for language, found in sorted(texts.items(), key=lambda one: (-len(one[1]), one[0]))
        },
        "rules": {language: clean(title, Field.TITLE).text for language, title in TITLES.items()},
        "sentences": both(texts, cut_apart),
        "gates": {
            "default": both(texts, lambda _, found: refused(found, frozenset())),
            "english_wanted": both(texts, lambda _, found: refused(found, frozenset({"en"}))),
            "own_language_wanted": both(texts, lambda language, found: refused(found, frozenset({language}))),
        },
    }
    if arguments.cells is not None:
        languages = {row["item_id"]: row["language"] for row in rows}
        result["classifier"] = ranked(FineTuned(arguments.encoder), languages, arguments.cells)
    command = "python -m benchmarks.lf_languages" + (" --cells DIR" if arguments.cells else "")
    write_result("lf_languages", result, packages=("torch", "transformers", "py3langid"), command=command)
    return 0


def ranked(classifier: FineTuned, languages: dict[str, str], place: Path) -> dict[str, Any]:
    """Of English and of all others together, each sentence by a classifier that saw nothing of its group."""
    torch.set_num_threads(1)
    seed = read_seed()
    finished = Unfinished(place, {"seed": examples_digest(seed), "folds": FOLDS, **classifier.asked()})
    precision = classifier.use_half(finished.value)
    fold_of = np.array(grouped_folds(seed, FOLDS, seed=0))
    logits = np.zeros(len(seed))
    for fold in range(FOLDS):
        train = [one for one, its in zip(seed, fold_of, strict=True) if its != fold]
        texts = [one.text for one, its in zip(seed, fold_of, strict=True) if its == fold]
        logits[fold_of == fold] = finished.value(f"fold-{fold}", partial(classifier.logits, train, texts))
    is_music = np.array([one.is_music for one in seed])
    is_english = np.array([languages[one.item_id] == "en" for one in seed])
    figures = {
        name: {
            "sentences": int(chosen.sum()),
            "positive": int(is_music[chosen].sum()),
            "roc_auc": bootstrap(is_music[chosen], logits[chosen], roc_auc).to_json(),
            "average_precision": bootstrap(is_music[chosen], logits[chosen], average_precision).to_json(),
        }
        for name, chosen in (("english", is_english), ("others", ~is_english))
    }
    return {"trained_in": precision, **figures}


def both(texts: dict[str, list[str]], measure: Any) -> dict[str, Any]:
    """English, and all others together."""
    sums: dict[str, Counter[str]] = {"english": Counter(), "others": Counter()}
    for language, found in texts.items():
        sums["english" if language == "en" else "others"] += Counter(measure(language, found))
    return {name: dict(sorted(counts.items())) for name, counts in sums.items()}


def cut_apart(_: str, found: Sequence[str]) -> dict[str, int]:
    """How many neighbours that stand on one line, a stop between them, come out as the two that they were."""
    pairs = list(zip(found[::2], found[1::2], strict=False))
    joined = []
    for first, second in pairs:
        stop = _STOPS.get(script_of(first), ".")
        ended = first if first[-1] in ".!?。！？।؟…" else first + stop
        joined.append(sentences(f"{ended} {second}"))
    return {"pairs": len(pairs), "cut_once": sum(len(parts) == 2 for parts in joined)}


def refused(found: Sequence[str], languages: frozenset[str]) -> Counter[str]:
    reasons = (judge(text, languages) for text in found)
    return Counter({"sentences": len(found)}) + Counter(str(reason) for reason in reasons if reason is not None)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
