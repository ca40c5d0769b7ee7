"""Samples of a report: recordings that were left out, and texts that the filters have kept, changed or left out.

Whatever the size of a run, few plan parts and lists of rejects are read: of those that have what is looked for, the
ones whose keys have the smallest hashes, and of what they hold the smallest hashes are shown. So the same run shows the
same. A plan keeps short forms from before the rules and from after them, so that the rules are applied again to tell
what each has done. Sentences that a gate has left out are kept nowhere and cannot be shown.

Everything here was written by others. What is to be played or followed is an address of the web or a file beside the
report, and only of a recording that was dropped by a decision on its sound: nobody's browser is given what our own
decoder failed on, or asked to look at an address that was never fetched.
"""

import dataclasses
import json
import logging
import os
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar
from urllib.parse import quote

import pyarrow as pa

from filters.short_form.rules import DUPLICATE_RULE_ID, RULES, Field, ShortForm, clean, duplicate_key
from pipeline import storage
from pipeline.media.fetching.errors import shown
from pipeline.plan import read_part
from pipeline.run_folder.generations import Plan
from pipeline.run_folder.suppression import suppression_path
from pipeline.storage import DamagedError
from schemas.commit import PartRecord, ShardRecord
from schemas.digest import hash64
from schemas.one_line import one_line
from schemas.reasons import Reason
from schemas.youtube_address import is_youtube, video_id

SHOWN = 6  # of a kind
TEXT_PARTS, MOST_TEXT_PARTS = 3, 12
ROWS_A_PART = 256
BANDS = 10  # of the classifier's score
LONGEST_TEXT = 240
TABLE_BYTES = 1 << 20  # of a list of rows that were not used
TABLE_FILES = 12
# Dropped by a decision on a clip that was cut without trouble.
PLAYED = frozenset({Reason.TOO_SHORT, Reason.SILENT, Reason.NOT_MUSIC})

Item = TypeVar("Item")
log = logging.getLogger(__name__)


@dataclass(kw_only=True)
class _Sample(Generic[Item]):
    """The items whose keys have the smallest hashes, each key once, and how many there were."""

    seen: int = 0
    _items: dict[int, Item] = field(default_factory=dict)

    def add(self, key: str, item: Item) -> None:
        self.seen += 1
        self._items[hash64(key)] = item
        if len(self._items) > SHOWN:
            del self._items[max(self._items)]

    def items(self) -> list[Item]:
        return [self._items[key] for key in sorted(self._items)]


def samples(
    run_dir: str,
    plans: Sequence[Plan],
    committed: Sequence[tuple[PartRecord, ShardRecord | None]],
    lf_threshold: float | None,
) -> dict[str, Any]:
    """What a report shows of recordings, table rows, short forms and sentences, as plain values."""
    ordered = sorted(committed, key=lambda pair: hash64(pair[0].key))
    return {
        "recordings": _recordings(run_dir, ordered),
        "rows": _table_rows(run_dir, plans),
        **_texts(run_dir, [part for part, _ in ordered], lf_threshold),
    }


def _covering(keyed: Sequence[tuple[Item, dict[Any, int]]], wanted: int) -> list[Item]:
    """As few of the items, in order, as have `wanted` of each thing that they count, where there are so many; what is
    rare is looked for first."""
    totals: Counter[Any] = Counter()
    for _, counts in keyed:
        totals.update(counts)
    taken: dict[int, None] = {}
    have: Counter[Any] = Counter()
    for thing in sorted(totals, key=lambda thing: (totals[thing], str(thing))):
        for i, (_, counts) in enumerate(keyed):
            if have[thing] >= wanted:
                break
            if counts.get(thing) and i not in taken:
                taken[i] = None
                have.update(counts)
    return [keyed[i][0] for i in taken]


def _recordings(run_dir: str, ordered: Sequence[tuple[PartRecord, ShardRecord | None]]) -> dict[str, Any]:
    """Reason → recordings that were left out when their shard was built."""
    built = [((part, record.rejects), record.recordings.left_out) for part, record in ordered if record is not None]
    found: dict[str, _Sample[dict[str, Any]]] = {}
    for part, rejects in _covering(built, SHOWN):
        if rejects is None:
            continue
        for value in _whole(_lines, run_dir, rejects.path) or []:
            value = {**value, "part": part}
            found.setdefault(value["reason"], _Sample()).add(value["recording_id"], value)
    left_out = {reason: sample.items() for reason, sample in sorted(found.items())}
    places = _places(run_dir, [value for values in left_out.values() for value in values])
    return {
        reason: [
            {
                "recording_id": _cut(value["recording_id"]),
                "audio_uri": _cut(value["audio_uri"]),
                "detail": value["detail"],
                **playable(run_dir, Reason.named(reason), places.get(value["recording_id"])),
            }
            for value in values
        ]
        for reason, values in left_out.items()
    }


