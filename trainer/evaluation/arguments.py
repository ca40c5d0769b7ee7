"""The options of `mulan evaluate` and of its ablation, apart from the work: `--help` need not wait for torch."""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from schemas.catalogue import DEFAULT_DURATION_S, DEFAULT_START_S
from schemas.sources import SOURCES, TextSource
from trainer.flags import add_recipe_arguments
from trainer.split import MINED_SPLITS

ABLATION = "ablation"
MTEB = "mteb"
JAMENDO_SUBSETS = ("top50tags", "genre", "instrument", "moodtheme", "all")


@dataclass(frozen=True, kw_only=True)
class AblationRow:
    """The sources that are in, in the paper's proportions among them."""

    sources: tuple[TextSource, ...]
    filtered: bool = True

    @property
    def label(self) -> str:
        return " + ".join(str(source.name) for source in self.sources) + ("" if self.filtered else ", unfiltered")


_ADDED = (TextSource.ASET, *(s.bit for s in SOURCES if s.seats and s.bit is not TextSource.ASET))
ROWS = (
    *(AblationRow(sources=_ADDED[:count]) for count in range(1, len(_ADDED) + 1)),
    AblationRow(sources=_ADDED, filtered=False),
)
_MODEL = (
    "model directory, clap:FOLDER, msclap:FOLDER, muq:FOLDER, package.module:factory or "
    "'package.module:factory(name=value, …)' of another's, or random"
)
_FLAGS = (
    *("epochs", "batch_size", "tokenizer", "text_checkpoint", "missing_sources"),
    *("hold_out", "verify_shards", "skip_corrupt"),
)


def parser_of(argv: Sequence[str]) -> argparse.ArgumentParser:
    """Of what the arguments ask for; those of the ablation and of mteb come after its name."""
    return {ABLATION: _ablation_parser, MTEB: _mteb_parser}.get(argv[0] if argv else "", _parser)()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="mulan evaluate",
        description="The paper's tables for any model, beside published figures; and the leakage check.",
    )
    parser.add_argument("models", nargs="*", help=_MODEL)
    _add_shared_arguments(parser)
    text = parser.add_argument_group("text encoders, for the triplets")
    text.add_argument(
        "--text_encoder",
        action="append",
        default=[],
        help="directory or hub name, with =mean or =cls to choose pooling",
    )
    text.add_argument("--use", action="append", default=[], help="Universal Sentence Encoder: hub handle or directory")
    leak = parser.add_argument_group("leakage")
    leak.add_argument("--check_leakage", action="append", default=[], metavar="RUN", help="refuse a run that leaks")
    leak.add_argument("--write_exclude", type=Path, help="write what `mulan mine --exclude` must leave out")
    leak.add_argument(
        "--exclude_cut",
        type=float,
        nargs=2,
        action="append",
        default=[],
        metavar=("START_S", "DURATION_S"),
        help=f"the clip that the catalogue's rows ask for; may be repeated "
        f"({DEFAULT_START_S:g} {DEFAULT_DURATION_S:g})",
    )
    parser.add_argument("--compare", type=Path, action="append", default=[], help="an earlier results.json, beside")
    parser.add_argument("--no_control", dest="control", action="store_false", help="without the random control")
    return parser


def _ablation_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="mulan evaluate ablation", description="Train and evaluate the rows of the paper's text ablation."
    )
    _add_ablation_arguments(parser)
    _add_shared_arguments(parser)
    return parser


def _mteb_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="mulan evaluate mteb", description="A model in audio tasks of MTEB (MAEB), by the package mteb."
    )
    parser.add_argument("model", help=_MODEL)
    parser.add_argument(
        "--tasks", nargs="+", required=True, metavar="TASK", help="names of mteb's, or package.module:Task of your own"
    )
    parser.add_argument("--output", type=Path, required=True, help="folder for mteb's results")
    _add_machine_arguments(parser)
    return parser


def _add_machine_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--device", help="where models compute: cpu, cuda … (cuda where there is one)")
    parser.add_argument(
        "--workers", type=_count, default=2, help="clips that are decoded at once, each by a process (2)"
    )


def _count(text: str) -> int:
    if (value := int(text)) < 0:
        raise argparse.ArgumentTypeError(f"{text} is below 0")
    return value


def _share(text: str) -> float:
    value = float(text)
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"{text} is not between 0 and 1")
    return value


