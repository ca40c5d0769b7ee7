"""The page in real Chromium: keys, mouse, touch, two people, projects and windows, crashes, axe, narrow screens."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, Route

from filters.annotation import formats, people
from filters.annotation.exchange import add_bundle, read_labels
from filters.annotation.log import Log
from filters.annotation.records import Bundle
from filters.annotation.warmup import read_warmup
from schemas.label import Label, LabelItem, LabelValue
from tests.filters.annotation.browser import (
    CHROMIUM,
    MISSING,
    PUBLIC_NAME,
    chromium,
    sign_in,
    wait_for_sentence,
    wait_for_text,
    wait_until,
    wait_until_sent,
)
from tests.filters.annotation.front import certificate, front
from tests.filters.annotation.harness import Server, free_port, make_db, make_items

pytestmark = [pytest.mark.slow, pytest.mark.skipif(CHROMIUM is None, reason=MISSING)]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as one:
        yield one


@pytest.fixture
def server(quick_path: Path) -> Iterator[Server]:
    db = make_db(quick_path / "labels.db", make_items(30), 2, ("ada", "ben", "lead"))
    with Server(db) as one:
        yield one


def labels_of(server: Server, name: str) -> list[Label]:
    return [label for label in read_labels(server.db)[1] if label.annotator == name]


def said(server: Server, name: str) -> list[str]:
    return [label.label.value for label in labels_of(server, name)]


def test_one_key_labels_saves_and_shows_the_next(browser: Browser, server: Server) -> None:
    page = sign_in(browser, server, "ada")
    texts = []
    for key in "1001":
        texts.append(wait_for_sentence(page))
        page.keyboard.press(key)
    assert len(set(texts)) == 4
    wait_until_sent(page)
    assert said(server, "ada") == ["yes", "no", "no", "yes"]
    assert page.inner_text("#counts").startswith("4 by you")
    assert page.inner_text("#status") == "Saved"
    labels = labels_of(server, "ada")
    assert {label.guideline for label in labels} == {page.get_attribute("#work", "data-guideline")}
    assert page.locator("#sentence").locator("xpath=..").get_attribute("aria-live") == "polite"


def test_undo_unsure_note_and_skip_with_a_reason(browser: Browser, server: Server) -> None:
    page = sign_in(browser, server, "ada")
    first = wait_for_sentence(page)
    page.keyboard.press("?")
    assert page.get_attribute('[data-action="unsure"]', "aria-pressed") == "true"
    page.keyboard.press("n")
    # While one types, keys are letters: 1, 0, s and u must not label, skip or undo.
    page.keyboard.type("10 sus? out")
    page.keyboard.press("Escape")
    assert wait_for_sentence(page) == first
    page.keyboard.press("1")
    second = wait_for_sentence(page)
    assert second != first
    assert page.get_attribute('[data-action="unsure"]', "aria-pressed") == "false", "unsure is for one sentence"
    assert page.input_value("#note") == ""
    page.keyboard.press("u")
    wait_for_sentence(page, first)
    assert "yes" in page.inner_text("#hint")
    assert page.input_value("#note") == "10 sus? out"
    assert labels_of(server, "ada") == []
    page.locator("body").press("0")
    wait_for_sentence(page, second)
    page.keyboard.press("s")
    assert page.locator("#skip-dialog").is_visible()
    page.keyboard.press("1")
    page.keyboard.press("b")
    wait_until_sent(page)
    no, skip = labels_of(server, "ada")
    assert (no.label, no.unsure, no.note) == (LabelValue.NO, True, "10 sus? out")
    assert (skip.label, skip.skip_reason, skip.unsure) == (LabelValue.SKIP, "broken", False)


def test_a_held_key_labels_once_and_shortcuts_of_the_browser_stay(browser: Browser, server: Server) -> None:
    page = sign_in(browser, server, "ada")
    wait_for_sentence(page)
    for _ in range(5):
        page.keyboard.down("1")
    page.keyboard.up("1")
    page.keyboard.press("Control+0")
    page.keyboard.press("Alt+1")
    wait_until_sent(page)
    assert said(server, "ada") == ["yes"]


def test_keys_are_remapped_and_switched_off(browser: Browser, server: Server) -> None:
    page = sign_in(browser, server, "ada")
    origin = server.address.url
    page.goto(f"{origin}/keys")
    page.get_by_role("button", name="Yes: 1").click()
    page.keyboard.press("j")
    page.get_by_role("button", name="No: 0").click()
    page.keyboard.press("s")
    assert page.get_by_role("button", name="Skip: 0").is_visible(), "a key that is taken is swapped"
    page.goto(origin)
    wait_for_sentence(page)
    assert page.inner_text(".answer.yes kbd") == "j"
    page.keyboard.press("1")
    page.keyboard.press("j")
    page.keyboard.press("s")
    wait_until_sent(page)
    assert said(server, "ada") == ["yes", "no"]
    page.goto(f"{origin}/keys")
    page.uncheck("#keys-on")
    page.goto(origin)
    wait_for_sentence(page)
    assert not page.locator(".answer.yes kbd").is_visible()
    page.keyboard.press("j")
    page.click(".answer.no")
    wait_until_sent(page)
    assert said(server, "ada") == ["yes", "no", "no"], "the button works, the key does not"


def test_touch_works_like_the_keys(browser: Browser, server: Server) -> None:
    page = sign_in(browser, server, "ada", has_touch=True, viewport={"width": 390, "height": 800})
    wait_for_sentence(page)
    page.tap(".answer.yes")
    page.tap('[data-action="skip"]')
    page.tap('[data-reason="abusive"]')
    wait_until_sent(page)
    assert said(server, "ada") == ["yes", "skip"]


def test_two_at_once_then_adjudication_and_agreement(browser: Browser, server: Server) -> None:
    ada, ben = (sign_in(browser, server, name) for name in ("ada", "ben"))
    for first, second in ("11", "00", "10", "11"):
        for page, key in ((ada, first), (ben, second)):
            wait_for_sentence(page)
            page.keyboard.press(key)
    for page in (ada, ben):
        wait_until_sent(page)
    assert said(server, "ada") == ["yes", "no", "yes", "yes"]
    assert said(server, "ben") == ["yes", "no", "no", "yes"]
    lead = sign_in(browser, server, "lead")
    lead.goto(f"{server.address.url}/agreement")
    assert "0.750" in lead.inner_text("tbody tr")
    lead.goto(f"{server.address.url}/adjudicate")
    assert "1 to settle" in lead.inner_text("main")
    assert lead.locator(".votes li").count() == 2
    lead.keyboard.press("0")
    lead.wait_for_selector("text=Nothing to settle")
    assert said(server, "adjudicated") == ["no"]


def test_the_agreement_table_follows_the_labels(browser: Browser, server: Server) -> None:
    ada, ben, lead = (sign_in(browser, server, name) for name in ("ada", "ben", "lead"))
    lead.goto(f"{server.address.url}/agreement")
    assert lead.inner_text("tbody td") == "0"
    for page in (ada, ben):
        wait_for_sentence(page)
        page.keyboard.press("1")
        wait_until_sent(page)
    wait_for_text(lead, "tbody td", "1")


def test_a_reload_in_mid_flight_loses_and_doubles_nothing(browser: Browser, server: Server) -> None:
    page = sign_in(browser, server, "ada")
    first = wait_for_sentence(page)
    # One answer is on its way when the page goes: the server gets it, the page never hears of it.
    page.route("**/api/label", lambda route: (route.fetch(), route.abort())[1])
    page.keyboard.press("1")
    wait_for_text(page, "#status", "No connection")
    page.keyboard.press("0")
    assert said(server, "ada") == ["yes"]
    page.unroute("**/api/label")
    page.reload()
    third = wait_for_sentence(page)
    wait_until_sent(page)
    assert said(server, "ada") == ["yes", "no"]
    assert third == make_items(3)[2].text
    assert third != first
    with Log(server.db) as log:
        assert log.connection.execute("SELECT count(*) FROM events WHERE kind = 'label'").fetchone()[0] == 2


def test_a_killed_server_is_survived_by_the_page(browser: Browser, server: Server) -> None:
    page = sign_in(browser, server, "ada")
    wait_for_sentence(page)
    server.kill()
    for key in "101":
        page.keyboard.press(key)
    wait_for_text(page, "#status", "3 kept here")
    server.start()
    wait_until_sent(page)
    assert said(server, "ada") == ["yes", "no", "yes"]


def test_a_full_disk_is_said_and_survived(browser: Browser, server: Server) -> None:
    page = sign_in(browser, server, "ada")
    wait_for_sentence(page)
    # Nothing grows any more: the log beside the database neither.
    server.limit_files(1)
    page.keyboard.press("1")
    wait_for_text(page, "#status", "The server cannot write to its disk")
    assert "1 kept here" in page.inner_text("#status")
    assert page.inner_text("#sentence bdi"), "the next sentence is there"
    assert said(server, "ada") == []
    server.limit_files(None)
    wait_until_sent(page)
    assert said(server, "ada") == ["yes"]


def test_a_fast_annotator_far_away_waits_for_no_sentence(browser: Browser, quick_path: Path) -> None:
    """Six answers during each way there and back: what five sentences ahead could not feed."""
    db = make_db(quick_path / "labels.db", make_items(60), 1, ("ada",))
    port = free_port()
    with (
        Server(db, public_url=f"http://{PUBLIC_NAME}:{port}") as server,
        front(port, server.address.port, delay_s=0.15),
    ):
        page = sign_in(browser, server, "ada")
        seen = []
        for _ in range(20):
            seen.append(wait_for_sentence(page))
            page.keyboard.press("1")
            assert page.text_content("#sentence bdi"), f"nothing to answer after {len(seen)}"
            page.wait_for_timeout(50)
        assert len(set(seen)) == 20
        wait_until_sent(page)
        assert said(server, "ada") == ["yes"] * 20
        page.context.close()


def test_the_page_works_behind_tls_with_a_secure_cookie(browser: Browser, quick_path: Path) -> None:
    db = make_db(quick_path / "labels.db", make_items(10), 1, ("ada",))
    port = free_port()
    context = certificate(quick_path, PUBLIC_NAME)
    with (
        Server(db, public_url=f"https://{PUBLIC_NAME}:{port}") as server,
        front(port, server.address.port, context=context),
    ):
        page = sign_in(browser, server, "ada", ignore_https_errors=True)
        for key in "10":
            wait_for_sentence(page)
            page.keyboard.press(key)
        wait_until_sent(page)
        assert said(server, "ada") == ["yes", "no"]
        (cookie,) = page.context.cookies()
        assert cookie["name"].startswith("__Host-")
        assert (cookie["secure"], cookie["httpOnly"], cookie["sameSite"]) == (True, True, "Strict")
        page.context.close()


def test_the_end_is_said_and_can_be_undone(browser: Browser, tmp_path: Path) -> None:
    with Server(make_db(tmp_path / "labels.db", make_items(2), 1, ("ada",))) as server:
        page = sign_in(browser, server, "ada")
        for _ in range(2):
            wait_for_sentence(page)
            page.keyboard.press("1")
        page.wait_for_selector("text=All done")
        assert not page.locator("#controls").is_visible()
        page.keyboard.press("u")
        wait_for_sentence(page, make_items(2)[1].text)
        page.keyboard.press("0")
        page.wait_for_selector("text=All done")
        assert said(server, "ada") == ["yes", "no"]


# Where answers were lost or moved: other projects, persons and windows, refusals, slow lines.


def two_projects(folder: Path) -> tuple[Path, Path]:
    """The first person of either has the number 1, as everywhere."""
    drums = make_db(folder / "drums.db", make_items(9, "drums {number}"), 1, ("ada",))
    strings = make_db(folder / "strings.db", make_items(9, "strings {number}"), 1, ("ben",))
    return drums, strings


def test_answers_kept_offline_stay_with_their_project_and_person(browser: Browser, quick_path: Path) -> None:
    drums, strings = two_projects(quick_path)
    with Server(drums) as first:
        page = sign_in(browser, first, "ada")
        wait_for_sentence(page)
        first.kill()
        for key in "10":
            page.keyboard.press(key)
        wait_for_text(page, "#status", "2 kept here")
        # The page of the first project is still open while the second takes over the port and the browser.
        with Server(strings, port=first.address.port) as second:
            wait_for_text(page, "#status", "Your answers are kept in this browser")
            other = page.context.new_page()
            other.goto(second.link("ben"))
            other.click("main button")
            wait_for_sentence(other, "strings 0")
            other.keyboard.press("1")
            wait_for_sentence(other, "strings 1")
            wait_for_text(other, "#status", "Saved")
            wait_for_text(other, "#stray-text", "2 answers of another project or person")
            # Ada's page wakes up under Ben's session.
            page.evaluate("window.dispatchEvent(new Event('online'))")
            wait_for_text(page, "#status", "2 answers of ada are kept here until ada signs in again")
            assert said(second, "ben") == ["yes"]
            assert read_labels(drums)[1] == []
            other.close()
        first.start()
        # Her session was not ended by his: the page needs no new link.
        page.reload()
        wait_until_sent(page)
        assert said(first, "ada") == ["yes", "no"]
        assert not page.locator("#stray").is_visible()
        page.context.close()


def test_another_person_in_the_same_browser_gets_nobodys_answers(browser: Browser, server: Server) -> None:
    page = sign_in(browser, server, "ada")
    wait_for_sentence(page)
    other = page.context.new_page()
    other.goto(server.link("ben"))
    other.click("main button")
    wait_for_sentence(other)
    page.keyboard.press("1")
    wait_for_text(page, "#status", "signed in as ben by now. 1 answer of ada is kept here until ada signs in again")
    assert labels_of(server, "ada") == labels_of(server, "ben") == []
    page.goto(server.link("ada"))
    page.click("main button")
    wait_until_sent(page)
    assert (said(server, "ada"), said(server, "ben")) == (["yes"], [])
    page.context.close()


def answer_and_be_refused(page: Page, server: Server, key: str) -> None:
    """Answer while the project does not have its sentences, which the server refuses; they are back afterwards."""
    with Log(server.db) as log:
        log.connection.execute("UPDATE items SET item_id = 'gone ' || item_id")
        page.keyboard.press(key)
        page.wait_for_selector("#kept")
        log.connection.execute("UPDATE items SET item_id = substr(item_id, 6)")


def test_what_the_server_refuses_is_kept_shown_and_sent_again(browser: Browser, server: Server) -> None:
    page = sign_in(browser, server, "ada")
    first = wait_for_sentence(page)
    page.keyboard.press("n")
    page.keyboard.type("a quiet one")
    page.keyboard.press("Escape")
    answer_and_be_refused(page, server, "1")
    wait_for_text(page, "#kept", first)
    assert labels_of(server, "ada") == []
    page.reload()
    wait_for_text(page, "#kept", "there is no such item")
    assert "a quiet one" in page.inner_text("#kept")
    with page.expect_download() as download:
        page.click("text=Save them as a file")
    saved = json.loads(Path(download.value.path()).read_text(encoding="utf-8"))
    assert (saved["item_id"], saved["label"], saved["annotator"]) == ("i00000", "yes", "ada")
    assert (saved["text"], saved["note"]) == (first, "a quiet one")
    page.click("text=Send again")
    wait_until_sent(page)
    wait_until(page, lambda: not page.locator("#kept").is_visible())
    assert [(label.label.value, label.note) for label in labels_of(server, "ada")] == [("yes", "a quiet one")]
    wait_for_sentence(page)
    answer_and_be_refused(page, server, "0")
    page.click('#kept button:text-is("Discard")')
    assert not page.locator("#kept").is_visible()
    assert said(server, "ada") == ["yes"]
    page.context.close()


def test_a_saved_file_of_refused_answers_is_one_that_import_takes(
    browser: Browser, server: Server, tmp_path: Path
) -> None:
    page = sign_in(browser, server, "ada")
    wait_for_sentence(page)
    answer_and_be_refused(page, server, "1")
    with page.expect_download() as download:
        page.click("text=Save them as a file")
    download.value.save_as(tmp_path / "kept.jsonl")
    page.context.close()
    bundle = formats.read(tmp_path / "kept.jsonl", "jsonl", formats.ReadOptions())
    with Log(server.db) as log:
        assert add_bundle(log, bundle, 1) == (0, 1)


def test_answers_kept_by_an_earlier_version_are_shown_and_can_be_sent(browser: Browser, server: Server) -> None:
    """Until 2026-11 an entry of the outbox named the person's number alone, which every project has."""
    page = sign_in(browser, server, "ada")
    wait_for_sentence(page)
    entry = {"url": "/api/label", "body": {"key": "k" * 32, "item_id": "i00007", "label": "yes", "unsure": False}}
    for name in ("mulan.outbox.1.001764150000000.000000", "mulan.outbox.2.001764150000000.000000"):
        page.evaluate("([name, entry]) => localStorage.setItem(name, JSON.stringify(entry))", [name, entry])
    page.reload()
    wait_for_text(page, "#kept", "before an update of this page")
    wait_for_text(page, "#stray", "1 answer of another project or person")
    assert labels_of(server, "ada") == []
    page.click("text=Send again")
    wait_until(page, lambda: said(server, "ada") == ["yes"])
    assert not page.locator("#kept").is_visible()
    page.context.close()


