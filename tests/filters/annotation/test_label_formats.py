"""Formats: what is written is read back the same, foreign files are read as documented, mistakes name their line."""

import json
import re
import string
import tempfile
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from filters.annotation import cli, formats
from filters.annotation.exchange import add_bundle, read_bundle, read_labels
from filters.annotation.formats.accounts import Account, People, read_accounts, read_people
from filters.annotation.log import Log
from filters.annotation.records import ADJUDICATED, SKIP_REASONS, AnnotationError, Bundle
from schemas.label import Label, LabelItem, LabelValue
from schemas.spreadsheet import neutralise, restore
from tests.filters.annotation.label_studio import labelling_config

GOLDEN = Path(__file__).parent / "golden"
OPTIONS = formats.ReadOptions()
# Everything that a database takes: any character but lone surrogates and NUL.
TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=40)
HOSTILE = st.sampled_from(
    [
        "=HYPERLINK(1)",
        "+1",
        "-1",
        "@x",
        "\t=1",
        "'=1",
        "''",
        "'",
        '"',
        "a\r\nb",
        "\r",
        "\n",
        "\u2028",
        "\u202e",
        "＝1",
        "﷽",
        "\ufeffx",
    ]
)
SENTENCE = (TEXT | HOSTILE).filter(lambda text: text.strip() != "")
OPTIONAL = st.none() | SENTENCE
NAMES = st.text(string.ascii_lowercase + "é_", min_size=1, max_size=6).map(lambda name: "n" + name)


@st.composite
def bundles(draw: st.DrawFn) -> Bundle:
    ids = draw(
        st.lists(st.text(string.ascii_lowercase + string.digits, min_size=1, max_size=8), max_size=5, unique=True)
    )
    chance = st.none() | st.floats(1e-9, 1)
    items = [
        LabelItem(
            item_id=item_id,
            text=draw(SENTENCE),
            source=draw(TEXT),
            stratum=draw(TEXT | HOSTILE),
            inclusion_probability=draw(chance),
        )
        for item_id in ids
    ]
    labels = []
    for item in items:
        for name in draw(st.lists(NAMES | st.just(ADJUDICATED), max_size=3, unique=True)):
            value = draw(st.sampled_from(LabelValue))
            decided = name == ADJUDICATED
            reason = None
            if value is LabelValue.SKIP and not decided:
                reason = draw(st.none() | st.sampled_from(list(SKIP_REASONS)))
            labels.append(
                Label(
                    item_id=item.item_id,
                    annotator=name,
                    label=value,
                    unsure=False if decided else draw(st.booleans()),
                    skip_reason=reason,
                    note=draw(OPTIONAL),
                    guideline=draw(OPTIONAL),
                )
            )
    return Bundle(items=items, labels=labels)


def sorted_bundle(bundle: Bundle) -> Bundle:
    return Bundle(
        items=sorted(bundle.items, key=lambda item: item.item_id),
        labels=sorted(bundle.labels, key=lambda label: (label.item_id, label.annotator)),
    )


@pytest.mark.slow
@pytest.mark.parametrize("name", formats.FORMATS)
@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(bundle=bundles())
def test_what_is_written_is_read_back(tmp_path: Path, name: str, bundle: Bundle) -> None:
    path = tmp_path / "file"
    formats.write(bundle, path, name)
    assert sorted_bundle(formats.read(path, name, OPTIONS)) == sorted_bundle(bundle)


@pytest.mark.slow
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(bundle=bundles())
def test_the_database_holds_what_a_format_holds(quick_path: Path, bundle: Bundle) -> None:
    with tempfile.TemporaryDirectory(dir=quick_path) as db, Log(Path(db) / "labels.db", create=True) as log:
        assert add_bundle(log, bundle, 1) == (len(bundle.items), len(bundle.labels))
        assert add_bundle(log, bundle, 1) == (0, 0), "a second import of the same adds nothing"
        assert sorted_bundle(read_bundle(log)) == sorted_bundle(bundle)
        assert log.verify().problems == []


