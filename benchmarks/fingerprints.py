"""Near-duplicates by fingerprint: recall on copies of real recordings, other pairs that are found, cost, and scaling.

    python -m benchmarks.fingerprints --audio ../shared/data/audio
    python -m benchmarks.fingerprints --synthetic 100000

With --audio each recording's clip (START_S to END_S) is encoded as MP3 at 64 and 128 kbit/s, Opus, AAC and Vorbis by
PyAV, and cut a second later. All originals and copies are joined by the job's own step. Recall is the share of copies
that a pair joins directly or through others to their original. Every other pair is listed with the best normalised
cross-correlation of its audio over shifts up to two seconds, by which it is judged: 1 is the same sound.

With --synthetic so many made fingerprints are joined twice: a tenth of them (at most 10,000) copies of one, then as
many copies in pairs; the rest are alone.
"""

import argparse
import hashlib
import io
import itertools
import os
import resource
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import av
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from benchmarks.machine import write_result
from pipeline import task_file
from pipeline.duplicates.fingerprint import MAX_KEYS, Fingerprint, fingerprint
from pipeline.duplicates.fingerprints import GROUP_HEX_CHARS, SCHEMA
from pipeline.duplicates.join import COUNTS, PAIRS, join
from pipeline.media.encode import encode
from pipeline.runner import beam_run
from pipeline.storage import read_json
from schemas.shard import CLIP_SAMPLE_RATE_HZ, AudioEncoding
from tests.pipeline.duplicates.sounds import FORMS, encoded

START_S, END_S, SHIFT_S = 5.0, 35.0, 1.0
SAME_CORRELATION = 0.5
SHIFT = "1 s later"
Pcm = NDArray[np.int16]


def decoded(media: Any, seconds: float) -> Pcm:
    resampler = av.AudioResampler("s16", "mono", CLIP_SAMPLE_RATE_HZ)
    parts = []
    with av.open(media) as container:
        for frame in container.decode(audio=0):
            parts += [part.to_ndarray()[0] for part in resampler.resample(frame)]
            if frame.time is not None and frame.time > seconds:
                break
    parts += [part.to_ndarray()[0] for part in resampler.resample(None)]
    return np.concatenate(parts)


def cut(pcm_T: Pcm, start_s: float) -> Pcm:
    start = int(start_s * CLIP_SAMPLE_RATE_HZ)
    return pcm_T[start : start + int((END_S - START_S) * CLIP_SAMPLE_RATE_HZ)]


def clips_of(path: Path) -> dict[str, Pcm]:
    """The original and its copies, by name. The copies are of the whole beginning, so that each clip starts in one."""
    whole_T = decoded(str(path), END_S + 2 * SHIFT_S)
    found = {"original": cut(whole_T, START_S), SHIFT: cut(whole_T, START_S + SHIFT_S)}
    for form in FORMS:
        found[form] = cut(decoded(io.BytesIO(encoded(whole_T, form)), END_S + 2 * SHIFT_S), START_S)
    return {name: clip for name, clip in found.items() if len(clip) >= CLIP_SAMPLE_RATE_HZ}


def fingerprints_of(path: Path) -> tuple[dict[str, tuple[str, Fingerprint]], float, float]:
    """Of each clip its name as audio and its fingerprint; seconds of CPU that fingerprint and encoding took, a clip."""
    clips = clips_of(path)
    start = time.process_time()
    made = {name: fingerprint(clip) for name, clip in clips.items()}
    middle = time.process_time()
    encode(clips["original"], AudioEncoding.FLAC)
    ended = time.process_time()
    named = {name: (name_of(clips[name]), found) for name, found in made.items()}
    return named, (middle - start) / len(clips), ended - middle


def name_of(pcm_T: Pcm) -> str:
    return hashlib.sha256(pcm_T.tobytes()).hexdigest()[:GROUP_HEX_CHARS]


