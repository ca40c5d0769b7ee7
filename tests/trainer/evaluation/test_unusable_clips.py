"""Every reader with the clips that publishers' archives have: empty, corrupt, cut off, random, and a folder that is not
there. They are counted and named, and the rest is measured."""

import csv
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from tests.trainer.evaluation.test_evaluation_readers import write_annotations, write_jamendo
from tests.trainer.evaluation.test_evaluation_sets import fma_row, write_fma
from tests.trainer.evaluation.tone_sets import RATE_HZ, WriteRun, tone
from trainer.evaluation.declare import evaluator_from_json
from trainer.evaluation.embedding import FrozenModel
from trainer.evaluation.evaluator import Measurement
from trainer.evaluation.model import RandomModel
from trainer.evaluation.readers import fma, gtzan

NONE = {"resamples": 0, "seed": 0}


def whole(path: Path) -> None:
    soundfile.write(path, tone(1), RATE_HZ, format="WAV")


def cut_short(path: Path, size: int) -> None:
    whole(path)
    path.write_bytes(path.read_bytes()[:size])


def frame_of_nothing(path: Path) -> None:
    """As a download that broke off leaves it: the header of an MP3 frame, and zeros."""
    path.write_bytes(b"\xff\xfb\x90\x00" + bytes(2_000))


# What lies at a clip's place → how it is made.
UNUSABLE: dict[str, Callable[[Path], object]] = {
    "empty": lambda path: path.write_bytes(b""),
    "corrupt": frame_of_nothing,
    "cut off in its header": lambda path: cut_short(path, 30),
    "random": lambda path: path.write_bytes(np.random.default_rng(0).bytes(5_000)),
}
WHOLE = 12  # clips that can be measured, of which one is cut off in its samples
PLACES = [*("good",) * WHOLE, *UNUSABLE, "gone"]


def lay(paths: Sequence[Path]) -> None:
    """A clip a place; the folder of the last is never made, so that the clip is missing."""
    for number, (path, place) in enumerate(zip(paths, PLACES, strict=True)):
        if place != "gone":
            path.parent.mkdir(parents=True, exist_ok=True)
            UNUSABLE.get(place, whole)(path)
        if number == 0:
            cut_short(path, 9_000)


def names(suffix: str) -> list[str]:
    return [f"{'gone' if place == 'gone' else 'here'}/{i}.{suffix}" for i, place in enumerate(PLACES)]


def write_csv(path: Path, rows: Sequence[Sequence[object]]) -> None:
    with path.open("w", newline="") as stream:
        csv.writer(stream).writerows(rows)


def table(folder: Path) -> dict[str, Any]:
    rows = [(name, i % 2, 1 - i % 2) for i, name in enumerate(names("wav"))]
    write_csv(folder / "set.csv", [("path", "calm", "loud"), *rows])
    lay([folder / name for name in names("wav")])
    return {"task": "zero_shot", "data": {"kind": "table", "file": "set.csv"}}


def magnatagatune(folder: Path) -> dict[str, Any]:
    paths = [f"{'e' if place == 'gone' else 'd'}/{i}.mp3" for i, place in enumerate(PLACES)]
    write_annotations(folder, [(str(i), {("opera", "techno")[i % 2]}, path) for i, path in enumerate(paths)])
    lay([folder / path for path in paths])
    return {"task": "zero_shot", "data": {"kind": "magnatagatune", "folder": ".", "tags": "top50"}}


def jamendo(folder: Path) -> dict[str, Any]:
    row = "track_{0}\ta\tb\t{1}\t0.5\tgenre---{2}\n"
    tracks = [row.format(i, name, ("rock", "pop")[i % 2]) for i, name in enumerate(names("mp3"))]
    write_jamendo(folder, "genre", test="".join(tracks))
    lay([folder / "audio" / name for name in names("mp3")])
    data = {"kind": "jamendo", "folder": ".", "audio_folder": "audio", "subset": "genre"}
    return {"task": "zero_shot", "data": data}


def audioset(folder: Path) -> dict[str, Any]:
    classes = [("/m/1", "Music", ["/m/2", "/m/3"]), ("/m/2", "Music genre", ["/m/3"]), ("/m/3", "Jazz", [])]
    ontology = [{"id": mid, "name": name, "description": "", "child_ids": below} for mid, name, below in classes]
    (folder / "ontology.json").write_text(json.dumps(ontology))
    (folder / "classes.csv").write_text("index,mid,display_name\n0,/m/3,Jazz\n")
    ids = [f"abcdefghi{i:02d}" for i in range(len(PLACES))]
    labels = ("/m/3", "/m/1")
    lines = [f'{ytid}, 30.000, 40.000, "{labels[i % 2]}"\n' for i, ytid in enumerate(ids)]
    (folder / "eval.csv").write_text("".join(lines))
    lay(
        [
            folder / "audio" / ("gone" if place == "gone" else "") / f"{i}.wav"
            for i, place in zip(ids, PLACES, strict=True)
        ]
    )
    data = {"kind": "audioset", "ontology": "ontology.json", "class_labels": "classes.csv", "segments": "eval.csv"}
    return {"task": "zero_shot", "data": {**data, "audio_folder": "audio", "classes": "gen25", "pool": "all"}}


