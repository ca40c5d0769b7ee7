"""How exact the clips are, against a full decode by the `ffmpeg` command line.

    python -m benchmarks.clip_exactness ../shared/data/audio --odd ../shared/cases/inputs/walk

Two sets: every recording of a folder, and a recording of a minute made in each container, codec and kind of header
(`tests/media.py`). The reference is `ffmpeg -i FILE -ac 1 -ar 16000`, from which the same seconds are taken. Lag is
where the cross-correlation peaks; the residual is what is left after aligning by it, against the RMS of the reference.
Promised are a lag of at most 16 samples, a residual of at most −40 dB, and the same recordings too short. The made ones
have a click at 30.000 s as well, whose place in the clip is given in samples; the same 16 are allowed.

Recordings that do not go on as they begin (`tests/joined_media.py`, a minute with a seam at 10 s, and the short files
of the folder that `--odd` names) are held against our own decode from the start, since versions of ffmpeg differ there:
the clip must lie within 16 samples of it. What it costs to tell them is given as a share of cutting the recordings of
the folder: CPU time, the better of two cuts and of seven looks at the same packets, with and without in turn.
"""

import argparse
import math
import shutil
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.machine import write_result
from pipeline.media.clip import ClipDecoder, ClipError, ClipSpec, DecodeConfig
from pipeline.media.cut import STEADY_PACKETS, cut_linear, cut_once
from pipeline.media.ogg_links import form_changes
from pipeline.media.opened import OpenedMedia, Refusal
from pipeline.media.packet_clock import OPUS_RATE_HZ, PacketClock
from pipeline.media.protocol import CLIP_RATE_HZ
from schemas.reasons import Reason
from tests.joined_media import OTHERS, UNSAFE
from tests.media import DECLARED_PRIMING, KINDS, clicks_CT, made

MAX_LAG_SAMPLES = 16
MAX_RESIDUAL_DB = -40.0
SEARCHED_LAG_SAMPLES = 8_000
MAX_DETECTION_SHARE = 0.02
SEAM_S, MADE_S = 10.0, 62.0
SHORT_CLIP = ClipSpec(start_s=6, duration_s=2)


@dataclass(frozen=True, kw_only=True)
class Difference:
    """Of a clip from its reference. `residual_db` is −inf where they are equal, and inf where only one is silent."""

    lag_samples: int
    residual_db: float

    @property
    def within_promise(self) -> bool:
        return abs(self.lag_samples) <= MAX_LAG_SAMPLES and self.residual_db <= MAX_RESIDUAL_DB


def reference_T(path: Path) -> NDArray[np.int16]:
    """The whole recording by ffmpeg's command line, int16 at 16 kHz mono."""
    command = ["ffmpeg", "-v", "fatal", "-nostdin", "-i", str(path), "-ac", "1", "-ar", str(CLIP_RATE_HZ)]
    decoded = subprocess.run([*command, "-f", "s16le", "-"], check=True, stdout=subprocess.PIPE)
    return np.frombuffer(decoded.stdout, "<i2")


def clip_and_full_decode_T(media: bytes, spec: ClipSpec) -> tuple[NDArray[np.float32], NDArray[np.float32], bool]:
    """The clip, our own decode from the start to two seconds after it, and whether the clip was walked to."""
    config = DecodeConfig()
    cut, _ = cut_once(media, config, spec.start_sample, spec.samples)
    opened = OpenedMedia(media, config)
    full = cut_linear(opened, 0, spec.start_sample + spec.samples + 2 * CLIP_RATE_HZ)
    opened.close()
    return np.frombuffer(cut.samples, np.float32), np.frombuffer(full.samples, np.float32), cut.walked


def difference(clip_T: NDArray[Any], reference_T: NDArray[Any]) -> Difference:
    """Lag by cross-correlation, then what is left after aligning by it. Both rows have one length."""
    clip, reference = clip_T.astype(np.float64), reference_T.astype(np.float64)
    if not reference.any() or not clip.any():
        return Difference(lag_samples=0, residual_db=-math.inf if np.array_equal(clip, reference) else math.inf)
    size = 1 << (len(clip) + SEARCHED_LAG_SAMPLES).bit_length()
    correlation = np.fft.irfft(np.fft.rfft(clip, size) * np.conj(np.fft.rfft(reference, size)), size)
    lags = np.arange(-SEARCHED_LAG_SAMPLES, SEARCHED_LAG_SAMPLES + 1)
    lag = int(lags[np.argmax(correlation[lags])])
    aligned = clip[max(0, lag) : len(clip) + min(0, lag)]
    expected = reference[max(0, -lag) : len(reference) - max(0, lag)]
    power = np.mean((aligned - expected) ** 2) / np.mean(expected**2)
    return Difference(lag_samples=lag, residual_db=10 * math.log10(power) if power > 0 else -math.inf)


