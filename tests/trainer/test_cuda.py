"""What only a GPU can show: that it computes what a CPU does, goes on after a kill, sums by NCCL, and says when it is
full. Without one all of this is skipped."""

import dataclasses
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers.models.bert import BertTokenizer

from tests.trainer.test_gradcache import ALL_TOKENS, PAIRS, distance, gradients, small_model, statistics
from tests.trainer.test_loop import losses, options, smallest
from tests.trainer.test_pretrain import only_aset
from tests.trainer.test_step import model_of, plain_pass, real_peak, with_dropout
from trainer.audio import Audio
from trainer.checkpoint import checkpoints
from trainer.data import Corpus
from trainer.devices import prepare
from trainer.estimate import estimate_memory
from trainer.loader import Batch, Loader
from trainer.logmel import LogMel, LogMelConfig
from trainer.logs import read_metrics
from trainer.loop import Ending
from trainer.mixture import Mixture
from trainer.model import Model, load
from trainer.recipes import tiny
from trainer.streams import Lanes
from trainer.tasks.classification import pretrain
from trainer.tasks.contrastive import train

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device is at hand"),
]

ROOT = Path(__file__).resolve().parents[2]
CUDA = torch.device("cuda")
WORDS = ["low", "middle", "high", "shrill", "tone", "tones", "sound", "this", "is", "a", "steady", "sine"]


