"""The card of a trained classifier: what it is, what it was trained on, how good it is, what it cannot promise."""

from collections.abc import Mapping
from typing import Any

from filters.long_form.metrics import zero_seen


def card(record: Mapping[str, Any]) -> str:
    """Markdown. `{digest}` is left for the writer of the files to fill in."""
    training, threshold, calibration = record["training"], record["threshold"], record["calibration"]
    negatives = training["sentences"] - training["positive"]
    lines = [
        f"# {record['name']}: is a sentence music-descriptive?",
        "",
        "- digest: `{digest}`",
        f"- encoder: {record['encoder']}, {record['pooling']} pooling, at most {record['max_tokens']} tokens",
        f"- scored in: {record['precision']}",
        f"- trained on: {training['sentences']} sentences ({training['positive']} positive), digest "
        f"`{training['examples_digest']}`, {training['epochs']} epochs, mean of {training['seeds']} runs, in "
        f"{training['precision']}",
        f"- probabilities are for a base rate of {calibration['base_rate']:.3g} (labels: "
        f"{calibration['label_share']:.3g})",
        f"- threshold: {threshold['value']:.4f}, aim: {threshold['aim']}"
        + ("" if threshold["met"] else " — **not met**, this is the best that the labels can certify"),
        f"- at the threshold and base rate: precision {threshold['precision']:.3f} (lower bound "
        f"{threshold['precision_low']:.3f}), recall {threshold['recall']:.3f}, kept {threshold['keep_rate']:.4f}",
        "",
    ]
    figures = record.get("cross_validation")
    if figures:
        lines += [
            f"Nested cross-validation, {figures['folds']} folds, intervals of 95 %:",
            "",
            "| | ROC-AUC | average precision |",
            "|---|---|---|",
            *(
                f"| {name.replace('_', ' ')} | {_interval(figures[name]['roc_auc'])} "
                f"| {_interval(figures[name]['average_precision'])} |"
                for name in ("fine_tuned", "frozen_embeddings", "hashed_ngrams")
            ),
            "",
            f"Gain in ROC-AUC over hashed n-grams {_interval(figures['gain_over_hashed_ngrams'])}, over frozen "
            f"embeddings {_interval(figures['gain_over_frozen_embeddings'])}. Brier score {figures['brier']}, expected "
            f"calibration error {figures['expected_calibration_error']}.",
        ]
    else:
        lines.append("Not cross-validated: calibration and threshold are those of one fold that was left out.")
    stage = record.get("first_stage")
    if stage:
        lines += [
            "",
            f"A first stage of hashed n-grams gives 0 to {stage['negatives_removed']:.0%} of the negatives "
            f"and passes {_interval(stage['recall'])} of the positives, on folds that it did not see.",
        ]
    lines += [
        "",
        f"These labels cannot certify that false positives are rare: had none of the {negatives} negatives been",
        f"accepted, the 95 % interval of the rate would still reach to {zero_seen(negatives):.1%}. Audit a run to know",
        "its precision in the wild.",
        "",
    ]
    return "\n".join(lines)


def _interval(value: Mapping[str, float]) -> str:
    return f"{value['value']:.3f} [{value['low']:.3f}, {value['high']:.3f}]"
