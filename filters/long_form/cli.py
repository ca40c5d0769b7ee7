"""`mulan lf-filter fit | score | audit`: train the sentence classifier, score text with it, audit a run."""

import argparse
import json
import logging
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from filters.long_form.data import SEED_PATH, DataError, Example, read_examples
from filters.long_form.model_files import ModelError
from filters.long_form.scorer import load_scorer
from filters.long_form.tuning import RATE_TIMES_WIDTH, FineTuneConfig
from schemas.exits import check_output

log = logging.getLogger(__name__)

_BATCH_LINES = 4_096
_MAX_LINE_CHARS = 100_000


def main(argv: list[str]) -> int:
    """Exit code: 0 done, 2 bad input, 3 interrupted."""
    arguments = _parser().parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    logging.getLogger("httpx").setLevel(logging.WARNING)
    command: Callable[[argparse.Namespace], int] = arguments.command
    try:
        return command(arguments)
    except (DataError, ModelError) as error:
        sys.stderr.write(f"mulan lf-filter: {error}\n")
        return 2
    except ValueError as error:
        sys.stderr.write(f"mulan lf-filter: {error}\n")
        return 2
    except BrokenPipeError:
        return 0
    except KeyboardInterrupt:
        sys.stderr.write("mulan lf-filter: interrupted\n")
        return 3


def _parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(prog="mulan lf-filter", description=__doc__)
    commands = made.add_subparsers(required=True, metavar="fit|score|audit")

    fit = commands.add_parser("fit", help="fine-tune a text encoder on labelled sentences and say how good it is")
    fit.set_defaults(command=_fit)
    fit.add_argument("--output", type=Path, required=True, metavar="DIR", help="where the classifier goes")
    fit.add_argument(
        "--labels",
        type=Path,
        action="append",
        default=[],
        metavar="FILE",
        help="a database of `mulan label` or JSONL with text and label; repeat for several (default: the packaged "
        "seed of 700 sentences, which has no agreement figure)",
    )
    fit.add_argument("--with_seed", action="store_true", help="train on the packaged seed as well as on --labels")
    fit.add_argument(
        "--encoder",
        default="bert-base-uncased",
        help="a text encoder that transformers' AutoModel loads: folder or hub name (default: %(default)s)",
    )
    fit.add_argument("--name", default="openmulan-lf", help="what the report calls it (default: %(default)s)")
    fit.add_argument("--folds", type=int, default=5, help="outer folds of the cross-validation (default: %(default)s)")
    fit.add_argument("--seeds", type=int, default=2, help="runs whose weights are averaged (default: %(default)s)")
    tuning = FineTuneConfig()
    fit.add_argument(
        "--epochs",
        type=int,
        default=tuning.epochs,
        metavar="N",
        help="at most; the folds choose how many (default: %(default)s)",
    )
    fit.add_argument(
        "--learning_rate",
        type=float,
        metavar="R",
        help=f"of the top layer (default: {RATE_TIMES_WIDTH:g} over the encoder's width)",
    )
    fit.add_argument(
        "--pooling",
        choices=("mean", "cls"),
        default=tuning.pooling,
        help="what of the last layer is classified (default: %(default)s)",
    )
    fit.add_argument(
        "--training_precision",
        choices=("float32", "bfloat16"),
        help="(default: the faster one on this CPU, which is tried)",
    )
    fit.add_argument("--no_augmentation", action="store_true", help="train on the sentences as they are")
    fit.add_argument("--no_cross_validation", action="store_true", help="one fold left out for calibration, no figures")
    fit.add_argument(
        "--base_rate", type=float, metavar="P", help="share of positives in the wild (default: that of the labels)"
    )
    aim = fit.add_mutually_exclusive_group()
    aim.add_argument("--precision", type=float, default=0.9, metavar="P", help="threshold's aim (default: %(default)s)")
    aim.add_argument("--keep_rate", type=float, metavar="R", help="threshold's aim: the share of sentences to keep")
    fit.add_argument(
        "--scoring_precision",
        choices=("float32", "bfloat16", "int8"),
        help="how scores are computed; part of the digest (default: int8 for encoders of BERT's layout, else float32)",
    )
    fit.add_argument(
        "--first_stage_recall",
        type=float,
        metavar="R",
        help="put hashed n-grams before the encoder that pass this share of the positives (default: no first stage)",
    )
    fit.add_argument("--threads", type=int, default=2, help="default: %(default)s")

    score = commands.add_parser("score", help="score a text file, or a mined run again with another model or threshold")
    score.set_defaults(command=_score)
    score.add_argument("what", metavar="FILE|RUN", help="a text, one sentence a line; - for standard input; or a run")
    score.add_argument(
        "--lf_model",
        metavar="DIR",
        help="or package.module:factory of your own; needed but for another threshold of a run",
    )
    score.add_argument(
        "--output", type=Path, metavar="PATH", help="JSONL (default: standard output); of a run, the new run's folder"
    )
    score.add_argument("--threshold", type=float, metavar="T", help="of a run: count what another threshold keeps")
    score.add_argument("--split", action="store_true", help="lines are texts: cut them into sentences first")
    score.add_argument("--scoring_precision", choices=("float32", "bfloat16", "int8"), help="other than the model's")

    audit = commands.add_parser("audit", help="precision and recall of a mined run, from labels of a sample of it")
    steps = audit.add_subparsers(required=True, metavar="draw|estimate")
    draw = steps.add_parser("draw", help="draw accepted and rejected sentences for labelling")
    draw.set_defaults(command=_audit_draw)
    draw.add_argument("run", type=Path, metavar="RUN")
    draw.add_argument("--output", type=Path, required=True, metavar="FILE", help="JSONL for `mulan label import`")
    draw.add_argument("--accepted", type=int, default=200, metavar="N", help="default: %(default)s")
    draw.add_argument("--rejected", type=int, default=300, metavar="N", help="default: %(default)s")
    draw.add_argument("--threshold", type=float, metavar="T", help="default: the run's")
    draw.add_argument("--seed", type=int, default=0)
    estimate = steps.add_parser("estimate", help="turn the labels into precision and recall with intervals")
    estimate.set_defaults(command=_audit_estimate)
    estimate.add_argument("drawn", type=Path, metavar="FILE", help="what `audit draw` wrote")
    estimate.add_argument("--labels", type=Path, required=True, metavar="FILE", help="database or JSONL with labels")
    return made


