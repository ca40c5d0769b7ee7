"""`mulan mine --fingerprint` on music and its copies, through a removal and a growth of the run."""

from pathlib import Path

import pyarrow.parquet as pq
import pytest

from beam_runner import prune, remove
from pipeline.run_folder.verify import report_damage
from schemas.run import Run
from tests.pipeline.duplicates.sounds import FILES, contents, write_catalogue, write_copies
from tests.pipeline.mining import manifest, mine, shard_hashes
from trainer.split import duplicate_leaders


@pytest.fixture(scope="module")
def catalogue(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_copies(tmp_path_factory.mktemp("copies"))


def groups(run: Path) -> dict[frozenset[str], str]:
    found: dict[str, list[str]] = {}
    for row in Run.open(str(run)).groups().to_pylist():
        found.setdefault(row["group"], []).append(row["recording_id"])
    return {frozenset(names): group for group, names in found.items()}


def copies(names: list[str]) -> set[frozenset[str]]:
    return {frozenset(name for name in names if FILES[name] == of) for of in {FILES[name] for name in names}}


@pytest.mark.slow
def test_a_run_groups_copies_and_keeps_doing_so(catalogue: Path, tmp_path: Path) -> None:
    run, options = tmp_path / "run", ("--rows_per_shard", "2", "--on_removed", "tombstone")
    names = [name for name in FILES if name != "a.mp3"]
    write_catalogue(catalogue.parent, names)
    assert mine(catalogue, run, *options) == 0
    assert len(groups(run)) == len(names)
    shards = {name: sha for name, sha in shard_hashes(run).items() if name.startswith("shards/")}
    assert not (run / "fingerprints").exists()

    # Of a run that is there: no shard is made anew.
    assert mine(catalogue, run, *options, "--fingerprint") == 0
    assert groups(run).keys() == copies(names)
    assert shards.items() <= shard_hashes(run).items()
    made = contents(run / "fingerprints")

    # Of what is removed nothing is left.
    gone_audio = pq.read_table(next((run / "fingerprints").glob("pairs-*")))["one"][0].as_py()
    read = Run.open(str(run))
    rows = [
        row for group in read.row_groups() for row in read.read(group, ["recording_id", "audio_sha256"]).to_pylist()
    ]
    gone = next(row["recording_id"] for row in rows if row["audio_sha256"].startswith(gone_audio))
    (tmp_path / "ids.txt").write_text(f"{gone}\n", encoding="utf-8")
    assert remove([str(run), "--ids", str(tmp_path / "ids.txt"), "--quiet"]) == 0
    assert prune([str(run), "--quiet", "--now"]) == 0
    names.remove(gone)
    assert groups(run).keys() == copies(names)
    for path in (run / "fingerprints").glob("*.parquet"):
        assert gone_audio not in str(pq.read_table(path).select([0, 1]).to_pylist())

    # A run that has grown is fingerprinted without being asked again, and what was made is kept.
    names.append("a.mp3")
    write_catalogue(catalogue.parent, names)
    assert mine(catalogue, run, *options) == 0
    assert groups(run).keys() == copies(names)
    grown = contents(run / "fingerprints")
    assert {name for name, _ in grown.items() & made.items() if name.endswith(".parquet")}
    leaders = duplicate_leaders([Run.open(str(run))])
    assert len({leaders.get(name, name) for name in names}) == len(copies(names))
    assert report_damage(str(run)) == 0

    # What a killed job lacks is made again, the same.
    (run / "fingerprints" / "joined.json").unlink()
    next((run / "fingerprints").glob("g0*.parquet")).unlink()
    next((run / "fingerprints").glob("g0*-00000.json")).write_text("{")
    before = manifest(run)
    assert mine(catalogue, run, *options, "--fingerprint") == 0
    assert contents(run / "fingerprints") == grown
    assert manifest(run) == before
