"""`mulan evaluate`: the paper's tables for any model, beside published figures; and the leakage check.

- `mulan evaluate MODEL --magnatagatune DIR --probes --output results`
- `mulan evaluate MODEL --mined RUN`, of a run that it was trained on: what it has not seen
- `mulan evaluate MODEL --config evaluation.json --check_leakage RUN --output results`
- `mulan evaluate --playlists FILE --write_exclude exclude.jsonl`
- `mulan evaluate ablation --recipe tiny --data RUN --steps 500 --mined RUN --output ablation`
- `mulan evaluate mteb MODEL --tasks GTZANGenre --output mteb`
"""

import argparse
import dataclasses
import logging
import sys
from collections.abc import Hashable, Iterator, Sequence
from pathlib import Path, PurePath
from typing import Any

from schemas.eval_playlist import read_eval_playlists
from schemas.exclusion import Exclusion, write_exclusions
from schemas.exits import BAD_INPUT, check_output, fault
from schemas.run import Run, RunError
from schemas.version import VERSION
from trainer.evaluation.ablation import config_of, run_ablation, summary
from trainer.evaluation.arguments import ABLATION, MTEB, parser_of
from trainer.evaluation.captions import DIRECTIONS, Captioned
from trainer.evaluation.clips import NothingMeasuredError
from trainer.evaluation.declare import evaluator_from_json, read_evaluators
from trainer.evaluation.embedding import FrozenModel, Sounds
from trainer.evaluation.evaluator import Evaluator, measure_each
from trainer.evaluation.kept import NAME as KEPT_NAME
from trainer.evaluation.kept import KeptEmbeddings
from trainer.evaluation.leakage import (
    DEFAULT_CUT,
    clip_exclusions,
    find_leaks,
    playlist_exclusions,
    refuse_leaks,
    run_cuts,
)
from trainer.evaluation.model import digest_folder, read_training
from trainer.evaluation.models import RANDOM, load_model, model_label
from trainer.evaluation.paper_tables import paper_tables
from trainer.evaluation.playlists import is_listed, is_run, match_playlists
from trainer.evaluation.readers.audioset import CLASS_SETS
from trainer.evaluation.readers.tagged import distinct_names
from trainer.evaluation.results import ModelResult, Results, read_results
from trainer.evaluation.retrieval import TextToMusicRetrieval
from trainer.evaluation.tables import Table, published_elsewhere, tables, to_markdown, to_terminal
from trainer.evaluation.tagging import Tagging
from trainer.evaluation.triplets import PlaylistTriplets, TextTriplets

logger = logging.getLogger(__name__)

UNFINISHED = "results.unfinished.json"
FAILURES = 1


def main(argv: list[str]) -> int:
    """Returns the exit code: 0 done, 1 too many clips could not be measured, 2 bad input (leakage is one), 3
    interrupted."""
    command = {ABLATION: _run_ablation, MTEB: _run_mteb}.get(argv[0] if argv else "")
    parser = parser_of(argv)
    try:
        arguments = parser.parse_args(argv[1:] if command else argv)
    except SystemExit as stop:
        return int(stop.code or 0)
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s", stream=sys.stderr)
    try:
        return (command or _run)(arguments)
    except NothingMeasuredError as error:
        sys.stderr.write(f"mulan evaluate: {error}\n")
        return FAILURES
    except (ValueError, RunError, OSError) as error:
        sys.stderr.write(f"mulan evaluate: {error}\n")
        found = fault(error) if isinstance(error, OSError) else None
        return found.code if found is not None else BAD_INPUT
    except KeyboardInterrupt:
        sys.stderr.write("mulan evaluate: interrupted; run the same command again\n")
        return 3