@given(cell=TEXT | HOSTILE)
def test_no_cell_is_a_formula_and_each_comes_back(cell: str) -> None:
    safe = neutralise(cell)
    assert not safe.startswith(("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠"))
    assert restore(safe) == cell


def test_csv_cells_that_look_like_formulas_leave_neutralised(tmp_path: Path) -> None:
    item = LabelItem(item_id="a", text='=HYPERLINK("http://evil.example","free")')
    formats.write(Bundle(items=[item], labels=[]), tmp_path / "x.csv", "csv")
    assert "\"'=HYPERLINK(" in (tmp_path / "x.csv").read_text(encoding="utf-8")


def example() -> Bundle:
    items = [
        LabelItem(item_id="i1", text="A slow piano.", source="c", stratum="latin · short", inclusion_probability=0.25),
        LabelItem(item_id="i2", text="何これ", source="c"),
        LabelItem(item_id="i3", text="nobody has seen this one"),
    ]
    labels = [
        Label(item_id="i1", annotator="ada", label=LabelValue.YES, note="=piano", guideline="guideline-v1@01234567"),
        Label(item_id="i1", annotator="ben", label=LabelValue.NO, unsure=True),
        Label(item_id="i1", annotator=ADJUDICATED, label=LabelValue.YES),
        Label(item_id="i2", annotator="ben", label=LabelValue.SKIP, skip_reason="other_language"),
    ]
    return Bundle(items=items, labels=labels)


@pytest.mark.parametrize("name", ["jsonl", "csv", "labelstudio", "argilla"])
def test_written_files_are_as_they_were(tmp_path: Path, name: str) -> None:
    """Other tools read these bytes: a change of them is to be seen in a review."""
    formats.write(example(), tmp_path / "file", name)
    assert (tmp_path / "file").read_bytes() == (GOLDEN / f"written.{name}").read_bytes()


def test_a_doccano_zip_has_one_file_an_annotator(tmp_path: Path) -> None:
    formats.write(example(), tmp_path / "file.zip", "doccano")
    with zipfile.ZipFile(tmp_path / "file.zip") as archive:
        assert archive.namelist() == ["ada.jsonl", "adjudicated.jsonl", "ben.jsonl", "unlabelled.jsonl"]
        row = json.loads(archive.read("ben.jsonl").splitlines()[1])
    assert row["label"] == ["skip", "skip:other_language"]
    assert row["text"] == "何これ"


FOREIGN = formats.ReadOptions(
    values={"Music": LabelValue.YES, "Not music": LabelValue.NO},
    names={"user-3": "ada"},
    people=People(names={"someone@example.org": "ben"}),
)


def test_label_studio_raw_json_keeps_skips_and_no_addresses() -> None:
    bundle = formats.read(GOLDEN / "label_studio_foreign.json", "labelstudio", FOREIGN)
    assert [item.text for item in bundle.items] == [
        "A slow piano over brushed drums.",
        "何これ",
        "nobody has seen this one",
    ]
    first, second, third = bundle.labels
    assert (first.annotator, first.label, first.note) == ("ada", LabelValue.YES, "names the instrument")
    assert (second.annotator, second.label, second.unsure) == ("ben", LabelValue.NO, True)
    assert (third.label, third.item_id) == (LabelValue.SKIP, bundle.items[1].item_id)
    assert "example.org" not in repr(bundle)


def test_a_number_of_label_studio_names_nobody() -> None:
    with pytest.raises(formats.FormatError) as failure:
        formats.read(GOLDEN / "label_studio_foreign.json", "labelstudio", replace(FOREIGN, names={}, people=People()))
    three, five = failure.value.problems
    assert "user 3 is nobody we know" in three
    assert "--accounts" in three
    assert "user 5 (someone@example.org, Some One) is nobody we know" in five
    assert "--rename user-5=NAME" in five


ZOE_AND_BEN = {"zoe@example.org": "zoe", "ben@example.org": "ben"}