def _add_shared_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--output", type=Path, help="folder for results.json, tables.md and report.html")
    parser.add_argument(
        "--config", type=Path, action="append", default=[], help='JSON with "evaluators", see docs/evaluation.md'
    )
    parser.add_argument("--bootstrap", type=int, default=200, help="resamples of the intervals (200)")
    parser.add_argument("--seed", type=int, default=0, help="of intervals, triplets and the control (0)")
    _add_machine_arguments(parser)
    parser.add_argument(
        "--embeddings",
        type=Path,
        help="SQLite file of what was embedded, which commands may share (embeddings.sqlite in --output)",
    )
    sets = parser.add_argument_group("data sets")
    sets.add_argument("--magnatagatune", type=Path, help="folder with annotations_final.csv and the mp3 folders")
    sets.add_argument("--minz_lists", type=Path, help="folder with train.npy, valid.npy, test.npy: the filtered split")
    sets.add_argument("--ontology", type=Path, help="AudioSet's ontology.json; alone it gives the text triplets")
    sets.add_argument("--class_labels", type=Path, help="AudioSet's class_labels_indices.csv")
    sets.add_argument("--audioset_segments", type=Path, help="AudioSet's eval_segments.csv")
    sets.add_argument("--audioset_audio", type=Path, help="folder of the segments' audio")
    sets.add_argument(
        "--audioset_train", type=Path, help="segments that --probes are fitted on (balanced_train_segments.csv)"
    )
    sets.add_argument("--audioset_validation", type=Path, help="segments that their regularisation is chosen on")
    sets.add_argument("--jamendo", type=Path, help="folder of the mtg-jamendo-dataset repository")
    sets.add_argument("--jamendo_audio", type=Path, help="folder of its audio")
    sets.add_argument(
        "--jamendo_subsets",
        nargs="+",
        choices=JAMENDO_SUBSETS,
        default=JAMENDO_SUBSETS[:-1],
        help="of its tags (all four; `all` is every tag in one)",
    )
    sets.add_argument(
        "--jamendo_splits",
        type=int,
        nargs="+",
        choices=range(5),
        default=[0],
        metavar="N",
        help="of its five splits, 0 to 4; of several the tables have mean and spread (0)",
    )
    sets.add_argument("--gtzan", type=Path, help="folder with the genres' folders of GTZAN")
    sets.add_argument("--gtzan_lists", type=Path, help="folder of its fault-filtered split's three lists (--gtzan)")
    sets.add_argument("--fma_small", type=Path, help="folder with fma_metadata/tracks.csv and fma_small")
    sets.add_argument("--table", type=Path, action="append", default=[], help="a csv of clips × tags")
    sets.add_argument("--captions", type=Path, action="append", default=[], help="a csv of path and caption")
    sets.add_argument(
        "--graded", type=Path, action="append", default=[], help="a csv of path, caption and grade, for nDCG"
    )
    sets.add_argument("--musiccaps", type=Path, help="MusicCaps's musiccaps-public.csv")
    sets.add_argument("--musiccaps_audio", type=Path, help="folder of its clips, named as AudioSet's are")
    sets.add_argument("--song_describer", type=Path, help="folder with song_describer.csv and audio/")
    sets.add_argument("--mined", help="a mined run whose own labels are the tags")
    sets.add_argument(
        "--labels", choices=("aset", "sf"), default="aset", help="of --mined: AudioSet's, or the short texts (aset)"
    )
    sets.add_argument("--min_positives", type=int, default=5, help="recordings that a label of --mined needs (5)")
    sets.add_argument("--recordings", type=Path, help="ids of the held-out recordings of --mined, one a line")
    sets.add_argument(
        "--split",
        choices=MINED_SPLITS,
        default="unseen",
        help="of --mined, by the training of the models that are measured (unseen: what none of them was trained on)",
    )
    sets.add_argument(
        "--playlists",
        type=Path,
        action="append",
        default=[],
        help="evaluation playlists (JSONL); or a playlist file (.m3u, .m3u8, .pls, .xspf, .csv, Spotify's slices) or a "
        "folder of them, matched to --collection; may be repeated",
    )
    sets.add_argument(
        "--playlist_descriptions",
        type=Path,
        metavar="FILE",
        help="of playlist files: csv or JSONL with description, and playlist_id or title",
    )
    sets.add_argument("--collection", help="what --playlists are searched in: a mined run or a catalogue")
    sets.add_argument(
        "--triplets", type=int, metavar="N", help="text triplets of N of --playlists (all; the paper has 1,000)"
    )
    sets.add_argument("--probes", action="store_true", help="linear probes too, where a set has a training split")
    sets.add_argument("--skip_missing", action="store_true", help="evaluate the clips that are there, and say so")
    sets.add_argument(
        "--max_unusable",
        type=_share,
        default=0.05,
        metavar="SHARE",
        help="of a set's clips, that may be there but unusable before the exit code is 1 (0.05)",
    )


def _add_ablation_arguments(parser: argparse.ArgumentParser) -> None:
    """What `mulan evaluate ablation` adds to the data sets of `mulan evaluate`."""
    training = parser.add_argument_group("training of every row")
    training.add_argument("--data", action="append", required=True, metavar="RUN", help="a mined run; may be repeated")
    training.add_argument("--steps", type=int, help="of each row (default: the recipe's epochs)")
    labels = "; ".join(f"{number} {row.label}" for number, row in enumerate(ROWS, start=1))
    training.add_argument("--rows", type=int, nargs="+", help=f"the rows, by number (all): {labels}")
    training.add_argument("--seeds", type=int, nargs="+", default=[0], help="each row is trained once a seed (0)")
    add_recipe_arguments(parser, _FLAGS)
