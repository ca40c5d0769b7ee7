"""Our own JSONL: a line is an item (`item_id`, `text`, …), a label (`item_id`, `annotator`, `label`, …), or both.

Holds everything. Items come first, then labels, so that a file can be read in one go and `grep` still works.
"""

import json
from pathlib import Path
from typing import Any

from filters.annotation import formats
from filters.annotation.formats.accounts import People
from filters.annotation.records import AnnotationError, Bundle, item_id_of
from schemas.label import Label, LabelItem


def read(path: Path, options: formats.ReadOptions) -> Bundle:
    found = formats.Collector()
    with path.open("rb") as stream:
        for number, line in enumerate(stream, start=1):
            if line.strip():
                where = f"{path}:{number}"
                try:
                    row = parse_object(line)
                    _read_row(where, row, options, found)
                except AnnotationError as error:
                    found.problem(where, error)
    return found.bundle()


def _read_row(where: str, row: dict[str, Any], options: formats.ReadOptions, found: formats.Collector) -> None:
    text = formats.optional_text_of(row, options.text_field)
    item_id = formats.text_of(row, "item_id", item_id_of(text) if text is not None else None)
    if text is None and "label" not in row:
        raise AnnotationError(f"has neither a {options.text_field!r} nor a 'label'")
    if text is not None:
        found.add_item(
            where,
            LabelItem(
                item_id=item_id,
                text=text,
                source=formats.text_of(row, "source", ""),
                stratum=formats.text_of(row, "stratum", ""),
                inclusion_probability=formats.probability_of(row),
            ),
        )
    if "label" in row:
        found.add_label(
            where,
            Label(
                item_id=item_id,
                annotator=options.name(formats.text_of(row, "annotator")),
                label=options.value(row["label"]),
                unsure=formats.flag_of(row, "unsure"),
                skip_reason=formats.optional_text_of(row, "skip_reason"),
                note=formats.optional_text_of(row, "note"),
                guideline=formats.optional_text_of(row, "guideline"),
            ),
        )


def parse_object(line: bytes | str) -> dict[str, Any]:
    """One JSON object. Raises AnnotationError."""
    try:
        row = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise AnnotationError(f"not JSON ({error})") from error
    if not isinstance(row, dict):
        raise AnnotationError("not a JSON object")
    return row


def write(bundle: Bundle, path: Path, _: People) -> None:
    with path.open("w", encoding="utf-8", newline="\n") as stream:
        for item in bundle.items:
            stream.write(_line(vars(item)))
        for label in bundle.labels:
            stream.write(_line({**vars(label), "label": label.label.value}))


def _line(fields: dict[str, Any]) -> str:
    return json.dumps({name: value for name, value in fields.items() if value is not None}, ensure_ascii=False) + "\n"
