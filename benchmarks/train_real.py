"""`tiny()` on real recordings: does the loss leave its chance line, and are recordings of unseen origins tagged?

    python -m benchmarks.train_real --data DATA --work WORK

`DATA` is a catalogue with its playlists, segments in AudioSet's layout (`aset_segments.csv`) and YAMNet. Both runs are
mined by `mulan mine`, the models are trained by `mulan train`, one thread each. Whole origins (the repository that a
recording comes from) are held out, all of their recordings, in both runs. The list below was fixed by looking at labels
alone: enough positives of several classes on both sides.

The control is trained in the same way on runs whose texts were dealt anew among the training recordings. The labels are
YAMNet's opinion, so a figure above chance shows that the trainer learns, not that the model knows music.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

import openmulan
from benchmarks.machine import RESULTS, write_result
from pipeline.media.encode import decode_clip
from schemas.manifest import POINTER_NAME, manifest_name
from schemas.run import Run
from schemas.shard import CLIP_SAMPLE_RATE_HZ, SHARD_SCHEMA, AudioEncoding
from trainer.draw import permutation
from trainer.evaluation.metrics import auc_and_ap
from trainer.logs import read_metrics

NAME = "train_real"
HELD_OUT_ORIGINS = (
    "FreezingMoon/AncientBeast",
    "OpenHV/OpenHV",
    "Secretchronicles/TSC",
    "ValyriaTear/ValyriaTear",
    "cjthomas-opensource/mcmusic-kevin-macleod",
    "librosa/data",
    "openclonk/openclonk",
    "petegordon/Tandemonium",
    "viniciusmioto/super_tux_party",
)
MIN_POSITIVES = 5
RESAMPLES = 2000
LAST_STEPS = 50
# The comments of this catalogue were attached at random, so long-form text is left out.
MIXTURE = "1:0:1:2"
TEXT_FIELDS = ("sf", "sf_unfiltered", "lf", "max_lf_score", "pl", "aset", "text_sources", "counts")
SEEDS = {"trained": (0, 1, 2), "control": (0,)}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True, help="folder for runs and models; what is there is used")
    parser.add_argument("--steps", type=int, default=240)
    parser.add_argument("--jobs", type=int, default=1, help="trainings at a time (default 1)")
    given = parser.parse_args()
    given.work.mkdir(parents=True, exist_ok=True)
    runs = mine(given.data, given.work)
    catalogue = [json.loads(line) for line in (given.data / "catalog.jsonl").read_text(encoding="utf-8").splitlines()]
    held_out = {row["recording_id"] for row in catalogue if row["source"].split(":")[0] in HELD_OUT_ORIGINS}
    ids = given.work / "held_out.txt"
    ids.write_text("".join(f"{name}\n" for name in sorted(held_out)), encoding="utf-8")
    shuffled = [shuffle_texts(run, held_out, given.work / f"shuffled-{run.name}") for run in runs]
    tokenizer = make_tokenizer(given.data, given.work)

    models = {kind: [given.work / f"{kind}-{seed}" for seed in seeds] for kind, seeds in SEEDS.items()}
    with ThreadPoolExecutor(given.jobs) as pool:
        started = [
            pool.submit(train, runs if kind == "trained" else shuffled, given.work / f"{kind}-{seed}",
                        seed=seed, steps=given.steps, ids=ids, tokenizer=tokenizer)
            for kind, seeds in SEEDS.items() for seed in seeds
        ]  # fmt: skip
        for done in started:
            done.result()

    origin_of = {row["recording_id"]: row["source"].split(":")[0] for row in catalogue}
    names, waves, labels, classes = held_out_clips(runs[1], held_out)
    origins = [origin_of[name] for name in names]
    draws = {"clips": resampled([str(i) for i in range(len(names))]), "origins": resampled(origins)}
    weights = np.concatenate([np.ones((1, len(names))), *draws.values()])
    aucs = {
        kind: np.stack([class_aucs(folder / "model", waves, labels, classes, weights) for folder in folders])
        for kind, folders in models.items()
    }
    macro = {kind: np.nanmean(values, axis=1) for kind, values in aucs.items()}  # seeds × (1 + resamples)
    mean = {kind: values.mean(axis=0) for kind, values in macro.items()}
    mean["trained_minus_control"] = mean["trained"] - mean["control"]
    curves = {path.name: curve(path) for paths in models.values() for path in paths}
    result = {
        "recordings_mined": {run.name: sum(s.rows for s in Run.open(run).manifest.shards) for run in runs},
        "held_out_origins": HELD_OUT_ORIGINS,
        "held_out_clips": len(waves),
        "recipe": {"name": "tiny", "steps": given.steps, "mixture": MIXTURE, "seeds": SEEDS},
        "loss": {name: summary(values) for name, values in curves.items()},
        "roc_auc": {
            "classes": {
                name: {
                    "positives": int(labels[:, i].sum()),
                    **{kind: round(float(values[:, i, 0].mean()), 4) for kind, values in aucs.items()},
                }
                for i, name in enumerate(classes)
            },
            "by_seed": {kind: [round(float(row[0]), 4) for row in values] for kind, values in macro.items()},
            "mean_of_seeds": {
                kind: {
                    "value": round(float(values[0]), 4),
                    **{
                        f"interval_by_{unit}": interval(values[1 + RESAMPLES * i : 1 + RESAMPLES * (i + 1)])
                        for i, unit in enumerate(draws)
                    },
                }
                for kind, values in mean.items()
            },
            "interval": f"95 %, {RESAMPLES} resamples of the held-out clips, or of whole origins, since clips of one "
            "origin resemble each other; macro mean of the classes",
        },
        "shows": "whether the loss leaves its chance line and labels of unseen origins are told apart; the labels "
        "are YAMNet's opinion, so this is about learning and not about musical truth",
    }
    command = f"python -m benchmarks.train_real --data DATA --work WORK --steps {given.steps}"
    write_result(NAME, result, packages=("numpy", "torch", "transformers"), command=command)
    (RESULTS / f"{NAME}-curves.json").write_text(json.dumps(curves, indent=None) + "\n", encoding="utf-8")
    draw(curves, RESULTS / f"{NAME}.png")
    return 0


def mine(data: Path, work: Path) -> list[Path]:
    """The mined run and the ASET run."""
    vocabulary, detector = data / "text" / "bert-base-uncased-vocab.txt", data / ".." / "models" / "yamnet.tflite"
    inputs = {
        "mined": ("--catalog", data / "catalog.jsonl", "--playlists", data / "playlists.jsonl"),
        "aset": (
            *("--audioset", data / "aset_segments.csv", "--audioset_audio", data / "audio"),
            *("--audioset_ontology", data / "eval" / "audioset_ontology.json"),
        ),
    }
    for name, arguments in inputs.items():
        shared = ("--music_detector", detector, "--tokenizer", vocabulary, "--rows_per_shard", 64, "--quiet")
        if not (work / name / POINTER_NAME).exists():
            mulan("mine", *arguments, "--output", work / name, *shared)
    return [work / name for name in inputs]


def mulan(*arguments: object) -> None:
    # glibc would give every large tensor back to the system and ask for it again: a third of a step.
    keep_memory = {"MALLOC_MMAP_THRESHOLD_": str(2**32), "MALLOC_TRIM_THRESHOLD_": str(2**33)}
    environment = {**os.environ, **keep_memory, "OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}
    subprocess.run([sys.executable, "openmulan.py", *map(str, arguments)], check=True, env=environment)


def train(data: Sequence[Path], output: Path, *, seed: int, steps: int, ids: Path, tokenizer: Path) -> None:
    runs = [argument for run in data for argument in ("--data", run)]
    learned = ("--hold_out", ids, "--seed", seed, "--tokenizer", tokenizer, "--steps", steps, "--mixture", MIXTURE)
    looks = ("--workers", 0, "--validate_every", 25, "--log_every", 50)
    mulan("train", "--recipe", "tiny", *runs, "--output", output, *learned, *looks)


def shuffle_texts(run_folder: Path, held_out: set[str], folder: Path) -> Path:
    """The same run, with the texts of the training recordings dealt among them at random."""
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "shards").mkdir(parents=True)
    run = Run.open(run_folder)
    rows = [row for group in run.row_groups() for row in run.read(group).to_pylist()]
    mine = [i for i, row in enumerate(rows) if row["recording_id"] not in held_out]
    texts = [{name: rows[i][name] for name in TEXT_FIELDS} for i in mine]
    for i, dealt in zip(mine, permutation(len(mine), "shuffled texts", run_folder.name), strict=True):
        rows[i] |= texts[dealt]
    path = folder / "shards" / "g0001-00000.parquet"
    pq.write_table(pa.Table.from_pylist(rows, schema=SHARD_SCHEMA), path, row_group_size=64)
    manifest = run.manifest.to_json()
    entry = {**manifest["shards"][0], "path": f"shards/{path.name}", "rows": len(rows), "bytes": path.stat().st_size}
    shutil.copyfile(run_folder / manifest["groups_path"], folder / "groups.parquet")
    body = {**manifest, "shards": [entry], "groups_path": "groups.parquet"}
    (folder / manifest_name(1)).write_text(json.dumps(body), encoding="utf-8")
    (folder / POINTER_NAME).write_text(json.dumps({"manifest": manifest_name(1)}), encoding="utf-8")
    return folder


def make_tokenizer(data: Path, work: Path) -> Path:
    """BERT's uncased tokenizer from its vocabulary file."""
    from transformers.models.bert import BertTokenizer

    BertTokenizer(vocab=str(data / "text" / "bert-base-uncased-vocab.txt")).save_pretrained(work / "tokenizer")
    return work / "tokenizer"


