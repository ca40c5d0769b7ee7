"""Our own JSONL: a line is an item (`item_id`, `text`, …), a label (`item_id`, `annotator`, `label`, …), or both.

Holds everything. Items come first, then labels, so that a file can be read in one go and `grep` still works.
"""

import json
from pathlib import Path
from typing import Any

from filters.annotation import formats
from filters.annotation.formats.accounts import People
from filters.annotation.records import AnnotationError, Bundle


def label_format() -> formats.LabelFormat:
    return formats.LabelFormat(read=read, write=write, endings=(".jsonl", ".ndjson"))


def read(path: Path, options: formats.ReadOptions) -> Bundle:
    found = formats.Collector()
    with path.open("rb") as stream:
        for where, row in formats.json_lines(str(path), stream, found):
            with found.at(where):
                _read_row(where, row, options, found)
    return found.bundle()


def _read_row(where: str, row: dict[str, Any], options: formats.ReadOptions, found: formats.Collector) -> None:
    if row.get(options.text_field) is not None:
        item = formats.item_of(row, options.text_field)
        found.add_item(where, item)
        item_id = item.item_id
    elif "label" in row:
        item_id = formats.text_of(row, "item_id")
    else:
        raise AnnotationError(f"has neither a {options.text_field!r} nor a 'label'")
    if "label" in row:
        annotator = options.name(formats.text_of(row, "annotator"))
        found.add_label(where, formats.label_of(row, item_id, annotator, options))


def write(bundle: Bundle, path: Path, _: People) -> None:
    with path.open("w", encoding="utf-8", newline="\n") as stream:
        for item in bundle.items:
            stream.write(_line(vars(item)))
        for label in bundle.labels:
            stream.write(_line({**vars(label), "label": label.label.value}))


def _line(fields: dict[str, Any]) -> str:
    return json.dumps({name: value for name, value in fields.items() if value is not None}, ensure_ascii=False) + "\n"
