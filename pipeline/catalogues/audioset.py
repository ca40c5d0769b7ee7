"""AudioSet: a catalogue made of its segments and its ontology, for the paper's ASET source.

Each segment is a clip of 10 s at the segment's own start, with the names of its classes as text, scored by the music
detector but not gated (the paper's section 3.4 takes all 527 classes). Such a run has a folder of its own, so that it
is no part of the mined corpus's Table 2; the trainer reads both.

Media are local copies, found by their names (schemas/segment_files.py), or YouTube's by id. Whether a file without a
start in its name is a whole recording is told by its duration where it lies on this machine; in an object store, where
that would cost a request each, it is one.
"""

import csv
import io
import json
import logging
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Self

from pipeline import storage
from pipeline.catalogue import MAX_LINE_BYTES, is_utf8
from pipeline.media.look import FactsReader
from pipeline.media.protocol import MEDIA_SUFFIXES
from pipeline.plan import read_part
from pipeline.run_folder import layout
from pipeline.run_folder.generations import RunState
from pipeline.run_folder.lock import Hold
from pipeline.run_folder.suppression import quiet_reject, read_suppression
from schemas.accounting import Account
from schemas.catalogue import MAX_START_S, CatalogueRow, MusicGate, required_name
from schemas.cells import RowError
from schemas.exits import InputError
from schemas.reasons import LeftOutError, Reason
from schemas.segment_files import CUT_SLACK_S, SegmentFiles
from schemas.sources import TextSource
from schemas.suppression import SuppressionList
from schemas.youtube_address import video_id

CLIP_S = 10.0
MAX_ID_BYTES = 128
NO_CLASS = "(none known)"
PENDING = "pending"
SHOWN_CLASSES = 5
log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class AudioSetInput:
    """`segments`: csv files in AudioSet's layout; `classes`: the ontology, or the csv of class labels.

    With `by_id`, segments without a local copy are asked of YouTube.
    """

    segments: tuple[str, ...]
    classes: str
    folders: tuple[str, ...] = ()
    by_id: bool = False

    def __post_init__(self) -> None:
        if not self.folders and not self.by_id:
            raise InputError("--audioset needs --audioset_audio DIR, --audioset_by_id, or both: where is the audio?")
        for path in self.segments:
            if not path.lower().endswith(".csv"):
                raise InputError(f"--audioset {path}: AudioSet's segment files are plain .csv files")


@dataclass(frozen=True, kw_only=True)
class Segment:
    ytid: str
    start_s: float
    mids: tuple[str, ...]
    length_s: float = CLIP_S


@dataclass(frozen=True, kw_only=True)
class LeftOut:
    """A segment that is not in the catalogue."""

    file: str
    line: int
    reason: Reason
    detail: str
    recording_id: str | None = None
    classes: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        return {**vars(self), "classes": list(self.classes), "outcome": str(self.reason.outcome)}


def read_classes(path: str) -> dict[str, str]:
    """Class id (MID) to name, from `ontology.json` or `class_labels_indices.csv`. Raises InputError."""
    try:
        text = storage.read_bytes(path).decode("utf-8-sig")
        if path.lower().endswith(".csv"):
            names = {row["mid"]: row["display_name"] for row in csv.DictReader(io.StringIO(text))}
        else:
            names = {entry["id"]: entry["name"] for entry in json.loads(text)}
    except (OSError, ValueError, KeyError, TypeError, RecursionError, csv.Error) as error:
        raise InputError(
            f"--audioset_ontology {path}: neither AudioSet's ontology.json nor its class_labels_indices.csv ({error})"
        ) from error
    if not names or not all(isinstance(text, str) and text for pair in names.items() for text in pair):
        raise InputError(f"--audioset_ontology {path}: has no classes")
    return names


def read_segments(path: str) -> Iterator[tuple[int, Segment | LeftOut]]:
    """The segments of a csv file, one line at a time."""
    with storage.open_file(path) as stream:
        number = 0
        while content := stream.readline(MAX_LINE_BYTES):
            number += 1
            if content.lstrip().startswith(b"#") or not content.strip():
                continue
            try:
                yield number, _segment(content)
            except RowError as error:
                yield number, LeftOut(file=path, line=number, reason=error.reason, detail=error.detail)