@pytest.fixture(autouse=True)
def _switches() -> Iterator[None]:
    """Those that a training sets for its process."""
    cudnn, matmul = torch.backends.cudnn, torch.backends.cuda.matmul
    before = cudnn.benchmark, cudnn.allow_tf32, matmul.allow_tf32
    prepare(CUDA, "float32")
    yield
    cudnn.benchmark, cudnn.allow_tf32, matmul.allow_tf32 = before


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tokenizer")
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS]
    (folder / "vocab.txt").write_text("\n".join(vocabulary), encoding="utf-8")
    BertTokenizer(vocab=str(folder / "vocab.txt")).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def on_cpu(tone_run: Path, tokenizer: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("cpu") / "run"
    assert train(smallest(tokenizer), options(tone_run, output)) == Ending.DONE
    return output


@pytest.fixture(scope="module")
def on_cuda(tone_run: Path, tokenizer: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("cuda") / "run"
    assert train(smallest(tokenizer), options(tone_run, output, device="cuda")) == Ending.DONE
    return output


@pytest.mark.parametrize("convention", ["kaldi", "htk"])
def test_log_mel_is_that_of_a_cpu(convention: str) -> None:
    front_end = LogMel(LogMelConfig(convention=convention, frames=1000))
    generator = torch.Generator().manual_seed(0)
    wave_BS = torch.randint(-20_000, 20_000, (4, 160_000), dtype=torch.int16, generator=generator)
    wave_BS[3] //= 10_000  # nearly silent
    expected = front_end(wave_BS)
    with torch.autocast("cuda", dtype=torch.bfloat16):
        found = front_end.to(CUDA)(wave_BS.to(CUDA))
    assert found.dtype == torch.float32
    torch.testing.assert_close(found.cpu(), expected, rtol=0, atol=1e-4)


@pytest.mark.parametrize(("dtype", "bar"), [(torch.float64, 1e-10), (torch.float32, 2e-3)])
@pytest.mark.parametrize("body", ["resnet", "ast", "auto_waves"])
def test_the_gradient_is_that_of_a_cpu_however_it_is_cut(body: str, dtype: torch.dtype, bar: float) -> None:
    """A body of waves normalises them in float32, whatever its weights are."""
    freeze = body != "resnet"
    bar = max(bar, 1e-6) if body == "auto_waves" else bar
    truth = small_model(freeze=freeze, body=body)
    loss, expected = gradients(truth, audio_chunk=PAIRS, text_tokens=ALL_TOKENS)
    for audio_chunk, text_tokens in ((PAIRS, ALL_TOKENS), (8, ALL_TOKENS), (4, 84)):
        model = small_model(freeze=freeze, body=body, dtype=dtype).to(CUDA)
        ours, found = gradients(model, audio_chunk=audio_chunk, text_tokens=text_tokens)
        assert abs(ours / loss - 1) <= bar
        assert distance([value.cpu() for value in found], expected) <= bar
        for here, there in zip(statistics(model), statistics(truth), strict=True):
            torch.testing.assert_close(here.cpu().double(), there.double(), rtol=bar, atol=bar)


def test_dropout_is_the_same_in_both_passes() -> None:
    loss, truth = plain_pass(with_dropout().to(CUDA), CUDA)
    ours, found = gradients(with_dropout().to(CUDA), audio_chunk=8, text_tokens=72)
    assert abs(ours / loss - 1) < 1e-10
    assert distance(found, truth) < 1e-10


def test_a_training_has_the_losses_of_a_cpu(on_cpu: Path, on_cuda: Path) -> None:
    np.testing.assert_allclose(losses(on_cuda), losses(on_cpu), rtol=1e-3)
    assert losses(on_cuda)[0] == pytest.approx(losses(on_cpu)[0], rel=1e-6)
    theirs, ours = (read_metrics(folder, "validation") for folder in (on_cpu, on_cuda))
    assert [line["loss"] for line in ours] == pytest.approx([line["loss"] for line in theirs], rel=1e-3)


@pytest.mark.parametrize("change", [{"precision": "bfloat16"}, {"precision": "tf32"}, {"compile": True}])
def test_other_ways_to_compute_have_about_these_losses(
    change: dict[str, Any], on_cuda: Path, tone_run: Path, tokenizer: Path, tmp_path: Path
) -> None:
    recipe = smallest(tokenizer)
    recipe = dataclasses.replace(recipe, compute=dataclasses.replace(recipe.compute, **change))
    assert train(recipe, options(tone_run, tmp_path, steps=6, device="cuda")) == Ending.DONE
    bar = 1e-3 if "compile" in change else 2e-2
    np.testing.assert_allclose(losses(tmp_path), losses(on_cuda)[:6], rtol=bar)


SCRIPT = """
import sys
from pathlib import Path
from tests.trainer.test_loop import options, smallest
from trainer.commands import exit_code, start_logging
from trainer.tasks.contrastive import train
run, tokenizer, output, device, fraction = sys.argv[1:]
start_logging()
if fraction != "1":
    import torch
    torch.cuda.set_per_process_memory_fraction(float(fraction))
given = options(Path(run), Path(output), device=device)
sys.exit(exit_code("mulan train", lambda: train(smallest(Path(tokenizer)), given)))
"""


def command(folder: Path, *words: str | Path) -> list[str]:
    script = folder / "script.py"
    script.write_text(SCRIPT)
    return [sys.executable, str(script), *map(str, words)]


ENVIRONMENT = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}


def test_a_killed_training_goes_on(on_cuda: Path, tone_run: Path, tokenizer: Path, tmp_path: Path) -> None:
    """Not to the bit: the fastest convolutions may be others, and add up in another order."""
    output = tmp_path / "run"
    words = command(tmp_path, tone_run, tokenizer, output, "cuda", "1")
    victim = subprocess.Popen(words, env=ENVIRONMENT, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while not checkpoints(output / "checkpoints"):
        assert victim.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.005)
    victim.kill()
    victim.wait()
    done = subprocess.run(words, env=ENVIRONMENT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    assert "going on after step" in done.stderr or "done already" in done.stderr
    np.testing.assert_allclose(losses(output), losses(on_cuda), rtol=1e-3)


def test_a_full_gpu_ends_in_one_line(tone_run: Path, tokenizer: Path, tmp_path: Path) -> None:
    words = command(tmp_path, tone_run, tokenizer, tmp_path / "run", "cuda", "0.00005")
    done = subprocess.run(words, env=ENVIRONMENT, capture_output=True, text=True, check=False)
    assert done.returncode == 2, done.stderr[-2000:]
    last = done.stderr.splitlines()[-1]
    assert last.startswith("mulan train: CUDA out of memory. Tried to allocate")
    assert "compute.gradient_checkpointing=true" in last
    assert "Traceback" not in done.stderr


NCCL_SCRIPT = """
import sys
sys.path.insert(0, {root!r})
from pathlib import Path
import torch
from tests.trainer.test_gradcache import gradients, small_model, statistics
from tests.trainer.test_loop import options, smallest
from trainer import dist
from trainer.devices import prepare
from trainer.loop import Ending
from trainer.tasks.contrastive import train
assert train(smallest(Path({tokenizer!r})), options(Path({run!r}), Path({output!r}), device="cuda")) == Ending.DONE

# Alone, a rank asks nobody. Told that it is not, it gathers and sums by NCCL, over itself.
prepare(torch.device("cuda"), "float32")
model = small_model(freeze=False).to("cuda")
loss, truth = gradients(model, audio_chunk=8, text_tokens=72)
seen = statistics(model)
dist.start("cuda")
assert torch.distributed.get_backend(torch.distributed.group.WORLD) is not None
dist.rank_count = lambda: 2
dist._BUCKET_ELEMENTS = 3000
calls = []
reduce = torch.distributed.all_reduce
def counted(tensor, *given, **named):
    calls.append(tensor.device.type)
    return reduce(tensor, *given, **named)
torch.distributed.all_reduce = counted
model = small_model(freeze=False).to("cuda")
again, found = gradients(model, audio_chunk=8, text_tokens=72)
assert abs(again / loss - 1) < 1e-12, (again, loss)
assert all(torch.allclose(a, b, rtol=1e-9, atol=1e-12) for a, b in zip(found, truth, strict=True))
assert all(torch.allclose(a, b, rtol=1e-9, atol=1e-12) for a, b in zip(statistics(model), seen, strict=True))
assert len(calls) > 5 and set(calls) == {{"cuda"}}, calls
dist.broadcast(model.state_dict().values())
assert dist.broadcast_text("said") == "said"  # by gloo, from the host
assert dist.any_rank(True, torch.device("cuda")) and not dist.any_rank(False, torch.device("cuda"))
dist.stop()
"""


def test_ranks_speak_by_nccl(on_cuda: Path, tone_run: Path, tokenizer: Path, tmp_path: Path) -> None:
    """One rank, since two need two GPUs: the group, its checkpoint, and each operation between ranks."""
    output, script = tmp_path / "run", tmp_path / "rank.py"
    given = {"tokenizer": tokenizer, "run": tone_run, "output": output, "root": ROOT}
    script.write_text(NCCL_SCRIPT.format(**{name: str(value) for name, value in given.items()}))
    launch = ["torch.distributed.run", "--rdzv_backend", "c10d", "--rdzv_endpoint", "127.0.0.1:0"]
    words = [sys.executable, "-m", *launch, "--nproc_per_node", "1", str(script)]
    done = subprocess.run(words, env=ENVIRONMENT, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-4000:]
    np.testing.assert_allclose(losses(output), losses(on_cuda), rtol=1e-3)
    assert [path.name for path in checkpoints(output / "checkpoints")] == ["step-00000008", "step-00000012"]


def test_pinned_waves_are_the_same(tone_run: Path) -> None:
    """Copied while later batches are decoded, each into memory that an earlier one may have had."""
    recipe = smallest(Path("none"))

    def waves(*, pin: bool) -> Iterator[Batch]:
        corpus = Corpus.open([str(tone_run)], recipe.data)
        audio = Audio(corpus)
        lanes = Lanes(corpus, Mixture(), recipe.batch_size, recipe.lanes, 0, audio=audio)
        loader = Loader(lanes, audio, None, window_samples=recipe.data.window_samples, workers=1, pin=pin)
        try:
            for batch, _ in zip(loader, range(12), strict=False):
                assert batch.wave_RS.is_pinned() == pin
                yield batch
        finally:
            loader.close()

    copies = [batch.wave_RS.to(CUDA, non_blocking=True) for batch in waves(pin=True)]
    for copy, batch in zip(copies, waves(pin=False), strict=True):
        assert torch.equal(copy.cpu(), batch.wave_RS)


def test_pretraining_has_the_losses_of_a_cpu(tone_run: Path, tmp_path: Path) -> None:
    for device in ("cpu", "cuda"):
        run = options(tone_run, tmp_path / device, steps=6, workers=0, device=device)
        assert pretrain(only_aset(), run) == Ending.DONE
    np.testing.assert_allclose(losses(tmp_path / "cuda"), losses(tmp_path / "cpu"), rtol=1e-3)


def test_the_estimate_is_what_is_allocated() -> None:
    recipe = tiny("none")
    recipe = dataclasses.replace(recipe, compute=dataclasses.replace(recipe.compute, audio_chunk=24, text_tokens=1536))
    model = model_of(recipe)
    model = Model(model.towers.to(CUDA), None, recipe)  # type: ignore[arg-type]
    estimate = estimate_memory(model, recipe, ranks=1, text_tokens=64)
    assert estimate.peak == pytest.approx(real_peak(model, recipe, 64, CUDA), rel=0.1)


def test_vectors_are_those_of_a_cpu(on_cpu: Path) -> None:
    waves = [np.random.default_rng(i).normal(0, 0.1, 40_000).astype(np.float32) for i in range(5)]
    texts = ["low tone", "a high sine", "steady"]
    here, there = load(on_cpu / "model"), load(on_cpu / "model", "cuda")
    np.testing.assert_allclose(there.embed_audio(waves), here.embed_audio(waves), atol=1e-4)
    np.testing.assert_allclose(there.embed_text(texts), here.embed_text(texts), atol=1e-4)
