"""`mulan mine --fingerprint` on music and its copies, through a removal and a growth of the run."""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import soundfile

from beam_runner import prune, remove
from pipeline.run_folder.verify import report_damage
from schemas.run import Run
from tests.pipeline.duplicates.sounds import RATE_HZ, encoded, music
from tests.pipeline.mining import manifest, mine, shard_hashes
from trainer.split import duplicate_leaders

# File → what it is a copy of.
FILES = {"a.flac": "a", "a.mp3": "a", "a-later.flac": "a", "b.flac": "b", "b.opus": "b", "c.flac": "c"}


@pytest.fixture(scope="module")
def catalogue(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("copies")
    sounds = {name: music(seed) for seed, name in enumerate("abc")}
    for name, of in FILES.items():
        sound_T = sounds[of][RATE_HZ:] if "later" in name else sounds[of]
        if name.endswith(".flac"):
            soundfile.write(folder / name, sound_T, RATE_HZ)
        else:
            form = "mp3_64k" if name.endswith("mp3") else "opus"
            (folder / name).write_bytes(encoded(sound_T, form))
    return write(folder, list(FILES))


def write(folder: Path, names: list[str]) -> Path:
    rows = (
        {"recording_id": name, "audio_uri": name, "start_s": 1, "duration_s": 9, "music_gate": "score_only"}
        for name in names
    )
    path = folder / "catalog.jsonl"
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows), encoding="utf-8")
    return path


def groups(run: Path) -> dict[frozenset[str], str]:
    found: dict[str, list[str]] = {}
    for row in Run.open(str(run)).groups().to_pylist():
        found.setdefault(row["group"], []).append(row["recording_id"])
    return {frozenset(names): group for group, names in found.items()}


def copies(names: Iterator[str] | list[str]) -> set[frozenset[str]]:
    names = list(names)
    return {frozenset(name for name in names if FILES[name] == of) for of in {FILES[name] for name in names}}


def contents(folder: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.iterdir())}


def test_a_run_groups_copies_and_keeps_doing_so(catalogue: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    write(catalogue.parent, [name for name in FILES if name != "a.mp3"])
    assert mine(catalogue, run, "--rows_per_shard", "2") == 0
    assert len(groups(run)) == 5
    shards = {name: sha for name, sha in shard_hashes(run).items() if name.startswith("shards/")}
    assert not (run / "fingerprints").exists()

    # Of a run that is there: no shard is made anew.
    assert mine(catalogue, run, "--rows_per_shard", "2", "--fingerprint") == 0
    assert groups(run).keys() == copies([name for name in FILES if name != "a.mp3"])
    assert shards.items() <= shard_hashes(run).items()
    made, number = contents(run / "fingerprints"), manifest(run)["number"]
    assert mine(catalogue, run, "--rows_per_shard", "2") == 0
    assert (contents(run / "fingerprints"), manifest(run)["number"]) == (made, number)

    # A run that has grown is fingerprinted without being asked again, and what was made is kept.
    write(catalogue.parent, list(FILES))
    assert mine(catalogue, run, "--rows_per_shard", "2") == 0
    assert groups(run).keys() == copies(list(FILES))
    again = contents(run / "fingerprints")
    assert {name: sha for name, sha in made.items() if name.startswith("g0001")}.items() <= again.items()
    leaders = duplicate_leaders([Run.open(str(run))])
    assert len({leaders[name] for name, of in FILES.items() if of == "a"}) == 1
    assert report_damage(str(run)) == 0

    # Copies of what is removed stay copies of one another, and of it nothing is left.
    with pq.ParquetFile(next((run / "fingerprints").glob("pairs-*"))) as file:
        first = file.read().to_pylist()[0]["one"]
    table = Run.open(str(run))
    name_of = {
        row["audio_sha256"][:32]: row["recording_id"]
        for group in table.row_groups()
        for row in table.read(group, ["recording_id", "audio_sha256"]).to_pylist()
    }
    gone = name_of[first]
    ids = tmp_path / "ids.txt"
    ids.write_text(f"{gone}\n", encoding="utf-8")
    assert remove([str(run), "--ids", str(ids), "--quiet"]) == 0
    assert prune([str(run), "--quiet", "--now"]) == 0
    left = copies([name for name in FILES if name != gone])
    assert groups(run).keys() == left
    for path in (run / "fingerprints").iterdir():
        if path.suffix == ".parquet":
            assert first not in json.dumps(pq.read_table(path).select([0]).to_pylist())
    write(catalogue.parent, [name for name in FILES if name != gone])
    assert mine(catalogue, run, "--rows_per_shard", "2") == 0
    assert groups(run).keys() == left