def _run(arguments: argparse.Namespace) -> int:
    if arguments.output:
        check_output(arguments.output)
    _match_playlists(arguments)
    evaluators = list(_evaluators(arguments))
    if not evaluators:
        raise ValueError("nothing to evaluate: name a data set, or a --config that does")
    if arguments.check_leakage:
        leaks = find_leaks(
            arguments.check_leakage, list(_exclusions(arguments, evaluators, run_cuts(arguments.check_leakage)))
        )
        refuse_leaks(leaks)
        sys.stdout.write(f"no leakage found in {', '.join(arguments.check_leakage)}\n")
    if arguments.write_exclude:
        cuts = [(start_s, duration_s) for start_s, duration_s in arguments.exclude_cut] or [DEFAULT_CUT]
        count = write_exclusions(arguments.write_exclude, _exclusions(arguments, evaluators, cuts))
        sys.stdout.write(f"{arguments.write_exclude}: {count} exclusions\n")
    text_models = [*arguments.text_encoder, *arguments.use]
    if not arguments.models and not text_models:
        if arguments.check_leakage or arguments.write_exclude:
            return 0
        raise ValueError("name a model: a directory, clap:FOLDER …, package.module:factory, or random")
    earlier = [result for path in arguments.compare for result in read_results(path).models]
    measured = _measure(arguments, evaluators)
    results = Results(openmulan_version=VERSION, models=(*measured, *earlier))
    if arguments.check_leakage:
        _warn_of_unchecked(results, arguments.check_leakage)
    found = [*paper_tables(results), *tables(results)]
    if arguments.output:
        write_outputs(results, found, arguments.output)
    sys.stdout.write(to_terminal(found))
    return _failures(measured, arguments.max_unusable)


def _failures(measured: Sequence[ModelResult], max_unusable: float) -> int:
    """The exit code: whether so much of a set was left out that its table is not that set's."""
    worst = max((m for result in measured for m in result.measurements), key=lambda m: m.failure_rate)
    if worst.failure_rate <= max_unusable:
        return 0
    sys.stderr.write(
        f"mulan evaluate: {worst.failed_clips} clips of {worst.name} are there but unusable, {worst.failure_rate:.1%} "
        f"where --max_unusable allows {max_unusable:.1%}\n"
    )
    return FAILURES


def _warn_of_unchecked(results: Results, checked: Sequence[str]) -> None:
    """A model of ours says what it was trained on; a check of other runs says nothing about it."""
    known = {Run.open(run).manifest.digest() for run in checked}
    for result in results.models:
        if unchecked := set(result.trained_on) - known:
            logger.warning(
                "%s was trained on %d manifests that --check_leakage was not given: %s",
                result.model,
                len(unchecked),
                ", ".join(sorted(unchecked)),
            )


def _run_ablation(arguments: argparse.Namespace) -> int:
    config = config_of(arguments)
    check_output(config.output)
    _match_playlists(arguments)
    evaluators = list(_evaluators(arguments))
    if not evaluators:
        raise ValueError("nothing to evaluate: name a data set, or a --config that does")
    results = run_ablation(config, evaluators, VERSION)
    found = summary(results, config)
    write_outputs(results, [*found, *paper_tables(results), *tables(results)], config.output)
    sys.stdout.write(to_terminal(found))
    return _failures(results.models, arguments.max_unusable)


def _run_mteb(arguments: argparse.Namespace) -> int:
    from trainer.evaluation.mteb import run_mteb

    run_mteb(arguments)
    return 0


def write_outputs(results: Results, shown: Sequence[Table], folder: Path) -> None:
    """`results.json`, `tables.md` and `report.html` in `folder`."""
    from trainer.evaluation.page import to_html

    folder.mkdir(parents=True, exist_ok=True)
    results.write(folder / "results.json")
    (folder / UNFINISHED).unlink(missing_ok=True)
    elsewhere = published_elsewhere(results)
    shown = [*shown, elsewhere] if elsewhere else shown
    (folder / "tables.md").write_text(to_markdown(shown), encoding="utf-8")
    (folder / "report.html").write_text(to_html(results, shown), encoding="utf-8")