def from_label_studio(tmp_path: Path, change: Callable[[list[Any]], object] = lambda tasks: None) -> Bundle:
    """What `make test-exchange` got back from Label Studio 1.23: zoe, its user 1, brought our export; ben is user 2."""
    tasks = json.loads((GOLDEN / "label_studio_1_23.json").read_text(encoding="utf-8"))
    change(tasks)
    (tmp_path / "back.json").write_text(json.dumps(tasks), encoding="utf-8")
    accounts = {1: Account(email="zoe@example.org"), 2: Account(email="Ben@example.org")}
    options = formats.ReadOptions(people=People(names=ZOE_AND_BEN), accounts=accounts)
    return formats.read(tmp_path / "back.json", "labelstudio", options)


def test_label_studio_gives_back_our_people_and_its_own(tmp_path: Path) -> None:
    said = {(label.item_id, label.annotator): label.label.value for label in from_label_studio(tmp_path).labels}
    assert said == {
        ("i0", "ada"): "yes",
        ("i0", "ben"): "no",
        ("i0", ADJUDICATED): "yes",
        ("i1", "ada"): "skip",
        ("i2", "ben"): "no",
        ("i2", "zoe"): "yes",
        ("i3", "zoe"): "no",
        ("i3", "ben"): "yes",
        ("i4", "ben"): "skip",
    }


def test_a_label_that_somebody_else_changed_in_label_studio_is_not_that_persons(tmp_path: Path) -> None:
    with pytest.raises(AnnotationError, match="ada's annotation 1 was changed by zoe in Label Studio"):
        from_label_studio(tmp_path, lambda tasks: tasks[0]["annotations"][0].update(updated_by=1))


def test_a_label_studio_file_from_before_is_read_where_it_never_left(tmp_path: Path) -> None:
    """Until 2026-11 pseudonyms stood under the numbers of `completed_by`: ours in our own file, anybody's elsewhere."""
    annotation = {"id": 1, "completed_by": 1, "result": [{"from_name": "label", "value": {"choices": ["yes"]}}]}
    task = {"id": 1, "data": {"text": "x", "item_id": "i"}, "meta": {"annotators": {"1": "ada"}}}
    path = tmp_path / "before.json"
    path.write_text(json.dumps([task | {"annotations": [annotation]}]), encoding="utf-8")
    assert [label.annotator for label in formats.read(path, "labelstudio", OPTIONS).labels] == ["ada"]
    for mark in ({"import_id": None}, {"import_id": 1}, {"created_at": "2026-11-01T00:00:00Z"}):
        path.write_text(json.dumps([task | {"annotations": [annotation | mark]}]), encoding="utf-8")
        with pytest.raises(AnnotationError, match="user 1 is nobody we know"):
            formats.read(path, "labelstudio", OPTIONS)


def test_label_studio_is_told_an_address_or_nothing_but_never_a_number(tmp_path: Path) -> None:
    formats.write(example(), tmp_path / "file", "labelstudio", People(emails={"ben": "ben@example.org"}))
    tasks = json.loads((tmp_path / "file").read_text(encoding="utf-8"))
    booked = [annotation.get("completed_by") for task in tasks for annotation in task["annotations"]]
    assert booked == [None, {"email": "ben@example.org"}, None, {"email": "ben@example.org"}]


def test_the_labelling_configuration_of_the_docs_takes_all_that_is_written(tmp_path: Path) -> None:
    """`make test-exchange` gives it to a real Label Studio."""
    view = ElementTree.fromstring(labelling_config())
    taken = {(control.tag.lower(), control.get("name")) for control in view if control.tag != "Text"}
    reasons = [choice.get("value") for choice in view.findall("./Choices[@name='skip_reason']/Choice")]
    assert reasons == list(SKIP_REASONS)
    labels = [
        Label(item_id="i", annotator="ada", label=LabelValue.YES, unsure=True, note="n", guideline="g"),
        Label(item_id="i", annotator="ben", label=LabelValue.SKIP, skip_reason="broken"),
    ]
    formats.write(Bundle(items=[LabelItem(item_id="i", text="x")], labels=labels), tmp_path / "file", "labelstudio")
    (task,) = json.loads((tmp_path / "file").read_text(encoding="utf-8"))
    written = {(one["type"], one["from_name"]) for annotation in task["annotations"] for one in annotation["result"]}
    assert written == taken


