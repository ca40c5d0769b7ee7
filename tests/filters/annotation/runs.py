"""A mined run on disk, as far as the labelling tool reads one."""

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from schemas.manifest import POINTER_NAME, DetectorEntry, LongFormEntry, Manifest, ShardEntry, manifest_name
from schemas.shard import SHARD_SCHEMA, no_texts
from schemas.sources import TextSource


def make_run(folder: Path, rows: list[dict[str, Any]]) -> Path:
    """A finished run of one shard, as far as a reader of sentences can tell."""
    full = [
        {
            "recording_id": f"r{number}", "audio": b"x", "audio_encoding": "flac", "start_s": 30.0, "duration_s": 30.0,
            "music_fraction": 1.0, "music_scores": np.ones(3, dtype=np.float16), "audio_sha256": "0" * 64,
            **no_texts(), "text_sources": int(TextSource.LF), "licence": None, "source": None, **row,
        }
        for number, row in enumerate(rows)
    ]  # fmt: skip
    (folder / "shards").mkdir(parents=True)
    path = folder / "shards" / "g0001-00000-test.parquet"
    pq.write_table(pa.Table.from_pylist(full, schema=SHARD_SCHEMA), path, row_group_size=2)
    content = path.read_bytes()
    shard = ShardEntry(
        path="shards/g0001-00000-test.parquet",
        sha256=hashlib.sha256(content).hexdigest(),
        bytes=len(content),
        rows=len(full),
        generation=1,
        index=0,
    )
    manifest = Manifest(
        number=1,
        shard_format="parquet",
        audio_encoding="flac",
        sample_rate_hz=16_000,
        config_digest="0",
        catalogue_digest="0",
        detector=DetectorEntry(
            name="t", digest="0", window_s=1, hop_s=1, threshold=0.5, min_fraction=0.5, demo_grade=True
        ),
        long_form=LongFormEntry(model="none", digest=None, threshold=None),
        shards=(shard,),
        groups_path="groups.parquet",
        accounting={},
    )
    (folder / manifest_name(1)).write_text(json.dumps(manifest.to_json()), encoding="utf-8")
    (folder / POINTER_NAME).write_text(json.dumps({"manifest": manifest_name(1)}), encoding="utf-8")
    return folder


def sentence(text: str, score: float | None) -> dict[str, Any]:
    return {"text": text, "score": score, "tokens": 4, "occurrences": 1}
