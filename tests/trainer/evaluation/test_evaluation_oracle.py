"""Through every evaluator, on files in the publishers' formats: an oracle scores 1, a random model chance."""

import json
from pathlib import Path

import numpy as np
import pytest

from tests.trainer.evaluation.test_evaluation_readers import TAGS_188, write_annotations, write_jamendo
from tests.trainer.evaluation.tone_sets import Tones, WriteRun, tone
from trainer.evaluation.declare import evaluator_from_json
from trainer.evaluation.embedding import FrozenModel
from trainer.evaluation.evaluator import Measurement
from trainer.evaluation.model import RandomModel
from trainer.evaluation.readers.audioset import CLASS_SETS, ClassSet, Ontology, class_set, read_labelled_classes

pytestmark = pytest.mark.slow

Declaration = dict[str, object]
RANDOM = RandomModel(0)


def measure(declaration: Declaration, model: object, folder: Path = Path()) -> Measurement:
    return evaluator_from_json(declaration, folder).measure(model)


def is_at_chance(
    declaration: Declaration, folder: Path = Path(), metric: str = "roc_auc", model: object = RANDOM
) -> bool:
    """Whether the 99.9 % interval of a random model holds 0.5 (how often one should: see the metrics)."""
    wide = {**declaration, "bootstrap": {"confidence": 0.999, "resamples": 300}}
    value = measure(wide, model, folder).metrics[metric]
    assert value.low is not None
    assert value.high is not None
    return value.low <= 0.5 <= value.high


def write_magnatagatune(folder: Path, tones: Tones) -> None:
    """Every tag once in test, the first fifty twice in train and validation too; mp3 files as published."""
    rows = []
    for split, digits, tags, copies in (
        ("train", "05", TAGS_188[:8], 2),
        ("validation", "c", TAGS_188[:8], 2),
        ("test", "df", TAGS_188, 1),
    ):
        for i, tag in enumerate(tags * copies):
            mp3 = f"{digits[i % len(digits)]}/{split}-{i}.mp3"
            tones.write(folder / mp3, [tag])
            rows.append((f"{split}{i}", {tag}, mp3))
    write_annotations(folder, rows)


def test_magnatagatune(tmp_path: Path, tones: Tones) -> None:
    write_magnatagatune(tmp_path, tones)

    def zero_shot(tags: str) -> Declaration:
        data = {"kind": "magnatagatune", "folder": str(tmp_path), "tags": tags}
        return {"task": "zero_shot", "data": data, "bootstrap": {"resamples": 20}}

    oracle, random = FrozenModel(tones.oracle()), FrozenModel(RANDOM)
    for tags, classes in (("top50", 50), ("all188", 188)):
        result = measure(zero_shot(tags), oracle)
        assert result.metrics["roc_auc"].value == 1.0
        assert result.metrics["average_precision"].value == 1.0
        assert result.units == {"clips": 188, "missing_clips": 0, "failed_clips": 0, "classes": classes}
        assert not result.skipped
        assert is_at_chance(zero_shot(tags), model=random)


def test_probe_on_magnatagatune(tmp_path: Path, tones: Tones) -> None:
    write_magnatagatune(tmp_path, tones)
    probe: Declaration = {"task": "linear_probe", "data": {"kind": "magnatagatune", "folder": str(tmp_path)}}
    result = measure(probe, tones.oracle())
    assert result.metrics["roc_auc"].value == 1.0
    assert result.units["classes"] == 8
    assert len(result.skipped) == 42
    assert set(result.skipped.values()) == {"no positive to train on"}
    chosen = result.settings["chosen_inverse_penalties"]
    assert set(chosen) == {c.name for c in result.classes}