def _measure(arguments: argparse.Namespace, evaluators: Sequence[Evaluator[Any]]) -> list[ModelResult]:
    names = list(arguments.models)
    if arguments.control and names and RANDOM not in names:
        names.append(RANDOM)
    # All are measured on what none of them has seen, the control and the models of others too.
    trainings = [read_training(Path(name), model_label(Path(name))) for name in names if Path(name).is_dir()]
    evaluators = [evaluator.of_models(trainings) for evaluator in evaluators]
    for evaluator in evaluators:
        evaluator.check()
    measured: list[ModelResult] = []
    sounds = Sounds()
    for name in names:
        model, label, digest, manifests = load_model(name, arguments.seed, arguments.device)
        logger.info("evaluating %s", label)
        kept = _kept(arguments, digest)
        frozen = FrozenModel(model, workers=arguments.workers, sounds=sounds, kept=kept)
        result = ModelResult(model=label, digest=digest, trained_on=manifests, measurements=())
        for measurement in measure_each(evaluators, frozen):
            result = dataclasses.replace(result, measurements=(*result.measurements, measurement))
            _write_so_far(arguments.output, [*measured, result])
        measured.append(result)
        if kept is not None:
            kept.close()
    triplets = [evaluator for evaluator in evaluators if isinstance(evaluator, TextTriplets)]
    for label, digest, encoder in _text_encoders(arguments):
        if not triplets:
            raise ValueError("a text encoder needs text triplets: give --ontology and --class_labels, or --playlists")
        logger.info("evaluating %s", label)
        measured.append(
            ModelResult(
                model=label,
                digest=digest,
                measurements=tuple(e.measure(encoder) for e in triplets),
                text_only=True,
            )
        )
    return measured


def _kept(arguments: argparse.Namespace, digest: str | None) -> KeptEmbeddings | None:
    """None where there is no place for them, or where nothing tells one state of a model from another."""
    if arguments.embeddings is not None:
        place = arguments.embeddings
    elif arguments.output is not None:
        place = arguments.output / KEPT_NAME
    else:
        return None
    return KeptEmbeddings(place, digest) if digest is not None else None


def _write_so_far(folder: Path | None, measured: Sequence[ModelResult]) -> None:
    """For whoever looks while the rest is measured, or after it was cut off."""
    if folder is None:
        return
    path = folder / UNFINISHED
    beside = path.with_suffix(".tmp")
    Results(openmulan_version=VERSION, models=tuple(measured)).write(beside)
    beside.replace(path)


def _text_encoders(arguments: argparse.Namespace) -> Iterator[tuple[str, str | None, Any]]:
    from trainer.evaluation.encoders import EncoderConfig, Pooling, TransformersEncoder, UniversalSentenceEncoder

    for given in arguments.text_encoder:
        name, pooling = given, "auto"
        if given.endswith(("=mean", "=cls")):
            name, _, pooling = given.rpartition("=")
        encoder = TransformersEncoder(EncoderConfig(name_or_folder=name, pooling=Pooling(pooling)))
        folder = Path(name)
        label = folder.resolve().name if folder.is_dir() else name
        yield f"{label} ({encoder.pooling})", digest_folder(folder) if folder.is_dir() else None, encoder
    for handle in arguments.use:
        folder = Path(handle)
        yield "USE", digest_folder(folder) if folder.is_dir() else None, UniversalSentenceEncoder(handle)


def _evaluators(arguments: argparse.Namespace) -> Iterator[Evaluator[Any]]:
    shared = {"skip_missing": arguments.skip_missing} if arguments.skip_missing else {}
    here = Path()
    for path in arguments.config:
        yield from read_evaluators(path)
    for value in _declared(arguments):
        bootstrap = {"resamples": arguments.bootstrap, "seed": arguments.seed}
        if value["task"] == "text_triplets":
            yield evaluator_from_json({**value, "seed": arguments.seed, "bootstrap": bootstrap}, here)
        else:
            yield evaluator_from_json({**value, "bootstrap": bootstrap, **shared}, here)


