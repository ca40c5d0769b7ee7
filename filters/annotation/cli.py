"""`mulan label`: serve the page, draw samples, invite people, measure agreement, adjudicate, import, export, keep."""

import argparse
import contextlib
import json
import logging
import os
import secrets
import signal
import sqlite3
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filters.annotation import formats
from filters.annotation.exchange import add_bundle, read_bundle
from filters.annotation.formats.accounts import People, read_accounts, read_people
from filters.annotation.log import Log
from filters.annotation.records import AnnotationError, Bundle, item_id_of
from filters.annotation.trouble import trouble_of
from schemas.exits import fault
from schemas.label import LabelValue
from schemas.signals import interruptible

if TYPE_CHECKING:
    from filters.annotation.adjudication import Disagreement
    from filters.annotation.agreement import Estimate
    from filters.annotation.context import Contexts
    from filters.annotation.server import ServerSettings

DEFAULT_PORT = 8765
_FORMAT = f"one of {', '.join(formats.FORMATS)}, or package.module:factory of your own (default: by the file's ending)"
_SHOWN_PROBLEMS = 20
_LAST_LOOK_S = 4.0
_ANSWERS = {"1": LabelValue.YES, "0": LabelValue.NO, "s": LabelValue.SKIP}


def main(argv: list[str]) -> int:
    """Run one sub-command; returns 0, 2 for bad input, 3 where interrupted."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    arguments = _parser().parse_args(argv)
    try:
        # A database that is closed has all of it in the one file, so signals must not end the process outright.
        with interruptible():
            code: int = arguments.run(arguments)
        return code
    except formats.FormatError as error:
        for problem in error.problems[:_SHOWN_PROBLEMS]:
            sys.stderr.write(f"mulan label: {problem}\n")
        if len(error.problems) > _SHOWN_PROBLEMS:
            sys.stderr.write(f"mulan label: … and {len(error.problems) - _SHOWN_PROBLEMS} more\n")
        return 2
    except sqlite3.Error as error:
        trouble = trouble_of(error)
        sys.stderr.write(f"mulan label: {arguments.db}: {trouble.words if trouble else error}\n")
        return 2
    except (ValueError, OSError, ModuleNotFoundError) as error:
        sys.stderr.write(f"mulan label: {error}\n")
        found = fault(error)
        return found.code if found is not None else 2
    except KeyboardInterrupt:
        sys.stderr.write("mulan label: interrupted\n")
        return 3


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="mulan label",
        description="Label sentences: does this sentence describe music? docs/annotating.md has recipes.",
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def command(name: str, run: object, what: str) -> argparse.ArgumentParser:
        one = commands.add_parser(name, help=what, description=what)
        one.set_defaults(run=run)
        return one

    sample = command("sample", _sample, "draw sentences to label from a mined run, a JSONL file or a text file")
    sample.add_argument("source", type=Path, help="folder of a mined run, or a .jsonl or text file")
    sample.add_argument("--db", type=Path, help="database to add the sentences to (made if it is not there)")
    sample.add_argument("--out", type=Path, help="write the sample as JSONL instead")
    sample.add_argument("--count", type=int, default=700, help="sentences to draw (default: %(default)s)")
    sample.add_argument("--overlap", type=int, default=2, help="annotators for each sentence (default: %(default)s)")
    sample.add_argument("--seed", type=int, default=0, help="another seed draws another sample (default: %(default)s)")
    sample.add_argument(
        "--uncertain", type=float, default=0.0, metavar="SHARE", help="share drawn by how undecided the model is (0)"
    )
    sample.add_argument(
        "--frozen_fold", action="store_true", help="draw from the frozen test fold, to make the test set itself"
    )
    sample.add_argument("--text_field", default="text", help="field of a JSONL file (default: %(default)s)")
    sample.add_argument("--source_name", default="", help="source of a file's sentences (default: its name)")

    serve = command("serve", _serve, "serve the page on which sentences are labelled")
    serve.add_argument("db", type=Path)
    _add_serving(serve)

    loop = command("loop", _loop, "label, fit, draw the most doubtful, label again: the page and the rounds in one")
    loop.add_argument("source", type=Path, help="folder of a mined run, or a .jsonl or text file")
    loop.add_argument("--db", type=Path, required=True, help="database of the labels (made if it is not there)")
    loop.add_argument(
        "--output", type=Path, required=True, metavar="DIR", help="the rounds, their models and the curve"
    )
    loop.add_argument("--count", type=int, default=200, help="sentences to label in all (default: %(default)s)")
    loop.add_argument("--batch", type=int, default=50, help="sentences between two fits (default: %(default)s)")
    loop.add_argument("--overlap", type=int, default=1, help="annotators for each sentence (default: %(default)s)")
    loop.add_argument("--seed", type=int, default=0, help="another seed draws other sentences (default: %(default)s)")
    loop.add_argument(
        "--uncertain", type=float, default=0.5, metavar="SHARE", help="share drawn by doubt (default: %(default)s)"
    )
    loop.add_argument(
        "--pool", type=int, default=20_000, metavar="N", help="sentences to score each round (default: %(default)s)"
    )
    loop.add_argument("--encoder", default="bert-base-uncased", help="of `lf-filter fit` (default: %(default)s)")
    loop.add_argument("--epochs", type=int, default=4, help="of `lf-filter fit` (default: %(default)s)")
    loop.add_argument("--threads", type=int, default=1, help="of `lf-filter fit` (default: %(default)s)")
    loop.add_argument("--text_field", default="text", help="field of a JSONL file (default: %(default)s)")
    _add_serving(loop)

    ask = command("invite", _invite, "print a link for a person, new or known, while the server runs")
    ask.add_argument("db", type=Path)
    ask.add_argument("name", nargs="+")
    ask.add_argument("--adjudicator", action="store_true", help="lets them settle disagreements too")
    ask.add_argument("--url", help="address of the page (default: that of the server that ran last)")

    shut = command("revoke", _revoke, "end a person's links, sessions and role while the server runs; the labels stay")
    shut.add_argument("db", type=Path)
    shut.add_argument("name")
    shut.add_argument(
        "--role", action="store_true", help="only the role: an annotator from now on, and still signed in"
    )

    who = command("people", _people, "who labels here, as what, how much, and who is signed in")
    who.add_argument("db", type=Path)

    agree = command("agree", _agree, "how far annotators agree: overall, by pair, by stratum")
    agree.add_argument("db", type=Path)
    agree.add_argument("--json", action="store_true", help="as JSON")

    adjudicate = command("adjudicate", _adjudicate, "settle disagreements in the terminal, the hardest first")
    adjudicate.add_argument("db", type=Path)
    adjudicate.add_argument("--by", default="adjudicator", metavar="NAME", help="pseudonym (default: %(default)s)")
    shown = adjudicate.add_mutually_exclusive_group()
    shown.add_argument("--list", action="store_true", help="only show what is undecided")
    shown.add_argument("--decided", action="store_true", help="only show what was decided, the newest first")

    bring = command("import", _import, "add sentences and labels from files of this or another tool")
    bring.add_argument("db", type=Path)
    bring.add_argument("files", type=Path, nargs="+")
    bring.add_argument("--format", help=_FORMAT)
    bring.add_argument("--overlap", type=int, default=2, help="annotators for each new sentence (default: %(default)s)")
    bring.add_argument("--dry_run", action="store_true", help="say what would be added, change nothing")
    bring.add_argument(
        "--value", action="append", default=[], metavar="THEIRS=OURS", help="what an answer means: Music=yes"
    )
    bring.add_argument(
        "--rename", action="append", default=[], metavar="USER=NAME", help="pseudonym of a user of the file"
    )
    bring.add_argument(
        "--people",
        type=Path,
        metavar="FILE",
        help="who is who there: CSV of name and email (or account)",
    )
    bring.add_argument(
        "--accounts", type=Path, metavar="FILE", help="Label Studio's list of users (its answer at /api/users)"
    )
    bring.add_argument(
        "--carrier", metavar="USER", help="account that brought our own export into doccano, which books it all to him"
    )
    bring.add_argument("--text_field", default="text", help="field of the sentence (default: %(default)s)")

    export = command("export", _export, "write all sentences and labels to a file")
    export.add_argument("db", type=Path)
    export.add_argument("file", type=Path)
    export.add_argument("--format", help=_FORMAT)
    export.add_argument(
        "--people", type=Path, metavar="FILE", help="who is who there: CSV of name and email (or account)"
    )

    backup = command("backup", _backup, "copy the database, while it is in use as well, and check the copy")
    backup.add_argument("db", type=Path)
    backup.add_argument("destination", type=Path)

    check = command("check", _check, "check that the log is whole and that the labels follow from it")
    check.add_argument("db", type=Path)
    check.add_argument(
        "--accept", action="store_true", help="take a file as it is that was copied without its -wal, if that is lost"
    )

    erase = command("erase", _erase, "forget a person's name and notes; the labels stay, under a name without meaning")
    erase.add_argument("db", type=Path)
    erase.add_argument("name")
    return parser


def _add_serving(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--annotator", action="append", default=[], metavar="NAME", help="print a link for this pseudonym"
    )
    parser.add_argument(
        "--adjudicator",
        action="append",
        default=[],
        metavar="NAME",
        help="the same, and lets NAME settle disagreements",
    )
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    parser.add_argument("--port", type=int, default=DEFAULT_PORT, help="(default: %(default)s)")
    parser.add_argument("--public_url", help="address that annotators see, when a proxy with TLS stands in front")
    parser.add_argument("--guideline", type=Path, help="Markdown file (default: guideline v1 of the package)")
    parser.add_argument(
        "--recordings", metavar="RUN", help="let annotators hear the recordings of a mined run (default: no)"
    )
    parser.add_argument(
        "--recordings_when",
        choices=("after", "key"),
        default="after",
        help="after one's own label, or by a key before it as well, which may bias (default: %(default)s)",
    )
    parser.add_argument("--warmup", help="JSONL file of text, label, why; or none (default: the package's)")


def _sample(arguments: argparse.Namespace) -> int:
    from filters.annotation.sampling import SamplePlan, draw, read_candidates

    if (arguments.db is None) == (arguments.out is None):
        raise AnnotationError("give either --db or --out")
    plan = SamplePlan(
        count=arguments.count,
        seed=arguments.seed,
        uncertain_share=arguments.uncertain,
        frozen_fold=arguments.frozen_fold,
    )
    known: set[str] = set()
    if arguments.db is not None and arguments.db.exists():
        with Log(arguments.db) as log:
            for item in read_bundle(log).items:
                known |= {item.item_id, item_id_of(item.text)}
    read = read_candidates(arguments.source, name=arguments.source_name, text_field=arguments.text_field)
    sample = draw(read, plan, frozenset(known))
    if arguments.out is not None:
        formats.write(Bundle(items=sample.items, labels=[]), arguments.out, "jsonl")
    else:
        with Log(arguments.db, create=True) as log:
            add_bundle(log, Bundle(items=sample.items, labels=[]), arguments.overlap)
    width = max(len(name) for name in sample.strata)
    for name, (size, drawn) in sample.strata.items():
        sys.stdout.write(f"{name:{width}}  {drawn:6} of {size}\n")
    where = arguments.out or arguments.db
    sys.stdout.write(f"{len(sample.items)} of {sample.population} distinct sentences drawn into {where}\n")
    return 0


def _serve(arguments: argparse.Namespace) -> int:
    settings = _settings(arguments)
    # Ctrl-C is how the work ends, not how it fails.
    with Log(arguments.db) as log, contextlib.suppress(KeyboardInterrupt):
        _serve_pages(log, arguments, settings, "Ctrl-C stops the server; labels are saved as they are given.")
    return 0


def _settings(arguments: argparse.Namespace, news: Callable[[], str] = str) -> "ServerSettings":
    """What is to be served, checked before anything is written."""
    from filters.annotation import guideline, warmup
    from filters.annotation.security import check_exposure
    from schemas.serving.gate import Address

    try:
        from filters.annotation.server import ServerSettings
    except ModuleNotFoundError as error:
        raise AnnotationError(f"{error.name} is not installed; `pip install openmulan[label]` brings it") from error
    address = Address(host=arguments.host, port=arguments.port, public_url=arguments.public_url)
    check_exposure(address, bool(arguments.annotator or arguments.adjudicator))
    exercises = []
    if arguments.warmup != "none":
        exercises = warmup.read_warmup(Path(arguments.warmup) if arguments.warmup else warmup.PACKAGED)
    return ServerSettings(
        address=address,
        guideline=guideline.read_guideline(arguments.guideline or guideline.PACKAGED),
        exercises=exercises,
        news=news,
        contexts=_contexts(arguments),
    )


def _contexts(arguments: argparse.Namespace) -> "Contexts | None":
    from filters.annotation.context import Contexts, When
    from schemas.run import Run, RunError

    if arguments.recordings is None:
        return None
    try:
        return Contexts(Run.open(arguments.recordings), When(arguments.recordings_when))
    except RunError as error:
        raise AnnotationError(str(error)) from error


def _serve_pages(log: Log, arguments: argparse.Namespace, settings: "ServerSettings", how_it_ends: str) -> None:
    """Invite who is named, print their links, serve until a signal comes."""
    from filters.annotation import people
    from filters.annotation.server import serve

    # Alone on one's own machine, one is annotator and adjudicator.
    adjudicators = arguments.adjudicator if arguments.annotator or arguments.adjudicator else ["me"]
    links = []
    with log.transaction():
        invited = [people.ensure_person(log, name) for name in arguments.annotator if name not in adjudicators]
        invited += [people.ensure_person(log, name, adjudicator=True) for name in adjudicators]
    for person in invited:
        links.append((person.name, people.link(log, person, settings.address.url)))
    log.set_state(people.URL, settings.address.url)

    def announce() -> None:
        sys.stdout.write("Each link works once and for a week:\n")
        for name, link in links:
            sys.stdout.write(f"  {name}: {link}\n")
        sys.stdout.write(f"{how_it_ends}\n")
        sys.stdout.flush()

    serve(log, settings, announce)


def _loop(arguments: argparse.Namespace) -> int:
    from filters.annotation import curve
    from filters.annotation.loop import Loop, LoopPlan, Stopped
    from filters.annotation.sampling import read_candidates
    from schemas.exits import check_output

    plan = LoopPlan(
        output=arguments.output,
        count=arguments.count,
        batch=arguments.batch,
        overlap=arguments.overlap,
        seed=arguments.seed,
        uncertain_share=arguments.uncertain,
        pool=arguments.pool,
        fit=(
            *("--encoder", arguments.encoder, "--epochs", str(arguments.epochs), "--threads", str(arguments.threads)),
            *("--seeds", "1", "--no_cross_validation"),
        ),
    )
    check_output(arguments.output)
    read = read_candidates(arguments.source, text_field=arguments.text_field)

    def on_point(point: curve.Point) -> None:
        sys.stderr.write(
            f"{point.labels} labels: ROC-AUC {point.roc_auc} on {point.tested} sentences that no round is trained on\n"
        )

    loop = Loop(arguments.db, read, plan, on_point)
    settings = _settings(arguments, loop.news)
    loop.prepare()
    points: list[curve.Point] = []
    failure: list[Exception] = []

    def rounds() -> None:
        try:
            points.extend(loop.run())
            # Pages look every three seconds: they are told that all is done.
            time.sleep(_LAST_LOOK_S)
        except Stopped:
            return
        except Exception as error:
            failure.append(error)
        os.kill(os.getpid(), signal.SIGTERM)

    thread = threading.Thread(target=rounds)
    with Log(arguments.db) as log, contextlib.suppress(KeyboardInterrupt):
        thread.start()
        try:
            _serve_pages(log, arguments, settings, "It ends with the last round; Ctrl-C before, and again, goes on.")
        finally:
            loop.stop()
            thread.join()
    if failure:
        raise failure[0]
    if not points:
        raise KeyboardInterrupt
    _write_table(curve.table(points))
    sys.stdout.write(
        f"{plan.output}: curve.json and the last model, {plan.output / f'round-{plan.rounds:02}'}; "
        f"`mulan lf-filter fit --labels {arguments.db} --with_seed` trains on the tested sentences too\n"
    )
    return 0


def _invite(arguments: argparse.Namespace) -> int:
    from filters.annotation import people

    with Log(arguments.db) as log:
        url = (arguments.url or log.state(people.URL) or "").rstrip("/")
        if not url:
            raise AnnotationError(f"{arguments.db}: no server ran yet; give its address by --url")
        with log.transaction():
            # Who adjudicates already stays what he is: `revoke --role` takes that away.
            invited = [
                people.ensure_person(log, name, adjudicator=arguments.adjudicator or None) for name in arguments.name
            ]
        for person in invited:
            sys.stdout.write(f"{person.name}: {people.link(log, person, url)}\n")
    return 0


def _revoke(arguments: argparse.Namespace) -> int:
    from filters.annotation import people

    with Log(arguments.db) as log:
        people.revoke(log, arguments.name, role_only=arguments.role)
    now = (
        "is an annotator only"
        if arguments.role
        else "is signed out everywhere, links and role are gone; the labels stay"
    )
    sys.stdout.write(f"{arguments.name} {now}\n")
    return 0


def _people(arguments: argparse.Namespace) -> int:
    from filters.annotation import people

    lines: list[tuple[str, ...]] = [("name", "role", "labels", "decisions", "signed in", "open links")]
    with Log(arguments.db) as log:
        for one in people.standings(log):
            role = "adjudicator" if one.person.adjudicator else "annotator"
            counts = (one.labels, one.decisions, one.sessions, one.links)
            lines.append((one.person.name, role, *map(str, counts)))
    _write_table(lines)
    return 0


def _agree(arguments: argparse.Namespace) -> int:
    from filters.annotation.agreement import agreement_table

    with Log(arguments.db) as log:
        bundle = read_bundle(log)
    table = agreement_table(bundle.items, bundle.labels)
    if arguments.json:
        sys.stdout.write(json.dumps([_without_nan(asdict(row)) for row in table], indent=1) + "\n")
        return 0
    heads = ("group", "sentences", "raw agreement", "Cohen's kappa", "Fleiss' kappa", "Krippendorff", "Gwet's AC1")
    lines: list[tuple[str, ...]] = [heads]
    for row in table:
        figures = (row.observed, row.cohen, row.fleiss, row.krippendorff, row.gwet)
        lines.append((row.name, str(row.units), *(_interval(figure) for figure in figures)))
    _write_table(lines)
    return 0


def _write_table(lines: Sequence[tuple[str, ...]]) -> None:
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        sys.stdout.write("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() + "\n")


def _without_nan(value: Any) -> Any:
    """NaN is no JSON: an undefined coefficient is null."""
    if isinstance(value, dict):
        return {name: _without_nan(one) for name, one in value.items()}
    return None if isinstance(value, float) and value != value else value


def _interval(figure: "Estimate | None") -> str:
    if figure is None or figure.value != figure.value:
        return "-"
    return f"{figure.value:.3f} ({figure.low:.3f}..{figure.high:.3f})"


def _adjudicate(arguments: argparse.Namespace) -> int:
    from filters.annotation import adjudication
    from filters.annotation.people import ensure_person

    with Log(arguments.db) as log:
        if arguments.decided:
            for past in adjudication.decisions(log, 0):
                why = f" [{past.note!r}]" if past.note else ""
                sys.stdout.write(f"{past.item_id}  {past.value}{why}\n  {past.text!r}\n")
            return 0
        left = adjudication.disagreements(log)
        if arguments.list or not left:
            for number, one in enumerate(left, start=1):
                _show(one, f"{number}/{len(left)}")
            sys.stdout.write(f"\n{len(left)} to settle\n" if left else "nothing to settle\n")
            return 0
        with log.transaction():
            person = ensure_person(log, arguments.by, adjudicator=True)
        place = 0
        while place < len(left):
            one = left[place]
            _show(one, f"{place + 1}/{len(left)}")
            answer = _ask()
            if answer is None:
                break
            key = secrets.token_hex(8)
            if answer == "u":
                undone = adjudication.take_back(log, person.id, key=key)
                said = f"taken back: {undone.item_id} {undone.value}" if undone else "nothing to take back"
                sys.stdout.write(f"  {said}\n")
                if undone:
                    left = adjudication.disagreements(log)
                    place = next((at for at, other in enumerate(left) if other.item_id == undone.item_id), 0)
                continue
            if answer:
                try:
                    adjudication.decide(log, person.id, one.item_id, _ANSWERS[answer], key=key)
                except adjudication.Overruled as error:
                    sys.stdout.write(f"  {error}\n")
            place += 1
        sys.stdout.write(f"\n{len(adjudication.disagreements(log))} to settle\n")
    return 0


def _show(one: "Disagreement", place: str) -> None:
    votes = ", ".join(
        vote.value + (" (unsure)" if vote.unsure else "") + (f" [{vote.note!r}]" if vote.note else "")
        for vote in one.votes
    )
    # repr: a hostile sentence must not steer the terminal.
    sys.stdout.write(f"\n{place}  {one.item_id}\n  {one.text!r}\n  {votes}\n")


def _ask() -> str | None:
    """1, 0, s, u, or an empty line for later; None to stop."""
    while True:
        sys.stdout.write("  1 yes, 0 no, s leave out, u take the last back, Enter later, q stop: ")
        sys.stdout.flush()
        line = sys.stdin.readline()
        answer = line.strip().lower()
        if not line or answer == "q":
            return None
        if answer in ("", "u", *_ANSWERS):
            return answer


def _import(arguments: argparse.Namespace) -> int:
    options = formats.ReadOptions(
        text_field=arguments.text_field,
        values={theirs: LabelValue(ours) for theirs, ours in map(_pair, arguments.value)},
        names=dict(map(_pair, arguments.rename)),
        people=read_people(arguments.people) if arguments.people else People(),
        accounts=read_accounts(arguments.accounts) if arguments.accounts else {},
        carrier=arguments.carrier,
    )
    problems: list[str] = []
    items, labels = [], []
    for path in arguments.files:
        try:
            bundle = formats.read(path, arguments.format or formats.format_of(path), options)
        except formats.FormatError as error:
            problems += error.problems
        else:
            items += bundle.items
            labels += bundle.labels
    if problems:
        raise formats.FormatError(problems)
    db: Path = arguments.db
    with contextlib.ExitStack() as stack:
        if arguments.dry_run and not db.exists():
            db = Path(stack.enter_context(tempfile.TemporaryDirectory())) / "dry-run.db"
        log = stack.enter_context(Log(db, create=True))
        bundle = Bundle(items=items, labels=labels)
        new_items, new_labels = add_bundle(log, bundle, arguments.overlap, dry_run=arguments.dry_run)
    would = "would be " if arguments.dry_run else ""
    sys.stdout.write(
        f"{new_items} sentences and {new_labels} labels {would}added to {arguments.db}, "
        f"{len(items) - new_items} and {len(labels) - new_labels} were there\n"
    )
    return 0


def _export(arguments: argparse.Namespace) -> int:
    name = arguments.format or formats.format_of(arguments.file)
    with Log(arguments.db) as log:
        bundle = read_bundle(log)
    people = read_people(arguments.people) if arguments.people else People()
    formats.write(bundle, arguments.file, name, people)
    sys.stdout.write(f"{len(bundle.items)} sentences and {len(bundle.labels)} labels written to {arguments.file}\n")
    return 0


def _backup(arguments: argparse.Namespace) -> int:
    with Log(arguments.db) as log:
        check = log.backup(arguments.destination)
    sys.stdout.write(f"{check.events} events copied to {arguments.destination} and checked\n")
    return 0


def _check(arguments: argparse.Namespace) -> int:
    with Log(arguments.db, warn=False) as log:
        if arguments.accept:
            log.accept_without_wal()
        check = log.verify()
    if check.problems:
        raise AnnotationError(f"{arguments.db}: " + "; ".join(check.problems))
    sys.stdout.write(f"{check.events} events, all as they were written; every label follows from them\n")
    return 0


def _erase(arguments: argparse.Namespace) -> int:
    from filters.annotation.people import erase

    with Log(arguments.db) as log:
        person = erase(log, arguments.name)
    sys.stdout.write(
        f"{arguments.name} is {person.name} from now on; notes, links and sessions are gone. "
        "Back-ups and exports still have the name: erase there too\n"
    )
    return 0


def _pair(text: str) -> tuple[str, str]:
    theirs, equals, ours = text.rpartition("=")
    if not equals or not theirs or not ours:
        raise AnnotationError(f"{text!r}: expected THEIRS=OURS")
    return theirs, ours