def _lines(run_dir: str, path: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in storage.read_bytes(storage.join(run_dir, path)).splitlines()]


def _places(run_dir: str, left_out: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """The plan rows of those that can be played."""
    wanted: dict[str, set[str]] = {}
    parts: dict[str, PartRecord] = {}
    for value in left_out:
        if value["reason"] in PLAYED:
            parts[value["part"].key] = value["part"]
            wanted.setdefault(value["part"].key, set()).add(value["recording_id"])
    columns = ["recording_id", "audio_uri", "base_uri", "start_s", "duration_s"]
    return {
        row["recording_id"]: row
        for key, ids in wanted.items()
        if (table := _whole(read_part, run_dir, parts[key].file.path)) is not None
        for row in table.select(columns).to_pylist()
        if row["recording_id"] in ids
    }


def playable(run_dir: str, reason: Reason, row: dict[str, Any] | None) -> dict[str, Any]:
    """`link`: where a recording is, None where no browser should go there; `plays`: whether it is a sound file."""
    nothing = {"link": None, "plays": False}
    if row is None or reason not in PLAYED:
        return nothing
    uri, base_uri = row["audio_uri"], row["base_uri"]
    if is_youtube(uri):
        identifier = video_id(uri)
        return (
            nothing if identifier is None else {"link": f"https://www.youtube.com/watch?v={identifier}", "plays": False}
        )
    scheme = uri.partition("://")[0].lower() if "://" in uri else ""
    if scheme in ("http", "https"):
        # What is behind a `?` may be a signature, and a report is passed on.
        if shown(uri) != uri or any(c.isspace() or not c.isprintable() for c in uri):
            return nothing
        link = quote(uri, safe="%/:?#[]@!$&'()*+,;=")
    elif not scheme and storage.is_local(run_dir) and storage.is_local(base_uri):
        path = os.path.normpath(os.path.join(base_uri, uri))
        link = quote(os.path.relpath(path, run_dir).encode("utf-8", "surrogateescape"))
    else:
        return nothing
    start_s, end_s = row["start_s"], row["start_s"] + row["duration_s"]
    return {"link": link if reason == Reason.TOO_SHORT else f"{link}#t={start_s:g},{end_s:g}", "plays": True}


def _table_rows(run_dir: str, plans: Sequence[Plan]) -> dict[str, list[dict[str, Any]]]:
    """Reason → rows of the tables that were not used. Once something was removed, nothing of what they say is shown."""
    quiet = storage.exists(suppression_path(run_dir))
    found: dict[str, _Sample[dict[str, Any]]] = {}
    files = [entry for plan in plans for entry in plan.rejects if entry.rows]
    for entry in sorted(files, key=lambda entry: hash64(entry.path))[:TABLE_FILES]:
        for value in _whole(_first_lines, run_dir, entry.path) or []:
            reason = value["reason"]
            if reason == Reason.REMOVED:
                continue
            place = f"{storage.name_of(value['file'])}:{value['line']}"
            detail = "" if quiet else _cut(value.get("detail") or "")
            found.setdefault(reason, _Sample()).add(
                f"{value['file']}:{value['line']}", {"place": place, "detail": detail}
            )
    return {reason: sample.items() for reason, sample in sorted(found.items())}


def _first_lines(run_dir: str, path: str) -> list[dict[str, Any]]:
    with storage.open_file(storage.join(run_dir, path)) as stream:
        content: bytes = stream.read(TABLE_BYTES)
    lines = content.split(b"\n")
    return [json.loads(line) for line in lines[:-1]]


@dataclass(kw_only=True)
class _Rule:
    kept: _Sample[dict[str, str]] = field(default_factory=_Sample)
    left_out: _Sample[dict[str, str]] = field(default_factory=_Sample)


@dataclass(kw_only=True)
class _Band:
    kept: _Sample[dict[str, Any]] = field(default_factory=_Sample)
    left_out: _Sample[dict[str, Any]] = field(default_factory=_Sample)


def _texts(run_dir: str, parts: Sequence[PartRecord], lf_threshold: float | None) -> dict[str, Any]:
    rules: dict[str, _Rule] = {}
    bands: dict[int, _Band] = {}
    unscored: _Sample[dict[str, Any]] = _Sample()
    chosen = {part.key: part for part in parts[:TEXT_PARTS]}
    rest = [(part, part.rule_hits) for part in parts[TEXT_PARTS:]]
    chosen |= {part.key: part for part in _covering(rest, 1)[: MOST_TEXT_PARTS - len(chosen)]}
    for part in chosen.values():
        table = _whole(read_part, run_dir, part.file.path)
        if table is None:
            continue
        rows = table.select(["recording_id", "sf", "sf_unfiltered", "lf"])
        order = sorted(range(len(rows)), key=lambda i: hash64(rows["recording_id"][i].as_py()))
        for row in rows.take(pa.array(sorted(order[:ROWS_A_PART]), pa.int64())).to_pylist():
            for before, form in short_forms(row["sf_unfiltered"], row["sf"]):
                _add_short_form(rules, before, form)
            for sentence in row["lf"]:
                text, score = sentence["text"], sentence["score"]
                shown_text = {"text": _cut(text), "score": score}
                if score is None:
                    unscored.add(text, shown_text)
                    continue
                band = bands.setdefault(min(int(score * BANDS), BANDS - 1), _Band())
                is_kept = lf_threshold is None or score >= lf_threshold
                (band.kept if is_kept else band.left_out).add(text, shown_text)
    return {
        "short_forms": [
            {"rule": name, "kept": rules[name].kept.items(), "left_out": rules[name].left_out.items()}
            for name in [*(rule.id for rule in RULES), DUPLICATE_RULE_ID]
            if name in rules
        ],
        "sentences": [
            {
                "from": number / BANDS,
                "to": (number + 1) / BANDS,
                **{
                    name: {"seen": sample.seen, "texts": sample.items()}
                    for name, sample in (("kept", band.kept), ("left_out", band.left_out))
                },
            }
            for number, band in sorted(bands.items(), reverse=True)
        ],
        "unscored": [item["text"] for item in unscored.items()],
    }


def _add_short_form(rules: dict[str, _Rule], before: str, form: ShortForm) -> None:
    """Under each rule that has changed a text; one that is left out under the rule that left nothing of it."""
    for name in form.hits if form.text is not None else form.hits[-1:]:
        found = rules.setdefault(name, _Rule())
        value = {"before": _cut(before), "after": _cut(form.text or "")}
        (found.left_out if form.text is None else found.kept).add(before, value)


def short_forms(unfiltered: Sequence[str], kept: Sequence[str]) -> Iterator[tuple[str, ShortForm]]:
    """Each short form of a recording from before the rules, and what they have made of it.

    A plan does not say which field one comes from, and a few rules look at some fields alone; it is a field that gives
    what was kept. Title, artist and album come first, if they are there.
    """
    keys = {duplicate_key(text) for text in kept}
    taken: set[str] = set()
    for i, text in enumerate(unfiltered):
        forms = [clean(text, name) for name in [*Field][min(i, len(Field) - 1) :]]
        fitting = [form for form in forms if form.text is not None and duplicate_key(form.text) in keys]
        form = next(iter([*fitting, *(form for form in forms if form.text is None)]), None)
        if form is None:
            continue  # over the cap
        if form.text is not None:
            key = duplicate_key(form.text)
            if key in taken:
                form = dataclasses.replace(form, text=None, hits=(*form.hits, DUPLICATE_RULE_ID))
            taken.add(key)
        yield text, form


def _cut(text: str) -> str:
    """As much of a text as a page shows, on one line."""
    line = "".join("?" if unicodedata.category(c) in ("Cc", "Cs") else c for c in " ".join(text[:1000].split()))
    return line if len(line) <= LONGEST_TEXT else f"{line[:LONGEST_TEXT]}…"


def _whole(read: Callable[[str, str], Item], run_dir: str, path: str) -> Item | None:
    """What a file of the run says; None where it is gone or not whole, which is no reason to have no report."""
    try:
        return read(run_dir, path)
    except (DamagedError, pa.ArrowException, ValueError) as error:
        log.warning("report: no samples of %s (%s)", path, one_line(error))
        return None
