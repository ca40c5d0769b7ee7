"""What the annotators' tool accepts: the rules that every item, label and pseudonym has to keep, whatever brought it.

The server, the imports and the sampler all go through these checks, so that the database holds nothing that a page, an
export or the classifier would stumble over.
"""

import re
import unicodedata
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass

from schemas.digest import digest_bytes
from schemas.label import Label, LabelItem, LabelValue

SKIP_REASONS: dict[str, str] = {
    "other_language": "Not a language I can judge",
    "abusive": "Abusive",
    "broken": "Broken or unreadable",
}
MAX_TEXT_CHARS = 20_000
MAX_NOTE_CHARS = 2_000
MAX_NAME_CHARS = 64
MAX_FIELD_CHARS = 200
# The name under which adjudicated decisions leave the database beside the annotators' own labels.
ADJUDICATED = "adjudicated"
_RESERVED_NAMES = {ADJUDICATED}
_ID = re.compile(r"[\w.:@+-]{1,128}")
_NAME = re.compile(r"\w[\w.@-]*")


class AnnotationError(ValueError):
    """A mistake in what was given: one line that names the file, the line or the id, and what to do."""


@dataclass(frozen=True, kw_only=True)
class Bundle:
    """Items and labels on their way in or out, in a stable order."""

    items: list[LabelItem]
    labels: list[Label]

    def labels_by_item(self) -> Mapping[str, list[Label]]:
        """The labels of each item, by its id; an empty list where it has none."""
        labels: defaultdict[str, list[Label]] = defaultdict(list)
        for label in self.labels:
            labels[label.item_id].append(label)
        return labels


def provenance(item: LabelItem) -> dict[str, str | float | None]:
    """What an item has beyond its text, under our names of fields; None for what it has not."""
    return {
        "source": item.source or None,
        "stratum": item.stratum or None,
        "inclusion_probability": item.inclusion_probability,
    }


def item_id_of(text: str) -> str:
    """The id of a sentence that brings none: 16 hex digits of its text."""
    return digest_bytes(text.encode("utf-8", "surrogatepass"))[:16]


def check_name(name: str) -> str:
    """A pseudonym that is safe in a file name, a cell and a page. Raises AnnotationError."""
    # NFC, so that one name typed on two systems is one annotator.
    name = unicodedata.normalize("NFC", name)
    if len(name) > MAX_NAME_CHARS or not _NAME.fullmatch(name) or name in _RESERVED_NAMES:
        raise AnnotationError(
            f"annotator {name!r}: use at most {MAX_NAME_CHARS} letters, digits and . _ - @, "
            f"beginning with a letter or digit, and not {ADJUDICATED!r}"
        )
    return name


def check_text(text: str, what: str, limit_chars: int) -> str:
    """Text that SQLite and every export can hold. Raises AnnotationError."""
    if len(text) > limit_chars:
        raise AnnotationError(f"{what}: {len(text)} characters, at most {limit_chars} are taken")
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise AnnotationError(f"{what}: holds a lone surrogate, which is no character") from error
    if "\0" in text:
        raise AnnotationError(f"{what}: holds a NUL character")
    return text


def check_item(item: LabelItem) -> LabelItem:
    """Raises AnnotationError naming the item."""
    if not _ID.fullmatch(item.item_id):
        raise AnnotationError(f"item_id {item.item_id!r}: use 1 to 128 letters, digits and . _ : @ + -")
    what = f"item {item.item_id}"
    if not item.text.strip():
        raise AnnotationError(f"{what}: the text is empty")
    check_text(item.text, f"{what}: text", MAX_TEXT_CHARS)
    check_text(item.source, f"{what}: source", MAX_FIELD_CHARS)
    check_text(item.stratum, f"{what}: stratum", MAX_FIELD_CHARS)
    probability = item.inclusion_probability
    if probability is not None and not 0 < probability <= 1:
        raise AnnotationError(f"{what}: inclusion_probability {probability} is not in (0, 1]")
    return item


def check_label(label: Label) -> Label:
    """Raises AnnotationError naming the item and the annotator."""
    what = f"label of item {label.item_id} by {label.annotator}"
    if label.annotator != ADJUDICATED:
        check_name(label.annotator)
    elif label.unsure or label.skip_reason is not None:
        raise AnnotationError(f"{what}: a decision is neither unsure nor has a skip_reason")
    if label.skip_reason is not None:
        if label.label is not LabelValue.SKIP:
            raise AnnotationError(f"{what}: has a skip_reason but is not a skip")
        if label.skip_reason not in SKIP_REASONS:
            raise AnnotationError(f"{what}: skip_reason {label.skip_reason!r} is none of {', '.join(SKIP_REASONS)}")
    if label.note is not None:
        if not label.note:
            raise AnnotationError(f"{what}: the note is empty; leave it out instead")
        check_text(label.note, f"{what}: note", MAX_NOTE_CHARS)
    if label.guideline is not None:
        if not label.guideline:
            raise AnnotationError(f"{what}: the guideline is empty; leave it out instead")
        check_text(label.guideline, f"{what}: guideline", MAX_FIELD_CHARS)
    return label