def measure_folder(folder: Path, spec: ClipSpec, decoder: ClipDecoder) -> tuple[list[dict[str, Any]], list[str]]:
    """A row for each container, and a line for each recording that is outside the promise."""
    found: dict[str, list[Difference]] = defaultdict(list)
    walked: dict[str, int] = defaultdict(int)
    short: dict[str, int] = defaultdict(int)
    wrong: list[str] = []
    for path in sorted(path for path in folder.iterdir() if path.is_file()):
        kind = path.suffix.removeprefix(".")
        whole_T = reference_T(path)
        try:
            clip = decoder.cut(path.read_bytes(), spec)
        except ClipError as error:
            short[kind] += 1
            if error.reason is not Reason.TOO_SHORT or len(whole_T) >= spec.start_sample + spec.samples:
                wrong.append(f"{path.name}: {error}")
            continue
        walked[kind] += clip.walked
        kept = spec.samples - clip.padded_samples
        expected_T = whole_T[spec.start_sample : spec.start_sample + spec.samples]
        if len(expected_T) < kept - 1:
            wrong.append(f"{path.name}: a clip, though the reference ends {kept - len(expected_T)} samples before it")
            continue
        measured = difference(clip.pcm_T[: len(expected_T)], expected_T)
        found[kind].append(measured)
        if not measured.within_promise:
            wrong.append(f"{path.name}: lag {measured.lag_samples} samples, residual {measured.residual_db:.1f} dB")
    rows = [
        {
            "container": kind,
            "clips": len(found[kind]),
            "walked": walked[kind],
            "too_short": short[kind],
            "worst_lag_samples": max((abs(d.lag_samples) for d in found[kind]), default=0),
            "equal": sum(d.residual_db == -math.inf for d in found[kind]),
            # Of those that are not equal to the bit; None where all are.
            "worst_residual_db": max(
                (round(d.residual_db, 1) for d in found[kind] if d.residual_db > -math.inf), default=None
            ),
        }
        for kind in sorted(found)
    ]
    return rows, wrong


def measure_made(spec: ClipSpec, decoder: ClipDecoder) -> Iterator[dict[str, Any]]:
    """A row for each kind of file that is made here."""
    for kind, (rate_hz, make, _, delay) in KINDS.items():
        clip = decoder.cut(made(kind), spec)
        with tempfile.NamedTemporaryFile() as file:
            Path(file.name).write_bytes(made(kind))
            expected_T = reference_T(Path(file.name))[spec.start_sample : spec.start_sample + spec.samples]
        measured = difference(clip.pcm_T[: len(expected_T)], expected_T)
        click_T = decoder.cut(make(clicks_CT(34, rate_hz, [30.0], shift_samples=delay)), ClipSpec(duration_s=3)).pcm_T
        loudness_T = np.abs(click_T.astype(np.int32))
        yield {
            "kind": kind,
            "walked": clip.walked,
            "lag_samples": measured.lag_samples,
            "residual_db": round(measured.residual_db, 1) if measured.residual_db > -math.inf else "equal",
            "click_at_sample": int(np.argmax(loudness_T > loudness_T.max() / 3)),
            # The container declares priming that the reference may be too old to know; then only the click counts.
            "reference_knows_priming": kind not in DECLARED_PRIMING,
            "within_promise": measured.within_promise,
        }


def measure_odd(name: str, media: bytes, spec: ClipSpec) -> dict[str, Any]:
    clip_T, full_T, walked = clip_and_full_decode_T(media, spec)
    expected_T = full_T[spec.start_sample : spec.start_sample + spec.samples]
    measured = difference(clip_T, expected_T) if len(clip_T) == len(expected_T) else None
    return {
        "name": name,
        "walked": walked,
        "samples": len(clip_T),
        "lag_samples": measured.lag_samples if measured else None,
        "equal": measured is not None and measured.residual_db == -math.inf,
    }


