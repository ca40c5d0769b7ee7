"""Gradients of a contrastive loss over a batch that does not fit: GradCache (Gao et al. 2021).

A first pass puts the towers over the batch in chunks, without a graph; the loss gives the gradient of every embedding;
a second pass repeats each chunk with a graph and carries that gradient back. The result is that of one pass over the
whole batch, exactly, because each chunk sees in both passes the same dropout (its generator is seeded by name), the
same SpecAugment (drawn with the example) and the same batch norm (ghost batches). A tower whose batch fits in one chunk
keeps its first graph, so nothing is computed twice.

Nothing here waits for the device: what is known of a step is left on it, for the caller to read at its end.

Legend: R pairs of this rank, S samples, D embedding size.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor

from trainer import dist
from trainer.batchnorm import recorded
from trainer.draw import torch_seed
from trainer.loss import LossConfig, contrastive_loss, shared_rate
from trainer.recipes import ComputeConfig
from trainer.tokens import TextChunk
from trainer.towers import MuLan


@dataclass(frozen=True, kw_only=True)
class StepResult:
    """Of the global mini-batch, on the device; gradients are left, summed over ranks, in the parameters."""

    loss: Tensor
    shared_text_rate: Tensor
    shared_recording_rate: Tensor


def accumulate_gradients(
    model: MuLan,
    wave_RS: Tensor,
    masks_R4: Tensor | None,
    texts: Sequence[TextChunk],
    text_ids_R: Tensor,
    recording_ids_R: Tensor,
    *,
    loss: LossConfig,
    compute: ComputeConfig,
    seed: int,
    step: int,
) -> StepResult:
    """Add the gradient of the global mini-batch's mean loss to the parameters. Inputs may be on the host."""
    device = model.log_temperature.device
    rank = dist.rank()
    rows = [slice(start, start + compute.audio_chunk) for start in range(0, len(wave_RS), compute.audio_chunk)]
    # Waves alone are too large to be on the device at once.
    texts = [chunk.to(device) for chunk in texts]
    masks_R4 = masks_R4.to(device) if masks_R4 is not None else None

    def audio(k: int) -> Tensor:
        masks = masks_R4[rows[k]] if masks_R4 is not None else None
        with _seeded(device, torch_seed(seed, "dropout", step, rank, "audio", k)), autocast(device, compute.precision):
            z: Tensor = model.audio(wave_RS[rows[k]].to(device, non_blocking=True), masks)
        return z

    def text(k: int) -> Tensor:
        with _seeded(device, torch_seed(seed, "dropout", step, rank, "text", k)), autocast(device, compute.precision):
            z: Tensor = model.text(texts[k].tokens_BL, texts[k].attention_BL)
        return z

    order_R = torch.cat([chunk.order_B for chunk in texts])
    total = dist.GradientSum(model.parameters())
    with recorded(model.audio) as batch_norm:
        audio_pass = _Pass(audio, len(rows), batch_norm.record)
        text_pass = _Pass(text, len(texts), lambda on: None)
        audio_RD = audio_pass.embeddings.requires_grad_()
        text_RD = torch.empty_like(text_pass.embeddings)
        text_RD[order_R] = text_pass.embeddings
        text_RD.requires_grad_()
        result = contrastive_loss(audio_RD, text_RD, model.log_temperature, text_ids_R.to(device), loss)
        with total.last():  # of the temperature
            result.loss.backward()
        assert audio_RD.grad is not None
        assert text_RD.grad is not None
        # The text tower is the larger in weights and the smaller in work: its sum over ranks goes on below the other's.
        text_pass.backward(text_RD.grad[order_R], total)
        audio_pass.backward(audio_RD.grad, total)
    total.finish()
    return StepResult(
        loss=dist.sum_over_ranks(result.loss.detach()),
        shared_text_rate=result.shared_text_rate,
        shared_recording_rate=shared_rate(recording_ids_R.to(device)),
    )


class _Pass:
    """One tower over its chunks: `embeddings` now, `backward` when their gradient is known."""

    def __init__(self, forward: Callable[[int], Tensor], chunks: int, record: Callable[[bool], None]) -> None:
        self._forward, self._chunks, self._record = forward, chunks, record
        self._kept: Tensor | None = None
        if chunks == 1:
            self._kept = self._counted(0)
            self.embeddings = self._kept.detach().clone()
        else:
            with torch.no_grad():
                self.embeddings = torch.cat([forward(k) for k in range(chunks)])

    def backward(self, gradient: Tensor, total: dist.GradientSum) -> None:
        done = 0
        for k in range(self._chunks):
            z = self._kept if self._kept is not None else self._counted(k)
            if not z.requires_grad:
                return  # all of the tower is locked
            with total.last() if k == self._chunks - 1 else nullcontext():
                z.backward(gradient[done : done + len(z)])
            done += len(z)

    def _counted(self, k: int) -> Tensor:
        self._record(True)
        try:
            return self._forward(k)
        finally:
            self._record(False)


def autocast(device: torch.device, precision: str) -> torch.autocast:
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=precision == "bfloat16")


@contextmanager
def _seeded(device: torch.device, seed: int) -> Iterator[None]:
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        yield
