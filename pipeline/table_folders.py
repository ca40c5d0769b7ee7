"""Tables that are folders, as Spark and its kin write them: `x.parquet/` with part files.

The folder is the table. A file below it whose name, or whose folder's name, begins with `_` or `.` (`_SUCCESS`,
`_metadata`, checksums) is none of its rows, and a folder `licence=cc0` in it says the value of a column (Hive).
"""

from urllib.parse import unquote

FORMATS = ("jsonl", "ndjson", "json", "csv", "tsv", "parquet")
_HIVE_NONE = "__HIVE_DEFAULT_PARTITION__"


def format_of(name: str) -> str | None:
    """The format of a table by its name."""
    suffix = name.lower().removesuffix(".gz").rpartition(".")[2]
    return suffix if suffix in FORMATS else None


def is_part(name: str) -> bool:
    """Whether a file of the table, by its path below it, has rows."""
    return not any(part.startswith(("_", ".")) for part in name.split("/"))


def table_folder(folder: str) -> str | None:
    """The table that a folder is, or that it is a part of; None for a folder that only holds tables."""
    names = folder.rstrip("/").split("/")
    while names and "=" in names[-1]:
        names.pop()
    return "/".join(names) if names and format_of(names[-1]) else None


def partition_values(path: str) -> dict[str, str | None]:
    """Columns of a file's rows that the names of its folders hold."""
    folder = path.rpartition("/")[0]
    table = table_folder(folder)
    if table is None:
        return {}
    pairs = (name.partition("=") for name in folder[len(table) :].split("/") if name)
    return {unquote(name): None if value == _HIVE_NONE else unquote(value) for name, _, value in pairs}
