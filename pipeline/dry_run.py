"""Dry run: what a plan will cost, before any audio is touched.

Sizes are estimated from a sample of the media, work from one clip that is judged and encoded here and now, so the
figures are of this machine.
"""

import itertools
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from filters.music.load import load_detector
from pipeline.media.encode import encode
from pipeline.media.fetch import FetchError, resolve
from pipeline.plan import read_part
from pipeline.run_folder.generations import Plan
from pipeline.settings import MineConfig
from schemas.shard import CLIP_SAMPLE_RATE_HZ, AudioEncoding
from schemas.youtube_address import is_youtube

SAMPLE_ROWS = 200
TRIAL_S = 30.0
# Bytes a sample, roughly: FLAC of 16 kHz music, plain int16, Opus at 64 kbit/s.
BYTES_PER_SAMPLE = {AudioEncoding.FLAC: 1.1, AudioEncoding.PCM16: 2.0, AudioEncoding.OPUS: 0.5}


@dataclass(frozen=True, kw_only=True)
class Estimate:
    recordings: int
    shards: int
    media_bytes: float | None  # None where the sample has no local file
    missing_share: float  # of the sample
    shard_bytes: float  # were every recording kept
    cpu_s: float  # to judge and encode; decoding comes on top


def estimate(run_dir: str, plan: Plan, config: MineConfig, allow_roots: tuple[str, ...]) -> Estimate:
    clip_s = 0.0
    sizes: list[int] = []
    missing = remote = 0
    for row in itertools.islice(_rows(run_dir, plan), SAMPLE_ROWS):
        clip_s += row["duration_s"]
        if "://" in row["audio_uri"] or is_youtube(row["audio_uri"]):
            remote += 1
            continue
        try:
            sizes.append(os.path.getsize(resolve(row["audio_uri"], base_uri=row["base_uri"], allow_roots=allow_roots)))
        except (OSError, FetchError):
            missing += 1
    sampled = len(sizes) + missing + remote
    total_s = clip_s / max(sampled, 1) * plan.recordings
    return Estimate(
        recordings=plan.recordings,
        shards=len(plan.parts),
        media_bytes=sum(sizes) / len(sizes) * plan.recordings if sizes else None,
        missing_share=missing / max(sampled, 1),
        shard_bytes=total_s * CLIP_SAMPLE_RATE_HZ * BYTES_PER_SAMPLE[config.audio_encoding],
        cpu_s=_cpu_share(config) * total_s,
    )


def render(estimate: Estimate) -> str:
    media = "unknown" if estimate.media_bytes is None else f"about {estimate.media_bytes / 1e6:,.0f} MB"
    lines = [
        f"recordings to mine   {estimate.recordings:,}",
        f"shards               {estimate.shards:,}",
        f"media to read        {media}",
        f"shards, all kept     about {estimate.shard_bytes / 1e6:,.0f} MB",
        f"work                 about {estimate.cpu_s / 60:,.1f} minutes of one core here to judge and encode; "
        "decoding comes on top",
    ]
    if estimate.missing_share:
        lines.append(
            f"attention            {estimate.missing_share:.0%} of a sample has no local file that may be read"
        )
    lines.append("The plan is kept: the same command without --dry_run goes on from here, and any other plans anew.")
    return "\n".join(lines) + "\n"


def _rows(run_dir: str, plan: Plan) -> Iterator[dict[str, Any]]:
    for part in plan.parts:
        yield from read_part(run_dir, part.file.path).to_pylist()


def _cpu_share(config: MineConfig) -> float:
    """CPU seconds for one second of clip, from one clip of noise."""
    detector = load_detector(config.detector, config.detector_hop_s)
    samples = int(TRIAL_S * CLIP_SAMPLE_RATE_HZ)
    pcm_T = np.random.default_rng(0).integers(-8000, 8000, samples, dtype=np.int16)
    wave_T = pcm_T.astype(np.float32) / np.float32(32768)
    detector.scores(wave_T)
    start = time.process_time()
    detector.scores(wave_T)
    encode(pcm_T, config.audio_encoding)
    return (time.process_time() - start) / TRIAL_S
