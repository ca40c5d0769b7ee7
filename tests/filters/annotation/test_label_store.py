"""The log and what is done with it: append-only, checked, backed up while in use, overlap, leases, undo, erasure."""

import contextlib
import random
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from filters.annotation import adjudication, people, work
from filters.annotation.exchange import add_bundle, read_bundle, read_labels, settled
from filters.annotation.log import Log
from filters.annotation.records import ADJUDICATED, AnnotationError, Bundle
from filters.annotation.work import Conflict, Judgement, Overtaken, Taken
from schemas.label import Label, LabelValue
from tests.filters.annotation.harness import make_items

YES, NO, SKIP = (Judgement(value=value) for value in (LabelValue.YES, LabelValue.NO, LabelValue.SKIP))


class Clock:
    """Time that a test moves."""

    def __init__(self) -> None:
        self.ms = 1_700_000_000_000

    def __call__(self) -> int:
        return self.ms


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def log(tmp_path: Path, clock: Clock) -> Log:
    one = Log(tmp_path / "labels.db", create=True, clock_ms=clock)
    with one.transaction():
        work.add_items(one, make_items(6), 2)
        for name in ("ada", "ben", "cleo"):
            people.ensure_person(one, name)
    return one


ADA, BEN, CLEO = 1, 2, 3


def key(number: int) -> str:
    return f"key-{number:05d}"


def test_the_log_refuses_change_and_deletion(log: Log) -> None:
    for statement in ("UPDATE events SET body = '{}' WHERE seq = 1", "DELETE FROM events WHERE seq = 1"):
        with pytest.raises(sqlite3.IntegrityError, match="append-only"):
            log.connection.execute(statement)


@pytest.mark.parametrize(
    ("tamper", "found"),
    [
        ("DROP TRIGGER events_keep_content; UPDATE events SET body = replace(body, 'yes', 'no')", "was changed"),
        ("DROP TRIGGER events_keep_rows; DELETE FROM events WHERE seq = 3", "event 3 is missing"),
        ("UPDATE labels SET value = 'no'", "table labels does not follow"),
        ("UPDATE items SET taken = 7 WHERE item_id = 'i00003'", "table items does not follow"),
    ],
)
def test_a_change_behind_the_tools_back_is_found(log: Log, tamper: str, found: str) -> None:
    work.put_label(log, ADA, "i00000", YES, key(1))
    assert log.verify().problems == []
    log.connection.executescript(tamper)
    assert found in log.verify().problems[0]


def test_an_item_goes_to_as_many_as_it_wants_first_come(log: Log) -> None:
    first = [task.item_id for task in work.next_tasks(log, ADA, 3)]
    assert first == ["i00000", "i00001", "i00002"]
    assert [task.item_id for task in work.next_tasks(log, BEN, 3)] == first
    assert [task.item_id for task in work.next_tasks(log, CLEO, 9)] == ["i00003", "i00004", "i00005"]


def test_a_lease_runs_out_and_the_late_label_is_kept_but_not_counted(log: Log, clock: Clock) -> None:
    for person in (ADA, BEN):
        work.next_tasks(log, person, 1)
    clock.ms += work.LEASE_MS + 1
    assert work.next_tasks(log, CLEO, 1)[0].item_id == "i00000"
    assert work.put_label(log, CLEO, "i00000", YES, key(1)) is Taken.SAVED
    assert work.put_label(log, BEN, "i00000", NO, key(2)) is Taken.SAVED, "there was still room for one"
    assert work.put_label(log, ADA, "i00000", NO, key(3)) is Taken.LATE
    assert work.put_label(log, ADA, "i00000", NO, key(3)) is Taken.LATE, "the same answer again"
    assert {label.annotator for label in read_bundle(log).labels} == {"ben", "cleo"}
    kept = log.connection.execute("SELECT body FROM events WHERE kind = 'late'").fetchall()
    assert len(kept) == 1
    assert '"value":"no"' in kept[0]["body"]


