"""How fast the annotators' tool is: labels a second, from the key to the next sentence, and a team that is far away.

    python -m benchmarks.label_tool

Rate: sixteen clients over HTTP give 4,000 labels (1,000 sentences, four annotators each), every label committed to disk
before its answer; beside it a bare loop that writes as many rows of the same size to SQLite in the same mode, one
commit each. Key to next sentence: in Chromium, from the time stamp of the key press until after the frame in which the
next sentence is drawn, over 100 labels; beside it the time of a frame of the same page. Far away: nine clients over
HTTP and one Chromium, all 200 ms from the server and back, give 70 labels each, one every two seconds; who has no
sentence when his time has come has waited for one (`--far_away`, by itself).
"""

import argparse
import itertools
import os
import sqlite3
import statistics
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

from benchmarks.machine import write_result
from filters.annotation.exchange import read_labels
from tests.filters.annotation.browser import (
    CHROMIUM,
    MISSING,
    PUBLIC_NAME,
    chromium,
    sign_in,
    wait_for_sentence,
    wait_until_sent,
)
from tests.filters.annotation.front import front
from tests.filters.annotation.harness import Client, Server, annotate, free_port, make_db, make_items

ANNOTATORS = 16
ITEMS = 1000
OVERLAP = 4
KEYS = 100
KEY_PAUSE_MS = 150
FAR_CLIENTS = 9
FAR_LABELS = 70
FAR_EVERY_S = 2.0
ROUND_TRIP_S = 0.2

_WATCH = """() => {
  window.measured = [];
  let pressed = null;
  document.addEventListener("keydown", (event) => { pressed = event.timeStamp; }, true);
  new MutationObserver(() => {
    if (pressed === null) return;
    const start = pressed;
    pressed = null;
    requestAnimationFrame(() => {
      const after = new MessageChannel();
      after.port1.onmessage = () => window.measured.push(performance.now() - start);
      after.port2.postMessage(null);
    });
  }).observe(document.querySelector("#sentence bdi"), { childList: true, characterData: true, subtree: true });
}"""
_FRAMES = """() => new Promise((done) => {
  const times = [];
  const step = (time) => { times.push(time); times.length < 121 ? requestAnimationFrame(step) : done(times); };
  requestAnimationFrame(step);
})"""


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--far_away", action="store_true", help="measure the team that is far away, and nothing else")
    arguments = parser.parse_args(argv)
    if CHROMIUM is None:
        sys.stderr.write(f"{MISSING}\n")
        return 2
    # Both figures wait for other people's work too, where a machine is shared.
    load = round(os.getloadavg()[0], 1)
    packages = ("fastapi", "uvicorn", "playwright")
    if arguments.far_away:
        result = {"load_average": load, **far_away()}
        write_result("label_tool_far", result, packages=packages, command="python -m benchmarks.label_tool --far_away")
    else:
        result = {"load_average": load, "rate": rate(), "key_to_next_sentence": key_to_next_sentence()}
        write_result("label_tool", result, packages=packages, command="python -m benchmarks.label_tool")
    return 0


def rate() -> dict[str, Any]:
    names = tuple(f"a{number:02d}" for number in range(ANNOTATORS))
    with tempfile.TemporaryDirectory() as folder:
        db = make_db(Path(folder) / "labels.db", make_items(ITEMS), OVERLAP, names)
        with Server(db) as server:
            clients = [Client(server, name) for name in names]
            threads = [threading.Thread(target=annotate, args=(client, str(n))) for n, client in enumerate(clients)]
            start = time.perf_counter()
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            served_s = time.perf_counter() - start
        labels = len(read_labels(db)[1])
        bare_s = bare_loop(Path(folder) / "bare.db", labels)
    return {
        "annotators": ANNOTATORS,
        "labels": labels,
        "labels_per_s": round(labels / served_s),
        "bare_sqlite_rows_per_s": round(labels / bare_s),
        "sqlite": sqlite3.sqlite_version,
    }