def _fit(arguments: argparse.Namespace) -> int:
    check_output(arguments.output)
    paths: list[Path] = list(arguments.labels)
    if arguments.with_seed or not paths:
        paths.append(SEED_PATH)
    examples = [example for path in paths for example in _without_frozen(read_examples(path), path)]
    from filters.long_form.encoder import Precision
    from filters.long_form.fit import FitConfig, fit, save, use_threads
    from filters.long_form.unfinished import forget, place_of

    config = FitConfig(
        encoder=arguments.encoder,
        name=arguments.name,
        folds=arguments.folds,
        seeds=arguments.seeds,
        base_rate=arguments.base_rate,
        precision_aim=arguments.precision,
        keep_rate=arguments.keep_rate,
        first_stage_recall=arguments.first_stage_recall,
        scoring_precision=Precision(arguments.scoring_precision) if arguments.scoring_precision else None,
        tuning=FineTuneConfig(
            epochs=arguments.epochs,
            learning_rate=arguments.learning_rate,
            pooling=arguments.pooling,
            augmentation=not arguments.no_augmentation,
            half=None if arguments.training_precision is None else arguments.training_precision == "bfloat16",
        ),
    )
    use_threads(arguments.threads)
    place = place_of(arguments.output)
    try:
        fitted = fit(examples, config, cross_validate=not arguments.no_cross_validation, place=place)
    except KeyboardInterrupt:
        sys.stderr.write(f"mulan lf-filter: interrupted; the same command goes on from {place}\n")
        return 3
    digest = save(fitted, arguments.output)
    _write_jsonl(arguments.output / "suspicious.jsonl", fitted.suspicious)
    forget(place)
    sys.stdout.write((arguments.output / "README.md").read_text(encoding="utf-8"))
    sys.stdout.write(f"wrote {arguments.output} ({digest})\n")
    return 0