def _segment(content: bytes) -> Segment:
    """Raises RowError."""
    try:
        (cells,) = csv.reader([content.decode("utf-8")], skipinitialspace=True, strict=True)
        ytid, start, end, labels = (cell.strip() for cell in cells)
        start_s, end_s = float(start), float(end)
    except UnicodeDecodeError as error:
        raise RowError(Reason.NOT_UTF8, f"byte {error.start} is not UTF-8") from error
    except (ValueError, csv.Error) as error:
        raise RowError(Reason.BAD_VALUE, f'not a segment (YTID, start, end, "mid,mid"): {error}') from error
    required_name({"YTID": ytid}, "YTID", MAX_ID_BYTES)
    if not (0 <= start_s < end_s <= MAX_START_S):
        raise RowError(Reason.BAD_VALUE, f"{start} to {end} is not a stretch of time")
    mids = tuple(label.strip() for label in labels.split(","))
    return Segment(ytid=ytid, start_s=start_s, length_s=end_s - start_s, mids=mids)


class LocalCopies:
    """The files of some folders, by the segments that they hold. A context manager: durations are asked of a helper."""

    def __init__(self, folders: Iterable[str]) -> None:
        self._files = SegmentFiles(MEDIA_SUFFIXES)
        self._facts = FactsReader()
        self._cut_by_duration = 0
        for folder in folders:
            before = len(self._files)
            for path in _files(folder):
                if is_utf8(path):
                    self._files.add(path)
                else:
                    log.warning("--audioset_audio: %r is left aside, since its name is not UTF-8", path)
            if len(self._files) == before:
                raise InputError(f"--audioset_audio {folder}: has no media files ({', '.join(MEDIA_SUFFIXES)})")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._facts.close()
        if self._cut_by_duration:
            log.warning(
                "--audioset_audio: %d files named YTID.* are no longer than their segment, and taken for segments that "
                "were cut out; longer ones for whole recordings",
                self._cut_by_duration,
            )

    def find(self, segment: Segment) -> tuple[str, float] | None:
        """(file, where the clip begins in it), or None."""
        if (found := self._files.find(segment.ytid, segment.start_s)) is None:
            return None
        if found.cut or self._is_cut(found.path, segment):
            return found.path, 0.0
        return found.path, segment.start_s

    def _is_cut(self, path: str, segment: Segment) -> bool:
        """Whether a file of which the name does not tell is the segment alone."""
        if not segment.start_s or not storage.is_local(path):
            return False
        (facts,) = self._facts.look([os.fsencode(path)])
        if isinstance(facts, LeftOutError) or facts.duration_s is None:
            return False
        cut = facts.duration_s <= segment.length_s + CUT_SLACK_S
        self._cut_by_duration += cut
        return cut


def _files(folder: str) -> Iterator[str]:
    if not storage.is_local(folder):
        yield from (info.path for info in storage.list_folder(folder, deep=True))
        return
    for inner, _, names in os.walk(folder):
        yield from (os.path.join(inner, name) for name in names)


