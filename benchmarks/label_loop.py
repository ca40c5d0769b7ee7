"""`mulan label loop` on a mined run from its first draw to its curve, with Chromium as the annotator, in one go.

    python -m benchmarks.label_loop RUN --encoder DIR [--count 40 --batch 10 --epochs 1]

The answers come from a word list, so the classifiers are worth nothing: what is shown is that rounds follow each other
while somebody labels, how long he waits for a sentence, and what the curve looks like. The frozen fold is checked.
"""

import argparse
import json
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.machine import write_result
from filters.annotation.exchange import read_labels
from filters.annotation.frozen import is_frozen
from tests.filters.annotation.browser import CHROMIUM, MISSING, chromium
from tests.filters.annotation.harness import free_port

ROOT = Path(__file__).resolve().parents[1]
_SOUNDS_LIKE_MUSIC = re.compile(
    r"guitar|drum|bass|voice|beat|piano|melod|slow|sad|chill|sing|rap|rock|pop|song|music|sound|album", re.I
)
_DEADLINE_S = 3_600


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="folder of a mined run")
    parser.add_argument("--encoder", default="bert-base-uncased", help="of `mulan lf-filter fit`")
    parser.add_argument("--count", type=int, default=40)
    parser.add_argument("--batch", type=int, default=10)
    parser.add_argument("--epochs", type=int, default=1)
    parser.add_argument("--screenshot", type=Path, help="where to keep a picture of the page while it waits")
    arguments = parser.parse_args(argv)
    if CHROMIUM is None:
        sys.stderr.write(f"{MISSING}\n")
        return 2
    with tempfile.TemporaryDirectory() as folder:
        db, output = Path(folder) / "labels.db", Path(folder) / "loop"
        command = [
            "label", "loop", arguments.run, "--db", db, "--output", output, "--encoder", arguments.encoder,
            "--count", arguments.count, "--batch", arguments.batch, "--epochs", arguments.epochs,
            "--annotator", "ada", "--port", free_port(), "--warmup", "none",
        ]  # fmt: skip
        started_s = time.perf_counter()
        loop = subprocess.Popen(
            [sys.executable, "openmulan.py", *map(str, command)], cwd=ROOT, stdout=subprocess.PIPE, text=True
        )
        try:
            assert loop.stdout is not None
            link = next(found[1] for line in loop.stdout if (found := re.match(r"  ada: (\S+)", line)))
            waited_s = label_in_browser(link, arguments.count, arguments.screenshot)
            code = loop.wait(_DEADLINE_S)
            sys.stdout.write(loop.stdout.read())
        finally:
            loop.kill()
            loop.wait()
        items, labels = read_labels(db)
        assert (code, len(labels)) == (0, arguments.count)
        assert not any(is_frozen(item.text) for item in items)
        assert all(item.inclusion_probability for item in items)
        result = {
            "encoder": Path(arguments.encoder).name,
            "labels": len(labels),
            "batch": arguments.batch,
            "epochs": arguments.epochs,
            "whole_s": round(time.perf_counter() - started_s),
            "waited_for_sentences_s": round(waited_s),
            "curve": json.loads((output / "curve.json").read_text(encoding="utf-8")),
        }
    write_result(
        "label_loop",
        result,
        packages=("torch", "transformers", "playwright"),
        command="python -m benchmarks.label_loop RUN",
    )
    return 0


def label_in_browser(link: str, count: int, screenshot: Path | None) -> float:
    """Labels all sentences as they come; returns the seconds in which there was none."""
    waited_s = 0.0
    with chromium() as browser:
        page = browser.new_page()
        page.goto(link)
        page.click("main button")
        page.click("main button")
        deadline_s = time.monotonic() + _DEADLINE_S
        for _ in range(count):
            asked_s = time.monotonic()
            while not (text := page.text_content("#sentence bdi")):
                if time.monotonic() > deadline_s:
                    raise TimeoutError(page.inner_text("main"))
                if screenshot and page.locator("#done").is_visible():
                    page.screenshot(path=screenshot)
                page.wait_for_timeout(50)
            waited_s += time.monotonic() - asked_s
            page.keyboard.press("1" if _SOUNDS_LIKE_MUSIC.search(text) else "0")
        page.wait_for_selector("text=All done", timeout=1000 * _DEADLINE_S)
    return waited_s


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
