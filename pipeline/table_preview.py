"""What a dry run says of the tables: how many rows have each field, from which column, what is not used, and samples.

So that a wrong `--map`, tags that are one text, or a column that has another name are seen before anything is mined.
"""

import difflib
import itertools
import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from pipeline.catalogue import (
    CATALOGUE,
    COMMENTS,
    LIST_SEPARATOR,
    PLAYLISTS,
    TAGS,
    Reject,
    Table,
    is_python_list,
    read_items,
    select,
    without_secrets,
)
from pipeline.settings import JobSettings
from schemas.cells import is_no_value

PREVIEW_ROWS = 10_000  # of a table; what stands behind them is not read for this
SAMPLES = 3
SHOWN_COLUMNS = 20
SAMPLE_CHARS = 240
_SEVERAL_TAGS = re.compile(r"\S\s*[,;|]\s*\S")
_FROM_A_FRAME = re.compile(r"nan|none|null|-?\d+\.0", re.IGNORECASE)


@dataclass(kw_only=True)
class Preview:
    """Counts over the first rows of a table."""

    table: Table[Any]
    columns: Mapping[str, str]  # field -> column
    tags_separator: str | None
    rows: int = 0
    rejects: int = 0
    is_whole: bool = True
    first_reject: Reject | None = None
    filled: Counter[str] = field(default_factory=Counter)  # field -> rows that have a value
    names: dict[str, None] = field(default_factory=dict)  # columns of the files, in their order
    samples: list[dict[str, Any]] = field(default_factory=list)
    several_tags: int = 0  # one tag that looks like several
    python_tags: int = 0
    array_tags: int = 0
    frame_ids: int = 0  # texts such as 12.0 and nan

    def add(self, item: tuple[int, Any] | Reject, cells: Mapping[str, Any]) -> None:
        self.rows += 1
        self.names.update(dict.fromkeys(cells))
        values = select(cells, self.columns)
        self.filled.update(name for name, value in values.items() if not is_no_value(value) and value not in ("", []))
        self._look_at_tags(values.get(TAGS))
        identifier = values.get(self.table.fields[0])
        self.frame_ids += isinstance(identifier, str) and _FROM_A_FRAME.fullmatch(identifier.strip()) is not None
        if isinstance(item, Reject):
            self.rejects += 1
            self.first_reject = self.first_reject or item
        elif len(self.samples) < SAMPLES:
            self.samples.append({name: value for name, value in values.items() if not is_no_value(value)})

    def _look_at_tags(self, tags: Any) -> None:
        if isinstance(tags, str) and tags.lstrip().startswith("["):
            self.python_tags += is_python_list(tags)
            self.array_tags += not is_python_list(tags)
            return
        texts = tags.split(self.tags_separator or LIST_SEPARATOR) if isinstance(tags, str) else tags
        alone = isinstance(texts, list) and len(texts) == 1 and isinstance(texts[0], str)
        self.several_tags += alone and _SEVERAL_TAGS.search(texts[0]) is not None

    def render(self) -> str:
        rows = f"{self.rows:,} rows" if self.is_whole else f"the first {self.rows:,} rows"
        lines = [f"{self.table.kind}: {rows}, {self.rows - self.rejects:,} of which can be used"]
        lines += [f"  {name:<15}{self.filled[name]:>10,}  {self._origin(name)}" for name in self.table.fields]
        unused = [name for name in self.names if name not in self.columns.values()]
        if unused:
            more = f" and {len(unused) - SHOWN_COLUMNS} more" if len(unused) > SHOWN_COLUMNS else ""
            lines.append(f"  not used       {', '.join(unused[:SHOWN_COLUMNS])}{more}")
        lines += [f"  attention      {said}" for said in self._attention()]
        lines += [f"  sample         {self._sample(sample)}" for sample in self.samples]
        return "".join(f"{_legible(line).rstrip()}\n" for line in lines)

    def _origin(self, name: str) -> str:
        column = self.columns[name]
        if column in self.names or not self.names:
            return f"column {column}" if column != name else ""
        free = {other.lower(): other for other in self.names if other not in self.columns.values()}
        near = difflib.get_close_matches(column.lower(), free, n=1, cutoff=0.75)
        prefix = "" if self.table.kind == CATALOGUE.kind else f"{self.table.kind}."
        hint = f"; is it {free[near[0]]}? --map {prefix}{name}={free[near[0]]}" if near else ""
        return f"there is no column {column}{hint}" if hint or column != name else "-"

    def _attention(self) -> Iterator[str]:
        if (first := self.first_reject) is not None:
            where = f"{first.file}:{first.line}: {first.reason}: {without_secrets(first.detail)}"
            yield f"rows that cannot be used: {self.rejects:,}; the first: {where}"
        if self.several_tags:
            yield f"rows with one tag that looks like several: {self.several_tags:,}; --tags_separator splits it"
        if self.python_tags:
            yield f"cells of tags that are lists as Python writes them: {self.python_tags:,}; write them by json.dumps"
        if self.array_tags:
            yield f"cells of tags that are read as a JSON array: {self.array_tags:,}"
        if self.frame_ids:
            yield f"ids that are texts such as 12.0 or nan, and stay so: {self.frame_ids:,}; write whole numbers"

    def _sample(self, values: Mapping[str, Any]) -> str:
        text = without_secrets(json.dumps(values, ensure_ascii=False, default=str))
        return text if len(text) <= SAMPLE_CHARS else f"{text[:SAMPLE_CHARS]}…"


def _legible(line: str) -> str:
    return "".join(c if c.isprintable() else "?" for c in line)


def preview(
    table: Table[Any], paths: tuple[str, ...], columns: Mapping[str, str], tags_separator: str | None
) -> Preview:
    made = Preview(table=table, columns=table.columns(columns), tags_separator=tags_separator)
    items = (pair for path in paths for pair in read_items(table, path, columns, tags_separator))
    for item, cells in itertools.islice(items, PREVIEW_ROWS):
        made.add(item, cells)
    made.is_whole = made.rows < PREVIEW_ROWS or next(items, None) is None
    return made


def previews(job: JobSettings) -> Iterator[Preview]:
    """Of every table that a job reads."""
    for table, paths in ((CATALOGUE, job.catalogues), (COMMENTS, job.comments), (PLAYLISTS, job.playlists)):
        if paths:
            yield preview(table, paths, job.columns.get(table.kind, {}), job.tags_separator)
