"""Figures of others, to stand beside ours: each with its source, and with how sure the reading of it is.

`reading` says whether a figure was read at its source or second hand. All 86 of the paper's tables 4 to 6 are there,
which trainer/evaluation/paper_tables.py prints in its layout. A figure that could be traced to no source, or that was
made of another by arithmetic, is left out.
"""

import json
from dataclasses import dataclass
from pathlib import Path

_FILE = Path(__file__).with_name("published.json")
PAPER = "Huang et al. 2022, arXiv 2208.12415"


@dataclass(frozen=True, kw_only=True)
class PublishedFigure:
    """`measurement` and `metric` say which of our figures it belongs beside."""

    model: str
    measurement: str
    metric: str
    value: float
    source: str
    reading: str

    @property
    def of_the_paper(self) -> bool:
        return self.source.startswith(PAPER)


def published_figures(path: Path = _FILE) -> list[PublishedFigure]:
    """Raises ValueError where the file is not a list of figures with a source each."""
    try:
        figures = [PublishedFigure(**entry) for entry in json.loads(path.read_text(encoding="utf-8"))]
    except (ValueError, TypeError) as error:
        raise ValueError(f"{path}: not a list of published figures ({error})") from error
    unsourced = [figure.model for figure in figures if not figure.source.strip() or not figure.reading.strip()]
    if unsourced:
        raise ValueError(f"{path}: no source for {', '.join(unsourced)}")
    return figures
