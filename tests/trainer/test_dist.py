"""Joining and leaving the group of ranks."""

import sys
from collections.abc import Callable

import pytest

from trainer.dist import broadcast_text, gather_texts

pytestmark = pytest.mark.slow

LEAVING = """
import os, torch
from trainer import dist
from trainer.loss import LossConfig, contrastive_loss
ranks = dist.start("cpu")
def threads():
    return {open(f"/proc/self/task/{task}/comm").read().strip() for task in os.listdir("/proc/self/task")}
rows = torch.eye(4, requires_grad=True)
tau = torch.nn.Parameter(torch.tensor(-2.0))
contrastive_loss(rows, rows, tau, torch.arange(4) + 4 * ranks.rank, LossConfig(block_rows=2)).loss.backward()
assert any("gloo" in name for name in threads()), threads()
dist.stop()
assert not any("gloo" in name for name in threads()), threads()
"""


@pytest.mark.skipif(sys.platform != "linux", reason="threads are listed by /proc")
def test_no_thread_of_the_group_is_left_to_abort_the_exit(torchrun: Callable[[str], None]) -> None:
    torchrun(LEAVING)


TEXTS = """
from trainer import dist
ranks = dist.start("cpu")
assert dist.gather_texts("é" * 3 * ranks.rank) == ["", "ééé"]
assert dist.gather_texts("") == ["", ""]
assert dist.broadcast_text(f"of {ranks.rank} ü") == "of 0 ü"
assert dist.broadcast_text("" if ranks.rank == 0 else "x" * 99) == ""
dist.stop()
"""


def test_texts_travel_between_ranks(torchrun: Callable[[str], None]) -> None:
    torchrun(TEXTS)


def test_alone_a_text_stays_what_it_is() -> None:
    assert gather_texts("a") == ["a"]
    assert broadcast_text("a") == "a"
