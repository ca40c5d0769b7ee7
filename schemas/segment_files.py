"""Which file holds a segment of AudioSet or MusicCaps, by its name, so that mining and evaluation read a folder alike.

The names are those that people's downloaders give: `YTID.*`; `YTID_START.*` and `YTID_START_END.*` in seconds, with or
without decimals and leading zeros, or in milliseconds; `YTID_START-END.*`; `[YTID]-[START-END].*`; each with a `Y`
before the id, which no video's id then is, and with `.low` before the suffix. A name with a start is a segment that was
cut out. One without is a whole recording or a segment that was cut out, which only its duration tells: what is at most
`CUT_SLACK_S` longer than its segment was cut out, since a recording goes on until its segment ends.
"""

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass

CUT_SLACK_S = 1.0
_NUMBER = r"\d+(?:\.\d+)?"
_CUT = (
    re.compile(rf"\[(?P<id>.+)\]-\[(?P<start>{_NUMBER})-{_NUMBER}\]"),
    re.compile(rf"(?P<id>.+)_(?P<start>{_NUMBER})[_-]{_NUMBER}"),
    re.compile(rf"(?P<id>.+)_(?P<start>{_NUMBER})"),
)


@dataclass(frozen=True, kw_only=True)
class SegmentFile:
    """`cut`: the file is the segment and no more; otherwise its duration tells."""

    path: str
    cut: bool


class SegmentFiles:
    """Files by the segments that they may hold; `suffixes` are those of media, the preferred first. Costs memory for
    each file, about 400 bytes."""

    def __init__(self, suffixes: Sequence[str]) -> None:
        self._order = {suffix: order for order, suffix in enumerate(suffixes)}
        self._whole: dict[str, str] = {}
        self._cut: dict[tuple[str, float], str] = {}

    def __len__(self) -> int:
        return len(self._whole)

    def add(self, path: str) -> None:
        """Files that are no media are passed over."""
        stem, suffix = os.path.splitext(path.rsplit("/", 1)[-1])
        if suffix.lower() not in self._order:
            return
        stem = stem.removesuffix(".low")
        self._whole[stem] = self._preferred(self._whole.get(stem), path)
        # An id may end like a start, so one name can stand for several segments.
        for form in _CUT:
            if (cut := form.fullmatch(stem)) is not None:
                key = (cut["id"], float(cut["start"]))
                self._cut[key] = self._preferred(self._cut.get(key), path)

    def find(self, ytid: str, start_s: float) -> SegmentFile | None:
        for name in (ytid, f"Y{ytid}"):
            if (path := self._whole.get(name)) is not None:
                return SegmentFile(path=path, cut=False)
            for start in (start_s, round(start_s * 1000)):
                if (path := self._cut.get((name, start))) is not None:
                    return SegmentFile(path=path, cut=True)
        return None

    def _preferred(self, known: str | None, path: str) -> str:
        """Of copies the one in the better container, of those the first by name, whatever the listing's order."""
        return path if known is None or self._rank(path) < self._rank(known) else known

    def _rank(self, path: str) -> tuple[int, str]:
        return self._order[os.path.splitext(path)[1].lower()], path
