"""`mulan embed`: files, folders or mined runs to a table of vectors. The same command again goes on where one stopped.

mulan embed song.mp3 music/ --model trained/model --output vectors.parquet
mulan embed RUN --model user/name --output vectors.parquet --device cuda --workers 8
mulan embed --texts queries.txt --model trained/model --output queries.parquet
"""

import argparse
import itertools
import logging
import os
import sys
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.media.clip import DecoderUnavailableError
from schemas.digest import digest_json
from schemas.exits import BAD_INPUT, DONE, FAILURES, INTERRUPTED, check_output
from schemas.manifest import POINTER_NAME
from schemas.reasons import Reason, legible
from schemas.run import RowGroup, Run, RunError
from trainer.commands import start_logging
from trainer.cuts import CUTS_VERSION
from trainer.embed_arguments import parser_of
from trainer.embed_inputs import Progress, files_of, load_on, path_text
from trainer.evaluation.model import digest_folder
from trainer.model import Changes, Model, model_folder
from trainer.recordings import Audio, Reader, ShardClip, UnusableAudioError
from trainer.vectors import AUDIO_SCHEMA, TEXT_SCHEMA, Account, VectorTable

log = logging.getLogger(__name__)

_PART_FILES = 256  # so many are embedded anew after a kill, at most; of a run, a row group
_PART_TEXTS = 4096
_COLUMNS = ["recording_id", "start_s", "duration_s", "audio", "audio_encoding"]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class _Item:
    """One recording of a part: `row` has the columns that are known before it is embedded. One of a row group that
    cannot be read has an `error` instead of its audio."""

    part: int
    row: dict[str, Any]
    audio: Audio = b""
    error: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class _Files:
    paths: tuple[str, ...]

    @property
    def rows(self) -> int:
        return len(self.paths)

    def items(self, part: int) -> list[_Item]:
        return [_Item(part=part, row={"path": path_text(path), "start_s": 0.0}, audio=path) for path in self.paths]


@dataclass(frozen=True, kw_only=True, slots=True)
class _Group:
    run: Run
    group: RowGroup

    @property
    def rows(self) -> int:
        return self.group.rows

    def items(self, part: int) -> list[_Item]:
        try:
            table = self.run.read(self.group, columns=_COLUMNS)
        except RunError as error:
            row = {"path": f"{self.run.location}/{self.group.shard.path}"}
            return [_Item(part=part, row=row, error=str(error))] * self.group.rows
        items = []
        for row in table.to_pylist():
            clip = ShardClip(audio=row.pop("audio"), encoding=row.pop("audio_encoding"))
            items.append(_Item(part=part, row=row, audio=clip))
        return items


_Part = _Files | _Group


def main(argv: list[str] | None = None) -> int:
    """Exit codes: 0 done, 1 more failures than allowed, 2 bad arguments or input, 3 interrupted (run the same command
    to go on)."""
    arguments = parser_of().parse_args(argv)
    start_logging()
    try:
        account = _embed_texts(arguments) if arguments.texts else _embed_audio(arguments)
    except (ValueError, RunError, DecoderUnavailableError) as error:
        sys.stderr.write(f"mulan embed: {error}\n")
        return BAD_INPUT
    except KeyboardInterrupt:
        sys.stderr.write("mulan embed: interrupted; run the same command again to go on\n")
        return INTERRUPTED
    sys.stdout.write(f"{account.read} read = {account.embedded} embedded + {account.read - account.embedded} failed\n")
    for reason, count in account.failed.items():
        sys.stdout.write(f"{count:10}  {reason}  {Reason.named(reason).explanation}\n")
    sys.stdout.write(f"The vectors: {arguments.output}\n")
    return FAILURES if account.read - account.embedded > arguments.max_failure_rate * account.read else DONE


def _embed_audio(arguments: argparse.Namespace) -> Account:
    if not arguments.inputs:
        raise ValueError("nothing to embed: name files, folders or mined runs, or --texts FILE")
    check_output(arguments.output.parent)
    parts, inputs = _parts(arguments.inputs)
    folder = model_folder(arguments.model, arguments.revision)
    digest = digest_folder(folder)
    identity = {"model": digest, "inputs": inputs, "window policy": CUTS_VERSION}
    table = VectorTable(arguments.output, AUDIO_SCHEMA, identity)
    if (account := table.finished()) is not None:
        log.info("%s is there already", arguments.output)
        return account
    model = load_on(folder, arguments.device)
    with table.opened():
        missing = [part for part in range(len(parts)) if not table.has(part)]
        if len(missing) < len(parts):
            log.info("going on: %d of %d parts are there", len(parts) - len(missing), len(parts))
        _fill(table, model, digest, parts, missing, arguments.workers)
        return table.finish(len(parts))


