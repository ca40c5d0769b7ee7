"""Small runs that are written with the shards' schema."""

import hashlib
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import soundfile

from schemas.digest import canonical_json
from schemas.manifest import POINTER_NAME, DetectorEntry, LongFormEntry, Manifest, ShardEntry, manifest_name
from schemas.shard import SHARD_SCHEMA, no_texts
from schemas.shard_format import DEFAULT_FORMAT, FORMATS, ShardFormat
from schemas.sources import TextSource

SAMPLE_RATE_HZ = 16_000


def shard_row(
    recording_id: str,
    *,
    sf: Sequence[str] = (),
    sf_unfiltered: Sequence[str] | None = None,
    lf: Sequence[tuple[str, float | None]] = (),
    pl: Sequence[str] = (),
    aset: Sequence[str] = (),
    audio: bytes = b"",
    encoding: str = "flac",
    duration_s: float = 30.0,
) -> dict[str, Any]:
    unfiltered = list(sf if sf_unfiltered is None else sf_unfiltered)
    scores = [score for _, score in lf if score is not None]
    texts = {TextSource.SF: unfiltered, TextSource.LF: lf, TextSource.PL: pl, TextSource.ASET: aset}
    return {
        "recording_id": recording_id,
        "audio": audio,
        "audio_encoding": encoding,
        "start_s": 30.0,
        "duration_s": duration_s,
        "music_fraction": 1.0,
        "music_scores": np.ones(3, np.float16),
        "audio_sha256": "0" * 64,
        **no_texts(),
        "sf": list(sf),
        "sf_unfiltered": unfiltered,
        "lf": [{"text": text, "score": score, "tokens": 3, "occurrences": 1} for text, score in lf],
        "max_lf_score": max(scores, default=None),
        "pl": list(pl),
        "aset": list(aset),
        "text_sources": sum(source for source, present in texts.items() if present),
        "licence": None,
        "source": None,
    }


def write_run(
    folder: Path,
    rows: Sequence[dict[str, Any]],
    *,
    shards: int = 2,
    lf_threshold: float | None = 0.5,
    groups: dict[str, str] | None = None,
    audio_encoding: str = "flac",
    shard_format: str = DEFAULT_FORMAT,
) -> Path:
    """A finished run: shards split by `text_sources`, groups, manifest, pointer."""
    (folder / "shards").mkdir(parents=True)
    entries = []
    for index in range(shards):
        mine = sorted(rows[index::shards], key=lambda row: (row["text_sources"], row["recording_id"]))
        path = _write_shard(folder / "shards" / f"g0001-{index:05d}", FORMATS[shard_format], mine)
        content = path.read_bytes()
        entries.append(
            ShardEntry(
                path=f"shards/{path.name}",
                sha256=hashlib.sha256(content).hexdigest(),
                bytes=len(content),
                rows=len(mine),
                generation=1,
                index=index,
            )
        )
    names = [row["recording_id"] for row in rows]
    table = {"recording_id": names, "group": [(groups or {}).get(name, name) for name in names]}
    pq.write_table(pa.table(table), folder / "groups.parquet")
    manifest = Manifest(
        number=1,
        shard_format=shard_format,
        audio_encoding=audio_encoding,
        sample_rate_hz=SAMPLE_RATE_HZ,
        config_digest="c",
        catalogue_digest="d",
        detector=DetectorEntry(
            name="builtin", digest="e", window_s=1.0, hop_s=0.5, threshold=0.5, min_fraction=0.5, demo_grade=True
        ),
        long_form=LongFormEntry(model="none", digest=None, threshold=lf_threshold),
        shards=tuple(entries),
        groups_path="groups.parquet",
        accounting={},
    )
    (folder / manifest_name(1)).write_text(canonical_json(manifest.to_json()))
    (folder / POINTER_NAME).write_text(canonical_json({"manifest": manifest_name(1)}))
    return folder


def _write_shard(stem: Path, kind: ShardFormat, rows: Sequence[dict[str, Any]]) -> Path:
    """A row group for each value of `text_sources`."""
    path, *sidecars = [f"{stem}{ending}" for ending in kind.endings]
    writer = kind.create(path, *sidecars)
    for sources in sorted({row["text_sources"] for row in rows}):
        part = [row for row in rows if row["text_sources"] == sources]
        writer.write(pa.Table.from_pylist(part, SHARD_SCHEMA))
    writer.close()
    return Path(path)


def tone_flac(pitch_hz: float, duration_s: float, *, noise: float = 0.01, seed: int = 0) -> bytes:
    """A steady tone in a little noise, as the miner would store it."""
    time_s = np.arange(round(duration_s * SAMPLE_RATE_HZ)) / SAMPLE_RATE_HZ
    wave = 0.3 * np.sin(2 * np.pi * pitch_hz * time_s) + np.random.default_rng(seed).normal(0, noise, len(time_s))
    stream = io.BytesIO()
    soundfile.write(stream, np.round(wave * 32767).astype(np.int16), SAMPLE_RATE_HZ, format="FLAC", subtype="PCM_16")
    return stream.getvalue()


def tone_rows(count: int, *, duration_s: float = 12.0) -> list[dict[str, Any]]:
    """Recordings in four pitches whose texts name the pitch: something that a model can learn in a minute."""
    names = ("low", "middle", "high", "shrill")
    rows = []
    for i in range(count):
        name, pitch = names[i % 4], (110.0, 440.0, 1760.0, 5000.0)[i % 4]
        rows.append(
            shard_row(
                f"rec{i:04d}",
                sf=[f"{name} tone", f"{name} sound {i // 4 % 5}"],
                lf=[(f"this is a {name} steady tone", 0.9), ("first!", 0.1)],
                pl=[f"{name} tones"] if i % 2 else [],
                aset=[f"{name} sine"] if i % 3 else [],
                audio=tone_flac(pitch * (1 + 0.01 * (i % 7)), duration_s, seed=i),
                duration_s=duration_s,
            )
        )
    return rows
