"""The texts of one record of a stranger's file, each by itself: a field that cannot be used is left out and said, and
the record goes on without it.
"""

from collections.abc import Callable, Mapping
from typing import Any

from pipeline.catalogues.reader import LeftOut
from schemas.cells import RowError, as_number, as_text, as_texts, utf8
from schemas.playlist_files.text import MAX_DURATION_S, clean
from schemas.reasons import Reason

MAX_LONG_CHARS = 100_000
MAX_LEFT_OUT = 20
MAX_TEXTS = 1000  # tags or comments of one recording


class Fields:
    """`left_out` grows by what could not be used."""

    def __init__(self, where: str, value: Mapping[str, Any]) -> None:
        self._where = where
        self._value = value
        self.left_out: list[LeftOut] = []

    def short(self, *fields: str) -> str | None:
        """The first of these fields that has a text: of one line, at most 2,000 characters."""
        return next((text for field in fields if (text := self._text(field, clean)) is not None), None)

    def long(self, field: str) -> str | None:
        """A text with line ends, at most MAX_LONG_CHARS."""
        return self._text(field, clean_long)

    def shorts(self, *fields: str) -> list[str]:
        """The texts of these lists, each once, in their order."""
        found: dict[str, None] = {}
        for field in fields:
            try:
                for text in as_texts(self._value.get(field), field):
                    self._add(found, text, field)
            except RowError as error:
                self.leave_out(error)
        return self.bounded(list(found), " and ".join(fields))

    def _add(self, found: dict[str, None], text: str, field: str) -> None:
        try:
            if (read := clean(text, field)) is not None:
                found[read] = None
        except RowError as error:
            self.leave_out(error)

    def bounded(self, texts: list[str], field: str) -> list[str]:
        if len(texts) > MAX_TEXTS:
            self.leave_out(RowError(Reason.OVER_CAP, f"{field}: {len(texts)} texts; the first {MAX_TEXTS} are read"))
        return texts[:MAX_TEXTS]

    def seconds(self, field: str) -> float | None:
        try:
            found = as_number(self._value.get(field), field)
        except RowError as error:
            self.leave_out(error)
            return None
        return found if found is not None and 0 < found <= MAX_DURATION_S else None

    def leave_out(self, error: RowError) -> None:
        """Each once, and of one record a bounded number: a list of a million wrong values is one wrong list."""
        said = LeftOut(where=self._where, reason=error.reason, detail=error.detail)
        if len(self.left_out) < MAX_LEFT_OUT and said not in self.left_out:
            self.left_out.append(said)

    def _text(self, field: str, read: Callable[[str, str], str | None]) -> str | None:
        try:
            return read(as_text(self._value.get(field), field) or "", field)
        except RowError as error:
            self.leave_out(error)
            return None


def clean_long(text: str, field: str) -> str | None:
    """As `clean`, with line ends and tabs. Raises RowError."""
    if len(text) > MAX_LONG_CHARS:
        raise RowError(Reason.BAD_VALUE, f"{field} has {len(text)} characters; at most {MAX_LONG_CHARS} are read")
    utf8(text, field)
    if "\0" in text:
        raise RowError(Reason.BAD_VALUE, f"{field} has control characters")
    return text.strip() or None
