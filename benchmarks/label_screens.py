"""The pictures of the annotators' tool that docs/annotating.md shows.

    python -m benchmarks.label_screens --out docs/annotating

Needs Debian's Chromium. The sentences are made up for the pictures.
"""

import argparse
import random
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from PIL import Image
from playwright.sync_api import Browser, Page

from filters.annotation import people, work
from filters.annotation.exchange import add_bundle
from filters.annotation.guideline import Guideline, read_guideline, remember
from filters.annotation.log import Log
from filters.annotation.records import Bundle, item_id_of
from filters.annotation.warmup import read_warmup
from filters.annotation.work import Judgement
from schemas.label import Label, LabelItem, LabelValue
from tests.filters.annotation.browser import CHROMIUM, MISSING, chromium, wait_for_sentence, wait_until_sent
from tests.filters.annotation.harness import Server

SENTENCES = [
    "The brushes on the snare keep it moving while the piano hardly plays at all.",
    "My sister sent me this when I was in hospital.",
    "Heavier than their last one, with a chorus you could shout from a roof.",
    "Nobody talks about how good 2009 was.",
    "Perfect for a long drive through the rain.",
    "Ein warmer, brummender Bass unter einer sehr leisen Stimme.",
    "Check my channel for more covers like this!",
    "Slow strings that swell towards the end, then a single flute.",
    "Recorded live, so the applause is part of it.",
    "This deserves more views.",
    "Reminds me of early trip hop: dusty drums, a sad loop, whispered words.",
    "Wedding song material.",
]
# What the docs show, and no more: page and view. `tests/test_docs_pictures.py` compares both.
PICTURES = (
    ("label", "light"),
    ("label", "dark"),
    ("label", "phone"),
    ("warmup", "light"),
    ("kept", "light"),
    ("decisions", "light"),
    ("team", "light"),
)
VIEWS: dict[str, dict[str, Any]] = {
    "light": {"color_scheme": "light", "viewport": {"width": 1080, "height": 720}},
    "dark": {"color_scheme": "dark", "viewport": {"width": 1080, "height": 720}},
    "phone": {"color_scheme": "light", "viewport": {"width": 390, "height": 780}, "has_touch": True},
}


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("docs/annotating"))
    arguments = parser.parse_args(argv)
    if CHROMIUM is None:
        sys.stderr.write(f"{MISSING}\n")
        return 2
    arguments.out.mkdir(parents=True, exist_ok=True)
    with chromium() as browser:
        for view, options in VIEWS.items():
            with tempfile.TemporaryDirectory() as folder:
                db = prepare(Path(folder) / "labels.db")
                with Server(db, exercises=read_warmup()[:3]) as server:
                    take(browser, server, arguments.out, view, options)
        with tempfile.TemporaryDirectory() as folder, Server(prepare_team(Path(folder) / "labels.db")) as server:
            take_team(browser, server, arguments.out)
    return 0


def prepare(db: Path) -> Path:
    """Some sentences with labels of two earlier annotators, who agree on most."""
    items = [
        LabelItem(item_id=item_id_of(text), text=text, stratum=("short", "long")[len(text) > 40]) for text in SENTENCES
    ]
    labels = []
    for number, item in enumerate(items[6:]):
        for name in ("juno", "sam"):
            yes = number % 2 == 1
            odd = number == 2 and name == "sam"
            labels.append(
                Label(
                    item_id=item.item_id,
                    annotator=name,
                    label=LabelValue.YES if yes != odd else LabelValue.NO,
                    unsure=odd,
                    note="applause is not music, but it is heard" if odd else None,
                )
            )
    with Log(db, create=True) as log:
        add_bundle(log, Bundle(items=items, labels=labels), 2)
        with log.transaction():
            people.ensure_person(log, "ada", adjudicator=True)
    return db


