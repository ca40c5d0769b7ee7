"""The pictures of the page of `mulan search serve` that docs/search-page.md shows.

    python -m benchmarks.search_screens --out docs/search-page

Needs Debian's Chromium. The recordings are tones and their names made up; what is near is fixed by hand, so the
pictures say nothing of how well a model finds.
"""

import argparse
import random
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from PIL import Image
from playwright.sync_api import Browser

from tests.filters.annotation.browser import CHROMIUM, MISSING, chromium
from tests.trainer.search.page_server import LENGTH_S, RATE_HZ, PageServer
from tests.trainer.search.worlds import near, write_index
from trainer.search.entries import Entry

VIEWS: dict[str, dict[str, Any]] = {
    "light": {"color_scheme": "light", "viewport": {"width": 1080, "height": 720}},
    "dark": {"color_scheme": "dark", "viewport": {"width": 1080, "height": 720}},
    "phone": {"color_scheme": "light", "viewport": {"width": 390, "height": 780}, "has_touch": True},
}
# What the docs show, and no more: part of the page and view.
PICTURES = (("results", "light"), ("map", "dark"), ("results", "phone"))
KINDS = ("slow piano", "fast drums", "old choir", "folk guitar", "tape hiss")
_FIRST, _SECOND = ("Paper", "Harbour", "Meadow", "Night", "Golden"), ("River", "Lanterns", "Garden", "Waltz", "Morning")
_ARTISTS = ("The Banks", "Yuki Arden", "Ana Castelo")


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("docs/search-page"))
    arguments = parser.parse_args(argv)
    if CHROMIUM is None:
        sys.stderr.write(f"{MISSING}\n")
        return 2
    arguments.out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder, PageServer(prepare(Path(folder))) as server, chromium() as browser:
        for view, options in VIEWS.items():
            take(browser, server, arguments.out, view, options)
    return 0


def prepare(folder: Path) -> Path:
    sound = folder.resolve() / "tone.flac"
    soundfile.write(sound, 0.1 * np.sin(np.arange(RATE_HZ * LENGTH_S) * 0.05), RATE_HZ)
    dice = random.Random(3)
    recordings = []
    for number in range(150):
        kind = KINDS[number % len(KINDS)]
        entry = Entry(
            recording_id=f"id {number}",
            title=f"{dice.choice(_FIRST)} {dice.choice(_SECOND)}",
            artist=dice.choice(_ARTISTS),
            tags=(kind,) if number % 2 else (),
            duration_s=LENGTH_S,
            path=str(sound),
        )
        recordings.append((entry, near(kind, number, noise=1.0)))
    return write_index(folder / "index", recordings, windows=True)


def take(browser: Browser, server: PageServer, out: Path, view: str, options: dict[str, Any]) -> None:
    def shoot(name: str) -> None:
        if (name, view) not in PICTURES:
            return
        page.wait_for_timeout(400)
        path = out / f"{name}-{view}.png"
        page.screenshot(path=path, animations="disabled")
        # A palette is enough for flat pages, and a third of the bytes.
        Image.open(path).convert("RGB").quantize(128).save(path, optimize=True)

    with browser.new_context(**options) as context:
        page = context.new_page()
        page.goto(server.address.url)
        page.fill("#text", "slow piano")
        page.keyboard.press("Enter")
        page.click("#results li:first-child .disc")
        page.click("#results li:nth-child(2) >> text=Keep")
        page.click("#results li:nth-child(4) >> text=Less")
        page.wait_for_selector("#chips li")
        page.wait_for_timeout(500)
        page.evaluate("scrollTo(0, 0)")
        shoot("results")
        page.click("nav >> text=Map")
        page.wait_for_selector("#near li")
        shoot("map")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