def test_an_undo_after_a_refused_answer_takes_back_no_other(browser: Browser, server: Server) -> None:
    page = sign_in(browser, server, "ada")
    for key in "10":
        wait_for_sentence(page)
        page.keyboard.press(key)
    wait_until_sent(page)
    answer_and_be_refused(page, server, "1")
    page.keyboard.press("u")
    wait_until_sent(page)
    assert said(server, "ada") == ["yes"], "the newest that was taken, which the page shows"
    assert page.text_content("#sentence bdi") == make_items(2)[1].text
    page.context.close()


def test_two_windows_of_one_person_overwrite_nothing_unseen(browser: Browser, server: Server) -> None:
    page = sign_in(browser, server, "ada")
    first = wait_for_sentence(page)
    other = page.context.new_page()
    other.goto(server.address.url)
    assert wait_for_sentence(other) == first
    page.keyboard.press("1")
    # The other window moves on by itself.
    second = wait_for_sentence(page)
    wait_for_sentence(other, second)
    assert "in your other window" in other.inner_text("#status")
    # Unless something is typed there already.
    other.keyboard.press("n")
    other.keyboard.type("but why")
    other.keyboard.press("Escape")
    page.keyboard.press("1")
    wait_until_sent(page)
    other.keyboard.press("0")
    wait_for_text(other, "#kept", "You have answered this sentence in another window")
    assert said(server, "ada") == ["yes", "yes"]
    wait_for_text(page, "#kept", "✓ yes stands")
    other.click("text=Use this answer instead")
    wait_until_sent(other)
    wait_until(page, lambda: not page.locator("#kept").is_visible())
    assert [(label.label.value, label.note) for label in labels_of(server, "ada")] == [("yes", None), ("no", "but why")]
    # Each window takes back what it gave itself.
    wait_for_sentence(page)
    page.keyboard.press("1")
    wait_until_sent(page)
    other.keyboard.press("u")
    wait_for_sentence(other, second)
    wait_until_sent(other)
    assert said(server, "ada") == ["yes", "yes", "yes"], "the no is taken back and the yes before it stands again"
    page.context.close()


