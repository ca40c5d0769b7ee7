"""Label some, fit, draw the next by doubt and diversity, label again: active learning as one command.

Annotators never wait for a fit as long as they are not faster than it: a batch more than the fit needs is on the page
meanwhile. Round 0 is the packaged seed alone; round n is fitted on the seed and what is settled of the first n batches,
but for the quarter that `curve` judges by. Fitting and scoring are processes of their own (`mulan lf-filter`), so that
the page stays quick.

What is finished is a file in the output folder, and the labels are in the database: killed at any moment, the same
command goes on. The frozen fold is never drawn from; each item keeps the inclusion probability of its draw.
"""

import dataclasses
import json
import logging
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from filters.annotation import curve
from filters.annotation.curve import Point
from filters.annotation.exchange import add_bundle, read_bundle, settled
from filters.annotation.frozen import is_frozen
from filters.annotation.log import Log
from filters.annotation.records import AnnotationError, Bundle, item_id_of
from filters.annotation.sampling import Candidate, NothingLeftError, SamplePlan, draw
from filters.long_form.data import prepare_sentence
from schemas.digest import hash64
from schemas.label import LabelItem, LabelValue

logger = logging.getLogger(__name__)

_LOOK_EVERY_S = 0.5


@dataclass(frozen=True, kw_only=True)
class LoopPlan:
    """`count` sentences in all, `batch` a round; `uncertain_share` of a draw by doubt. `fit` goes to `lf-filter fit`.

    At most `pool` sentences of the source are scored each round, drawn at random once.
    """

    output: Path
    count: int = 200
    batch: int = 50
    overlap: int = 1
    seed: int = 0
    uncertain_share: float = 0.5
    pool: int = 20_000
    fit: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name in ("count", "batch", "overlap", "pool"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} {getattr(self, name)}: at least 1")
        if not 0 <= self.uncertain_share <= 1:
            raise ValueError(f"uncertain share {self.uncertain_share} is not in [0, 1]")

    @property
    def rounds(self) -> int:
        """After the round of the seed."""
        return -(-self.count // self.batch)


class Stopped(Exception):
    """Somebody asked the loop to end."""


class Loop:
    """The rounds, beside a page that is being served. `news` is what annotators read where nothing is left for them."""

    def __init__(
        self, db: Path, read: Callable[[], Iterator[Candidate]], plan: LoopPlan, on_point: Callable[[Point], None]
    ) -> None:
        self._db, self._read, self._plan, self._on_point = db, read, plan, on_point
        self._stopping = threading.Event()
        self._process: subprocess.Popen[str] | None = None
        self._pool: list[Candidate] = []
        self._pool_share = 1.0
        self._news = "The next sentences are being chosen."

    def news(self) -> str:
        return self._news

    def stop(self) -> None:
        """From another thread: end what is running; it goes on the next time."""
        self._stopping.set()
        if self._process is not None:
            self._process.terminate()

    def prepare(self) -> None:
        """The pool and the first sentences. Raises AnnotationError."""
        self._plan.output.mkdir(parents=True, exist_ok=True)
        with Log(self._db, create=True) as log:
            self._read_pool(log)
            self._draw(log, 0)

    def run(self) -> list[Point]:
        """All rounds; returns the curve. Raises AnnotationError and Stopped."""
        with Log(self._db) as log:
            for number in range(self._plan.rounds + 1):
                if not self._scores_path(number).exists():
                    self._wait_for_labels(log, number)
                    self._fit(log, number)
                self._draw(log, number)
                points = self._curve(log, number)
                self._on_point(points[-1])
        self._news = ""
        return points

    # What a round is made of.

    def _read_pool(self, log: Log) -> None:
        path = self._plan.output / "pool.jsonl"
        if not path.exists():
            known = frozenset(one for item in read_bundle(log).items for one in (item.item_id, item_id_of(item.text)))
            kept, population = _some(self._read(), self._plan, known)
            if not kept:
                raise AnnotationError("nothing to draw from: the source has no sentence outside the frozen fold")
            head = {"population": population, "items_before": len(read_bundle(log).items)}
            lines = [head, *(dataclasses.asdict(one) for one in kept)]
            _write(path, "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines))
        first, *rest = path.read_text(encoding="utf-8").splitlines()
        head = json.loads(first)
        self._items_before = int(head["items_before"])
        self._pool = [Candidate(**json.loads(line)) for line in rest]
        self._pool_share = len(self._pool) / head["population"]

    def _draw(self, log: Log, number: int) -> None:
        """So many sentences that a batch more than the next round needs is there."""
        plan = self._plan
        bundle = read_bundle(log)
        missing = min(plan.count, (number + 2) * plan.batch) - (len(bundle.items) - self._items_before)
        if missing <= 0:
            return
        scores = self._scores(number) if self._scores_path(number).exists() else {}
        pool = [dataclasses.replace(one, score=scores.get(one.text, one.score)) for one in self._pool]
        known = frozenset(one for item in bundle.items for one in (item.item_id, item_id_of(item.text)))
        share = plan.uncertain_share if any(one.score is not None for one in pool) else 0.0
        sample_plan = SamplePlan(count=missing, seed=plan.seed + number, uncertain_share=share)
        try:
            sample = draw(lambda: iter(pool), sample_plan, known)
        except NothingLeftError:
            return
        items = [
            dataclasses.replace(item, inclusion_probability=(item.inclusion_probability or 1.0) * self._pool_share)
            for item in sample.items
        ]
        add_bundle(log, Bundle(items=items, labels=[]), plan.overlap)

    def _wait_for_labels(self, log: Log, number: int) -> None:
        """Until the batches of the round have all the labels that they want."""
        run = log.connection.execute
        while True:
            done, drawn = run(
                "SELECT coalesce(sum(taken >= overlap), 0), count(*) FROM"
                " (SELECT taken, overlap FROM items ORDER BY position LIMIT -1 OFFSET ?)",
                (self._items_before,),
            ).fetchone()
            # A source may have fewer sentences than were asked for.
            if done >= min(number * self._plan.batch, drawn):
                return
            self._news = "The others are still at this batch; the next one follows."
            if self._stopping.wait(_LOOK_EVERY_S):
                raise Stopped

    def _fit(self, log: Log, number: int) -> None:
        """Fit the round's classifier on what is settled, and score the pool by it."""
        labels = self._plan.output / f"round-{number:02}.jsonl"
        if not labels.exists():
            _write(labels, "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in self._settled(log, number)))
        count = len(labels.read_text(encoding="utf-8").splitlines())
        model = self._plan.output / f"round-{number:02}"
        what = f"round {number}: the filter learns from the seed and {count} labels"
        given = ["--labels", str(labels)] if count else []
        if not (model / "README.md").exists():
            self._call(what, "fit", *given, "--with_seed", "--output", str(model), *self._plan.fit)
        lines, scored = self._plan.output / "pool.txt", self._scores_path(number).with_suffix(".part")
        _write(lines, "".join(f"{' '.join(one.text.split())}\n" for one in self._pool))
        self._call(
            f"round {number}: the filter reads {len(self._pool)} sentences",
            *("score", str(lines), "--lf_model", str(model), "--output", str(scored)),
        )
        scored.replace(self._scores_path(number))

    def _settled(self, log: Log, number: int) -> Iterator[dict[str, str]]:
        bundle = read_bundle(log)
        values = settled(bundle.labels)
        batches = bundle.items[self._items_before :][: number * self._plan.batch]
        for item in batches:
            value = values.get(item.item_id)
            if value in (LabelValue.YES, LabelValue.NO) and not curve.is_test(item.text):
                yield {"item_id": item.item_id, "text": item.text, "label": str(value)}

    def _curve(self, log: Log, number: int) -> list[Point]:
        """All rounds so far, on the labels of now."""
        bundle = read_bundle(log)
        values = settled(bundle.labels)
        items: list[LabelItem] = bundle.items[self._items_before :]
        points = []
        for one in range(number + 1):
            lines = (self._plan.output / f"round-{one:02}.jsonl").read_text(encoding="utf-8").splitlines()
            trained = {row["item_id"]: LabelValue(row["label"]) for row in map(json.loads, lines)}
            points.append(curve.point(trained, items, values, self._scores(one)))
        _write(self._plan.output / "curve.json", json.dumps(curve.to_json(points), indent=1) + "\n")
        return points

    def _scores_path(self, number: int) -> Path:
        return self._plan.output / f"round-{number:02}-scores.jsonl"

    def _scores(self, number: int) -> dict[str, float]:
        """Of the pool's sentences, as they stand there."""
        rows = map(json.loads, self._scores_path(number).read_text(encoding="utf-8").splitlines())
        prepared = {row["text"]: row["score"] for row in rows}
        found = ((one.text, prepared.get(prepare_sentence(one.text))) for one in self._pool)
        return {text: score for text, score in found if score is not None}

    def _call(self, what: str, *arguments: str) -> None:
        """`mulan lf-filter` with its progress on the page and the terminal. Raises AnnotationError."""
        if self._stopping.is_set():
            raise Stopped
        self._news = f"{what[0].upper()}{what[1:]}."
        sys.stderr.write(f"{what} …\n")
        command = [sys.executable, "-m", "openmulan", "lf-filter", *arguments]
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        last = ""
        assert self._process.stderr is not None
        for line in self._process.stderr:
            last = line.strip()
            sys.stderr.write(f"{what}: {last}\n")
            if last.startswith("step "):
                self._news = f"{what[0].upper()}{what[1:]}: {last}."
        code = self._process.wait()
        self._process = None
        if self._stopping.is_set():
            raise Stopped
        if code != 0:
            raise AnnotationError(f"{what}: `mulan lf-filter {arguments[0]}` failed ({last or code})")


def _some(read: Iterator[Candidate], plan: LoopPlan, known: frozenset[str]) -> tuple[list[Candidate], int]:
    """At most `pool` of the distinct sentences that may be drawn, at random, in that order; and how many there are."""
    seen: set[int] = set()
    kept: dict[int, Candidate] = {}
    for candidate in read:
        mark = hash64(f"pool {plan.seed}\n{candidate.text}")
        if (
            mark in seen
            or is_frozen(candidate.text)
            or item_id_of(candidate.text) in known
            or not candidate.text.strip()
        ):
            continue
        seen.add(mark)
        kept[mark] = candidate
        if len(kept) > 2 * plan.pool:
            kept = {mark: kept[mark] for mark in sorted(kept)[: plan.pool]}
    return [kept[mark] for mark in sorted(kept)[: plan.pool]], len(seen)


def _write(path: Path, content: str) -> None:
    partial = path.with_name(f"{path.name}.part")
    partial.write_text(content, encoding="utf-8")
    partial.replace(path)
