"""What the reader of any label format needs: how the file speaks, its records and mistakes gathered, fields checked.

Reading never stops at the first mistake: it collects them all, each with its line or record, and raises `FormatError`.
"""

import contextlib
import json
import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from filters.annotation.formats.accounts import Account, People
from filters.annotation.records import AnnotationError, Bundle, check_item, check_label, item_id_of
from schemas.label import Label, LabelItem, LabelValue


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
        # What a reader knows by itself, a skip say, is no word of the file's.
        if isinstance(answer, LabelValue):
            return answer
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

    @contextlib.contextmanager
    def at(self, where: str) -> Iterator[None]:
        """An AnnotationError inside is a problem of this place, and reading goes on behind it."""
        try:
            yield
        except AnnotationError as error:
            self.problem(where, error)

    def add_item(self, where: str, item: LabelItem) -> None:
        """The same item may come again (once a label, say); another text under its id is a mistake."""
        with self.at(where):
            check_item(item)
            if self._items.setdefault(item.item_id, item) != item:
                raise AnnotationError(f"item {item.item_id} was there before with other content")

    def add_label(self, where: str, label: Label) -> None:
        with self.at(where):
            check_label(label)
            if self._labels.setdefault((label.item_id, label.annotator), label) is not label:
                raise AnnotationError(f"{label.annotator} labels item {label.item_id} a second time")

    def bundle(self) -> Bundle:
        """Raises FormatError if anything was wrong."""
        if self._problems:
            raise FormatError(list(self._problems))
        return Bundle(items=list(self._items.values()), labels=list(self._labels.values()))


def json_list(path: Path) -> list[tuple[str, dict[str, Any]]]:
    """The objects of a JSON list, each with a name for messages. Raises AnnotationError."""
    try:
        value = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise AnnotationError(f"{path}: not JSON ({error})") from error
    if not isinstance(value, list) or not all(isinstance(one, dict) for one in value):
        raise AnnotationError(f"{path}: not a list of JSON objects")
    return [(f"{path}: record {number} (id {one.get('id')})", one) for number, one in enumerate(value, start=1)]


def json_lines(name: str, lines: Iterable[bytes], found: Collector) -> Iterator[tuple[str, dict[str, Any]]]:
    """The objects of the lines of a file, each with its place; lines that are none become problems."""
    for number, line in enumerate(lines, start=1):
        if line.strip():
            where = f"{name}:{number}"
            try:
                row = json.loads(line)
            except (ValueError, RecursionError) as error:
                found.problem(where, f"not JSON ({error})")
                continue
            if isinstance(row, dict):
                yield where, row
            else:
                found.problem(where, "not a JSON object")


def item_of(row: Mapping[str, Any], text_field: str, id_field: str = "item_id") -> LabelItem:
    """The item that a row holds under our names of fields; all but the text may be missing. Raises AnnotationError."""
    text = text_of(row, text_field)
    return LabelItem(
        item_id=text_of(row, id_field, item_id_of(text)),
        text=text,
        source=text_of(row, "source", ""),
        stratum=text_of(row, "stratum", ""),
        inclusion_probability=_probability_of(row),
    )


def label_of(said: Mapping[str, Any], item_id: str, annotator: str, options: ReadOptions) -> Label:
    """The label that somebody gave, in our names of fields. Raises AnnotationError."""
    return Label(
        item_id=item_id,
        annotator=annotator,
        label=options.value(said.get("label", "")),
        unsure=flag_of(said, "unsure"),
        skip_reason=optional_text_of(said, "skip_reason"),
        note=optional_text_of(said, "note"),
        guideline=optional_text_of(said, "guideline"),
    )


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


def flag_of(row: Mapping[str, Any], name: str) -> bool:
    value = row.get(name, False)
    if not isinstance(value, bool):
        raise AnnotationError(f"{name} is {value!r}, not true or false")
    return value


def _probability_of(row: Mapping[str, Any]) -> float | None:
    value = row.get("inclusion_probability")
    if value is not None and (isinstance(value, bool) or not isinstance(value, int | float)):
        raise AnnotationError(f"inclusion_probability is {value!r}, not a number")
    return None if value is None else float(value)