def test_two_windows_offline_double_nothing_and_mix_nothing(browser: Browser, server: Server) -> None:
    page = sign_in(browser, server, "ada")
    wait_for_sentence(page)
    other = page.context.new_page()
    other.goto(server.address.url)
    wait_for_sentence(other)
    server.kill()
    for number, window in enumerate((page, other, page, other)):
        for one in (page, other):
            wait_for_sentence(one, make_items(4)[number].text)
        window.keyboard.press("1")
    wait_for_text(page, "#status", "4 kept here")
    server.start()
    wait_until_sent(page)
    assert said(server, "ada") == ["yes"] * 4
    with Log(server.db) as log:
        assert log.connection.execute("SELECT count(*) FROM events WHERE kind = 'label'").fetchone()[0] == 4
    page.context.close()


def test_an_undo_shows_itself_before_the_server_has_answered(browser: Browser, server: Server) -> None:
    page = sign_in(browser, server, "ada")
    first = wait_for_sentence(page)
    page.keyboard.press("1")
    second = wait_for_sentence(page)
    wait_until_sent(page)
    held: list[Route] = []
    page.route("**/api/undo", lambda route: held.append(route))
    page.keyboard.press("u")
    wait_for_sentence(page, first)
    assert "You said ✓ yes" in page.inner_text("#hint")
    wait_until(page, lambda: len(held) == 1)
    assert said(server, "ada") == ["yes"], "the line is slow: the server does not know of it"
    page.keyboard.press("0")
    wait_for_sentence(page, second)
    held.pop().continue_()
    wait_until_sent(page)
    assert said(server, "ada") == ["no"]
    # After a reload only the server knows what was last; the page says that it asks.
    page.reload()
    wait_for_sentence(page, second)
    page.keyboard.press("u")
    wait_for_text(page, "#hint", "Taking back your last answer")
    assert not page.locator("#controls").is_visible()
    wait_until(page, lambda: len(held) == 1)
    held.pop().continue_()
    wait_for_sentence(page, first)
    assert "You said ✕ no" in page.inner_text("#hint")
    page.context.close()


