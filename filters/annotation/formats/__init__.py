"""Files of other tools: one module a format, each with `read(path, options)` and `write(bundle, path, people)`.

What a format cannot hold is said in its docstring. Reading never stops at the first mistake: it collects them all, each
with its line or record, and raises `FormatError`.
"""

import importlib
import unicodedata
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from filters.annotation.formats.accounts import Account, People
from filters.annotation.records import AnnotationError, Bundle, check_item, check_label
from schemas.label import Label, LabelItem, LabelValue

# Format -> (module, endings that it is known by).
FORMATS: dict[str, tuple[str, tuple[str, ...]]] = {
    "jsonl": ("filters.annotation.formats.jsonl", (".jsonl", ".ndjson")),
    "csv": ("filters.annotation.formats.csv_table", (".csv",)),
    "labelstudio": ("filters.annotation.formats.label_studio", ()),
    "doccano": ("filters.annotation.formats.doccano", (".zip",)),
    "argilla": ("filters.annotation.formats.argilla", ()),
}
MAX_FILE_BYTES = 512 * 1024 * 1024


class FormatError(AnnotationError):
    """Everything that is wrong with a file, each as one line."""

    def __init__(self, problems: list[str]) -> None:
        self.problems = problems
        super().__init__("\n".join(problems))


@dataclass(frozen=True, kw_only=True)
class ReadOptions:
    """How a foreign file speaks: `values` maps its answers to ours; `names` and `people` its users to pseudonyms.

    `accounts` says whose the numbers of a Label Studio are; `carrier` is the account that brought our own export into
    the other tool, where that books all labels to whoever brings them.
    """

    text_field: str = "text"
    values: Mapping[str, LabelValue] = field(default_factory=dict)
    names: Mapping[str, str] = field(default_factory=dict)
    people: People = field(default_factory=People)
    accounts: Mapping[int, Account] = field(default_factory=dict)
    carrier: str | None = None

    def value(self, answer: object) -> LabelValue:
        """Raises AnnotationError for an answer that nobody explained."""
        if str(answer) in self.values:
            return self.values[str(answer)]
        try:
            return LabelValue(str(answer).strip().lower())
        except ValueError:
            raise AnnotationError(
                f"label {answer!r} is not yes, no or skip; say what it means: --value {answer}=yes"
            ) from None

    def name(self, user: str) -> str:
        """The pseudonym of a user whom the file names. Raises AnnotationError where it only has a number for him."""
        known = self.names.get(user) or self.people.name_of(Account(names=(user,)))
        if known is None and user.isdecimal():
            raise AnnotationError(
                f"user {user}: a number means somebody else in every tool; say who that is: --rename {user}=NAME"
            )
        return unicodedata.normalize("NFC", known or user)


class Collector:
    """Gathers records and mistakes while a file is read."""

    def __init__(self) -> None:
        self._items: dict[str, LabelItem] = {}
        self._labels: dict[tuple[str, str], Label] = {}
        self._problems: dict[str, None] = {}

    def problem(self, where: str, reason: object) -> None:
        # What is wrong with a file as a whole turns up at each of its records.
        self._problems[f"{where}: {reason}"] = None

    def add_item(self, where: str, item: LabelItem) -> None:
        """The same item may come again (once a label, say); another text under its id is a mistake."""
        try:
            check_item(item)
        except AnnotationError as error:
            return self.problem(where, error)
        if self._items.setdefault(item.item_id, item) != item:
            self.problem(where, f"item {item.item_id} was there before with other content")
        return None

    def add_label(self, where: str, label: Label) -> None:
        try:
            check_label(label)
        except AnnotationError as error:
            return self.problem(where, error)
        if (label.item_id, label.annotator) in self._labels:
            return self.problem(where, f"{label.annotator} labels item {label.item_id} a second time")
        self._labels[label.item_id, label.annotator] = label
        return None

    def bundle(self) -> Bundle:
        """Raises FormatError if anything was wrong."""
        if self._problems:
            raise FormatError(list(self._problems))
        return Bundle(items=list(self._items.values()), labels=list(self._labels.values()))


def format_of(path: Path) -> str:
    """The format that a file's ending names. Raises AnnotationError where it names none, or more than one."""
    for name, (_, endings) in FORMATS.items():
        if path.suffix.lower() in endings:
            return name
    raise AnnotationError(f"{path}: the ending does not tell the format; add --format with one of {', '.join(FORMATS)}")


def read(path: Path, name: str, options: ReadOptions) -> Bundle:
    """Raises FormatError, or AnnotationError where there is no file or it is too large."""
    if not path.is_file():
        raise AnnotationError(f"{path}: no such file")
    if path.stat().st_size > MAX_FILE_BYTES:
        raise AnnotationError(f"{path}: larger than {MAX_FILE_BYTES >> 20} MiB")
    reader: Callable[[Path, ReadOptions], Bundle] = importlib.import_module(FORMATS[name][0]).read
    return reader(path, options)


def write(bundle: Bundle, path: Path, name: str, people: People | None = None) -> None:
    """The file appears whole or not at all. Raises AnnotationError where the format cannot hold the bundle."""
    writer: Callable[[Bundle, Path, People], None] = importlib.import_module(FORMATS[name][0]).write
    unfinished = path.with_name(f"{path.name}.unfinished")
    try:
        writer(bundle, unfinished, people or People())
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)


def text_of(row: Mapping[str, Any], name: str, default: str | None = None) -> str:
    """A text field. Raises AnnotationError where it is missing (and there is no default) or no text."""
    value = row.get(name)
    if value is None and default is not None:
        return default
    if not isinstance(value, str):
        raise AnnotationError(f"{name} is {value!r}, not a text" if value is not None else f"{name} is missing")
    return value


def optional_text_of(row: Mapping[str, Any], name: str) -> str | None:
    return None if row.get(name) is None else text_of(row, name)


def probability_of(row: Mapping[str, Any]) -> float | None:
    value = row.get("inclusion_probability")
    if value is not None and (isinstance(value, bool) or not isinstance(value, int | float)):
        raise AnnotationError(f"inclusion_probability is {value!r}, not a number")
    return None if value is None else float(value)


def flag_of(row: Mapping[str, Any], name: str) -> bool:
    value = row.get(name, False)
    if not isinstance(value, bool):
        raise AnnotationError(f"{name} is {value!r}, not true or false")
    return value
