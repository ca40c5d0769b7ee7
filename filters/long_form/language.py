"""Which language a sentence is in, where that is certain enough to act on.

Comments are short, and of a short sentence nobody can tell the language. So the answer is mostly "not sure", and a
sentence is left out only where another language than the wanted ones is all but certain.
"""

from functools import cache
from typing import Any

# Something else must be likely, and what is wanted must not: the first spares fragments, of which nothing is likely,
# the second sentences in a neighbour of a wanted language. At 0.7 the seed loses an English name.
MIN_OTHER = 0.8
MAX_WANTED = 0.01


class LanguageError(ValueError):
    """What was asked cannot be done: one line that says what to do."""


def is_surely_other(sentence: str, languages: frozenset[str]) -> bool:
    """Whether the sentence is in none of the languages, beyond reasonable doubt."""
    ranked: list[tuple[str, float]] = _identifier().rank(sentence)
    wanted = sum(float(share) for language, share in ranked if language in languages)
    return float(ranked[0][1]) >= MIN_OTHER and wanted <= MAX_WANTED


def check_languages(languages: frozenset[str]) -> None:
    """Raises LanguageError where the identifier is missing or does not know a language."""
    try:
        known = set(_identifier().labels)
    except ModuleNotFoundError as error:
        raise LanguageError(
            f"--lf_languages: {error.name} is not installed; install openmulan with its `mine` extra"
        ) from error
    if unknown := sorted(languages - known):
        raise LanguageError(
            f"--lf_languages: {unknown[0]!r} is no language that is told apart; these are: {', '.join(sorted(known))}"
        )


@cache
def _identifier() -> Any:
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    return LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
