"""Write what a commit makes - runs, a training run, classifiers, label databases - for the tests of later ones to use.

    git worktree add ../old COMMIT && cd ../old && python -m tests.compat.make_fixtures tests/compat/COMMIT

Run it at the commit whose files are to stay usable and commit what it writes: the folder is named after that commit,
and `test_compat.py` beside this script tries every such folder. It must not be run again at a later commit for an old
folder. Everything is from seeds; no file names the machine, since the job is run upon paths under `/proc/self/cwd`
(Linux), from which a test can go on wherever it has copied the folder to.

mined/       parquet and tfrecord (two generations with a tombstone, a changed row, rejects), planned (a dry run),
             interrupted (killed after its second shard)
corpus/      the catalogues that they were mined from; the media is made again from seeds (`write_media`)
trained/     output of the training loop: two checkpoints and a model, cut as small as the code allows
classifier/  a sentence classifier, as `mulan lf-filter fit` leaves it
labels/      the database of `mulan label`, and one whose server was killed (with its write-ahead log beside it)
expected.json  what was read from all of these by the code that made them
"""

import argparse
import dataclasses
import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from filters.annotation import adjudication, people, work
from filters.annotation.cli import main as label_main
from filters.annotation.exchange import read_bundle
from filters.annotation.log import Log
from filters.annotation.work import Judgement
from filters.long_form import model_files
from filters.long_form.data import SEED_PATH
from schemas.label import LabelItem, LabelValue
from schemas.run import Run
from tests.filters.long_form.tiny_bert import make_checkpoint
from tests.pipeline.killing import mine_and_die_at
from tests.pipeline.mining import mine, row, write_chord

ROOT = Path("/proc/self/cwd")
OPTIONS = ("--rows_per_shard=3", "--max_failure_rate=0.5")
CLIP = {"start_s": 0.25, "duration_s": 0.5}
MEDIA_S = 1.0
RECORDINGS = 10
BROKEN = 50  # a row whose file is no sound
TEXTS = ("a slow tune for strings", "loud drums", "take 3")
SENTENCES = ("The bass is warm and slow.", "first!", "I love this singer's voice")


def write_media(folder: Path, *, recordings: int = RECORDINGS) -> None:
    """The media that the catalogues in `folder` name."""
    (folder / "audio").mkdir(exist_ok=True)
    for number in range(recordings):
        write_chord(folder / "audio" / f"{number:03d}.flac", seed=number, seconds=MEDIA_S)
    (folder / "audio" / "broken.ogg").write_text("no sound", encoding="utf-8")


def write_corpus(folder: Path) -> None:
    """Catalogues of a first and a second generation, and side tables."""
    folder.mkdir()
    rows = {number: row(number, **CLIP) for number in range(RECORDINGS)}
    rows[BROKEN] = row(BROKEN, audio_uri="audio/broken.ogg", **CLIP)
    first = [*(rows[number] for number in range(7)), rows[0], rows[BROKEN]]
    changed = {**rows[2], "title": "Another name"}
    second = [*(rows[number] for number in (0, 1)), changed, *(rows[number] for number in (4, 5, 6, 7, 8, BROKEN))]
    ids = [rows[number]["recording_id"] for number in range(RECORDINGS)]
    tables = {
        "first": first,
        "second": second,
        "comments": [{"recording_id": name, "text": f"Somebody likes the drums of {name} a lot."} for name in ids[::2]],
        "playlists": [{"playlist_id": "p1", "title": "quiet evenings", "recording_ids": ids[1::2]}],
    }
    for name, values in tables.items():
        lines = "".join(f"{json.dumps(value)}\n" for value in values)
        (folder / f"{name}.jsonl").write_text(lines, encoding="utf-8")
    with (folder / "first.jsonl").open("a", encoding="utf-8") as stream:
        stream.write("{no json\n")


@contextmanager
def inside(folder: Path) -> Iterator[None]:
    """Paths under `ROOT` mean this folder."""
    before = Path.cwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)


def tables() -> tuple[str, ...]:
    corpus = ROOT / "corpus"
    return ("--comments", str(corpus / "comments.jsonl"), "--playlists", str(corpus / "playlists.jsonl"))


def make_runs() -> None:
    """In the folder that is the working directory."""
    corpus, mined = ROOT / "corpus", ROOT / "mined"
    for name in ("parquet", "tfrecord"):
        options = (*OPTIONS, *tables(), f"--format={name}")
        assert mine(corpus / "first.jsonl", mined / name, *options) == 0
        assert mine(corpus / "second.jsonl", mined / name, *options, "--on_removed=tombstone") == 0
    options = (*OPTIONS, *tables())
    assert mine(corpus / "first.jsonl", mined / "planned", *options, "--dry_run") == 0
    for _ in range(2):  # each goes on from the last one and dies after a shard of its own
        mine_and_die_at("shard_committed", corpus / "first.jsonl", mined / "interrupted", options)


