"""What a plain HTML form sent, checked; a form that a page of ours would not send is a 400 with its reason."""

import re
from types import EllipsisType
from urllib.parse import parse_qsl

from fastapi import HTTPException, Request

from filters.annotation.records import MAX_NOTE_CHARS, SKIP_REASONS, AnnotationError, check_text
from filters.annotation.work import Judgement
from schemas.label import LabelValue

KEY_PATTERN = r"^[A-Za-z0-9-]{8,64}$"


async def fields_of(request: Request) -> dict[str, str]:
    """The fields of a plain HTML form."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/x-www-form-urlencoded":
        raise HTTPException(415, "Expected a form.")
    try:
        return dict(parse_qsl((await request.body()).decode("utf-8"), keep_blank_values=True, max_num_fields=50))
    except ValueError as error:
        raise HTTPException(400, "The form cannot be read.") from error


def key_of(form: dict[str, str]) -> str:
    if not re.match(KEY_PATTERN, form.get("key", "")):
        raise HTTPException(400, "The form has no key.")
    return form["key"]


def over_of(form: dict[str, str]) -> int | EllipsisType | None:
    """The event of what stood on the page that the form is of: None for nothing, ... where the form does not say."""
    if "over" not in form:
        return ...
    if form["over"] == "":
        return None
    if not re.fullmatch(r"[0-9]{1,15}", form["over"]):
        raise HTTPException(400, "The form cannot be read.")
    return int(form["over"])


def within(given: int) -> int:
    return min(max(given, 1), 10_000)


def value_of(answer: str) -> LabelValue:
    try:
        return LabelValue(answer)
    except ValueError as error:
        raise HTTPException(400, f"{answer!r} is no answer.") from error


def judgement_of(
    answer: str, unsure: bool, skip_reason: str | None, note: str | None, guideline: str | None
) -> Judgement:
    value = value_of(answer)
    if (value is LabelValue.SKIP) != (skip_reason is not None) or skip_reason not in (None, *SKIP_REASONS):
        raise AnnotationError(f"a skip needs a reason, one of {', '.join(SKIP_REASONS)}; other answers have none")
    note = note_of(note)
    if guideline is not None:
        check_text(guideline, "guideline", 200)
    return Judgement(value=value, unsure=unsure, skip_reason=skip_reason, note=note, guideline=guideline or None)


def note_of(given: str | None) -> str | None:
    # Browsers send form line breaks as CR LF.
    return check_text((given or "").replace("\r\n", "\n").strip(), "note", MAX_NOTE_CHARS) or None
