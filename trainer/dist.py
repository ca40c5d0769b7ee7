"""The few collective operations that training needs, the same code for one process and for many.

Started by `torchrun`, a process finds its rank in the environment; started plainly, it is the only rank. Gradients are
*summed* over ranks: each rank's loss is its share of the global loss, so N ranks equal one process exactly.
"""

import importlib
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from functools import partial

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed._functional_collectives import all_gather_single, wait_tensor

from schemas.run import RunError
from trainer.devices import device_of

_BUCKET_ELEMENTS = 16_000_000  # gradients are flattened and summed over ranks in pieces of this size
TIMEOUT_S = 1800.0

_pretended = 0


@dataclass(frozen=True, kw_only=True)
class Ranks:
    """Which of how many processes this is."""

    rank: int = 0
    count: int = 1
    local_rank: int = 0


class RanksError(Exception):
    """A rank that did not come, ended or did not answer: nobody can go on without it."""


def start(device: str, timeout_s: float = TIMEOUT_S) -> Ranks:
    """Join the group that `torchrun` describes in the environment; without one, be alone.

    A GPU becomes the current one. Raises ValueError where there is no such device, RanksError where a rank does not
    come.
    """
    place = device_of(device)
    if place.type == "cuda":
        torch.cuda.set_device(place)
    if "RANK" not in os.environ or "WORLD_SIZE" not in os.environ:
        return Ranks()
    if not dist.is_initialized():
        # Checkpointing and optimizers import this. Imported once a group exists it keeps the group for good: gloo's
        # threads outlive `stop`, and now and then one of them aborts the interpreter that is shutting down.
        importlib.import_module("torch._dynamo")

        # With a GPU, gloo stays for what is on the host: texts and states.
        gpu = place if place.type == "cuda" else None
        backend = "cpu:gloo,cuda:nccl" if gpu is not None else "gloo"
        with naming_lost_ranks(timeout_s):
            dist.init_process_group(backend, timeout=timedelta(seconds=timeout_s), device_id=gpu)
    return Ranks(rank=dist.get_rank(), count=dist.get_world_size(), local_rank=int(os.environ.get("LOCAL_RANK", "0")))


@contextmanager
def naming_lost_ranks(timeout_s: float) -> Iterator[None]:
    """What torch says of a rank that is gone, as RanksError with one line."""
    try:
        yield
    except RuntimeError as error:
        # gloo has no type of its own.
        if not isinstance(error, dist.DistError) and "gloo" not in str(error):
            raise
        reason = str(error).strip().splitlines()[0]
        raise RanksError(
            f"rank {os.environ['RANK']} of {os.environ['WORLD_SIZE']}: another rank did not come, ended, or did not "
            f"answer for {timeout_s:g} s ({reason}); its own words say why; the same command goes on from the last "
            "checkpoint"
        ) from error


def stop() -> None:
    if dist.is_initialized():
        dist.destroy_process_group()


def rank_count() -> int:
    if _pretended:
        return 1
    return dist.get_world_size() if dist.is_initialized() else 1


def rank() -> int:
    return dist.get_rank() if dist.is_initialized() and not _pretended else 0


def is_first() -> bool:
    """Whether this process speaks for all; known without a group, by what `torchrun` says."""
    return os.environ.get("RANK", "0") == "0"


@contextmanager
def pretended(ranks: int) -> Iterator[None]:
    """Within it, this process is one of so many, none of which is asked: what a step computes then has the shapes of
    theirs, and says nothing."""
    global _pretended
    _pretended = ranks
    try:
        yield
    finally:
        _pretended = 0


def gather(local: Tensor) -> Tensor:
    """Rows of all ranks, in rank order; gradients flow back, summed, to the rank that owns a row."""
    if _pretended:
        return torch.cat([local] * _pretended)
    if rank_count() == 1:
        return local
    group = dist.group.WORLD
    assert group is not None
    gathered: Tensor = wait_tensor(all_gather_single(local.contiguous(), 0, group))
    return gathered


def sum_over_ranks(value: Tensor) -> Tensor:
    """In place; returns its argument."""
    if rank_count() > 1:
        dist.all_reduce(value)
    return value


