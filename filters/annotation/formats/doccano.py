"""doccano: a zip with one JSONL an annotator, named for him; a line is `id`, `text`, `label`, `Comments` and meta.

The text classification project takes several labels a text, so a skip is the labels `skip` and `skip:REASON`, and doubt
is the label `unsure`. Notes are comments. What the item has beyond its text travels in flat meta columns, the guideline
too. An item that nobody labelled is a line without labels in `unlabelled.jsonl`. A bare `.jsonl` of a project in which
all share their labels is read as well: its annotator is the file's name.

doccano books every label that is brought into it to the account that brings it (`--carrier`). So a line says in the
meta column `annotator` whose label it left with: in the carrier's file it is that person's, in another's a new answer.

Holds everything, but for pseudonyms that differ in case only, which some file systems take for one.
"""

import io
import json
import zipfile
from pathlib import Path, PurePosixPath
from typing import Any

from filters.annotation import formats
from filters.annotation.formats.accounts import People
from filters.annotation.records import AnnotationError, Bundle, provenance
from schemas.label import Label, LabelItem, LabelValue

UNLABELLED = "unlabelled"
_MAX_MEMBERS = 1000
_REASON_PREFIX = "skip:"


def label_format() -> formats.LabelFormat:
    return formats.LabelFormat(read=read, write=write, endings=(".zip",))


def read(path: Path, options: formats.ReadOptions) -> Bundle:
    found = formats.Collector()
    if not zipfile.is_zipfile(path):
        _read_lines(str(path), path.read_bytes(), path.stem, options, found)
        return found.bundle()
    try:
        with zipfile.ZipFile(path) as archive:
            members = [member for member in archive.infolist() if not member.is_dir()]
            if len(members) > _MAX_MEMBERS or sum(member.file_size for member in members) > formats.MAX_FILE_BYTES:
                raise AnnotationError(f"{path}: unpacks to more than is taken")
            for member in members:
                name = PurePosixPath(member.filename)
                if name.suffix != ".jsonl":
                    found.problem(f"{path}: {name}", "not a .jsonl file; export as JSONL")
                    continue
                with archive.open(member) as stream:
                    # The sizes above are the archive's own claim.
                    content = stream.read(formats.MAX_FILE_BYTES + 1)
                if len(content) > formats.MAX_FILE_BYTES:
                    raise AnnotationError(f"{path}: {name} unpacks to more than is taken")
                _read_lines(f"{path}: {name}", content, name.stem, options, found)
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError) as error:
        raise AnnotationError(f"{path}: not a readable zip ({error})") from error
    return found.bundle()


def _read_lines(
    name: str, content: bytes, annotator: str, options: formats.ReadOptions, found: formats.Collector
) -> None:
    for place, row in formats.json_lines(name, io.BytesIO(content), found):
        with found.at(place):
            _read_row(place, row, annotator, options, found)


def _read_row(
    where: str, row: dict[str, Any], annotator: str, options: formats.ReadOptions, found: formats.Collector
) -> None:
    item = formats.item_of(row, options.text_field)
    found.add_item(where, item)
    marks = row.get("label", [])
    marks = marks if isinstance(marks, list) else [marks]
    if not all(isinstance(mark, str) for mark in marks):
        raise AnnotationError("label is not a list of texts; is this a text classification project?")
    reasons = [mark.removeprefix(_REASON_PREFIX) for mark in marks if mark.startswith(_REASON_PREFIX)]
    answers = [mark for mark in marks if mark != "unsure" and not mark.startswith(_REASON_PREFIX)]
    if not answers:
        return
    if len(answers) > 1 or len(reasons) > 1:
        raise AnnotationError(f"has several answers at once: {marks}")
    comments = row.get("Comments", [])
    if not isinstance(comments, list) or not all(isinstance(comment, str) for comment in comments):
        raise AnnotationError("Comments is not a list of texts")
    said = {
        "label": answers[0],
        "unsure": "unsure" in marks,
        "skip_reason": reasons[0] if reasons else None,
        "note": "\n".join(comments) or None,
        "guideline": row.get("guideline"),
    }
    found.add_label(where, formats.label_of(said, item.item_id, _whose(row, annotator, options), options))


def _whose(row: dict[str, Any], account: str, options: formats.ReadOptions) -> str:
    """The person whose label stands in a file of this account. Raises AnnotationError where that cannot be known."""
    given_by = formats.optional_text_of(row, "annotator")
    if given_by is None or given_by == account:
        return options.name(account)
    if options.carrier is None:
        raise AnnotationError(
            f"the file is {account}'s, the label was {given_by}'s when it left here; name the account that brought our "
            f"export into doccano: --carrier {account}, if it was that one"
        )
    return given_by if account == options.carrier else options.name(account)


def write(bundle: Bundle, path: Path, _: People) -> None:
    numbers = {item.item_id: number for number, item in enumerate(bundle.items, start=1)}
    items = {item.item_id: item for item in bundle.items}
    files: dict[str, list[dict[str, Any]]] = {}
    for label in bundle.labels:
        files.setdefault(label.annotator, []).append(_row(numbers, items[label.item_id], label))
    if UNLABELLED in files:
        raise AnnotationError(
            f"annotator {UNLABELLED!r}: doccano files are named for annotators, and this name is ours"
        )
    labels = bundle.labels_by_item()
    rest = [_row(numbers, item, None) for item in bundle.items if not labels[item.item_id]]
    if rest:
        files[UNLABELLED] = rest
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in sorted(files):
            # A fixed date: the same labels make the same bytes.
            member = zipfile.ZipInfo(f"{name}.jsonl", date_time=(1980, 1, 1, 0, 0, 0))
            member.compress_type = zipfile.ZIP_DEFLATED
            lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in files[name])
            archive.writestr(member, lines.encode("utf-8"))


def _row(numbers: dict[str, int], item: LabelItem, label: Label | None) -> dict[str, Any]:
    row: dict[str, Any] = {"id": numbers[item.item_id], "text": item.text, "label": [], "Comments": []}
    meta = {"item_id": item.item_id, **provenance(item)}
    if label is not None:
        row["label"] = sorted(_marks(label))
        row["Comments"] = [label.note] if label.note else []
        meta["guideline"] = label.guideline
        meta["annotator"] = label.annotator
    return row | {name: value for name, value in meta.items() if value is not None}


def _marks(label: Label) -> set[str]:
    marks = {label.label.value}
    if label.unsure:
        marks.add("unsure")
    if label.label is LabelValue.SKIP and label.skip_reason:
        marks.add(f"{_REASON_PREFIX}{label.skip_reason}")
    return marks