def held_out_clips(
    run_folder: Path, held_out: set[str]
) -> tuple[list[str], list[NDArray[np.int16]], NDArray[np.bool_], list[str]]:
    """Ids, waves, labels (clips × classes), and the classes with enough positives."""
    run = Run.open(run_folder)
    columns = ["recording_id", "audio", "audio_encoding", "duration_s", "aset"]
    rows = [row for group in run.row_groups() for row in run.read(group, columns).to_pylist()]
    rows = sorted((row for row in rows if row["recording_id"] in held_out), key=lambda row: str(row["recording_id"]))
    counts = Counter(name for row in rows for name in row["aset"])
    classes = sorted(name for name, count in counts.items() if MIN_POSITIVES <= count <= len(rows) - MIN_POSITIVES)
    waves = [
        decode_clip(
            row["audio"], AudioEncoding(row["audio_encoding"]), 0, round(row["duration_s"] * CLIP_SAMPLE_RATE_HZ)
        )
        for row in rows
    ]
    labels = np.array([[name in row["aset"] for name in classes] for row in rows])
    return [row["recording_id"] for row in rows], waves, labels, classes


def class_aucs(
    model_folder: Path,
    waves: list[NDArray[np.int16]],
    labels: NDArray[np.bool_],
    classes: list[str],
    weights: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Classes × (the sample, its resamples): a clip's score for a class is the cosine with the name of the class."""
    model = openmulan.load(model_folder)
    scores = model.embed_audio(waves) @ model.embed_text(classes).T
    return np.stack([auc_and_ap(scores[:, i], labels[:, i], weights)[0] for i in range(len(classes))])


def resampled(units: list[str]) -> NDArray[np.float64]:
    """How often each clip is taken in each resample of the units that the clips belong to."""
    distinct = sorted(set(units))
    share = np.full(len(distinct), 1 / len(distinct))
    drawn = np.random.default_rng(0).multinomial(len(distinct), share, size=RESAMPLES)
    return drawn[:, [distinct.index(unit) for unit in units]].astype(np.float64)


def interval(values: NDArray[np.float64]) -> list[float]:
    return [round(float(bound), 4) for bound in np.nanquantile(values, [0.025, 0.975])]


def curve(output: Path) -> dict[str, Any]:
    lines, looks = read_metrics(output, "train"), read_metrics(output, "validation")
    return {
        "chance": lines[0]["chance"],
        "loss": [round(line["loss"], 4) for line in lines],
        "validation_chance": looks[0]["chance"],
        "validation": [[look["step"], round(look["loss"], 4)] for look in looks],
    }


def summary(values: dict[str, Any]) -> dict[str, float]:
    return {
        "chance": round(values["chance"], 4),
        "first": values["loss"][0],
        f"mean_of_last_{LAST_STEPS}": round(float(np.mean(values["loss"][-LAST_STEPS:])), 4),
        "validation_chance": round(values["validation_chance"], 4),
        "validation_best": min(loss for _, loss in values["validation"]),
        "validation_last": values["validation"][-1][1],
    }


def draw(curves: dict[str, Any], path: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, (left, right) = pyplot.subplots(1, 2, figsize=(10, 3.6), sharex=True)
    for name, values in curves.items():
        colour = "tab:blue" if name.startswith("trained") else "tab:orange"
        left.plot(np.convolve(values["loss"], np.ones(10) / 10, "valid"), color=colour, lw=1)
        right.plot(*zip(*values["validation"], strict=True), color=colour, lw=1)
    any_curve = next(iter(curves.values()))
    for axis, chance, title in (
        (left, any_curve["chance"], "training loss (mean of 10 steps)"),
        (right, any_curve["validation_chance"], "validation loss"),
    ):
        axis.axhline(chance, color="black", ls="--", lw=1)
        axis.set(title=title, xlabel="step")
    left.plot([], [], color="tab:blue", label="three seeds")
    left.plot([], [], color="tab:orange", label="control: texts shuffled")
    left.plot([], [], color="black", ls="--", label="chance")
    left.legend(fontsize=8)
    figure.tight_layout()
    figure.savefig(path, dpi=90)


if __name__ == "__main__":
    sys.exit(main())