def test_people_and_accounts_are_read_with_their_mistakes(tmp_path: Path) -> None:
    path = tmp_path / "people.csv"
    path.write_text("name,email,account\nada,Ada@Example.org,\nben,,b-17\n", encoding="utf-8")
    people = read_people(path)
    assert people.name_of(Account(email="ada@example.ORG")) == "ada"
    assert people.name_of(Account(email="nobody@example.org", names=("B-17",))) == "ben"
    assert people.name_of(Account(names=("ada",))) is None
    assert (people.emails, people.accounts) == ({"ada": "Ada@Example.org"}, {"ben": "b-17"})
    for content, reason in {
        "who,email\n": ":1: expected the columns",
        "name\nada\n": ":1: expected the columns",
        "name,email\n../x,a@b\n": ":2: annotator '../x'",
        "name,email\nada,a@b\nben,A@B\n": ":3: 'A@B' is ada further up",
        "name,email\nada,a@b\nada,c@d\n": ":3: ada has another email",
    }.items():
        path.write_text(content, encoding="utf-8")
        with pytest.raises(AnnotationError, match="people.csv" + re.escape(reason)):
            read_people(path)
    users = tmp_path / "users.json"
    users.write_text(
        '[{"id": 4, "email": "a@b", "username": "", "first_name": "A", "last_name": "B"}]', encoding="utf-8"
    )
    assert read_accounts(users) == {4: Account(email="a@b", names=("A B",))}
    users.write_text("{}", encoding="utf-8")
    with pytest.raises(AnnotationError, match="not the list of users"):
        read_accounts(users)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("jsonl", '{"text": "x", "annotator": "7", "label": "yes"}\n'),
        ("csv", "text,annotator,label\nx,7,yes\n"),
        ("doccano", '{"text": "x", "label": ["yes"]}\n'),
        ("argilla", json.dumps([{"text": "x", "label.responses": ["yes"], "label.responses.users": ["7"]}])),
    ],
)
def test_a_number_names_nobody_in_any_format(tmp_path: Path, name: str, content: str) -> None:
    path = tmp_path / "7.jsonl"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(AnnotationError, match="user 7: a number means somebody else in every tool"):
        formats.read(path, name, OPTIONS)
    for options in (formats.ReadOptions(names={"7": "ada"}), formats.ReadOptions(people=People(names={"7": "ada"}))):
        assert [label.annotator for label in formats.read(path, name, options).labels] == ["ada"]


def test_argilla_is_told_its_own_ids_and_they_come_back_as_ours(tmp_path: Path) -> None:
    ben = "9d1f0c3a-0000-4000-8000-00000000000b"
    formats.write(example(), tmp_path / "file", "argilla", People(accounts={"ben": ben}))
    users = json.loads((tmp_path / "file").read_text(encoding="utf-8"))[0]["label.responses.users"]
    assert users == ["ada", ben, "adjudicated"]
    back = formats.read(tmp_path / "file", "argilla", formats.ReadOptions(people=People(names={ben: "ben"})))
    assert sorted_bundle(back) == sorted_bundle(example())


def through_doccano(tmp_path: Path, brought_by: str) -> Path:
    """Our labels as doccano gives them back: all in the file of the account that brought them; ben has answered too."""
    formats.write(example(), tmp_path / "there.zip", "doccano")
    path = tmp_path / "back.zip"
    with zipfile.ZipFile(tmp_path / "there.zip") as there, zipfile.ZipFile(path, "w") as back:
        lines = [json.loads(line) for name in there.namelist() for line in there.read(name).splitlines()]
        back.writestr(f"{brought_by}.jsonl", "".join(json.dumps(line) + "\n" for line in lines))
        new = [line | {"label": ["no"] if line["item_id"] == "i3" else []} for line in lines]
        new += [line | {"label": ["yes"], "Comments": []} for line in lines if line.get("annotator") == "ada"]
        back.writestr("cleo.jsonl", "".join(json.dumps(line) + "\n" for line in new))
    return path