@pytest.mark.parametrize("classes", CLASS_SETS)
def test_audioset(classes: ClassSet, tmp_path: Path, tones: Tones, audioset_files: tuple[Path, Path]) -> None:
    ontology_path, labels_path = audioset_files
    ontology = Ontology.read(ontology_path)
    mids = class_set(classes, ontology, read_labelled_classes(labels_path))
    lines = []
    for i, mid in enumerate(mids):
        ytid = f"clip{i:07d}"
        holding = [m for m in mids if mid in ontology.subtree(m)]
        # Not as Ogg, which has a number by chance in it: the random model goes by a file's bytes.
        tones.write(tmp_path / "audio" / f"{ytid}.flac", [ontology.nodes[m].name for m in holding])
        lines.append(f'{ytid}, 0.000, 10.000, "{mid}"')
    (tmp_path / "eval.csv").write_text(
        "# YTID, start_seconds, end_seconds, positive_labels\n" + "\n".join(lines) + "\n"
    )
    data = {
        "kind": "audioset",
        "ontology": str(ontology_path),
        "class_labels": str(labels_path),
        "segments": "eval.csv",
        "audio_folder": "audio",
        "classes": classes,
    }
    evaluator = evaluator_from_json({"task": "zero_shot", "data": data}, tmp_path)
    result = evaluator.measure(tones.oracle())
    # *Music* itself is a class of mu141 and mu150 that every clip has by propagation: it has no negative.
    everywhere = {} if classes == "gen25" else {ontology.by_name("Music").mid: "no negative"}
    assert result.skipped == everywhere
    assert result.metrics["roc_auc"].value == pytest.approx(1.0, abs=1e-9)
    assert result.units["classes"] == int(classes[-3:].lstrip("n")) - len(everywhere)
    assert is_at_chance({"task": "zero_shot", "data": data}, tmp_path)


def test_jamendo(tmp_path: Path, tones: Tones) -> None:
    tags = [f"genre---style {i}" for i in range(12)]
    splits = {}
    for split in ("train", "validation", "test"):
        rows = []
        for i, tag in enumerate(tags * 2):
            name = f"{i:02d}/{split}{i}.mp3"
            tones.write(tmp_path / "audio" / name, [tag.removeprefix("genre---")])
            rows.append(f"track_{split}{i}\tartist_{i}\talbum_{i}\t{name}\t2.0\t{tag}\n")
        splits[split] = "".join(rows)
    write_jamendo(tmp_path, "genre", 0, **splits)
    data = {"kind": "jamendo", "folder": str(tmp_path), "audio_folder": str(tmp_path / "audio"), "subset": "genre"}
    oracle, random = FrozenModel(tones.oracle()), FrozenModel(RANDOM)
    for task in ("zero_shot", "linear_probe"):
        result = measure({"task": task, "data": data}, oracle)
        assert result.metrics["roc_auc"].value == 1.0
        assert result.units["classes"] == 12
        assert is_at_chance({"task": task, "data": data}, model=random)


def test_table_and_template(tmp_path: Path, tones: Tones) -> None:
    lines = ["path,calm,loud"]
    for i in range(40):
        tag = ("calm", "loud")[i % 2]
        tones.write(tmp_path / f"{i}.flac", [f"{tag} music"])
        lines.append(f"{i}.flac,{int(tag == 'calm')},{int(tag == 'loud')}")
    (tmp_path / "t.csv").write_text("\n".join(lines) + "\n")
    data = {"kind": "table", "file": str(tmp_path / "t.csv")}
    oracle = tones.oracle()
    assert (
        measure({"task": "zero_shot", "data": data, "text_template": "{} music"}, oracle).metrics["roc_auc"].value == 1
    )
    assert measure({"task": "zero_shot", "data": data}, oracle).metrics["roc_auc"].value < 1
    with pytest.raises(ValueError, match="text_template"):
        measure({"task": "zero_shot", "data": data, "text_template": "music"}, oracle)
    assert is_at_chance({"task": "zero_shot", "data": data})


def test_mined_run(tmp_path: Path, tones: Tones, write_run: WriteRun) -> None:
    rows = []
    for i in range(24):
        label = f"label {i % 4}"
        tones.write(tmp_path / f"{i}.flac", [label])
        rows.append({"recording_id": f"r{i:02d}", "pcm": (tone(i) * 30_000).astype(np.int16), "aset": [label]})
    run = write_run(tmp_path / "run", rows)
    data = {"kind": "mined", "run": str(run)}
    result = measure({"task": "zero_shot", "data": data}, tones.oracle())
    assert result.metrics["roc_auc"].value == 1.0
    assert result.units["classes"] == 4
    assert is_at_chance({"task": "zero_shot", "data": data})


