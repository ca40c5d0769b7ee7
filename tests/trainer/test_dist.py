"""Joining and leaving the group of ranks."""

import sys
from collections.abc import Callable

import pytest

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
