"""The page in real Chromium: words in, music out, by mouse, keyboard and on a phone; strangers' texts stay texts."""

import csv
import io
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, ConsoleMessage, Dialog, Page

from tests.filters.annotation.browser import CHROMIUM, MISSING, TIMEOUT_MS, chromium, wait_for_text, wait_until
from tests.trainer.search.page_server import MARKUP, RIGHT_TO_LEFT, PageServer

pytestmark = [pytest.mark.slow, pytest.mark.skipif(CHROMIUM is None, reason=MISSING)]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as one:
        yield one


@pytest.fixture
def page(browser: Browser, server: PageServer) -> Iterator[Page]:
    """A page of a browser that has kept nothing; no script of it fails and nothing of a stranger's runs."""
    with browser.new_context() as context:
        context.set_default_timeout(TIMEOUT_MS)
        one = context.new_page()
        wrong: list[str] = []

        def on_dialog(dialog: Dialog) -> None:
            wrong.append(dialog.message)
            dialog.dismiss()

        def on_console(said: ConsoleMessage) -> None:
            if "Content Security Policy" in said.text:
                wrong.append(said.text)

        one.on("pageerror", lambda error: wrong.append(str(error)))
        one.on("dialog", on_dialog)
        one.on("console", on_console)
        one.goto(server.address.url)
        yield one
        assert wrong == []


def search(page: Page, text: str) -> None:
    page.fill("#text", text)
    page.keyboard.press("Enter")
    wait_for_text(page, "#results-title", f"“{text}”")


def titles(page: Page, results: str = "#results") -> list[str]:
    return page.locator(f"{results} .title").all_inner_texts()


def sound(page: Page) -> tuple[bool, float]:
    paused, at_s = page.evaluate(
        "[document.querySelector('audio').paused, document.querySelector('audio').currentTime]"
    )
    return paused, at_s


def plays(page: Page) -> bool:
    paused, at_s = sound(page)
    return not paused and at_s > 0


def row(page: Page, title: str, results: str = "#results") -> str:
    return f'{results} li:has(.title bdi:text-is("{title}"))'


def test_a_description_finds_what_plays_from_the_moment_that_fits(page: Page) -> None:
    assert "tiny, trained for 90 steps" in page.inner_text("#view-search .notice")
    search(page, "slow piano")
    found = titles(page)
    assert set(found[:4]) == {"Slow Piano 0", "Slow Piano 3", "Slow Piano 6", "Slow Piano 9"}
    assert "best at 0:10" in page.inner_text("#results li:first-child")
    disc = page.locator("#results li:first-child .disc")
    disc.click()
    wait_until(page, lambda: plays(page))
    assert sound(page)[1] >= 10.0
    assert found[0] in page.inner_text("#player")
    assert disc.get_attribute("aria-label") == f"Pause: {found[0]}"
    disc.click()
    wait_until(page, lambda: sound(page)[0])
    # It goes on while one is elsewhere on the page, and from list to list.
    disc.click()
    page.click("#next")
    wait_for_text(page, "#now-title", found[1])
    page.click("nav >> text=Map")
    wait_until(page, lambda: plays(page))


def test_a_name_finds_too_and_details_tell_licence_and_tags(page: Page) -> None:
    search(page, "old choir 5")
    assert titles(page)[0] == "Old Choir 5"
    page.click(f"{row(page, 'Old Choir 5')} >> text=Details")
    page.wait_for_selector("#results .details dl")
    details = page.inner_text("#results .details")
    for text in ("CC BY 4.0", "Tides", "1995", "river, old choir", "The model hears"):
        assert text in details
    words = page.locator("#results .details a")
    assert words.count() == 8
    word = words.first.inner_text()
    words.first.click()
    wait_until(page, lambda: page.input_value("#text") == word)


def test_more_less_similar_and_back(page: Page) -> None:
    search(page, "slow piano")
    first = titles(page)[0]
    page.click(f"{row(page, first)} >> text=Less like this")
    wait_for_text(page, "#chips", f"less like {first}")
    wait_until(page, lambda: first not in titles(page))
    page.click(f"{row(page, 'Fast Drums 4')} >> text=More like this")
    wait_for_text(page, "#chips", "more like Fast Drums 4")
    wait_until(page, lambda: all("Fast Drums" in title for title in titles(page)[3:6]))
    assert first not in titles(page)
    page.click(f'#chips li:has-text("{first}") button')
    wait_until(page, lambda: first in titles(page))
    page.go_back()
    wait_until(page, lambda: first not in titles(page))
    page.click(f"{row(page, 'Old Choir 2')} >> text=Similar")
    wait_until(page, lambda: all("Old Choir" in title for title in titles(page)[:3]))
    assert page.input_value("#text") == ""


