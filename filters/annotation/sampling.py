"""What to label: a sample of the distinct sentences of a mined run or a text file, with stored inclusion probabilities.

Two draws, both with a known chance for every sentence, so that figures of the sample can be weighted back to the whole:

- stratified: strata by score (where the run is scored), script, length and source; places are given by the square root
  of a stratum's size, so that rare strata are seen; within a stratum every sentence has the same chance.
- uncertain (once a model has scored the run): chances proportional to how undecided the score is, over a floor, drawn
  systematically along an order in which similar sentences are neighbours, so that the draw spreads over kinds of
  sentences (diversity) and does not return twenty copies of one doubt.

A sentence's inclusion probability is that of being in either draw. The frozen test fold is never drawn from, unless the
test set itself is being made. Everything follows from texts, scores and the seed: not from file order, not from the
machine. Two passes over the source: the first keeps a few numbers a sentence, the second fetches the drawn texts.
"""

import itertools
import json
import math
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from filters.annotation.frozen import is_frozen
from filters.annotation.records import MAX_TEXT_CHARS, AnnotationError, check_text, item_id_of
from schemas.digest import hash64
from schemas.label import LabelItem
from schemas.run import Run, RunError

# Uneven on purpose: among comments most scores are near zero, and what matters is above.
SCORE_EDGES = (0.01, 0.1, 0.5, 0.9)
LENGTH_EDGES_WORDS = (5, 16)
FACTORS = ("score", "script", "length", "source")
# The share of an even chance that the least doubtful sentence keeps in the uncertain draw.
UNCERTAIN_FLOOR = 0.05
_MAX_LINE_BYTES = 1_000_000
_MAX_SOURCE_CHARS = 100


class NothingLeftError(AnnotationError):
    """All that may be drawn is drawn."""


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """A sentence that may be drawn; `score` is None where no model has judged it."""

    text: str
    score: float | None
    source: str


@dataclass(frozen=True, kw_only=True)
class SamplePlan:
    """What to draw; `uncertain_share` of it by doubt. `frozen_fold` draws the test set instead."""

    count: int
    seed: int = 0
    uncertain_share: float = 0.0
    frozen_fold: bool = False

    def __post_init__(self) -> None:
        if self.count < 1:
            raise ValueError(f"count {self.count}: ask for at least one sentence")
        if not 0 <= self.uncertain_share <= 1:
            raise ValueError(f"uncertain share {self.uncertain_share} is not in [0, 1]")


@dataclass(frozen=True, kw_only=True)
class Sample:
    """The drawn items in a random order, and how many sentences they stand for (`population`), by stratum."""

    items: list[LabelItem]
    population: int
    strata: dict[str, tuple[int, int]]  # stratum -> (sentences, drawn)


def read_candidates(source: Path, *, name: str = "", text_field: str = "text") -> Callable[[], Iterator[Candidate]]:
    """A function that reads the sentences of a run's folder, a JSONL file or a plain text file (one a line), each time
    from the beginning. Raises AnnotationError with the file and line."""
    if source.is_dir():
        return lambda: _from_run(source)
    if not source.is_file():
        raise AnnotationError(f"{source}: no such file or run folder")
    if source.suffix in (".jsonl", ".ndjson"):
        return lambda: _from_jsonl(source, name or source.stem, text_field)
    return lambda: _from_text(source, name or source.stem)


def draw(read: Callable[[], Iterator[Candidate]], plan: SamplePlan, exclude: frozenset[str] = frozenset()) -> Sample:
    """Draw from the distinct sentences, `exclude` (item ids that are labelled already) and the frozen fold apart."""
    wanted = _wanted(plan, exclude)
    hashes, strata, scores, codes, factors = _first_pass(read, plan, wanted)
    if len(hashes) == 0:
        raise NothingLeftError("nothing to draw from: no sentence is left outside the frozen fold and what is known")
    uncertain_count = round(plan.count * plan.uncertain_share)
    if uncertain_count and np.isnan(scores).all():
        raise AnnotationError("the uncertain draw needs scores: mine with --lf_model, or sample without --uncertain")
    names = _merged_strata(factors, strata, plan.count)
    stratum_of = np.array([names[key] for key in strata], dtype=object)
    chance, drawn = _stratified(hashes, stratum_of, plan.count - uncertain_count)
    if uncertain_count:
        other_chance, other_drawn = _uncertain(hashes, scores, codes, uncertain_count, plan.seed)
        chance = 1 - (1 - chance) * (1 - other_chance)
        drawn |= other_drawn
    places = {int(hashes[index]): index for index in np.flatnonzero(drawn)}
    found: dict[int, LabelItem] = {}
    for candidate in read():
        mark = _mark(plan, candidate.text)
        index = places.get(mark)
        # A sentence may come from several sources: it is drawn as what the first pass took it for.
        if index is None or mark in found or not wanted(candidate):
            continue
        if _factors(candidate) == factors[strata[index]]:
            found[mark] = LabelItem(
                item_id=item_id_of(candidate.text),
                text=candidate.text,
                source=candidate.source,
                stratum=str(stratum_of[index]),
                inclusion_probability=float(chance[index]),
            )
    sizes, hits = Counter(stratum_of), Counter(stratum_of[drawn])
    return Sample(
        items=[found[mark] for mark in sorted(found)],
        population=len(hashes),
        strata={name: (sizes[name], hits[name]) for name in sorted(sizes)},
    )


