"""Whether an index can be trusted: have audio or texts collapsed onto a point, and do queries find more than chance?

A point: where the mean cosine of all pairs is `COLLAPSED` or more, whatever is asked has the same answer.

Chance: the recordings that carry a tag should stand higher for the tag's text than for other texts. How well a text
ranks them is its AUC; the tag is answered where at most one in twenty texts of a fixed pool ranks them as well. An
untrained model passes that with one tag in twenty, and says so with all of them: the number of tags that pass is
compared with that. An AUC alone would not do, since recordings of one tag sound alike to an untrained model too. Where
too few tags are there, the recordings' own names are asked for, against the same names shuffled.
"""

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trainer.search.entries import Entry
from trainer.search.pool import POOL

COLLAPSED = 0.97
SAMPLE = 2_000  # recordings that are looked at, spread over the index
_CHANCE = 0.05
_SURE = 0.01  # of the whole index: how rarely an untrained model would do as well
_MIN_POSITIVES, _MAX_TAGS, _MIN_TAGS = 5, 60, 5
_MIN_NAMED, _MAX_NAMED, _SHUFFLES = 10, 400, 999

Tagged = Sequence[tuple[int, Entry]]
Embed = Callable[[list[str]], NDArray[np.float32]]


@dataclass(frozen=True, kw_only=True)
class Query:
    """A tag as a query: its AUC over the recordings that carry it, and how much of the pool ranks them as well."""

    text: str
    positives: int
    auc: float
    chance: float

    @property
    def is_chance(self) -> bool:
        return self.chance > _CHANCE or self.auc <= 0.5


@dataclass(frozen=True, kw_only=True)
class Health:
    """`better_than_chance` is None where the index has too few tags and names to tell."""

    recordings: int
    audio_cosine: float
    text_cosine: float
    audio_directions: float
    text_directions: float
    queries: tuple[Query, ...]
    better_than_chance: bool | None
    told_by: str

    @property
    def audio_collapsed(self) -> bool:
        return self.audio_cosine >= COLLAPSED

    @property
    def text_collapsed(self) -> bool:
        return self.text_cosine >= COLLAPSED

    @property
    def is_well(self) -> bool:
        return not (self.audio_collapsed or self.text_collapsed) and self.better_than_chance is not False

    def lines(self) -> list[str]:
        """For a person, the worst first."""
        said = []
        for what, collapsed, cosine in (
            ("audio", self.audio_collapsed, self.audio_cosine),
            ("texts", self.text_collapsed, self.text_cosine),
        ):
            if collapsed:
                said.append(f"COLLAPSED: all {what} lie on one point (mean cosine {cosine:.3f}): answers mean nothing")
        verdicts = {
            True: f"better than chance, told by {self.told_by}",
            False: f"NO BETTER THAN CHANCE, told by {self.told_by}: the model may be untrained, or not know this music",
            None: f"whether it is better than chance cannot be told: {self.told_by}",
        }
        said.append(verdicts[self.better_than_chance])
        said.append(
            f"{self.recordings} recordings looked at: mean cosine {self.audio_cosine:.3f} of audio in "
            f"{self.audio_directions:.1f} directions, {self.text_cosine:.3f} of texts in {self.text_directions:.1f}"
        )
        for query in self.queries:
            verdict = "no better than chance" if query.is_chance else "answered"
            said.append(f"  {query.text[:60]!r}: {verdict} (AUC {query.auc:.2f}, {query.positives} recordings)")
        return said


def examine(matrix_ND: NDArray[np.float16], tagged: Tagged, embed: Embed) -> Health:
    """`tagged`: rows that have names, with their entries."""
    spread = np.unique(np.linspace(0, len(matrix_ND) - 1, min(SAMPLE, len(matrix_ND))).astype(np.int64))
    audio_ND = matrix_ND[spread].astype(np.float32)
    pool_PD = embed(list(POOL))
    rows = np.asarray([row for row, _ in tagged], np.int64)
    known_ND = matrix_ND[rows].astype(np.float32)
    queries = _queries(known_ND, [entry for _, entry in tagged], pool_PD, embed)
    audio_cosine, text_cosine = _mean_cosine(audio_ND), _mean_cosine(pool_PD)
    better: bool | None
    if max(audio_cosine, text_cosine) >= COLLAPSED:
        better, told_by = None, "what has collapsed orders by what is left of rounding"
    elif len(queries) >= _MIN_TAGS:
        passed = sum(not query.is_chance for query in queries)
        better, told_by = (
            _upper_tail(passed, len(queries)) < _SURE,
            f"{passed} of {len(queries)} tags that are answered",
        )
    else:
        better, told_by = _by_names(known_ND, [entry for _, entry in tagged], embed)
    return Health(
        recordings=len(spread),
        audio_cosine=audio_cosine,
        text_cosine=text_cosine,
        audio_directions=_directions(audio_ND),
        text_directions=_directions(pool_PD),
        queries=tuple(queries),
        better_than_chance=better,
        told_by=told_by,
    )


