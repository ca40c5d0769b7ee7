"""Which of several ways to compute one thing is the fastest here. It is measured, in milliseconds: neither the name of
a processor nor its list of instructions says for which of them a library has a kernel.
"""

import time
from collections.abc import Callable, Mapping
from functools import cache
from typing import TypeVar

Way = TypeVar("Way")

_ROUNDS = 3
_ROWS = 64
# A way this many times slower than another is not timed again.
_HOPELESS = 4.0


def fastest(ways: Mapping[Way, Callable[[], object]]) -> Way:
    """The key of the way with the fastest round, after one that does not count, since it may build a kernel.

    The ways take turns, so that what else this process does slows each of them.
    """
    for run in ways.values():
        run()
    best_s = dict.fromkeys(ways, float("inf"))
    for _ in range(_ROUNDS):
        for way, seconds in best_s.items():
            if seconds == float("inf") or seconds <= _HOPELESS * min(best_s.values()):
                best_s[way] = min(seconds, _seconds(ways[way]))
    return min(best_s, key=lambda way: best_s[way])


@cache
def bfloat16_is_faster(width: int) -> bool:
    """Whether autocast to bfloat16 makes a layer of this width faster on this CPU, forward and backward.

    A CPU without instructions for it (AVX2, AVX-512 before Cooper Lake, ARM before v8.6) takes many times as long.
    """
    import torch

    layer = torch.nn.Linear(width, width)
    x_NH = torch.ones(_ROWS, width)

    def step(half: bool) -> None:
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=half):
            loss = layer(x_NH).sum()
        loss.float().backward()

    with torch.inference_mode(False), torch.enable_grad():
        return fastest({False: lambda: step(False), True: lambda: step(True)})


def _seconds(run: Callable[[], object]) -> float:
    # Of the processor: by the clock, what else the machine does has made a fit choose what took ten times as long.
    started_s = time.process_time()
    run()
    return time.process_time() - started_s
