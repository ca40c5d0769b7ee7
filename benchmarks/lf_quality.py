"""How good the seed-trained sentence classifier is on real sentences that two annotators labelled alike.

    python -m benchmarks.lf_quality --model DIR ../shared/data/labels

Declared before each run: the model is what `mulan lf-filter fit --encoder MINILM` makes of the packaged seed, its
settings were chosen on sentences of our own alone, and this is run once on it. Evaluated are the sentences on which
both annotators agree and whose source is not MusicCaps. Beside the model stand a TF-IDF baseline and frozen embeddings,
both trained on the same seed.
"""

import argparse
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.fine_tuned import packaged_minilm
from benchmarks.machine import write_result
from benchmarks.real_labels import read_agreed
from filters.long_form import model_files
from filters.long_form.baselines import embedding_scores, ngram_scores
from filters.long_form.bert_scorer import BertScorer
from filters.long_form.data import read_seed
from filters.long_form.encoder import Precision
from filters.long_form.finetune import SentenceClassifier, Tokenize, frozen_features, load_encoder
from filters.long_form.metrics import average_precision, bootstrap, paired_gain, roc_auc


def evaluate(model: Path, encoder: str, labels: Path) -> dict[str, Any]:
    texts, is_music = read_agreed(labels)
    files = model_files.load(model)
    scores = {p: BertScorer.load(model, precision=p).logits(texts) for p in Precision}
    mine = scores[Precision(files.precision)]
    seed = read_seed()
    seed_music = np.array([example.is_music for example in seed])
    seed_texts = [example.text for example in seed]
    ngrams = ngram_scores(seed_texts, seed_music, texts)
    network, tokenizer_json = load_encoder(encoder)
    frozen = SentenceClassifier(network, files.pooling, 0.0)
    tokenize = Tokenize(tokenizer_json, files.max_tokens)
    embeddings = embedding_scores(
        frozen_features(frozen, tokenize(seed_texts)), seed_music, frozen_features(frozen, tokenize(texts)), 0.1
    )
    probabilities = files.calibration.probabilities(mine)
    kept = probabilities >= (files.threshold if files.threshold is not None else 0.5)
    return {
        "sentences": len(texts),
        "positive": int(is_music.sum()),
        "fine_tuned": _figures(is_music, mine),
        "frozen_embeddings": _figures(is_music, embeddings),
        "hashed_ngrams": _figures(is_music, ngrams),
        "gain_in_roc_auc_over_hashed_ngrams": paired_gain(is_music, mine, ngrams, roc_auc).to_json(),
        "gain_in_roc_auc_over_frozen_embeddings": paired_gain(is_music, mine, embeddings, roc_auc).to_json(),
        "gain_in_average_precision_over_hashed_ngrams": paired_gain(
            is_music, mine, ngrams, average_precision
        ).to_json(),
        "at_the_models_threshold": {
            "kept": int(kept.sum()),
            "precision": round(float(is_music[kept].mean()), 4) if kept.any() else None,
            "recall": round(float(kept[is_music].mean()), 4),
        },
        "roc_auc_by_precision": {str(p): round(roc_auc(is_music, s), 5) for p, s in scores.items()},
    }


def _figures(is_music: np.ndarray[Any, Any], scores: np.ndarray[Any, Any]) -> dict[str, Any]:
    return {
        "roc_auc": bootstrap(is_music, scores, roc_auc).to_json(),
        "average_precision": bootstrap(is_music, scores, average_precision).to_json(),
    }


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("labels", type=Path, help="folder with sentences.jsonl, annotator_1.jsonl, annotator_2.jsonl")
    parser.add_argument("--model", type=Path, required=True, metavar="DIR")
    parser.add_argument("--encoder", default="", help="what the model was fine-tuned from (default: packaged MiniLM)")
    parser.add_argument("--name", default="lf_quality", help="of the result (default: %(default)s)")
    arguments = parser.parse_args(argv)
    torch.set_num_threads(1)
    files = model_files.load(arguments.model)
    result = {
        "model": {"digest": files.digest, "training": files.record["training"]},
        "cross_validation_on_the_seed": files.record["cross_validation"],
        "evaluation": evaluate(arguments.model, arguments.encoder or packaged_minilm(), arguments.labels),
    }
    command = f"python -m benchmarks.lf_quality --model DIR --name {arguments.name} ../shared/data/labels"
    write_result(arguments.name, result, packages=("torch", "transformers", "scikit-learn"), command=command)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