def read_rows(run: Run) -> list[dict[str, Any]]:
    """All rows as JSON, the sound as hex digests."""
    rows = [value for group in run.row_groups() for value in run.read(group).to_pylist()]
    return [
        {
            **value,
            "audio": f"{len(value['audio'])} bytes, {hashlib.sha256(value['audio']).hexdigest()}",
            "music_scores": [float(score) for score in value["music_scores"]],
        }
        for value in sorted(rows, key=lambda value: value["recording_id"])
    ]


def make_training(folder: Path, run: Path, tokenizer: Path) -> None:
    """Two checkpoints and a model, through the training loop itself."""
    from trainer.loop import Ending, TrainOptions
    from trainer.tasks.contrastive import train

    options = TrainOptions(
        data=(str(run),), output=folder, steps=2, workers=0, checkpoint_every=1, keep=2, validate_every=2
    )
    words = json.loads((tokenizer / "config.json").read_text(encoding="utf-8"))["vocab_size"]
    assert train(smallest_recipe(str(tokenizer), words), options) == Ending.DONE


def smallest_recipe(tokenizer: str, vocab_size: int) -> Any:
    from trainer.data import DataConfig
    from trainer.recipes import tiny

    recipe = tiny(tokenizer)
    options = {"layer_type": "basic", "embedding_size": 4, "hidden_sizes": [4, 8], "depths": [1, 1]}
    mel = dataclasses.replace(recipe.audio.log_mel, frames=50, mel_bins=32)
    bert = {"vocab_size": vocab_size, "hidden_size": 8, "num_hidden_layers": 1, "intermediate_size": 16}
    data = dataclasses.replace(
        recipe.data, missing_sources="reweight", window_s=0.5, buffer_rows=8, validation_fraction=0.0
    )
    assert isinstance(data, DataConfig)
    return dataclasses.replace(
        recipe,
        audio=dataclasses.replace(
            recipe.audio, options=options, log_mel=mel, ghost_batch_size=2, max_masked_bins=8, max_masked_frames=10
        ),
        text=dataclasses.replace(
            recipe.text, options={**recipe.text.options, **bert, "max_position_embeddings": 32}, max_tokens=16
        ),
        data=data,
        batch_size=6,
        compute=dataclasses.replace(recipe.compute, audio_chunk=2, text_tokens=384),
    )


def waves() -> list[NDArray[np.int16]]:
    """int16 of the scale that commits before `trainer/cuts.py` gave to floats."""
    time_T = np.arange(8000) / 16_000
    floats = [(0.3 * np.sin(2 * np.pi * pitch * time_T)).astype(np.float32) for pitch in (220.0, 1760.0)]
    return [np.round(wave * 32767).astype(np.int16) for wave in floats]


def make_classifier(folder: Path, checkpoint: Path) -> None:
    """The files of a fitted classifier with the weights of a seed: what is read again is their format."""
    import torch
    from safetensors.torch import load_file

    torch.manual_seed(1)
    encoder = {f"encoder.{name}": value for name, value in load_file(checkpoint / "model.safetensors").items()}
    config = json.loads((checkpoint / "config.json").read_text(encoding="utf-8"))
    head = {"head.weight": torch.randn(1, config["hidden_size"]), "head.bias": torch.zeros(1)}
    model_files.save(
        folder,
        encoder_config=config,
        state={**encoder, **head},
        tokenizer_json=_tokenizer_json(checkpoint),
        record={
            "name": "compat",
            "pooling": "mean",
            "max_tokens": 32,
            "precision": "float32",
            "calibration": {"slope": 1.5, "offset": -0.25, "label_share": 0.4, "base_rate": 0.2},
            "threshold": {"value": 0.5, "rule": "made for a test"},
        },
        card="Digest {digest}.\n",
    )


def _tokenizer_json(checkpoint: Path) -> str:
    from filters.tokens import load_tokenizer

    counter = load_tokenizer(str(checkpoint / "vocab.txt"))
    assert counter is not None
    return counter.to_str()


