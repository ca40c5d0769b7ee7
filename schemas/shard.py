"""Shard row: a clip, its music scores and its text, as the trainer reads it.

Rows of a shard are sorted by (`text_sources`, `recording_id`), and a row group holds one value of `text_sources` where
a group keeps a useful size, so that the statistics of `text_sources` and `max_lf_score` let a reader skip groups.
"""

from collections.abc import Iterator
from enum import StrEnum
from typing import Any

import pyarrow as pa

from schemas.digest import hash64
from schemas.sources import COUNTED_TEXTS, SOURCES, Source


class AudioEncoding(StrEnum):
    """How `audio` holds the 16 kHz mono clip: a FLAC file, bare little-endian int16, or an Ogg Opus file."""

    FLAC = "flac"
    PCM16 = "pcm16"
    OPUS = "opus"


CLIP_SAMPLE_RATE_HZ = 16_000

LF_SENTENCE = pa.struct(
    [
        pa.field("text", pa.string(), nullable=False),
        pa.field("score", pa.float32()),  # calibrated probability of being music-descriptive; null when unscored
        pa.field("tokens", pa.int32(), nullable=False),  # WordPiece, without special tokens
        pa.field("occurrences", pa.int32(), nullable=False),  # how often the recording's texts say it
    ]
)

COUNT_UNITS = ("annotations", "tokens")

# Counted before the caps. `lf` counts every sentence before gates and classifier; what the classifier keeps is
# counted from `lf[]` at the threshold of the day.
COUNTS = pa.struct(
    [pa.field(f"{text}_{unit}", pa.int64(), nullable=False) for text in COUNTED_TEXTS for unit in COUNT_UNITS]
)


def _fields_of(source: Source) -> Iterator[pa.Field]:
    for column in source.columns:
        yield pa.field(column, pa.list_(LF_SENTENCE if source.scored else pa.string()), nullable=False)
    if source.scored:
        yield pa.field(f"max_{source.key}_score", pa.float32())  # null where no sentence is scored


_OF_SOURCES = tuple(field for source in SOURCES for field in _fields_of(source))
# The text columns, which plan and shard share.
TEXT_FIELDS = [
    *_OF_SOURCES,
    # A source's bit is set where the row has any text of it: for SF before the rules, for LF whatever the score.
    pa.field("text_sources", pa.uint8(), nullable=False),
    pa.field("counts", COUNTS, nullable=False),
    pa.field("licence", pa.string()),
    pa.field("source", pa.string()),
]

# What `no_texts` is made of, once for each recording.
_COUNTS = tuple(field.name for field in COUNTS)
_TEXT_COLUMNS = tuple(field.name for field in _OF_SOURCES if not field.nullable)
_NO_SCORES = {field.name: None for field in _OF_SOURCES if field.nullable}

SHARD_SCHEMA = pa.schema(
    [
        pa.field("recording_id", pa.string(), nullable=False),
        pa.field("audio", pa.binary(), nullable=False),
        pa.field("audio_encoding", pa.string(), nullable=False),
        pa.field("start_s", pa.float64(), nullable=False),
        pa.field("duration_s", pa.float64(), nullable=False),
        pa.field("music_fraction", pa.float32(), nullable=False),
        pa.field("music_scores", pa.list_(pa.float16()), nullable=False),
        pa.field("audio_sha256", pa.string(), nullable=False),  # of the decoded int16 samples, before encoding
        *TEXT_FIELDS,
    ]
)


def no_texts() -> dict[str, Any]:
    """The text columns of a row of which nothing is said."""
    said: dict[str, Any] = {name: [] for name in _TEXT_COLUMNS}
    said.update(_NO_SCORES, text_sources=0, counts=dict.fromkeys(_COUNTS, 0))
    return said


def shard_of(recording_id: str, shards: int) -> int:
    """The shard that a recording belongs to: `blake2b(recording_id) mod N`."""
    return hash64(recording_id) % shards