def write_fingerprints(path: Path, found: Iterable[tuple[str, Fingerprint]]) -> None:
    with pq.ParquetWriter(path, SCHEMA) as writer:
        for some in batched(found, 5_000):
            rows = [
                {
                    "audio": audio,
                    "words": one.words_N.astype("<u4").tobytes(),
                    "keys": one.keys_K.astype("<u4").tobytes(),
                    "places": one.places_K.astype("<i4").tobytes(),
                }
                for audio, one in some
            ]
            writer.write_table(pa.Table.from_pylist(rows, SCHEMA))


def batched(values: Iterable[Any], size: int) -> Iterator[list[Any]]:
    source = iter(values)
    while some := list(itertools.islice(source, size)):
        yield some


def joined(paths: list[Path], folder: Path) -> tuple[list[dict[str, Any]], dict[str, int], dict[str, float]]:
    """Pairs, counts, and what it took."""
    out = folder / f"joined-{time.monotonic_ns()}"
    out.mkdir()
    start, cpu_s = time.perf_counter(), cpu()
    task_file.write(str(tasks := folder / "tasks.jsonl"), [path.name for path in paths])
    step = partial(join, files=str(tasks), run_dir=str(folder), folder=str(out), parts=1)
    with beam_run(["--direct_num_workers", "1", "--direct_running_mode", "in_memory"]) as (run, _):
        run("join", step)
    took = {"seconds": round(time.perf_counter() - start, 1), "cpu_s": round(cpu() - cpu_s, 1)}
    entries = [read_json(str(path)) or {} for path in sorted(out.glob(f"{PAIRS}-*.json"))]
    pairs = [row for entry in entries for row in pq.read_table(folder / entry["path"]).to_pylist()]
    return pairs, read_json(str(out / f"{COUNTS}.json")) or {}, took


def cpu() -> float:
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def correlation(one_T: Pcm, other_T: Pcm) -> float:
    """The best normalised cross-correlation over shifts up to two seconds, where the clips overlap."""
    size = 1 << (len(one_T) + len(other_T)).bit_length()
    one, other = one_T.astype(np.float64), other_T.astype(np.float64)
    product = np.fft.irfft(np.fft.rfft(one, size) * np.conj(np.fft.rfft(other, size)), size)
    most = 2 * CLIP_SAMPLE_RATE_HZ
    near = np.concatenate([product[-most:], product[: most + 1]])
    return float(np.abs(near).max() / (np.linalg.norm(one) * np.linalg.norm(other) + 1e-9))


class Groups:
    """Who is joined with whom, directly or through others."""

    def __init__(self, pairs: Iterable[dict[str, Any]]) -> None:
        self._above: dict[str, str] = {}
        for pair in pairs:
            self._above[self.of(pair["one"])] = self.of(pair["other"])

    def of(self, name: str) -> str:
        while (above := self._above.get(name, name)) != name:
            name = above
        return name


def recall(audio: Path, limit: int | None, folder: Path, workers: int) -> dict[str, Any]:
    files = sorted(path for path in audio.iterdir() if path.is_file())[:limit]
    with ProcessPoolExecutor(workers) as pool:
        found = list(pool.map(fingerprints_of, files))
    path = folder / "clips.parquet"
    write_fingerprints(path, (one for clips, _, _ in found for one in clips.values()))
    pairs, counts, took = joined([path], folder)
    groups = Groups(pairs)
    names = [*FORMS, SHIFT]
    hits, asked, missed = dict.fromkeys(names, 0), dict.fromkeys(names, 0), []
    source = {
        audio: (file, name)
        for file, (clips, _, _) in zip(files, found, strict=True)
        for name, (audio, _) in clips.items()
    }
    for file, (clips, _, _) in zip(files, found, strict=True):
        if not len(clips["original"][1].keys_K):
            continue  # silence: nothing is asked of it, and it is counted
        for name in names:
            if name in clips:
                asked[name] += 1
                if groups.of(clips[name][0]) == groups.of(clips["original"][0]):
                    hits[name] += 1
                else:
                    missed.append([file.name, name])
    others = {tuple(sorted(source[pair[one]][0].name for one in ("one", "other"))) for pair in pairs}
    judged = []
    for one, other in sorted(pair for pair in others if pair[0] != pair[1]):
        of_one, of_other = (cut(decoded(str(audio / name), END_S + SHIFT_S), START_S) for name in (one, other))
        judged.append((one, other, round(correlation(of_one, of_other), 3)))
    return {
        "recordings": len(files),
        "without_keys": sum(not len(clips["original"][1].keys_K) for clips, _, _ in found),
        "recall": {name: round(hits[name] / max(asked[name], 1), 4) for name in names},
        "recall_of_all": round(sum(hits.values()) / max(sum(asked.values()), 1), 4),
        "missed": missed,
        "other_pairs_with_correlation": judged,
        "other_pairs_that_are_not_the_same": sum(pair[2] < SAME_CORRELATION for pair in judged),
        "fingerprint_cpu_ms_a_clip": round(1000 * statistics.median(cpu_s for _, cpu_s, _ in found), 1),
        "flac_encoding_cpu_ms_a_clip": round(1000 * statistics.median(cpu_s for _, _, cpu_s in found), 1),
        "counts": counts,
        "join": took,
    }


