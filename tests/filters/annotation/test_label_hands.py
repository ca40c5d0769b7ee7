"""Hands and screens of the world, in real Chromium: other layouts and scripts, small screens, long and joined text."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page

from filters.annotation.context import When
from filters.annotation.exchange import read_labels
from filters.annotation.records import item_id_of
from schemas.label import LabelItem
from tests.filters.annotation.browser import (
    CHROMIUM,
    MISSING,
    chromium,
    press_sign,
    sign_in,
    wait_for_sentence,
    wait_until,
    wait_until_sent,
)
from tests.filters.annotation.harness import Server, make_db, make_items
from tests.filters.annotation.runs import make_run, sentence

pytestmark = [pytest.mark.slow, pytest.mark.skipif(CHROMIUM is None, reason=MISSING)]

# What a keyboard says of a key (sign, place of the key, Shift) and what the page does. None: nothing.
PRESSES = (
    ("١", "Digit1", False, "yes"),  # Arabic-Indic
    ("۰", "Digit0", False, "no"),  # Persian
    ("१", "Digit1", False, "yes"),  # Devanagari
    ("0", "Digit0", False, "no"),  # full width
    ("&", "Digit1", False, "yes"),  # AZERTY without Shift
    ("à", "Digit0", False, "no"),
    ("1", "Digit1", True, "yes"),  # AZERTY with Shift
    ("+", "Digit1", False, "yes"),  # Czech
    ("1", "Numpad1", False, "yes"),
    ("Process", "Digit0", False, "no"),  # an input method that keeps the sign to itself
    ("ы", "KeyS", False, "skip"),  # Russian
    ("σ", "KeyS", False, "skip"),  # Greek
    ("ד", "KeyS", False, "skip"),  # Hebrew
    ("س", "KeyS", False, "skip"),  # Arabic
    ("؟", "Slash", True, "unsure"),
    ("n", "KeyK", False, "note"),  # a Latin layout that has its n elsewhere
    ("!", "Digit1", True, None),
    ("q", "KeyS", False, None),  # a Latin letter means itself, wherever it is
    ("é", "Digit2", False, None),
)
TEXTS = {
    "emoji": "A family 👨‍👩‍👧 and a 🏳️‍🌈 dance to a slow drum",
    "skin": "👩🏽‍🎤 sings it low",
    "persian": "می‌خواهم آهنگ آرام",
    "hindi": "क्‍ष राग",
    "hidden": "slow\u200b drum",
    "joined": "slow\u200d drum",
    "marks": "slow \u202edrum",
}
INVISIBLE = {"hidden", "joined", "marks"}
LONG = "The brushes on the snare keep it moving while the piano hardly plays at all. " * 15


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as one:
        yield one


def sentence_frame(page: Page) -> dict[str, float]:
    frame: dict[str, float] = page.evaluate(
        "() => { const { scrollTop, scrollHeight, clientHeight } = document.querySelector('#sentence');"
        " return { top: scrollTop, left: scrollHeight - scrollTop - clientHeight }; }"
    )
    return frame


def test_keys_of_other_layouts_and_scripts(browser: Browser, quick_path: Path) -> None:
    with Server(make_db(quick_path / "labels.db", make_items(30), 1, ("ada",))) as server:
        page = sign_in(browser, server, "ada")
        expected = []
        for sign, code, shift, action in PRESSES:
            before = wait_for_sentence(page)
            press_sign(page, sign, code, shift=shift)
            what = f"{sign} at {code}"
            if action in ("yes", "no"):
                expected.append(action)
                assert page.inner_text("#sentence bdi") != before, what
                continue
            assert page.inner_text("#sentence bdi") == before, what
            assert page.locator("#skip-dialog").is_visible() == (action == "skip"), what
            unsure = page.get_attribute('[data-action="unsure"]', "aria-pressed") == "true"
            assert unsure == (action == "unsure"), what
            assert page.locator("#note-box").is_visible() == (action == "note"), what
            page.keyboard.press("Escape")
            if action == "unsure":
                page.keyboard.press("?")
        wait_until_sent(page)
        assert [label.label.value for label in read_labels(server.db)[1]] == expected
        page.context.close()


def test_the_page_offers_other_keys_when_keys_do_nothing(browser: Browser, quick_path: Path) -> None:
    with Server(make_db(quick_path / "labels.db", make_items(5), 1, ("ada",))) as server:
        page = sign_in(browser, server, "ada")
        wait_for_sentence(page)
        for sign in ("ñ", "Shift", "ArrowDown", "ñ"):
            press_sign(page, sign)
        assert not page.locator("#keys-help").is_visible(), "two vain presses are a slip"
        press_sign(page, "ñ")
        assert "Shall ñ be" in page.inner_text("#keys-help")
        page.click('#keys-help [data-assign="yes"]')
        assert not page.locator("#keys-help").is_visible()
        assert page.inner_text(".answer.yes kbd") == "ñ"
        press_sign(page, "ñ")
        wait_until_sent(page)
        assert [label.label.value for label in read_labels(server.db)[1]] == ["yes"]
        for _ in range(3):
            press_sign(page, "Dead")
        assert page.locator("#keys-help").is_visible()
        assert not page.locator('#keys-help [data-assign="yes"]').is_visible(), "that is no sign to be kept"
        page.keyboard.press("0")
        assert not page.locator("#keys-help").is_visible()
        page.context.close()


def test_a_long_sentence_scrolls_and_leaves_the_answers_in_sight(browser: Browser, quick_path: Path) -> None:
    items = [LabelItem(item_id="long", text=LONG), LabelItem(item_id="short", text="A slow drum.")]
    views: dict[str, dict[str, Any]] = {
        "phone": {"viewport": {"width": 390, "height": 780}, "is_mobile": True, "has_touch": True},
        "on its side": {"viewport": {"width": 780, "height": 360}, "is_mobile": True, "has_touch": True},
        "at 200 %": {"viewport": {"width": 640, "height": 400}},
        "desk": {"viewport": {"width": 1280, "height": 720}},
    }
    with Server(make_db(quick_path / "labels.db", items, 9, ("ada",))) as server:
        for name, view in views.items():
            page = sign_in(browser, server, "ada", **view)
            wait_for_sentence(page, LONG)
            height = view["viewport"]["height"]
            for selector in (".answer.yes", ".answer.no", '[data-action="skip"]', "#cue button"):
                box = page.locator(selector).bounding_box()
                assert box is not None, (name, selector)
                assert 0 <= box["y"] <= height - box["height"], (name, selector)
            # Neither the cue nor the answers hide all of the sentence.
            frame, yes = (page.locator(one).bounding_box() for one in ("#sentence", ".answer.yes"))
            assert frame is not None, name
            assert yes is not None, name
            assert yes["y"] - frame["y"] > 90, name
            page.keyboard.press(" ")
            wait_until(page, lambda: sentence_frame(page)["top"] > 0)  # noqa: B023
            for _ in range(60):
                if not page.locator("#cue").is_visible():
                    break
                page.click("#cue button")
                page.wait_for_timeout(20)
            assert sentence_frame(page)["left"] < 8, name
            page.context.close()
        page = sign_in(browser, server, "ada")
        wait_for_sentence(page, LONG)
        page.keyboard.press("1")
        wait_for_sentence(page, "A slow drum.")
        assert not page.locator("#cue").is_visible()
        page.context.close()


def test_joined_emoji_and_letters_are_no_invisible_signs(browser: Browser, quick_path: Path) -> None:
    items = [LabelItem(item_id=name, text=text) for name, text in TEXTS.items()]
    with Server(make_db(quick_path / "labels.db", items, 1, ("ada",))) as server:
        page = sign_in(browser, server, "ada")
        told = set()
        for name, text in TEXTS.items():
            wait_for_sentence(page, text)
            if page.locator("#hint").is_visible():
                told.add(name)
            page.keyboard.press("1")
        assert told == INVISIBLE
        page.context.close()


def test_a_recording_is_heard_on_its_key_and_stops_with_the_dialog(
    browser: Browser, quick_path: Path, tmp_path: Path
) -> None:
    from axe_playwright_python.sync_playwright import Axe

    texts = ["a slow drum", "a nice day"]
    audio = bytes(16_000)
    rows = [
        {"lf": [sentence(text, 0.9)], "audio": audio, "audio_encoding": "pcm16", "sf_unfiltered": [f"title of {text}"]}
        for text in texts
    ]
    items = [LabelItem(item_id=item_id_of(text), text=text) for text in texts]
    db = make_db(quick_path / "labels.db", items, 1, ("ada",))
    with Server(db, run=make_run(tmp_path / "run", rows), when=When.KEY) as server:
        page = sign_in(browser, server, "ada")
        first = wait_for_sentence(page)
        page.keyboard.press("r")
        page.wait_for_selector("#recording audio")
        assert f"title of {first}" in page.inner_text("#recording")
        wait_until(page, lambda: page.evaluate("document.querySelector('#recording audio').duration") == 0.5)
        assert Axe().run(page).violations_count == 0
        page.keyboard.press("1")
        assert page.inner_text("#sentence bdi") == first, "the dialog is in front"
        page.keyboard.press("r")
        assert page.locator("#recording audio").count() == 0
        page.keyboard.press("1")
        wait_until_sent(page)
        page.click("#recent button")
        page.wait_for_selector("#recording audio")
        assert f"title of {first}" in page.inner_text("#recording")
        page.context.close()
