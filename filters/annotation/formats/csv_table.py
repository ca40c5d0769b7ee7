"""CSV for spreadsheets: one row a label, an item without labels has one row with an empty annotator. Holds everything.

A cell that a spreadsheet would run as a formula is neutralised, and restored as it is read.
"""

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from filters.annotation import formats
from filters.annotation.formats.accounts import People
from filters.annotation.records import AnnotationError, Bundle
from schemas.label import Label, LabelItem
from schemas.spreadsheet import neutralise, restore

COLUMNS = (
    "item_id",
    "text",
    "source",
    "stratum",
    "inclusion_probability",
    "annotator",
    "label",
    "unsure",
    "skip_reason",
    "note",
    "guideline",
)
_FLAGS = {"true": True, "1": True, "false": False, "0": False}
_MAX_CELL_CHARS = 100_000


def label_format() -> formats.LabelFormat:
    return formats.LabelFormat(read=read, write=write, endings=(".csv",))


def read(path: Path, options: formats.ReadOptions) -> Bundle:
    found = formats.Collector()
    csv.field_size_limit(_MAX_CELL_CHARS)
    # utf-8-sig: spreadsheets like to put a mark in front.
    with path.open(encoding="utf-8-sig", newline="") as stream:
        rows = csv.DictReader(stream, strict=True)
        try:
            missing = {options.text_field} - set(rows.fieldnames or ())
            if missing:
                raise AnnotationError(f"{path}:1: has no column {options.text_field!r}; name it with --text_field")
            for row in rows:
                where = f"{path}:{rows.line_num}"
                with found.at(where):
                    if None in row or None in row.values():
                        raise AnnotationError("has another number of cells than the first line")
                    _read_row(where, {name: restore(cell) for name, cell in row.items()}, options, found)
        except csv.Error as error:
            found.problem(f"{path}:{rows.line_num}", error)
        except UnicodeDecodeError as error:
            found.problem(f"{path}:{rows.line_num + 1}", f"not UTF-8 ({error})")
    return found.bundle()


def _read_row(where: str, cells: dict[str, str], options: formats.ReadOptions, found: formats.Collector) -> None:
    # An empty cell says nothing; an empty text is a mistake of its own.
    row: dict[str, Any] = {name: cell for name, cell in cells.items() if cell or name == options.text_field}
    if "inclusion_probability" in row:
        try:
            row["inclusion_probability"] = float(row["inclusion_probability"])
        except ValueError:
            raise AnnotationError(f"inclusion_probability is {row['inclusion_probability']!r}, not a number") from None
    item = formats.item_of(row, options.text_field)
    found.add_item(where, item)
    if "annotator" in row:
        unsure = row.pop("unsure", "false").lower()
        if unsure not in _FLAGS:
            raise AnnotationError(f"unsure is {unsure!r}, not true or false")
        said = row | {"unsure": _FLAGS[unsure]}
        found.add_label(where, formats.label_of(said, item.item_id, options.name(row["annotator"]), options))
    elif "label" in row:
        raise AnnotationError("has a label but no annotator")


def write(bundle: Bundle, path: Path, _: People) -> None:
    labels = bundle.labels_by_item()
    with path.open("w", encoding="utf-8", newline="") as stream:
        # Quotes everywhere: a reader must not guess whether a bare line break is one.
        rows = csv.writer(stream, quoting=csv.QUOTE_ALL, lineterminator="\n")
        rows.writerow(COLUMNS)
        for item in bundle.items:
            shown: Sequence[Label | None] = labels[item.item_id] or [None]
            for one in shown:
                rows.writerow([neutralise(cell) for cell in _cells(item, one)])


def _cells(item: LabelItem, label: Label | None) -> list[str]:
    fields: dict[str, Any] = vars(item) | (vars(label) if label else {})
    return [_cell(fields.get(column)) for column in COLUMNS]


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    return repr(value) if isinstance(value, float) else str(value)
