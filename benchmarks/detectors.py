"""How well a music detector tells music from the rest, on recordings whose kind is known.

    python -m benchmarks.detectors ../shared/data --detector builtin
    python -m benchmarks.detectors ../shared/data --detector ../shared/models/yamnet.tflite --other_hop 0.4875

The folder has `catalog.jsonl` and `music_truth.csv` (recording_id, kind, true_music_fraction_30_60s and, where there is
one, yamnet_fraction_tau0.3). A recording's score is the mean over its clip; ROC-AUC takes `music` and `music_short`
against `nonmusic`, overall and for the music of each origin against all that is not music. Recordings that are too
short for the clip at 30 s are judged by their last 30 s, so that each is counted. With `--other_hop` all are judged
again with YAMNet's windows that far apart, and the result says which decisions differ.
"""

import argparse
import csv
import json
import sys
import time
from collections import Counter, defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.machine import write_result
from filters.music.builtin.training import roc_auc
from filters.music.detector import DetectorError, MusicDetector
from filters.music.gate import MusicGateConfig, music_fraction
from filters.music.load import load_detector
from pipeline.media.clip import ClipDecoder, ClipSpec, DecodeConfig, ShortPolicy

CLIP_S = 30.0
MUSIC, NOT_MUSIC, MIXED = ("music", "music_short"), ("nonmusic",), "mixed"


@dataclass(frozen=True, kw_only=True)
class Judged:
    """One recording: what it is, and what the detector says."""

    recording_id: str
    kind: str
    origin: str
    score: float
    fraction: float
    kept: bool
    true_fraction: float | None
    reference_fraction: float | None
    cpu_s: float


def judge_folder(folder: Path, detector: MusicDetector, gate: MusicGateConfig) -> list[Judged]:
    """Every recording of the catalogue that the truth knows."""
    truth = {row["recording_id"]: row for row in csv.DictReader((folder / "music_truth.csv").open(encoding="utf-8"))}
    spec = ClipSpec(start_s=30.0, duration_s=CLIP_S)
    judged = []
    with (
        ClipDecoder(DecodeConfig(short_policy=ShortPolicy.FROM_END)) as decoder,
        (folder / "catalog.jsonl").open(encoding="utf-8") as lines,
    ):
        for row in map(json.loads, lines):
            known = truth[row["recording_id"]]
            clip = decoder.cut((folder / row["audio_uri"]).read_bytes(), spec)
            wave_T = clip.pcm_T.astype(np.float32) / np.float32(1 << 15)
            started = time.process_time()
            scores_F = detector.scores(wave_T)
            cpu_s = time.process_time() - started
            fraction = music_fraction(scores_F, detector.grid, threshold=gate.threshold, duration_s=CLIP_S)
            judged.append(
                Judged(
                    recording_id=row["recording_id"],
                    kind=known["kind"],
                    origin=row["source"].split(":")[0],
                    score=float(scores_F.mean()),
                    fraction=fraction,
                    kept=gate.keeps(fraction),
                    true_fraction=_number(known["true_music_fraction_30_60s"]),
                    reference_fraction=_number(known.get("yamnet_fraction_tau0.3", "")),
                    cpu_s=cpu_s,
                )
            )
    return judged


def _number(text: str) -> float | None:
    return float(text) if text else None