def test_a_key_counts_once_and_never_for_something_else(log: Log) -> None:
    assert work.put_label(log, ADA, "i00000", YES, key(1)) is Taken.SAVED
    assert work.put_label(log, ADA, "i00000", YES, key(1)) is Taken.REPEATED
    assert work.put_label(log, BEN, "i00000", NO, key(1)) is Taken.SAVED, "keys of two people do not meet"
    for item_id, judgement in (("i00001", YES), ("i00000", NO)):
        with pytest.raises(Conflict):
            work.put_label(log, ADA, item_id, judgement, key(1))
    with pytest.raises(Conflict):
        work.undo(log, ADA, key(1))


def test_undo_walks_back_through_corrections_and_labels(log: Log) -> None:
    work.put_label(log, ADA, "i00000", YES, key(1))
    work.put_label(log, ADA, "i00001", Judgement(value=LabelValue.NO, note="hm", unsure=True), key(2))
    work.put_label(log, ADA, "i00000", NO, key(3))
    taken_back = work.undo(log, ADA, key(4))
    assert taken_back is not None
    assert (taken_back.item_id, taken_back.judgement.value) == ("i00000", LabelValue.NO)
    assert work.undo(log, ADA, key(4)) == taken_back, "the same undo again takes back nothing more"
    assert [(one.item_id, one.judgement.value) for one in work.history(log, ADA)] == [
        ("i00001", LabelValue.NO),
        ("i00000", LabelValue.YES),
    ]
    second = work.undo(log, ADA, key(5))
    assert second is not None
    assert (second.judgement.note, second.judgement.unsure) == ("hm", True)
    work.undo(log, ADA, key(6))
    assert work.undo(log, ADA, key(7)) is None
    assert read_bundle(log).labels == []
    assert log.verify().problems == []


def test_undo_holds_the_place_against_others(log: Log) -> None:
    work.put_label(log, ADA, "i00000", YES, key(1))
    work.put_label(log, BEN, "i00000", YES, key(1))
    work.undo(log, ADA, key(2))
    assert "i00000" not in {task.item_id for task in work.next_tasks(log, CLEO, 9)}
    assert work.put_label(log, ADA, "i00000", NO, key(3)) is Taken.SAVED


