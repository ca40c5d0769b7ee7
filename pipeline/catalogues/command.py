"""`mulan catalog`, the front door: arguments in, exit code out."""

import logging
import os
import shlex
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from pipeline.catalogues.arguments import parser_of
from pipeline.catalogues.folder import FolderSettings
from pipeline.catalogues.made import Made, Paths, held, make
from pipeline.catalogues.shown import render
from pipeline.catalogues.sources import Source, check_readers, read_sources
from pipeline.media.clip import DecoderUnavailableError
from schemas.exits import BAD_INPUT, DONE, INTERRUPTED, InputError, check_output


def main(argv: list[str] | None = None) -> int:
    """Exit code: 0 done, 2 bad input or no recording in it, 3 interrupted (run the same command to go on)."""
    arguments = parser_of().parse_args(argv)
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s", stream=sys.stderr)
    logging.getLogger("pipeline").setLevel(logging.WARNING if arguments.quiet else logging.INFO)
    try:
        if arguments.output.suffix != ".parquet":
            raise InputError(f"--output {arguments.output}: its name must end in .parquet")
        check_output(arguments.output.parent)
        sources = [Source.parse(text) for text in arguments.sources]
        paths = Paths(catalogue=arguments.output)
        counts: Counter[str] = Counter()
        settings = FolderSettings(guesses=not arguments.no_guess, workers=arguments.workers, work=paths.scan)
        check_readers(sources)
        with held(paths):
            made = make(read_sources(sources, settings, counts), paths)
    except (InputError, ValueError, DecoderUnavailableError) as error:
        sys.stderr.write(f"mulan catalog: {error}\n")
        return BAD_INPUT
    except KeyboardInterrupt:
        sys.stderr.write("mulan catalog: interrupted; the same command goes on from what was read\n")
        return INTERRUPTED
    sys.stdout.write(render(made, paths, counts) + _next(made, paths, sources))
    if not made.recordings:
        sys.stderr.write(f"mulan catalog: no recording in {', '.join(arguments.sources)}; see {paths.rejects}\n")
        return BAD_INPUT
    return DONE


def _next(made: Made, paths: Paths, sources: Sequence[Source]) -> str:
    """The command to run next."""
    words = ["mulan", "mine", "--catalog", str(paths.catalogue)]
    words += ["--playlists", str(paths.playlists)] if made.having["playlists"] else []
    words += ["--comments", str(paths.comments)] if made.more_comments else []
    if made.outside:
        for root in _roots(source.path for source in sources):
            words += ["--allow_root", root]
    return f"next: {shlex.join([*words, '--output', 'run'])}\n" if made.recordings else ""


def _roots(paths: Iterable[Path]) -> list[str]:
    real = (os.path.realpath(path) for path in paths)
    return sorted({path if os.path.isdir(path) else os.path.dirname(path) for path in real})


if __name__ == "__main__":
    sys.exit(main())