class GradientSum:
    """Sums gradients over ranks, in large flat pieces, while the backward pass that makes the last of them goes on.

        total = GradientSum(parameters)
        with total.last():
            loss.backward()  # the last one that adds to what it reaches
        total.finish()

    A piece is sent as soon as all of its gradients are final and every piece before it was sent, so all ranks send in
    one order. Gradients come about from a network's end to its beginning, and so do the pieces. What no `last()` has
    seen, `finish` sends. Alone, nothing happens.
    """

    def __init__(self, parameters: Iterable[torch.nn.Parameter]) -> None:
        alone = rank_count() == 1
        self._pieces = [] if alone else _pieces([p for p in parameters if p.requires_grad])
        self._missing = [len(piece) for piece in self._pieces]
        self._sent: list[tuple[Tensor, dist.Work]] = []

    @contextmanager
    def last(self) -> Iterator[None]:
        """Within it, a gradient that is added to is final."""
        hooks = [
            parameter.register_post_accumulate_grad_hook(partial(self._is_final, i))
            for i, piece in enumerate(self._pieces)
            for parameter in piece
        ]
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()

    def finish(self) -> None:
        """Leave the sums in the parameters; where a rank has no gradient, it counts as zero."""
        while len(self._sent) < len(self._pieces):
            self._send()
        for piece, (flat, work) in zip(self._pieces, self._sent, strict=True):
            work.wait()
            for parameter, part in zip(piece, flat.split([p.numel() for p in piece]), strict=True):
                assert parameter.grad is not None
                parameter.grad.copy_(part.view_as(parameter))

    def _is_final(self, piece: int, _: Tensor) -> None:
        self._missing[piece] -= 1
        while len(self._sent) < len(self._pieces) and not self._missing[len(self._sent)]:
            self._send()

    def _send(self) -> None:
        piece = self._pieces[len(self._sent)]
        for parameter in piece:
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
        flat = torch.cat([parameter.grad.flatten() for parameter in piece if parameter.grad is not None])
        work = dist.all_reduce(flat, async_op=True)
        assert work is not None
        self._sent.append((flat, work))


def _pieces(parameters: Sequence[torch.nn.Parameter]) -> list[list[torch.nn.Parameter]]:
    pieces: list[list[torch.nn.Parameter]] = []
    elements = 0
    for parameter in reversed(parameters):
        if not pieces or elements + parameter.numel() > _BUCKET_ELEMENTS:
            pieces.append([])
            elements = 0
        pieces[-1].append(parameter)
        elements += parameter.numel()
    return pieces


@torch.no_grad()
def broadcast(tensors: Iterable[Tensor]) -> None:
    """The first rank's numbers, in place, on every rank; all ranks have to ask with the same shapes."""
    for tensor in tensors if rank_count() > 1 else ():
        flat = tensor.contiguous()
        dist.broadcast(flat, 0)
        tensor.copy_(flat)


def gather_texts(text: str) -> list[str]:
    """The text of every rank, in rank order, on every rank; all ranks have to ask. JSON is how values travel."""
    if rank_count() == 1:
        return [text]
    content = text.encode()
    sizes = [torch.zeros(1, dtype=torch.int64) for _ in range(rank_count())]
    dist.all_gather(sizes, torch.tensor([len(content)]))
    width = max(1, *(int(size) for size in sizes))
    parts = [torch.empty(width, dtype=torch.uint8) for _ in sizes]
    dist.all_gather(parts, torch.frombuffer(bytearray(content.ljust(width, b"\0")), dtype=torch.uint8))
    return [part[: int(size)].numpy().tobytes().decode() for part, size in zip(parts, sizes, strict=True)]


def broadcast_text(text: str) -> str:
    """The first rank's text, on every rank; all ranks have to ask, and only what the first one says counts."""
    return _broadcast(text.encode()).decode()


class SaidByFirst(ValueError):
    """What all ranks end with; the first one says it."""


def from_first(read: Callable[[], bytes]) -> bytes:
    """What the first rank reads, on every rank; all ranks have to ask. Its RunError or ValueError ends all."""
    if rank_count() == 1:
        return read()
    content, failure = b"", None
    if rank() == 0:
        try:
            content = read()
        except (RunError, ValueError) as error:
            failure = error
    if said := broadcast_text(str(failure or "")):
        raise failure or SaidByFirst(said)
    return _broadcast(content)


def _broadcast(content: bytes) -> bytes:
    if rank_count() == 1:
        return content
    size = torch.tensor([len(content)])
    dist.broadcast(size, 0)
    buffer = torch.zeros(max(1, int(size)), dtype=torch.uint8)
    if rank() == 0 and content:
        buffer.copy_(torch.frombuffer(bytearray(content), dtype=torch.uint8))
    dist.broadcast(buffer, 0)
    return buffer[: int(size)].numpy().tobytes()


def any_rank(flag: bool, device: torch.device) -> bool:
    """True where it is true on any rank."""
    if rank_count() == 1:
        return flag
    return bool(sum_over_ranks(torch.tensor(float(flag), device=device)) > 0)