def summarise(judged: list[Judged]) -> dict[str, Any]:
    music = [entry for entry in judged if entry.kind in MUSIC]
    other = [entry for entry in judged if entry.kind in NOT_MUSIC]
    mixed = [entry for entry in judged if entry.kind == MIXED]
    by_origin: dict[str, list[Judged]] = defaultdict(list)
    for entry in [*music, *other]:
        by_origin[entry.origin].append(entry)
    kept = Counter((entry.kind, entry.kept) for entry in judged)
    clear = [entry for entry in mixed if entry.true_fraction is not None and abs(entry.true_fraction - 0.5) >= 0.099]
    return {
        "recordings": dict(sorted(Counter(entry.kind for entry in judged).items())),
        "roc_auc": _auc(music, other),
        "kept": {kind: kept[kind, True] for kind in sorted({entry.kind for entry in judged})},
        "mixed": {
            "within_0.15_of_truth": sum(_distance(entry) <= 0.15 for entry in mixed),
            "mean_distance": round(float(np.mean([_distance(entry) for entry in mixed])), 4) if mixed else None,
            "decision_right_where_truth_is_0.1_from_half": sum(
                entry.kept == (entry.true_fraction > 0.5) for entry in clear if entry.true_fraction is not None
            ),
            "of": len(clear),
        },
        "largest_distance_from_reference_fraction": round(
            max((abs(entry.fraction - entry.reference_fraction) for entry in judged
                 if entry.reference_fraction is not None and entry.kind != "music_short"), default=0.0), 4),
        "cpu_ms_per_clip": _cpu_ms(judged),
        "by_origin": {
            origin: {
                "recordings": len(entries),
                "music": sum(entry.kind in MUSIC for entry in entries),
                "kept": sum(entry.kept for entry in entries),
                # The origin's music against everything that is no music, and the other way round.
                "roc_auc": _auc([entry for entry in entries if entry.kind in MUSIC] or music,
                                [entry for entry in entries if entry.kind in NOT_MUSIC] or other),
            }
            for origin, entries in sorted(by_origin.items())
        },
        "misjudged": [
            {"recording_id": entry.recording_id, "kind": entry.kind, "origin": entry.origin,
             "fraction": round(entry.fraction, 3)}
            for entry in [*music, *other]
            if entry.kept != (entry.kind in MUSIC)
        ],
    }  # fmt: skip


def differences(judged: list[Judged], other: list[Judged]) -> dict[str, Any]:
    """Between two readings of the same recordings."""
    pairs = list(zip(judged, other, strict=True))
    apart = [abs(one.fraction - two.fraction) for one, two in pairs]
    return {
        "decisions": len(pairs),
        "moved": [one.recording_id for one, two in pairs if one.kept != two.kept],
        "fraction_mean_difference": round(float(np.mean(apart)), 4),
        "fraction_largest_difference": round(max(apart), 4),
        "cpu_ms_per_clip": _cpu_ms(other),
    }


def _cpu_ms(judged: list[Judged]) -> float:
    return round(1000 * float(np.median([entry.cpu_s for entry in judged])), 1)


def _distance(entry: Judged) -> float:
    return abs(entry.fraction - (entry.true_fraction or 0.0))


def _auc(music: list[Judged], other: list[Judged]) -> float | None:
    """None where there is nothing on one side."""
    if not music or not other:
        return None
    entries = [*music, *other]
    positive = np.array([entry.kind in MUSIC for entry in entries])
    return round(roc_auc(positive, np.array([entry.score for entry in entries], dtype=np.float32)), 4)


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--detector", default="builtin")
    parser.add_argument("--threshold", type=float, default=MusicGateConfig().threshold)
    parser.add_argument("--min_fraction", type=float, default=MusicGateConfig().min_fraction)
    parser.add_argument("--other_hop", type=float, metavar="S", help="seconds; to compare with")
    arguments = parser.parse_args(argv)
    try:
        gate = MusicGateConfig(threshold=arguments.threshold, min_fraction=arguments.min_fraction)
        detector = load_detector(arguments.detector)
        other = None if arguments.other_hop is None else load_detector(arguments.detector, arguments.other_hop)
    except (DetectorError, ValueError) as error:
        sys.stderr.write(f"{error}\n")
        return 2
    judged = judge_folder(arguments.folder, detector, gate)
    result = {
        "detector": {"name": detector.name, "digest": detector.digest, "demo_grade": detector.demo_grade},
        "gate": {"threshold": gate.threshold, "min_fraction": gate.min_fraction},
        **summarise(judged),
    }
    if other is not None:
        again = judge_folder(arguments.folder, other, gate)
        result["other_hop"] = {"hop_s": other.grid.hop_s, **differences(judged, again)}
    packages = ("numpy", "av", "ai-edge-litert") if detector.name == "yamnet-tflite" else ("numpy", "av")
    command = f"python -m benchmarks.detectors {' '.join(argv)}"
    write_result(f"detector_{detector.name.replace('-', '_')}", result, packages=packages, command=command)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
