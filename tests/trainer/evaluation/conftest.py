"""What several tests of the evaluation need: tones, a mined run, AudioSet's real files."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from numpy.typing import NDArray

from pipeline.media.encode import encode
from schemas.manifest import DetectorEntry, LongFormEntry, Manifest, ShardEntry, manifest_name
from schemas.shard import SHARD_SCHEMA, AudioEncoding, no_texts
from tests.shared_files import SharedFolder
from tests.trainer.evaluation.tone_sets import RATE_HZ, Tones, WriteRun
from trainer.evaluation.clips import pcm_sha256


@pytest.fixture
def tones() -> Tones:
    return Tones()


@pytest.fixture
def write_run() -> WriteRun:
    """A mined run of given rows: `recording_id` and `pcm` (int16), the other columns where a test needs them."""

    def write(folder: Path, rows: Sequence[dict[str, Any]]) -> Path:
        (folder / "shards").mkdir(parents=True)
        full = [_row(**row) for row in rows]
        path = folder / "shards" / "g0001-00000-test.parquet"
        pq.write_table(pa.Table.from_pylist(full, schema=SHARD_SCHEMA), path, row_group_size=3)
        groups = {name: [row["recording_id"] for row in full] for name in ("recording_id", "group")}
        pq.write_table(pa.table(groups), folder / "groups.parquet")
        manifest = Manifest(
            number=1,
            shard_format="parquet",
            audio_encoding="flac",
            sample_rate_hz=RATE_HZ,
            config_digest="0" * 32,
            catalogue_digest="0" * 32,
            detector=DetectorEntry(
                name="none", digest="0", window_s=1, hop_s=1, threshold=0.3, min_fraction=0.5, demo_grade=True
            ),
            long_form=LongFormEntry(model="none", digest=None, threshold=None),
            shards=(
                ShardEntry(
                    path=f"shards/{path.name}",
                    sha256="0" * 64,
                    bytes=path.stat().st_size,
                    rows=len(full),
                    generation=1,
                    index=0,
                ),
            ),
            groups_path="groups.parquet",
            accounting={},
        )
        (folder / manifest_name(1)).write_text(json.dumps(manifest.to_json()))
        (folder / "manifest.json").write_text(json.dumps({"manifest": manifest_name(1)}))
        return folder

    return write


def _row(
    recording_id: str,
    pcm: NDArray[np.int16],
    encoding: AudioEncoding = AudioEncoding.FLAC,
    start_s: float = 30.0,
    aset: Sequence[str] = (),
    pl: Sequence[str] = (),
    sf: Sequence[str] = (),
    lf: Sequence[str] = (),
    text_sources: int = 0,
) -> dict[str, Any]:
    return {
        "recording_id": recording_id,
        "audio": encode(pcm, encoding),
        "audio_encoding": str(encoding),
        "start_s": start_s,
        "duration_s": len(pcm) / RATE_HZ,
        "music_fraction": 1.0,
        "music_scores": [],
        "audio_sha256": pcm_sha256(pcm),
        **no_texts(),
        "sf": list(sf),
        "sf_unfiltered": list(sf),
        "lf": [{"text": text, "score": None, "tokens": 3, "occurrences": 1} for text in lf],
        "pl": list(pl),
        "aset": list(aset),
        "text_sources": text_sources,
        "licence": None,
        "source": None,
    }


@pytest.fixture
def audioset_files(shared_folder: SharedFolder) -> tuple[Path, Path]:
    """The real ontology and class list, which the repository does not carry."""
    folder = shared_folder.need("data/eval")
    return folder / "audioset_ontology.json", folder / "audioset_class_labels_indices.csv"
