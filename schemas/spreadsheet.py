"""Cells that a spreadsheet does not run.

A cell that one would take for a formula (it begins with = + - @, a tab or a line break) gets an apostrophe in front.
Reading takes one apostrophe off such a cell again, so nothing changes on the way there and back.
"""

import re
import unicodedata

_DANGEROUS = re.compile(r"'*[=+\-@\t\r\n]")


def neutralise(cell: str) -> str:
    """A cell that no spreadsheet takes for a formula. Wide forms of the signs count too."""
    return f"'{cell}" if _DANGEROUS.match(_narrow_start(cell)) else cell


def restore(cell: str) -> str:
    """What `neutralise` was given."""
    return cell[1:] if cell.startswith("'") and _DANGEROUS.match(_narrow_start(cell)) else cell


def _narrow_start(cell: str) -> str:
    quotes = len(cell) - len(cell.lstrip("'"))
    return cell[:quotes] + unicodedata.normalize("NFKC", cell[quotes : quotes + 1])