def test_notes_survive_a_reload_and_an_undo(browser: Browser, server: Server) -> None:
    page = sign_in(browser, server, "ada")
    first = wait_for_sentence(page)
    page.keyboard.press("n")
    page.keyboard.type("half a thou")
    page.reload()
    wait_for_sentence(page, first)
    assert page.input_value("#note") == "half a thou"
    page.locator("main").press("1")
    second = wait_for_sentence(page)
    assert page.input_value("#note") == ""
    page.keyboard.press("?")
    page.keyboard.press("n")
    page.keyboard.type("of the second")
    page.keyboard.press("Escape")
    page.keyboard.press("u")
    wait_for_sentence(page, first)
    assert page.input_value("#note") == "half a thou"
    # What was taken back is still that after a reload, note and answer with it.
    wait_until_sent(page)
    page.reload()
    wait_for_sentence(page, first)
    assert (page.input_value("#note"), "You said ✓ yes" in page.inner_text("#hint")) == ("half a thou", True)
    page.locator("main").press("0")
    wait_for_sentence(page, second)
    assert page.input_value("#note") == "of the second"
    assert page.get_attribute('[data-action="unsure"]', "aria-pressed") == "true"
    page.locator("main").press("1")
    wait_until_sent(page)
    assert [(label.label.value, label.note, label.unsure) for label in labels_of(server, "ada")] == [
        ("no", "half a thou", False),
        ("yes", "of the second", True),
    ]
    page.context.close()


