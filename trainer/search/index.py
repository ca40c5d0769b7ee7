"""`openmulan.Index`: an index that is there already, and what may be asked of it.

    index = openmulan.Index.open("INDEX")
    for hit in index.search("slow piano for study", away_from=["vocals"], k=10):
        print(hit.score, hit.title, hit.start_s)

Legend: N recordings, D dimensions.
"""

import mimetypes
import os
import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from schemas.run import Run, RunError
from schemas.serving.sound import playable
from schemas.shard import AudioEncoding
from trainer.search import layout
from trainer.search.entries import Entries, Entry
from trainer.search.health import SAMPLE, Health, examine
from trainer.search.layout import IndexAbout, IndexError_
from trainer.search.nearest import ByGraph, Exact, Nearest, Searcher, open_matrix, scores_of
from trainer.search.pool import POOL

__all__ = ["AudioPlace", "Entry", "Health", "Hit", "Index", "IndexAbout", "IndexError_", "Tag"]

MAX_K = 1_000
MAX_TEXT = 10_000  # characters of a query; a model reads fewer of them
# A text is a whole step away from nothing, what is not wanted half of one, as in Rocchio's feedback.
_AWAY = 0.5
_RANK_SHIFT = 60  # of reciprocal ranks, as Cormack et al. (2009) have it
_MIXED = 50  # ranks of the sound that are mixed with those of the names
_BLOCK = 2_048
_OPENS = 3


@dataclass(frozen=True, kw_only=True, slots=True)
class Hit:
    """One answer. `score` is the cosine; `start_s`, where windows are kept, is where in its sound the moment that
    matches best begins; `how` says whether it was found by its "sound", its "name" or "both"."""

    recording_id: str
    score: float
    title: str | None = None
    artist: str | None = None
    start_s: float | None = None
    how: str = "sound"


@dataclass(frozen=True, kw_only=True, slots=True)
class Tag:
    """`score`: how many standard deviations a tag stands above the pool's mean for this recording."""

    name: str
    score: float


@dataclass(frozen=True, kw_only=True, slots=True)
class AudioPlace:
    """What can be played: a file by its path, or the bytes of one."""

    mime: str
    path: Path | None = None
    content: bytes | None = None


class EmbedsText(Protocol):
    def embed_text(self, texts: list[str], /) -> NDArray[np.float32]: ...


