"""Train a model on a mined run, and see whether it tells its recordings apart by their texts:

    python examples/train_on_it.py run trained

Options of `mulan train` may follow: `--recipe m_resnet50 --device cuda` for a model that listens; without one the tiny
recipe shows the way and learns no music. Run again, it goes on where it was.
"""

import argparse
import sys
from pathlib import Path

import numpy as np

import openmulan

LOOKED_AT = 200  # recordings, the first of the run


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", help="the output of mine_a_folder.py")
    parser.add_argument("output", help="checkpoints, curves, and the model in `model`")
    arguments, options = parser.parse_known_args(argv)

    # A folder has no AudioSet labels: the other sources of text take their share of a batch.
    train = ["train", "--data", arguments.run, "--output", arguments.output, "--missing_sources", "reweight"]
    recipe = [] if "--recipe" in options else ["--recipe", "tiny"]
    if code := openmulan.main([*train, *recipe, *options]):
        return code

    run = openmulan.Run.open(arguments.run)
    rows = [row for group in run.row_groups() for row in run.read(group, ["audio", "sf"]).to_pylist()]
    rows = [row for row in rows if row["sf"]][:LOOKED_AT]
    model = openmulan.load(Path(arguments.output) / "model")
    audio_ND = model.embed_audio([row["audio"] for row in rows])
    text_ND = model.embed_text([", ".join(row["sf"]) for row in rows])

    # Of each recording: how many texts of others are nearer to it than its own.
    cosine_NN = audio_ND @ text_ND.T
    before_N = (cosine_NN > np.diag(cosine_NN)[:, None]).sum(axis=1)
    print(f"\nIts own text is at place {np.median(before_N) + 1:g} of {len(rows)} for the median recording;")
    print(f"by chance at {(len(rows) + 1) / 2:g}. They were trained on: `mulan evaluate` asks about others.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