def prepare_team(db: Path) -> Path:
    """Three days of two annotators and a lead, who come to agree; the guideline is mended after the first."""
    hour_ms = 3_600_000
    now = [time.time_ns() // 1_000_000 - 73 * hour_ms]
    edited = read_guideline()
    former = Guideline(version="guideline-v0@0b11d4aa", markdown="\n".join(edited.markdown.splitlines()[:-2]))
    items = [
        LabelItem(
            item_id=f"i{number:03}", text=SENTENCES[number % len(SENTENCES)], stratum=("short", "long")[number % 2]
        )
        for number in range(120)
    ]
    dice = random.Random(7)
    with Log(db, create=True, clock_ms=lambda: now[0]) as log:
        with log.transaction():
            work.add_items(log, items, 2)
            everybody = [people.ensure_person(log, name, adjudicator=name == "ada") for name in ("juno", "sam", "ada")]
            log.append("joined", {"guideline": "g"}, person=everybody[2].id)
        for day in range(3):
            shown = edited if day else former
            remember(log, shown)
            for place, person in enumerate(everybody):
                for number in range(day * 35, day * 35 + (35, 30, 6)[place]):
                    now[0] += round(1000 * dice.gauss((4, 7, 5)[place], 1))
                    yes = (number % 3 == 0) != (dice.random() < (0.06, 0.03, 0.01)[day])
                    said = Judgement(
                        value=LabelValue.YES if yes else LabelValue.NO,
                        unsure=dice.random() < 0.1,
                        guideline=shown.version,
                    )
                    work.put_label(log, person.id, f"i{number:03}", said, f"key-{person.id}-{number}")
            now[0] += 24 * hour_ms - 400_000
    return db


def take_team(browser: Browser, server: Server, out: Path) -> None:
    page = browser.new_context(**VIEWS["light"]).new_page()
    page.goto(server.link("ada"))
    page.click("main button")
    page.goto(f"{server.address.url}/team")
    page.locator("#editions summary").first.click()
    shoot(page, out, "team", "light", whole=True)
    page.context.close()


def shoot(page: Page, out: Path, name: str, view: str, *, whole: bool = False) -> None:
    if (name, view) not in PICTURES:
        return
    page.wait_for_timeout(400)
    path = out / f"{name}-{view}.png"
    page.screenshot(path=path, full_page=whole, animations="disabled")
    # A palette is enough for flat pages, and a third of the bytes.
    Image.open(path).convert("RGB").quantize(128).save(path, optimize=True)


def take(browser: Browser, server: Server, out: Path, view: str, options: dict[str, Any]) -> None:
    context = browser.new_context(**options)
    page: Page = context.new_page()
    page.goto(server.link("ada"))
    page.click("main button")
    page.wait_for_selector("text=Before you begin")
    page.click("main button")
    for number, key in enumerate("110"):
        page.wait_for_selector(".answer.yes")
        page.keyboard.press(key)
        page.wait_for_selector("#verdict")
        if number == 0:
            shoot(page, out, "warmup", view)
        page.click("main a.button")
    for key in "1010":
        wait_for_sentence(page)
        page.keyboard.press(key)
        wait_until_sent(page)
    shoot(page, out, "label", view)
    page.keyboard.press("?")
    page.keyboard.press("n")
    page.keyboard.type("suits an activity: rule 4")
    page.keyboard.press("Escape")
    refused = {"error": "item 5f0c: there is no such item"}
    page.route("**/api/label", lambda route: route.fulfill(status=400, json=refused), times=1)
    page.keyboard.press("0")
    page.wait_for_selector("#kept")
    shoot(page, out, "kept", view, whole=True)
    page.click('#kept button:text-is("Discard")')
    for key in "01":
        wait_for_sentence(page)
        page.keyboard.press(key)
        wait_until_sent(page)
    page.wait_for_selector("text=All done")
    page.goto(f"{server.address.url}/adjudicate")
    page.fill("#note", "applause is heard, but it is not the music")
    page.locator("main").press("0")
    page.wait_for_selector("text=Nothing to settle")
    page.goto(f"{server.address.url}/decisions")
    page.click("summary")
    shoot(page, out, "decisions", view, whole=True)
    context.close()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
