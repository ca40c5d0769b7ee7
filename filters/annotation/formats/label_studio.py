"""Label Studio's raw JSON (export type JSON; its CSV and JSON_MIN lose skips): a list of tasks with their annotations.

A skip is an annotation with `was_cancelled`. The answer is a `choices` result named `label`; `unsure` and `skip_reason`
are choices too, `note` and `guideline` text areas.

Whose an annotation is: Label Studio books what is brought into it to the account with the e-mail address of
`completed_by`, which is written for people whom `--people` gives one, and else to whoever brings it. It keeps the
number that an annotation had in the file as its `import_id`. So the task's `meta.openmulan.annotator_of` has our
pseudonym for each of our own annotations by that number, and every other annotation is its account's: `completed_by`,
looked up by e-mail or name (`accounts.py`), never by its number.

Holds everything. docs/annotating.md has the labelling configuration that a project needs to show and take these labels.
"""

import json
from pathlib import Path
from typing import Any

from filters.annotation import formats
from filters.annotation.formats.accounts import Account, People, account_of
from filters.annotation.records import AnnotationError, Bundle, provenance
from schemas.digest import hash64
from schemas.label import Label, LabelValue


def label_format() -> formats.LabelFormat:
    return formats.LabelFormat(read=read, write=write)


def read(path: Path, options: formats.ReadOptions) -> Bundle:
    found = formats.Collector()
    for where, task in formats.json_list(path):
        with found.at(where):
            _read_task(path, where, task, options, found)
    return found.bundle()


def _read_task(
    path: Path, where: str, task: dict[str, Any], options: formats.ReadOptions, found: formats.Collector
) -> None:
    data = task.get("data")
    if not isinstance(data, dict):
        raise AnnotationError("has no data")
    item = formats.item_of(data, options.text_field)
    found.add_item(where, item)
    annotations = task.get("annotations", [])
    if not isinstance(annotations, list):
        raise AnnotationError("annotations are not a list; is this the raw JSON export?")
    ours = _Ours(task)
    for annotation in annotations:
        if not isinstance(annotation, dict):
            raise AnnotationError("an annotation is not an object")
        answers = _answers(annotation)
        cancelled = formats.flag_of(annotation, "was_cancelled")
        label = answers.get("label", [])
        if not cancelled and not label:
            # Submitted without an answer: nothing was said.
            continue
        if len(label) > 1:
            raise AnnotationError(f"has several answers at once: {label}")
        value = LabelValue.SKIP if cancelled else options.value(label[0])
        try:
            annotator = ours.annotator_of(annotation) or _account_name(annotation.get("completed_by"), options)
            if annotation.get("import_id") is not None:
                _refuse_changed(annotation, annotator, options)
        except _UnknownAccount as error:
            found.problem(str(path), error)
            continue
        said = {
            "label": value,
            "unsure": bool(answers.get("unsure")),
            "skip_reason": _one(answers, "skip_reason") if value is LabelValue.SKIP else None,
            "note": _one(answers, "note"),
            "guideline": _one(answers, "guideline"),
        }
        found.add_label(where, formats.label_of(said, item.item_id, annotator, options))


def _answers(annotation: dict[str, Any]) -> dict[str, list[str]]:
    """Result name -> its texts."""
    answers: dict[str, list[str]] = {}
    results = annotation.get("result", [])
    for result in results if isinstance(results, list) else []:
        value = result.get("value") if isinstance(result, dict) else None
        if isinstance(value, dict):
            texts = value.get("choices", value.get("text", []))
            texts = texts if isinstance(texts, list) else [texts]
            answers.setdefault(str(result.get("from_name")), []).extend(str(text) for text in texts)
    return answers


def _one(answers: dict[str, list[str]], name: str) -> str | None:
    return "\n".join(answers.get(name, [])) or None


class _UnknownAccount(AnnotationError):
    """An account that nobody explained: said once for the file."""


