"""Playlist files as evaluation playlists: `mulan evaluate --playlists walk.m3u8 --collection RUN --output results`.

Their entries are matched to the recordings of the collection as `mulan catalog` does it: those of a catalogue by path,
id, artist and title; those of a run, which knows its recordings by their ids alone, by the id, which is the path in a
catalogue that was made of a folder. A description is what a side file has under the playlist's id or its title, or else
what the playlist says of itself.

`playlists.jsonl` in the output folder has the playlists that can be measured (10 to 100 recordings, a title and a
description), `playlists-left-out.jsonl` the others and every entry without a recording, each with its reason.
"""

import csv
import json
import logging
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from schemas.cells import RowError, optional_text
from schemas.digest import canonical_json
from schemas.eval_playlist import EvalPlaylist
from schemas.jsonl import read_objects
from schemas.playlist_files.entries import LeftOut, ListedPlaylist
from schemas.playlist_files.files import is_playlist_file, playlist_files, read_playlists
from schemas.playlist_files.matching import Key, Matcher
from schemas.playlist_files.text import real_folder
from schemas.reasons import Reason
from schemas.run import Run
from trainer.evaluation.clips import EvaluationDataError
from trainer.evaluation.readers.mined import run_rows
from trainer.evaluation.readers.tagged import existing
from trainer.evaluation.retrieval import catalogue_rows

PLAYLISTS, LEFT_OUT = "playlists.jsonl", "playlists-left-out.jsonl"
_TABLES = (".csv", ".tsv")
logger = logging.getLogger(__name__)


def is_listed(path: Path) -> bool:
    """Whether `--playlists` names playlist files, and not JSON lines of evaluation playlists."""
    return path.is_dir() or is_playlist_file(path) or path.suffix.lower() in _TABLES


def is_run(collection: str) -> bool:
    return "://" in collection or Path(collection).is_dir()


def match_playlists(source: Path, descriptions: Path | None, collection: str, output: Path) -> Path:
    """Writes both files and returns the one with the playlists. Raises ValueError where none can be measured."""
    known = _descriptions(descriptions) if descriptions is not None else {}
    output.mkdir(parents=True, exist_ok=True)
    path = output / PLAYLISTS
    counts: Counter[str] = Counter()
    seen: set[str] = set()
    with (
        path.open("w", encoding="utf-8") as kept,
        (output / LEFT_OUT).open("w", encoding="utf-8") as others,
        Matcher(_keys(collection), output) as matcher,
    ):
        for item in (item for file in playlist_files(source) for item in read_playlists(file)):
            playlist, left_out = _measurable(item, matcher, known, seen)
            for value in left_out:
                others.write(canonical_json(value) + "\n")
                counts[value["reason"]] += 1
            if playlist is not None:
                seen.add(playlist.playlist_id)
                kept.write(json.dumps(vars(playlist), ensure_ascii=False) + "\n")
    reasons = ", ".join(f"{count} {reason}" for reason, count in sorted(counts.items())) or "nothing"
    said = f"{source}: {len(seen)} playlists; left out: {reasons} (see {output / LEFT_OUT})"
    if not seen:
        raise EvaluationDataError(said)
    logger.info(said)
    return path


def _measurable(
    item: ListedPlaylist | LeftOut, matcher: Matcher, descriptions: dict[str, str], seen: set[str]
) -> tuple[EvalPlaylist | None, list[dict[str, Any]]]:
    """The playlist, where it can be measured; and what was left out of it, or why it was."""
    if isinstance(item, LeftOut):
        return None, [{**vars(item), "reason": str(item.reason)}]
    playlist, unmatched = matcher.playlist(item)
    left_out = [entry.to_json() for entry in unmatched]
    description = descriptions.get(item.playlist_id) or descriptions.get(item.title) or item.description or ""
    try:
        if item.playlist_id in seen:
            raise RowError(Reason.REPEATED_ID, f"playlist_id {item.playlist_id} is there already")
        if not description:
            raise RowError(Reason.MISSING_FIELD, "it has no description; --playlist_descriptions FILE may give it one")
        measurable = EvalPlaylist(
            playlist_id=item.playlist_id,
            title=item.title,
            description=description,
            recording_ids=playlist.recording_ids,
        )
    except RowError as error:
        reason, detail = error.reason, error.detail
    except ValueError as error:
        reason, detail = Reason.BAD_VALUE, str(error)
    else:
        return measurable, left_out
    about = {"playlist_id": item.playlist_id, "title": item.title, "where": item.where}
    return None, [*left_out, {**about, "reason": str(reason), "detail": detail}]


def _keys(collection: str) -> Iterator[Key]:
    """Raises ValueError."""
    if is_run(collection):
        for _, _, row in run_rows(Run.open(collection), ["recording_id"]):
            yield Key(recording_id=row["recording_id"], path=row["recording_id"])
        return
    path = existing(Path(collection), "a catalogue, JSON lines or Parquet")
    for where, row in catalogue_rows(path):
        recording_id, uri = row.get("recording_id"), row.get("audio_uri")
        if not isinstance(recording_id, str) or not isinstance(uri, str):
            raise EvaluationDataError(f"{where}: recording_id and audio_uri must be strings")
        artist, title = (value if isinstance(value := row.get(name), str) else None for name in ("artist", "title"))
        where_it_is = uri if "://" in uri else str(real_folder(path) / uri)
        yield Key(recording_id=recording_id, path=where_it_is, artist=artist, title=title)


def _descriptions(path: Path) -> dict[str, str]:
    """Description by playlist_id, or by title where a row has none. Raises ValueError."""
    existing(path, "a csv or JSON lines with description, and playlist_id or title")
    found: dict[str, str] = {}
    for where, row in _description_rows(path):
        try:
            name = optional_text(row, "playlist_id") or optional_text(row, "title")
            description = optional_text(row, "description")
        except RowError as error:
            raise EvaluationDataError(f"{where}: {error.detail}") from error
        if name is None or description is None:
            raise EvaluationDataError(f"{where}: needs description, and playlist_id or title")
        if found.setdefault(name, description) != description:
            raise EvaluationDataError(f"{where}: {name!r} has another description in an earlier line")
    return found


def _description_rows(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Raises ValueError."""
    if path.suffix.lower() not in _TABLES:
        yield from read_objects(path)
        return
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            delimiter = "\t" if path.suffix.lower() == ".tsv" else ","
            reader = csv.DictReader(stream, delimiter=delimiter)
            for row in reader:
                yield f"{path}:{reader.line_num}", row
    except (UnicodeDecodeError, csv.Error) as error:
        raise EvaluationDataError(f"{path}: cannot be read ({error})") from error