def script_of(text: str) -> str:
    """The script of most of the letters: latin, cyrillic, cjk, … or none."""
    counts = Counter(_script_of_letter(letter) for letter in text[:1000] if letter.isalpha())
    # Ties by name, not by what came first.
    return min(counts, key=lambda script: (-counts[script], script), default="none")


@lru_cache(maxsize=10_000)
def _script_of_letter(letter: str) -> str:
    # Wide, mathematical and ligature forms count as the letters that they are of.
    script = unicodedata.name(unicodedata.normalize("NFKC", letter)[0], "other").split()[0].split("-")[0].lower()
    return "cjk" if script in ("cjk", "hiragana", "katakana", "hangul") else script


def _factors(candidate: Candidate) -> tuple[str, ...]:
    if candidate.score is None:
        score = "unscored"
    else:
        edges = (0.0, *SCORE_EDGES, 1.0)
        bin_index = sum(candidate.score >= edge for edge in SCORE_EDGES)
        score = f"score {edges[bin_index]:g}-{edges[bin_index + 1]:g}"
    words = len(candidate.text.split())
    length = ("short", "medium", "long")[sum(words >= edge for edge in LENGTH_EDGES_WORDS)]
    return (score, script_of(candidate.text), length, candidate.source)


def _mark(plan: SamplePlan, text: str) -> int:
    """A random number for the text, the same in every pass: who has the smallest is drawn."""
    return hash64(f"{plan.seed}\n{text}")


def _wanted(plan: SamplePlan, exclude: frozenset[str]) -> Callable[[Candidate], bool]:
    def wanted(candidate: Candidate) -> bool:
        text = candidate.text
        if not text.strip() or is_frozen(text) != plan.frozen_fold or item_id_of(text) in exclude:
            return False
        try:
            check_text(text, "text", MAX_TEXT_CHARS)
        except AnnotationError:
            return False
        return True

    return wanted


def _first_pass(
    read: Callable[[], Iterator[Candidate]], plan: SamplePlan, wanted: Callable[[Candidate], bool]
) -> tuple[
    npt.NDArray[np.uint64],
    npt.NDArray[np.int32],
    npt.NDArray[np.float32],
    npt.NDArray[np.uint64],
    list[tuple[str, ...]],
]:
    """Of each distinct sentence: its mark, its stratum, its score, its place among similar ones."""
    rows: list[tuple[int, int, float, int]] = []
    numbers: dict[tuple[str, ...], int] = {}
    need_codes = plan.uncertain_share > 0
    chunks: list[npt.NDArray[Any]] = []
    kind = np.dtype([("mark", np.uint64), ("stratum", np.int32), ("score", np.float32), ("code", np.uint64)])
    for candidate in read():
        if not wanted(candidate):
            continue
        number = numbers.setdefault(_factors(candidate), len(numbers))
        score = math.nan if candidate.score is None else candidate.score
        code = _neighbourhood(candidate.text) if need_codes else 0
        rows.append((_mark(plan, candidate.text), number, score, code))
        if len(rows) == 100_000:
            chunks.append(np.array(rows, dtype=kind))
            rows = []
    table = np.concatenate([*chunks, np.array(rows, dtype=kind)])
    # Strata are numbered by name, so that neither order nor copies decide what a sentence counts as.
    factors = sorted(numbers)
    table["stratum"] = np.array([factors.index(key) for key in numbers], dtype=np.int32)[table["stratum"]]
    table = table[np.lexsort((table["stratum"], table["mark"]))]
    first = np.ones(len(table), dtype=bool)
    first[1:] = table["mark"][1:] != table["mark"][:-1]
    table = table[first]
    return table["mark"], table["stratum"], table["score"], table["code"], factors


def _merged_strata(factors: list[tuple[str, ...]], strata: npt.NDArray[np.int32], count: int) -> dict[int, str]:
    """Names of strata over as many factors as leave two places a stratum: source goes first, then length, script."""
    present = sorted(set(strata.tolist()))
    for kept in range(len(FACTORS), 0, -1):
        names = {number: " · ".join(factors[number][:kept]) for number in present}
        if 2 * len(set(names.values())) <= count:
            return names
    return dict.fromkeys(present, "all")


def _stratified(
    marks: npt.NDArray[np.uint64], stratum_of: npt.NDArray[np.object_], count: int
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.bool_]]:
    """Chance of each sentence, and which are drawn: of every stratum the smallest marks."""
    sizes = Counter(stratum_of.tolist())
    places = allocate(dict(sizes), count)
    chance = np.zeros(len(marks))
    drawn = np.zeros(len(marks), dtype=bool)
    for name, size in sizes.items():
        members = np.flatnonzero(stratum_of == name)
        chance[members] = places[name] / size
        drawn[members[np.argsort(marks[members])[: places[name]]]] = True
    return chance, drawn


