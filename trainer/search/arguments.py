"""The options of `mulan search`, apart from the work: `--help` need not wait for torch or USearch."""

import argparse
from collections.abc import Sequence
from pathlib import Path

_DESCRIPTION = """Music found by words.

mulan search index trained/model music/ --output INDEX          again, it takes what is new and lets go what is gone
mulan search query INDEX "slow piano for study" --not vocals --where "year >= 1990"
mulan search similar INDEX ID
mulan search serve INDEX
"""
DEFAULT_DUPLICATE = 0.98
DEFAULT_PORT = 8766


def parser_of(argv: Sequence[str] = ()) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="mulan search", description=_DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    _add_index(commands.add_parser("index", help="make an index, or bring it up to date"))
    query = _asking(commands, "query", "recordings by a text, by others that they are like or unlike, by a condition")
    query.add_argument("text", nargs="?", default="", help='such as "slow piano for study"')
    query.add_argument("--not", dest="away_from", action="append", default=[], metavar="TEXT", help="away from a text")
    query.add_argument("--like", action="append", default=[], metavar="ID", help="near to a recording")
    query.add_argument("--unlike", action="append", default=[], metavar="ID", help="away from a recording")
    query.add_argument("--where", metavar="CONDITION", help="such as \"year >= 1990 and not tags = 'live'\"")
    _add_k(query)
    similar = _asking(commands, "similar", "recordings that sound like one")
    similar.add_argument("recording_id", metavar="ID")
    _add_k(similar)
    duplicates = _asking(commands, "duplicates", "pairs that sound the same")
    duplicates.add_argument(
        "--threshold", type=float, default=DEFAULT_DUPLICATE, metavar="COSINE", help="default: %(default)s"
    )
    tags = _asking(commands, "tags", "words of a fixed pool that fit a recording, none of which it was given")
    tags.add_argument("recording_id", metavar="ID")
    _add_k(tags)
    _asking(commands, "health", "whether the index can be trusted, and which queries it answers")
    playlist = _asking(commands, "playlist", "a way from one recording to another")
    playlist.add_argument("text", nargs="?", help='what it leads through, such as "calm to wild"')
    playlist.add_argument("--from", dest="from_id", required=True, metavar="ID")
    playlist.add_argument("--to", dest="to_id", required=True, metavar="ID")
    playlist.add_argument("-n", "--length", type=int, default=20, metavar="N", help="default: %(default)s")
    _add_serve(commands.add_parser("serve", help="the page: search, listen, wander, keep a playlist"))
    return parser


def _add_serve(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "places", nargs="+", metavar="INDEX | MODEL RUN|FOLDER", help="an index, or what one is made of first"
    )
    parser.add_argument("--model", metavar="DIR|NAME", help="where the index's model is now, if it was moved")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    parser.add_argument("--port", type=int, default=DEFAULT_PORT, help="(default: %(default)s)")
    parser.add_argument("--public_url", help="address that visitors see, when a proxy with TLS stands in front")
    made = parser.add_argument_group("of an index that is made first")
    made.add_argument("--output", type=Path, metavar="INDEX", help="where it is made (default: NAME-index beside NAME)")
    _add_making(made)


def _add_index(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", metavar="MODEL", help="a model folder, user/name on the hub, or clap:FOLDER")
    parser.add_argument(
        "inputs", nargs="+", metavar="RUN|FOLDER|FILE|VECTORS.parquet", help="mined runs, music, tables of mulan embed"
    )
    parser.add_argument("--output", required=True, type=Path, metavar="INDEX", help="a folder that is made")
    _add_making(parser)


def _add_making(parser: "argparse._ActionsContainer") -> None:
    parser.add_argument(
        "--catalog",
        type=Path,
        metavar="FILE",
        help="titles, artists, tags, licences by id or path: Parquet, JSONL or CSV, as mulan catalog writes them",
    )
    parser.add_argument("--windows", action="store_true", help="keep the windows, to find the moment that matches")
    parser.add_argument(
        "--umap", action="store_true", help="a map that keeps neighbours together, instead of two axes (extra umap)"
    )
    parser.add_argument("--hnsw", action="store_true", help="search by a graph, whose recall is measured and said")
    parser.add_argument("--store", metavar="milvus:ADDRESS", help="search in a Milvus (milvus:FILE.db: Milvus Lite)")
    parser.add_argument("--device", help="cpu, cuda, cuda:1, mps (default: cuda where there is one)")
    parser.add_argument("--workers", type=int, default=2, help="processes that decode files (default 2)")
    parser.add_argument(
        "--max_failure_rate", type=float, default=0.05, metavar="R", help="exit with 1 above this (default 0.05)"
    )


def _asking(
    commands: "argparse._SubParsersAction[argparse.ArgumentParser]", name: str, what: str
) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = commands.add_parser(name, help=what)
    parser.add_argument("index", type=Path, metavar="INDEX", help="made by mulan search index")
    parser.add_argument("--model", metavar="DIR|NAME", help="where the index's model is now, if it was moved")
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    return parser


def _add_k(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-k", "--k", type=int, default=10, metavar="K", help="answers (default: %(default)s)")
