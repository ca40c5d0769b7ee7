"""`mulan label loop` but for the fit itself: draws, chances, what is trained on, the curve, going on after a stop.

In place of the two commands that a round calls, a word list scores, so that a round takes no time;
`python -m benchmarks.label_loop` goes the whole way with the commands and a browser.
"""

import dataclasses
import json
import math
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score

from filters.annotation import cli, curve, people, work
from filters.annotation.exchange import read_labels
from filters.annotation.frozen import is_frozen
from filters.annotation.log import Log
from filters.annotation.loop import Loop, LoopPlan, Stopped
from filters.annotation.records import AnnotationError
from filters.annotation.sampling import Candidate
from filters.annotation.work import Judgement
from schemas.label import LabelValue

TEXTS = [f"{('a slow drum', 'a nice day', 'who is number')[n % 3]} and then {n}" for n in range(300)]


def is_music(text: str) -> bool:
    return "drum" in text


class WordLoop(Loop):
    """A round's two commands by a word list: it doubts what is about a day."""

    calls: list[str]

    def _call(self, what: str, *arguments: str) -> None:
        self.calls.append(arguments[0])
        if self._stopping.is_set():
            raise Stopped
        if arguments[0] == "fit":
            folder = Path(arguments[arguments.index("--output") + 1])
            folder.mkdir()
            (folder / "README.md").write_text("fitted", encoding="utf-8")
            return
        lines = Path(arguments[1]).read_text(encoding="utf-8").splitlines()
        rows = [{"text": text, "score": 0.9 if is_music(text) else 0.45 if "day" in text else 0.01} for text in lines]
        output = Path(arguments[arguments.index("--output") + 1])
        output.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def read() -> Iterator[Candidate]:
    return (Candidate(text=text, score=None, source="made") for text in TEXTS)


def make_loop(folder: Path, points: list[curve.Point], **plan: Any) -> WordLoop:
    loop = WordLoop(folder / "l.db", read, LoopPlan(output=folder / "out", **plan), points.append)
    loop.calls = []
    loop.prepare()
    return loop


def label_all(db: Path) -> int:
    """One annotator says what is right of all that is there; returns how many those were."""
    with Log(db) as log:
        with log.transaction():
            person = people.ensure_person(log, "ada").id
        count = 0
        while tasks := work.next_tasks(log, person, 50):
            for task in tasks:
                value = LabelValue.YES if is_music(task.text) else LabelValue.NO
                work.put_label(log, person, task.item_id, Judgement(value=value), f"key-{task.item_id}")
                count += 1
    return count


def run_to_its_end(loop: Loop, db: Path) -> tuple[list[curve.Point], list[int]]:
    """Rounds in a thread, as the command has it, and an annotator; the points, and how many each look labelled."""
    found: list[list[curve.Point]] = []
    thread = threading.Thread(target=lambda: found.append(loop.run()))
    thread.start()
    labelled = []
    while thread.is_alive():
        if count := label_all(db):
            labelled.append(count)
        thread.join(0.05)
    return found[0], labelled


@pytest.mark.slow
def test_the_rounds_draw_by_doubt_train_on_three_quarters_and_tell_a_curve(tmp_path: Path) -> None:
    told: list[curve.Point] = []
    loop = make_loop(tmp_path, told, count=60, batch=20)
    items, _ = read_labels(tmp_path / "l.db")
    assert len(items) == 40, "a batch to label, and one to go on with during the fit"
    points, _ = run_to_its_end(loop, tmp_path / "l.db")
    items, labels = read_labels(tmp_path / "l.db")
    assert (len(items), len(labels), loop.news()) == (60, 60, "")
    assert loop.calls == ["fit", "score"] * 4
    assert not any(is_frozen(item.text) for item in items)
    trained = [json.loads(line) for line in (tmp_path / "out/round-03.jsonl").read_text().splitlines()]
    tested = [item for item in items if curve.is_test(item.text)]
    assert len(trained) + len(tested) == 60
    assert {row["item_id"] for row in trained}.isdisjoint(item.item_id for item in tested)
    assert [row["label"] == "yes" for row in trained] == [is_music(row["text"]) for row in trained]
    assert [point.labels for point in points] == [point.labels for point in told]
    assert [0, len(trained)] == [points[0].labels, points[-1].labels]
    assert points[-1].tested == len(tested)
    assert points[-1].roc_auc.value == 1.0
    assert json.loads((tmp_path / "out/curve.json").read_text())[-1]["roc_auc"]["value"] == 1.0
    # From the first scores on half of a draw is by doubt, which is about days here.
    late = [item.text for item in items[40:]]
    assert sum("day" in text for text in late) > 8


