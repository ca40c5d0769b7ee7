"""Ablation, probes, retrieval, triplets and leakage, each end to end on real recordings, by `mulan evaluate` itself.

    mulan lf-filter fit --encoder MINILM --output LF_MODEL
    mulan mine --catalog DATA/catalog.jsonl --playlists DATA/playlists.jsonl --output RUN --lf_model LF_MODEL \
        --music_detector yamnet.tflite --tokenizer DATA/text/bert-base-uncased-vocab.txt
    python -m benchmarks.evaluation_real --data DATA --run RUN --work WORK

`DATA` has recordings with AudioSet labels (`aset_segments.csv`, the opinion of a classifier) and playlists without
descriptions: descriptions are made here from the tags of their recordings, so retrieval and playlist triplets show that
the whole way runs, not how well music is described. Three leaks are planted among real recordings: another recording
under an evaluated id, an evaluated recording renamed and encoded anew, and an evaluated playlist's title.
"""

import argparse
import contextlib
import io
import json
import os
import shutil
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import soundfile

from benchmarks.machine import RESULTS, write_result
from openmulan import main as mulan
from schemas.digest import hash64
from schemas.manifest import POINTER_NAME, manifest_name
from schemas.run import Run
from schemas.shard import CLIP_SAMPLE_RATE_HZ, SHARD_SCHEMA, no_texts
from schemas.sources import TextSource
from trainer.evaluation.clips import decode_file
from trainer.evaluation.readers.audioset import Ontology, read_segments
from trainer.evaluation.readers.mined import run_rows

NAME = "evaluation_real"
HELD_OUT_SHARE = (2, 5)
MIN_PLAYLIST, MAX_PLAYLIST = 10, 100


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--run", required=True)
    parser.add_argument("--work", type=Path, required=True, help="folder for what is made on the way")
    parser.add_argument("--steps", type=int, default=80)
    parser.add_argument("--batch_size", type=int, default=48)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    given = parser.parse_args()
    given.work.mkdir(parents=True, exist_ok=True)
    ontology = Ontology.read(given.data / "eval" / "audioset_ontology.json")
    labels = {
        segment.ytid: sorted(ontology.nodes[mid].name for mid in segment.mids)
        for segment in read_segments(given.data / "aset_segments.csv")
    }
    aset_run = make_aset_run(Run.open(given.run), labels, given.work / "aset")
    held_out = sorted(r for r in labels if hash64(f"held out {r}") % HELD_OUT_SHARE[1] < HELD_OUT_SHARE[0])
    (given.work / "held_out.txt").write_text("".join(f"{r}\n" for r in held_out))
    playlists = make_playlists(given.data, given.run, given.work)
    table = make_table(given.data, labels, set(held_out), given.work)
    tokenizer = make_tokenizer(given.data, given.work)

    shared = ["--mined", str(aset_run), "--recordings", str(given.work / "held_out.txt"), "--bootstrap", "200"]
    shared += ["--playlists", str(playlists), "--collection", given.run]
    shared += ["--ontology", str(given.data / "eval" / "audioset_ontology.json")]
    shared += ["--class_labels", str(given.data / "eval" / "audioset_class_labels_indices.csv")]
    out = RESULTS / NAME
    codes = {}
    codes["ablation"] = mulan(
        [
            *("evaluate", "ablation", "--recipe", "tiny", "--data", given.run, "--data", str(aset_run)),
            *("--tokenizer", tokenizer, "--steps", str(given.steps), "--batch_size", str(given.batch_size)),
            *("--seeds", *map(str, given.seeds), "--output", str(given.work / "ablation")),
            *("--hold_out", str(given.work / "held_out.txt"), *shared),
        ]
    )
    if codes["ablation"]:
        return codes["ablation"]
    model = given.work / "ablation" / f"aset-sf-lf-pl-seed{given.seeds[0]}" / "model"
    output = given.work / "probes"
    codes["probes"] = mulan(["evaluate", str(model), "--table", str(table), "--probes", "--output", str(output)])
    codes["leaking_run_refused"] = mulan(["evaluate", "--mined", str(aset_run), "--check_leakage", given.run])
    other = table.with_name("other.csv")
    codes["clean_run_passes"] = mulan(["evaluate", "--table", str(other), "--check_leakage", given.run])
    planted, planted_codes = planted_leaks(given.data, given.work / "planted")
    codes |= planted_codes
    for name in ("ablation", "probes"):
        out.mkdir(parents=True, exist_ok=True)
        for file in ("results.json", "tables.md"):
            shutil.copyfile(given.work / name / file, out / f"{name}-{file}")
    run = Run.open(given.run)
    result = {
        "exit_codes": codes,
        "planted_leaks": planted,
        "manifest": run.manifest.digest(),
        "sentence_classifier": run.manifest.long_form.digest,
        "recordings_mined": sum(shard.rows for shard in run.manifest.shards),
        "labelled": len(labels),
        "held_out": len(held_out),
        "steps": given.steps,
        "batch_size": given.batch_size,
        "seeds": given.seeds,
        "tables": [f"{NAME}/{name}-tables.md" for name in ("ablation", "probes")],
        "shows": "every evaluator, the ablation, the probes and both leakage checks run on real recordings, from "
        "media files to tables; tagging and probes are of recordings that were held out, and leave chance",
        "cannot_show": "musical truth, or which text helps: labels are a classifier's, descriptions are made from "
        "tags, the playlists that are searched with were trained on by the rows with PL, and a tiny model was trained "
        "for a few steps on about 150 recordings, so rows may differ by less than seeds do",
    }
    options = f"--steps {given.steps} --batch_size {given.batch_size} --seeds {' '.join(map(str, given.seeds))}"
    command = f"python -m benchmarks.evaluation_real --data DATA --run RUN --work WORK {options}"
    write_result(NAME, result, packages=("numpy", "torch", "scikit-learn"), command=command)
    return 0 if all(code == (2 if name.endswith("refused") else 0) for name, code in codes.items()) else 1