def write_playlists(folder: Path, tones: Tones, count: int = 6, size: int = 10) -> tuple[Path, Path]:
    """Playlists over a catalogue of files; every fourth recording is in none."""
    catalogue, playlists = [], []
    for p in range(count):
        title, description = f"Title {p}", f"What playlist {p} sounds like"
        ids = []
        for i in range(size):
            number = tones.write(folder / "audio" / f"p{p}-{i}.flac", [title, description])
            ids.append(f"r{number}")
            catalogue.append({"recording_id": f"r{number}", "audio_uri": f"audio/p{p}-{i}.flac"})
        tones.same_as[description] = title
        playlists.append({"playlist_id": f"p{p}", "title": title, "description": description, "recording_ids": ids})
    for i in range(count * size // 3):
        number = tones.write(folder / "audio" / f"none-{i}.flac", [])
        catalogue.append({"recording_id": f"r{number}", "audio_uri": f"audio/none-{i}.flac"})
    (folder / "catalog.jsonl").write_text("".join(json.dumps(row) + "\n" for row in catalogue))
    (folder / "playlists.jsonl").write_text("".join(json.dumps(row) + "\n" for row in playlists))
    return folder / "playlists.jsonl", folder / "catalog.jsonl"


def test_retrieval_and_playlist_triplets(tmp_path: Path, tones: Tones) -> None:
    playlists, catalogue = write_playlists(tmp_path, tones, count=16)
    oracle, random = FrozenModel(tones.oracle()), FrozenModel(RANDOM)
    for query in ("title", "description"):
        retrieval: Declaration = {
            "task": "retrieval",
            "playlists": str(playlists),
            "collection": {"kind": "catalogue", "catalogue": str(catalogue)},
            "query": query,
            "recall_at": [1, 10],
        }
        result = measure(retrieval, oracle)
        values = {name: metric.value for name, metric in result.metrics.items()}
        assert values == {
            "roc_auc": 1.0,
            "mean_average_precision": 1.0,
            "recall_at_1": pytest.approx(0.1),
            "recall_at_10": 1.0,
            "median_rank": 1.0,
        }
        counted = {"queries": 16, "recordings": 213, "relevant": 160, "absent_recordings": 0, "failed_recordings": 0}
        assert result.units == counted
        assert is_at_chance(retrieval, model=random)
    triplets: Declaration = {"task": "text_triplets", "data": {"kind": "playlists", "playlists": str(playlists)}}
    result = measure(triplets, oracle)
    assert result.metrics["accuracy"].value == 1.0
    assert result.units == {"triplets": 16, "anchors": 16}
    assert is_at_chance(triplets, metric="accuracy")


def test_ontology_triplets(tones: Tones, audioset_files: tuple[Path, Path]) -> None:
    ontology, labels = audioset_files
    tones.same_as = {node.description: node.name for node in Ontology.read(ontology).nodes.values()}
    data = {"kind": "ontology", "ontology": str(ontology), "class_labels": str(labels)}
    triplets: Declaration = {"task": "text_triplets", "data": data}
    result = measure(triplets, tones.oracle())
    assert result.metrics["accuracy"].value == 1.0
    assert result.units == {"triplets": 705, "anchors": 141}
    assert is_at_chance(triplets, metric="accuracy")


def test_run_yields_the_same_figures_as_measure(tmp_path: Path, tones: Tones) -> None:
    playlists, _ = write_playlists(tmp_path, tones, count=3)
    evaluator = evaluator_from_json(
        {"task": "text_triplets", "data": {"kind": "playlists", "playlists": str(playlists)}}, Path()
    )
    assert evaluator.name == "text_triplets"
    assert dict(evaluator.run(tones.oracle())) == {"playlists/accuracy": 1.0}


@pytest.mark.parametrize(
    ("declaration", "message"),
    [
        ({"task": "magic"}, "task 'magic'"),
        ({"task": "zero_shot", "data": {"kind": "imagenet"}}, "kind 'imagenet'"),
        ({"task": "zero_shot", "data": {"kind": "table", "path": "x"}}, "no field path"),
        ({"task": "zero_shot", "data": {"kind": "table"}}, "file"),
        ({"task": "zero_shot"}, "data"),
        ({"task": "zero_shot", "data": {"kind": "magnatagatune", "folder": "x", "tags": "top51"}}, "top50 or all188"),
    ],
)
def test_declarations_are_checked(declaration: Declaration, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        evaluator_from_json(declaration, Path())
