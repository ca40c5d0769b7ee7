"""Values of cells, as readers of JSON, CSV and Parquet hand them over, made texts and numbers.

The one place that says what is no value, which numbers stand for a text, and what is refused. A table that went through
a data frame has ids that are numbers (12, or 12.0 where another row has none), NaN where a text is missing, and Decimal
or bytes as its database had them.
"""

import math
from collections.abc import Mapping
from decimal import Decimal
from typing import Any
from uuid import UUID

from schemas.reasons import LeftOutError, Reason

MAX_EXACT_FLOAT = 2**53  # beyond it a float may stand for another whole number than the one that was meant
_TYPE_NAMES = {
    bool: "a boolean",
    int: "a number",
    float: "a number",
    Decimal: "a number",
    str: "a text",
    list: "a list",
    dict: "an object",
}


class RowError(LeftOutError):
    """A row that cannot be used."""


def type_name(value: Any) -> str:
    return _TYPE_NAMES.get(type(value), f"a {type(value).__name__}")


def is_no_value(value: Any) -> bool:
    """Nothing, or NaN, which stands for nothing in a column of a data frame."""
    return value is None or (isinstance(value, float | Decimal) and math.isnan(value))


def as_text(value: Any, field: str) -> str | None:
    """The text of a cell, None where there is no value. Whole numbers are read by their digits. Raises RowError."""
    if isinstance(value, str):  # nearly every cell
        if not value.isascii():
            utf8(value, field)
        return value
    if value is None or is_no_value(value):
        return None
    if isinstance(value, bytes):
        try:
            return value.decode("utf-8")
        except UnicodeDecodeError as error:
            raise RowError(Reason.NOT_UTF8, f"{field} is binary and not UTF-8") from error
    if isinstance(value, int | float | Decimal) and not isinstance(value, bool):
        return _digits(value, field)
    if isinstance(value, UUID):
        return str(value)
    raise RowError(Reason.WRONG_TYPE, f"{field} is {type_name(value)}; it must be a text")


def _digits(number: float | Decimal, field: str) -> str:
    if not math.isfinite(number) or number != int(number):
        detail = f"{field} is the number {number}; it must be a text, or a whole number that is read as one"
        raise RowError(Reason.WRONG_TYPE, detail)
    if isinstance(number, float) and abs(number) > MAX_EXACT_FLOAT:
        detail = f"{field} is {number:.0f} as a float, which is not exact at that size; write the column as texts"
        raise RowError(Reason.BAD_VALUE, detail)
    return str(int(number))


def as_texts(value: Any, field: str) -> tuple[str, ...]:
    """The texts of a list; elements that are null, NaN or empty are none of them. Raises RowError."""
    if is_no_value(value):
        return ()
    if isinstance(value, str):
        detail = f"{field} is a text; it must be a list of texts"
        raise RowError(Reason.WRONG_TYPE, f"{detail} (--tags_separator splits it)" if field == "tags" else detail)
    if not isinstance(value, list | tuple):
        raise RowError(Reason.WRONG_TYPE, f"{field} is {type_name(value)}; it must be a list of texts")
    for element in value:
        if type(element) is not str and isinstance(element, bool | list | tuple | dict):
            raise RowError(Reason.WRONG_TYPE, f"{field} holds {type_name(element)}; it must be a list of texts")
    return tuple(text for element in value if (text := as_text(element, field)))


def as_number(value: Any, field: str) -> float | None:
    """The number of a cell, None where there is no value. Raises RowError."""
    if value is None or is_no_value(value):
        return None
    if isinstance(value, bool) or not isinstance(value, int | float | Decimal):
        raise RowError(Reason.WRONG_TYPE, f"{field} is {type_name(value)}; it must be a number of seconds")
    try:
        number = float(value)
    except OverflowError as error:
        raise RowError(Reason.BAD_VALUE, f"{field} is too large") from error
    if not math.isfinite(number):
        raise RowError(Reason.BAD_VALUE, f"{field} is {number}; it must be finite")
    return number


def utf8(text: str, field: str) -> bytes:
    """Raises RowError."""
    try:
        return text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise RowError(Reason.NOT_UTF8, f"{field} is not valid Unicode (a lone surrogate)") from error


def optional_text(value: Mapping[str, Any], field: str) -> str | None:
    """Raises RowError."""
    return as_text(value.get(field), field) or None


def text_list(value: Mapping[str, Any], field: str) -> tuple[str, ...]:
    """Raises RowError."""
    return as_texts(value.get(field), field)