def make_aset_run(run: Run, labels: dict[str, list[str]], folder: Path) -> Path:
    """The clips of a run with their AudioSet labels as their only text: what mining AudioSet gives."""
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "shards").mkdir(parents=True)
    rows = []
    for _, _, row in run_rows(run, SHARD_SCHEMA.names):
        if row["recording_id"] in labels:
            aset = {"aset": labels[row["recording_id"]], "text_sources": int(TextSource.ASET)}
            rows.append({**row, **no_texts(), **aset})
    rows.sort(key=lambda row: row["recording_id"])
    path = folder / "shards" / "g0001-00000.parquet"
    pq.write_table(pa.Table.from_pylist(rows, schema=SHARD_SCHEMA), path, row_group_size=64)
    manifest = run.manifest.to_json()
    entry = {**manifest["shards"][0], "path": f"shards/{path.name}", "rows": len(rows), "bytes": path.stat().st_size}
    groups = Path(run.root) / manifest["groups_path"]
    shutil.copyfile(groups, folder / groups.name)
    body = {**manifest, "shards": [entry], "groups_path": groups.name}
    (folder / manifest_name(1)).write_text(json.dumps(body))
    (folder / POINTER_NAME).write_text(json.dumps({"manifest": manifest_name(1)}))
    return folder