class Index:
    """Made by `Index.open`. May be asked from several threads; what it has open stays whole when the index is written
    again, and `Index.open` then opens the new one."""

    def __init__(
        self, folder: Path, generation: Path, about: IndexAbout, model: EmbedsText | str | os.PathLike[str] | None
    ) -> None:
        self.folder, self.about = folder, about
        self._model = model
        self._entries = Entries(generation / layout.ENTRIES)
        self._exact = Exact(open_matrix(generation / layout.VECTORS, about.dimension))
        if not len(self._exact.matrix_ND) == about.count:
            raise IndexError_(
                f"{generation}: has {len(self._exact.matrix_ND)} vectors, not {about.count}; make it again"
            )
        self._map = np.fromfile(generation / layout.MAP, np.float32).reshape(-1, 2)
        # A way to search all of it other than by comparing with every row.
        self._other: Searcher | None = None
        if about.store is not None:
            self._other = _opened_store(folder, about)
        elif about.recall is not None:
            self._other = ByGraph(generation / layout.GRAPH)
        self._windows = _Windows(generation, about) if about.has_windows else None

    @classmethod
    def open(cls, folder: Path | str, *, model: EmbedsText | str | os.PathLike[str] | None = None) -> "Index":
        """`model` stands in for the one that the index names: where that has moved, by its new place; or an object
        with `embed_text`. It is loaded when a text is first asked for. Raises IndexError_."""
        folder = Path(folder)
        for _ in range(_OPENS):
            generation, about = layout.read_pointer(folder)
            try:
                return cls(folder, generation, about, model)
            except (FileNotFoundError, sqlite3.OperationalError) as error:
                failed = error  # written again at this moment
            except (OSError, ValueError, sqlite3.DatabaseError) as error:
                raise IndexError_(f"{folder}: cannot be opened ({error}); make the index again") from error
        raise IndexError_(f"{folder}: cannot be opened ({failed}); make the index again") from failed

    @property
    def count(self) -> int:
        return self.about.count

    def close(self) -> None:
        self._entries.close()

    def search(
        self,
        text: str = "",
        *,
        k: int = 10,
        away_from: Sequence[str] = (),
        like: Sequence[str] = (),
        unlike: Sequence[str] = (),
        where: str | None = None,
    ) -> list[Hit]:
        """The best `k` for a text, texts to be away from, recordings to be like and unlike (by their ids, which are
        no part of the answer), among those that a condition is true of.

        Names count too: recordings that have all words of the text in title, artist, album or tags are mixed in by
        reciprocal ranks. Raises ValueError.
        """
        if not 1 <= k <= MAX_K:
            raise ValueError(f"k is {k}; it is from 1 to {MAX_K}")
        query_D = self._query(text, away_from, like, unlike)
        given = [self._row(name) for name in (*like, *unlike)]
        allowed = None if where is None else self._entries.where(where)
        named = self._entries.named(text[:MAX_TEXT]) if text else []
        if allowed is not None:
            named = np.asarray(named, np.int64)[np.isin(named, allowed)].tolist()
        named = [row for row in named if row not in given]
        depth = (max(k, _MIXED) if named else k) + len(given)
        found = self._nearest(query_D, depth, allowed)
        sound = [row for row in found.rows_K.tolist() if row not in given]
        return self._hits(_mixed(sound, named[: max(k, _MIXED)])[:k], query_D)

    def similar(self, recording_id: str, *, k: int = 10) -> list[Hit]:
        """Raises IndexError_ where there is no such recording."""
        return self.search(k=k, like=[recording_id])

    def duplicates(self, *, threshold: float) -> Iterator[tuple[Hit, Hit]]:
        """Pairs whose cosine is at least `threshold`, each once, in the order of the index. Every pair is compared:
        a hundred thousand recordings take a minute or two, a million hours."""
        if not -1 <= threshold <= 1:
            raise ValueError(f"threshold is {threshold}; a cosine is from -1 to 1")
        matrix = self._exact.matrix_ND
        for start in range(0, len(matrix), _BLOCK):
            block = matrix[start : start + _BLOCK].astype(np.float32)
            for other in range(start, len(matrix), _BLOCK):
                scores = block @ matrix[other : other + _BLOCK].astype(np.float32).T
                for one, two in np.argwhere(scores >= threshold).tolist():
                    if start + one < other + two:
                        score = float(scores[one, two])
                        first, second = self._entries.at([start + one, other + two])
                        yield _hit(first, score), _hit(second, score)

    def tags(self, recording_id: str, *, k: int = 10) -> list[Tag]:
        """The words of a fixed pool that fit a recording best (trainer/search/pool.py), without any of its own words.

        A cosine alone says little: some texts are near to everything. Of a text's cosine with the recording its mean
        over the collection is taken; what is left is told in standard deviations over the pool's texts.
        """
        row = self._row(recording_id)
        rest = self._pool @ (self._exact.matrix_ND[row].astype(np.float32) - np.asarray(self.about.mean, np.float32))
        scores = (rest - rest.mean()) / max(float(rest.std()), 1e-9)
        order = np.argsort(-scores, kind="stable")[:k]
        return [Tag(name=POOL[place], score=round(float(scores[place]), 4)) for place in order.tolist()]

    def row(self, recording_id: str) -> Entry:
        """Raises IndexError_ where there is no such recording."""
        return self._entries.at([self._row(recording_id)])[0]

    def audio(self, recording_id: str) -> AudioPlace:
        """Raises IndexError_ where there is nothing to play, or not any more."""
        entry = self.row(recording_id)
        if entry.path is not None:
            path = Path(entry.path)
            if not path.is_file():
                raise IndexError_(f"{recording_id}: its file is gone; run `mulan search index` again")
            return AudioPlace(mime=mimetypes.guess_type(path.name)[0] or "application/octet-stream", path=path)
        if entry.place is None:
            raise IndexError_(f"{recording_id}: the index was made of vectors and knows no file of it")
        return self._clip(entry)

    def map(self) -> list[tuple[str, float, float]]:
        """Each recording with its place on the two axes along which the collection differs most (PCA)."""
        places = zip(self._entries.ids(), self._map.tolist(), strict=True)
        return [(recording_id, x, y) for recording_id, (x, y) in places]

    def health(self) -> Health:
        """Whether the index can be trusted: trainer/search/health.py says how that is told."""
        return examine(self._exact.matrix_ND, self._entries.tagged(SAMPLE), self._embedded)

    def path(self, from_id: str, to_id: str, text: str | None = None, n: int = 20) -> list[Hit]:
        """A playlist from one recording to another in `n` steps, each the nearest to its place on the way that is not
        taken yet. A text such as "calm to wild" bends the way: its first half near the beginning, the rest near the
        end."""
        if not 2 <= n <= MAX_K:
            raise ValueError(f"n is {n}; it is from 2 to {MAX_K}")
        first, last = self._row(from_id), self._row(to_id)
        begin_D, end_D = (self._exact.matrix_ND[row].astype(np.float32) for row in (first, last))
        bends = self._bends(text)
        taken = [first]
        queries = [begin_D]
        for step in range(1, n - 1):
            share = step / (n - 1)
            query_D = (1 - share) * begin_D + share * end_D
            if bends is not None:
                query_D = _unit(query_D) + (1 - share) * bends[0] + share * bends[1]
            found = self._nearest(_unit(query_D), len(taken) + 2, None).rows_K.tolist()
            new = next((row for row in found if row not in taken and row != last), None)
            if new is None:
                break
            taken.append(new)
            queries.append(_unit(query_D))
        if last != first:
            taken.append(last)
            queries.append(end_D)
        return [self._hits([(row, "sound")], query)[0] for row, query in zip(taken, queries, strict=True)]

    def _bends(self, text: str | None) -> NDArray[np.float32] | None:
        if not text:
            return None
        begin, _, end = text.partition(" to ")
        return self._embedded([begin, end or begin])

    def _query(
        self, text: str, away_from: Sequence[str], like: Sequence[str], unlike: Sequence[str]
    ) -> NDArray[np.float32]:
        texts = [one[:MAX_TEXT] for one in (text, *away_from) if one.strip()]
        if not (texts or like or unlike):
            raise ValueError("nothing is asked for: give a text, or a recording to be like")
        embedded = list(self._embedded(texts)) if texts else []
        wanted = [embedded.pop(0)] if text.strip() else []
        matrix = self._exact.matrix_ND
        wanted += [matrix[self._row(name)].astype(np.float32) for name in like]
        unwanted = embedded + [matrix[self._row(name)].astype(np.float32) for name in unlike]
        query_D = np.zeros(self.about.dimension, np.float32)
        if wanted:
            query_D += _unit(np.sum(wanted, axis=0))
        if unwanted:
            query_D -= (_AWAY if wanted else 1.0) * _unit(np.sum(unwanted, axis=0))
        return _unit(query_D)

    def _nearest(self, query_D: NDArray[np.float32], k: int, allowed: NDArray[np.int64] | None) -> Nearest:
        k = min(k, self.count)
        if allowed is None and self._other is not None:
            return self._other(query_D, k)
        return self._exact(query_D, k, allowed)

    def _hits(self, found: Sequence[tuple[int, str]], query_D: NDArray[np.float32]) -> list[Hit]:
        rows = np.asarray([row for row, _ in found], np.int64)
        scores = scores_of(self._exact.matrix_ND, rows, query_D)
        starts = [self._windows.best(row, query_D) if self._windows else None for row in rows.tolist()]
        entries = self._entries.at(rows.tolist())
        hows = [how for _, how in found]
        return [
            _hit(entry, float(score), start_s, how)
            for entry, score, start_s, how in zip(entries, scores, starts, hows, strict=True)
        ]

    def _row(self, recording_id: str) -> int:
        row = self._entries.row_of(recording_id)
        if row is None:
            raise IndexError_(f"{recording_id[:200]!r}: no recording of this index")
        return row

    def _clip(self, entry: Entry) -> AudioPlace:
        place = entry.place
        assert place is not None
        try:
            run = Run.open(place.run)  # as it is now: what was removed from it is not played
            shard = next((one for one in run.manifest.shards if one.path == place.shard), None)
            if shard is None:
                raise IndexError_(f"{entry.recording_id}: the run was mined again; run `mulan search index` again")
            group = list(run.row_groups([shard]))[place.row_group]
            columns = ["recording_id", "audio", "audio_encoding"]
            found = run.read(group, columns, [place.row]).to_pylist()[0]
        except (RunError, LookupError) as error:
            raise IndexError_(f"{entry.recording_id}: cannot be read ({error})") from error
        if found["recording_id"] != entry.recording_id:
            raise IndexError_(f"{entry.recording_id}: is not where it was; run `mulan search index` again")
        return _playable(found["audio"], AudioEncoding(found["audio_encoding"]))

    def _embedded(self, texts: list[str]) -> NDArray[np.float32]:
        rows = np.asarray(self._text_model.embed_text(texts), np.float32)
        if rows.shape != (len(texts), self.about.dimension) or not np.isfinite(rows).all():
            raise IndexError_(
                f"the model gives {rows.shape} for {len(texts)} texts; its index has {self.about.dimension}"
            )
        unit: NDArray[np.float32] = rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)
        return unit

    @cached_property
    def _text_model(self) -> EmbedsText:
        if self._model is not None and not isinstance(self._model, str | os.PathLike):
            return self._model
        from trainer.search.models import open_model  # torch takes seconds

        name = os.fspath(self._model or self.about.model)
        try:
            opened = open_model(name)
        except ValueError as error:
            raise IndexError_(f"{error}; the index needs the model that made it") from error
        if opened.digest != self.about.model_digest:
            raise IndexError_(f"{name}: is another model than the one that made the index; make the index again")
        return opened

    @cached_property
    def _pool(self) -> NDArray[np.float32]:
        return self._embedded(list(POOL))


