"""Batches of a rank: the same however they are read and decoded, nothing left behind, and nothing read for nothing."""

import itertools
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import torch

from schemas.run import RunError
from schemas.sources import TextSource
from tests.pipeline.jobs import wait_until
from tests.trainer.conftest import ROOT
from tests.trainer.fixture_runs import shard_row, tone_flac, tone_rows, write_run
from trainer import decoders
from trainer.audio import Audio
from trainer.data import Corpus, DataConfig, Place
from trainer.loader import Batch, Loader, Texts, read_batch
from trainer.mixture import Mixture
from trainer.recipes import tiny
from trainer.split import Split
from trainer.streams import Lanes
from trainer.tokens import load_tokenizer

pytestmark = pytest.mark.slow

EVERYTHING: dict[str, Any] = {"validation_fraction": 0.0}
WINDOW_SAMPLES = 160_000
PAIRS, LANES = 24, 2


@pytest.fixture(scope="module")
def corpus(tone_run: Path) -> Corpus:
    return Corpus.open([tone_run], DataConfig(**EVERYTHING, buffer_rows=32))


@pytest.fixture(scope="module")
def texts(text_checkpoint: Path) -> Texts:
    return Texts(tokenizer=load_tokenizer(str(text_checkpoint)), recipe=tiny())


def open_loader(corpus: Corpus, texts: Texts | None, *, workers: int, state: Any = None) -> Loader:
    audio = Audio(corpus)
    lanes = Lanes(corpus, Mixture(), PAIRS, LANES, 0, audio=audio)
    if state is not None:
        lanes.restore([lanes.to_json(state)])
    return Loader(lanes, audio, texts, window_samples=WINDOW_SAMPLES, workers=workers)


def take(loader: Loader, count: int) -> list[Batch]:
    try:
        return list(itertools.islice(loader, count))
    finally:
        loader.close()


@pytest.fixture(scope="module")
def plain(corpus: Corpus, texts: Texts) -> list[Batch]:
    """The batches that one thread decodes."""
    return take(open_loader(corpus, texts, workers=0), 5)


def assert_equal(ours: list[Batch], theirs: list[Batch]) -> None:
    assert len(ours) == len(theirs) > 0
    for left, right in zip(ours, theirs, strict=True):
        assert left.step == right.step
        assert left.examples == right.examples
        assert torch.equal(left.wave_RS, right.wave_RS)
        assert torch.equal(left.masks_R4, right.masks_R4)
        assert torch.equal(left.text_ids_R, right.text_ids_R)
        assert left.tokens == right.tokens
        assert all(torch.equal(a.tokens_BL, b.tokens_BL) for a, b in zip(left.chunks, right.chunks, strict=True))


@pytest.mark.parametrize("workers", [1, 2])
def test_batches_do_not_depend_on_workers(
    corpus: Corpus, texts: Texts, plain: list[Batch], caplog: pytest.LogCaptureFixture, workers: int
) -> None:
    caplog.set_level("INFO")
    assert_equal(take(open_loader(corpus, texts, workers=workers), 5), plain)
    assert f"{workers} workers share " in caplog.text
    assert plain[0].wave_RS.shape == (PAIRS, WINDOW_SAMPLES)
    assert plain[0].wave_RS.float().std(dim=1).min() > 1000
    assert sum(len(chunk.order_B) for chunk in plain[0].chunks) == PAIRS


def test_a_loader_goes_on_where_another_stopped(corpus: Corpus, texts: Texts, plain: list[Batch]) -> None:
    loader = open_loader(corpus, texts, workers=1)
    first = list(itertools.islice(loader, 2))
    state = loader.state(1)
    loader.close()
    assert_equal(first + take(open_loader(corpus, texts, workers=0, state=state), 3), plain)