def test_an_adjudicator_takes_back_and_sees_what_was_decided(browser: Browser, server: Server) -> None:
    items = make_items(2)
    labels = [
        Label(item_id=item.item_id, annotator=name, label=LabelValue(value))
        for item in items
        for name, value in (("ada", "yes"), ("ben", "no"))
    ]
    with Log(server.db) as log:
        add_bundle(log, Bundle(items=[], labels=labels), 2)
    page = sign_in(browser, server, "lead")
    page.goto(f"{server.address.url}/adjudicate")
    page.fill("#note", "only a name")
    page.reload()
    assert page.input_value("#note") == "only a name"
    page.locator("main").press("0")
    page.wait_for_selector("text=1 to settle")
    assert page.input_value("#note") == ""
    page.keyboard.press("u")
    page.wait_for_selector("text=You took back ✕ no")
    assert page.text_content(".sentence bdi") == items[0].text
    assert page.input_value("#note") == "only a name"
    assert said(server, "adjudicated") == []
    page.locator("main").press("1")
    page.wait_for_selector("text=1 to settle")
    page.goto(f"{server.address.url}/decisions")
    assert "only a name" in page.inner_text(".history")
    page.click("summary")
    page.click("text=Take it back")
    page.wait_for_selector("text=2 to settle")
    assert said(server, "adjudicated") == []
    page.context.close()