def write_catalogue(source: AudioSetInput, run_dir: str) -> str:
    """Write the catalogue of `source` into the run folder, and what was left out beside it; returns its path.

    The same input gives the same file, which is then left as it is. Raises InputError where nothing can be mined.
    """
    names = read_classes(source.classes)
    suppressed = read_suppression(run_dir) or SuppressionList.new()
    seen: set[str] = set()
    left_out: Counter[str] = Counter()
    by_class: dict[str, Counter[str]] = {}
    catalogued = 0
    path = layout.audioset_path(run_dir, "catalog.jsonl")
    with (
        LocalCopies(source.folders) as copies,
        storage.staged(run_dir) as staged_rows,
        storage.staged(run_dir) as staged_left_out,
    ):
        with open(staged_rows, "w", encoding="utf-8") as rows, open(staged_left_out, "w", encoding="utf-8") as others:
            for file in source.segments:
                for line, segment in read_segments(file):
                    row = (
                        segment
                        if isinstance(segment, LeftOut)
                        else _row(segment, file, line, names, copies, seen, by_id=source.by_id)
                    )
                    if row.recording_id is not None and row.recording_id in suppressed:
                        row = LeftOut(file=file, line=line, reason=Reason.REMOVED, detail=Reason.REMOVED.explanation)
                    if isinstance(row, CatalogueRow):
                        rows.write(json.dumps(row.to_json(), ensure_ascii=False) + "\n")
                        catalogued += 1
                        continue
                    value = quiet_reject(row.to_json(), suppressed) if suppressed else row.to_json()
                    others.write(json.dumps(value, ensure_ascii=False) + "\n")
                    left_out[row.reason] += 1
                    for name in row.classes or (NO_CLASS,):
                        by_class.setdefault(name, Counter())[row.reason] += 1
        _publish_changed(staged_rows, path)
        _publish_changed(staged_left_out, layout.audioset_path(run_dir, "left-out.jsonl"))
    storage.write_json(
        layout.audioset_path(run_dir, "input.json"),
        {
            "catalogued": catalogued,
            "classes": sorted(set(names.values())),
            "left_out": dict(sorted(left_out.items())),
            "left_out_by_class": {name: dict(sorted(counts.items())) for name, counts in sorted(by_class.items())},
        },
    )
    if not catalogued:
        write_report(run_dir)
        reasons = ", ".join(f"{count} {reason}" for reason, count in left_out.most_common())
        raise InputError(
            f"--audioset: no segment can be mined ({reasons or 'the files have none'}); "
            f"see {layout.audioset_path(run_dir, 'report.json')}"
        )
    return path


def _row(
    segment: Segment,
    file: str,
    line: int,
    names: Mapping[str, str],
    copies: LocalCopies,
    seen: set[str],
    *,
    by_id: bool,
) -> CatalogueRow | LeftOut:
    labels = tuple(dict.fromkeys(names[mid] for mid in segment.mids if mid in names))

    def leave_out(reason: Reason, detail: str) -> LeftOut:
        return LeftOut(file=file, line=line, reason=reason, detail=detail, recording_id=segment.ytid, classes=labels)

    if not labels:
        return leave_out(Reason.UNKNOWN_CLASS, f"labels {', '.join(segment.mids)[:80]}")
    if segment.ytid in seen:
        return leave_out(Reason.REPEATED_ID, "an earlier line has this YTID")
    seen.add(segment.ytid)
    found = copies.find(segment)
    if found is None and not by_id:
        return leave_out(Reason.NO_LOCAL_COPY, "no file of this name")
    if found is None and video_id(segment.ytid) != segment.ytid:
        return leave_out(Reason.UNSUPPORTED_URI, "no file of this name, and not an id of YouTube")
    uri, start_s = found or (f"https://www.youtube.com/watch?v={segment.ytid}", segment.start_s)
    return CatalogueRow(
        recording_id=segment.ytid,
        audio_uri=uri,
        texts={TextSource.ASET.key: labels},
        source="AudioSet",
        start_s=start_s,
        duration_s=CLIP_S,
        music_gate=MusicGate.SCORE_ONLY,
    )


def withdraw(suppressed: SuppressionList, hold: Hold) -> None:
    """Take removed segments out of the files here, as `write_catalogue` would write them now. Raises LostLockError."""
    run_dir = hold.run_dir
    path, left_out_path = (
        layout.audioset_path(run_dir, "catalog.jsonl"),
        layout.audioset_path(run_dir, "left-out.jsonl"),
    )
    known = storage.read_json(layout.audioset_path(run_dir, "input.json"))
    if known is None or not suppressed:
        return
    catalogued = 0
    with storage.staged(run_dir) as staged_rows, storage.staged(run_dir) as staged_left_out:
        with storage.open_file(path) as stream, open(staged_rows, "wb") as rows:
            for line in stream:
                if json.loads(line)["recording_id"] not in suppressed:
                    rows.write(line)
                    catalogued += 1
        with storage.open_file(left_out_path) as stream, open(staged_left_out, "w", encoding="utf-8") as others:
            for line in stream:
                others.write(json.dumps(quiet_reject(json.loads(line), suppressed), ensure_ascii=False) + "\n")
        hold.check()
        _publish_changed(staged_rows, path)
        _publish_changed(staged_left_out, left_out_path)
    storage.failpoint("audioset_withdrawn")
    # By the file as it is now, so that a kill in between counts nobody twice.
    if gone := known["catalogued"] - catalogued:
        reason = str(Reason.REMOVED)
        by_class = {name: dict(counts) for name, counts in known["left_out_by_class"].items()}
        for counts in (known["left_out"], by_class.setdefault(NO_CLASS, {})):
            counts[reason] = counts.get(reason, 0) + gone
        changes = {"catalogued": catalogued, "left_out": known["left_out"], "left_out_by_class": by_class}
        storage.write_json(layout.audioset_path(run_dir, "input.json"), known | changes)


