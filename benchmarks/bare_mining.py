"""The kernels of the mining job in a bare loop of one process: decode, detect, encode, and nothing else.

    python benchmarks/bare_mining.py FOLDER RECORDINGS DETECTOR

prints the CPU seconds of each as JSON. `benchmarks/mine.py` runs it beside the job. What it measures is the code that
`PYTHONPATH` names, so that of an older commit as well.
"""

import itertools
import json
import sys
import time
from pathlib import Path

import numpy as np

from filters.music.gate import MusicGateConfig, music_fraction
from filters.music.load import load_detector
from pipeline.media.encode import encode
from pipeline.media.helper import answer
from pipeline.media.protocol import ClipSpec, DecodeConfig
from schemas.shard import AudioEncoding


def main(folder: Path, recordings: int, spec: str) -> None:
    detector, gate, decode, clip = load_detector(spec), MusicGateConfig(), DecodeConfig(), ClipSpec()
    with (folder / "catalog.jsonl").open(encoding="utf-8") as lines:
        paths = [folder / json.loads(line)["audio_uri"] for line in lines]
    cpu_s = dict.fromkeys(("decode", "detect", "encode"), 0.0)
    for path in itertools.islice(itertools.cycle(paths), recordings):
        start = time.process_time()
        meta, samples = answer(path.read_bytes(), clip, decode)
        decoded = time.process_time()
        cpu_s["decode"] += decoded - start
        if "reason" in meta:
            continue
        pcm_T = np.clip(np.rint(np.frombuffer(samples, np.float32) * 32768), -32768, 32767).astype(np.int16)
        scores = detector.scores(pcm_T.astype(np.float32) * np.float32(2**-15))
        fraction = music_fraction(scores, detector.grid, threshold=gate.threshold, duration_s=clip.duration_s)
        detected = time.process_time()
        cpu_s["detect"] += detected - decoded
        if gate.keeps(fraction):
            encode(pcm_T, AudioEncoding.FLAC)
            cpu_s["encode"] += time.process_time() - detected
    sys.stdout.write(json.dumps(cpu_s) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3])
