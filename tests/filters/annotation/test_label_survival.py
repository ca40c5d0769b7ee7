"""Nothing lost, nothing doubled: under signals between key and answer, and under sixteen annotators at once."""

import signal
import threading
from collections import Counter
from pathlib import Path

import pytest

from filters.annotation.exchange import read_labels
from filters.annotation.log import Log
from tests.filters.annotation.harness import Client, Server, annotate, make_db, make_items
from tests.filters.annotation.signalling import between_key_and_answer

pytestmark = pytest.mark.slow

# A server that closes takes longer than one that is killed; `benchmarks/label_signals.py` does it fifty times each.
TIMES = {signal.SIGKILL: 50, signal.SIGTERM: 10, signal.SIGHUP: 10}


@pytest.mark.parametrize("number", TIMES)
def test_signals_between_key_and_answer_lose_nothing_and_double_nothing(
    quick_path: Path, number: signal.Signals
) -> None:
    """A server that may close its database leaves one file that holds all; of one that is killed the file warns."""
    times = TIMES[number]
    survival = between_key_and_answer(quick_path, number, times)
    assert (survival.lost, survival.doubled, survival.problems) == (0, 0, [])
    if number == signal.SIGKILL:
        assert survival.copies_warned == times
        assert survival.kept + survival.answered >= 5, f"too few signals after the commit: {survival}"
        assert survival.kept + survival.answered <= times - 5, f"too few signals before the commit: {survival}"
    else:
        assert (survival.copies_whole, survival.copies_warned) == (times, 0)
        assert survival.answered >= 3, f"a server that closes answers what is under way: {survival}"


ANNOTATORS = 16
OVERLAP = 4
ITEMS = 1000


def test_sixteen_annotators_keep_every_overlap_rule(quick_path: Path) -> None:
    names = tuple(f"a{number:02d}" for number in range(ANNOTATORS))
    db = make_db(quick_path / "labels.db", make_items(ITEMS), overlap=OVERLAP, names=names)
    said: dict[str, dict[str, str]] = {}
    with Server(db) as server:
        clients = {name: Client(server, name) for name in names}
        threads = [
            threading.Thread(target=lambda name=name: said.update({name: annotate(clients[name], seed=name)}))
            for name in names
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert set(said) == set(names), "a client gave up"
    _, labels = read_labels(db)
    assert len(labels) == ITEMS * OVERLAP == 4000
    by_item = Counter(label.item_id for label in labels)
    assert set(by_item.values()) == {OVERLAP}
    assert len({(label.item_id, label.annotator) for label in labels}) == len(labels)
    stored: dict[str, dict[str, str]] = {name: {} for name in names}
    for label in labels:
        stored[label.annotator][label.item_id] = label.label
    assert stored == said
    with Log(db) as log:
        assert log.verify().problems == []
