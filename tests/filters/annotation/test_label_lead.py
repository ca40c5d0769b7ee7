"""The lead's page: counts, pace, agreement over time, what is left, and what an edit of the guideline touches."""

from pathlib import Path

import pytest

from filters.annotation import guideline, lead, people, work
from filters.annotation.agreement import agreement_table
from filters.annotation.exchange import read_bundle
from filters.annotation.guideline import Guideline
from filters.annotation.log import Log
from filters.annotation.work import Judgement
from schemas.label import LabelItem, LabelValue
from tests.filters.annotation.harness import Client, Server

START_MS = 1_700_000_000_000
ADA, BEN, LEAD = 1, 2, 3
FIRST = Guideline(version="g@1", markdown="# Yes\nIt names a sound.\nIt names a mood.")
SECOND = Guideline(version="g@2", markdown="# Yes\nIt names a sound.\nIt names a use.")


class Work:
    """A project whose clock stands still but for what is said to take time."""

    def __init__(self, db: Path) -> None:
        self.ms = START_MS
        self.log = Log(db, create=True, clock_ms=lambda: self.ms)
        items = [
            LabelItem(item_id=f"i{number}", text=f"sentence {number}", stratum="short" if number % 2 else "long")
            for number in range(8)
        ]
        with self.log.transaction():
            work.add_items(self.log, items, 2)
            for name in ("ada", "ben", "lead"):
                people.ensure_person(self.log, name, adjudicator=name == "lead")

    def say(
        self, person: int, item: int, value: str, after_s: float, *, unsure: bool = False, under: str = "g@1"
    ) -> None:
        self.ms += round(after_s * 1000)
        reason = "broken" if value == "skip" else None
        judgement = Judgement(value=LabelValue(value), unsure=unsure, skip_reason=reason, guideline=under)
        work.put_label(self.log, person, f"i{item}", judgement, f"key-{person}-{item}-{self.ms}")


@pytest.fixture
def project(tmp_path: Path) -> Work:
    """Ada gives one every 4 s and rests for an hour in between, Ben one every 10 s a day later."""
    one = Work(tmp_path / "labels.db")
    guideline.remember(one.log, FIRST)
    for item, value in enumerate(("yes", "no", "yes", "skip")):
        one.say(ADA, item, value, 4)
    one.say(ADA, 4, "no", 3600, unsure=True)
    one.ms += lead.DAY_MS
    guideline.remember(one.log, SECOND)
    for item, value in enumerate(("yes", "yes", "yes")):
        one.say(BEN, item, value, 10, under="g@2")
    return one


def test_who_does_how_much(project: Work) -> None:
    ada, ben, nobody = lead.shares(project.log)
    assert (ada.name, ada.labels, ada.yes, ada.skips, ada.unsure, ada.undone) == ("ada", 5, 2, 1, 1, 0)
    assert ada.pace_s == 4.0, "the hour between was a break"
    assert (ada.at_work, ben.at_work, ben.pace_s, ben.last_ms) == (False, True, 10.0, project.ms)
    assert (nobody.labels, nobody.pace_s, nobody.last_ms, nobody.at_work) == (0, None, None, False)
    work.undo(project.log, BEN, "undo-00001")
    assert lead.shares(project.log)[1].undone == 1
    assert lead.shares(project.log)[1].labels == 2


def test_what_is_left_and_until_when(project: Work) -> None:
    left = lead.what_is_left(project.log, lead.shares(project.log))
    # 16 are wanted and 8 given; Ben alone is at work, 10 s each; 8 came in a day and an hour.
    assert (left.labels, left.sentences, left.unreachable, left.now_s) == (8, 5, 0, 80.0)
    assert left.days == pytest.approx(1 + 3646 / 86400, abs=0.001)
    project.ms += 8 * lead.DAY_MS
    quiet = lead.what_is_left(project.log, lead.shares(project.log))
    assert (quiet.now_s, quiet.days) == (None, None)
    with project.log.transaction():
        work.add_items(project.log, [LabelItem(item_id="i0", text="sentence 0")], 5)
    wanting = lead.what_is_left(project.log, lead.shares(project.log))
    assert (wanting.labels, wanting.unreachable) == (11, 2), "two have judged it, three are invited, five are wanted"


def test_agreement_over_time_and_by_stratum(project: Work) -> None:
    periods = lead.agreement_over_time(project.log)
    assert [period.observed.value for period in periods] == [1.0, 0.0, 1.0]
    assert [period.sentences for period in periods] == [1, 1, 1]
    assert periods[0].from_ms < periods[1].from_ms
    bundle = read_bundle(project.log)
    rows = lead.by_stratum(agreement_table(bundle.items, bundle.labels), project.log)
    assert [(row.name, row.units, row.observed.value) for row in rows] == [("short", 1, 0.0), ("long", 2, 1.0)]


def test_sentences_that_split_people_are_blind_and_the_most_even_first(project: Work) -> None:
    (split,) = lead.splits(project.log)
    assert (split.item_id, split.yes, split.no, split.skips, split.decided) == ("i1", 1, 1, 0, False)
    assert "ada" not in repr(split)


def test_an_edit_of_the_guideline_says_what_it_changed_and_touches(project: Work) -> None:
    second, first = lead.editions(project.log)
    assert (second.version, second.labels, second.changes) == ("g@2", 3, ["-It names a mood.", "+It names a use."])
    assert (first.version, first.labels, first.sentences, first.disputed, first.changes) == ("g@1", 5, 5, 2, [])
    touched = lead.labelled_under(project.log, "g@1", 3, 0)
    assert [one.item_id for one in touched] == ["i1", "i4", "i0"], "disputed and doubted ones first"
    assert [one.item_id for one in lead.labelled_under(project.log, "g@1", 3, 3)] == ["i2", "i3"]


@pytest.mark.slow
def test_the_page_is_for_adjudicators_and_shows_it_all(project: Work) -> None:
    project.log.close()
    with Server(project.log.path) as server:
        assert Client(server, "ada").request("GET", "/team")[0] == 403
        client = Client(server, "lead")
        status, _, page = client.request("GET", "/team")
        assert status == 200
        for words in ("8 labels left, on 5 sentences", "4.0 s", "sentence 1", "It names a use.", "<polyline"):
            assert words in page, words
        status, _, page = client.request("GET", "/team/guideline?version=g%401")
        assert (status, page.count("small-sentence")) == (200, 5)
        assert client.request("GET", "/team/guideline?version=none")[0] == 404
