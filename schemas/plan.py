"""Plan row: everything of a shard's row but the audio, and what is needed to get the audio."""

from typing import Any

import pyarrow as pa

from schemas.shard import TEXT_FIELDS

PLAN_SCHEMA = pa.schema(
    [
        pa.field("recording_id", pa.string(), nullable=False),
        pa.field("row_digest", pa.string(), nullable=False),
        pa.field("audio_uri", pa.string(), nullable=False),
        pa.field("base_uri", pa.string(), nullable=False),  # folder of the catalogue file that names the recording
        pa.field("start_s", pa.float64(), nullable=False),
        pa.field("duration_s", pa.float64(), nullable=False),
        pa.field("music_gate", pa.string(), nullable=False),
        *TEXT_FIELDS,
    ]
)

# On the way to a part, whose number in digits is the key: a row; and of some rows by source what `Account.counts` says
# of their annotations, with the hits of short-form rules.
PlannedRow = tuple[str, dict[str, Any]]
PlannedCounts = tuple[dict[str, dict[str, int]], dict[str, int]]