def bare_loop(path: Path, rows: int) -> float:
    """Seconds for as many commits of one row each."""
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("CREATE TABLE rows (seq INTEGER PRIMARY KEY, body TEXT)")
    start = time.perf_counter()
    for number in range(rows):
        connection.execute("BEGIN IMMEDIATE")
        connection.execute("INSERT INTO rows VALUES (?, ?)", (number, "x" * 250))
        connection.execute("COMMIT")
    return time.perf_counter() - start


def key_to_next_sentence() -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        db = make_db(Path(folder) / "labels.db", make_items(KEYS + 20), 1, ("ada",))
        with Server(db) as server, chromium() as browser:
            page = sign_in(browser, server, "ada", viewport={"width": 1280, "height": 800})
            wait_for_sentence(page)
            frames = page.evaluate(_FRAMES)
            page.evaluate(_WATCH)
            for number in range(KEYS):
                page.keyboard.press("10"[number % 2])
                page.wait_for_timeout(KEY_PAUSE_MS)
            wait_until_sent(page)
            times = page.evaluate("window.measured")
            version = browser.version
        labels = len(read_labels(db)[1])
    return {
        "browser": f"Chromium {version}, headless",
        "labels": labels,
        "median_ms": round(statistics.median(times), 1),
        "p95_ms": round(statistics.quantiles(times, n=20)[-1], 1),
        "frame_ms": round(_frame_ms(frames), 1),
    }


def far_away() -> dict[str, Any]:
    names = tuple(f"a{number:02d}" for number in range(FAR_CLIENTS + 1))
    labels = FAR_LABELS * len(names)
    port = free_port()
    waits: list[float] = []
    with tempfile.TemporaryDirectory() as folder:
        # Each sentence goes to two, and all of them are needed.
        db = make_db(Path(folder) / "labels.db", make_items(labels // 2), 2, names)
        with (
            Server(db, public_url=f"http://{PUBLIC_NAME}:{port}") as server,
            front(port, server.address.port, delay_s=ROUND_TRIP_S / 2),
            chromium() as browser,
        ):
            threads = [threading.Thread(target=_answer_far, args=(server, name, port, waits)) for name in names[1:]]
            page = sign_in(browser, server, names[0], viewport={"width": 1280, "height": 800})
            wait_for_sentence(page)
            for thread in threads:
                thread.start()
            page.evaluate(_WATCH)
            late = 0
            for number in range(FAR_LABELS):
                if not page.text_content("#sentence bdi"):
                    late += 1
                    wait_for_sentence(page)
                page.keyboard.press("10"[number % 2])
                page.wait_for_timeout(FAR_EVERY_S * 1000)
            for thread in threads:
                thread.join()
            wait_until_sent(page)
            times, frames = page.evaluate("window.measured"), page.evaluate(_FRAMES)
        given = len(read_labels(db)[1])
    return {
        "people": len(names),
        "labels": given,
        "of": labels,
        "every_s": FAR_EVERY_S,
        "round_trip_ms": round(ROUND_TRIP_S * 1000),
        "waits_of_http_clients": len(waits),
        "longest_wait_ms": round(1000 * max(waits, default=0.0)),
        "waits_in_chromium": late,
        "key_to_next_sentence_median_ms": round(statistics.median(times), 1),
        "frame_ms": round(_frame_ms(frames), 1),
    }


def _frame_ms(times: list[float]) -> float:
    return statistics.median(later - earlier for earlier, later in itertools.pairwise(times))


def _answer_far(server: Server, name: str, port: int, waits: list[float]) -> None:
    """As the page does it: what is ahead is answered, and each answer brings more."""
    client = Client(server, name, through=port)
    ahead = client.json("GET", "/api/work?ahead=6")[1]["tasks"]
    due = time.monotonic()
    for _ in range(FAR_LABELS):
        due += FAR_EVERY_S
        time.sleep(max(0.0, due - time.monotonic()))
        asked = time.monotonic()
        while not ahead:
            time.sleep(0.05)
            ahead = client.json("GET", "/api/work?ahead=6")[1]["tasks"]
        if (waited := time.monotonic() - asked) > 0.05:
            waits.append(waited)
        status, work = client.label(ahead.pop(0)["item_id"], "yes", ahead=6)
        assert status == 200
        ahead = work["tasks"]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