HOSTILE = [
    '<img src=x onerror="window.hacked=1"><script>window.hacked=1</script>',
    "\u202egnos yppah a si siht \u2067 \u200b\u200d",
    "x" * 10_000,
    "خفيف " * 2_000,
]


def test_hostile_sentences_run_nothing_and_break_no_layout(browser: Browser, tmp_path: Path) -> None:
    items = [LabelItem(item_id=str(number), text=text) for number, text in enumerate(HOSTILE)]
    with Server(make_db(tmp_path / "labels.db", items, 1, ("ada",))) as server:
        page = sign_in(browser, server, "ada", viewport={"width": 390, "height": 800})
        seen: list[str] = []
        page.on("dialog", lambda dialog: seen.append(dialog.message))
        for number, text in enumerate(HOSTILE):
            wait_for_sentence(page, text)
            assert no_sideways_scroll(page), number
            yes, no = page.locator(".answer.yes").bounding_box(), page.locator(".answer.no").bounding_box()
            assert yes is not None
            assert no is not None
            assert yes["x"] < no["x"], "an override in the text must not turn the page around"
            assert page.locator("#hint").is_visible() == (number == 1), "invisible signs are pointed out"
            page.keyboard.press("0")
        wait_until_sent(page)
        page.goto(f"{server.address.url}/history")
        assert no_sideways_scroll(page)
        assert page.evaluate("window.hacked") is None
        assert seen == []