@pytest.mark.slow
def test_a_stopped_loop_goes_on_and_does_nothing_twice(tmp_path: Path) -> None:
    told: list[curve.Point] = []
    loop = make_loop(tmp_path, told, count=40, batch=20)
    threading.Timer(0.3, loop.stop).start()
    with pytest.raises(Stopped):
        loop.run()
    assert (loop.calls, len(told)) == (["fit", "score"], 1)
    again = make_loop(tmp_path, told, count=40, batch=20)
    before = read_labels(tmp_path / "l.db")[0]
    assert len(before) == 40, "what was drawn is not drawn again"
    points, _ = run_to_its_end(again, tmp_path / "l.db")
    assert again.calls == ["fit", "score"] * 2
    assert (len(points), points[0].labels) == (3, 0)
    assert read_labels(tmp_path / "l.db")[0] == before


def test_the_pool_is_a_part_of_the_source_and_the_chances_say_so(tmp_path: Path) -> None:
    """Each of 270 sentences has the chance of the pool times that of the draw; all chances together are the draw."""
    make_loop(tmp_path, [], count=30, batch=30, pool=100)
    items, _ = read_labels(tmp_path / "l.db")
    population = sum(not is_frozen(text) for text in TEXTS)
    assert len(items) == 30
    for item in items:
        assert item.inclusion_probability is not None
        assert item.inclusion_probability < 100 / population
    weighted = sum(1 / (item.inclusion_probability or math.nan) for item in items)
    assert weighted == pytest.approx(population, rel=0.01)


@pytest.mark.slow
def test_a_source_that_is_smaller_than_what_was_asked_ends_the_loop(tmp_path: Path) -> None:
    points, _ = run_to_its_end(make_loop(tmp_path, [], count=400, batch=200), tmp_path / "l.db")
    assert len(read_labels(tmp_path / "l.db")[1]) == sum(not is_frozen(text) for text in TEXTS)
    assert len(points) == 3


def test_weighted_figures_are_those_of_scikit_learn() -> None:
    dice = np.random.default_rng(0)
    for _ in range(20):
        is_yes, weights = dice.random(50) < 0.3, dice.random(50) + 0.1
        scores = np.round(dice.random(50) + 0.3 * is_yes, 1).astype(np.float64)
        auc, ap = (metric(is_yes, scores, weights) for metric in (curve.roc_auc, curve.average_precision))
        assert auc == pytest.approx(roc_auc_score(is_yes, scores, sample_weight=weights))
        assert ap == pytest.approx(average_precision_score(is_yes, scores, sample_weight=weights))


def test_what_cannot_be_measured_is_null(tmp_path: Path) -> None:
    nothing = curve.point({}, [], {}, {})
    assert math.isnan(nothing.roc_auc.value)
    assert json.loads(json.dumps(curve.to_json([nothing])))[0]["roc_auc"]["value"] is None
    assert curve.table([nothing])[1][-1] == "-"
    assert dataclasses.asdict(nothing)["tested"] == 0


@pytest.mark.slow
def test_a_fit_that_fails_is_one_line(tmp_path: Path) -> None:
    plan = LoopPlan(output=tmp_path / "out", fit=("--no_such_option",))
    loop = Loop(tmp_path / "l.db", read, plan, lambda _: None)
    loop.prepare()
    with pytest.raises(AnnotationError, match=r"round 0: .*`mulan lf-filter fit` failed \(.*no_such_option"):
        loop.run()


def test_mistakes_are_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "x.txt").write_text("a drum\n", encoding="utf-8")
    base = ["loop", str(tmp_path / "x.txt"), "--db", str(tmp_path / "l.db"), "--output", str(tmp_path / "out")]
    for more, reason in ((["--batch", "0"], "batch 0"), (["--uncertain", "2"], "not in [0, 1]")):
        assert cli.main([*base, *more]) == 2
        assert reason in capsys.readouterr().err
    assert cli.main(["loop", str(tmp_path / "none.txt"), *base[2:]]) == 2
    assert capsys.readouterr().err.count("\n") == 1
