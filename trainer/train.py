"""`mulan train`: mined runs in, a model out. The same command again goes on where a run stopped.

mulan train --recipe tiny --data RUN --output DIR
torchrun --nproc_per_node 8 -m trainer.train --recipe m_resnet50 --data RUN --data ASET_RUN --output DIR
"""

import argparse
import dataclasses
import sys
from pathlib import Path

from trainer.flags import FLAGS, add_recipe_arguments, recipe_from
from trainer.run_arguments import add_run_arguments


def main(argv: list[str] | None = None) -> int:
    """Exit codes: 0 done, 1 the loss is no number any more, 2 bad arguments or data, 3 interrupted or broken off (run
    the same command to go on)."""
    arguments = _parser().parse_args(argv)
    # torch comes with these, and --help need not wait for it.
    from trainer.commands import exit_code, options_from, show, start_logging
    from trainer.evaluation.declare import read_evaluators
    from trainer.loop import Ending
    from trainer.tasks.contrastive import train

    start_logging()

    def run() -> Ending:
        recipe = recipe_from(arguments)
        options = dataclasses.replace(
            options_from(arguments),
            init_from=arguments.init_from,
            evaluate_every=arguments.evaluate_every,
            evaluators=tuple(read_evaluators(arguments.evaluators)) if arguments.evaluators else (),
        )
        ending = train(recipe, options)
        show(ending, options, "The model")
        return ending

    return exit_code("mulan train", run)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="mulan train", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_run_arguments(parser)
    parser.add_argument(
        "--init_from", metavar="DIR|NAME", help="fine-tune this model: its weights, tokenizer and front end"
    )
    add_recipe_arguments(parser, tuple(FLAGS))
    evaluation = parser.add_argument_group("evaluation")
    evaluation.add_argument("--evaluators", type=Path, metavar="FILE", help="what to measure, see docs/evaluation.md")
    evaluation.add_argument(
        "--evaluate_every", type=int, default=5000, metavar="STEPS", help="and at the end (default 5000)"
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