def gtzan_split(folder: Path) -> dict[str, Any]:
    genres = ["rock" if place == "gone" else gtzan.GENRES[i % 2] for i, place in enumerate(PLACES)]
    paths = [f"{genre}/{genre}.{i:05d}.wav" for i, genre in enumerate(genres)]
    for split, name in gtzan.LISTS.items():
        (folder / name).write_text("\n".join(paths) if split == "test" else "")
    lay([folder / path for path in paths])
    return {"task": "zero_shot", "data": {"kind": "gtzan", "folder": "."}}


def fma_small(folder: Path) -> dict[str, Any]:
    ids = [i + (1000 if place == "gone" else 1) for i, place in enumerate(PLACES)]  # a folder a thousand tracks
    write_fma(folder, [fma_row(str(track), "test", "small", fma.GENRES[i % 2]) for i, track in enumerate(ids)])
    lay([folder / "fma_small" / f"{track // 1000:03d}" / f"{track:06d}.mp3" for track in ids])
    return {"task": "zero_shot", "data": {"kind": "fma_small", "folder": "."}}


def caption_table(folder: Path) -> dict[str, Any]:
    write_csv(folder / "caps.csv", [("path", "caption"), *((name, f"music {name}") for name in names("wav"))])
    lay([folder / name for name in names("wav")])
    return {"task": "captions", "data": {"kind": "caption_table", "file": "caps.csv"}}


def musiccaps(folder: Path) -> dict[str, Any]:
    ids = [f"abcdefghi{i:02d}" for i in range(len(PLACES))]
    rows = [(ytid, 30, 40, f"music {ytid}", "False", "False") for ytid in ids]
    header = ("ytid", "start_s", "end_s", "caption", "is_balanced_subset", "is_audioset_eval")
    write_csv(folder / "caps.csv", [header, *rows])
    paths = [f"{'gone/' if p == 'gone' else ''}[{i}]-[30-40].wav" for i, p in zip(ids, PLACES, strict=True)]
    lay([folder / "clips" / path for path in paths])
    return {"task": "captions", "data": {"kind": "musiccaps", "file": "caps.csv", "audio_folder": "clips"}}


def song_describer(folder: Path) -> dict[str, Any]:
    rows = [(i, f"music {i}", "True", name) for i, name in enumerate(names("mp3"))]
    write_csv(folder / "song_describer.csv", [("track_id", "caption", "is_valid_subset", "path"), *rows])
    lay([folder / "audio" / name.replace(".mp3", ".2min.mp3") for name in names("mp3")])
    return {"task": "captions", "data": {"kind": "song_describer", "folder": "."}}


def catalogue(folder: Path) -> dict[str, Any]:
    rows = [{"recording_id": name, "audio_uri": name} for name in names("wav")]
    (folder / "catalog.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    playlist = {"playlist_id": "p", "title": "t", "description": "d", "recording_ids": names("wav")[:10]}
    (folder / "p.jsonl").write_text(json.dumps(playlist) + "\n")
    lay([folder / name for name in names("wav")])
    collection = {"kind": "catalogue", "catalogue": "catalog.jsonl"}
    return {"task": "retrieval", "playlists": "p.jsonl", "collection": collection}


READERS = (
    *(table, magnatagatune, jamendo, audioset, gtzan_split, fma_small),
    *(caption_table, musiccaps, song_describer, catalogue),
)


def measured(declared: dict[str, Any], folder: Path) -> Measurement:
    evaluator = evaluator_from_json({**declared, "skip_missing": True, "bootstrap": NONE}, folder)
    evaluator.check()
    return evaluator.measure(FrozenModel(RandomModel(), workers=1))


@pytest.mark.slow
@pytest.mark.parametrize("reader", READERS, ids=lambda reader: reader.__name__)
def test_what_cannot_be_used_is_counted_and_the_rest_measured(
    reader: Callable[[Path], dict[str, Any]], tmp_path: Path
) -> None:
    found = measured(reader(tmp_path), tmp_path)
    assert (found.units.get("clips") or found.units["recordings"]) == WHOLE
    assert (found.failed_clips, len(found.unmeasured)) == (len(UNUSABLE), len(UNUSABLE) + 1)
    assert all(entry.reason and str(tmp_path) not in entry.reason for entry in found.unmeasured)
    assert [entry.reason for entry in found.unmeasured if entry.missing] == ["the file is missing"]
    assert found.failure_rate == pytest.approx(len(UNUSABLE) / (WHOLE + len(UNUSABLE)))


def test_a_mined_run_whose_shards_are_gone(tmp_path: Path, write_run: WriteRun) -> None:
    """Its recordings count as what could not be measured, where some are left."""
    pcm = (tone(1) * 20_000).astype(np.int16)
    rows = [{"recording_id": str(i), "pcm": pcm, "aset": [("Jazz", "Rock")[i % 2]]} for i in range(12)]
    run = write_run(tmp_path / "run", rows)
    declared = {"task": "zero_shot", "data": {"kind": "mined", "run": str(run), "min_positives": 1}}
    assert measured(declared, tmp_path).units["clips"] == len(rows)
    (shard,) = (run / "shards").iterdir()
    shard.unlink()
    with pytest.raises(ValueError, match="has none of the recordings"):
        measured(declared, tmp_path)