@pytest.mark.slow
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 10**6), overlap=st.integers(1, 3))
def test_whatever_people_do_the_overlap_holds(quick_path: Path, seed: int, overlap: int) -> None:
    """Random annotators, random pauses, retries, undos: labels never exceed the overlap, and the log explains all."""
    dice = random.Random(seed)
    clock = Clock()
    with tempfile.TemporaryDirectory(dir=quick_path) as db, Log(Path(db) / "x", create=True, clock_ms=clock) as log:
        with log.transaction():
            work.add_items(log, make_items(4), overlap)
            for name in "abcd":
                people.ensure_person(log, f"n{name}")
        for number in range(60):
            person = dice.randint(1, 4)
            clock.ms += dice.choice([10, 10, work.LEASE_MS // 2, work.LEASE_MS + 1])
            deed = dice.random()
            if deed < 0.35:
                work.next_tasks(log, person, dice.randint(1, 3))
            elif deed < 0.85:
                judgement = dice.choice([YES, NO, SKIP])
                item_id = f"i{dice.randint(0, 3):05d}"
                before = read_bundle(log)
                taken = work.put_label(log, person, item_id, judgement, key(number))
                if taken is Taken.LATE:
                    assert read_bundle(log) == before
                work.put_label(log, person, item_id, judgement, key(number))
            else:
                work.undo(log, person, key(number))
            labels = read_bundle(log).labels
            assert len({(label.item_id, label.annotator) for label in labels}) == len(labels)
            for item in range(4):
                assert sum(label.item_id == f"i{item:05d}" for label in labels) <= overlap
        assert log.verify().problems == []


def test_disagreements_come_hardest_first_and_without_names(log: Log) -> None:
    work.put_label(log, ADA, "i00000", YES, key(1))
    work.put_label(log, BEN, "i00000", Judgement(value=LabelValue.YES, unsure=True), key(1))
    work.put_label(log, ADA, "i00001", YES, key(2))
    work.put_label(log, BEN, "i00001", Judgement(value=LabelValue.SKIP, skip_reason="broken"), key(2))
    work.put_label(log, ADA, "i00002", YES, key(3))
    work.put_label(log, BEN, "i00002", Judgement(value=LabelValue.NO, note="only a name"), key(3))
    work.put_label(log, ADA, "i00003", Judgement(value=LabelValue.YES, unsure=True), key(4))
    left = adjudication.disagreements(log)
    assert [(one.item_id, one.rank) for one in left] == [("i00002", 0), ("i00001", 1), ("i00000", 2)]
    assert "ada" not in repr(left)
    assert "ben" not in repr(left)
    adjudication.decide(log, CLEO, "i00002", LabelValue.NO, key=key(5), note="a name is no sound")
    assert [one.item_id for one in adjudication.disagreements(log)] == ["i00001", "i00000"]
    _, labels = read_labels(log.path)
    assert settled(labels) == {
        "i00000": LabelValue.YES,
        "i00001": LabelValue.YES,
        "i00002": LabelValue.NO,
        "i00003": LabelValue.YES,
    }
    decided = [label for label in labels if label.annotator == ADJUDICATED]
    assert [(label.item_id, label.label, label.note) for label in decided] == [
        ("i00002", LabelValue.NO, "a name is no sound")
    ]


def test_a_backup_while_others_write_is_whole(log: Log, tmp_path: Path) -> None:
    with log.transaction():
        work.add_items(log, make_items(400), 2)
    stop = threading.Event()

    def write() -> None:
        with Log(log.path) as other:
            for number in range(400):
                if stop.is_set():
                    return
                work.put_label(other, ADA, f"i{number:05d}", YES, key(number))

    writer = threading.Thread(target=write)
    writer.start()
    try:
        for copy in range(3):
            check = log.backup(tmp_path / f"copy{copy}.db")
            assert check.problems == []
    finally:
        stop.set()
        writer.join()
    assert list(tmp_path.glob("copy0.db*")) == [tmp_path / "copy0.db"], "a copy is one file"
    items, labels = read_labels(tmp_path / "copy2.db")
    assert len(items) == 400
    assert len(labels) <= 400
    with pytest.raises(AnnotationError, match="is there already"):
        log.backup(tmp_path / "copy0.db")


def test_an_erased_name_is_nowhere_in_the_file_and_the_log_is_whole(log: Log) -> None:
    with log.transaction():
        person = people.ensure_person(log, "zacharias.quentin")
    session = people.redeem(log, people.invite(log, person))
    assert session is not None
    note = Judgement(value=LabelValue.NO, note="my neighbour wrote this")
    work.put_label(log, person.id, "i00000", note, key(1))
    forgotten = people.erase(log, "zacharias.quentin")
    log.close()
    for path in log.path.parent.glob("labels.db*"):
        content = path.read_bytes()
        assert b"zacharias" not in content, path
        assert b"my neighbour" not in content, path
    with Log(log.path) as again:
        assert again.verify().problems == []
        assert people.person_of_session(again, session) is None
        assert read_bundle(again).labels == [
            Label(item_id="i00000", annotator=forgotten.name, label=LabelValue.NO, guideline=None)
        ]
        with again.transaction():
            assert people.ensure_person(again, "dora").id not in {person.id, ADA, BEN, CLEO}


def test_a_link_works_once_and_not_for_ever(log: Log, clock: Clock) -> None:
    person = people.find_person(log, "ada")
    token = people.invite(log, person)
    assert people.invited(log, token) == person
    session = people.redeem(log, token)
    assert session is not None
    assert people.redeem(log, token) is None
    assert people.person_of_session(log, session) == person
    assert people.person_of_session(log, token) is None
    late = people.invite(log, person)
    clock.ms += people.INVITE_MS + 1
    assert people.redeem(log, late) is None
    stored = log.connection.execute("SELECT hash FROM secrets").fetchall()
    assert session not in {row["hash"] for row in stored}


def test_an_import_never_changes_what_somebody_said(log: Log) -> None:
    work.put_label(log, ADA, "i00000", YES, key(1))
    other = Label(item_id="i00000", annotator="ada", label=LabelValue.NO)
    with pytest.raises(AnnotationError, match="i00000 by ada: the database has yes"):
        add_bundle(log, Bundle(items=[], labels=[other]), 1)
    changed = make_items(1, text="another {number}")
    with pytest.raises(AnnotationError, match="another text under this id"):
        add_bundle(log, Bundle(items=changed, labels=[]), 1)
    with pytest.raises(AnnotationError, match="no such item"):
        add_bundle(log, Bundle(items=[], labels=[Label(item_id="zz", annotator="ada", label=LabelValue.NO)]), 1)
    assert len(read_bundle(log).labels) == 1


def test_an_imported_label_cannot_be_undone_with_a_key_press(log: Log) -> None:
    add_bundle(log, Bundle(items=[], labels=[Label(item_id="i00000", annotator="ada", label=LabelValue.NO)]), 1)
    assert work.undo(log, ADA, key(1)) is None


def test_files_that_are_not_ours_are_refused(tmp_path: Path) -> None:
    with pytest.raises(AnnotationError, match="no such database"):
        read_labels(tmp_path / "none.db")
    (tmp_path / "text.db").write_text("hello, this is text and no database at all, but long enough" * 20)
    with pytest.raises(AnnotationError, match="not a database"):
        read_labels(tmp_path / "text.db")
    other = sqlite3.connect(tmp_path / "other.db")
    other.execute("CREATE TABLE precious (x)")
    other.close()
    with pytest.raises(AnnotationError, match="not one of"):
        Log(tmp_path / "other.db", create=True)


def test_the_classifier_can_import_this_without_a_web_framework() -> None:
    code = (
        "import sys, filters.annotation; "
        "assert not {'fastapi', 'numpy', 'pyarrow', 'jinja2'} & set(sys.modules), sorted(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


# The one file: whole after a close, and known to lack something where its -wal was left behind.


def copy_of(log: Log, folder: Path, *, with_wal: bool) -> Path:
    """What somebody has who copies the file while it is in use."""
    folder.mkdir()
    shutil.copy(log.path, folder / "labels.db")
    if with_wal:
        shutil.copy(f"{log.path}-wal", folder / "labels.db-wal")
    return folder / "labels.db"


def test_a_copy_without_its_wal_is_found_and_not_written_to(
    log: Log, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    read_labels(log.path)
    work.put_label(log, ADA, "i00000", YES, key(1))
    path = copy_of(log, tmp_path / "lacking", with_wal=False)
    with Log(path) as copy:
        assert "copied while in use, without labels.db-wal" in caplog.text
        assert read_bundle(copy).labels == [], "that is what it lacks"
        assert "labels.db-wal" in copy.verify().problems[0]
        with pytest.raises(AnnotationError, match="without labels"):
            work.put_label(copy, ADA, "i00001", YES, key(2))
        with pytest.raises(AnnotationError, match="without labels"):
            copy.backup(tmp_path / "backup.db")
    with Log(path) as copy:
        assert copy.lacks_wal, "a look at it does not make it whole"
        copy.accept_without_wal()
        assert copy.verify().problems == []
        work.put_label(copy, ADA, "i00001", YES, key(2))
    with Log(path) as copy:
        assert copy.verify().problems == []


def test_a_copy_with_its_wal_is_whole_and_so_is_the_file_after_a_close(log: Log, tmp_path: Path) -> None:
    work.put_label(log, ADA, "i00000", YES, key(1))
    with Log(copy_of(log, tmp_path / "both", with_wal=True)) as copy:
        assert len(read_bundle(copy).labels) == 1
        assert copy.verify().problems == []
    log.close()
    with Log(copy_of(log, tmp_path / "closed", with_wal=False)) as copy:
        assert len(read_bundle(copy).labels) == 1
        assert copy.verify().problems == []
    # The copy of a -wal was read and closed: that file is whole on its own from then on.
    with Log(copy_of(copy, tmp_path / "again", with_wal=False)) as again:
        assert again.verify().problems == []


def test_a_reader_that_closes_hides_nothing_of_a_writer(log: Log, tmp_path: Path) -> None:
    """A command that looks into a served database brings it into one file; what is given afterwards is marked again."""
    work.put_label(log, ADA, "i00000", YES, key(1))
    read_labels(log.path)
    with Log(copy_of(log, tmp_path / "between", with_wal=False)) as copy:
        assert (copy.verify().problems, len(read_bundle(copy).labels)) == ([], 1)
    work.put_label(log, ADA, "i00001", YES, key(2))
    with Log(copy_of(log, tmp_path / "after", with_wal=False)) as copy:
        assert copy.lacks_wal
    log.close()
    with Log(copy_of(log, tmp_path / "closed", with_wal=False)) as copy:
        assert (copy.verify().problems, len(read_bundle(copy).labels)) == ([], 2)


def test_a_copy_by_sql_is_whole(log: Log, tmp_path: Path) -> None:
    work.put_label(log, ADA, "i00000", YES, key(1))
    log.connection.execute("VACUUM INTO ?", (str(tmp_path / "copy.db"),))
    with Log(tmp_path / "copy.db") as copy:
        assert (copy.verify().problems, len(read_bundle(copy).labels)) == ([], 1)
        work.put_label(copy, ADA, "i00001", YES, key(2))
    with Log(tmp_path / "copy.db") as copy:
        assert (copy.verify().problems, len(read_bundle(copy).labels)) == ([], 2)


def test_a_close_in_the_midst_of_a_transaction_leaves_a_whole_file(log: Log, tmp_path: Path) -> None:
    """As Ctrl-C between the last statement and the COMMIT would have it."""
    work.put_label(log, ADA, "i00000", YES, key(1))
    log.connection.execute("BEGIN IMMEDIATE")
    log.append("joined", {"guideline": "x"}, person=ADA)
    log.close()
    with Log(copy_of(log, tmp_path / "closed", with_wal=False)) as copy:
        assert (copy.verify().problems, len(read_bundle(copy).labels)) == ([], 1)


def as_before(path: Path) -> None:
    """Make a database what it was until 2026-11: without `state`, in format 1."""
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.executescript("DROP TABLE state; PRAGMA user_version = 1; PRAGMA wal_checkpoint(TRUNCATE)")


def test_a_database_of_the_former_format_is_read_as_it_is_and_written_on(log: Log) -> None:
    work.put_label(log, ADA, "i00000", Judgement(value=LabelValue.NO, note="hm"), key(1))
    before = read_bundle(log)
    log.close()
    as_before(log.path)
    content = log.path.read_bytes()
    assert read_labels(log.path) == (before.items, before.labels)
    assert log.path.read_bytes() == content, "reading changes nothing"
    with Log(log.path) as again:
        assert again.verify().problems == []
        work.put_label(again, BEN, "i00000", YES, key(1))
        project = again.project
    with Log(log.path) as again:
        assert again.project == project
        assert [(label.annotator, label.note) for label in read_bundle(again).labels] == [("ada", "hm"), ("ben", None)]
        assert again.verify().problems == []


def test_every_database_is_a_project_of_its_own_and_a_backup_is_the_same_one(log: Log, tmp_path: Path) -> None:
    with Log(tmp_path / "other.db", create=True) as other:
        assert other.project != log.project
    log.backup(tmp_path / "backup.db")
    with Log(tmp_path / "backup.db") as backup:
        assert backup.project == log.project


# Windows and people.


def test_an_answer_over_one_that_was_not_on_the_screen_is_refused(log: Log) -> None:
    assert work.put_label(log, ADA, "i00000", YES, key(1), over=None) is Taken.SAVED
    with pytest.raises(Overtaken) as refused:
        work.put_label(log, ADA, "i00000", NO, key(2), over=None)
    assert refused.value.standing.judgement == YES
    assert work.put_label(log, ADA, "i00000", YES, key(3), over=None) is Taken.REPEATED, "it says the same"
    assert work.put_label(log, ADA, "i00000", NO, key(4), over=refused.value.standing.seq) is Taken.SAVED
    assert [label.label for label in read_bundle(log).labels] == [LabelValue.NO]


def test_an_undo_by_key_takes_back_that_label_or_none(log: Log) -> None:
    work.put_label(log, ADA, "i00000", YES, key(1))
    work.put_label(log, ADA, "i00001", NO, key(2))
    past = work.undo(log, ADA, key(3), label_key=key(1))
    assert past is not None
    assert past.item_id == "i00000"
    for label_key in (key(1), key(9)):
        with pytest.raises(Conflict, match="does not stand"):
            work.undo(log, ADA, key(4), label_key=label_key)
    with pytest.raises(Conflict):
        work.undo(log, BEN, key(5), label_key=key(2))
    assert [label.item_id for label in read_bundle(log).labels] == ["i00001"]


def test_decisions_are_taken_back_one_by_one_and_never_replaced_unseen(log: Log) -> None:
    adjudication.decide(log, CLEO, "i00000", LabelValue.NO, key=key(1), note="first")
    with pytest.raises(adjudication.Overruled, match="is no by now"):
        adjudication.decide(log, BEN, "i00000", LabelValue.YES, key=key(2))
    (standing,) = adjudication.decisions(log, BEN)
    assert (standing.value, standing.note, standing.mine) == (LabelValue.NO, "first", False)
    adjudication.decide(log, BEN, "i00000", LabelValue.YES, key=key(2), over=standing.seq)
    adjudication.decide(log, CLEO, "i00001", LabelValue.SKIP, key=key(3))
    assert [one.item_id for one in adjudication.decisions(log, CLEO)] == ["i00001", "i00000"]
    undone = adjudication.take_back(log, BEN, key=key(4))
    assert undone is not None
    assert (undone.item_id, undone.value) == ("i00000", LabelValue.YES)
    assert adjudication.take_back(log, BEN, key=key(4)) == undone, "the same again takes back nothing more"
    assert adjudication.take_back(log, BEN, key=key(5)) is None, "Ben has no other"
    again = adjudication.decisions(log, CLEO)[1]
    assert (again.value, again.note, again.mine) == (LabelValue.NO, "first", True), "what was replaced stands again"
    adjudication.take_back(log, BEN, key=key(6), decision=again.seq)
    with pytest.raises(Conflict, match="taken back meanwhile"):
        adjudication.take_back(log, CLEO, key=key(7), decision=again.seq)
    assert [one.item_id for one in adjudication.decisions(log, CLEO)] == ["i00001"]
    assert log.verify().problems == []


def test_a_decision_from_before_there_was_an_undo_gives_way_to_the_one_before(log: Log) -> None:
    with log.transaction():
        for value in ("no", "yes"):
            body = {"value": value, "note": None, "guideline": None}
            log.append("decide", body, person=CLEO, item_id="i00000")
    assert adjudication.take_back(log, CLEO, key=key(1)) is not None
    assert [one.value for one in adjudication.decisions(log, CLEO)] == [LabelValue.NO]
    assert log.verify().problems == []


def test_who_is_revoked_is_out_at_once_and_his_labels_stay(log: Log) -> None:
    with log.transaction():
        people.ensure_person(log, "ben", adjudicator=True)
    ben = people.find_person(log, "ben")
    session, link = people.redeem(log, people.invite(log, ben)), people.invite(log, ben)
    assert session is not None
    work.put_label(log, BEN, "i00000", YES, key(1))
    assert people.revoke(log, "ben", role_only=True).adjudicator is False
    assert people.person_of_session(log, session) == people.find_person(log, "ben")
    assert [(one.labels, one.sessions, one.links) for one in people.standings(log)] == [(0, 0, 0), (1, 1, 1), (0, 0, 0)]
    people.revoke(log, "ben")
    assert people.person_of_session(log, session) is None
    assert people.invited(log, link) is None
    assert [label.annotator for label in read_bundle(log).labels] == ["ben"]
    assert log.verify().problems == []


def test_an_erased_name_is_not_that_of_another_database(tmp_path: Path) -> None:
    names = set()
    for number in range(2):
        with Log(tmp_path / f"{number}.db", create=True) as one:
            with one.transaction():
                people.ensure_person(one, "ada")
            names.add(people.erase(one, "ada").name)
    assert len(names) == 2
