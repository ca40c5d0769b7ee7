"""Debian's Chromium through Playwright, or a reason why there is none."""

import contextlib
import shutil
import time
from collections.abc import Callable, Iterator
from typing import Any

from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright

from tests.filters.annotation.harness import Server

CHROMIUM = shutil.which("chromium")
MISSING = "Debian's chromium is not installed (apt-get install chromium)"
_ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
TIMEOUT_MS = 20_000


# Under this name a proxy with TLS stands in front of the page.
PUBLIC_NAME = "label.example.org"


@contextlib.contextmanager
def chromium() -> Iterator[Browser]:
    arguments = [*_ARGUMENTS, f"--host-resolver-rules=MAP {PUBLIC_NAME} 127.0.0.1"]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, headless=True, args=arguments)
        try:
            yield browser
        finally:
            browser.close()


def sign_in(browser: Browser, server: Server, name: str, **options: Any) -> Page:
    """A page of its own context (cookies, storage), signed in and looking at the label page."""
    context: BrowserContext = browser.new_context(**options)
    context.set_default_timeout(TIMEOUT_MS)
    page = context.new_page()
    page.goto(server.link(name))
    page.click("main button")
    page.wait_for_load_state()
    return page


def wait_until(page: Page, condition: Callable[[], bool]) -> None:
    """Ask again and again: Playwright's `wait_for_function` evaluates a string in the page, which the CSP forbids."""
    deadline = time.monotonic() + TIMEOUT_MS / 1000
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(page.inner_text("main"))
        page.wait_for_timeout(10)


def wait_for_sentence(page: Page, text: str | None = None) -> str:
    """Wait until a sentence (or this one) is shown; returns it."""

    def shown() -> str:
        return page.text_content("#sentence bdi") or ""

    page.wait_for_selector("#sentence", state="attached")
    wait_until(page, lambda: shown() == text if text is not None else shown() != "")
    return shown()


def wait_until_sent(page: Page) -> None:
    wait_until(
        page, lambda: not any(name.startswith("mulan.outbox.") for name in page.evaluate("Object.keys(localStorage)"))
    )


def wait_for_text(page: Page, selector: str, text: str) -> None:
    wait_until(page, lambda: text in (page.text_content(selector) or ""))


def press_sign(page: Page, key: str, code: str = "", *, shift: bool = False) -> None:
    """A key press as a keyboard of any layout has it: its sign and its place. Playwright knows only that of the US."""
    session = page.context.new_cdp_session(page)
    event = {"key": key, "code": code, "modifiers": 8 if shift else 0}
    session.send("Input.dispatchKeyEvent", {"type": "rawKeyDown", **event})
    session.send("Input.dispatchKeyEvent", {"type": "keyUp", **event})
    session.detach()