class _Windows:
    """Where in a recording a query fits best."""

    def __init__(self, generation: Path, about: IndexAbout) -> None:
        self._matrix = open_matrix(generation / layout.WINDOWS, about.dimension)
        with np.load(generation / layout.WINDOW_PLACES, allow_pickle=False) as places:
            self._first, self._starts_s = places["first"], places["starts_s"]

    def best(self, row: int, query_D: NDArray[np.float32]) -> float | None:
        begin, end = int(self._first[row]), int(self._first[row + 1])
        if begin == end:
            return None
        scores = self._matrix[begin:end].astype(np.float32) @ query_D
        return float(self._starts_s[begin + int(scores.argmax())])


def _opened_store(folder: Path, about: IndexAbout) -> Searcher:
    from trainer.search.milvus import MilvusStore, collection_name

    store = MilvusStore(str(about.store), collection_name(str(folder.resolve()), about.identity))
    store.open()
    return store


def _mixed(sound: Sequence[int], named: Sequence[int]) -> list[tuple[int, str]]:
    """By the sum of reciprocal ranks; of equal ones the name goes first, then the earlier row."""
    ranks: dict[int, float] = {}
    for rows in (named, sound):
        for rank, row in enumerate(rows, start=1):
            ranks[row] = ranks.get(row, 0.0) + 1 / (_RANK_SHIFT + rank)
    in_sound, in_names = set(sound), set(named)
    order = sorted(ranks, key=lambda row: (-ranks[row], row not in in_names, row))
    if not named:  # ties of the sound are broken already
        order = list(sound)
    return [(row, "sound" if row not in in_names else "both" if row in in_sound else "name") for row in order]


def _hit(entry: Entry, score: float, start_s: float | None = None, how: str = "sound") -> Hit:
    return Hit(
        recording_id=entry.recording_id,
        score=score,
        title=entry.title,
        artist=entry.artist,
        start_s=start_s,
        how=how,
    )


def _unit(vector_D: NDArray[np.float32]) -> NDArray[np.float32]:
    unit: NDArray[np.float32] = vector_D / max(float(np.linalg.norm(vector_D)), 1e-12)
    return unit


def _playable(audio: bytes, encoding: AudioEncoding) -> AudioPlace:
    content, mime = playable(audio, encoding)
    return AudioPlace(mime=mime, content=content)
