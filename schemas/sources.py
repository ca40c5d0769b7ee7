"""Text sources: one record each, from which derives whatever else has to know that there are such sources.

That is: catalogue fields, columns and counts of plan and shard, caps and their options, accounts, Table 2, the mixture
and the choice of columns in training, the ablation, `docs/text-sources.md`. What no record can say is how a source's
texts are read: its reader in `pipeline/text.py`. `docs/extending.md` adds a fifth source by these two.
"""

from dataclasses import dataclass
from enum import IntFlag
from functools import cached_property


class TextSource(IntFlag):
    """Where text comes from, in the paper's four sources; a row's `text_sources` is the sum of those that it has."""

    SF = 1
    LF = 2
    PL = 4
    ASET = 8

    @property
    def key(self) -> str:
        """Names a source in files: its column, its counts, its account, its weight in a mixture."""
        return str(self.name).lower()

    @property
    def record(self) -> "Source":
        return _BY_BIT[self]


@dataclass(frozen=True, kw_only=True)
class CatalogueText:
    """A field of a catalogue row that has text: one, or a list of them."""

    name: str
    many: bool = False
    about: str | None = None  # a sentence for the JSON Schema


@dataclass(frozen=True, kw_only=True)
class Source:
    """What is known of a source before any text of it is read. Its names are asked for several times a recording."""

    bit: TextSource
    texts: str  # what its texts are called, in the plural
    origin: str  # where they come from, and what is done to them
    fields: tuple[CatalogueText, ...] = ()
    cap: int | None = None  # texts that a recording keeps, unless `--max_KEY` says otherwise; None: all
    # The column that has its texts before a filter: a twin, or its own, which has every `scored` text whatever its
    # score. None: nothing filters them.
    unfiltered: str | None = None
    scored: bool = False  # by the sentence classifier, whose threshold stands in the manifest
    in_table_2: bool = True
    seats: int = 0  # in the default mixture

    @cached_property
    def key(self) -> str:
        return self.bit.key

    @cached_property
    def columns(self) -> tuple[str, ...]:
        """Those that hold texts: its own, then its unfiltered twin."""
        return (self.key,) if self.unfiltered in (None, self.key) else (self.key, str(self.unfiltered))

    @cached_property
    def cap_name(self) -> str:
        """Of the field of `TextConfig` and of the option."""
        return f"max_{self.key}"

    def column(self, *, filtered: bool) -> str:
        """The column to draw its texts from."""
        return self.key if filtered or self.unfiltered is None else self.unfiltered


# In the order of the shards' columns and of a mixture; the seats are the paper's (section 3.4).
SOURCES = (
    Source(
        bit=TextSource.SF,
        texts="short forms",
        origin="title, artist, album and each tag, one text each, after the [rules](short-form-rules.md)",
        fields=(
            CatalogueText(name="title"),
            CatalogueText(name="artist"),
            CatalogueText(name="album"),
            CatalogueText(name="tags", many=True, about="Each tag is one annotation."),
        ),
        cap=64,
        unfiltered="sf_unfiltered",
        seats=2,
    ),
    Source(
        bit=TextSource.LF,
        texts="sentences",
        origin="of description and comments, each with the score of the [classifier](long-form-filter.md)",
        fields=(
            CatalogueText(name="description", about="Long text; it is cut into sentences."),
            CatalogueText(
                name="comments",
                many=True,
                about="Long texts; a large number belongs in a table of its own (--comments).",
            ),
        ),
        cap=512,
        unfiltered="lf",
        scored=True,
        seats=2,
    ),
    Source(
        bit=TextSource.PL,
        texts="playlist titles",
        origin="untouched, one for each playlist (`--playlists`) that names the recording",
        cap=256,
        seats=1,
    ),
    Source(
        bit=TextSource.ASET,
        texts="AudioSet labels",
        origin="names of [AudioSet](audioset.md) classes",
        fields=(CatalogueText(name="aset", many=True, about="Names of AudioSet classes."),),
        in_table_2=False,
        seats=1,
    ),
)
CATALOGUE_TEXTS = tuple(field for source in SOURCES for field in source.fields)
COUNTED_TEXTS = tuple(column for source in SOURCES for column in source.columns)
_BY_BIT = {source.bit: source for source in SOURCES}
