"""The pages as `make docs` builds them, in real Chromium: each opens without an error and fetches nothing from
elsewhere, the menu leads to all of them, and the search finds."""

import functools
import os
import threading
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from playwright.sync_api import Browser

from tests.filters.annotation.browser import CHROMIUM, MISSING, TIMEOUT_MS, chromium

SITE = Path(os.environ.get("SITE", "build/docs"))
ROOT = Path(__file__).resolve().parents[2]

pytestmark = [
    pytest.mark.site,
    pytest.mark.skipif("SITE" not in os.environ, reason="make test-docs builds the pages"),
    pytest.mark.skipif(CHROMIUM is None, reason=MISSING),
]


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        """Nothing."""


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(_Quiet, directory=str(SITE)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as one:
        yield one


def test_every_page_opens_without_an_error_and_from_here_alone(browser: Browser, address: str) -> None:
    pages = sorted(str(path.relative_to(SITE)) for path in SITE.rglob("*.html"))
    written = {f"docs/{path.relative_to(ROOT / 'docs').with_suffix('.html')}" for path in ROOT.glob("docs/**/*.md")}
    assert {*written, "README.html", "CHANGELOG.html", "CONTRIBUTING.html", "index.html"} <= set(pages)
    with browser.new_context() as context:
        context.set_default_timeout(TIMEOUT_MS)
        page = context.new_page()
        wrong: list[str] = []
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("console", lambda said: wrong.append(said.text) if said.type == "error" else None)
        page.on("request", lambda asked: None if asked.url.startswith((address, "data:")) else wrong.append(asked.url))
        page.on("response", lambda got: wrong.append(f"{got.status} {got.url}") if got.status >= 400 else None)
        for name in (name for name in pages if name != "index.html"):
            page.goto(f"{address}/{name}")
            page.wait_for_load_state("load")
            assert wrong == [], name
        page.goto(address)
        page.wait_for_url(f"{address}/docs/index.html")
        led_to = page.eval_on_selector_all(".sidebar-tree a", "links => links.map(link => link.href.split('#')[0])")
    missing = {f"{address}/{name}" for name in written} - set(led_to) - {f"{address}/docs/index.html"}
    assert missing == set(), "the menu of docs/index.md"


@pytest.mark.parametrize(
    ("words", "page"),
    [
        ("tombstone", "removal"),
        ("GradCache", "training"),
        ("iter_audio", "site/api"),
        ("--min_music_fraction", "commands"),
    ],
)
def test_the_search_finds(browser: Browser, address: str, words: str, page: str) -> None:
    with browser.new_context() as context:
        context.set_default_timeout(TIMEOUT_MS)
        one = context.new_page()
        one.goto(f"{address}/docs/index.html")
        one.fill(".sidebar-search", words)
        one.press(".sidebar-search", "Enter")
        one.wait_for_selector("#search-results ul.search li a")
        found = one.eval_on_selector_all("#search-results ul.search li a", "links => links.map(link => link.href)")
        assert any(f"/docs/{page}.html" in link for link in found), found
        one.click(f"#search-results ul.search li a[href*='docs/{page}.html']")
        one.wait_for_selector("article h1")
