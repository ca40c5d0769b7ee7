"""Clips a second of an evaluation beside a bare loop, and what the random control adds.

    python -m benchmarks.evaluation_speed --clips 60 --repeats 5

MP3 clips of 29 s, as MagnaTagATune has them, and the `tiny` recipe with random weights. The bare loop has as many
threads, each of which reads a file and decodes it by a helper process of its own, and the tower of the same windows
beside them; it keeps nothing, sums nothing and checks nothing. Both are run in turns; the first round is not counted.
"""

import argparse
import statistics
import sys
import tempfile
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import local

import numpy as np
import torch

from benchmarks.machine import write_result
from benchmarks.train_gpu import make_tokenizer
from pipeline.media.clip import ClipDecoder, ClipSpec, DecodeConfig, ShortPolicy
from tests.media import encoded, music_CT
from trainer.cuts import cut
from trainer.evaluation.clips import FileClip, FileClips, WindowConfig
from trainer.evaluation.embedding import FrozenModel, Sounds, embed_clips
from trainer.evaluation.kept import NAME, KeptEmbeddings
from trainer.evaluation.model import RandomModel
from trainer.model import Model, build
from trainer.recipes import tiny

CLIP_S, RATE_HZ = 29.0, 44_100


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=int, default=60)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=5)
    given = parser.parse_args()
    seconds: dict[str, list[float]] = {"bare": [], "evaluate": [], "control": [], "again": []}
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        paths = make_clips(work, given.clips)
        tokenizer = str(make_tokenizer(work / "tokenizer"))
        recipe = tiny(tokenizer=tokenizer)
        model = build(recipe, torch.device("cpu"))
        with Decoders() as decoders:
            for turn in range(given.repeats + 1):
                took = {
                    "bare": timed(lambda: bare(paths, model, decoders, given.workers)),
                    **evaluated(paths, model, work / f"{turn}-{NAME}", given.workers),
                }
                for name, value in took.items() if turn else ():
                    seconds[name].append(value)
    shares = zip(*(seconds[name] for name in ("bare", "evaluate", "control", "again")), strict=True)
    rounds = [
        {"bare_over_evaluate": b / e, "control_over_evaluate": c / e, "again_over_evaluate": a / e}
        for b, e, c, a in shares
    ]
    result = {
        "clips": given.clips,
        "clip_s": CLIP_S,
        "workers": given.workers,
        "clips_per_s": {name: round(given.clips / statistics.median(values), 2) for name, values in seconds.items()},
        "median": {name: round(statistics.median(one[name] for one in rounds), 3) for name in rounds[0]},
        "rounds": [{name: round(value, 3) for name, value in one.items()} for one in rounds],
    }
    command = " ".join(["python -m benchmarks.evaluation_speed", *sys.argv[1:]])
    write_result("evaluation_speed", result, packages=("torch", "av", "numpy"), command=command)
    return 0


def make_clips(folder: Path, count: int) -> list[Path]:
    paths = [folder / f"{number}.mp3" for number in range(count)]
    for number, path in enumerate(paths):
        path.write_bytes(encoded(music_CT(CLIP_S, RATE_HZ, seed=number), RATE_HZ, "mp3", "libmp3lame"))
    return paths


def evaluated(paths: Sequence[Path], model: Model, kept_in: Path, workers: int) -> dict[str, float]:
    """Seconds of the model, of the control after it, and of a second command."""
    clips = FileClips(clips=tuple(FileClip(clip_id=path.name, path=path) for path in paths))
    sounds = Sounds()
    kept = KeptEmbeddings(kept_in, "model")
    took = {
        "evaluate": timed(
            lambda: embed_clips(FrozenModel(model, workers=workers, sounds=sounds, kept=kept), clips, WindowConfig())
        ),
        "control": timed(
            lambda: embed_clips(FrozenModel(RandomModel(0), workers=workers, sounds=sounds), clips, WindowConfig())
        ),
        "again": timed(lambda: embed_clips(FrozenModel(model, workers=workers, kept=kept), clips, WindowConfig())),
    }
    kept.close()
    return took


class Decoders:
    """A helper process a thread, kept over the rounds as an evaluation keeps its own."""

    def __init__(self) -> None:
        self._mine, self._all = local(), list[ClipDecoder]()

    def __enter__(self) -> "Decoders":
        return self

    def __exit__(self, *_: object) -> None:
        for decoder in self._all:
            decoder.close()

    def decode(self, path: Path) -> "np.ndarray[tuple[int], np.dtype[np.int16]]":
        if not hasattr(self._mine, "decoder"):
            self._mine.decoder = ClipDecoder(DecodeConfig(short_policy=ShortPolicy.PAD))
            self._all.append(self._mine.decoder)
        clip = self._mine.decoder.cut(path.read_bytes(), ClipSpec(start_s=0.0, duration_s=64.0))
        found: np.ndarray[tuple[int], np.dtype[np.int16]] = clip.pcm_T[: len(clip.pcm_T) - clip.padded_samples]
        return found


@torch.inference_mode()
def bare(paths: Sequence[Path], model: Model, decoders: Decoders, workers: int) -> None:
    size = model.recipe.data.window_samples
    batch: list[np.ndarray[tuple[int], np.dtype[np.int16]]] = []
    with ThreadPoolExecutor(workers) as pool:
        waiting = deque(pool.submit(decoders.decode, path) for path in paths[: 2 * workers])
        left = iter(paths[2 * workers :])
        while waiting:
            batch += cut(waiting.popleft().result(), size)
            if (path := next(left, None)) is not None:
                waiting.append(pool.submit(decoders.decode, path))
            while len(batch) >= WindowConfig().batch_windows or (batch and not waiting):
                windows, batch = batch[: WindowConfig().batch_windows], batch[WindowConfig().batch_windows :]
                model.towers.audio(torch.from_numpy(np.stack(windows)))


def timed(run: Callable[[], object]) -> float:
    started = time.perf_counter()
    run()
    return time.perf_counter() - started


if __name__ == "__main__":
    sys.exit(main())