def test_threads_decode_where_no_memory_can_be_shared(
    corpus: Corpus,
    texts: Texts,
    plain: list[Batch],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def none_left(size: int) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(decoders, "_shared_memory", none_left)
    before = children()
    loader = open_loader(corpus, texts, workers=2)
    assert not children() - before
    assert_equal(take(loader, 5), plain)
    assert caplog.text.count("threads of this process decode instead") == 1


def test_clips_too_large_for_the_shared_memory_are_decoded(
    corpus: Corpus, texts: Texts, plain: list[Batch], monkeypatch: pytest.MonkeyPatch
) -> None:
    clip_bytes = plain[0].examples[0].row.samples  # flac has about a byte a sample
    monkeypatch.setattr(decoders, "_LEAST_CLIP_BYTES", clip_bytes // 8)
    audio = Audio(corpus)
    audio.mean_clip_bytes = 0
    lanes = Lanes(corpus, Mixture(), PAIRS, LANES, 0, audio=audio)
    assert_equal(take(Loader(lanes, audio, texts, window_samples=WINDOW_SAMPLES, workers=1), 5), plain)


# Without the trainer's other imports, which take long.
DECODING = f"""
import logging, shutil, sys
sys.path.insert(0, {str(ROOT)!r})
import numpy as np
from tests.trainer.fixture_runs import tone_flac
from trainer.decoders import Decoders
from trainer.windows import Window

logging.basicConfig(level="INFO")
clip, window = tone_flac(440, 2), Window(encoding="flac", start_sample=100, clip_samples=32_000)

def decoded(workers):
    decoders = Decoders(lambda place: clip, workers=workers, window_samples=16_000, mean_clip_bytes=0)
    waves = np.empty((40, 8, 16_000), np.int16)
    for done in [decoders.submit([(0, 0)] * 8, [window] * 8, wave) for wave in waves]:
        assert done.result() == [None] * 8
    return decoders, waves
"""


def test_a_small_dev_shm_is_enough() -> None:
    """A container has 64 MB; here there is one."""
    unshare = shutil.which("unshare")
    inside = 'mount -t tmpfs -o size=1m none /dev/shm && exec "$@"'
    within = [str(unshare), "-m", "sh", "-c", inside, "sh"]
    if unshare is None or subprocess.run([*within, "true"], check=False, capture_output=True).returncode:
        pytest.skip("no right to mount a small /dev/shm")
    script = f"""{DECODING}
assert shutil.disk_usage("/dev/shm").total == 1 << 20
(ours, waves), (theirs, same) = decoded(2), decoded(0)
assert (waves == same).all() and waves.std() > 1000
ours.close()
theirs.close()
"""
    done = subprocess.run(
        [*within, sys.executable, "-c", script], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "2 workers share " in done.stderr


@pytest.mark.parametrize("workers", [0, 1])
def test_a_clip_that_cannot_be_decoded_is_named(tmp_path: Path, workers: int) -> None:
    rows = [shard_row(f"r{i}", sf=["x"], audio=tone_flac(440, 12), duration_s=12.0) for i in range(8)]
    rows[3]["audio"] = rows[3]["audio"][:2000]
    corpus = Corpus.open([write_run(tmp_path / "run", rows)], DataConfig(**EVERYTHING))
    audio = Audio(corpus)
    lanes = Lanes(corpus, Mixture.of({TextSource.SF: 1}), 8, 1, 0, audio=audio)
    loader = Loader(lanes, audio, None, window_samples=WINDOW_SAMPLES, workers=workers)
    with pytest.raises(RunError, match=r"shards/g0001-00001\.parquet.*recording r3 cannot be decoded"):
        take(loader, 1)


def test_a_shard_that_is_lost_between_planning_and_reading_is_named(tmp_path: Path) -> None:
    corpus = Corpus.open([write_run(tmp_path / "run", tone_rows(8), shards=1)], DataConfig(**EVERYTHING))
    (shard,) = (tmp_path / "run" / "shards").iterdir()
    shard.unlink()
    audio = Audio(Corpus(corpus.runs, corpus.config, corpus.index, {}))
    for run in corpus.runs:
        run._opened = type(run._opened)()
    audio.expect(0, [0])
    with pytest.raises(RunError, match=r"g0001-00000\.parquet.*--skip_corrupt"):
        audio.take(Place(0, 0))
    audio.close()


def children() -> set[psutil.Process]:
    """Some may be of other tests, or of a library."""
    return set(psutil.Process().children())


def shared_memory() -> set[str]:
    folder = Path("/dev/shm")
    return {path.name for path in folder.iterdir()} if folder.is_dir() else set()


def test_closing_leaves_nothing(corpus: Corpus, texts: Texts) -> None:
    before = children()
    threads, files = set(threading.enumerate()), shared_memory()
    loader = open_loader(corpus, texts, workers=2)
    assert len(children() - before) == 2
    next(iter(loader))
    loader.close()
    assert not children() - before
    assert set(threading.enumerate()) <= threads
    # Semaphores of other tests' processes come and go at once.
    wait_until(lambda: shared_memory() <= files, "shared memory is left")
    open_loader(corpus, texts, workers=2).close()  # at once, with everything still on its way
    assert not children() - before


def test_a_killed_trainer_takes_its_workers_along() -> None:
    script = f'{DECODING}\nkept = decoded(2)\nprint("going", flush=True)\nsys.stdin.read()'
    trainer = subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    with trainer:
        assert trainer.stdout is not None
        assert trainer.stdout.readline() == b"going\n"
        workers = psutil.Process(trainer.pid).children()
        assert len(workers) == 2
        for worker in workers:
            worker.send_signal(signal.SIGINT)  # as a terminal does; it is the trainer's to handle
        assert not psutil.wait_procs(workers, timeout=0.5)[0]
        trainer.kill()
    assert not psutil.wait_procs(workers, timeout=10)[1]


def test_a_worker_that_is_gone_ends_the_loader(corpus: Corpus) -> None:
    before = children()
    loader = open_loader(corpus, None, workers=1)
    batches = iter(loader)
    next(batches)
    (worker,) = children() - before
    worker.kill()
    with pytest.raises(RunError, match="a decoding worker is gone"):
        list(itertools.islice(batches, 100))
    loader.close()


def read_by(act: Callable[[], Any]) -> int:
    """Bytes that this process reads meanwhile, as the system counts them."""
    before = psutil.Process().io_counters().read_chars
    act()
    return psutil.Process().io_counters().read_chars - before


@pytest.mark.skipif(not hasattr(psutil.Process, "io_counters"), reason="the system does not count")
def test_validation_reads_the_clips_that_it_keeps(tmp_path: Path) -> None:
    clips = [np.random.default_rng(i).integers(-9000, 9000, 160_000, np.int16).tobytes() for i in range(8)]
    rows = [
        shard_row(f"r{i:03d}", sf=[f"text {i}"], audio=clips[i % 8], encoding="pcm16", duration_s=10.0)
        for i in range(320)
    ]
    run = write_run(tmp_path / "run", rows, shards=20, audio_encoding="pcm16")
    corpus = Corpus.open([run], DataConfig(validation_fraction=0.9))
    pairs, batches = 16, []

    def read() -> None:
        lanes = Lanes(corpus, Mixture.of({TextSource.SF: 1}), pairs, 8, 0, split=Split.VALIDATION)
        batches.append(read_batch(lanes, corpus, None, window_samples=160_000)[0])

    clip_bytes = 320_000
    assert pairs * clip_bytes < read_by(read) < 1.25 * pairs * clip_bytes < 20 * 16 * clip_bytes / 4
    kept = {
        example.row.recording_id: wave_S
        for example, wave_S in zip(batches[0].examples, batches[0].wave_RS, strict=True)
    }
    assert len(kept) == pairs
    assert all(wave.numpy().tobytes() == clips[int(name[1:]) % 8] for name, wave in kept.items())


def test_a_clip_that_two_expect_is_read_once(corpus: Corpus) -> None:
    audio = Audio(corpus)

    def twice() -> None:
        audio.expect(0, [1, 2])
        audio.expect(0, [2, 3])
        taken.extend(audio.take(Place(0, row)) for row in (2, 3, 1, 2))

    taken: list[Any] = []
    read = read_by(twice)
    assert bytes(taken[0]) == bytes(taken[3])
    assert sum(map(len, taken[:3])) <= read < sum(map(len, taken[:3])) * 1.1
    with pytest.raises(KeyError):
        audio.take(Place(0, 2))
    audio.close()