def test_the_keyboard_alone_is_enough(page: Page) -> None:
    def focused() -> str:
        return str(page.evaluate("document.activeElement.getAttribute('aria-label') ?? document.activeElement.id"))

    def tab_to(beginning: str) -> str:
        for _ in range(40):
            page.keyboard.press("Tab")
            if focused().startswith(beginning):
                return focused()
        raise AssertionError(f"{beginning} is not reached; at {focused()}")

    assert focused() == "text", "one types at once"
    page.keyboard.type("fast drums")
    page.keyboard.press("Enter")
    page.wait_for_selector("#results li")
    title = tab_to("Play: ").removeprefix("Play: ")
    page.keyboard.press("Enter")
    wait_until(page, lambda: plays(page))
    assert focused() == f"Pause: {title}"
    tab_to("Keep in the playlist")
    page.keyboard.press("Space")
    wait_for_text(page, "#playlist-count", "(1)")
    tab_to("More like this")
    page.keyboard.press("Enter")
    page.wait_for_selector("#chips li")
    wait_until(page, lambda: focused() == "results-title")
    page.keyboard.press("Shift+Tab")
    assert focused().startswith("Not any more")
    # From the top of the page, past the jump mark, to the map.
    page.evaluate("document.querySelector('.brand').focus()")
    for _ in range(2):
        page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    page.wait_for_selector("#near li")
    tab_to("Map of the collection")
    before = page.inner_text("#near li:first-child .title")
    for key in ("ArrowRight", "ArrowLeft", "ArrowUp", "ArrowDown"):
        page.keyboard.press(key)
    spoken = page.inner_text("#map-status")
    here = page.inner_text("#near li:first-child .title")
    assert here in spoken or "Nothing lies further" in spoken
    assert before
    page.keyboard.press("Enter")
    wait_until(page, lambda: page.inner_text("#now-title") == here)
    page.keyboard.press("+")
    tab_to("Play: ")


def test_the_map_is_wandered_with_the_mouse_and_marks_what_was_found(page: Page) -> None:
    search(page, "old choir")
    page.click("nav >> text=Map")
    page.wait_for_selector("#near li")
    assert page.locator("#near li").count() == 8
    box = page.locator("#plane").bounding_box()
    assert box is not None
    seen = set()
    for share in (0.05, 0.5, 0.95):
        page.mouse.click(box["x"] + share * box["width"], box["y"] + share * box["height"])
        seen.add(page.inner_text("#near li:first-child .title"))
    assert len(seen) > 1
    page.click("#zoom-in")
    page.click("#near li:first-child >> text=Similar")
    wait_until(page, lambda: "like=" in page.url and page.locator("#results li").count() > 0)


def test_a_playlist_is_kept_sorted_and_saved(page: Page, collection: Path) -> None:
    search(page, "slow piano")
    kept = titles(page)[:3]
    for title in kept:
        page.click(f"{row(page, title)} >> text=Keep")
    page.reload()
    page.click("nav >> text=Playlist")
    wait_until(page, lambda: titles(page, "#playlist") == kept)
    page.click(f"{row(page, kept[0], '#playlist')} >> text=↓")
    kept = [kept[1], kept[0], kept[2]]
    wait_until(page, lambda: titles(page, "#playlist") == kept)

    def saved(form: str) -> str:
        with page.expect_download() as download:
            page.click(f"[data-save={form}]")
        assert download.value.suggested_filename == f"playlist.{form}"
        return Path(download.value.path()).read_text(encoding="utf-8")

    files = [line for line in saved("m3u8").splitlines() if not line.startswith("#")]
    numbers = [title.rpartition(" ")[2] for title in kept]
    music = collection.parent.resolve() / "music"
    assert files == [(music / f"{number}.flac").as_uri() for number in numbers]
    assert re.findall(r"<title>(.*)</title>", saved("xspf")) == kept
    assert [line["title"] for line in csv.DictReader(io.StringIO(saved("csv")))] == kept
    page.click("#playlist-way")
    wait_for_text(page, "#playlist-status", "lead from the first to the last")
    way = titles(page, "#playlist")
    assert (way[0], way[-1]) == (kept[0], kept[-1])
    assert len(way) == 12
    page.click(f"{row(page, way[1], '#playlist')} >> text=Take out")
    wait_until(page, lambda: titles(page, "#playlist") == [way[0], *way[2:]])
    page.click("#playlist-clear")
    page.wait_for_selector("#playlist-empty")