def planted_leaks(data: Path, folder: Path) -> tuple[dict[str, str], dict[str, int]]:
    """What the evaluation says of a run with the three plants, and of one that `mulan mine --exclude` made; exit codes.

    The evaluation set has two recordings as 16-bit wav. The catalogue has the first one's id with another recording,
    the second as flac under another id, a recording in a playlist of the evaluated title, and a clean one.
    """
    shutil.rmtree(folder, ignore_errors=True)
    evaluation, catalogue = folder / "evaluation", folder / "catalogue"
    evaluation.mkdir(parents=True)
    catalogue.mkdir()
    music = sorted({segment.ytid for segment in read_segments(data / "aset_segments.csv")})
    uris = {row["recording_id"]: row["audio_uri"] for row in map(json.loads, _lines(data / "catalog.jsonl"))}
    first, second, third, fourth, fifth = music[:5]
    for name in (first, second):
        _write_pcm(evaluation / f"{name}.wav", data / uris[name])
    (evaluation / "set.csv").write_text(f"path,one,other\n{first}.wav,1,0\n{second}.wav,0,1\n")
    playlist = {"playlist_id": "e", "title": "Songs for a Rainy Day", "description": "Slow and soft"}
    ids = [f"elsewhere {i}" for i in range(MIN_PLAYLIST)]
    (evaluation / "playlists.jsonl").write_text(json.dumps({**playlist, "recording_ids": ids}) + "\n")
    files = {first: third, "renamed": second, "listed": fourth, "clean": fifth}
    for recording_id, name in files.items():
        _write_pcm(catalogue / f"{recording_id}.flac", data / uris[name])
    rows = [{"recording_id": name, "audio_uri": f"{name}.flac", "music_gate": "score_only"} for name in files]
    (catalogue / "catalog.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    titled = {"playlist_id": "m", "title": "songs for a rainy day!", "recording_ids": ["listed"]}
    (catalogue / "playlists.jsonl").write_text(json.dumps(titled) + "\n")

    mine = ["mine", "--catalog", str(catalogue / "catalog.jsonl"), "--playlists", str(catalogue / "playlists.jsonl")]
    mine += ["--tokenizer", "none", "--quiet"]
    sets = ["evaluate", "--table", str(evaluation / "set.csv"), "--playlists", str(evaluation / "playlists.jsonl")]
    exclude = str(folder / "exclude.jsonl")
    said: dict[str, str] = {}
    codes = {"mine_with_plants": mulan([*mine, "--output", str(folder / "leaky")])}
    with contextlib.redirect_stderr(io.StringIO()) as error:
        codes["run_with_plants_refused"] = mulan([*sets, "--check_leakage", str(folder / "leaky")])
    said["evaluate --check_leakage"] = error.getvalue().strip().replace(str(folder), "")
    codes["write_exclude"] = mulan([*sets, "--write_exclude", exclude])
    codes["mine_exclude"] = mulan([*mine, "--output", str(folder / "clean"), "--exclude", exclude])
    said["mine --exclude"] = json.dumps(Run.open(folder / "clean").manifest.accounting, sort_keys=True)
    codes["run_without_plants_passes"] = mulan([*sets, "--check_leakage", str(folder / "clean")])
    return said, codes


def _write_pcm(path: Path, source: Path) -> None:
    pcm = np.round(decode_file(source) * (1 << 15)).astype(np.int16)
    soundfile.write(path, pcm, CLIP_SAMPLE_RATE_HZ, subtype="PCM_16")


def _lines(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").splitlines()


def make_playlists(data: Path, run: str, folder: Path) -> Path:
    """Evaluation playlists of the recordings that were mined, described by the tags that most of them share."""
    mined = {values["recording_id"] for _, _, values in run_rows(Run.open(run), ["recording_id"])}
    catalogue = {row["recording_id"]: row for row in map(json.loads, (data / "catalog.jsonl").open(encoding="utf-8"))}
    lines = []
    for playlist in map(json.loads, (data / "playlists.jsonl").open(encoding="utf-8")):
        ids = [r for r in dict.fromkeys(playlist["recording_ids"]) if r in mined][:MAX_PLAYLIST]
        if len(ids) < MIN_PLAYLIST:
            continue
        tags = Counter(tag for r in ids for tag in catalogue[r]["tags"])
        common = [tag for tag, _ in sorted(tags.items(), key=lambda item: (-item[1], item[0]))[:4]]
        described = {"playlist_id": playlist["playlist_id"], "title": playlist["title"], "recording_ids": ids}
        lines.append(json.dumps({**described, "description": f"Recordings of {', '.join(common)}"}))
    path = folder / "eval_playlists.jsonl"
    path.write_text("".join(f"{line}\n" for line in lines))
    return path


def make_table(data: Path, labels: dict[str, list[str]], held_out: set[str], folder: Path) -> Path:
    """The labelled recordings as a csv of clips × tags, and a csv of recordings that no run has.

    Its test split is what no model was trained on.
    """
    classes = [name for name, count in Counter(n for names in labels.values() for n in names).items() if count >= 10]
    catalogue = {row["recording_id"]: row for row in map(json.loads, (data / "catalog.jsonl").open(encoding="utf-8"))}
    link = folder / "audio"
    if not link.exists():
        os.symlink((data / "audio").resolve(), link)
    lines = [",".join(["clip_id", "path", "split", *(f'"{name}"' for name in sorted(classes))])]
    for recording_id, names in sorted(labels.items()):
        split = ("train", "train", "train", "validation")[hash64(f"probe {recording_id}") % 4]
        split = "test" if recording_id in held_out else split
        values = [str(int(name in names)) for name in sorted(classes)]
        lines.append(",".join([recording_id, catalogue[recording_id]["audio_uri"], split, *values]))
    path = folder / "labelled.csv"
    path.write_text("\n".join(lines) + "\n")
    spoken = [r for r, row in sorted(catalogue.items()) if "audiobook" in row["tags"]][:5]
    other = [f"{r},{catalogue[r]['audio_uri']},1" for r in spoken]
    path.with_name("other.csv").write_text("\n".join(["clip_id,path,speech", *other]) + "\n")
    return path


def make_tokenizer(data: Path, folder: Path) -> str:
    """BERT's uncased tokenizer from the vocabulary file."""
    import transformers

    vocabulary = data / "text" / "bert-base-uncased-vocab.txt"
    transformers.models.bert.BertTokenizer(vocab=str(vocabulary)).save_pretrained(folder / "tokenizer")
    return str(folder / "tokenizer")


if __name__ == "__main__":
    sys.exit(main())