def test_doccano_gives_back_our_people_and_its_own(tmp_path: Path) -> None:
    path = through_doccano(tmp_path, "admin")
    with pytest.raises(AnnotationError, match="the label was ada's when it left here"):
        formats.read(path, "doccano", OPTIONS)
    back = formats.read(path, "doccano", formats.ReadOptions(carrier="admin"))
    new = [("i3", LabelValue.NO), ("i1", LabelValue.YES)]
    ours = [label for label in back.labels if label.annotator != "cleo"]
    assert sorted(map(str, ours)) == sorted(map(str, example().labels))
    assert [(label.item_id, label.label) for label in back.labels if label.annotator == "cleo"] == new


def test_a_doccano_zip_is_read(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "project.zip", "w") as archive:
        for name in ("ada", "ben"):
            archive.write(GOLDEN / f"doccano_{name}.jsonl", f"{name}.jsonl")
    bundle = formats.read(tmp_path / "project.zip", "doccano", OPTIONS)
    assert len(bundle.items) == 2
    said = {(label.annotator, label.label): label for label in bundle.labels}
    assert said["ada", LabelValue.YES].note == "names the instrument"
    assert said["ben", LabelValue.NO].unsure
    assert said["ben", LabelValue.SKIP].skip_reason == "other_language"
    assert len(said) == 3, "a line without labels is no label"


def test_argilla_is_read_flat_and_nested() -> None:
    flat = formats.read(GOLDEN / "argilla_flat_foreign.json", "argilla", OPTIONS)
    values = {label.annotator[-1]: label.label for label in flat.labels}
    assert values == {"a": LabelValue.YES, "c": LabelValue.SKIP}, "drafts are no labels, discarded is a skip"
    assert flat.items[0].source == "comments"
    nested = formats.read(GOLDEN / "argilla_nested_foreign.json", "argilla", OPTIONS)
    assert [(label.label, label.unsure) for label in nested.labels] == [(LabelValue.NO, True)]
    assert nested.items[0].source == "comments"


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        (
            "jsonl",
            b'{"item_id": "a", "text": "x"}\n{oops\n{"item_id": "b", "text": ""}\n',
            [":2: not JSON", ":3: item b"],
        ),
        ("jsonl", b'{"item_id": "a", "annotator": "ada", "label": "maybe"}\n', [":1: label 'maybe' is not yes"]),
        ("jsonl", b'{"text": "x"}\n\xff\xfe\n[1]\n', [":2: not JSON", ":3: not a JSON object"]),
        ("jsonl", b'{"text": "\\ud800"}\n', [":1: item"]),
        ("jsonl", b'{"item_id":"a","annotator":"../x","label":"yes"}\n', [":1: annotator '../x'"]),
        ("jsonl", b'{"item_id":"a","annotator":"x","label":"yes"}\n' * 2, [":2: x labels item a a second time"]),
        ("csv", b"item_id,text,annotator,label\na,x,ada,yes\nb,y\n", [":3: has another number"]),
        ("csv", b"item_id,words\na,x\n", [":1: has no column 'text'"]),
        ("csv", b"text,annotator,label\nx,,yes\n", [":2: has a label but no annotator"]),
        ("labelstudio", b"{}", ["not a list"]),
        ("labelstudio", b'[{"id": 4, "data": {"text": 3}}]', ["record 1 (id 4): text is 3"]),
        ("labelstudio", b"[" * 100_000, ["not JSON"]),
        ("doccano", b"PK\x05\x06 not a zip", [":1: not JSON"]),
        ("doccano", b'{"text": "x", "label": ["yes", "no"]}', ["several answers at once"]),
        ("argilla", b'[{"id": "r", "text": "x", "label.responses": ["yes"]}]', ["not equally many"]),
    ],
)
def test_mistakes_come_with_their_place(tmp_path: Path, name: str, content: bytes, expected: list[str]) -> None:
    path = tmp_path / "file"
    path.write_bytes(content)
    with pytest.raises(AnnotationError) as failure:
        formats.read(path, name, OPTIONS)
    for part in expected:
        assert part in str(failure.value)
    assert len(str(failure.value).splitlines()) >= len(expected)


