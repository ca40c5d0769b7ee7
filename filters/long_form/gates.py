"""Cheap gates before the sentence classifier: what cannot describe music whatever a model would say of it."""

import re
import unicodedata

from filters.long_form.language import is_surely_other
from filters.long_form.redaction import PLACEHOLDER
from schemas.reasons import Reason

VERSION = 1  # raised when what comes out changes (tests/test_versions.py)

MIN_WORDS = 2
MIN_LETTERS = 6
# Scripts that put no space between words say as much in fewer letters.
MIN_UNSPACED_LETTERS = 4
MAX_CHARS = 1_000
MAX_WORDS = 200
MIN_LETTER_SHARE = 0.5

_UNSPACED = re.compile("[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff]")


def judge(sentence: str, languages: frozenset[str] = frozenset()) -> Reason | None:
    """None for a sentence that goes to the classifier, else the reason why it does not.

    `languages` are the ones that are wanted, by their codes of ISO 639; none means all.
    """
    if len(sentence) > MAX_CHARS:
        return Reason.SENTENCE_TOO_LONG
    text = PLACEHOLDER.sub(" ", sentence)
    is_letter = str.isalpha if text.isascii() else _is_letter
    letters = sum(map(is_letter, text))
    words = text.split()
    if not letters:
        return Reason.NO_LETTERS if len(text) == len(sentence) else Reason.LINK
    if len(words) > MAX_WORDS:
        return Reason.SENTENCE_TOO_LONG
    unspaced = len(_UNSPACED.findall(text))
    long_enough = unspaced >= MIN_UNSPACED_LETTERS or (
        sum(any(map(is_letter, word)) for word in words) >= MIN_WORDS and letters >= MIN_LETTERS
    )
    if not long_enough:
        return Reason.SENTENCE_TOO_SHORT if len(text) == len(sentence) else Reason.LINK
    if letters < MIN_LETTER_SHARE * sum(map(len, words)):
        return Reason.TOO_FEW_LETTERS
    if languages and is_surely_other(text, languages):
        return Reason.OTHER_LANGUAGE
    return None


def _is_letter(character: str) -> bool:
    """Letters and the marks that belong to them: an Indic vowel sign is one."""
    return character.isalpha() or (character > "\u02ff" and unicodedata.category(character)[0] == "M")
