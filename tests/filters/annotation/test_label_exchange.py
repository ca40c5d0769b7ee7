"""There and back through a real Label Studio: our export in, new answers of two accounts there, its export in here.

Run by `make test-exchange`, which installs it. The traps: the account that brings our file has the number 1, as our
first annotator has; one of ours has an account there, another has none; a sentence gets an ordinary second annotator.
"""

import json
import os
from pathlib import Path

import pytest

from filters.annotation import cli
from filters.annotation.exchange import add_bundle, read_labels
from filters.annotation.log import Log
from filters.annotation.records import ADJUDICATED, Bundle
from schemas.label import Label, LabelItem, LabelValue
from tests.filters.annotation.label_studio import PROGRAM, START_TIMEOUT_S, Account, label_studio, labelling_config

pytestmark = [
    pytest.mark.exchange,
    pytest.mark.timeout(2 * START_TIMEOUT_S),
    pytest.mark.skipif(PROGRAM not in os.environ, reason="needs Label Studio: run `make test-exchange`"),
]

ITEMS = [
    LabelItem(item_id=f"i{number}", text=f"sentence {number} has a drum", source="comments") for number in range(5)
]
LABELS = [
    Label(item_id="i0", annotator="ada", label=LabelValue.YES, note="a drum", guideline="guideline-v1@01234567"),
    Label(item_id="i0", annotator="ben", label=LabelValue.NO, unsure=True),
    Label(item_id="i0", annotator=ADJUDICATED, label=LabelValue.YES),
    Label(item_id="i1", annotator="ada", label=LabelValue.SKIP, skip_reason="broken"),
    Label(item_id="i2", annotator="ben", label=LabelValue.NO),
]
NEW = [
    Label(item_id="i2", annotator="zoe", label=LabelValue.YES),
    Label(item_id="i3", annotator="zoe", label=LabelValue.NO),
    Label(item_id="i3", annotator="ben", label=LabelValue.YES),
    Label(item_id="i4", annotator="ben", label=LabelValue.SKIP),
]


def by_item(labels: list[Label]) -> list[Label]:
    return sorted(labels, key=lambda label: (label.item_id, label.annotator))


def test_people_labels_and_skips_come_back_from_label_studio(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    db, there, back = tmp_path / "labels.db", tmp_path / "there.json", tmp_path / "back.json"
    people, accounts = tmp_path / "people.csv", tmp_path / "accounts.json"
    with Log(db, create=True) as log:
        add_bundle(log, Bundle(items=ITEMS, labels=LABELS), 2)
    people.write_text("name,email\nben,ben@example.org\nzoe,Zoe@example.org\n", encoding="utf-8")
    export = ["export", str(db), str(there), "--format", "labelstudio", "--people", str(people)]
    assert cli.main(export) == 0
    (tmp_path / "server").mkdir()
    with label_studio(tmp_path / "server") as url:
        zoe, ben = Account(url, "zoe@example.org"), Account(url, "ben@example.org")
        project = zoe.call("POST", "/api/projects", {"title": "drums", "label_config": labelling_config()})["id"]
        brought = zoe.call("POST", f"/api/projects/{project}/import", json.loads(there.read_text(encoding="utf-8")))
        assert (brought["task_count"], brought["annotation_count"]) == (len(ITEMS), len(LABELS))
        tasks = zoe.call("GET", f"/api/tasks?project={project}&fields=all")["tasks"]
        number = {task["data"]["item_id"]: task["id"] for task in tasks}
        for label in NEW:
            account = zoe if label.annotator == "zoe" else ben
            account.answer(number[label.item_id], None if label.label is LabelValue.SKIP else label.label.value)
        exported = zoe.call("GET", f"/api/projects/{project}/export?exportType=JSON&download_all_tasks=true")
        accounts.write_text(json.dumps(zoe.call("GET", "/api/users")), encoding="utf-8")
    back.write_text(json.dumps(exported), encoding="utf-8")
    capsys.readouterr()
    bring = ["import", str(db), str(back), "--format", "labelstudio"]
    assert cli.main(bring) == 2
    assert "user 1 is nobody we know" in capsys.readouterr().err
    assert by_item(read_labels(db)[1]) == by_item(LABELS), "all or nothing"
    assert cli.main([*bring, "--people", str(people), "--accounts", str(accounts)]) == 0
    assert "0 sentences and 4 labels added" in capsys.readouterr().out
    assert by_item(read_labels(db)[1]) == by_item(LABELS + NEW)
    # And into a database that has never seen any of it.
    other = ["import", str(tmp_path / "other.db"), str(back), "--format", "labelstudio"]
    assert cli.main([*other, "--people", str(people), "--accounts", str(accounts)]) == 0
    items, labels = read_labels(tmp_path / "other.db")
    assert (items, by_item(labels)) == (ITEMS, by_item(LABELS + NEW))
    if kept := os.environ.get("LABEL_STUDIO_KEEP"):
        Path(kept).write_text(json.dumps(exported, indent=1), encoding="utf-8")