def test_what_the_browser_kept_is_not_trusted(page: Page) -> None:
    """A recording that the index does not have (any more), and what is no playlist at all."""
    page.evaluate("""() => localStorage.setItem("mulan.playlist", JSON.stringify(
        [{ recording_id: "/etc/passwd", title: "<img src=x onerror=alert(1)>", artist: "" }, { title: 3 }, null]))""")
    page.reload()
    page.click("nav >> text=Playlist")
    assert titles(page, "#playlist") == ["<img src=x onerror=alert(1)>"]
    page.click("[data-save=m3u8]")
    wait_for_text(page, "#playlist-status", "no recording of this index")
    page.click("#playlist .disc")
    wait_for_text(page, "#player-status", "no recording of this index")
    page.evaluate("localStorage.setItem('mulan.playlist', '{')")
    page.reload()
    page.wait_for_selector("#playlist-empty")


def test_a_format_that_no_browser_knows_plays_as_an_excerpt_and_what_is_gone_says_so(page: Page) -> None:
    search(page, "tape hiss")
    page.click(f"{row(page, 'Tape')} >> .disc")
    wait_until(page, lambda: plays(page))
    assert "half a minute" in page.inner_text("#player-status")
    search(page, "strange")
    page.click(f"{row(page, 'Gone')} >> .disc")
    wait_for_text(page, "#player-status", "its file is gone")


def test_texts_of_strangers_are_texts(page: Page) -> None:
    search(page, "strange")
    assert MARKUP in titles(page)
    strange = "#results li:has-text('{{ 7*7 }}')"
    assert RIGHT_TO_LEFT in (page.text_content(f"{strange} .what .quiet") or "")
    page.click(f"{strange} >> text=Details")
    wait_for_text(page, f"{strange} .details", "<b>bold</b>")
    page.click(f"{strange} >> text=Keep")
    page.click(f"{strange} >> text=More like this")
    wait_for_text(page, "#chips", MARKUP)
    page.click('#results li:has-text("drum drum") >> text=Details')
    assert no_sideways_scroll(page)
    for text in (f"{MARKUP} \u202e", "x" * 10_000, "'\" OR NEAR( *"):
        page.fill("#text", text)
        page.keyboard.press("Enter")
        wait_for_text(page, "#results-title", f"What fits “{text[:40]}")
        assert page.locator("#results img, #results script, #results b").count() == 0


def test_what_finds_nothing_or_cannot_be_read_says_what_to_do(page: Page, server: PageServer) -> None:
    page.goto(f"{server.address.url}/#search?text=piano&where=year+>+3000")
    wait_for_text(page, "#status", "Take something out of “Only where”")
    page.fill("#where", "colour = 1")
    page.press("#where", "Enter")
    wait_for_text(page, "#status", "'colour' is no column")
    page.route("**/api/search?*", lambda route: route.abort())
    page.fill("#where", "")
    page.press("#where", "Enter")
    wait_for_text(page, "#status", "Is it still running?")


def no_sideways_scroll(page: Page) -> bool:
    fits: bool = page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth")
    return fits


@pytest.mark.parametrize(("scheme", "width"), [("light", 1280), ("dark", 360)])
def test_axe_finds_nothing_in_any_part(browser: Browser, server: PageServer, scheme: str, width: int) -> None:
    with browser.new_context(
        color_scheme="dark" if scheme == "dark" else "light", viewport={"width": width, "height": 700}
    ) as context:
        page = context.new_page()

        def check(what: str) -> None:
            results = Axe().run(page)
            assert results.violations_count == 0, f"{what}: {results.generate_report()}"
            assert no_sideways_scroll(page), what

        page.goto(server.address.url)
        check("start")
        page.click("summary")
        search(page, "strange")
        page.click("#results li:first-child .disc")
        page.click("#results li:first-child >> text=Keep")
        page.click("#results li:nth-child(2) >> text=Less")
        page.wait_for_selector("#chips li")
        page.click("#results li:nth-child(2) >> text=Details")
        page.wait_for_selector("#results .details dl")
        check("results")
        for part in ("Map", "Playlist", "About"):
            page.click(f"nav >> text={part}")
            if part == "Map":
                page.wait_for_selector("#near li")
            if part == "About":
                page.click("#examine")
                page.wait_for_selector("#health li")
            check(part)
        page.goto(f"{server.address.url}/enter?token=none")
        check("without a link")
