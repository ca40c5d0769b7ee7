"""Text of a recording: for each source a reader that cleans, counts and caps what is said.

A reader is a function of the catalogue row and of what the side tables say, which comes as bottom-k sketches
(`pipeline.sketch`). A source has its record in `schemas/sources.py` and its reader in `READERS`, and nothing else here
names it.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

from filters.long_form.gates import judge
from filters.long_form.sentences import duplicate_key, sentences
from filters.short_form.rules import clean_recording
from filters.tokens import TokenCounter
from pipeline.settings import TextConfig
from pipeline.sketch import Counted, Sketch, add_text, count_sketch, empty_sketch, leave_out, text_key
from schemas.accounting import Account
from schemas.catalogue import CatalogueRow
from schemas.reasons import Reason
from schemas.shard import no_texts
from schemas.sources import SOURCES, Source, TextSource


class Counter(Protocol):
    """Counts the tokens of texts."""

    def count(self, texts: Sequence[str]) -> list[int]: ...


class NoTokens:
    """Where no tokenizer is wanted (`--tokenizer none`), every text counts no tokens."""

    def count(self, texts: Sequence[str]) -> list[int]:
        return [0] * len(texts)


def load_counter(serialised: str) -> Counter:
    """A worker's counter, from what the launcher shipped; empty for none."""
    return TokenCounter.from_str(serialised) if serialised else NoTokens()


def add_sentences(sketch: Sketch, texts: Iterable[str], counter: Counter, config: TextConfig) -> None:
    """Cut long texts into sentences, judge each, and put them into the recording's sketch."""
    languages = frozenset(config.lf_languages)
    for text in texts:
        found = sentences(text)
        for sentence, tokens in zip(found, counter.count(found), strict=True):
            reason = judge(sentence, languages)
            if reason is not None:
                leave_out(sketch, reason, tokens)
            else:
                add_text(sketch, text_key(duplicate_key(sentence)), sentence, tokens, config.max_lf)


def add_playlist_title(
    sketch: Sketch, *, playlist_key: int, title: str, tokens: int, cap: int, excluded: bool = False
) -> None:
    """A title counts once for each playlist; a playlist that names a recording twice counts once.

    One that is `excluded` is accounted for, and is no text of the corpus: its tokens are not counted.
    """
    if excluded:
        sketch[1][str(Reason.EXCLUDED)] = sketch[1].get(str(Reason.EXCLUDED), 0) + 1
        return
    if not title.strip():
        leave_out(sketch, Reason.EMPTY_TEXT, tokens)
        return
    add_text(sketch, playlist_key, title, tokens, cap)


# Tuples, since there are six of them a recording, and a frozen dataclass takes twice as long to make.
class Said(NamedTuple):
    """What is said of one recording: in its catalogue row, and in the side tables, by the key of the source."""

    row: CatalogueRow
    sketches: Mapping[str, Sketch]
    counter: Counter
    config: TextConfig

    def anything_of(self, source: Source) -> bool:
        return source.key in self.sketches or any(field.name in self.row.texts for field in source.fields)

    def sketch(self, source: Source) -> Sketch:
        return self.sketches.get(source.key) or empty_sketch()

    def counts(self, column: str, texts: Sequence[str]) -> dict[str, int]:
        return _counts(column, len(texts), sum(self.counter.count(texts)))


class SourceTexts(NamedTuple):
    """What a reader finds: the columns of its source, counts before the cap, and what became of the annotations."""

    columns: dict[str, Any]
    counts: dict[str, int]
    account: Account
    rule_hits: Mapping[str, int] = {}


def listed(source: Source, texts: Sequence[str], said: Said) -> SourceTexts:
    """These texts, the first ones where there is a cap."""
    kept = list(texts[: said.config.cap(source)])
    account = Account(kept=len(kept))
    account.leave_out(Reason.OVER_CAP, len(texts) - len(kept))
    return SourceTexts({source.key: kept}, said.counts(source.key, texts), account)


def _counts(column: str, annotations: int, tokens: int) -> dict[str, int]:
    return {f"{column}_annotations": annotations, f"{column}_tokens": tokens}


def _short_forms(source: Source, said: Said) -> SourceTexts:
    row, twin = said.row, source.column(filtered=False)
    tags = row.texts.get("tags", ())
    short = clean_recording(title=row.text("title"), artist=row.text("artist"), album=row.text("album"), tags=tags)
    found = listed(source, short.kept, said)
    for reason, count in short.dropped.items():
        found.account.leave_out(reason, count)
    found.columns[twin] = list(short.unfiltered[: said.config.cap(source)])
    found.counts.update(said.counts(twin, short.unfiltered))
    return found._replace(rule_hits=short.hits)


def _sentences(source: Source, said: Said) -> SourceTexts:
    sketch = said.sketch(source)
    add_sentences(sketch, said.row.texts_of(source), said.counter, said.config)
    found = count_sketch(sketch, said.config.cap(source))
    return _sketched(
        source,
        found,
        [
            {"text": text, "score": None, "tokens": tokens, "occurrences": occurrences}
            for text, occurrences, tokens in found.entries
        ],
    )


def _playlist_titles(source: Source, said: Said) -> SourceTexts:
    found = count_sketch(said.sketch(source), said.config.cap(source))
    return _sketched(source, found, [text for text, _, _ in found.entries])


def _sketched(source: Source, found: Counted, kept: list[Any]) -> SourceTexts:
    counts = _counts(source.key, found.annotations, found.tokens)
    return SourceTexts({source.key: kept}, counts, found.account)


def _labels(source: Source, said: Said) -> SourceTexts:
    return listed(source, list(said.row.texts_of(source)), said)


READERS: dict[TextSource, Callable[[Source, Said], SourceTexts]] = {
    TextSource.SF: _short_forms,
    TextSource.LF: _sentences,
    TextSource.PL: _playlist_titles,
    TextSource.ASET: _labels,
}


class PlannedText(NamedTuple):
    """The text columns of a plan row, what became of its annotations by source, and which short-form rules fired."""

    columns: dict[str, Any]
    accounts: dict[str, Account]
    rule_hits: dict[str, int]


def plan_texts(row: CatalogueRow, sketches: Mapping[str, Sketch], counter: Counter, config: TextConfig) -> PlannedText:
    """Everything that is said of one recording; `sketches` has what the side tables say, by the key of the source."""
    said = Said(row, sketches, counter, config)
    columns = no_texts()
    columns.update(licence=row.licence, source=row.source)
    counts = columns["counts"]
    accounts: dict[str, Account] = {}
    hits: dict[str, int] = {}
    for source in SOURCES:
        if not said.anything_of(source):
            accounts[source.key] = Account()
            continue
        found = READERS[source.bit](source, said)
        columns.update(found.columns)
        counts.update(found.counts)
        accounts[source.key] = found.account
        hits.update(found.rule_hits)
        # For SF what there was before the rules counts, for LF whatever the score.
        if any(map(columns.get, source.columns)):
            columns["text_sources"] |= int(source.bit)
    return PlannedText(columns, accounts, hits)