def measure_detection(folder: Path, spec: ClipSpec) -> dict[str, Any]:
    """CPU seconds of cutting, and of what of it goes into telling whether a recording may be walked, by container."""
    cut_s: dict[str, float] = defaultdict(float)
    told_s: dict[str, float] = defaultdict(float)
    config = DecodeConfig()
    for path in sorted(path for path in folder.iterdir() if path.is_file()):
        media, kind = path.read_bytes(), path.suffix.removeprefix(".")
        try:
            spent_s = [_cpu_s(cut_once, media, config, spec.start_sample, spec.samples) for _ in range(2)]
        except Refusal:
            continue
        cut_s[kind] += min(spent_s)
        opened = OpenedMedia(media, config)
        if opened.name == "ogg":
            told_s[kind] += min(_cpu_s(form_changes, media) for _ in range(7))
        if cut_once(media, config, spec.start_sample, spec.samples)[0].walked:
            rate_hz = OPUS_RATE_HZ if opened.codec == "opus" else opened.stream.rate
            clock, packets, lasted = PacketClock(opened, rate_hz), [], 0
            for packet in opened.packets():
                lasted += clock.at_start(packet)
                if lasted > spec.start_s * rate_hz:
                    break
                packets.append(packet)
            del packets[:STEADY_PACKETS]
            looks = [
                [_cpu_s(_look_at_all, look, packets) for look in (clock.on_the_way, clock.lasts)] for _ in range(7)
            ]
            with_checks, without = (min(times) for times in zip(*looks, strict=True))
            told_s[kind] += with_checks - without
        opened.close()
    return {
        "share_of_cutting": round(sum(told_s.values()) / sum(cut_s.values()), 4),
        "by_container": {kind: round(told_s[kind] / cut_s[kind], 4) for kind in sorted(cut_s)},
    }


def _look_at_all(look: Callable[[Any], int], packets: list[Any]) -> None:
    for packet in packets:
        look(packet)


def _cpu_s(work: Callable[..., Any], *arguments: Any) -> float:
    started = time.process_time()
    work(*arguments)
    return time.process_time() - started


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.clip_exactness",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("folder", type=Path, help="recordings, by any name")
    parser.add_argument("--odd", type=Path, help="short recordings that do not go on as they begin")
    arguments = parser.parse_args(argv)
    if shutil.which("ffmpeg") is None:
        sys.stderr.write("ffmpeg is not installed; it is the reference\n")
        return 2
    spec = ClipSpec()
    with ClipDecoder(DecodeConfig()) as decoder:
        made_rows = list(measure_made(spec, decoder))
        rows, wrong = measure_folder(arguments.folder, spec, decoder)
    odd_rows = [measure_odd(kind, make(SEAM_S, MADE_S), spec) for kind, make in (UNSAFE | OTHERS).items()]
    odd_files = sorted(arguments.odd.iterdir()) if arguments.odd else []
    odd_rows += [measure_odd(path.name, path.read_bytes(), SHORT_CLIP) for path in odd_files]
    for row in odd_rows:
        if row["lag_samples"] is None or abs(row["lag_samples"]) > MAX_LAG_SAMPLES:
            wrong.append(f"odd {row['name']}: {row}")
    detection = measure_detection(arguments.folder, spec)
    if detection["share_of_cutting"] > MAX_DETECTION_SHARE:
        wrong.append(f"telling what may be walked takes {detection['share_of_cutting']:.1%} of cutting")
    for row in made_rows:
        is_exact = row["within_promise"] or not row["reference_knows_priming"]
        if not is_exact or row["click_at_sample"] > MAX_LAG_SAMPLES:
            wrong.append(f"made {row['kind']}: {row}")
    version = subprocess.run(["ffmpeg", "-version"], check=True, capture_output=True, text=True).stdout.splitlines()[0]
    write_result(
        "clip_exactness",
        {
            "reference": " ".join(version.split()[:3]),
            "spec": asdict(spec),
            "promise": {"lag_samples": MAX_LAG_SAMPLES, "residual_db": MAX_RESIDUAL_DB},
            "folder": rows,
            "made": made_rows,
            "odd": odd_rows,
            "detection": detection,
            "wrong": wrong,
        },
        packages=("av", "numpy"),
        command=f"python -m benchmarks.clip_exactness {' '.join(argv)}",
    )
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