def _declared(arguments: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """What the shortcuts of the command line stand for, in the form of a configuration."""
    tagging: list[tuple[dict[str, Any], bool]] = []  # data, and whether it has the splits of a probe
    worded: list[dict[str, Any]] = []  # data with negations and synonyms among its tags
    if arguments.magnatagatune:
        minz = {"split": "minz", "split_folder": str(arguments.minz_lists)} if arguments.minz_lists else {}
        for tags in ("top50", "all188"):
            data = {"kind": "magnatagatune", "folder": str(arguments.magnatagatune), "tags": tags, **minz}
            tagging.append((data, True))
        worded.append(data)
    ontology = {"ontology": str(arguments.ontology), "class_labels": str(arguments.class_labels)}
    if arguments.audioset_segments:
        _need(arguments, "audioset_segments", "audioset_audio", "ontology", "class_labels")
        audio = {"segments": str(arguments.audioset_segments), "audio_folder": str(arguments.audioset_audio)}
        if arguments.audioset_train or arguments.audioset_validation:
            _need(arguments, "audioset_train", "audioset_validation")
            _need(arguments, "audioset_validation", "audioset_train")
            audio["train_segments"] = str(arguments.audioset_train)
            audio["validation_segments"] = str(arguments.audioset_validation)
        for classes in CLASS_SETS:
            tagging.append(({"kind": "audioset", **ontology, **audio, "classes": classes}, "train_segments" in audio))
    if arguments.jamendo:
        _need(arguments, "jamendo", "jamendo_audio")
        folders = {"folder": str(arguments.jamendo), "audio_folder": str(arguments.jamendo_audio)}
        for subset in dict.fromkeys(arguments.jamendo_subsets):
            for number in dict.fromkeys(arguments.jamendo_splits):
                tagging.append(({"kind": "jamendo", **folders, "subset": subset, "split_number": number}, True))
    if arguments.gtzan_lists:
        _need(arguments, "gtzan_lists", "gtzan")
    if arguments.gtzan:
        lists = {"lists": str(arguments.gtzan_lists)} if arguments.gtzan_lists else {}
        tagging.append(({"kind": "gtzan", "folder": str(arguments.gtzan), **lists}, True))
    if arguments.fma_small:
        tagging.append(({"kind": "fma_small", "folder": str(arguments.fma_small)}, True))
    tagging += [({"kind": "table", **table}, True) for table in _named(arguments.table)]
    if arguments.mined:
        listed = {"recordings": str(arguments.recordings)} if arguments.recordings else {}
        chosen = {"labels": arguments.labels, "min_positives": arguments.min_positives, "split": arguments.split}
        tagging.append(({"kind": "mined", "run": arguments.mined, **chosen, **listed}, False))
    for data, probed in tagging:
        yield {"task": "zero_shot", "data": data}
        if arguments.probes and probed:
            yield {"task": "linear_probe", "data": data}
    for data in worded:
        for task in ("negation", "synonyms"):
            yield {"task": task, "data": data}
    for path in arguments.graded:
        yield {"task": "graded", "data": {"kind": "graded_table", "file": str(path)}}
    captioned: list[dict[str, Any]] = [{"kind": "caption_table", **table} for table in _named(arguments.captions)]
    if arguments.musiccaps:
        _need(arguments, "musiccaps", "musiccaps_audio")
        where = {"file": str(arguments.musiccaps), "audio_folder": str(arguments.musiccaps_audio)}
        captioned.append({"kind": "musiccaps", **where})
    if arguments.song_describer:
        captioned.append({"kind": "song_describer", "folder": str(arguments.song_describer)})
    for data in captioned:
        for direction in DIRECTIONS:
            yield {"task": "captions", "data": data, "direction": direction}
    if arguments.triplets is not None and not arguments.playlists:
        raise ValueError("--triplets is of --playlists, which are not given")
    for playlists, name in zip(arguments.playlists, arguments.playlist_names, strict=True):
        named = {"playlists": str(playlists)}
        if len(arguments.playlists) > 1:
            named["name"] = f"playlists {name}"
        if arguments.collection:
            kind = "run" if is_run(arguments.collection) else "catalogue"
            for query in ("title", "description"):
                collection = {"kind": kind, kind: arguments.collection}
                yield {"task": "retrieval", **named, "collection": collection, "query": query}
            # Without a collection the triplets are all that a leakage check knows the playlists by.
            if arguments.triplets is None and len({p.description for p in read_eval_playlists(playlists)}) < 2:
                logger.info("%s: no text triplets, which need two playlists of different descriptions", playlists)
                continue
        anchors = {"anchors": arguments.triplets} if arguments.triplets is not None else {}
        yield {"task": "text_triplets", "data": {"kind": "playlists", **named}, **anchors}
    if arguments.ontology:
        _need(arguments, "ontology", "class_labels")
        yield {"task": "text_triplets", "data": {"kind": "ontology", **ontology}}


def _match_playlists(arguments: argparse.Namespace) -> None:
    """Playlist files become evaluation playlists in the output folder, which everything else reads; of several each
    have a folder there."""
    names = arguments.playlist_names = distinct_names(arguments.playlists)
    if not any(is_listed(path) for path in arguments.playlists):
        if arguments.playlist_descriptions:
            raise ValueError("--playlist_descriptions is of --playlists that are playlist files")
        return
    _need(arguments, "playlists", "collection", "output")
    for place, path in enumerate(arguments.playlists):
        if is_listed(path):
            output = arguments.output / names[place].replace("/", "-") if len(names) > 1 else arguments.output
            arguments.playlists[place] = match_playlists(
                path, arguments.playlist_descriptions, arguments.collection, output
            )


def _named(tables: Sequence[Path]) -> Iterator[dict[str, str]]:
    """Each csv as a configuration declares it, with a name where its file's would not tell it from the others."""
    names = distinct_names(tables)
    stems = [PurePath(name).with_suffix("").as_posix() for name in names]
    for path, name in zip(tables, stems if len(set(stems)) == len(names) else names, strict=True):
        yield {"file": str(path), **({"name": name} if name != path.stem else {})}


def _need(arguments: argparse.Namespace, given: str, *others: str) -> None:
    lacking = [f"--{name}" for name in others if not getattr(arguments, name)]
    if lacking:
        raise ValueError(f"--{given} needs {' and '.join(lacking)}")


def _exclusions(
    arguments: argparse.Namespace, evaluators: Sequence[Evaluator[Any]], cuts: Sequence[tuple[float, float]]
) -> Iterator[Exclusion]:
    """What the evaluators' test data would leak: ids, hashes and titles."""
    done: set[Hashable] = set()
    for evaluator in evaluators:
        if isinstance(evaluator, Tagging):
            data = evaluator.data()
            split = evaluator.split(data, evaluator.config.split)
            origin = " ".join(filter(None, (data.name, data.fold, evaluator.config.split)))
            if (of_these := (origin, *data.sources.values())) not in done:
                yield from clip_exclusions(split.clips, origin, cuts)
            done.add(of_these)
        elif isinstance(evaluator, Captioned):
            captioned = evaluator.data()
            if (captions := (captioned.name, *captioned.sources.values())) not in done:
                yield from clip_exclusions(captioned.clips, captioned.name, cuts)
            done.add(captions)
        elif isinstance(evaluator, TextToMusicRetrieval):
            path = evaluator.config.playlists
            if str(path) not in done:
                yield from playlist_exclusions(read_eval_playlists(path), path.name)
            done.add(str(path))
        elif isinstance(evaluator, TextTriplets) and isinstance(evaluator.config.data, PlaylistTriplets):
            path = evaluator.config.data.playlists
            if str(path) not in done:
                yield from playlist_exclusions(read_eval_playlists(path), path.name)
            done.add(str(path))
        elif not isinstance(evaluator, TextTriplets):
            logger.warning("%s is an evaluator of your own: what its data would leak is not known", evaluator.name)


__all__ = ["main", "write_outputs"]