class _Ours:
    """Which annotations of a task left this tool, and whose they are."""

    def __init__(self, task: dict[str, Any]) -> None:
        meta = task.get("meta")
        meta = meta if isinstance(meta, dict) else {}
        ours = meta.get("openmulan")
        names = ours.get("annotator_of") if isinstance(ours, dict) else None
        self._names: dict[str, Any] = names if isinstance(names, dict) else {}
        # Until 2026-11 a pseudonym stood under the number of `completed_by`, which only our own untouched file keeps.
        before = meta.get("annotators")
        self._before: dict[str, Any] = before if isinstance(before, dict) else {}

    def annotator_of(self, annotation: dict[str, Any]) -> str | None:
        """The pseudonym; None for an annotation that was made in Label Studio."""
        been_there = "import_id" in annotation or "created_at" in annotation
        name = self._names.get(str(annotation.get("import_id" if been_there else "id")))
        if name is None and not been_there:
            name = self._before.get(str(annotation.get("completed_by")))
        return name if isinstance(name, str) else None


def _account_name(user: Any, options: formats.ReadOptions) -> str:
    """The pseudonym of the account that `completed_by` or `updated_by` is: a number, or an object with one."""
    number = user.get("id") if isinstance(user, dict) else user
    if type(number) is not int:
        raise AnnotationError(f"completed_by is {type(user).__name__}, expected a user of Label Studio")
    account = account_of(user) if isinstance(user, dict) else options.accounts.get(number, Account())
    name = options.names.get(f"user-{number}") or options.people.name_of(account)
    if name is None:
        known = f" ({account.shown})" if account.shown else ""
        lists = "" if known else " and --accounts USERS.json, its answer at /api/users, which says whose number it is"
        raise _UnknownAccount(
            f"Label Studio's user {number}{known} is nobody we know: give --people FILE (columns name, email){lists}; "
            f"or --rename user-{number}=NAME"
        )
    return name


def _refuse_changed(annotation: dict[str, Any], annotator: str, options: formats.ReadOptions) -> None:
    """Somebody else's change of a person's label is not that person's label."""
    if annotation.get("updated_by") is not None:
        other = _account_name(annotation["updated_by"], options)
        if other != annotator:
            raise AnnotationError(
                f"{annotator}'s annotation {annotation.get('id')} was changed by {other} in Label Studio; take that "
                "back there and let an answer of one's own stand beside it"
            )


def write(bundle: Bundle, path: Path, people: People) -> None:
    labels = bundle.labels_by_item()
    tasks = []
    for number, item in enumerate(bundle.items, start=1):
        annotator_of = {_annotation_id(label): label.annotator for label in labels[item.item_id]}
        annotations = [
            {
                "id": _annotation_id(label),
                "result": _results(label),
                "was_cancelled": label.label is LabelValue.SKIP,
                "ground_truth": False,
                "task": number,
            }
            | ({"completed_by": {"email": email}} if (email := people.emails.get(label.annotator)) else {})
            for label in labels[item.item_id]
        ]
        data: dict[str, Any] = {"text": item.text, "item_id": item.item_id}
        data |= {name: value for name, value in provenance(item).items() if value is not None}
        meta = {"openmulan": {"annotator_of": annotator_of}}
        tasks.append({"id": number, "data": data, "annotations": annotations, "meta": meta})
    path.write_text(json.dumps(tasks, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")


def _annotation_id(label: Label) -> int:
    """A number that no Label Studio counts up to, so that none of its own is ever taken for ours; exact in a double."""
    return 1 << 52 | hash64(f"{label.item_id}\n{label.annotator}") & (1 << 52) - 1


def _results(label: Label) -> list[dict[str, Any]]:
    choices = {"label": None if label.label is LabelValue.SKIP else label.label.value}
    choices |= {"unsure": "unsure" if label.unsure else None, "skip_reason": label.skip_reason}
    texts = {"note": label.note, "guideline": label.guideline}
    results: list[dict[str, Any]] = [
        {"from_name": name, "to_name": "text", "type": "choices", "value": {"choices": [value]}}
        for name, value in choices.items()
        if value is not None
    ]
    results += [
        {"from_name": name, "to_name": "text", "type": "textarea", "value": {"text": [value]}}
        for name, value in texts.items()
        if value is not None
    ]
    return [{"id": result["from_name"], **result} for result in results]
