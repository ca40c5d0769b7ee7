"""`--where "year >= 1990 and tags = 'jazz'"`: a condition on what is known of a recording.

Read by a parser of its own over the columns that there are; what a user writes becomes parameters of a statement, and
never a part of it.

    condition = term ("or" term)*;  term = factor ("and" factor)*
    factor = "not" factor | "(" condition ")" | COLUMN OPERATOR VALUE
    OPERATOR = "=" "!=" "<" "<=" ">" ">=" "contains";  VALUE = a number, or a text in quotes
"""

import re
from collections.abc import Sequence
from typing import Any

TEXT_COLUMNS = ("recording_id", "title", "artist", "album", "licence", "source")
NUMBER_COLUMNS = ("year", "duration_s", "start_s")
COLUMNS = (*TEXT_COLUMNS, "tags", *NUMBER_COLUMNS)
_MAX_LENGTH, _MAX_DEPTH, _MAX_PARTS = 4_000, 40, 100
_TOKEN = re.compile(
    r"\s*(?:(?P<name>[A-Za-z_]\w*)|(?P<number>-?\d+(?:\.\d+)?)|'(?P<single>[^']*)'|\"(?P<double>[^\"]*)\""
    r"|(?P<sign><=|>=|!=|==|<|>|=|\(|\)))"
)
_SIGNS = {"=": "=", "==": "=", "!=": "<>", "<": "<", "<=": "<=", ">": ">", ">=": ">="}


class WhereError(ValueError):
    """A condition that cannot be read; one line says where."""


def parse(text: str) -> tuple[str, list[Any]]:
    """The condition for a statement over the table of entries, and its parameters. Raises WhereError."""
    if len(text) > _MAX_LENGTH:
        raise WhereError(f"--where has {len(text)} characters; at most {_MAX_LENGTH} are read")
    parser = _Parser(_tokens(text))
    found = parser.condition(0)
    parser.end()
    return found, parser.parameters


def _tokens(text: str) -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    place = 0
    while text[place:].strip():
        match = _TOKEN.match(text, place)
        if match is None:
            raise WhereError(f"--where: cannot be read from {text[place : place + 20].strip()!r} on")
        kind = str(match.lastgroup)
        found.append(("text" if kind in ("single", "double") else kind, match[kind]))
        place = match.end()
    return found


class _Parser:
    def __init__(self, tokens: Sequence[tuple[str, str]]) -> None:
        self._tokens, self._place = tokens, 0
        self.parameters: list[Any] = []

    def condition(self, depth: int) -> str:
        return self._joined("or", lambda: self._joined("and", lambda: self._factor(depth)))

    def end(self) -> None:
        if self._place < len(self._tokens):
            raise WhereError(f"--where: {self._tokens[self._place][1]!r} is one too many")

    def _joined(self, word: str, part: Any) -> str:
        parts = [part()]
        while self._take("name", word) is not None:
            parts.append(part())
        return f"({f' {word.upper()} '.join(parts)})"

    def _factor(self, depth: int) -> str:
        if depth > _MAX_DEPTH or len(self.parameters) > _MAX_PARTS:
            raise WhereError("--where: has too many parts")
        if self._take("name", "not") is not None:
            return f"NOT COALESCE({self._factor(depth + 1)}, 0)"
        if self._take("sign", "(") is not None:
            inner = self.condition(depth + 1)
            if self._take("sign", ")") is None:
                raise WhereError("--where: a bracket is not closed")
            return inner
        return self._comparison()

    def _comparison(self) -> str:
        column = self._take("name")
        if column is None or column not in COLUMNS:
            raise WhereError(f"--where: {column or 'a column'!r} is no column; there are {', '.join(COLUMNS)}")
        contains = self._take("name", "contains") is not None
        sign = "=" if contains else self._take("sign")
        if sign not in _SIGNS:
            raise WhereError(f"--where: after {column} comes one of {', '.join(_SIGNS)}, contains")
        number, text = self._take("number"), self._take("text")
        if column in NUMBER_COLUMNS:
            if number is None or contains:
                raise WhereError(f"--where: {column} is compared with a number")
            self.parameters.append(float(number))
            return f"{column} {_SIGNS[sign]} ?"
        if text is None:
            raise WhereError(f"--where: {column} is compared with a text in quotes")
        self.parameters.append(text)
        test = "instr(lower({0}), lower(?)) > 0" if contains else "{0} " + _SIGNS[sign] + " ? COLLATE NOCASE"
        if column == "tags":
            if sign != "=" and not contains:
                raise WhereError("--where: tags may be = or contains; not tags = '…' is its opposite")
            return f"EXISTS (SELECT 1 FROM json_each(entries.tags) WHERE {test.format('value')})"  # noqa: S608
        return test.format(column)

    def _take(self, kind: str, word: str | None = None) -> str | None:
        """The next token where it is of a kind, and this word."""
        if self._place == len(self._tokens):
            return None
        found, text = self._tokens[self._place]
        if found != kind or (word is not None and text.lower() != word):
            return None
        self._place += 1
        return text
