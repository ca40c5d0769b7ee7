"""The options of `mulan train` and `mulan pretrain` on where and how long they run.

They stand apart from the work, so that `--help` need not wait for torch.
"""

import argparse

from trainer.trackers import TRACKERS


def add_run_arguments(parser: argparse.ArgumentParser) -> None:
    """Those of `trainer.commands.options_from`."""
    group = parser.add_argument_group("run")
    group.add_argument("--data", action="append", required=True, metavar="RUN", help="a mined run; may be repeated")
    group.add_argument("--output", required=True, metavar="DIR")
    group.add_argument("--steps", type=int, help="end after so many steps (default: the recipe's epochs)")
    group.add_argument(
        "--fork",
        metavar="RUN[@STEP]",
        help="begin with weights, optimizer and data position of another training",
    )
    group.add_argument("--device", default="cpu", help="cpu (default), cuda, cuda:N or mps")
    group.add_argument(
        "--timeout", type=float, metavar="SECONDS", help="after which a rank that is silent is lost (default 1800)"
    )
    group.add_argument(
        "--skip_nonfinite", type=int, default=0, metavar="N", help="leave out so many steps without a finite loss"
    )
    group.add_argument("--workers", type=int, default=1, help="processes that decode audio (default 1)")
    group.add_argument("--checkpoint_every", type=int, default=1000, metavar="STEPS")
    group.add_argument("--keep", type=int, default=3, help="checkpoints that are kept (default 3)")
    group.add_argument("--validate_every", type=int, default=500, metavar="STEPS")
    group.add_argument("--log_every", type=int, default=10, metavar="STEPS")
    group.add_argument(
        "--tracker", metavar="NAME", help=f"beside TensorBoard: {', '.join(TRACKERS)}, or package.module:Class"
    )
