"""Several ranks of one training on this machine, forked from a process that has imported everything once.

A script of a test calls `world`; starting each rank by itself would cost more than what it is to train.
"""

import os
import socket
import sys
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path


def world(count: int, work: Callable[[int], int], said: Path, *, started: Sequence[int] | None = None) -> list[int]:
    """Exit codes of the ranks that are started (all); what a rank says lies in `said/RANK.txt`."""
    said.mkdir(parents=True, exist_ok=True)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    children = []
    for rank in range(count) if started is None else started:
        if (child := os.fork()) == 0:
            code = 99
            try:
                with (said / f"{rank}.txt").open("wb") as stream:
                    os.dup2(stream.fileno(), 2)
                numbers = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": count, "MASTER_PORT": port}
                os.environ |= {name: str(value) for name, value in numbers.items()} | {"MASTER_ADDR": "127.0.0.1"}
                code = work(rank)
            except BaseException:
                traceback.print_exc()
            finally:
                sys.stderr.flush()
                os._exit(code)
        children.append(child)
    return [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