def _fill(
    table: VectorTable, model: Model, digest: str, parts: Sequence[_Part], missing: Sequence[int], workers: int
) -> None:
    rows: defaultdict[int, list[dict[str, Any]]] = defaultdict(list)
    changes = Changes()
    with Reader(workers) as reader, Progress(sum(parts[part].rows for part in missing)) as progress:
        waves = reader.waves(_items(parts, missing), _audio_of)
        for item, found in model.embed_waves(waves):
            row = {**item.row, "model": digest}
            if item.error is not None:
                row |= {"reason": Reason.UNREADABLE_FILE, "detail": legible(item.error)}
            elif isinstance(found, UnusableAudioError):
                row |= {"reason": found.reason, "detail": legible(found.detail)}
            else:
                changes.add(found)
                row |= {"vector": found.row, "duration_s": row.get("duration_s", found.duration_s)}
            rows[item.part].append(row)
            if len(rows[item.part]) == parts[item.part].rows:
                table.write(item.part, rows.pop(item.part))
            progress.advance()
    changes.warn()


def _items(parts: Sequence[_Part], missing: Sequence[int]) -> Iterator[_Item]:
    """Those of the missing parts; the next part is read while one is embedded."""
    with ThreadPoolExecutor(1, thread_name_prefix="rows") as pool:
        ahead = None
        for part in missing:
            before, ahead = ahead, pool.submit(parts[part].items, part)
            if before is not None:
                yield from before.result()
        if ahead is not None:
            yield from ahead.result()


def _audio_of(item: _Item) -> Audio:
    return item.audio


def _parts(inputs: Sequence[str]) -> tuple[list[_Part], str]:
    """What is embedded, and a digest of it. Raises ValueError where there is nothing, and RunError."""
    parts: list[_Part] = []
    names: list[Any] = []
    paths: dict[str, None] = {}
    for name in inputs:
        if "://" in name or (Path(name) / POINTER_NAME).is_file():
            run = Run.open(name)
            names.append(run.manifest.digest())
            parts += [_Group(run=run, group=group) for group in run.row_groups() if group.rows]
        else:
            paths |= dict.fromkeys(files_of(name))
    for path in paths:
        stat = os.stat(path)
        names.append([path, stat.st_size, stat.st_mtime_ns])
    parts += [_Files(paths=some) for some in _some(paths, _PART_FILES)]
    if not parts:
        raise ValueError(f"{', '.join(inputs)}: there is nothing to embed")
    return parts, digest_json(names)


def _embed_texts(arguments: argparse.Namespace) -> Account:
    if arguments.inputs:
        raise ValueError("audio or --texts, not both in one table")
    check_output(arguments.output.parent)
    try:
        texts = [line for line in arguments.texts.read_text(encoding="utf-8").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{arguments.texts}: cannot be read as UTF-8 text ({error})") from error
    if not texts:
        raise ValueError(f"{arguments.texts}: has no text; it has one a line")
    folder = model_folder(arguments.model, arguments.revision)
    digest = digest_folder(folder)
    table = VectorTable(arguments.output, TEXT_SCHEMA, {"model": digest, "inputs": digest_json(list(texts))})
    if (account := table.finished()) is not None:
        return account
    model = load_on(folder, arguments.device)
    parts = list(_some(texts, _PART_TEXTS))
    with table.opened(), Progress(len(texts)) as progress:
        for part, some in enumerate(parts):
            if not table.has(part):
                rows = zip(some, model.embed_text(some), strict=True)
                table.write(part, [{"text": text, "vector": row, "model": digest} for text, row in rows])
            progress.advance(len(some))
        return table.finish(len(parts))


def _some(values: Iterable[str], count: int) -> Iterator[tuple[str, ...]]:
    left = iter(values)
    while some := tuple(itertools.islice(left, count)):
        yield some


if __name__ == "__main__":
    sys.exit(main())