def test_a_zip_that_unpacks_to_too_much_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(formats, "MAX_FILE_BYTES", 1000)
    with zipfile.ZipFile(tmp_path / "bomb.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("ada.jsonl", b" " * 5000)
    with pytest.raises(AnnotationError, match="unpacks to more"):
        formats.read(tmp_path / "bomb.zip", "doccano", OPTIONS)


PRODIGY = """
import json

from filters.annotation import formats

ANSWERS = {"accept": "yes", "reject": "no", "ignore": "skip"}


def label_format():
    return formats.LabelFormat(read=read, write=write, endings=(".prodigy",))


def read(path, options):
    found = formats.Collector()
    with path.open("rb") as stream:
        for where, row in formats.json_lines(str(path), stream, found):
            with found.at(where):
                item = formats.item_of(row, options.text_field, "id")
                found.add_item(where, item)
                if "answer" in row:
                    said = row | {"label": ANSWERS.get(row["answer"], row["answer"])}
                    annotator = options.name(formats.text_of(row, "_annotator_id"))
                    found.add_label(where, formats.label_of(said, item.item_id, annotator, options))
    return found.bundle()


def write(bundle, path, people):
    back = {ours: theirs for theirs, ours in ANSWERS.items()}
    labels = bundle.labels_by_item()
    with path.open("w", encoding="utf-8") as stream:
        for item in bundle.items:
            for label in labels[item.item_id] or [None]:
                row = {"id": item.item_id, "text": item.text, "source": item.source}
                if label is not None:
                    row |= {"answer": back[label.label], "_annotator_id": label.annotator, "note": label.note}
                stream.write(json.dumps(row) + "\\n")
"""


def test_a_sixth_format_is_one_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "prodigy_labels.py").write_text(PRODIGY, encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    items = [LabelItem(item_id="i1", text="A slow piano.", source="c"), LabelItem(item_id="i2", text="何これ")]
    labels = [Label(item_id="i1", annotator="ada", label=LabelValue.YES, note="piano")]
    with Log(tmp_path / "labels.db", create=True) as log:
        add_bundle(log, Bundle(items=items, labels=labels), 2)
    there = tmp_path / "there.prodigy"
    theirs = ["--format", "prodigy_labels:label_format"]
    assert cli.main(["export", str(tmp_path / "labels.db"), str(there), *theirs]) == 0
    assert '"answer": "accept"' in there.read_text(encoding="utf-8")
    assert cli.main(["import", str(tmp_path / "other.db"), str(there), *theirs]) == 0
    assert read_labels(tmp_path / "other.db") == (items, labels)
    there.write_text('{"text": "x", "answer": "maybe", "_annotator_id": "ada"}\n{oops\n', encoding="utf-8")
    capsys.readouterr()
    assert cli.main(["import", str(tmp_path / "other.db"), str(there), *theirs]) == 2
    told = capsys.readouterr().err.splitlines()
    assert ["there.prodigy:1: label 'maybe' is not yes" in told[0], "there.prodigy:2: not JSON" in told[1]] == [
        True
    ] * 2


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("nowhere_at_all:label_format", "there is no module 'nowhere_at_all'"),
        ("prodigy", "it is one of jsonl, csv, labelstudio, doccano, argilla, or package.module:factory of your own"),
        ("builtins:dict", "its factory returned dict, not a LabelFormat"),
    ],
)
def test_a_format_that_is_none_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, words: str
) -> None:
    (tmp_path / "x.jsonl").write_text('{"text": "x"}\n', encoding="utf-8")
    assert cli.main(["import", str(tmp_path / "x.db"), str(tmp_path / "x.jsonl"), "--format", name]) == 2
    told = capsys.readouterr().err
    assert words in told
    assert told.count("\n") == 1
    assert not (tmp_path / "x.db").exists()