def _queries(
    audio_ND: NDArray[np.float32], entries: Sequence[Entry], pool_PD: NDArray[np.float32], embed: Embed
) -> list[Query]:
    carried = [{tag.casefold() for tag in entry.tags} for entry in entries]
    counts = Counter(tag for tags in carried for tag in tags)
    usual = sorted(counts, key=lambda tag: (-counts[tag], tag))
    tags = [tag for tag in usual if _MIN_POSITIVES <= counts[tag] <= len(entries) - _MIN_POSITIVES][:_MAX_TAGS]
    if not tags:
        return []
    ranks_NP, ranks_NT = _ranks(audio_ND @ pool_PD.T), _ranks(audio_ND @ embed(tags).T)
    found = []
    for place, tag in enumerate(tags):
        has_N = np.asarray([tag in one for one in carried])
        other = [number for number, text in enumerate(POOL) if set(text.split()).isdisjoint(tag.split())]
        auc = float(_auc(ranks_NT[:, place : place + 1], has_N)[0])
        as_well = int((_auc(ranks_NP[:, other], has_N) >= auc).sum())
        chance = (1 + as_well) / (1 + len(other))
        found.append(Query(text=tag, positives=int(has_N.sum()), auc=auc, chance=chance))
    return found


def _by_names(audio_ND: NDArray[np.float32], entries: Sequence[Entry], embed: Embed) -> tuple[bool | None, str]:
    """Does a recording stand higher for its own words than for those of others?"""
    texts = [" ".join(filter(None, (entry.title, entry.artist, *entry.tags[:5]))) for entry in entries[:_MAX_NAMED]]
    kept = [place for place, text in enumerate(texts) if text.strip()]
    if len({texts[place] for place in kept}) < _MIN_NAMED:
        return None, "it has too few tags and names (mulan search index --catalog FILE brings them)"
    scores_NN = audio_ND[kept] @ embed([texts[place] for place in kept]).T
    scores_NN = scores_NN - scores_NN.mean(axis=0) - scores_NN.mean(axis=1, keepdims=True)
    rng = np.random.default_rng(0)
    places = np.arange(len(kept))
    own = float(scores_NN[places, places].mean())
    shuffled = [float(scores_NN[places, rng.permutation(places)].mean()) for _ in range(_SHUFFLES)]
    chance = (1 + sum(one >= own for one in shuffled)) / (1 + _SHUFFLES)
    return chance <= _SURE, f"the names of {len(kept)} recordings (which may say nothing of their sound)"


def _ranks(scores_NT: NDArray[np.float32]) -> NDArray[np.float64]:
    """Of each column, from 1; equal ones share the mean of theirs."""
    ranks = np.empty(scores_NT.shape)
    for column in range(scores_NT.shape[1]):
        values = np.round(scores_NT[:, column].astype(np.float64), 6)
        ordered = np.sort(values)
        ranks[:, column] = (
            np.searchsorted(ordered, values, side="left") + np.searchsorted(ordered, values, side="right") + 1
        ) / 2
    return ranks


def _auc(ranks_NT: NDArray[np.float64], has_N: NDArray[Any]) -> NDArray[np.float64]:
    """Mann and Whitney's U over the pairs, of each column."""
    positives = int(has_N.sum())
    pairs = positives * (len(has_N) - positives)
    auc: NDArray[np.float64] = (ranks_NT[has_N].sum(axis=0) - positives * (positives + 1) / 2) / pairs
    return auc


def _upper_tail(passed: int, tags: int) -> float:
    """How often so many or more of the tags pass by chance."""
    return sum(math.comb(tags, n) * _CHANCE**n * (1 - _CHANCE) ** (tags - n) for n in range(passed, tags + 1))


def _mean_cosine(rows_ND: NDArray[np.float32]) -> float:
    """Over all pairs of two."""
    count = len(rows_ND)
    if count < 2:
        return 0.0
    total = rows_ND.astype(np.float64).sum(axis=0)
    return float((total @ total - np.square(rows_ND.astype(np.float64)).sum()) / (count * (count - 1)))


def _directions(rows_ND: NDArray[np.float32]) -> float:
    """In how many directions they spread: the participation ratio of their covariance."""
    if len(rows_ND) < 2:
        return 0.0
    values = np.linalg.svd(rows_ND.astype(np.float64) - rows_ND.mean(axis=0), compute_uv=False) ** 2
    return float(values.sum() ** 2 / max(float(np.square(values).sum()), 1e-300))