def _publish_changed(staged: str, path: str) -> None:
    """A catalogue that is not touched need not be surveyed again."""
    if storage.exists(path) and storage.file_entry(path, "{}", 0) == storage.file_entry(staged, "{}", 0):
        return
    storage.publish(staged, path)


def write_report(run_dir: str) -> dict[str, Any]:
    """Segments by class and by what became of them, over the whole way from the csv to the shards."""
    known = storage.read_json(layout.audioset_path(run_dir, "input.json"))
    if known is None:
        raise FileNotFoundError(f"{run_dir}: not a run of --audioset")
    classes: dict[str, Counter[str]] = {name: Counter() for name in known["classes"]}
    for name, counts in known["left_out_by_class"].items():
        classes.setdefault(name, Counter()).update(counts)
    segments = Account()
    for reason, count in known["left_out"].items():
        segments.leave_out(Reason.named(reason), count)
    planned = pending = 0
    fixed = storage.read_json(storage.join(run_dir, layout.RUN))
    for part, record in RunState.read(run_dir).committed(fixed["config_digest"]) if fixed else []:
        reasons: dict[str, str] = {}
        if record is not None and record.rejects is not None:
            for line in storage.read_bytes(storage.join(run_dir, record.rejects.path)).splitlines():
                value = json.loads(line)
                reasons[value["recording_id"]] = value["reason"]
        for row in read_part(run_dir, part.file.path).select(["recording_id", "aset"]).to_pylist():
            planned += 1
            outcome = PENDING if record is None else reasons.get(row["recording_id"], "kept")
            if outcome == PENDING:
                pending += 1
            elif outcome == "kept":
                segments.kept += 1
            else:
                segments.leave_out(Reason.named(outcome))
            for name in row["aset"]:
                classes.setdefault(name, Counter())[outcome] += 1
    report = {
        "segments": {**segments.to_json(), "pending": pending, "not_planned": known["catalogued"] - planned},
        "classes": {
            name: {"segments": counts.total(), "kept": counts["kept"], **dict(sorted(counts.items()))}
            for name, counts in sorted(classes.items())
        },
        "classes_with_kept": sum(bool(counts["kept"]) for counts in classes.values()),
    }
    storage.write_json(layout.audioset_path(run_dir, "report.json"), report)
    return report


def render(report: Mapping[str, Any]) -> str:
    """The report for a terminal: totals, and the classes that lost most."""
    segments = report["segments"]
    named = [name for name, counts in report["classes"].items() if counts["segments"]]
    total = segments["read"] + segments["pending"] + segments["not_planned"]
    lines = [
        f"AudioSet    {total:,} segments, {segments['kept']:,} kept"
        + "".join(f", {segments[key]} {key.replace('_', ' ')}" for key in ("pending", "not_planned") if segments[key])
        + f"; {report['classes_with_kept']} of {len(named)} classes have clips"
    ]
    for outcome in ("dropped", "failed_transient", "failed_permanent"):
        lines += [f"  {count:>9,}  {reason}" for reason, count in segments.get(outcome, {}).items()]
    lost = {name: report["classes"][name]["segments"] - report["classes"][name]["kept"] for name in named}
    worst = sorted((name for name in lost if lost[name]), key=lambda name: (-lost[name], name))[:SHOWN_CLASSES]
    if worst:
        lines.append("classes that lost most (all are in audioset/report.json)")
        lines += [f"  {lost[name]:>9,}  of {report['classes'][name]['segments']:,}  {name}" for name in worst]
    return "\n".join(lines) + "\n"
