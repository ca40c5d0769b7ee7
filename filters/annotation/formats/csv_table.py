"""CSV for spreadsheets: one row a label, an item without labels has one row with an empty annotator. Holds everything.

A cell that a spreadsheet would run as a formula (it begins with = + - @, a tab or a line break) gets an apostrophe in
front. Reading takes one apostrophe off such a cell again, so nothing changes on the way there and back.
"""

import csv
import re
import unicodedata
from pathlib import Path
from typing import Any

from filters.annotation import formats
from filters.annotation.formats.accounts import People
from filters.annotation.records import AnnotationError, Bundle, item_id_of
from schemas.label import Label, LabelItem

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
_DANGEROUS = re.compile(r"'*[=+\-@\t\r\n]")
_MAX_CELL_CHARS = 100_000


def neutralise(cell: str) -> str:
    """A cell that no spreadsheet takes for a formula. Wide forms of the signs count too."""
    return f"'{cell}" if _DANGEROUS.match(_narrow_start(cell)) else cell


def restore(cell: str) -> str:
    """What `neutralise` was given."""
    return cell[1:] if cell.startswith("'") and _DANGEROUS.match(_narrow_start(cell)) else cell


def _narrow_start(cell: str) -> str:
    quotes = len(cell) - len(cell.lstrip("'"))
    return cell[:quotes] + unicodedata.normalize("NFKC", cell[quotes : quotes + 1])


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
                try:
                    if None in row or None in row.values():
                        raise AnnotationError("has another number of cells than the first line")
                    _read_row(where, {name: restore(cell) for name, cell in row.items()}, options, found)
                except AnnotationError as error:
                    found.problem(where, error)
        except csv.Error as error:
            found.problem(f"{path}:{rows.line_num}", error)
        except UnicodeDecodeError as error:
            found.problem(f"{path}:{rows.line_num + 1}", f"not UTF-8 ({error})")
    return found.bundle()


def _read_row(where: str, row: dict[str, str], options: formats.ReadOptions, found: formats.Collector) -> None:
    text = row[options.text_field]
    item_id = row.get("item_id") or item_id_of(text)
    probability = row.get("inclusion_probability") or None
    try:
        chance = float(probability) if probability else None
    except ValueError:
        raise AnnotationError(f"inclusion_probability is {probability!r}, not a number") from None
    found.add_item(
        where,
        LabelItem(
            item_id=item_id,
            text=text,
            source=row.get("source", ""),
            stratum=row.get("stratum", ""),
            inclusion_probability=chance,
        ),
    )
    if not row.get("annotator"):
        if row.get("label"):
            raise AnnotationError("has a label but no annotator")
        return
    unsure = row.get("unsure", "").lower()
    if unsure not in ("", "true", "false", "1", "0"):
        raise AnnotationError(f"unsure is {unsure!r}, not true or false")
    found.add_label(
        where,
        Label(
            item_id=item_id,
            annotator=options.name(row["annotator"]),
            label=options.value(row.get("label", "")),
            unsure=unsure in ("true", "1"),
            skip_reason=row.get("skip_reason") or None,
            note=row.get("note") or None,
            guideline=row.get("guideline") or None,
        ),
    )


def write(bundle: Bundle, path: Path, _: People) -> None:
    labels: dict[str, list[Label | None]] = {}
    for label in bundle.labels:
        labels.setdefault(label.item_id, []).append(label)
    with path.open("w", encoding="utf-8", newline="") as stream:
        # Quotes everywhere: a reader must not guess whether a bare line break is one.
        rows = csv.writer(stream, quoting=csv.QUOTE_ALL, lineterminator="\n")
        rows.writerow(COLUMNS)
        for item in bundle.items:
            for one in labels.get(item.item_id) or [None]:
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
