"""`mulan search`: an index is made, and asked. trainer/search/arguments.py has the options."""

import argparse
import dataclasses
import json
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from pipeline.media.clip import DecoderUnavailableError
from schemas.exits import BAD_INPUT, DONE, FAILURES, INTERRUPTED
from schemas.reasons import Reason
from schemas.run import RunError
from trainer.commands import start_logging
from trainer.search import serve
from trainer.search.arguments import parser_of
from trainer.search.build import Account, IndexOptions, build
from trainer.search.index import Hit, Index
from trainer.search.layout import FAILURES as FAILURES_NAME
from trainer.search.layout import read_pointer


def main(argv: list[str] | None = None) -> int:
    """Exit codes: 0 done, 1 more failures than allowed or an index that cannot be trusted, 2 bad arguments or input, 3
    interrupted (run the same command to go on)."""
    arguments = parser_of().parse_args(argv)
    start_logging()
    try:
        return _COMMANDS[arguments.command](arguments)
    except (ValueError, RunError, DecoderUnavailableError) as error:
        sys.stderr.write(f"mulan search {arguments.command}: {error}\n")
        return BAD_INPUT
    except KeyboardInterrupt:
        sys.stderr.write(f"mulan search {arguments.command}: interrupted; run the same command again to go on\n")
        return INTERRUPTED


def _index(arguments: argparse.Namespace) -> int:
    account = build(
        IndexOptions(
            model=arguments.model,
            inputs=tuple(arguments.inputs),
            output=arguments.output,
            catalogue=arguments.catalog,
            windows=arguments.windows,
            hnsw=arguments.hnsw,
            umap=arguments.umap,
            store=arguments.store,
            device=arguments.device,
            workers=arguments.workers,
        )
    )
    failed = sum(account.failed.values())
    sys.stdout.write("\n".join(_lines(arguments, account)) + "\n")
    return FAILURES if failed > arguments.max_failure_rate * (failed + account.about.count) else DONE


def _lines(arguments: argparse.Namespace, account: Account) -> Iterable[str]:
    about = account.about
    failed = sum(account.failed.values())
    yield f"{about.count} recordings in the index; {account.embedded} embedded, {account.gone} gone, {failed} failed"
    for reason, count in account.failed.items():
        yield f"{count:10}  {reason}  {Reason.named(reason).explanation}"
    if account.repeated:
        yield f"{account.repeated:10}  have an id that another one has, and were left out"
    if failed:
        yield f"What failed: {read_pointer(arguments.output)[0] / FAILURES_NAME}"
    if about.recall is not None:
        yield f"The graph finds {about.recall:.1%} of the ten nearest; it took {about.graph_s:g} s"
    if about.caution:
        yield about.caution
    yield f"The index: {arguments.output}{'' if account.is_new else ' (as it was)'}"


def _query(arguments: argparse.Namespace) -> int:
    index = _open(arguments)
    hits = index.search(
        arguments.text,
        k=arguments.k,
        away_from=arguments.away_from,
        like=arguments.like,
        unlike=arguments.unlike,
        where=arguments.where,
    )
    return _show(arguments, hits)


def _similar(arguments: argparse.Namespace) -> int:
    return _show(arguments, _open(arguments).similar(arguments.recording_id, k=arguments.k))


def _playlist(arguments: argparse.Namespace) -> int:
    index = _open(arguments)
    return _show(arguments, index.path(arguments.from_id, arguments.to_id, arguments.text, arguments.length))


def _duplicates(arguments: argparse.Namespace) -> int:
    count = 0
    for one, two in _open(arguments).duplicates(threshold=arguments.threshold):
        count += 1
        if arguments.json:
            _write_json({"one": dataclasses.asdict(one), "two": dataclasses.asdict(two), "score": one.score})
        else:
            sys.stdout.write(f"{one.score:.4f}  {_named(one)}  |  {_named(two)}\n")
    sys.stderr.write(f"{count} pairs with a cosine of {arguments.threshold:g} or more\n")
    return DONE


def _tags(arguments: argparse.Namespace) -> int:
    for tag in _open(arguments).tags(arguments.recording_id, k=arguments.k):
        if arguments.json:
            _write_json(dataclasses.asdict(tag))
        else:
            sys.stdout.write(f"{tag.score:6.2f}  {tag.name}\n")
    return DONE


def _health(arguments: argparse.Namespace) -> int:
    health = _open(arguments).health()
    if arguments.json:
        _write_json({**dataclasses.asdict(health), "is_well": health.is_well, "said": health.lines()[:3]})
    else:
        sys.stdout.write("\n".join(map(_legible, health.lines())) + "\n")
    return DONE if health.is_well else FAILURES


def _serve(arguments: argparse.Namespace) -> int:
    first, *inputs = arguments.places
    folder = Path(first)
    if inputs:
        folder = arguments.output or serve.index_beside(inputs[0])
        made = {"model": first, "inputs": inputs, "output": folder}
        _index(argparse.Namespace(**{**vars(arguments), **made}))
    return serve.run(folder, arguments)


def _open(arguments: argparse.Namespace) -> Index:
    index = Index.open(arguments.index, model=arguments.model)
    if index.about.caution:
        sys.stderr.write(f"{index.about.caution}\n")
    return index


def _show(arguments: argparse.Namespace, hits: list[Hit]) -> int:
    for rank, hit in enumerate(hits, start=1):
        if arguments.json:
            _write_json(dataclasses.asdict(hit))
        else:
            at = "" if hit.start_s is None else f"  from {hit.start_s:.0f} s"
            sys.stdout.write(f"{rank:3}  {hit.score:6.3f}  {hit.how:5}  {_named(hit)}{at}\n")
    return DONE


def _named(hit: Hit) -> str:
    names = " - ".join(filter(None, (hit.artist, hit.title)))
    return _legible(f"{names}  [{hit.recording_id}]" if names else hit.recording_id)


def _legible(text: str) -> str:
    """A name of somebody else's makes no move on a terminal: without controls and marks of direction."""
    return "".join(character if character.isprintable() else "?" for character in text)


def _write_json(value: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(value, ensure_ascii=True) + "\n")


_COMMANDS: dict[str, Callable[[argparse.Namespace], int]] = {
    "index": _index,
    "query": _query,
    "similar": _similar,
    "duplicates": _duplicates,
    "tags": _tags,
    "health": _health,
    "playlist": _playlist,
    "serve": _serve,
}


if __name__ == "__main__":
    sys.exit(main())