def no_sideways_scroll(page: Page) -> bool:
    fits: bool = page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth")
    return fits


PAGES = ("/", "/history", "/guideline", "/keys", "/adjudicate", "/decisions", "/agreement", "/team", "/nowhere")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_and_a_zoomed_page_fits(browser: Browser, server: Server, scheme: str) -> None:
    """Every page and state, in both colour schemes; 640 pixels wide is a 1280 pixel screen at 200 %."""
    from axe_playwright_python.sync_playwright import Axe

    axe = Axe()

    def check(what: str) -> None:
        # Settled colours: axe measures contrast in the middle of a transition too.
        results = axe.run(page)
        assert results.violations_count == 0, f"{what}: {results.generate_report()}"
        assert no_sideways_scroll(page), what

    with Log(server.db) as log, log.transaction():
        people.ensure_person(log, "newcomer", adjudicator=True)
    context = browser.new_context(
        color_scheme="dark" if scheme == "dark" else "light", viewport={"width": 640, "height": 400}
    )
    page = context.new_page()
    page.goto(server.link("newcomer"))
    check("enter")
    page.click("main button")
    page.wait_for_selector("text=Before you begin")
    check("welcome")
    page.click("main button")
    wait_for_sentence(page)
    check("label")
    page.keyboard.press("?")
    page.keyboard.press("n")
    check("label with note")
    page.keyboard.press("Escape")
    page.keyboard.press("s")
    check("skip dialog")
    page.keyboard.press("a")
    page.keyboard.press("1")
    wait_until_sent(page)
    answer_and_be_refused(page, server, "1")
    check("label with what was refused")
    page.click('#kept button:text-is("Discard")')
    page.keyboard.press("g")
    check("guideline dialog")
    other = sign_in(browser, server, "ben")
    for key in "00":
        wait_for_sentence(other)
        other.keyboard.press(key)
    wait_until_sent(other)
    for path in PAGES:
        if path == "/decisions":
            page.locator("main").press("1")
            page.wait_for_load_state()
        page.goto(server.address.url + path)
        if path in ("/history", "/decisions"):
            page.click("summary >> nth=0")
        if path == "/":
            wait_for_sentence(page)
        check(path)
    page.click("text=Sign out")
    check("signed out")


def test_axe_finds_nothing_in_the_warm_up(browser: Browser, tmp_path: Path) -> None:
    from axe_playwright_python.sync_playwright import Axe

    db = make_db(tmp_path / "labels.db", make_items(2), 1, ("ada",))
    with Server(db, exercises=read_warmup()[:2]) as server:
        page = sign_in(browser, server, "ada")
        for last in (False, True):
            page.wait_for_selector(".answer.yes")
            assert Axe().run(page).violations_count == 0
            page.keyboard.press("1")
            page.wait_for_selector("#verdict")
            assert Axe().run(page).violations_count == 0
            page.click("text=On to the real sentences" if last else "text=Next")
        wait_for_sentence(page)