def _without_frozen(examples: list[Example], path: Path) -> list[Example]:
    """Sentences that may be trained on: the frozen test fold of the labelling tool stays out, the seed has none."""
    if path == SEED_PATH:
        return examples
    from filters.annotation.frozen import is_frozen

    kept = [example for example in examples if not is_frozen(example.text)]
    if len(kept) < len(examples):
        log.info("%s: %d sentences of the frozen test fold are left out", path, len(examples) - len(kept))
    return kept


def _score(arguments: argparse.Namespace) -> int:
    if arguments.what != "-" and Path(arguments.what).is_dir():
        return _score_run(arguments)
    if arguments.lf_model is None:
        raise DataError("--lf_model DIR is needed to score text")
    scorer = load_scorer(arguments.lf_model, precision=arguments.scoring_precision)
    output = arguments.output.open("w", encoding="utf-8") if arguments.output else sys.stdout
    try:
        for batch in _batches(_lines(arguments.what, arguments.split)):
            for text, value in zip(batch, scorer.score(batch), strict=True):
                line = {"text": text, "score": round(float(value), 6)}
                output.write(json.dumps(line, ensure_ascii=False) + "\n")
    finally:
        if arguments.output:
            output.close()
    return 0


def _score_run(arguments: argparse.Namespace) -> int:
    from filters.long_form.rescore import long_form_row, rescore
    from schemas.run import Run, RunError

    try:
        run = Run.open(arguments.what)
        if arguments.lf_model is not None:
            if arguments.output is None:
                raise DataError("--output DIR is needed: a run that is scored again has a folder of its own")
            rescore(run, load_scorer(arguments.lf_model, precision=arguments.scoring_precision), arguments.output)
            run = Run.open(arguments.output)
        threshold = arguments.threshold if arguments.threshold is not None else run.manifest.long_form.threshold
        rows = {"LF, unfiltered": long_form_row(run, None).to_json()}
        if threshold is not None:
            rows["LF"] = long_form_row(run, threshold).to_json()
    except RunError as error:
        raise DataError(str(error)) from error
    sys.stdout.write(json.dumps({"threshold": threshold, "table_2": rows}, indent=2) + "\n")
    return 0


def _lines(file: str, split: bool) -> Iterator[str]:
    from filters.long_form.data import prepare_sentence
    from filters.long_form.gates import judge
    from filters.long_form.sentences import sentences

    try:
        stream = sys.stdin if file == "-" else Path(file).open(encoding="utf-8", errors="replace")  # noqa: SIM115
        with stream:
            while line := stream.readline(_MAX_LINE_CHARS):
                if split:
                    yield from (sentence for sentence in sentences(line) if judge(sentence) is None)
                elif text := prepare_sentence(line):
                    yield text
    except OSError as error:
        raise DataError(f"{file}: cannot be read ({error.strerror or error})") from error


def _batches(lines: Iterator[str]) -> Iterator[list[str]]:
    batch: list[str] = []
    for line in lines:
        batch.append(line)
        if len(batch) == _BATCH_LINES:
            yield batch
            batch = []
    if batch:
        yield batch


def _audit_draw(arguments: argparse.Namespace) -> int:
    from filters.long_form.audit import draw, sentences_of_run
    from schemas.run import Run, RunError

    try:
        run = Run.open(arguments.run)
        threshold = arguments.threshold if arguments.threshold is not None else run.manifest.long_form.threshold
        if threshold is None:
            raise DataError(f"{arguments.run}: the run states no threshold; pass --threshold")
        drawn, sizes = draw(
            sentences_of_run(run),
            threshold=threshold,
            accepted=arguments.accepted,
            rejected=arguments.rejected,
            seed=arguments.seed,
        )
    except RunError as error:
        raise DataError(str(error)) from error
    _write_jsonl(arguments.output, [item.to_json() for item in drawn])
    for name, size in sizes.items():
        sys.stdout.write(f"{name}: {sum(item.stratum == name for item in drawn)} of {size} sentences\n")
    sys.stdout.write(f"wrote {arguments.output} (threshold {threshold:g})\n")
    return 0


def _audit_estimate(arguments: argparse.Namespace) -> int:
    from filters.long_form.audit import estimate, labels_by_item, read_drawn

    figures = estimate(read_drawn(arguments.drawn), labels_by_item(read_examples(arguments.labels)))
    sys.stdout.write(json.dumps(figures.to_json(), indent=2) + "\n")
    return 0


def _write_jsonl(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
