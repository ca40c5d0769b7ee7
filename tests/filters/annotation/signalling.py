"""Signals to a real server between the key and its answer: what the test and `benchmarks/label_signals.py` both do."""

import shutil
import signal
import threading
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from filters.annotation.exchange import read_bundle, read_labels
from filters.annotation.log import Log
from tests.filters.annotation.harness import Client, Server, label_body, make_db, make_items


@dataclass(frozen=True, kw_only=True)
class Survival:
    """What became of `signals` labels: `lost` and `doubled` must be 0, `copies_whole` all of them but after SIGKILL.

    A copy is the one file `labels.db` without its -wal, taken when the server is gone; it is whole when it has every
    label that was answered for, and `copies_warned` counts those that say that they lack something. `answered` labels
    had their answer before the server went, `kept` ones had none and were there when they were sent again.
    """

    signals: int
    lost: int
    doubled: int
    answered: int
    kept: int
    copies_whole: int
    copies_warned: int
    problems: list[str]


def between_key_and_answer(folder: Path, number: signal.Signals, times: int) -> Survival:
    """The delay before the signal homes in on the commit, and each fifth comes before the label: both sides of it."""
    db = make_db(folder / "labels.db", make_items(times), overlap=1, names=("ada",))
    said: dict[str, str] = {}
    delay_s = 0.01
    count: Counter[str] = Counter()
    with Server(db) as server:
        client = Client(server, "ada")
        for turn in range(times):
            work = client.json("GET", "/api/work")[1]
            body = label_body(work["tasks"][0]["item_id"], "yes" if turn % 2 else "no")
            answered: list[int] = []
            sender = threading.Thread(target=_send_and_forget, args=(client, body, answered))
            if turn % 5:
                sender.start()
                time.sleep(delay_s)
                server.signal(number)
            else:
                server.signal(number)
                sender.start()
            server.join()
            sender.join()
            if answered == [200]:
                count["answered"] += 1
                said[body["item_id"]] = body["label"]
            _look_at_copy(db, folder / "copy.db", said, count)
            server.start()
            client.close()
            taken = client.json("POST", "/api/label", body)[1]["taken"]
            count["kept"] += taken == "repeated" and answered != [200]
            delay_s *= 0.7 if taken == "repeated" else 1.4
            said[body["item_id"]] = body["label"]
        client.close()
    labels = read_labels(db)[1]
    stored = {label.item_id: label.label.value for label in labels}
    with Log(db) as log:
        events = log.connection.execute("SELECT count(*) FROM events WHERE kind = 'label'").fetchone()[0]
        problems = log.verify().problems
    return Survival(
        signals=times,
        lost=sum(stored.get(item_id) != label for item_id, label in said.items()) + (times - len(said)),
        doubled=events - len(stored),
        answered=count["answered"],
        kept=count["kept"],
        copies_whole=count["whole"],
        copies_warned=count["warned"],
        problems=problems,
    )


def _look_at_copy(db: Path, copy: Path, said: dict[str, str], count: Counter[str]) -> None:
    for leftover in copy.parent.glob(f"{copy.name}*"):
        leftover.unlink()
    shutil.copy(db, copy)
    with Log(copy, warn=False) as log:
        count["warned"] += log.lacks_wal
        in_copy = {label.item_id: label.label.value for label in read_bundle(log).labels}
    count["whole"] += said.items() <= in_copy.items()


def _send_and_forget(client: Client, body: dict[str, str], answered: list[int]) -> None:
    try:
        answered.append(client.json("POST", "/api/label", body)[0])
    except (OSError, ValueError, EOFError, Exception):  # whatever half an answer looks like
        client.close()
