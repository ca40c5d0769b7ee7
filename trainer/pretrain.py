"""`mulan pretrain`: the body of the audio tower, by the classes of a mined AudioSet run, to start `mulan train` from.

mulan pretrain --recipe m_resnet50 --data ASET_RUN --output DIR
mulan train --recipe m_resnet50 --audio_checkpoint DIR/model …
"""

import argparse
import sys
from pathlib import Path

from trainer.flags import add_recipe_arguments, recipe_from
from trainer.run_arguments import add_run_arguments

_FLAGS = (
    *("epochs", "batch_size", "seed", "learning_rate", "buffer_rows", "hold_out", "verify_shards", "skip_corrupt"),
    *("schedule", "warmup_steps", "weight_decay", "clip_norm"),
    *("ghost_batch_size", "audio_chunk", "precision", "compile"),
)


def main(argv: list[str] | None = None) -> int:
    """Exit codes as of `mulan train`."""
    parser = argparse.ArgumentParser(
        prog="mulan pretrain", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_run_arguments(parser)
    add_recipe_arguments(parser, _FLAGS)
    parser.add_argument(
        "--classes", type=Path, metavar="CSV", help="class_labels_indices.csv (default: the run's labels)"
    )
    arguments = parser.parse_args(argv)
    # torch comes with these, and --help need not wait for it.
    from trainer.commands import exit_code, options_from, show, start_logging
    from trainer.loop import Ending
    from trainer.tasks.classification import for_classes, pretrain, read_classes

    start_logging()

    def run() -> Ending:
        recipe, options = recipe_from(arguments, for_classes), options_from(arguments)
        classes = read_classes(arguments.classes) if arguments.classes is not None else None
        ending = pretrain(recipe, options, classes)
        show(ending, options, "The body")
        return ending

    return exit_code("mulan pretrain", run)


if __name__ == "__main__":
    sys.exit(main())
