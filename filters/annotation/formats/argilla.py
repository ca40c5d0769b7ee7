"""Argilla records as a JSON list: written flat (`to_list(flatten=True)`), read flat or nested (`to_json`).

The nested form has no status, so a discarded record, which is a skip, cannot be told from an answer there: that is why
the flat form is written. Questions: `label` (yes, no), `unsure`, `skip_reason`, `note`, `guideline`; each has parallel
lists of values, users and statuses. Drafts are not labels. Suggestions, which are a model's, are not read.

Argilla knows users by ids of its own: those that `--people` has as `account` are written for our names, and read back.

Holds everything. In the nested form a skip is known only by its value `skip` or its skip_reason.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from filters.annotation import formats
from filters.annotation.formats.accounts import People
from filters.annotation.records import AnnotationError, Bundle, provenance
from schemas.label import Label, LabelItem, LabelValue

_QUESTIONS = ("label", "unsure", "skip_reason", "note", "guideline")


def label_format() -> formats.LabelFormat:
    return formats.LabelFormat(read=read, write=write)


def read(path: Path, options: formats.ReadOptions) -> Bundle:
    found = formats.Collector()
    for where, record in formats.json_list(path):
        with found.at(where):
            _read_record(where, record, options, found)
    return found.bundle()


def _read_record(where: str, record: dict[str, Any], options: formats.ReadOptions, found: formats.Collector) -> None:
    nested = isinstance(record.get("fields"), dict)
    fields = {**record["fields"], **(record.get("metadata") or {}), "id": record.get("id")} if nested else record
    item = formats.item_of(fields, options.text_field, "id")
    found.add_item(where, item)
    answers: dict[str, dict[str, Any]] = {}
    statuses: dict[str, str] = {}
    for question, user, value, status in _responses(record, nested):
        if question in answers.setdefault(user, {}):
            raise AnnotationError(f"user {user} answers {question!r} twice")
        answers[user][question] = value
        statuses[user] = status
    for user, said in answers.items():
        if statuses[user] == "draft":
            continue
        skipped = statuses[user] == "discarded" or said.get("skip_reason") is not None
        if not skipped and said.get("label") is None:
            continue
        said |= {"label": LabelValue.SKIP if skipped else said["label"], "unsure": said.get("unsure") == "unsure"}
        found.add_label(where, formats.label_of(said, item.item_id, options.name(user), options))


def _responses(record: dict[str, Any], nested: bool) -> Iterator[tuple[str, str, Any, str]]:
    """(question, user, value, status) of our questions."""
    for question in _QUESTIONS:
        if nested:
            responses = (record.get("responses") or {}).get(question) or []
            if not isinstance(responses, list) or not all(isinstance(one, dict) for one in responses):
                raise AnnotationError(f"responses of {question!r} are not a list of objects")
            values = [one.get("value") for one in responses]
            users = [one.get("user_id") for one in responses]
            statuses = [one.get("status") or "submitted" for one in responses]
        else:
            values, users, statuses = (
                record.get(f"{question}.responses{part}") or [] for part in ("", ".users", ".status")
            )
            if not all(isinstance(part, list) for part in (values, users, statuses)):
                raise AnnotationError(f"responses of {question!r} are not lists")
            statuses = statuses or ["submitted"] * len(values)
        if not len(values) == len(users) == len(statuses):
            raise AnnotationError(f"values, users and statuses of {question!r} are not equally many")
        for value, user, status in zip(values, users, statuses, strict=True):
            if not isinstance(user, str):
                raise AnnotationError(f"a user of {question!r} is {user!r}, not a text")
            if status not in ("submitted", "discarded", "draft", None):
                raise AnnotationError(f"status {status!r} of {question!r} is not known")
            yield question, user, value, status or "submitted"


def write(bundle: Bundle, path: Path, people: People) -> None:
    labels = bundle.labels_by_item()
    records = [_record(item, labels[item.item_id], people) for item in bundle.items]
    # Every record has the same keys, as in Argilla's own lists.
    keys = {key: None for record in records for key in record}
    path.write_text(json.dumps([keys | one for one in records], ensure_ascii=False, indent=1) + "\n", encoding="utf-8")


def _record(item: LabelItem, labels: list[Label], people: People) -> dict[str, Any]:
    record: dict[str, Any] = {
        "id": item.item_id,
        "text": item.text,
        **provenance(item),
    }
    for label in labels:
        user = people.accounts.get(label.annotator, label.annotator)
        skipped = label.label is LabelValue.SKIP
        answers = {
            # A discarded response without any value still has to be there: it is the skip.
            "label": None if skipped else label.label.value,
            "unsure": "unsure" if label.unsure else None,
            "skip_reason": label.skip_reason,
            "note": label.note,
            "guideline": label.guideline,
        }
        for question, value in answers.items():
            if question == "label" or value is not None:
                record.setdefault(f"{question}.responses", []).append(value)
                record.setdefault(f"{question}.responses.users", []).append(user)
                record.setdefault(f"{question}.responses.status", []).append("discarded" if skipped else "submitted")
    return record
