"""OpenMuLan: mine (music audio, text) pairs, train MuLan on them, evaluate, search.

This module is the public API and the `mulan` command. Nothing heavy is imported before it is asked for.
"""

import importlib
import importlib.util
import io
import sys
from pathlib import Path
from typing import Any

_OWN = ("beam_runner", "filters", "openmulan", "pipeline", "schemas", "trainer")


def _in_the_way() -> str | None:
    """One line on a file that Python would load in the place of one of ours, which have everyday names."""
    for name in _OWN:
        loaded = sys.modules.get(name)
        spec = importlib.util.find_spec(name) if loaded is None else None
        paths = (spec.origin, *(spec.submodule_search_locations or ())) if spec is not None else ()
        found = getattr(loaded, "__file__", None) if loaded is not None else next(filter(None, paths), None)
        folder = Path(__file__).with_name(name)
        ours = folder / "__init__.py" if folder.is_dir() else folder.with_suffix(".py")
        if found is not None and ours.is_file() and not (Path(found).is_file() and ours.samefile(found)):
            return (
                f"{found} stands in the way of OpenMuLan's own {name}: rename it, start in another folder, or take its "
                "folder off PYTHONPATH (another package with this name needs an environment of its own)"
            )
    return None


if (_foreign := _in_the_way()) is not None:
    # The script `mulan` has nothing of ours around this import that could say it in one line.
    if __name__ == "__main__" or Path(*sys.argv[:1]).stem == "mulan":
        sys.stderr.write(f"mulan: {_foreign}\n")
        sys.exit(2)
    raise ImportError(_foreign)

from schemas.exits import INTERRUPTED, ended, leave  # noqa: E402
from schemas.signals import interruptible  # noqa: E402
from schemas.version import VERSION as __version__  # noqa: E402

# Public name -> the module that it lives in.
_API: dict[str, str] = {
    "Index": "trainer.search.index",
    "Manifest": "schemas.manifest",
    "Reason": "schemas.reasons",
    "Run": "schemas.run",
    "load": "trainer.model",
}

# Command -> (module with `main(argv) -> exit code`, or module:function; the extra that it needs, what it does).
_COMMANDS: dict[str, tuple[str, str, str]] = {
    "catalog": ("pipeline.catalogues.command", "mine", "folders, dumps, playlists and data sets to a catalogue"),
    "mine": ("beam_runner", "mine", "catalogue to shards, manifest and report; run again, it resumes"),
    "report": ("pipeline.report_command", "mine", "what a run has done, finished or not"),
    "remove": ("beam_runner:remove", "mine", "a rights request: take recordings out of a run for good"),
    "prune": ("beam_runner:prune", "mine", "delete what only older manifests name, and the rest of what was removed"),
    "label": ("filters.annotation.cli", "label", "label sentences: serve, sample, agree, adjudicate, import, export"),
    "lf-filter": ("filters.long_form.cli", "lf", "fit, use and audit the classifier of long-form sentences"),
    "train": ("trainer.train", "train", "mined runs to a model; run again, it resumes"),
    "pretrain": ("trainer.pretrain", "train", "the audio tower's body, by the classes of a mined AudioSet run"),
    "evaluate": ("trainer.evaluation.cli", "evaluate", "the paper's tables for any model, and the leakage check"),
    "embed": ("trainer.embed", "embed", "files, folders or a mined run to a table of vectors; run again, it resumes"),
    "search": (
        "trainer.search.cli",
        "search",
        "music found by words: index, query, similar, playlist, serve its page, …",
    ),
    "demo": ("openmulan:demo", "mine", "the whole way on a small corpus that it makes itself, offline"),
    "doctor": ("pipeline.doctor.command", "mine", "what this machine can do, as text for a bug report"),
}

# Command -> the function, by module, that gives the parser of its arguments, where its own module takes long to load.
_PARSERS: dict[str, tuple[str, str]] = {
    "catalog": ("pipeline.catalogues.arguments", "parser_of"),
    "evaluate": ("trainer.evaluation.arguments", "parser_of"),
    "embed": ("trainer.embed_arguments", "parser_of"),
    "search": ("trainer.search.arguments", "parser_of"),
}

# Packages that an option asks for, whatever the command -> the extra that has them.
_OPTIONAL: dict[str, str] = {
    "ai_edge_litert": "litert",
    "boto3": "s3",
    "pymilvus": "milvus",
    "tensorflow": "tensorflow",
    "tensorflow_hub": "tensorflow",
    "umap": "umap",
    "yt_dlp": "youtube",
}
# Modules of Python itself that Windows lacks: locks and limits use them.
_OF_UNIX = ("fcntl", "resource")
# What these print is their work: once nobody reads it, they end.
_STREAMS = ("lf-filter",)

__all__ = ["__version__", "main", *_API]


def __getattr__(name: str) -> Any:
    if name in _API:
        return getattr(importlib.import_module(_API[name]), name)
    raise AttributeError(f"module 'openmulan' has no attribute {name!r}")


def main(argv: list[str] | None = None) -> int:
    """Run one command of `mulan`; returns its exit code (0 done, 1 failures, 2 bad input, 3 interrupted).

    Without `argv` it is the command that this process was started for, and ends the process.
    """
    if argv is None:
        leave(main(sys.argv[1:]))
    arguments = argv
    usage = "usage: mulan COMMAND …\n\n" + "\n".join(f"  {name:10} {what}" for name, (*_, what) in _COMMANDS.items())
    if not arguments or arguments[0] in ("-h", "--help"):
        sys.stdout.write(f"{usage}\n\n`mulan COMMAND --help` says more.\n")
        return 0 if arguments else 2
    if arguments[0] == "--version":
        sys.stdout.write(f"openmulan {__version__}\n")
        return 0
    if arguments[0] not in _COMMANDS:
        sys.stderr.write(f"mulan: no command {arguments[0]!r}; there are {', '.join(_COMMANDS)}\n")
        return 2
    module, extra, _ = _COMMANDS[arguments[0]]
    _let_write_what_the_locale_lacks()
    try:
        with interruptible():
            if arguments[0] in _PARSERS and not {"-h", "--help"}.isdisjoint(arguments):
                name, function = _PARSERS[arguments[0]]
                getattr(importlib.import_module(name), function)(arguments[1:]).parse_args(arguments[1:])
            name, _, function = module.partition(":")
            run = getattr(importlib.import_module(name), function or "main")
            return ended(f"mulan {arguments[0]}", lambda: int(run(arguments[1:])), streams=arguments[0] in _STREAMS)
    except KeyboardInterrupt:
        sys.stderr.write(f"mulan {arguments[0]}: interrupted\n")
        return INTERRUPTED
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if not package or package in _OWN:
            raise
        if package in _OF_UNIX:
            sys.stderr.write(f"mulan {arguments[0]}: no module {package} on this system; Windows needs WSL\n")
            return 2
        extra = _OPTIONAL.get(package, extra)
        sys.stderr.write(
            f"mulan {arguments[0]}: needs the package {package}, which is not installed: "
            f"pip install 'openmulan[{extra}]'\n"
        )
        return 2


def demo(argv: list[str]) -> int:
    """`mulan demo`: its steps are commands of this module, called as a user would."""
    from pipeline.demo.command import main as show

    return show(argv, main)


def _let_write_what_the_locale_lacks() -> None:
    """A locale without a word for a title or a dash is no reason to fail after the work is done."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


if __name__ == "__main__":
    sys.exit(main())