def make_labels(folder: Path) -> None:
    """Two annotators, an adjudicator; skips, notes, doubts, an undo, a correction; a set of the frozen test fold."""
    folder.mkdir()
    path = folder / "labels.db"
    with Log(path, create=True) as log, log.transaction():
        work.add_items(log, [LabelItem(item_id=f"i{i}", text=text) for i, text in enumerate(SENTENCES)], 2)
    assert label_main(["sample", str(SEED_PATH), "--db", str(path), "--frozen_fold", "--count", "5"]) == 0
    with Log(path) as log:
        with log.transaction():
            ada, ben = (people.ensure_person(log, name) for name in ("ada", "ben"))
            cleo = people.ensure_person(log, "cleo", adjudicator=True)
        given = [
            (ada, "i0", Judgement(value=LabelValue.YES, note="the bass is named")),
            (ben, "i0", Judgement(value=LabelValue.NO, unsure=True)),
            (ada, "i1", Judgement(value=LabelValue.SKIP, skip_reason="language")),
            (ben, "i1", Judgement(value=LabelValue.NO, guideline="v1")),
            (ada, "i2", Judgement(value=LabelValue.NO)),
            (ada, "i2", Judgement(value=LabelValue.YES, note="a correction")),
            (ben, "i2", Judgement(value=LabelValue.YES)),
        ]
        for number, (person, item_id, judgement) in enumerate(given):
            work.put_label(log, person.id, item_id, judgement, key=f"key-{number}")
        taken_back = work.undo(log, ben.id, key="undo-1")
        assert taken_back is not None
        assert taken_back.item_id == "i2"
        adjudication.decide(log, cleo.id, "i0", LabelValue.YES, key="decide-1", note="settled")
        for task in work.next_tasks(log, ben.id, 2):
            work.put_label(log, ben.id, task.item_id, Judgement(value=LabelValue.NO), key=f"later-{task.item_id}")
        log.backup(folder / "copy.db")
        # As a killed server leaves it: what was written last is in the log beside the file alone.
        log.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        work.put_label(log, ada.id, "i1", Judgement(value=LabelValue.NO, note="after all"), key="last")
        for name in ("labels.db", "labels.db-wal"):
            shutil.copy(folder / name, folder / name.replace("labels", "killed"))
    for name in ("labels.db-wal", "labels.db-shm"):
        (folder / name).unlink(missing_ok=True)


def read_labels(path: Path) -> dict[str, Any]:
    with Log(path) as log:
        bundle = read_bundle(log)
        return {
            "items": [dataclasses.asdict(item) for item in bundle.items],
            "labels": [dataclasses.asdict(label) for label in bundle.labels],
            "people": [dataclasses.asdict(person) for person in people.people(log)],
            "events": log.verify().events,
        }


def read_runs(folder: Path) -> dict[str, Any]:
    return {
        f"{name}/{number}": read_rows(Run.open(folder / "mined" / name, number=number))
        for name in ("parquet", "tfrecord")
        for number in (1, 2)
    }


def read_models(folder: Path) -> dict[str, Any]:
    """Embeddings of the checkpoints and of the model, by the folder's name."""
    from trainer.model import load

    models = {}
    for path in (*sorted((folder / "trained" / "checkpoints").iterdir()), folder / "trained" / "model"):
        model = load(path)
        models[path.name] = {"audio": model.embed_audio(waves()).tolist(), "text": model.embed_text(TEXTS).tolist()}
    return models


def read_scores(folder: Path) -> list[float]:
    from filters.long_form.bert_scorer import BertScorer

    scores: list[float] = BertScorer.load(folder / "classifier").score(SENTENCES).tolist()
    return scores


def read_databases(folder: Path) -> dict[str, Any]:
    return {path.name: read_labels(path) for path in sorted((folder / "labels").glob("*.db"))}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    folder: Path = parser.parse_args().folder.resolve()
    folder.mkdir(parents=True)
    bert = make_checkpoint(folder / "bert", hidden=8, layers=1)
    write_corpus(folder / "corpus")
    write_media(folder / "corpus")
    with inside(folder):
        make_runs()
        make_training(folder / "trained", ROOT / "mined" / "parquet", Path("bert"))
    shutil.rmtree(folder / "corpus" / "audio")
    make_classifier(folder / "classifier", bert)
    shutil.rmtree(bert)
    make_labels(folder / "labels")
    # Read from a copy: opening a database may change it.
    copy = folder.with_name(f"{folder.name}.copy")
    shutil.copytree(folder, copy)
    expected = {
        "runs": read_runs(copy),
        "models": read_models(copy),
        "classifier": read_scores(copy),
        "labels": read_databases(copy),
    }
    shutil.rmtree(copy)
    (folder / "expected.json").write_text(json.dumps(expected, indent=1, sort_keys=True) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