def made(number: int, copies: int, *, hot: bool) -> Iterator[tuple[str, Fingerprint]]:
    """`copies` of one fingerprint, or as many in pairs; each copy with a word in 16 changed by a bit, and the others
    alone."""
    words = 577
    for one in range(number):
        of = one if one >= copies else 0 if hot else one // 2
        rng = np.random.default_rng([of, 1])
        words_N = rng.integers(1, 1 << 31, words, dtype=np.uint32)
        places_K = np.sort(rng.choice(words, MAX_KEYS, replace=False)).astype(np.int32)
        if one < copies:
            changes = np.random.default_rng([one, 2])
            at = changes.choice(words, words // 16, replace=False)
            words_N[at] ^= np.left_shift(np.uint32(1), changes.integers(0, 31, len(at), dtype=np.uint32))
        audio = hashlib.sha256(str(one).encode()).hexdigest()[:GROUP_HEX_CHARS]
        yield audio, Fingerprint(words_N=words_N, keys_K=words_N[places_K], places_K=places_K)


def scaling(number: int, folder: Path) -> dict[str, Any]:
    copies = min(10_000, number // 10)
    result: dict[str, Any] = {"fingerprints": number, "copies": copies}
    for name, hot in (("spread", False), ("hot", True)):
        path = folder / f"{name}.parquet"
        write_fingerprints(path, made(number, copies, hot=hot))
        pairs, counts, took = joined([path], folder)
        groups = Groups(pairs)
        sizes = Counter(groups.of(pair[one]) for pair in pairs for one in ("one", "other"))
        members = {pair[one] for pair in pairs for one in ("one", "other")}
        result[name] = {**took, "counts": counts, "joined": len(members), "groups": len(sizes)}
    result["ratio_by_cpu"] = round(result["hot"]["cpu_s"] / result["spread"]["cpu_s"], 2)
    result["peak_rss_mib"] = round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
    return result


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--audio", type=Path, help="folder of recordings")
    parser.add_argument("--limit", type=int, help="so many of them")
    parser.add_argument("--synthetic", type=int, help="so many made fingerprints")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--name", default="fingerprints", help="of the result")
    given = parser.parse_args()
    if (given.audio is None) == (given.synthetic is None):
        parser.error("give either --audio or --synthetic")
    with tempfile.TemporaryDirectory() as folder:
        if given.audio is not None:
            result = recall(given.audio, given.limit, Path(folder), given.workers)
            command = "--audio ../shared/data/audio" + (f" --limit {given.limit}" if given.limit else "")
        else:
            result = scaling(given.synthetic, Path(folder))
            command = f"--synthetic {given.synthetic}"
    write_result(
        given.name,
        result,
        packages=("apache-beam", "av", "numpy"),
        command=f"python -m benchmarks.fingerprints {command} --name {given.name}",
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