def allocate(sizes: dict[str, int], count: int) -> dict[str, int]:
    """Places by the square root of the size, at least one each where there are enough, never more than there are."""
    places = dict.fromkeys(sizes, 0)
    for _ in range(min(count, sum(sizes.values()))):
        # The stratum that is furthest behind its share (Sainte-Laguë), by name where two are equal.
        open_strata = [name for name in sizes if places[name] < sizes[name]]
        chosen = min(
            open_strata, key=lambda name: ((places[name] > 0), (places[name] + 0.5) / sizes[name] ** 0.5, name)
        )
        places[chosen] += 1
    return places


def _uncertain(
    marks: npt.NDArray[np.uint64],
    scores: npt.NDArray[np.float32],
    codes: npt.NDArray[np.uint64],
    count: int,
    seed: int,
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.bool_]]:
    """Systematic sampling with chances proportional to doubt, along the order of neighbourhoods."""
    doubt = np.where(np.isnan(scores), 1.0, 1 - np.abs(2 * scores.astype(np.float64) - 1))
    weight = UNCERTAIN_FLOOR + (1 - UNCERTAIN_FLOOR) * np.clip(doubt, 0, 1)
    chance = np.zeros(len(marks))
    certain = np.zeros(len(marks), dtype=bool)
    left = min(count, len(marks))
    # Who would have more than one chance is taken for certain; the others share what is left.
    while True:
        open_weight = weight[~certain].sum()
        scaled = weight * ((left - certain.sum()) / open_weight) if open_weight > 0 else weight * 0
        newly = ~certain & (scaled >= 1)
        if not newly.any():
            break
        certain |= newly
    chance = np.where(certain, 1.0, scaled)
    order = np.lexsort((marks, codes))
    start = np.random.default_rng(seed).random()
    ends = np.cumsum(chance[order]) + start
    hit = np.floor(ends + 1e-9) > np.floor(np.concatenate([[start], ends[:-1]]) + 1e-9)
    drawn = certain.copy()
    drawn[order[hit]] = True
    return chance, drawn


def _neighbourhood(text: str) -> int:
    """A number under which similar sentences are close: the ranks, in Gray order, of 32 random cuts of its words."""
    words = set(re.findall(r"\w+", text.casefold())) or {text}
    votes = np.zeros(32)
    for word in words:
        votes += _cuts(word)
    bits = (votes > 0).astype(np.uint8)
    # From Gray code to its rank: neighbours in rank differ in one cut.
    rank = np.bitwise_xor.accumulate(bits)
    return int.from_bytes(np.packbits(rank).tobytes(), "big")


@lru_cache(maxsize=50_000)
def _cuts(word: str) -> npt.NDArray[np.float64]:
    return np.random.default_rng(hash64(word)).standard_normal(32)


def _from_run(folder: Path) -> Iterator[Candidate]:
    try:
        run = Run.open(folder)
        for group in run.row_groups():
            table = run.read(group, ["lf", "source"])
            for sentences, source in zip(table["lf"].to_pylist(), table["source"].to_pylist(), strict=True):
                for sentence in sentences:
                    yield Candidate(
                        text=sentence["text"], score=sentence["score"], source=(source or "")[:_MAX_SOURCE_CHARS]
                    )
    except RunError as error:
        raise AnnotationError(str(error)) from error


def _from_text(path: Path, name: str) -> Iterator[Candidate]:
    for _, line in _lines(path):
        yield Candidate(text=line.strip(), score=None, source=name[:_MAX_SOURCE_CHARS])


def _from_jsonl(path: Path, name: str, text_field: str) -> Iterator[Candidate]:
    for number, line in _lines(path):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError as error:
            raise AnnotationError(f"{path}:{number}: not JSON ({error})") from error
        text = row.get(text_field) if isinstance(row, dict) else None
        if not isinstance(text, str):
            raise AnnotationError(f"{path}:{number}: has no text in {text_field!r}; name the field with --text_field")
        score = row.get("score")
        if score is not None and not (isinstance(score, int | float) and 0 <= score <= 1):
            raise AnnotationError(f"{path}:{number}: score {score!r} is not a number in [0, 1]")
        source = row.get("source") or name
        if not isinstance(source, str):
            raise AnnotationError(f"{path}:{number}: source {source!r} is not a text")
        yield Candidate(text=text, score=score, source=source[:_MAX_SOURCE_CHARS])


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    with path.open("rb") as stream:
        for number in itertools.count(1):
            raw = stream.readline(_MAX_LINE_BYTES)
            if not raw:
                return
            if len(raw) == _MAX_LINE_BYTES:
                raise AnnotationError(f"{path}:{number}: longer than {_MAX_LINE_BYTES} bytes")
            try:
                yield number, raw.decode("utf-8")
            except UnicodeDecodeError as error:
                raise AnnotationError(f"{path}:{number}: not UTF-8 ({error})") from error
